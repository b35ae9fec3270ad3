package script

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/persoline/persoline/perso/apdu"
)

// faults applies every rule. A script that Compile or Decode returned has none.
func (s *Script) faults() Faults {
	r := &rules{script: s}
	r.head()
	r.shape()
	r.phases()
	s.walk(r.step)
	r.labels()
	r.channelEnd()
	r.proof()
	for a, act := range s.Acts {
		for i := range act {
			r.section(a, &act[i])
		}
	}
	return r.found
}

// rules collects what is wrong with one script.
type rules struct {
	script *Script
	found  Faults
}

func (r *rules) bad(pos Pos, hint, format string, args ...any) {
	r.found = append(r.found, *faultAt(pos, hint, format, args...))
}

func validLevel(level byte) bool {
	switch level {
	case 0x01, 0x03, 0x11, 0x13, 0x33:
		return true
	}
	return false
}

func name(form *regexp.Regexp, s string) bool { return len(s) <= MaxNameChars && form.MatchString(s) }

func (r *rules) head() {
	if s := r.script; !name(labelForm, s.Name) || s.Version == 0 {
		r.bad(Pos{1, 1}, "names are a-z, 0-9, dot and hyphen; versions begin at 1", "script %q version %d", s.Name, s.Version)
	}
	if !validLevel(r.script.Level) {
		r.bad(Pos{1, 1}, "the levels are 01, 03, 11, 13 and 33", "security level %02X", r.script.Level)
	}
}

// shape bounds the counts and forbids what has no effect.
func (r *rules) shape() {
	s := r.script
	if len(s.Acts) > MaxActs {
		r.bad(s.Acts[MaxActs].pos(), "put sections together", "%d acts, limit %d", len(s.Acts), MaxActs)
	}
	if len(s.Identify) > MaxSteps {
		r.bad(s.Identify[MaxSteps].pos, "identify reads a few values", "%d commands in identify, limit %d", len(s.Identify), MaxSteps)
	}
	seen := map[string]bool{}
	for a, act := range s.Acts {
		steps := 0
		for i := range act {
			sec := &act[i]
			steps += len(sec.Steps)
			if len(sec.Steps) == 0 {
				r.bad(sec.pos, "write its commands or remove it", "section %q has no commands", sec.Name)
			}
			if sec.Name != "" && seen[sec.Name] {
				r.bad(sec.pos, "give it a name of its own", "second section %q", sec.Name)
			}
			seen[sec.Name] = true
		}
		if len(act) > MaxSections || steps > MaxSteps {
			r.bad(act.pos(), "begin another .ACT", "act %d has %d sections and %d commands, limits %d and %d", a, len(act), steps, MaxSections, MaxSteps)
		}
		if a > 0 && steps == 0 {
			r.bad(act.pos(), "remove the .ACT", "act %d has no commands", a)
		}
	}
}

func (act Act) pos() Pos {
	if len(act) == 0 {
		return Pos{1, 1}
	}
	return act[0].pos
}

// phases says that identify comes first, act 0 is the open phase, and write and verify exist.
func (r *rules) phases() {
	s := r.script
	if len(s.Identify) == 0 {
		r.bad(Pos{1, 1}, "begin with .PHASE identify and read the chip id", "no identify phase")
	}
	last, wrote, verified := PhaseOpen, false, false
	for a, act := range s.Acts {
		for i := range act {
			p, pos := act[i].Phase, act[i].pos
			if p.order() < last.order() || (a == 0) != (p == PhaseOpen) {
				r.bad(pos, "act 0 is the open phase; write, verify and close follow", "phase %q in act %d", p, a)
			}
			last = p
			wrote = wrote || p == PhaseWrite
			for _, st := range act[i].Steps {
				verified = verified || p == PhaseVerify && st.Secure && st.Data != nil && len(*st.Data) > 0
			}
		}
	}
	if !wrote {
		r.bad(Pos{1, 1}, "write .PHASE write and what the product is", "no write phase")
	}
	if !verified {
		r.bad(Pos{1, 1}, "add .PHASE verify with at least one secure read and its expected [data]", "no verify phase that checks anything")
	}
}

// step checks one command on its own.
func (r *rules) step(act int, sec *Section, st *Step) {
	s, phase := r.script, PhaseIdentify
	if sec != nil {
		phase = sec.Phase
	}
	limit, answer := apdu.MaxDataBytes, apdu.MaxLe
	if st.Secure {
		limit, answer = s.MaxData(), s.MaxAnswer()
		r.secureHeader(st)
	}
	if st.Secure && phase == PhaseIdentify {
		r.bad(st.pos, "the channel opens after identify", "a secure command in phase identify")
	}
	if n := size(st.Body); n > limit {
		r.bad(st.pos, "cut it, or use .STORE, which cuts by itself", "command data of %d bytes, limit %d here", n, limit)
	}
	if st.Le < apdu.NoLe || st.Le == 0 || st.Le > apdu.MaxLe {
		r.bad(st.pos, "Le is one byte", "Le of %d", st.Le)
	}
	stamping := phase == PhaseOpen && sec.Name != "" // openSection says what it may do
	if p := phase; p != PhaseWrite && p != PhaseClose && !stamping && !st.ReadOnly() {
		r.bad(st.pos, "writing belongs to the phase write", "%X changes the chip in phase %q", st.Header, p)
	}
	r.segments(st, st.Body, phase, false)
	if st.Data != nil {
		r.segments(st, *st.Data, phase, true)
		if n := size(*st.Data); n > answer {
			r.bad(st.pos, "ask for less at once", "expected data of %d bytes, limit %d here", n, answer)
		}
		if strings.ContainsAny(st.SW.String(), "|X") {
			r.bad(st.pos, "another status would evade the check of the data", "expected data with %d kinds of status", 1+strings.Count(st.SW.String(), "|"))
		}
	}
	if st.SW == (apdu.Mask{}) {
		r.bad(st.pos, "end with the accepted status, for example (9000)", "no status is accepted")
	}
	r.purpose(st, phase)
}

func (r *rules) secureHeader(st *Step) {
	switch cla, ins := st.Header[0], st.Header[1]; {
	case cla != 0x00 && cla != 0x80:
		r.bad(st.pos, "write the plain class 00 or 80, without the secure messaging bit", "class %02X inside the channel", cla)
	case ins == insSelect || ins == insInitUpdate:
		r.bad(st.pos, "put .PLAIN before it, and nothing secure after it", "%X inside the channel ends the channel", st.Header)
	}
}

// segments checks literals and variables. What a variable may do is the heart of the language: no secret is ever sent
// outside the channel, and none is ever expected back.
func (r *rules) segments(st *Step, segments []Segment, phase Phase, expected bool) {
	for i := range segments {
		g := &segments[i]
		pos := g.pos
		if pos == (Pos{}) {
			pos = st.pos
		}
		if !r.wellFormed(g, pos, expected) || g.Var == nil {
			continue
		}
		v := g.Var
		switch {
		case phase == PhaseIdentify:
			r.bad(pos, "write the bytes: the line knows no variables", "variable %s in phase identify", v)
		case v.Form != Public && !st.Secure:
			r.bad(pos, "send it inside the channel (.SECURE)", "%s outside the channel", v)
		case v.Form == Secret && r.script.Level != 0x33:
			r.bad(pos, "set LEVEL=33, or send it as {dek:…}", "%s at level %02X", v, r.script.Level)
		case expected && (v.Form == Secret || v.Form == DEK):
			r.bad(pos, "expect {kcv:…}: a chip gives no secret back", "%s in expected data", v)
		}
	}
}

func (r *rules) wellFormed(g *Segment, pos Pos, pattern bool) bool {
	if g.Var == nil {
		careless := len(g.Care) == 0 || pattern && len(g.Care) == len(g.Bytes)
		if len(g.Bytes) == 0 || len(g.Bytes) > MaxStoreBytes || !careless {
			r.bad(pos, "write hex digits", "a literal of %d bytes with a mask of %d", len(g.Bytes), len(g.Care))
			return false
		}
		for i, care := range g.Care {
			if g.Bytes[i]&^care != 0 {
				r.bad(pos, "write 0 where the mask is 0", "a don't-care bit has a value")
				return false
			}
		}
		return true
	}
	v := g.Var
	ok := name(variableName, v.Name) && len(g.Bytes) == 0 && len(g.Care) == 0 &&
		v.Size <= MaxVarBytes && 0 <= v.From && v.From < v.To && v.To <= v.Size &&
		(!pattern || v.From == 0 && v.To == v.Size)
	switch v.Form {
	case Public, Secret:
	case DEK:
		ok = ok && v.Size%aesBlockBytes == 0
	case KCV:
		ok = ok && v.Size == kcvBytes
	default:
		ok = false
	}
	if !ok {
		r.bad(pos, "write {NAME} or {form:NAME}", "malformed variable %q", v)
	}
	return ok
}

func (r *rules) purpose(st *Step, phase Phase) {
	p := st.Purpose
	switch p {
	case PurposeNone, PurposeAUTS, PurposeReopen:
	case PurposeChip:
		if phase != PhaseIdentify {
			r.bad(st.pos, "the line reads the chip id in phase identify", "purpose %q in phase %q", p, phase)
		}
	case PurposeProbe, PurposeReadback, PurposeECKA:
		if !st.Secure {
			r.bad(st.pos, "read it inside the channel, where the line cannot change it", "purpose %q outside the channel", p)
		}
	default:
		r.bad(st.pos, "the purposes are "+purposes, "unknown purpose %q", p)
	}
}

// proof says that one answer at most serves each purpose that the vault looks for by name.
func (r *rules) proof() {
	seen := map[Purpose]bool{}
	r.script.walk(func(act int, _ *Section, st *Step) {
		switch st.Purpose {
		case PurposeNone, PurposeProbe, PurposeReadback:
			return
		case PurposeChip:
			if act >= 0 { // said by purpose already
				return
			}
		}
		if seen[st.Purpose] {
			r.bad(st.pos, "one command serves the purpose", "second %q", st.Purpose)
		}
		seen[st.Purpose] = true
	})
	if !seen[PurposeChip] && len(r.script.Identify) > 0 {
		r.bad(r.script.Identify[0].pos, "mark the command that reads the chip id with => chip", "identify reads no chip id")
	}
}

// stepLabel is a written label or one the compiler made.
var stepLabel = regexp.MustCompile(`^[a-z][a-z0-9.-]*(#[0-9]+)?(/[0-9]+)?$`)

func (r *rules) labels() {
	seen := map[string]bool{}
	r.script.walk(func(_ int, _ *Section, st *Step) {
		if len(st.Label) > MaxNameChars+len("#999/99") || !stepLabel.MatchString(st.Label) {
			r.bad(st.pos, fmt.Sprintf("labels are a-z, 0-9, dot and hyphen, at most %d characters", MaxNameChars), "label %q", st.Label)
		}
		if seen[st.Label] {
			r.bad(st.pos, "give it a label of its own", "second label %q", st.Label)
		}
		seen[st.Label] = true
	})
}

// channelEnd finds the first secure command after a plain one that ended the channel. Nothing in a script can open it
// again: only the vault opens channels.
func (r *rules) channelEnd() {
	ended, told := "", false
	r.script.walk(func(act int, _ *Section, st *Step) {
		switch {
		case act < 0:
		case !st.Secure && (st.Header[1] == insSelect || st.Header[1] == insInitUpdate) && ended == "":
			ended = st.Label
		case st.Secure && ended != "" && !told:
			told = true
			r.bad(st.pos, "do it before, or keep the plain command for the end", "secure command after %q ended the channel", ended)
		}
	})
}
