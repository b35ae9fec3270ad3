package script

import (
	"fmt"
	"io/fs"

	"github.com/persoline/persoline/perso/apdu"
)

// Lint reads a script as CompileFile does, and finds everything that is wrong with it: what keeps it from compiling, or
// else what compiles and nobody should want (the rules of good sense). s is nil for one that does not compile. The error
// says that the script itself cannot be read.
func Lint(folder fs.FS, name string, vars Catalogue) (s *Script, found Faults, err error) {
	src, err := fs.ReadFile(folder, name)
	if err != nil {
		return nil, nil, fmt.Errorf("reading script %q: %w", name, err)
	}
	c := newCompiler(folder, vars)
	c.stack = []string{name}
	if s, err = c.compile(func() { c.text("", src) }); err != nil {
		return nil, c.faults.sorted(), nil
	}
	r := &rules{script: s}
	r.goodSense()
	for name, d := range c.declared {
		// What an included file declares may be for another script that includes it.
		if !d.used && d.pos.File == "" {
			r.bad(RuleUnused, d.pos, "remove it, or use it", "nothing uses %q", name)
		}
	}
	return s, r.found.sorted(), nil
}

func (r *rules) goodSense() {
	r.sections()
	r.script.walk(func(_ int, sec *Section, st *Step) {
		phase := PhaseIdentify
		if sec != nil {
			phase = sec.Phase
		}
		r.answerDecides(st)
		if !st.Secure && pinCommand(st.Header[1]) && len(st.Body) > 0 {
			r.bad(RulePlainPIN, st.pos, "send it inside the channel, or prove the PIN without showing it", "%X sends a PIN or code that anyone on the line can read", st.Header)
		}
		if phase == PhaseVerify && st.Data == nil && st.reads() {
			r.bad(RuleUncheckedRead, st.pos, "write the expected [answer], or leave it out", "%X is read and compared with nothing", st.Header)
		}
	})
	r.readBack()
	r.unusedProbes()
}

// sections finds what is written again at each presentation of a chip because nothing says that it is there.
func (r *rules) sections() {
	for _, act := range r.script.Acts {
		for i := range act {
			sec := &act[i]
			if sec.Phase != PhaseWrite || len(sec.Done) > 0 || sec.When != "" {
				continue
			}
			if sec.Name != "" {
				r.bad(RuleMissingProbe, sec.pos, "probe in phase open, and write DONE=label[data]", "section %q cannot be found done", sec.Name)
				continue
			}
			for j := range sec.Steps {
				if st := &sec.Steps[j]; !st.ReadOnly() {
					r.bad(RuleMissingProbe, st.pos, "put it into a .SECTION with REDO and DONE", "%X writes outside any section", st.Header)
				}
			}
		}
	}
}

// answerDecides finds commands after which the next one would have to be made from the answer. What is sent is fixed
// before the chip says anything; the transport fetches waiting data by itself.
func (r *rules) answerDecides(st *Step) {
	const insGetResponse = 0xC0
	if st.Kind == KindCommand && st.Header[1] == insGetResponse {
		r.bad(RuleAnswerDecides, st.pos, "leave it out: the line fetches waiting data by itself", "GET RESPONSE of a length that the chip decides")
		return
	}
	for _, first := range []apdu.SW{apdu.SWMore, apdu.SWWrongLe, 0x9F00} {
		for low := range apdu.SW(0x100) {
			if st.SW.Match(first | low) {
				r.bad(RuleAnswerDecides, st.pos, "accept (9000): the line fetches waiting data and repeats with the right Le by itself", "status %s asks for another command", first|low)
				return
			}
		}
	}
	if st.SW.Match(apdu.SWMoreDataBER) {
		r.bad(RuleAnswerDecides, st.pos, "ask for less at once", "status %s asks for another command", apdu.SWMoreDataBER)
	}
}

// pinCommand says whether an instruction carries a PIN (ISO/IEC 7816-4 §11.6: VERIFY, CHANGE, DISABLE, ENABLE, RESET RETRY
// COUNTER).
func pinCommand(ins byte) bool {
	switch ins {
	case 0x20, 0x24, 0x26, 0x28, 0x2C:
		return true
	}
	return false
}

// reads says whether the step is there for its answer, and not to choose what comes next.
func (st *Step) reads() bool {
	return st.Kind == KindCommand && st.ReadOnly() && st.Header[1] != insSelect && st.Header[1] != insInstall && st.Header[1] != insVerify
}

// stores says whether the step puts data on the chip that can be read again: STORE DATA, PUT DATA, UPDATE BINARY, UPDATE RECORD.
func (st *Step) stores() bool {
	switch st.Header[1] {
	case insStoreData, insPutData, 0xD6, 0xDC:
		return !st.ReadOnly()
	}
	return false
}

// varGivenPoint is the public key of a pair that the chip is given (catalogue.go).
const varGivenPoint = "ECASD.PUB"

// readBack finds public values that are stored and that no answer is compared with. A public key is not read but proven: the chip
// signs with the other half.
func (r *rules) readBack() {
	compared := map[string]bool{}
	r.script.walk(func(_ int, _ *Section, st *Step) {
		if st.Purpose == PurposeECKA {
			compared[varGivenPoint] = true
		}
		if st.Data == nil {
			return
		}
		for _, g := range *st.Data {
			if g.Var != nil {
				compared[g.Var.Name] = true
			}
		}
	})
	r.script.walk(func(_ int, _ *Section, st *Step) {
		if !st.stores() || st.Package != "" {
			return
		}
		for _, g := range st.Body {
			if g.Var != nil && g.Var.Form == Public && !compared[g.Var.Name] {
				compared[g.Var.Name] = true // said once
				r.bad(RuleNeverReadBack, g.pos, "read it in phase verify, and expect it", "%s is stored and never compared", g.Var)
			}
		}
	})
}

func (r *rules) unusedProbes() {
	used := map[string]bool{}
	for _, act := range r.script.Acts {
		for i := range act {
			for _, all := range act[i].Done {
				for _, condition := range all {
					used[condition.Probe] = true
				}
			}
		}
	}
	for _, u := range r.script.Variables() {
		if u.Form == Answer {
			used[u.Name] = true
		}
	}
	r.script.walk(func(_ int, _ *Section, st *Step) {
		if st.Purpose == PurposeProbe && !used[st.Label] {
			r.bad(RuleUnused, st.pos, "name it in a DONE, or remove it", "nothing uses the probe %q", st.Label)
		}
	})
}
