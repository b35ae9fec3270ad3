package transcript

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/statement"
)

// Chain is what follows from the ceremonies of a site so far. Make it with NewChain; Follow adds one.
type Chain struct {
	Env       perso.Env
	Site      perso.Name
	Number    uint64   // of the last ceremony, 0 before the first
	Head      [32]byte // hash of its end
	Register  *statement.Register
	Inventory *Inventory

	pin      [32]byte
	register []statement.Signed
	at       time.Time
	partial  bool // the ceremonies before are not known
}

// NewChain begins before the first ceremony. pin is the hash of the officer register's genesis as the reader knows it; zero
// takes whatever the first file brings, and the caller must show the hash to a person.
func NewChain(pin [32]byte) *Chain { return &Chain{pin: pin, Inventory: &Inventory{}} }

// NewPartial begins in the middle: the first file is checked by itself, but not what it follows, nor the states of keys.
func NewPartial(pin [32]byte) *Chain {
	c := NewChain(pin)
	c.partial = true
	return c
}

// Statements is the officer register's chain after the last ceremony.
func (c *Chain) Statements() []statement.Signed { return slices.Clone(c.register) }

// LastTime is when the last ceremony ended.
func (c *Chain) LastTime() time.Time { return c.at }

// Partial reports whether the beginning is not known.
func (c *Chain) Partial() bool { return c.partial }

// Told is a verified ceremony.
type Told struct {
	Order Order
	Steps []Step
	End   End
	Hash  [32]byte // of the end: what the next order names, and what is pinned
	By    []perso.Name
}

// Follow verifies the next transcript and takes it in. The error is a *Fault with the place; the chain is then as before.
func (c *Chain) Follow(f File) (Told, error) {
	t := Told{Hash: f.End.Hash()}
	before, after, err := c.registers(f)
	if err != nil {
		return t, err
	}
	if t.Order, err = ParseOrder(f.Order.Body); err != nil {
		return t, fault("order", "%v", err)
	}
	if err := c.follows(t.Order); err != nil {
		return t, fault("order", "%v", err)
	}
	if err := Authorized(f.Order, t.Order.Present, before); err != nil {
		return t, fault("order", "%v", err)
	}
	if err := t.Order.CheckPeople(before); err != nil {
		return t, fault("order", "%v", err)
	}
	inventory := c.Inventory.Clone()
	if t.Steps, err = c.replay(f, t.Order, inventory); err != nil {
		return t, err
	}
	if t.End, err = checkEnd(f, t.Order, t.Steps, after); err != nil {
		return t, fault("end", "%v", err)
	}
	if err := Authorized(f.End, t.Order.Present, before); err != nil {
		return t, fault("end", "%v", err)
	}
	t.By = t.Order.Present
	c.Env, c.Site, c.Number, c.Head, c.at = t.Order.Env, t.Order.Site, t.Order.Number, t.Hash, t.End.At
	c.Register, c.register, c.Inventory = after, f.Register, inventory
	return t, nil
}

// registers builds the officer register as it was at the beginning and at the end.
func (c *Chain) registers(f File) (before, after *statement.Register, err error) {
	if len(f.Register) < len(c.register) {
		return nil, nil, fault("register", "%d statements, there were %d before", len(f.Register), len(c.register))
	}
	for i, s := range c.register {
		if !bytes.Equal(s.Encode(), f.Register[i].Encode()) {
			return nil, nil, fault("register", "statement %d is not the one of the ceremony before", i+1)
		}
	}
	pin := c.pin
	if c.Register != nil {
		pin = c.Register.Pin
	}
	if after, err = statement.NewRegister(pin, f.Register); err != nil {
		return nil, nil, fault("register", "%v", err)
	}
	o, err := ParseOrder(f.Order.Body)
	if err != nil {
		return nil, nil, fault("order", "%v", err)
	}
	n := slices.IndexFunc(f.Register, func(s statement.Signed) bool { return s.Hash() == o.Register })
	if n < 0 {
		return nil, nil, fault("order", "it was made under register %x, which is not in the file", o.Register)
	}
	if before, err = statement.NewRegister(pin, f.Register[:n+1]); err != nil {
		return nil, nil, fault("register", "%v", err)
	}
	return before, after, nil
}

// follows holds an order against the chain before it.
func (c *Chain) follows(o Order) error {
	switch {
	case c.partial && c.Number == 0:
		return nil
	case o.Number != c.Number+1:
		return fmt.Errorf("it is ceremony number %d, expected %d: one is missing or told twice", o.Number, c.Number+1)
	case o.Prev != c.Head:
		return fmt.Errorf("it follows %x, the last ceremony ended with %x", o.Prev, c.Head)
	case c.Number > 0 && (o.Env != c.Env || o.Site != c.Site):
		return fmt.Errorf("it is of site %q, environment %s", o.Site, o.Env)
	case c.Number > 0 && c.Register != nil && o.Register != c.Register.Head:
		return fmt.Errorf("the officer register changed between two ceremonies: head %x, then %x", c.Register.Head, o.Register)
	case o.At.Before(c.at):
		return fmt.Errorf("its time %s is before the end of the last, %s", o.At, c.at)
	}
	return nil
}

// Authorized demands two officers of different person and role, and the signatures of those who are named: of all, and of
// nobody else, so that a transcript has one form.
func Authorized(s statement.Signed, all []perso.Name, reg *statement.Register) error {
	if err := reg.Authorize(s); err != nil {
		return err
	}
	for _, id := range all {
		if !slices.ContainsFunc(s.Signatures, func(g statement.Signature) bool { return g.Officer == id }) {
			return fmt.Errorf("%w: %q was present and did not sign", statement.ErrNotAuthorized, id)
		}
	}
	if len(s.Signatures) != len(all) {
		return fmt.Errorf("%w: %d were present, %d signed", statement.ErrNotAuthorized, len(all), len(s.Signatures))
	}
	return nil
}

// replay checks the chain of steps and carries them out on the inventory.
func (c *Chain) replay(f File, o Order, inv *Inventory) (steps []Step, err error) {
	p := Progress{Order: o, Head: f.Order.Hash(), Last: o.At}
	for i, b := range f.Steps {
		place := fmt.Sprintf("step %d", i+1)
		s, err := p.Take(b)
		if err != nil {
			return nil, fault(place, "%v", err)
		}
		steps = append(steps, s)
		if s.Phase != PhaseDone || c.partial {
			continue
		}
		if err := inv.Apply(o.Acts[s.Act-1], Done{Ceremony: o.Number, At: s.At, Result: s.Result}); err != nil {
			return nil, fault(place, "%v", err)
		}
	}
	return steps, c.officersChanged(f, o, steps)
}

// officersChanged: each change of the register is a done act, and each such act is a change.
func (c *Chain) officersChanged(f File, o Order, steps []Step) error {
	from := slices.IndexFunc(f.Register, func(s statement.Signed) bool { return s.Hash() == o.Register })
	changes := f.Register[from+1:]
	for _, s := range steps {
		if s.Phase != PhaseDone || !s.Op.OnOfficers() {
			continue
		}
		if len(changes) == 0 || s.Result != StatementResult(changes[0]) {
			return fault(fmt.Sprintf("step %d", s.N), "the officer register does not have this change")
		}
		changes = changes[1:]
	}
	if len(changes) > 0 {
		return fault("register", "%d changes were made by no step", len(changes))
	}
	return nil
}

// StatementResult is what a step says of a register statement.
func StatementResult(s statement.Signed) string { return fmt.Sprintf("statement:%x", s.Hash()) }

func checkEnd(f File, o Order, steps []Step, after *statement.Register) (End, error) {
	e, err := ParseEnd(f.End.Body)
	if err != nil {
		return e, err
	}
	prev, last := f.Order.Hash(), o.At
	if n := len(f.Steps); n > 0 {
		prev, last = Hash(f.Steps[n-1]), steps[n-1].At
	}
	p := Progress{Order: o}
	for _, s := range steps {
		p.note(s)
	}
	switch {
	case e.Env != o.Env || e.Site != o.Site || e.Ceremony != o.Ceremony || e.Number != o.Number:
		return e, fmt.Errorf("it is the end of another ceremony")
	case e.Order != f.Order.Hash():
		return e, fmt.Errorf("it ends order %x, the order is %x", e.Order, f.Order.Hash())
	case e.Prev != prev || e.Steps != uint64(len(steps)):
		return e, fmt.Errorf("it follows %x after %d steps, the last of %d is %x: a step was changed, added or left out", e.Prev, e.Steps, len(steps), prev)
	case e.Register != after.Head:
		return e, fmt.Errorf("it says register %x, the head is %x", e.Register, after.Head)
	case e.At.Before(last):
		return e, fmt.Errorf("its time %s is before the last step's", e.At)
	case p.Open:
		return e, fmt.Errorf("act %d was begun and has no outcome", p.Act)
	case (e.Outcome == OutcomeComplete) != p.Complete():
		return e, fmt.Errorf("it says %s, and %d of %d acts were done", e.Outcome, p.Finished, len(o.Acts))
	}
	return e, nil
}

// Number is the ceremony's.
func (t Told) Number() uint64 { return t.Order.Number }
