package transcript

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/persoline/persoline/perso"
)

// State is where a key is in its life. It goes forward only, but for suspended, from which an active key may return.
type State string

// The states.
const (
	StateActive    State = "active"
	StateSuspended State = "suspended"
	StateRetired   State = "retired"
	StateErased    State = "erased"    // off the token; a copy is not signed off yet
	StateDestroyed State = "destroyed" // off the token, and every copy signed off by two persons
)

// OnToken reports whether a key in this state is on the token.
func (s State) OnToken() bool { return s == StateActive || s == StateSuspended || s == StateRetired }

// Held is a copy and what became of it.
type Held struct {
	Copy
	Gone time.Time    // zero while it exists
	By   []perso.Name // who signed it off
}

// Entry is one key of the inventory.
type Entry struct {
	Key    Label
	Origin Op // how it came into being
	Backup Backup
	Bytes  uint64 // of an imported key
	Owner  string
	Until  time.Time // end of its cryptoperiod; it is to be retired by then
	State  State
	Check  string // what its value or public half is known by; see Step.Result
	Born   time.Time
	Since  time.Time // of State
	// Ceremony is the number of the ceremony that changed it last.
	Ceremony uint64
	Copies   []Held
}

// Inventory is every key that ceremonies ever made, in their present state. The zero value is empty. Keys of lots are not
// in it: the vault makes and destroys them by officers' statements of their own.
type Inventory struct{ keys map[Label]*Entry }

// Keys lists the entries by label.
func (v *Inventory) Keys() []*Entry {
	var out []*Entry
	for _, l := range slices.Sorted(maps.Keys(v.keys)) {
		out = append(out, v.keys[l])
	}
	return out
}

// Find looks one key up; nil if no ceremony made it.
func (v *Inventory) Find(l Label) *Entry { return v.keys[l] }

// Clone gives a copy, for trying acts out.
func (v *Inventory) Clone() *Inventory {
	c := &Inventory{keys: map[Label]*Entry{}}
	for l, e := range v.keys {
		n := *e
		n.Copies = slices.Clone(e.Copies)
		c.keys[l] = &n
	}
	return c
}

// Done says when and by which ceremony an act was done, and what it showed.
type Done struct {
	Ceremony uint64
	At       time.Time
	Result   string
}

// Apply carries an act out on the inventory, or refuses it by the key's state.
func (v *Inventory) Apply(a Act, d Done) error {
	if a.Op.OnOfficers() {
		return nil
	}
	if v.keys == nil {
		v.keys = map[Label]*Entry{}
	}
	e := v.keys[a.Key]
	if a.Op.Creates() {
		if e != nil {
			return fmt.Errorf("%s of %q: there was such a key, it is %s; a label is used once", a.Op, a.Key, e.State)
		}
		e = &Entry{Key: a.Key, Origin: a.Op, Backup: a.Backup, Bytes: a.Bytes, Owner: a.Owner, Until: a.Until, State: StateActive, Check: d.Result, Born: d.At, Since: d.At, Ceremony: d.Ceremony}
		for _, c := range a.Copies {
			e.Copies = append(e.Copies, Held{Copy: c})
		}
		v.keys[a.Key] = e
		return nil
	}
	if e == nil {
		return fmt.Errorf("%s of %q: no ceremony made such a key", a.Op, a.Key)
	}
	if a.Op == OpSignOff {
		return e.signOff(a, d)
	}
	if a.Op == OpRequest && e.State == StateActive {
		return nil
	}
	next, ok := nextState(e.State, a.Op)
	if !ok {
		return fmt.Errorf("%s of %q: it is %s", a.Op, a.Key, e.State)
	}
	e.to(next, d)
	return nil
}

// nextState is the life of a key.
func nextState(s State, o Op) (State, bool) {
	switch {
	case o == OpSuspend && s == StateActive:
		return StateSuspended, true
	case o == OpResume && s == StateSuspended:
		return StateActive, true
	case o == OpRetire && (s == StateActive || s == StateSuspended):
		return StateRetired, true
	case o == OpDestroy && s == StateRetired:
		return StateErased, true
	}
	return s, false
}

func (e *Entry) to(s State, d Done) {
	e.State, e.Since, e.Ceremony = s, d.At, d.Ceremony
	left := slices.ContainsFunc(e.Copies, func(h Held) bool { return h.Gone.IsZero() })
	if s == StateErased && !left {
		e.State = StateDestroyed
	}
}

// signOff marks a copy as gone; only then can the key count as destroyed.
func (e *Entry) signOff(a Act, d Done) error {
	if e.State != StateErased {
		return fmt.Errorf("%s of %q: it is %s; copies are signed off after the key is destroyed on the token", a.Op, a.Key, e.State)
	}
	want := a.Copies[0]
	i := slices.IndexFunc(e.Copies, func(h Held) bool { return h.Holder == want.Holder && h.Place == want.Place && h.Gone.IsZero() })
	if i < 0 {
		return fmt.Errorf("%s of %q: the inventory has no copy left with %q at %q", a.Op, a.Key, want.Holder, want.Place)
	}
	e.Copies[i].Gone, e.Copies[i].By = d.At, a.By
	e.to(StateErased, d)
	return nil
}
