package script

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/persoline/persoline/perso/apdu"
)

// Binder gives values: it appends variable name in form to dst. It is called only for what is needed, so a binder may
// derive a card's secrets at the first call that wants one. It must append exactly the bytes the catalogue declared; of
// an Answer, all that the probe of that label was answered.
type Binder interface {
	Bind(dst []byte, form Form, name string) ([]byte, error)
}

// Command is a step filled for one card, not yet wrapped.
type Command struct {
	Step *Step
	// APDU.Data lies in memory shared by all commands of the act and may hold secrets: Wipe it.
	APDU apdu.Command
}

// ErrVariable says that a Binder gave something else than what the catalogue declared.
var ErrVariable = errors.New("variable does not have its declared length")

// ErrShortAnswer says that a probe was answered with fewer bytes than the script takes out of it, or was not sent.
var ErrShortAnswer = errors.New("the answer is shorter than what is taken out of it")

// ErrAct says that the script has no such act, or that skip does not fit it.
var ErrAct = errors.New("no such act")

// Render fills act for one card. skip is what Skip returned for this act. It copies the images of the sections that are
// played and puts the card's values into their places; a variable is bound once, however often it is sent. The caller
// must Wipe the commands.
func (s *Script) Render(act int, skip []bool, b Binder) ([]Command, error) {
	if act < 0 || act >= len(s.Acts) || len(skip) != len(s.Acts[act]) {
		return nil, fmt.Errorf("rendering act %d with %d decisions: %w", act, len(skip), ErrAct)
	}
	steps, bytes := s.Acts[act].need(skip)
	commands := make([]Command, 0, steps)
	arena := make([]byte, 0, bytes)
	bound := newBinding(s.uses[act], b)
	defer bound.wipe()
	for i := range s.Acts[act] {
		if skip[i] {
			continue
		}
		sec := &s.Acts[act][i]
		start := len(arena)
		arena = append(arena, sec.image.data...)
		if err := sec.fill(arena[start:], bound); err != nil {
			clear(arena)
			return nil, err
		}
		for j := range sec.Steps {
			end := sec.image.ends[j]
			commands = append(commands, sec.Steps[j].with(arena[start+sec.image.start(j):start+end:start+end]))
		}
	}
	return commands, nil
}

// Wipe overwrites the data of rendered commands.
func Wipe(commands []Command) {
	for _, c := range commands {
		clear(c.APDU.Data)
	}
}

// IdentifyWindow is the identify phase as the line plays it.
func (s *Script) IdentifyWindow() Window {
	w := make(Window, 0, len(s.Identify))
	for i := range s.Identify {
		st := &s.Identify[i]
		var data []byte
		for _, g := range st.Body {
			data = append(data, g.Bytes...)
		}
		w = append(w, Play{APDU: st.with(data).APDU.Bytes(), SW: st.SW.String()})
	}
	return w
}

// need counts the commands and the bytes of their data.
func (act Act) need(skip []bool) (steps, bytes int) {
	for i := range act {
		if !skip[i] {
			steps += len(act[i].Steps)
			bytes += len(act[i].image.data)
		}
	}
	return steps, bytes
}

// bind appends the whole variable. dst must have room for it.
func (v *Ref) bind(dst []byte, b Binder) ([]byte, error) {
	out, err := b.Bind(dst, v.Form, v.Name)
	if err != nil {
		return dst, fmt.Errorf("binding %s: %w", v, err)
	}
	start := len(dst)
	switch got := len(out) - start; {
	case v.Form == Answer && got >= v.At+v.Size && got <= v.room():
		return out[:start+copy(out[start:], out[start+v.At:start+v.At+v.Size])], nil
	case v.Form == Answer && got >= 0 && got < v.At+v.Size:
		return dst, fmt.Errorf("binding %s: %d bytes: %w", v, got, ErrShortAnswer)
	case v.Form != Answer && got == v.Size:
		return out, nil
	default:
		clear(out[min(start, len(out)):])
		return dst, fmt.Errorf("binding %s: %d bytes: %w", v, got, ErrVariable)
	}
}

// room is how many bytes a Binder appends for the variable, or at most appends.
func (v *Ref) room() int {
	if v.Form == Answer {
		return apdu.MaxLe
	}
	return v.Size
}

func (st *Step) with(data []byte) Command {
	h := st.Header
	return Command{Step: st, APDU: apdu.Command{CLA: h[0], INS: h[1], P1: h[2], P2: h[3], Data: data, Le: st.Le}}
}

// Why is the sort of a wrong answer.
type Why string

// The sorts of wrong answers.
const (
	WhyStatus Why = "status" // outside the mask
	WhyLength Why = "length" // data of another length than expected
	WhyData   Why = "data"   // data of the right length with a wrong byte
)

// StepError says that a chip answered a step wrongly. It never holds the data.
type StepError struct {
	Label string
	Index int
	SW    apdu.SW
	Want  apdu.Mask
	Why   Why
	// At is the first wrong byte for WhyData, the number of bytes for WhyLength.
	At int
}

// Error names the step and what was wrong.
func (e *StepError) Error() string {
	switch e.Why {
	case WhyStatus:
		return fmt.Sprintf("checking step %q: status %s outside (%s)", e.Label, e.SW, e.Want)
	case WhyLength:
		return fmt.Sprintf("checking step %q: unexpected %d bytes of data", e.Label, e.At)
	}
	return fmt.Sprintf("checking step %q: unexpected data from byte %d", e.Label, e.At)
}

// Check compares the unwrapped answer with what the step expects. A wrong answer is a *StepError; any other error is the
// Binder's. Variables are bound one by one, and only as far as the answer is right.
func (st *Step) Check(data []byte, sw apdu.SW, b Binder) error {
	wrong := func(why Why, at int) error {
		return &StepError{Label: st.Label, Index: st.Index, SW: sw, Want: st.SW, Why: why, At: at}
	}
	if !st.SW.Match(sw) {
		return wrong(WhyStatus, 0)
	}
	if st.Data == nil {
		return nil
	}
	if len(data) != size(*st.Data) {
		return wrong(WhyLength, len(data))
	}
	at := 0
	for i := range *st.Data {
		g := &(*st.Data)[i]
		ok, err := g.matches(data[at:at+g.size()], b)
		if err != nil {
			return fmt.Errorf("checking step %q: %w", st.Label, err)
		}
		if !ok {
			return wrong(WhyData, at)
		}
		at += g.size()
	}
	return nil
}

// matches compares data, which has the segment's size.
func (g *Segment) matches(data []byte, b Binder) (bool, error) {
	if g.Var == nil {
		return g.literalMatches(data), nil
	}
	value, err := g.Var.bind(make([]byte, 0, g.Var.room()), b)
	defer clear(value)
	return bytes.Equal(value, data), err
}

func (g *Segment) literalMatches(data []byte) bool {
	if len(g.Care) == 0 {
		return bytes.Equal(g.Bytes, data)
	}
	for i, care := range g.Care {
		if data[i]&care != g.Bytes[i] {
			return false
		}
	}
	return true
}
