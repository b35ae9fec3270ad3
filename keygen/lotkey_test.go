package keygen_test

import (
	"strings"
	"testing"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/keygen/kisource"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/secret"
)

// lotKeys are the two keys that a lot with drawn Ki has.
func (r *rig) lotKeys() (lot, seal hsm.Key) {
	r.t.Helper()
	lot, err := hsm.NewKey("test", hsm.ClassLot, string(r.lot))
	if err == nil {
		seal, err = kisource.LotSealKey(perso.EnvTest, r.lot)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return lot, seal
}

// plantKey puts a key on the token that everybody knows. The token does not say that it was made inside: no more does SoftHSM of
// a key whose maker was killed before it had its value.
func (r *rig) plantKey(k hsm.Key) {
	r.t.Helper()
	if err := r.token.(*hsmfake.Token).Import(ctx, k, secret.New(make([]byte, 32))); err != nil {
		r.t.Fatal(err)
	}
}

// TestHalfMadeLotKeys: the vault was killed while it made a lot's keys. What is left of one is taken away, and nothing is derived
// from it.
func TestHalfMadeLotKeys(t *testing.T) {
	t.Parallel()
	for name, half := range map[string]func(lot, seal hsm.Key) hsm.Key{
		"lot key": func(lot, _ hsm.Key) hsm.Key { return lot }, "seal key": func(_, seal hsm.Key) hsm.Key { return seal },
	} {
		r := newRig(t).drawing()
		token := r.token.(*hsmfake.Token)
		r.cfg.Shredder = token
		r.reopenVault()
		lot, seal := r.lotKeys()
		k := half(lot, seal)
		token.Inject(func(_ uint64, v hsm.Verb, asked hsm.Key) (f hsmfake.Fault) {
			if v == hsm.VerbGenerate && asked == k {
				f.Before = hsm.ErrDevice
			}
			return f
		})
		if _, err := r.vault.OpenLot(ctx, r.openRequest()); err == nil {
			t.Fatalf("%s: opened without it", name)
		}
		token.Inject(nil)
		r.plantKey(k)
		r.reopenVault()
		if a, err := r.vault.OpenLot(ctx, r.openRequest()); err != nil || !a.Created {
			t.Fatalf("%s: %+v, %v", name, a, err)
		}
		for _, k := range []hsm.Key{lot, seal} {
			if local, err := token.Local(ctx, k); err != nil || !local {
				t.Errorf("%s: %s was not made inside: %v", name, k, err)
			}
		}
		if got := r.claimUnit(newCard(t, testKMC, 1), 0, 0).session(); !got.Good {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestExchangedLotKeys: a key that has the name of a lot's, and came from outside, is no lot's; nor is one made again where the lot's is gone.
func TestExchangedLotKeys(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		seal     bool // of the two keys it is the one that drawn Ki are sealed under
		shredder bool // the vault destroys keys, and has made a card
		gone     bool // nobody puts another one in its place
	}{
		"lot key": {}, "lot key, a card is made": {shredder: true}, "lot key is gone": {shredder: true, gone: true},
		"seal key": {seal: true}, "seal key, a card is made": {seal: true, shredder: true}, "seal key is gone": {seal: true, shredder: true, gone: true},
	} {
		r := newRig(t).drawing()
		token := r.token.(*hsmfake.Token)
		if c.shredder {
			r.cfg.Shredder = token
			r.reopenVault()
		}
		k, seal := r.lotKeys()
		if c.seal {
			k = seal
		}
		r.openLot()
		if c.shredder { // the one that destroys keys destroys none of which it made cards
			if got := r.claimUnit(newCard(t, testKMC, 1), 0, 0).session(); !got.Good {
				t.Fatalf("%s: %+v", what, got)
			}
		}
		if err := token.Destroy(ctx, k); err != nil {
			t.Fatal(err)
		}
		want := "was destroyed"
		if !c.gone {
			r.plantKey(k)
			want = "was not made inside the token"
		}
		r.reopenVault()
		if _, err := r.vault.OpenLot(ctx, r.openRequest()); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: opened: %v", what, err)
		}
		if has, err := token.Has(ctx, k); err != nil || has == c.gone {
			t.Errorf("%s: what is there as evidence was taken away, or what is gone was made again: %v, %v", what, has, err)
		}
	}
}
