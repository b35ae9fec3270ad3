package transcript

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// Kinds of records.
const (
	KindOrder = "ceremony-order"
	KindStep  = "ceremony-step"
	KindEnd   = "ceremony-end"
)

// minPresent is dual control: nobody holds a ceremony alone.
const minPresent = 2

// Custodian is a person who holds components or copies; he needs no signing key.
type Custodian struct {
	ID     perso.Name
	Person string
}

// Order is what officers sign before a ceremony: who is there and what will be done. It is made from the reviewed plan and
// holds the plan's hash.
type Order struct {
	Env      perso.Env
	Site     perso.Name
	Ceremony perso.Name
	Number   uint64   // 1 for the first of a site, then without a gap
	Prev     [32]byte // hash of the end of the ceremony before; zero for the first
	Register [32]byte // head of the officer register at the beginning
	Plan     [32]byte // SHA-256 of the plan's file
	Token    string   // label
	At       time.Time
	NotAfter time.Time // the ceremony is not begun later
	Nonce    [32]byte

	Present    []perso.Name // officers, all of whom sign order and end
	Custodians []Custodian
	Acts       []Act
}

// Encode gives the body to sign.
func (o Order) Encode() ([]byte, error) {
	w := record.New(KindOrder).Str("env", string(o.Env)).Str("site", string(o.Site)).Str("ceremony", string(o.Ceremony)).Uint("number", o.Number).
		Hex("prev", optional(o.Prev)).Hex("register", o.Register[:]).Hex("plan", o.Plan[:]).Str("token", o.Token).
		Time("at", o.At).Time("not_after", o.NotAfter).Hex("nonce", o.Nonce[:]).Uint("present", uint64(len(o.Present)))
	for _, p := range o.Present {
		w.Str("officer", string(p))
	}
	w.Uint("custodians", uint64(len(o.Custodians)))
	for _, c := range o.Custodians {
		w.Str("custodian", string(c.ID)).Str("person", c.Person)
	}
	w.Uint("acts", uint64(len(o.Acts)))
	for _, a := range o.Acts {
		a.write(w)
	}
	return w.Bytes()
}

// ParseOrder reads an order; it checks form and inner sense, not signatures.
func ParseOrder(body []byte) (Order, error) {
	r, err := record.Parse(body, KindOrder)
	if err != nil {
		return Order{}, fmt.Errorf("parsing ceremony order: %w", err)
	}
	var o Order
	o.Env, err = perso.ParseEnv(r.Raw("env"))
	r.Check(err)
	o.Site, o.Ceremony, o.Number = r.Name("site"), r.Name("ceremony"), r.Uint("number", 32)
	o.Prev, o.Register, o.Plan = r.OptHash("prev"), r.Hash("register"), r.Hash("plan")
	o.Token, o.At, o.NotAfter, o.Nonce = r.Raw("token"), r.Time("at"), r.Time("not_after"), r.Hash("nonce")
	for range count(r, "present", MaxPresent) {
		o.Present = append(o.Present, r.Name("officer"))
	}
	for range count(r, "custodians", MaxCustodians) {
		o.Custodians = append(o.Custodians, Custodian{ID: r.Name("custodian"), Person: r.Raw("person")})
	}
	for range count(r, "acts", MaxActs) {
		o.Acts = append(o.Acts, readAct(r))
	}
	if err := r.Done(); err != nil {
		return Order{}, fmt.Errorf("parsing ceremony order: %w", err)
	}
	if err := o.check(); err != nil {
		return Order{}, fmt.Errorf("parsing ceremony order: %w", err)
	}
	return o, nil
}

func (o Order) check() error {
	switch {
	case o.Number == 0 || (o.Number == 1) != (o.Prev == [32]byte{}):
		return fmt.Errorf("ceremony number %d follows %x: the first, and no other, follows nothing", o.Number, o.Prev)
	case len(o.Acts) == 0:
		return fmt.Errorf("nothing is to be done")
	case o.NotAfter.Before(o.At):
		return fmt.Errorf("it was made after it ended")
	}
	for i, a := range o.Acts {
		if a.Key != "" && a.Key.Env() != o.Env {
			return fmt.Errorf("act %d: key %q is not of environment %s", i+1, a.Key, o.Env)
		}
	}
	return nil
}

// CheckPeople holds the order against the officer register: at least two officers of different person and role are there,
// and nobody stands in it under two names (dual control, split knowledge).
func (o Order) CheckPeople(reg *statement.Register) error {
	if reg.Env != o.Env || reg.Site != o.Site {
		return fmt.Errorf("the officer register is of site %q, environment %s", reg.Site, reg.Env)
	}
	if reg.Head != o.Register {
		return fmt.Errorf("it was made under register %x, the head is %x", o.Register, reg.Head)
	}
	if err := o.CheckPresent(); err != nil {
		return err
	}
	present, err := o.officers(reg)
	if err != nil {
		return err
	}
	if !statement.Dual(present) {
		return fmt.Errorf("%w: two officers of different person and role must be present", statement.ErrNotAuthorized)
	}
	people := map[perso.Name]string{}
	for _, c := range o.Custodians {
		for id, person := range people {
			if id == c.ID || strings.EqualFold(person, c.Person) {
				return fmt.Errorf("custodians %q and %q are the same", id, c.ID)
			}
		}
		people[c.ID] = c.Person
	}
	for _, p := range present {
		for id, person := range people {
			if (id == p.ID) != strings.EqualFold(person, p.Person) {
				return fmt.Errorf("officer %q and %q: one name for two, or the same person under two names", p.ID, id)
			}
		}
		people[p.ID] = p.Person
	}
	for i, a := range o.Acts {
		if err := a.checkPeople(people, o.Custodians); err != nil {
			return fmt.Errorf("act %d: %w", i+1, err)
		}
	}
	return nil
}

// CheckPresent is what can be said of the officers present without the register: at least two, nobody twice.
func (o Order) CheckPresent() error {
	for i, id := range o.Present {
		if slices.Contains(o.Present[:i], id) {
			return fmt.Errorf("%w: officer %q stands twice among those present", statement.ErrNotAuthorized, id)
		}
	}
	if n := len(o.Present); n < minPresent || n > MaxPresent {
		return fmt.Errorf("%w: two officers of different person and role must be present, and at most %d; the order names %d", statement.ErrNotAuthorized, MaxPresent, n)
	}
	return nil
}

func (o Order) officers(reg *statement.Register) (present []statement.Officer, err error) {
	for _, id := range o.Present {
		p, ok := reg.Officer(id)
		if !ok {
			return nil, fmt.Errorf("%w: %q is no officer in the register", statement.ErrNotAuthorized, id)
		}
		present = append(present, p)
	}
	return present, nil
}

// checkPeople: a component is held by a custodian, a sign-off is by two persons who are there.
func (a Act) checkPeople(people map[perso.Name]string, custodians []Custodian) error {
	if a.Op.ByComponents() {
		for _, c := range a.Copies {
			if !slices.ContainsFunc(custodians, func(k Custodian) bool { return k.ID == c.Holder }) {
				return fmt.Errorf("component holder %q is no custodian", c.Holder)
			}
		}
	}
	for _, id := range a.By {
		if _, ok := people[id]; !ok {
			return fmt.Errorf("%q is neither officer present nor custodian", id)
		}
	}
	if len(a.By) == 2 && strings.EqualFold(people[a.By[0]], people[a.By[1]]) {
		return fmt.Errorf("%q and %q are the same person", a.By[0], a.By[1])
	}
	return nil
}

// optional spells the zero hash as absent.
func optional(h [32]byte) []byte {
	if h == [32]byte{} {
		return nil
	}
	return h[:]
}
