package keygen

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/persoline/persoline/keygen/kisource"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/secret"
)

// randomKi says whether the lot's Ki are drawn, not derived.
func (l *lot) randomKi() bool { return l.release.KiSource == string(order.KiRandom) }

// kiSize is the length of a drawn Ki.
func (l *lot) kiSize() kisource.Size {
	if l.auth.KBytes() == int(kisource.Long) {
		return kisource.Long
	}
	return kisource.Short
}

// prepareSeal makes or finds the lot's seal key. It comes before the lot key, so that no lot key is ever without it.
func (v *Vault) prepareSeal(ctx context.Context, l *lot) error {
	if !l.randomKi() {
		return nil
	}
	has, err := v.made(ctx, l, l.seal)
	if err != nil || has {
		return err
	}
	if err := v.cfg.Token.Generate(ctx, l.seal); err != nil {
		return fmt.Errorf("making seal key of lot %q: %w", l.release.Lot, err)
	}
	return nil
}

// atRest is a Ki that is not derived, as the ledger has it: one of the two.
type atRest struct {
	sealed []byte          // of a lot with random Ki: what the claim holds
	row    *bus.CustomerKi // of a lot with the customer's own: the unit's row
}

// atRest takes what the ledger sends for the lot's source of Ki, and nothing else.
func (l *lot) atRest(sealed []byte, row *bus.CustomerKi) atRest {
	if l.customerKi() {
		return atRest{row: row}
	}
	return atRest{sealed: sealed}
}

// bytes are what the Ki is known by where nobody can open it; nil when none is on record.
func (k atRest) bytes() []byte {
	if k.row != nil {
		return k.row.Row
	}
	return k.sealed
}

// storedKi says whether the lot's Ki rest with the ledger, so that a session carries its own (carry.go).
func (l *lot) storedKi() bool { return l.randomKi() || l.customerKi() }

// openKi opens a Ki at rest. The caller wipes it. One HSM operation.
func (v *Vault) openKi(ctx context.Context, l *lot, c entry.Claim, k atRest) (ki secret.Bytes, err error) {
	if l.customerKi() {
		ki, err = v.openCustomer(ctx, l, c.Unit, k.row)
	} else if ki, err = kisource.OpenRandom(ctx, v.cfg.Token, l.seal, c, k.sealed); errors.Is(err, kisource.ErrSealed) {
		err = refuse("%v", err)
	}
	if n := l.auth.KBytes(); err == nil && ki.Len() != n {
		err = refuse("Ki of unit %d has %d bytes, not %d", c.Unit, ki.Len(), n)
	}
	if err != nil {
		ki.Wipe()
		return secret.Bytes{}, err
	}
	return ki, nil
}

// takeKi gives a session its Ki in act 0: the one on record, the one drawn when this act was served before, or a new one, which
// the ledger must store before the window leaves. From here on the session carries it, and no later act asks the HSM for it.
func (r *run) takeKi() error {
	if !r.l.storedKi() {
		return nil
	}
	rest, ki := r.l.atRest(r.item.Stored.Ki, r.item.Customer), secret.Bytes{}
	defer func() { ki.Wipe() }()
	var err error
	switch {
	case len(rest.bytes()) > 0:
	case r.previous != nil && len(r.previous.Ki) > 0:
		rest.sealed = r.previous.Ki
		r.keep().Ki = rest.sealed
	case r.onCard || r.past.good: // it had its Ki before it had keys of its own, and a unit has one Ki
		return refuse("chip %s has its keys, and no Ki is on record for it", r.claim.Chip)
	default:
		if rest.sealed, ki, err = kisource.NewRandom(r.ctx, r.v.cfg.Token, r.l.seal, r.claim, r.l.kiSize()); err != nil {
			return err
		}
		r.keep().Ki = rest.sealed
	}
	if ki.IsZero() {
		if ki, err = r.v.openKi(r.ctx, r.l, r.claim, rest); err != nil {
			return err
		}
	}
	r.ki = rest.sealed
	hash := sha256.Sum256(rest.bytes())
	r.state.Ki = hash[:]
	r.state.Carry, err = r.sealCarried(ki)
	return err
}

// resumeKi holds a session to the Ki that it began with: whoever owns the ledger cannot exchange two sealed ones of a claim.
func (r *run) resumeKi() error {
	if !r.l.storedKi() {
		return nil
	}
	rest := r.l.atRest(r.item.Stored.Ki, r.item.Customer)
	if hash := sha256.Sum256(rest.bytes()); !bytes.Equal(r.state.Ki, hash[:]) {
		return refuse("the Ki on record is not the one of session %s", r.act.Session)
	}
	r.ki = rest.sealed
	return nil
}

// provenKi holds a good unit to the sealed Ki that it proved itself with.
func (r *run) provenKi() error {
	if sealed := r.item.Stored.Ki; r.past.good && len(sealed) > 0 {
		return r.l.proveKi(r.claim, sealed)
	}
	return nil
}

// keep is what this act has for the claim.
func (r *run) keep() *bus.Stored {
	if r.stored == nil {
		r.stored = &bus.Stored{}
	}
	return r.stored
}

// placeKi puts the Ki that rests with the ledger in the place of the derived one.
func (x *variables) placeKi(to []byte) error {
	if !x.l.storedKi() {
		return nil
	}
	ki, err := x.ki()
	if err != nil {
		return err
	}
	defer ki.Wipe()
	return ki.Reveal(func(b []byte) error {
		if len(b) != len(to) {
			return refuse("Ki of unit %d has %d bytes, not %d", x.claim.Unit, len(b), len(to))
		}
		copy(to, b)
		return nil
	})
}

// proveKi demands that a sealed Ki is the one that the unit proved itself with.
func (l *lot) proveKi(c entry.Claim, sealed []byte) error {
	if !l.randomKi() {
		return nil
	}
	return l.seen.provenKi(c.Unit, sha256.Sum256(sealed))
}

// tagKi is the tag of the hash of a sealed Ki in the index.
const tagKi = 'k'

// addKi notes the Ki that a unit was found good with.
func (x *index) addKi(u perso.Unit, sealed []byte) error {
	if len(sealed) == 0 {
		return nil
	}
	return x.kis.set(uint64(u), x.tag(tagKi, sha256.Sum256(sealed)))
}

// provenKi refuses another sealed Ki than the one of the hash that the unit was found good with.
func (x *index) provenKi(u perso.Unit, hash [32]byte) error {
	tag, err := x.kis.get(uint64(u))
	if err == nil && tag != x.tag(tagKi, hash) {
		err = refuse("the Ki on record is not the one that unit %d proved itself with", u)
	}
	return err
}
