package ledger

import (
	"context"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// DestroyLot certifies what is proven to it, and always the same.
func (v *vaultDouble) DestroyLot(_ context.Context, q bus.DestroyLotRequest) (bus.DestroyLotReply, error) {
	if err := v.failing("destroy"); err != nil {
		return bus.DestroyLotReply{}, err
	}
	for _, p := range []bus.Proven{q.Closed, q.Ordered} {
		if err := v.proves(q.Checkpoint, p); err != nil {
			return bus.DestroyLotReply{}, err
		}
	}
	signed := must(statement.DecodeSigned(q.Destroy))
	d := must(statement.ParseDestroy(signed.Body))
	for kind, p := range map[string]bus.Proven{statement.KindClose: q.Closed, statement.KindDestroy: q.Ordered} {
		if e := must(entry.ParseStatement(p.Entry)); e.What != kind || e.Lot != d.Lot {
			return bus.DestroyLotReply{}, errors.New("the entry shown is another")
		}
	}
	s := statement.Signed{Body: must(statement.Destroyed{Env: d.Env, Vault: "V1", Lot: d.Lot, Keys: []string{"persoline/test/lot/" + string(d.Lot)}, Destroy: signed.Hash(),
		Copies: uint64(len(d.Copies)), At: d.At}.Encode())}
	s.Sign("V1", v.key)
	return bus.DestroyLotReply{Lot: d.Lot, Certificate: s.Encode()}, v.failing("destroyed")
}

// endLot is the statement that ends the lot's key.
func (b *bench) endLot(spoil func(*statement.Destroy), officers ...perso.Name) bus.SignedRequest {
	d := statement.Destroy{Env: perso.EnvTest, Site: testSite, Lot: b.lot, Release: b.release.Hash(), Close: [32]byte{1}, Retained: testStart.Add(time.Hour), At: testStart,
		Nonce: [32]byte{6}, Copies: []statement.LotCopy{{Holder: "hsm-2", Place: "there", By: [2]string{"A", "B"}}}}
	if c, err := b.l.Closing(b.t.Context(), bus.LotRequest{Lot: b.lot}); err == nil {
		d.Close = c.Close
	}
	if spoil != nil {
		spoil(&d)
	}
	return bus.SignedRequest{Signed: b.sign(must(d.Encode()), officers...).Encode()}
}

// closeLot brings a lot of one to its end.
func (b *bench) closeLot() {
	b.t.Helper()
	if err := b.bin(b.makeGood(b.one(), 0), perso.VerdictGood); err != nil {
		b.t.Fatal(err)
	}
	b.count(entry.SourceHandler, 1, 1, 0, 0, 0)
	b.count(entry.SourceHand, 1, 1, 0, 0, 0)
	if _, err := b.l.Close(b.t.Context(), b.closing(nil, "ann", "bob")); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) deliver() {
	b.t.Helper()
	for _, what := range []string{"eis", "output"} {
		if err := b.l.RecordExport(b.t.Context(), entry.Export{Lot: b.lot, What: what, Receiver: "r", Hash: [32]byte{1}}); err != nil {
			b.t.Fatal(err)
		}
	}
}

// TestDestroyKeys goes towards a destroyed lot one step at a time.
func TestDestroyKeys(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1})
	refuse := func(want string, q bus.SignedRequest) {
		t.Helper()
		_, err := b.l.DestroyKeys(t.Context(), q)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("refused with %v, want %q", err, want)
		}
		if n := b.raw(`SELECT COUNT(*) FROM statement WHERE kind LIKE 'lot-destroy%'`); n != 0 {
			t.Errorf("%q: %d statements kept", want, n)
		}
	}
	refuse("not closed", b.endLot(nil, "ann", "bob"))
	b.closeLot()
	refuse("retention ends", b.endLot(nil, "ann", "bob"))
	b.pass(2 * time.Hour)
	refuse("not delivered: there is no eis", b.endLot(nil, "ann", "bob"))
	b.deliver()
	refuse("two officers", b.endLot(nil, "ann"))
	refuse("two officers", b.endLot(nil, "ann", "cid"))
	refuse("another release or closing", b.endLot(func(d *statement.Destroy) { d.Release = [32]byte{1} }, "ann", "bob"))
	refuse("another release or closing", b.endLot(func(d *statement.Destroy) { d.Close = [32]byte{1} }, "ann", "bob"))
	refuse("before the lot was closed", b.endLot(func(d *statement.Destroy) { d.Retained = testStart.Add(-time.Hour) }, "ann", "bob"))
	refuse("for site", b.endLot(func(d *statement.Destroy) { d.Site = "S2" }, "ann", "bob"))
	refuse("not in the ledger", b.endLot(func(d *statement.Destroy) { d.Lot = "L-OTHER" }, "ann", "bob"))
	refuse("parsing", bus.SignedRequest{Signed: b.sign(must(b.release.Body, error(nil)), "ann", "bob").Encode()})
	b.refused(func() error {
		_, err := b.l.DestroyKeys(t.Context(), bus.SignedRequest{Signed: []byte("no statement")})
		return err
	}(), bus.FaultBadMessage)
	q := b.endLot(nil, "ann", "bob")
	var first []byte
	for range 2 {
		a, err := b.l.DestroyKeys(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && string(first) != string(a.Certificate) {
			t.Error("two certificates")
		}
		first = a.Certificate
	}
	b.ended()
	other := b.endLot(func(d *statement.Destroy) { d.Nonce[0]++ }, "ann", "bob")
	_, err := b.l.DestroyKeys(t.Context(), other)
	b.refused(err, bus.FaultConflict)
	b.check()
}

// ended: word and certificate are kept and logged once, in this order.
func (b *bench) ended() {
	b.t.Helper()
	if n := b.raw(`SELECT COUNT(*) FROM statement WHERE kind LIKE 'lot-destroy%'`); n != 2 {
		b.t.Errorf("%d statements", n)
	}
	if k := b.kinds(); k[entry.KindStatement] != 5 { // register, release, close and these
		b.t.Errorf("log %v", k)
	}
}

// TestDestroyKeysBreaks: the vault fails before or after it did it, or gives another's certificate; asked again, all ends well.
func TestDestroyKeysBreaks(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"destroy", "destroyed"} {
		b := newBench(t, spec{good: 1})
		b.closeLot()
		b.deliver()
		b.pass(2 * time.Hour)
		q := b.endLot(nil, "ann", "bob")
		away := errors.New("away")
		b.vault.fail = func(verb string) error {
			if verb == at {
				return away
			}
			return nil
		}
		if _, err := b.l.DestroyKeys(t.Context(), q); !errors.Is(err, away) {
			t.Fatalf("%s: %v", at, err)
		}
		b.vault.fail = nil
		b.open(b.db)
		if _, err := b.l.DestroyKeys(t.Context(), q); err != nil {
			t.Errorf("%s, again: %v", at, err)
		}
		b.ended()
	}
	b := newBench(t, spec{good: 1})
	b.closeLot()
	b.deliver()
	b.pass(2 * time.Hour)
	b.vault.fail = func(verb string) error {
		if verb == "destroy" { // from here on another vault answers
			b.vault.key = ed25519.NewKeyFromSeed(make([]byte, 32))
		}
		return nil
	}
	if _, err := b.l.DestroyKeys(t.Context(), b.endLot(nil, "ann", "bob")); err == nil || !strings.Contains(err.Error(), "is not the vault's") {
		t.Errorf("another vault's certificate: %v", err)
	}
}

// TestDestroyKeysReplaced: a word that the vault refuses gives way to another one; one that it carried out, or of which nobody knows, does not.
func TestDestroyKeysReplaced(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answers error // to the first word, asked the second time; nil: it was carried out
		want    string
	}{
		"refused":     {bus.Refuse(bus.FaultRefused, "no"), ""},
		"away":        {errors.New("away"), "away"},
		"decided":     {bus.Refuse(bus.FaultConflict, "destroyed by another"), "destroyed by another"},
		"carried out": {nil, "its key is destroyed: another statement"},
	} {
		b := newBench(t, spec{good: 1})
		b.closeLot()
		b.deliver()
		b.pass(2 * time.Hour)
		first := b.endLot(nil, "ann", "bob")
		b.vault.fail = func(at string) error { // carried out, the answer is lost; else it does nothing
			if at == "destroy" && c.answers != nil || at == "destroyed" {
				return bus.Refuse(bus.FaultRefused, "no")
			}
			return nil
		}
		if _, err := b.l.DestroyKeys(t.Context(), first); err == nil {
			t.Fatalf("%s: it was not refused", name)
		}
		second := b.endLot(func(d *statement.Destroy) { d.Nonce[0]++ }, "ann", "bob")
		asked := 0
		b.vault.fail = func(at string) error {
			if at == "destroy" && c.answers != nil {
				if asked++; asked == 1 {
					return c.answers
				}
			}
			return nil
		}
		// What may not be signed so is refused before the vault is asked at all.
		if _, err := b.l.DestroyKeys(t.Context(), b.endLot(func(d *statement.Destroy) { d.Nonce[0] += 2 }, "ann")); err == nil || asked != 0 {
			t.Errorf("%s: one officer: %v, %d times asked", name, err, asked)
		}
		a, err := b.l.DestroyKeys(t.Context(), second)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", name, err)
			}
			if n := b.raw(`SELECT COUNT(*) FROM statement WHERE kind = 'lot-destroy'`); n != 1 {
				t.Errorf("%s: %d words", name, n)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		certified := must(statement.ParseDestroyed(must(statement.DecodeSigned(a.Certificate)).Body))
		if certified.Destroy != must(statement.DecodeSigned(second.Signed)).Hash() {
			t.Errorf("%s: certified is %x", name, certified.Destroy)
		}
		_, err = b.l.DestroyKeys(t.Context(), first)
		b.refused(err, bus.FaultConflict)
		b.check()
	}
}
