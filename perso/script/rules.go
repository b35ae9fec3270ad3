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
	r.channels()
	r.shape()
	r.phases()
	s.walk(r.step)
	r.labels()
	r.channelEnd()
	r.proof()
	r.packages()
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

func (r *rules) bad(rule Rule, pos Pos, hint, format string, args ...any) {
	r.found = append(r.found, *faultAt(pos, hint, format, args...).of(rule))
}

func name(form *regexp.Regexp, s string) bool { return len(s) <= MaxNameChars && form.MatchString(s) }

func (r *rules) head() {
	if s := r.script; !name(labelForm, s.Name) || s.Version == 0 {
		r.bad(RuleName, top(), "names are a-z, 0-9, dot and hyphen; versions begin at 1", "script %q version %d", s.Name, s.Version)
	}
}

// shape bounds the counts and forbids what has no effect.
func (r *rules) shape() {
	s := r.script
	if len(s.Acts) > MaxActs {
		r.bad(RuleLimit, s.Acts[MaxActs].pos(), "put sections together", "%d acts, limit %d", len(s.Acts), MaxActs)
	}
	if len(s.Identify) > MaxSteps {
		r.bad(RuleLimit, s.Identify[MaxSteps].pos, "identify reads a few values", "%d commands in identify, limit %d", len(s.Identify), MaxSteps)
	}
	seen := map[string]bool{}
	for a, act := range s.Acts {
		steps := 0
		for i := range act {
			sec := &act[i]
			steps += len(sec.Steps)
			if len(sec.Steps) == 0 {
				r.bad(RuleLimit, sec.pos, "write its commands or remove it", "section %q has no commands", sec.Name)
			}
			if sec.Name != "" && seen[sec.Name] {
				r.bad(RuleName, sec.pos, "give it a name of its own", "second section %q", sec.Name)
			}
			seen[sec.Name] = true
		}
		if len(act) > MaxSections || steps > MaxSteps {
			r.bad(RuleLimit, act.pos(), "begin another .ACT", "act %d has %d sections and %d commands, limits %d and %d", a, len(act), steps, MaxSections, MaxSteps)
		}
		if a > 0 && steps == 0 {
			r.bad(RuleLimit, act.pos(), "remove the .ACT", "act %d has no commands", a)
		}
	}
}

func (act Act) pos() Pos {
	if len(act) == 0 {
		return top()
	}
	return act[0].pos
}

// phases says that identify comes first, act 0 is the open phase, and write and verify exist.
func (r *rules) phases() {
	s := r.script
	if len(s.Identify) == 0 {
		r.bad(RulePhase, top(), "begin with .PHASE identify and read the chip id", "no identify phase")
	}
	last, wrote, verified := PhaseOpen, false, false
	for a, act := range s.Acts {
		for i := range act {
			p, pos := act[i].Phase, act[i].pos
			if p.order() < last.order() || (a == 0) != (p == PhaseOpen) {
				r.bad(RulePhase, pos, "act 0 is the open phase; write, verify and close follow", "phase %q in act %d", p, a)
			}
			last = p
			wrote = wrote || p == PhaseWrite
			for _, st := range act[i].Steps {
				verified = verified || p == PhaseVerify && st.Secure && st.Data != nil && len(*st.Data) > 0
			}
		}
	}
	if !wrote {
		r.bad(RulePhase, top(), "write .PHASE write and what the product is", "no write phase")
	}
	if !verified {
		r.bad(RuleVerify, top(), "add .PHASE verify with at least one secure read and its expected [data]", "no verify phase that checks anything")
	}
}

// step checks one command on its own.
func (r *rules) step(act int, sec *Section, st *Step) {
	phase := PhaseIdentify
	if sec != nil {
		phase = sec.Phase
	}
	if st.Kind != KindCommand {
		r.power(st, phase)
		return
	}
	limit, answer := apdu.MaxDataBytes, apdu.MaxLe
	if c := r.script.Channel(act); st.Secure && c != nil {
		limit, answer = c.MaxData(), c.MaxAnswer()
		r.secureHeader(st, c)
	}
	if st.Secure && phase == PhaseIdentify {
		r.bad(RuleSecret, st.pos, "the channel opens after identify", "a secure command in phase identify")
	}
	if n := size(st.Body); n > limit {
		r.bad(RuleLimit, st.pos, "cut it, or use .STORE, which cuts by itself", "command data of %d bytes, limit %d here", n, limit)
	}
	if st.Le < apdu.NoLe || st.Le == 0 || st.Le > apdu.MaxLe {
		r.bad(RuleLimit, st.pos, "Le is one byte", "Le of %d", st.Le)
	}
	stamping := phase == PhaseOpen && sec.Name != "" // openSection says what it may do
	if p := phase; p != PhaseWrite && p != PhaseClose && !stamping && !st.ReadOnly() {
		r.bad(RuleReadOnly, st.pos, "writing belongs to the phase write", "%X changes the chip in phase %q", st.Header, p)
	}
	r.segments(act, st, st.Body, phase, false)
	if st.Data != nil {
		r.segments(act, st, *st.Data, phase, true)
		if n := size(*st.Data); n > answer {
			r.bad(RuleLimit, st.pos, "ask for less at once", "expected data of %d bytes, limit %d here", n, answer)
		}
		if strings.ContainsAny(st.SW.String(), "|X") {
			r.bad(RuleStatus, st.pos, "another status would evade the check of the data", "expected data with %d kinds of status", 1+strings.Count(st.SW.String(), "|"))
		}
	}
	if st.SW == (apdu.Mask{}) {
		r.bad(RuleStatus, st.pos, "end with the accepted status, for example (9000)", "no status is accepted")
	}
	r.purpose(st, phase)
}

// power checks a step that cycles the power: it sends nothing, and stands where the channel and the phase end with it anyway.
func (r *rules) power(st *Step, phase Phase) {
	switch {
	case st.Kind != KindPower || st.Header != [4]byte{} || len(st.Body) > 0 || st.Le != apdu.NoLe || st.Secure || st.SW != apdu.ExactMask(apdu.SWOK) || st.Purpose != PurposeNone:
		r.bad(RulePower, st.pos, "write .POWER [answer to reset]", "a malformed step %q of kind %q", st.Label, st.Kind)
	case phase.order() < PhaseWrite.order():
		r.bad(RulePower, st.pos, "the line has just powered the chip", "the power is cycled in phase %q", phase)
	case st.Data != nil:
		for i := range *st.Data {
			if (*st.Data)[i].Var != nil {
				r.bad(RulePower, st.pos, "write bytes, and X for any nibble", "a variable in an answer to reset")
				return
			}
			r.wellFormed(&(*st.Data)[i], st.pos, true)
		}
	}
}

// hides says whether the channel that is open in an act takes a secret as it is.
func (r *rules) hides(act int) bool {
	c := r.script.Channel(act)
	return c != nil && c.hides()
}

// level is that of the channel that is open in an act.
func (r *rules) level(act int) byte {
	if c := r.script.Channel(act); c != nil {
		return c.Level
	}
	return 0
}

// plain says whether what is open in an act is no channel (ADM).
func (r *rules) plain(act int) bool {
	c := r.script.Channel(act)
	return c != nil && c.plain()
}

func (r *rules) secureHeader(st *Step, c *Channel) {
	switch cla, ins := st.Header[0], st.Header[1]; {
	case cla != 0x00 && cla != 0x80:
		r.bad(RuleClass, st.pos, "write the plain class 00 or 80, without the secure messaging bit", "class %02X inside the channel", cla)
	case ins == insSelect && (c.plain() || st.selectsFile()): // another file is no other application
	case ins == insSelect || ins == insInitUpdate:
		r.bad(RuleClass, st.pos, "put .PLAIN before it, and nothing secure after it", "%X inside the channel ends the channel", st.Header)
	}
}

// segments checks literals and variables. What a variable may do is the heart of the language: no secret is ever sent
// outside the channel, and none is ever expected back.
func (r *rules) segments(act int, st *Step, segments []Segment, phase Phase, expected bool) {
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
			r.bad(RuleChipID, pos, "write the bytes: the line knows no variables", "variable %s in phase identify", v)
		case v.Form != Public && !st.Secure:
			r.bad(RuleSecret, pos, "send it inside the channel (.SECURE)", "%s outside the channel", v)
		case v.Form == Secret && !r.hides(act):
			r.bad(RuleSecret, pos, "set LEVEL=33, or send it as {dek:…}", "%s at level %02X", v, r.level(act))
		case v.Form == DEK && r.plain(act):
			r.bad(RuleSecret, pos, "write {secret:…}: without a channel there is no key to send it under", "%s without a secure channel", v)
		case expected && (v.Form == Secret || v.Form == DEK || v.Form == Sealed):
			r.bad(RuleSecret, pos, "expect {kcv:…}: a chip gives no secret back", "%s in expected data", v)
		case v.Form == Answer:
			r.probed(act, v.Name, pos, v.String())
		}
	}
}

func (r *rules) wellFormed(g *Segment, pos Pos, pattern bool) bool {
	if g.Var == nil {
		careless := len(g.Care) == 0 || pattern && len(g.Care) == len(g.Bytes)
		if len(g.Bytes) == 0 || len(g.Bytes) > MaxStoreBytes || !careless {
			r.bad(RuleForm, pos, "write hex digits", "a literal of %d bytes with a mask of %d", len(g.Bytes), len(g.Care))
			return false
		}
		for i, care := range g.Care {
			if g.Bytes[i]&^care != 0 {
				r.bad(RuleForm, pos, "write 0 where the mask is 0", "a don't-care bit has a value")
				return false
			}
		}
		return true
	}
	v := g.Var
	named := variableName
	if v.Form == Answer {
		named = labelForm
	}
	most := MaxVarBytes
	if v.Form == Sealed {
		most = maxStreamBytes
	}
	ok := name(named, v.Name) && (v.At == 0 || v.Form == Answer) && len(g.Bytes) == 0 && len(g.Care) == 0 &&
		v.Size <= most && 0 <= v.From && v.From < v.To && v.To <= v.Size &&
		(!pattern || v.From == 0 && v.To == v.Size)
	switch v.Form {
	case Public, Secret, Sealed:
	case DEK:
		ok = ok && v.Size%aesBlockBytes == 0
	case KCV:
		ok = ok && v.Size == kcvBytes
	case Answer:
		ok = ok && v.At >= 0 && v.At+v.Size <= apdu.MaxLe
	default:
		ok = false
	}
	if !ok {
		r.bad(RuleForm, pos, "write {NAME} or {form:NAME}", "malformed variable %q", v)
	}
	return ok
}

func (r *rules) purpose(st *Step, phase Phase) {
	p := st.Purpose
	switch p {
	case PurposeNone, PurposeAUTS, PurposeReopen:
	case PurposeChip:
		if phase != PhaseIdentify {
			r.bad(RulePurpose, st.pos, "the line reads the chip id in phase identify", "purpose %q in phase %q", p, phase)
		}
	case PurposeProbe, PurposeReadback, PurposeECKA, PurposeOpening, PurposeObject:
		if !st.Secure {
			r.bad(RulePurpose, st.pos, "read it inside the channel, where the line cannot change it", "purpose %q outside the channel", p)
		}
	default:
		r.bad(RulePurpose, st.pos, "the purposes are "+purposes, "unknown purpose %q", p)
	}
}

// proof says that one answer at most serves each purpose that the vault looks for by name.
func (r *rules) proof() {
	seen := map[Purpose]bool{}
	r.script.walk(func(act int, _ *Section, st *Step) {
		switch st.Purpose {
		case PurposeNone, PurposeProbe, PurposeReadback, PurposeOpening, PurposeObject:
			return
		case PurposeChip:
			if act >= 0 { // said by purpose already
				return
			}
		}
		if seen[st.Purpose] {
			r.bad(RulePurpose, st.pos, "one command serves the purpose", "second %q", st.Purpose)
		}
		seen[st.Purpose] = true
	})
	if !seen[PurposeChip] && len(r.script.Identify) > 0 {
		r.bad(RuleChipID, r.script.Identify[0].pos, "mark the command that reads the chip id with => chip", "identify reads no chip id")
	}
}

// stepLabel is a written label or one the compiler made.
var stepLabel = regexp.MustCompile(`^[a-z][a-z0-9.-]*(#[0-9]+)?(/[0-9]+)?$`)

func (r *rules) labels() {
	seen := map[string]bool{}
	r.script.walk(func(_ int, _ *Section, st *Step) {
		if len(st.Label) > MaxNameChars+len("#999/999") || !stepLabel.MatchString(st.Label) {
			r.bad(RuleName, st.pos, fmt.Sprintf("labels are a-z, 0-9, dot and hyphen, at most %d characters", MaxNameChars), "label %q", st.Label)
		}
		if seen[st.Label] {
			r.bad(RuleName, st.pos, "give it a label of its own", "second label %q", st.Label)
		}
		seen[st.Label] = true
	})
}
