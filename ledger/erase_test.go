package ledger

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// TestErase: a chip's answers are kept for its verdict, and after Erase stand in no file of the ledger.
func TestErase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := newSiteOn(t, must(sqldb.CreateSQLite(t.Context(), filepath.Join(dir, "ledger.db"))))
	b.makeLot(spec{good: 1})
	word := strings.Repeat("answer of one chip, ", 40)
	written := func() (there bool) {
		for _, f := range must(os.ReadDir(dir)) {
			there = there || bytes.Contains(must(os.ReadFile(filepath.Join(dir, f.Name()))), []byte(word))
		}
		return there
	}
	q := b.begin(b.one(), b.at(0))
	b.act(q)
	b.want(b.act(next(q, word)), perso.VerdictGood, perso.ReasonNone)
	if !written() {
		t.Fatal("the answers were in no file before: this test shows nothing")
	}
	if err := b.l.Erase(t.Context()); err != nil || written() {
		t.Errorf("the answers are in a file after Erase: %t, %v", written(), err)
	}
	if b.l.unerased.Load() {
		t.Error("there is always something to erase")
	}
}

// TestEraseSealedPairs: the sealed private key of a session that another one replaced, and of a claim that ended, stands in no
// file after Erase. So it is also on a database that runs every transaction twice, whose second run finds nothing to delete.
func TestEraseSealedPairs(t *testing.T) {
	t.Parallel()
	for _, fault := range []ledgertest.Fault{ledgertest.None, ledgertest.Twice} {
		dir := t.TempDir()
		b := newSiteOn(t, must(sqldb.CreateSQLite(t.Context(), filepath.Join(dir, "ledger.db"))))
		b.open(ledgertest.WithFaults(b.db, ledgertest.Every(1, fault)))
		b.makeLot(spec{good: 1})
		c := b.one()
		pair := func(n string) []byte { return []byte(strings.Repeat("sealed pair "+n+", ", 40)) }
		written := func(n string) (there bool) {
			for _, f := range must(os.ReadDir(dir)) {
				there = there || bytes.Contains(must(os.ReadFile(filepath.Join(dir, f.Name()))), pair(n))
			}
			return there
		}
		window := func(n string) bus.ServeResult {
			return bus.ServeResult{Window: []bus.Play{{APDU: []byte(n), SW: "9000"}}, State: []byte(n),
				Stored: &bus.Stored{Cert: []byte("cert " + n), Key: []byte("key " + n), Pair: pair(n)}}
		}
		erase := func() {
			if err := b.l.Erase(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		b.vault.say(c, window("1"), window("2"), bus.ServeResult{Failed: &bus.Failed{Reason: perso.ReasonProof}})
		b.act(b.begin(c, b.at(0)))
		erase()
		if !written("1") {
			t.Fatal("the pair was in no file before: this test shows nothing")
		}
		b.act(b.begin(c, b.at(0)))
		erase()
		if written("1") || !written("2") {
			t.Errorf("fault %v: after the second session, the first one's pair is in a file: %t, its own: %t", fault, written("1"), written("2"))
		}
		b.want(b.act(b.begin(c, b.at(0))), perso.VerdictRejectLive, perso.ReasonProof)
		erase()
		if written("2") {
			t.Errorf("fault %v: the pair is in a file after the verdict", fault)
		}
	}
}
