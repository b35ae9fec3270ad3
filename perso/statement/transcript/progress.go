package transcript

import (
	"fmt"
	"time"
)

// Progress reads steps one after the other and knows what may come next. The vault resumes with it, the auditor replays
// with it. Set Order, Head (the order's hash) and Last (the order's time) before the first.
type Progress struct {
	Order Order
	Head  [32]byte // hash of the last record
	Last  time.Time
	Steps uint64

	Act      uint64 // the act that was begun last, 0 before the first
	Open     bool   // it has no outcome yet
	Finished uint64 // acts done
	Ended    bool   // an act was given up: no other follows
}

// Complete reports that every act was done.
func (p *Progress) Complete() bool { return !p.Open && p.Finished == uint64(len(p.Order.Acts)) }

// Take reads the next step and checks that it follows.
func (p *Progress) Take(b []byte) (Step, error) {
	s, err := ParseStep(b)
	if err != nil {
		return s, err
	}
	switch {
	case s.N != p.Steps+1:
		return s, fmt.Errorf("it is number %d, expected %d", s.N, p.Steps+1)
	case s.Prev != p.Head:
		return s, fmt.Errorf("it follows %x, the record before it is %x: one of the two was changed, or one between them left out", s.Prev, p.Head)
	case s.At.Before(p.Last):
		return s, fmt.Errorf("its time %s is before that of the record before it", s.At)
	case p.Ended:
		return s, fmt.Errorf("a step after the ceremony was given up")
	case s.Act == 0 || s.Act > uint64(len(p.Order.Acts)):
		return s, fmt.Errorf("it is of act %d, the order has %d", s.Act, len(p.Order.Acts))
	}
	want := p.Act + 1
	if s.Phase != PhaseIntent {
		want = p.Act
	}
	if s.Act != want || p.Open == (s.Phase == PhaseIntent) {
		return s, fmt.Errorf("%s of act %d: the acts are done one by one, each with an intent and one outcome", s.Phase, s.Act)
	}
	if a := p.Order.Acts[s.Act-1]; a.Op != s.Op || a.Subject() != s.Key {
		return s, fmt.Errorf("it says %s of %q, act %d of the order is %s of %q", s.Op, s.Key, s.Act, a.Op, a.Subject())
	}
	p.Head, p.Last, p.Steps = Hash(b), s.At, s.N
	p.note(s)
	return s, nil
}

// note counts a step that was found to follow.
func (p *Progress) note(s Step) {
	p.Act, p.Open = s.Act, s.Phase == PhaseIntent
	switch s.Phase {
	case PhaseDone:
		p.Finished++
	case PhaseUndone:
		p.Ended = true
	}
}
