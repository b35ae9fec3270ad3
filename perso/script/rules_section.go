package script

import (
	"slices"

	"github.com/persoline/persoline/perso/apdu"
)

// section checks one section: can it be skipped, repeated and run after any other was skipped?
func (r *rules) section(act int, sec *Section) {
	if sec.Name == "" {
		if sec.Redo != RedoAlways || sec.When != "" || len(sec.Done) > 0 {
			r.bad(RuleRedo, sec.pos, "name it with .SECTION", "conditions on an unnamed section")
		}
	} else {
		r.named(act, sec)
	}
	if act > 0 || sec.Name != "" {
		r.target(sec)
	}
}

func (r *rules) named(act int, sec *Section) {
	if sec.Phase.order() < PhaseOpen.order() || sec.Phase == PhaseVerify || !name(labelForm, sec.Name) {
		r.bad(RuleName, sec.pos, "sections belong to the phases write and close; names are a-z, 0-9, dot and hyphen", "section %q in phase %q", sec.Name, sec.Phase)
	}
	if sec.When != "" && !name(labelForm, sec.When) {
		r.bad(RuleName, sec.pos, "names are a-z, 0-9, dot and hyphen", "condition %q", sec.When)
	}
	if sec.Phase == PhaseOpen {
		r.openSection(sec)
		return
	}
	if sec.Phase == PhaseClose && sec.When == "" {
		r.bad(RulePhase, sec.pos, "give it WHEN=, or leave the .SECTION out", "section %q in the phase close decides nothing", sec.Name)
	}
	if sec.Continues != "" {
		return // packages says what it must be
	}
	switch sec.Redo {
	case RedoSafe:
	case RedoNever:
		if len(sec.Done) == 0 {
			r.bad(RuleRedo, sec.pos, "give it DONE=, or no interrupted chip can be continued", "section %q is never redone and cannot be found done", sec.Name)
		}
	case RedoDeleteFirst:
		if !deletesFirst(sec) {
			r.bad(RuleRedo, sec.pos, "begin with DELETE and accept (9000|6A88)", "section %q does not delete first", sec.Name)
		}
	default:
		r.bad(RuleRedo, sec.pos, "REDO is safe, delete-first or never", "section %q with REDO=%s", sec.Name, sec.Redo)
	}
	if len(sec.Done) > MaxSections {
		r.bad(RuleLimit, sec.pos, "use fewer alternatives", "%d alternatives in DONE, limit %d", len(sec.Done), MaxSections)
	}
	for _, all := range sec.Done {
		if len(all) == 0 || len(all) > MaxSections {
			r.bad(RuleLimit, sec.pos, "name a probe and its data", "%d conditions joined by & in DONE, limit %d", len(all), MaxSections)
		}
		for i := range all {
			r.condition(act, &all[i])
		}
	}
}

// openSection checks the one write of act 0: at its end, behind all probes, so that they show the chip as it came; in one
// STORE DATA or PUT DATA that sends the stamp and no secret, so that a chip that is not the one has learned nothing.
func (r *rules) openSection(sec *Section) {
	if act := r.script.Acts[0]; sec != &act[len(act)-1] {
		r.bad(RuleStamp, sec.pos, "put the stamp, and nothing else, at the end of the phase open", "section %q in phase open is not the only one and the last", sec.Name)
	}
	if sec.Redo != RedoSafe || len(sec.Done) > 0 {
		r.bad(RuleStamp, sec.pos, "write REDO=safe without DONE", "section %q in phase open with REDO=%s and %d conditions", sec.Name, sec.Redo, len(sec.Done))
	}
	writes := 0
	for i := range sec.Steps {
		st := &sec.Steps[i]
		if st.Purpose != PurposeNone {
			r.bad(RuleStamp, st.pos, "probe before the section", "purpose %q behind the chip's state", st.Purpose)
		}
		if st.ReadOnly() {
			continue
		}
		if writes++; writes > 1 || !st.stamps() {
			r.bad(RuleStamp, st.pos, "the phase open writes one thing: a STORE DATA (PUT DATA without a channel) inside the channel with {STAMP} and (9000)",
				"%X changes the chip in phase %q", st.Header, PhaseOpen)
		}
	}
	if writes == 0 {
		r.bad(RuleStamp, sec.pos, "store {STAMP} in it, or read outside a section", "section %q in phase open writes nothing", sec.Name)
	}
}

// stamps says whether the step stores the stamp, sends no secret, and is confirmed by the chip inside the channel: an
// error status, which is not, is not accepted.
func (st *Step) stamps() bool {
	sent := false
	for _, g := range st.Body {
		if g.Var != nil && g.Var.Form != Public {
			return false
		}
		sent = sent || g.Var != nil && g.Var.Name == VarStamp
	}
	return sent && st.Secure && (st.Header[1] == insStoreData || st.Header[1] == insPutData) && st.SW == apdu.ExactMask(apdu.SWOK)
}

// StampSection finds the section of act 0 that puts the stamp on the chip.
func (s *Script) StampSection() (index int, ok bool) {
	if len(s.Acts) == 0 || len(s.Acts[0]) == 0 {
		return 0, false
	}
	last := len(s.Acts[0]) - 1
	return last, s.Acts[0][last].Name != "" && slices.ContainsFunc(s.Acts[0][last].Steps, func(st Step) bool { return st.stamps() })
}

// deletesFirst wants a DELETE that tolerates absence as the first command that writes.
func deletesFirst(sec *Section) bool {
	for i := range sec.Steps {
		st := &sec.Steps[i]
		if !st.ReadOnly() {
			return st.Header[1] == insDelete && st.SW.Match(0x6A88)
		}
	}
	return false
}

// condition checks one label[data]: the probe must have been answered, inside the channel, in an act before this one.
func (r *rules) condition(act int, c *Condition) {
	if !r.probed(act, c.Probe, c.pos, "DONE") {
		return
	}
	if n := size(c.Pattern); n == 0 || n > MaxPatternBytes {
		r.bad(RuleCondition, c.pos, "write what the answer contains", "a condition of %d bytes, limit %d", n, MaxPatternBytes)
	}
	// A condition compares inside the vault what came through the channel, as a step inside the channel does.
	r.segments(act, &Step{Secure: true, pos: c.pos}, c.Pattern, PhaseWrite, true)
}

// probed checks that what names a label in this act finds the answer of a probe there. It says whether there is one.
func (r *rules) probed(act int, label string, pos Pos, who string) bool {
	var probe *Step
	probedIn := 0
	r.script.walk(func(a int, _ *Section, st *Step) {
		if st.Label == label && probe == nil {
			probe, probedIn = st, a
		}
	})
	switch {
	case probe == nil:
		r.bad(RuleCondition, pos, "label the command that reads it, in phase open", "%s names an unknown label %q", who, label)
		return false
	case probe.Purpose != PurposeProbe:
		r.bad(RuleCondition, pos, "mark that command with => probe", "%s names %q, which is no probe", who, label)
	case probedIn >= act:
		r.bad(RuleCondition, pos, "probe in an earlier act, best in phase open", "%s names %q, which is not answered yet", who, label)
	}
	return true
}

// target wants INSTALL [for personalization] before the first STORE DATA or GENERATE of each section, and INSTALL [for load]
// before the first LOAD: the section before it may have been skipped, and its target with it.
func (r *rules) target(sec *Section) {
	chosen := map[byte]bool{installPerso: sec.Continues != ""} // by the kind of INSTALL
	for i := range sec.Steps {
		st := &sec.Steps[i]
		needs, hint := byte(0), ""
		switch ins, p1 := st.Header[1], st.Header[2]; {
		case ins == insInstall:
			chosen[p1] = true
			continue
		case ins == insStoreData || ins == insGenerate:
			needs, hint = installPerso, "begin with 80E62000 <0000 <{AID…}> 000000>: what ran before may have been skipped"
		case ins == insLoad:
			needs, hint = installLoad, "begin with 80E60200 <<load file AID> <security domain AID> 000000>: what ran before may have been skipped"
		}
		if needs != 0 && !chosen[needs] {
			r.bad(RuleTarget, st.pos, hint, "%X before this section chose its target", st.Header)
			return
		}
	}
}
