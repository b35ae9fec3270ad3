package dryrun

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/tlv"
)

// wrongAnswer is what a chip answered wrongly.
type wrongAnswer struct{ err error }

func (w *wrongAnswer) Error() string { return w.err.Error() }
func (w *wrongAnswer) Unwrap() error { return w.err }

// wrong makes the error of a chip that answered wrongly.
func wrong(format string, a ...any) error { return &wrongAnswer{fmt.Errorf(format, a...)} }

// errMute says that the chip lost power.
var errMute = errors.New("the chip does not answer")

// player takes one chip through the script.
type player struct {
	config  Config
	script  *script.Script
	chip    *cardsim.Chip
	values  *values
	channel channel
	atr     []byte
	contact int
	wrote   bool // something after the stamp was sent to the chip
	makers  bool // the channel is under the maker's keys: the chip was not given its own yet
	trace   Trace
	untold  bool // nobody reads the trace: commands are not written out
}

// present contacts the chip and plays all that it needs.
func (p *player) present() error {
	p.contact++
	p.values.answers, p.values.channel = map[string][]byte{}, func() channel { return p.channel }
	p.values.loads = map[string]*load{}
	p.power(Entry{Act: -1, Label: "contact", Expect: "ATR"})
	for i := range p.script.Identify {
		st := &p.script.Identify[i]
		var data []byte
		for _, g := range st.Body {
			data = append(data, g.Bytes...)
		}
		h := st.Header
		c := script.Command{Step: st, APDU: apdu.Command{CLA: h[0], INS: h[1], P1: h[2], P2: h[3], Data: data, Le: st.Le}}
		if err := p.step(c, Entry{Act: -1, Phase: script.PhaseIdentify}); err != nil {
			return err
		}
	}
	for act := range p.script.Acts {
		if err := p.act(act); err != nil {
			return err
		}
	}
	return nil
}

// power resets the chip.
func (p *player) power(e Entry) {
	p.atr = p.chip.PowerOn()
	p.trace.Physical += cardsim.DefaultTiming().Reset(p.atr)
	e.Contact, e.Kind, e.Answer = p.contact, KindPower, p.atr
	p.trace.Entries = append(p.trace.Entries, e)
}

// send exchanges one command, and adds the entry, whose unwrapped answer is filled in by who can.
func (p *player) send(e Entry) ([]byte, *Entry, error) {
	answer, cost := p.chip.Process(e.Raw)
	e.Contact, e.Kind, e.Cost = p.contact, KindCommand, cost
	p.trace.Physical += cardsim.DefaultTiming().Exchange(p.atr, cost)
	data, sw, err := apdu.SWOf(answer)
	if err == nil {
		e.Answer, e.SW, e.Meaning = data, uint16(sw), sw.Meaning()
	}
	p.trace.Entries = append(p.trace.Entries, e)
	if err != nil {
		return nil, nil, wrong("step %q: %w", e.Label, errMute)
	}
	return answer, &p.trace.Entries[len(p.trace.Entries)-1], nil
}

// act decides what the chip needs of an act, and plays it.
func (p *player) act(n int) error {
	if c := p.script.Channel(n); c != nil && c.Act == n {
		if err := p.open(n, c); err != nil {
			return err
		}
	}
	skip, err := p.script.Skip(n, p.values.answers, p.decisions(), p.values)
	if errors.Is(err, script.ErrShortAnswer) {
		return wrong("act %d: %w", n, err)
	}
	if err != nil {
		return fmt.Errorf("deciding act %d: %w", n, err)
	}
	commands, err := p.script.Render(n, skip, p.values)
	if errors.Is(err, script.ErrShortAnswer) {
		return wrong("act %d: %w", n, err)
	}
	if err != nil {
		return fmt.Errorf("filling act %d: %w", n, err)
	}
	for i := range skip {
		sec := &p.script.Acts[n][i]
		e := Entry{Contact: p.contact, Act: n, Phase: sec.Phase, Section: sec.Name, Label: sec.Name}
		if skip[i] {
			e.Kind = KindSkipped
			p.trace.Entries = append(p.trace.Entries, e)
			continue
		}
		for range sec.Steps {
			if err := p.step(commands[0], e); err != nil {
				return err
			}
			commands = commands[1:]
		}
	}
	return nil
}

// decisions are the vault's: a chip needs no key pair when the certificate is for the one it reports, is given one only while it
// has its maker's keys, and gets no second stamp.
func (p *player) decisions() map[string]bool {
	when := map[string]bool{}
	for _, act := range p.script.Acts {
		for _, sec := range act {
			if sec.When != "" {
				when[sec.When] = true
			}
		}
	}
	when["stamp"], when["inject"] = !p.wrote, p.makers
	when["ecka"] = p.values.point == nil || !p.reports(p.values.point)
	for name, decided := range p.config.When {
		when[name] = decided
	}
	return when
}

// reports says whether the chip showed a public key in any probe.
func (p *player) reports(point []byte) bool {
	for _, answer := range p.values.answers {
		if bytes.Contains(answer, point) {
			return true
		}
	}
	return false
}

// step plays one command and judges its answer.
func (p *player) step(c script.Command, e Entry) error {
	st := c.Step
	e.Label, e.Secure, e.Expect = st.Label, st.Secure, st.SW.String()
	if st.Kind == script.KindPower {
		e.Expect = "ATR"
		p.power(e)
		return judged(st.Check(p.atr, apdu.SWOK, p.values))
	}
	p.wrote = p.wrote || e.Act > 0 && !st.ReadOnly()
	if e.Raw = c.APDU.Bytes(); !p.untold {
		e.Command = shown(c.APDU, st.Body)
	}
	var read func([]byte) ([]byte, apdu.SW, error)
	if st.Secure {
		var err error
		if e.Raw, read, err = p.channel.wrap(c.APDU); err != nil {
			return fmt.Errorf("wrapping step %q: %w", st.Label, err)
		}
	}
	raw, sent, err := p.send(e)
	if err != nil {
		return err
	}
	data, sw := sent.Answer, apdu.SW(sent.SW)
	if st.Secure {
		data, sw, err = read(raw)
		if sent.Answer = data; err != nil {
			return wrong("step %q: %w", st.Label, err)
		}
	}
	if err := judged(st.Check(data, sw, p.values)); err != nil {
		return err
	}
	return p.take(st, data, sw)
}

// judged tells a wrong answer from a value that is missing.
func judged(err error) error {
	var wrongStep *script.StepError
	if errors.As(err, &wrongStep) {
		return &wrongAnswer{err}
	}
	return err
}

// take keeps an answer for later acts, and judges what the vault would.
func (p *player) take(st *script.Step, data []byte, sw apdu.SW) error {
	switch st.Purpose {
	case script.PurposeProbe:
		p.values.answers[st.Label] = bytes.Clone(data)
	case script.PurposeOpening:
		return p.values.opened(st, data)
	case script.PurposeObject:
		return p.values.object(st, data)
	case script.PurposeECKA:
		if !sw.OK() {
			return nil
		}
		point, found, err := tlv.FindPath(data, 0x7F49, 0xB0)
		if err != nil || !found {
			return wrong("step %q: no public key in the answer", st.Label)
		}
		p.values.certify(point)
	case script.PurposeAUTS:
		return p.auts(st, data)
	case script.PurposeReopen:
		if err := p.reopened(data); err != nil {
			return wrong("step %q: %w", st.Label, err)
		}
	}
	return nil
}

// auts judges the answer DC and AUTS that proves Ki and OPc (TS 31.102 §7.1.2.1).
func (p *player) auts(st *script.Step, data []byte) error {
	const head, bytesAUTS = 2, 14
	m, err := aka.New(p.values.byName["KI"], p.values.byName["OPC"])
	if err != nil || len(data) != head+bytesAUTS || len(p.values.byName["AUTH.RAND"]) != 16 {
		return wrong("step %q: %d bytes are no AUTS that can be judged", st.Label, len(data))
	}
	defer m.Wipe()
	if _, err := m.VerifyAUTS(aka.Rand(p.values.byName["AUTH.RAND"]), aka.AUTS(data[head:])); err != nil {
		return wrong("step %q: %w", st.Label, err)
	}
	return nil
}

// shown is a command for people: the header, the length, the data with names where secrets go, and Le.
func shown(c apdu.Command, body []script.Segment) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%02X%02X%02X%02X", c.CLA, c.INS, c.P1, c.P2)
	if len(c.Data) > 0 {
		fmt.Fprintf(&b, " %02X ", len(c.Data))
		at := 0
		for _, g := range body {
			n := len(g.Bytes)
			if g.Var != nil {
				n = g.Var.To - g.Var.From
			}
			if g.Var != nil && (g.Var.Form == script.DEK || g.Var.Form == script.Secret || g.Var.Form == script.Sealed) {
				b.WriteString(g.Var.String())
			} else {
				fmt.Fprintf(&b, "%X", c.Data[at:at+n])
			}
			at += n
		}
		fmt.Fprintf(&b, "%X", c.Data[at:])
	}
	if c.Le != apdu.NoLe {
		fmt.Fprintf(&b, " %02X", byte(c.Le))
	}
	return b.String()
}
