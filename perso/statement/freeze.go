package statement

import (
	"fmt"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/record"
)

// Kinds of stopping work at once, and of letting it go on.
const (
	// KindFreeze names the word by which one officer stops all work on something.
	KindFreeze = "freeze"
	// KindUnfreeze names the statement by which two officers let it go on.
	KindUnfreeze = "unfreeze"
)

// Frozen is a kind of thing that can be frozen.
type Frozen string

// What can be frozen.
const (
	FrozenOrder Frozen = "order" // it is not released, and its lot stands
	FrozenLot   Frozen = "lot"
	FrozenLine  Frozen = "line" // nothing is begun or goes on there
	FrozenKey   Frozen = "key"  // nothing is made, released or exported with it
)

// ParseFrozen accepts the closed set.
func ParseFrozen(s string) (Frozen, error) {
	switch f := Frozen(s); f {
	case FrozenOrder, FrozenLot, FrozenLine, FrozenKey:
		return f, nil
	}
	return "", fmt.Errorf("%q is none of order, lot, line, key", s)
}

// MaxFrozenNameBytes bounds the name of what is frozen: the longest is an order number.
const MaxFrozenNameBytes = 64

// Freeze is what one officer signs so that something stands still at once, or two so that it goes on. What goes on is the
// freeze that is named: an old word lifts no newer one.
type Freeze struct {
	Kind   string // KindFreeze or KindUnfreeze
	Env    perso.Env
	Site   perso.Name
	What   Frozen
	Name   string
	Lifts  [32]byte // of an unfreeze: hash of the freeze
	Reason string
	At     time.Time
	Nonce  [32]byte
}

// Encode gives the body to sign.
func (f Freeze) Encode() ([]byte, error) {
	w := record.New(f.Kind).Str("env", string(f.Env)).Str("site", string(f.Site)).Str("what", string(f.What)).Str("name", f.Name)
	if f.Kind == KindUnfreeze {
		w.Hex("lifts", f.Lifts[:])
	}
	return w.Str("reason", f.Reason).Time("at", f.At).Hex("nonce", f.Nonce[:]).Bytes()
}

// ParseFreeze reads a body of either kind; it checks form, not signatures.
func ParseFreeze(body []byte) (Freeze, error) {
	kind, err := record.Kind(body)
	if err == nil && kind != KindFreeze && kind != KindUnfreeze {
		err = fmt.Errorf("a %q freezes nothing", kind)
	}
	if err != nil {
		return Freeze{}, fmt.Errorf("parsing freeze: %w", err)
	}
	r, err := record.Parse(body, kind)
	if err != nil {
		return Freeze{}, fmt.Errorf("parsing %s: %w", kind, err)
	}
	f := Freeze{Kind: kind}
	f.Env, err = perso.ParseEnv(r.Raw("env"))
	r.Check(err)
	f.Site = r.Name("site")
	f.What, err = ParseFrozen(r.Raw("what"))
	r.Check(err)
	if f.Name = r.Raw("name"); f.Name == record.None || len(f.Name) > MaxFrozenNameBytes {
		r.Check(fmt.Errorf("it does not say which %s", f.What))
	}
	if kind == KindUnfreeze {
		f.Lifts = r.Hash("lifts")
	}
	if f.Reason = r.Raw("reason"); f.Reason == record.None {
		r.Check(fmt.Errorf("it gives no reason"))
	}
	f.At, f.Nonce = r.Time("at"), r.Hash("nonce")
	if err := r.Done(); err != nil {
		return Freeze{}, fmt.Errorf("parsing %s: %w", kind, err)
	}
	return f, nil
}

// KeysOf lists the names of the keys that a lot is made and handed out with: freezing one freezes the lot.
func (r Release) KeysOf() (keys []perso.Name) {
	for _, k := range []perso.Name{r.KMC, r.OP, r.TransportKey, r.WrapKey, r.Customer.ReceiveKey, r.Operational.OP, r.Operational.TransportKey} {
		if k != "" {
			keys = append(keys, k)
		}
	}
	return keys
}

// Stops reports whether a freeze is about the lot of a release: it, its order, or a key of it.
func (f Freeze) Stops(r Release) bool {
	switch f.What {
	case FrozenLot:
		return f.Name == string(r.Lot)
	case FrozenOrder:
		return f.Name == r.Order
	case FrozenKey:
		for _, k := range r.KeysOf() {
			if f.Name == string(k) {
				return true
			}
		}
	}
	return false
}
