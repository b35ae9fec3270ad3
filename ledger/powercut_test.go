package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/internal/tree"
	"github.com/persoline/persoline/perso"
)

// acknowledged is what a ledger had told when the disk held no more than this of its files.
type acknowledged struct {
	file, wal []byte
	size      int64 // entries of the log
	root      [32]byte
	signed    *tree.Log // what the checkpoint is of that was given out; nil: none was
	good      int
}

// film keeps what is on the disk, and what was told by then.
func (d *drill) film(signed *tree.Log, good int) acknowledged {
	d.t.Helper()
	file, ferr := os.ReadFile(d.file())
	wal, werr := os.ReadFile(d.file() + "-wal")
	if err := errors.Join(ferr, werr); err != nil {
		d.t.Fatal(err)
	}
	head := d.l.head.get()
	return acknowledged{file: file, wal: wal, size: head.Size(), root: head.Root(), signed: signed, good: good}
}

// TestPowerCut cuts the power at every write of claims, acts, outcomes and checkpoints: whole frames of the write-ahead log that were written and not
// synced are there up to any one, the next is torn or rubbish. What opens fits together, and holds each entry and outcome that was told of, and all
// that a checkpoint covers which was given out; at the last cut the ledger goes on with its vault, which has seen more.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	d := &drill{dir: t.TempDir(), noRedo: true}
	db, err := CreateSQLite(t.Context(), d.file())
	if err != nil {
		t.Fatal(err)
	}
	d.setUp(t, db, spec{good: 9, spares: 3})
	if err := d.db.Close(); err != nil { // the tables are in the file, and the write-ahead log begins anew
		t.Fatal(err)
	}
	d.start()
	q := d.begin(d.one(), d.at(0))
	film := []acknowledged{d.film(nil, 0)}
	told := func(signed *tree.Log, good int) { film = append(film, d.film(signed, good)) }
	d.act(q)
	told(nil, 0)
	d.want(d.act(next(q, "x")), perso.VerdictGood, perso.ReasonNone)
	told(nil, 1)
	log, _, err := d.l.Signed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	told(log, 1)
	d.makeLost(d.one(), 1)
	told(log, 1)
	d.makeGood(d.one(), 0)
	told(log, 2)
	log2, _, err := d.l.Signed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	told(log2, 2)
	half := d.begin(d.one(), d.at(2))
	first := d.act(half)
	told(log2, 2)
	if err := d.db.Close(); err != nil {
		t.Fatal(err)
	}
	for i, was := range film[:len(film)-1] {
		if !bytes.Equal(was.file, film[i+1].file) {
			t.Fatal("the write-ahead log was carried over meanwhile: this test knows nothing of that")
		}
		d.cuts(i, was, film[i+1].wal)
	}
	d.develop(film[len(film)-1].file, film[len(film)-1].wal)
	d.start()
	d.vault.restart()
	if again := d.act(half); string(again.Window[0].APDU) != string(first.Window[0].APDU) {
		t.Errorf("after the cut: %s, before: %s", again.Window[0].APDU, first.Window[0].APDU)
	}
	d.want(d.act(next(half, "x")), perso.VerdictGood, perso.ReasonNone)
	d.makeGood(d.one(), 0)
	d.check()
}

// cuts tries what may be left between two acknowledgements.
func (d *drill) cuts(step int, was acknowledged, after []byte) {
	d.t.Helper()
	const frame = 24 + 4096
	for at := len(was.wal); at < len(after); at += frame {
		end := min(at+frame, len(after))
		for what, wal := range map[string][]byte{"gone": after[:at], "half": append(bytes.Clone(after[:(at+end)/2]), make([]byte, 64)...),
			"rubbish": append(bytes.Clone(after[:at]), bytes.Repeat([]byte{0xA5}, frame)...), "written": after[:end]} {
			d.holdsStill(fmt.Sprintf("step %d, %s at byte %d", step, what, at), was, wal)
		}
	}
}

// develop puts what is left where the ledger is.
func (d *drill) develop(file, wal []byte) {
	d.t.Helper()
	if err := errors.Join(os.RemoveAll(d.file()+"-shm"), os.WriteFile(d.file(), file, 0o600), os.WriteFile(d.file()+"-wal", wal, 0o600)); err != nil {
		d.t.Fatal(err)
	}
}

func (d *drill) holdsStill(name string, was acknowledged, wal []byte) {
	d.t.Helper()
	left := &drill{dir: filepath.Join(d.dir, "left"), noRedo: true, bench: &bench{t: d.t}}
	if err := os.MkdirAll(left.dir, 0o700); err != nil {
		d.t.Fatal(err)
	}
	left.develop(was.file, wal)
	db, err := OpenSQLite(d.t.Context(), left.file())
	if err != nil {
		d.t.Fatalf("%s: %v", name, err)
	}
	left.db = db
	left.check()
	if err := db.View(d.t.Context(), func(tx sqldb.Tx) error {
		log, err := tree.Open(d.t.Context(), tx)
		if err != nil {
			return err
		}
		before, err := tree.Replay(d.t.Context(), tx, was.size)
		if err != nil || log.Size() < was.size || before.Root() != was.root {
			d.t.Errorf("%s: %d entries are left, %d were told of; or another log: %v", name, log.Size(), was.size, err)
		}
		if was.signed != nil { // the note itself is signed again at no harm, not the entries
			under, uerr := tree.Replay(d.t.Context(), tx, was.signed.Size())
			if err = uerr; err != nil || under.Root() != was.signed.Root() {
				d.t.Errorf("%s: a checkpoint of %d entries was given out that are not left: %v", name, was.signed.Size(), err)
			}
		}
		var good int
		err = errors.Join(err, tx.QueryRow(d.t.Context(), `SELECT COUNT(*) FROM claim WHERE state = 'good'`).Scan(&good))
		if err == nil && good < was.good {
			d.t.Errorf("%s: %d chips are good, and %d were told of", name, good, was.good)
		}
		return err
	}); err != nil {
		d.t.Errorf("%s: %v", name, err)
	}
	if err := db.Close(); err != nil {
		d.t.Fatal(err)
	}
}
