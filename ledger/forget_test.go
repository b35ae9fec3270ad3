package ledger

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/ledger/bundle"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// forget is the statement that has the lot's openings deleted.
func (b *bench) forget(spoil func(*statement.Forget)) statement.Forget {
	b.t.Helper()
	r := must(b.l.Closing(b.t.Context(), bus.LotRequest{Lot: b.lot}))
	f := statement.Forget{Header: b.header(), Lot: b.lot, Release: r.Release, Certificate: [32]byte{1}, Good: 1, Proof: "x"}
	if g := r.Gone; g != nil {
		f.Certificate, f.Good, f.Proof, f.Asks, f.Taken = g.Certificate, g.Good, g.Proof, statement.Demands(g.Asks), g.Taken
	}
	if spoil != nil {
		spoil(&f)
	}
	return f
}

// secretive makes a lot of one that the order desk signed for, and gives its order's file.
func (b *bench) secretive() (file []byte) {
	b.t.Helper()
	if err := b.enlistDesk(); err != nil {
		b.t.Fatal(err)
	}
	file = bytes.Replace(b.orderFile(spec{good: 1, asks: "first-article 1", number: "SECRET-1"}), []byte("Test Meters"), []byte("Secret Meters"), 1)
	b.submit(file)
	r := must(statement.ParseRelease(must(b.l.Draft(b.t.Context(), bus.DraftRequest{Order: "SECRET-1"})).Body))
	if err := b.say(statement.Desk{Kind: statement.KindTaken, Header: b.header(), Order: r.Order, OrderHash: r.OrderHash, Reason: "read back"}, "dee"); err != nil {
		b.t.Fatal(err)
	}
	b.release = b.sign(must(r.Encode()), "ann", "bob")
	b.lot, b.serial = must(b.l.Release(b.t.Context(), bus.SignedRequest{Signed: b.release.Encode()})).Lot, nil
	return file
}

// destroyed brings it to where its key is no more.
func (b *bench) destroyed() bus.SignedRequest {
	b.t.Helper()
	if err := b.bin(b.makeGood(b.one(), 0), perso.VerdictGood); err != nil {
		b.t.Fatal(err)
	}
	if err := b.say(statement.FirstArticle{Header: b.header(), Lot: b.lot, Good: 1, Finding: "fine"}, "qua"); err != nil {
		b.t.Fatal(err)
	}
	b.count(entry.SourceHandler, 1, 1, 0, 0, 0)
	b.count(entry.SourceHand, 1, 1, 0, 0, 0)
	if _, err := b.l.Close(b.t.Context(), b.closing(nil, "ann", "bob")); err != nil {
		b.t.Fatal(err)
	}
	b.deliver()
	b.pass(2 * time.Hour)
	b.denied(b.say(b.forget(nil), "ann", "bob"), "is not destroyed")
	q := b.endLot(nil, "ann", "bob")
	if _, err := b.l.DestroyKeys(b.t.Context(), q); err != nil {
		b.t.Fatal(err)
	}
	return q
}

// TestForget: on two officers' word order and release leave every table, once; log, status and the way on need neither.
func TestForget(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	file := b.secretive()
	ended := b.destroyed()
	before := must(b.l.Status(t.Context(), bus.LotRequest{Lot: b.lot}))
	b.denied(b.say(b.forget(nil), "ann"), "two officers")
	for name, spoil := range map[string]func(*statement.Forget){
		"release":     func(f *statement.Forget) { f.Release[0]++ },
		"certificate": func(f *statement.Forget) { f.Certificate[0]++ },
		"proof":       func(f *statement.Forget) { f.Proof = "none" },
		"asks":        func(f *statement.Forget) { f.Asks = "" },
		"taken":       func(f *statement.Forget) { f.Taken = nil },
		"good":        func(f *statement.Forget) { f.Good = 2 },
	} {
		if err := b.say(b.forget(spoil), "ann", "bob"); err == nil || !strings.Contains(err.Error(), "draft it anew") {
			t.Errorf("another %s: %v", name, err)
		}
	}
	if n := b.raw(`SELECT COUNT(*) FROM forgotten`); n != 0 {
		t.Fatalf("refused, and %d openings are gone", n)
	}
	f := b.forget(nil)
	early, late := bundle.FromDB(b.db, b.l), bundle.FromDB(b.db, b.l)
	if _, _, err := early.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the same word again changes nothing
		if err := b.say(f, "ann", "bob"); err != nil {
			t.Fatal(err)
		}
	}
	for query, want := range map[string]int64{
		`SELECT COUNT(*) FROM statement WHERE kind IN ('release', 'order-taken')`:                                      0,
		`SELECT COUNT(*) FROM statement WHERE kind = 'lot-forget'`:                                                     1,
		`SELECT COUNT(*) FROM log_entry WHERE kind = 'statement' AND seq IN (SELECT seq FROM forgotten)`:               1,
		`SELECT COUNT(*) FROM forgotten`:                                                                               2,
		`SELECT COUNT(*) FROM customer_order WHERE nonce IS NOT NULL OR canonical IS NOT NULL OR resolved IS NOT NULL`: 0,
		`SELECT COUNT(*) FROM issued_range`:                                                                            3,
	} {
		if n := b.raw(query); n != want {
			t.Errorf("%s: %d, want %d", query, n, want)
		}
	}
	b.denied(b.say(b.forget(nil), "ann", "bob"), "deleted already")
	if _, err := early.Statement(t.Context(), f.Release); err == nil || !strings.Contains(err.Error(), "while the bundle was written") {
		t.Errorf("a bundle whose log does not name the word leaves the release out: %v", err)
	}
	if _, _, err := late.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if signed, err := late.Statement(t.Context(), f.Release); err != nil || signed != nil {
		t.Errorf("a bundle from after it: %d bytes, %v", len(signed), err)
	}
	for range 2 {
		after := must(b.l.Status(t.Context(), bus.LotRequest{Lot: b.lot}))
		if after.Proof != before.Proof || after.Order != before.Order || after.State != perso.LotClosed || after.Policy.FirstArticle != 1 {
			t.Errorf("status %+v, was %+v", after, before)
		}
		if lots, err := b.l.Lots(t.Context(), bus.Empty{}); err != nil || len(lots.Lots) != 1 {
			t.Errorf("%v, %v", lots, err)
		}
		if v, err := b.l.VaultOf(t.Context(), b.lot); err != nil || v != "V1" {
			t.Errorf("its vault is %q, %v", v, err)
		}
		if a, err := b.l.DestroyKeys(t.Context(), ended); err != nil || len(a.Certificate) == 0 {
			t.Errorf("the certificate again: %v", err)
		}
		if a := b.submit(file); a.Duplicate || len(a.Faults) != 1 || !strings.Contains(a.Faults[0].Reason, "content was deleted") {
			t.Errorf("the order again: %+v", a)
		}
		if err := b.l.OpenLot(t.Context(), b.lot); err == nil {
			t.Error("it was opened at the vault")
		}
		b.open(b.db) // as after a crash
	}
	b.makeLot(spec{good: 1})
	if n := b.raw(`SELECT COUNT(*) FROM issued_range`); n != 6 {
		t.Errorf("%d ranges", n)
	}
	b.check()
}

// TestForgetUnsigned: a release that is merely gone is no lot to speak of.
func TestForgetUnsigned(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1})
	b.raw(`SELECT COUNT(*) FROM lot`)
	if err := b.db.Update(t.Context(), func(tx sqldb.Tx) error {
		_, err := tx.Exec(t.Context(), `DELETE FROM statement WHERE kind = 'release'`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	b.open(b.db)
	if _, err := b.l.Status(t.Context(), bus.LotRequest{Lot: b.lot}); err == nil || !strings.Contains(err.Error(), "nobody signed that it be deleted") {
		t.Errorf("status: %v", err)
	}
}

// TestForgetErases: what the customer wrote stands in no file of the ledger.
func TestForgetErases(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := newSiteOn(t, must(sqldb.CreateSQLite(t.Context(), filepath.Join(dir, "ledger.db"))))
	b.secretive()
	b.destroyed()
	written := func() bool {
		return slices.ContainsFunc(must(os.ReadDir(dir)), func(f os.DirEntry) bool {
			return bytes.Contains(must(os.ReadFile(filepath.Join(dir, f.Name()))), []byte("Secret Meters"))
		})
	}
	if !written() {
		t.Fatal("the customer's name was in no file before: this test shows nothing")
	}
	if err := b.say(b.forget(nil), "ann", "bob"); err != nil || written() {
		t.Errorf("%v, and it is in a file: %t", err, written())
	}
}
