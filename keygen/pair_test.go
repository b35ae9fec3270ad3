package keygen_test

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/script"
)

// newInjectingRig has a lot whose chips are given their key pairs.
func newInjectingRig(t *testing.T) *rig {
	t.Helper()
	return newRig(t).injecting()
}

func (r *rig) injecting() *rig {
	r.product = "m2m-200-inject"
	r.compile()
	r.release.KeyOrigin, r.release.Product, r.release.ScriptHash = "hsm", "m2m-200-inject-mff2", r.script.Hash()
	r.signed = r.sign(r.release, "ann", "bob")
	return r
}

func TestGivesAChipItsKey(t *testing.T) {
	t.Parallel()
	testGivesAChipItsKey(t, newInjectingRig(t))
}

func TestGivesAChipItsKeyOnSoftHSM(t *testing.T) { // not side by side with another: they are lent one token
	testGivesAChipItsKey(t, newRigOn(t, hsmtest.SoftHSM(t), "keygen-pair").injecting())
}

func testGivesAChipItsKey(t *testing.T, r *rig) {
	r.openLot()
	c := newCard(t, testKMC, 1)
	u := r.claimUnit(c, 0, 0)
	if result := u.session(); !result.Good {
		t.Fatalf("ended with %+v, failed %+v", result, result.Failed)
	}
	if want := []uint64{3, 2, 2}; !reflect.DeepEqual(u.ops, want) { // act 0: maker's key, pair, certificate
		t.Errorf("HSM operations per act %v, want %v", u.ops, want)
	}
	point, err := c.pair.PublicKey.Bytes()
	if err != nil || len(c.given) != 1 || !bytes.Equal(u.stored.Key, point) {
		t.Errorf("%d keys given, on record %x, on the chip %x, %v", len(c.given), u.stored.Key, point, err)
	}
	if first := u.results[0].Stored; first == nil || len(first.Cert) != keygen.CertBytes || len(first.Pair) == 0 || bytes.Contains(first.Pair, c.given[0]) {
		t.Errorf("act 0 stores %+v", first)
	}
	checkCertificate(t, r.made.EUMCert, u)
	checkReceipts(t, r, u.receipts, []string{"script", "script", "good"})
	second := r.claimUnit(newCard(t, testKMC, 2), 1, 1)
	if got := second.session(); !got.Good || bytes.Equal(second.card.given[0], c.given[0]) {
		t.Errorf("%+v, or the same key again", got)
	}
}

// An act that is asked again gives the same answer, also at a vault that was started anew: the pair is on record.
func TestAGivenKeyIsMadeOnce(t *testing.T) {
	t.Parallel()
	r := newInjectingRig(t)
	r.openLot()
	u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	item := u.begin()
	first := u.serve(item)
	u.keep(first.Stored)
	item.Stored = u.stored
	made := r.token.Stats()[hsm.VerbCardPair]
	for range 2 {
		again := u.serve(item)
		if again.Stored != nil || !reflect.DeepEqual(again.Window, first.Window) || !bytes.Equal(again.State, first.State) || !bytes.Equal(again.Receipt, first.Receipt) {
			t.Errorf("act 0 again: %+v", again)
		}
		r.reopenVault()
		r.openLot()
	}
	item = u.next(item, first)
	second := u.serve(item)
	if again := u.serve(item); !reflect.DeepEqual(again, second) || len(second.Window) == 0 {
		t.Errorf("act 1 again: %+v, before %+v", again, second)
	}
	if n := r.token.Stats()[hsm.VerbCardPair]; n != made {
		t.Errorf("%d pairs more", n-made)
	}
	// Before the ledger stored the pair nobody was told of it, and then there is another.
	u = r.claimUnit(newCard(t, testKMC, 2), 1, 1)
	item = u.begin()
	if a, b := u.serve(item), u.serve(item); a.Stored == nil || b.Stored == nil || bytes.Equal(a.Stored.Key, b.Stored.Key) || !bytes.Equal(a.Receipt, b.Receipt) {
		t.Errorf("not stored: %+v, then %+v", a.Stored, b.Stored)
	}
}

// A chip that comes back with its maker's keys gets another pair, and its certificate supersedes the one before. One that
// has its own keys has its pair, and keeps it.
func TestAnotherSessionGivesAnotherKey(t *testing.T) {
	t.Parallel()
	r := newInjectingRig(t)
	r.openLot()
	kept, renewed := 0, 0
	for tear := 4; ; tear++ {
		r.withoutDisk()
		r.log.reset()
		r.openLot()
		c := newCard(t, testKMC, 1)
		u := r.claimUnit(c, 0, 0)
		c.tearAt, c.after = tear, true
		if u.session().Good {
			break
		}
		before, maker := u.stored, len(c.keys[0xFF].ENC) > 0
		c.contact()
		if got := u.session(); !got.Good {
			t.Fatalf("torn at %d: %+v %+v", tear, got, got.Failed)
		}
		same := bytes.Equal(before.Cert, u.stored.Cert)
		if same == maker {
			t.Errorf("torn at %d: the chip had the maker's keys: %v, the certificate is the one of before: %v", tear, maker, same)
		}
		if same {
			kept++
		} else {
			renewed++
		}
		if point, err := c.pair.PublicKey.Bytes(); err != nil || !bytes.Equal(point, u.stored.Key) {
			t.Errorf("torn at %d: the chip has another key than the certificate", tear)
		}
	}
	if kept < 10 || renewed < 20 {
		t.Errorf("%d pairs were kept, %d made anew", kept, renewed)
	}
}

// Who owns the ledger has no choice of pairs either.
func TestAGivenKeyCannotBeExchanged(t *testing.T) {
	t.Parallel()
	r := newInjectingRig(t)
	r.openLot()
	u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	item := u.begin()
	old := *u.serve(item).Stored
	u.keep(&old)
	u.card.contact()
	item = u.begin() // another session finds the pair of the first on record
	first := u.serve(item)
	if first.Stored == nil || bytes.Equal(first.Stored.Key, old.Key) {
		t.Fatalf("a pair of another session: %+v", first.Stored)
	}
	u.keep(first.Stored)
	item = u.next(item, first)
	right := item.Stored
	for name, stored := range map[string]bus.Stored{
		"all of another session": old,
		"its sealed key":         {Cert: right.Cert, Key: right.Key, Pair: old.Pair},
		"its certificate":        {Cert: old.Cert, Key: right.Key, Pair: right.Pair},
		"its public key":         {Cert: right.Cert, Key: old.Key, Pair: right.Pair},
		"none":                   {},
		"no sealed key":          {Cert: right.Cert, Key: right.Key},
		"another version":        {Cert: right.Cert, Key: right.Key, Pair: append([]byte{2}, right.Pair[1:]...)},
	} {
		item.Stored = stored
		if got := u.serve(item); got.Refused == "" || len(got.Window) > 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	item.Stored = right
	if got := u.serve(item); len(got.Window) == 0 {
		t.Errorf("its own: %+v", got)
	}
}

// A chip that does not hold the key it was given is never good, whatever else it has.
func TestAGivenKeyMustBeProven(t *testing.T) {
	t.Parallel()
	r := newInjectingRig(t)
	r.openLot()
	u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	item := u.begin()
	item = u.next(item, u.kept(u.serve(item)))
	result := u.serve(item)
	played := 0
	u.card.bend = func(n int, answer []byte) []byte {
		if played++; len(u.card.given) > 0 {
			u.card.newPair() // forgets what it was given at once
		}
		return answer
	}
	item = u.next(item, result)
	if got := u.serve(item); got.Failed == nil || got.Failed.Reason != perso.ReasonPossession || got.Failed.Step != "pop" || got.Good {
		t.Errorf("%+v %+v after %d commands", got, got.Failed, played)
	}
}

func (u *unit) kept(r bus.ServeResult) bus.ServeResult {
	u.keep(r.Stored)
	return r
}

// A module that gives no keys out is found before the lot is begun, and the reason is told.
func TestAModuleWithoutKeyPairs(t *testing.T) {
	t.Parallel()
	r := newInjectingRig(t)
	r.token.(*hsmfake.Token).Inject(func(_ uint64, v hsm.Verb, _ hsm.Key) (f hsmfake.Fault) {
		if v == hsm.VerbCardPair {
			f.Before = fmt.Errorf("%w: no key wrapping", hsm.ErrUnsupported)
		}
		return f
	})
	_, err := r.vault.OpenLot(ctx, r.openRequest())
	if code(err) != bus.FaultRefused || !strings.Contains(err.Error(), "no key wrapping") || !strings.Contains(err.Error(), `key_origin "card"`) {
		t.Errorf("got %v", err)
	}
	if n := r.token.Stats()[hsm.VerbGenerate]; n != 9 {
		t.Errorf("%d keys were made, 7 by the ceremony, 2 for the vault's life, which turned when it was told the officer register", n)
	}
}

// Scripts that would lose count of a chip's key, or believe in it, open no lot.
func TestScriptsThatGiveKeysWrongly(t *testing.T) {
	t.Parallel()
	section := func(src string) (whole, without string) {
		from, to := strings.Index(src, ".SECTION ecasd-key"), strings.Index(src, "; The last key command")
		return src[from:to], src[:from] + src[to:]
	}
	for name, c := range map[string]struct {
		product, origin string
		change          func(src string) string
		want            string
	}{
		"as it is":       {"m2m-200-inject", "hsm", func(s string) string { return s }, ""},
		"as it is, card": {"m2m-200s", "card", func(s string) string { return s }, ""},
		"card script":    {"m2m-200s", "hsm", func(s string) string { return s }, `decision "ecka"`},
		"hsm script":     {"m2m-200-inject", "card", func(s string) string { return s }, `decision "inject"`},
		"always": {"m2m-200-inject", "hsm", func(s string) string { return strings.Replace(s, "  WHEN=inject", "", 1) },
			"a section WHEN=inject"},
		"never": {"m2m-200-inject", "hsm", func(s string) string { _, rest := section(s); return rest }, "a section WHEN=inject"},
		"after the ISD's keys": {"m2m-200-inject", "hsm", func(s string) string {
			sec, rest := section(s)
			return strings.Replace(rest, ".SECTION ecasd-cert", sec+".SECTION ecasd-cert", 1)
		}, "after the ISD's keys"},
		"no proof": {"m2m-200-inject", "hsm", func(s string) string { return strings.Replace(s, "=> ecka", "=> readback", 1) }, `proof "ecka"`},
		"proof in a section": {"m2m-200-inject", "hsm", func(s string) string {
			from, to := strings.Index(s, "; P1 81"), strings.Index(s, "         80E62000 <0000 <{AID.ISDR}> 000000> 00                         (9000)\nv.isdr")
			proof := s[from:to]
			sec, _ := section(s)
			return strings.Replace(s[:from]+s[to:], sec, sec+proof, 1)
		}, "outside all sections"},
	} {
		r := newRig(t)
		r.product = c.product
		s, err := script.Compile([]byte(c.change(r.source())), r.catalogue())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r.script, r.release.KeyOrigin, r.release.ScriptHash = s, c.origin, s.Hash()
		r.signed = r.sign(r.release, "ann", "bob")
		_, err = r.vault.OpenLot(ctx, r.openRequest())
		if c.want == "" && err != nil || c.want != "" && (code(err) != bus.FaultRefused || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}
