package keygen

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/persoline/persoline/hsm"
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

// prepareSeal makes the lot's seal key. It comes before the lot key, so that no lot key is ever without it.
func (v *Vault) prepareSeal(ctx context.Context, l *lot) error {
	if !l.randomKi() {
		return nil
	}
	if err := v.cfg.Token.Generate(ctx, l.seal); err != nil && !errors.Is(err, hsm.ErrExists) {
		return fmt.Errorf("making seal key of lot %q: %w", l.release.Lot, err)
	}
	return nil
}

// sealedKi chooses the claim's Ki as it rests: the one on record, the one drawn when this act was served before, else a new
// one, which the ledger must store before the window leaves. Of one drawn now the Ki itself comes too.
func (r *run) sealedKi() (sealed []byte, drawn secret.Bytes, err error) {
	if r.ki != nil {
		return r.ki, r.drawn, nil
	}
	switch {
	case len(r.item.Stored.Ki) > 0:
		r.ki = r.item.Stored.Ki
		return r.ki, secret.Bytes{}, r.bindKi()
	case r.previous != nil && len(r.previous.Ki) > 0:
		r.ki = r.previous.Ki
	default:
		if r.ki, r.drawn, err = kisource.NewRandom(r.ctx, r.v.cfg.Token, r.l.seal, r.claim, r.l.kiSize()); err != nil {
			return nil, secret.Bytes{}, err
		}
	}
	r.keep().Ki = r.ki
	return r.ki, r.drawn, nil
}

// keep is what this act has for the claim.
func (r *run) keep() *bus.Stored {
	if r.stored == nil {
		r.stored = &bus.Stored{}
	}
	return r.stored
}

// bindKi holds a session to one Ki, and a good unit to the one that it proved itself with: whoever owns the ledger cannot
// exchange two sealed ones of a claim.
func (r *run) bindKi() error {
	if !r.l.randomKi() {
		return nil
	}
	if r.proven && r.ki == nil {
		if _, _, err := r.sealedKi(); err != nil {
			return err
		}
	}
	if r.ki == nil {
		return nil
	}
	hash := sha256.Sum256(r.ki)
	switch {
	case r.proven && len(r.state.Ki) == 0, len(r.state.Ki) > 0 && !bytes.Equal(r.state.Ki, hash[:]):
		return refuse("the Ki on record is not the one of session %s", r.act.Session)
	case r.past.good:
		if err := r.l.seen.provenKi(r.claim.Unit, hash); err != nil {
			return err
		}
	}
	r.state.Ki = hash[:]
	return nil
}

// openKi puts the claim's drawn Ki, or the customer's own, in the place of the derived one.
func (x *variables) openKi(to []byte) error {
	switch {
	case x.l.customerKi():
		return x.openCustomer(to)
	case !x.l.randomKi():
		return nil
	}
	sealed, ki, err := x.ki()
	if err != nil {
		return err
	}
	if ki.IsZero() {
		ki, err = kisource.OpenRandom(x.ctx, x.v.cfg.Token, x.l.seal, x.claim, sealed)
	}
	if errors.Is(err, kisource.ErrSealed) {
		return refuse("%v", err)
	}
	if err != nil {
		return err
	}
	return x.takeKi(to, ki)
}

// takeKi copies an opened Ki and wipes it.
func (x *variables) takeKi(to []byte, ki secret.Bytes) error {
	defer ki.Wipe()
	return ki.Reveal(func(b []byte) error {
		if len(b) != len(to) {
			return refuse("Ki of unit %d has %d bytes, not %d", x.claim.Unit, len(b), len(to))
		}
		copy(to, b)
		return nil
	})
}

// proveKi demands that what is exported is the Ki that the unit proved itself with.
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
