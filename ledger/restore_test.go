package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/persoline/persoline/ledger/backup"
	"github.com/persoline/persoline/perso"
)

// drill is a bench on a file with a redo log, whose file may be lost.
type drill struct {
	*bench
	dir   string
	taken backup.Taken
	// redoBytes is how long the redo log's first segment was when the backup was done.
	redoBytes int64
}

func (d *drill) file() string    { return filepath.Join(d.dir, "ledger.db") }
func (d *drill) redo() string    { return filepath.Join(d.dir, "redo") }
func (d *drill) backups() string { return filepath.Join(d.dir, "backups") }

func newDrill(t *testing.T, s spec) *drill {
	t.Helper()
	d := &drill{dir: t.TempDir()}
	db, err := CreateSQLite(t.Context(), d.file())
	if err != nil {
		t.Fatal(err)
	}
	d.bench = newSiteOn(t, db)
	if err := backup.BeginRedo(t.Context(), db, d.redo(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	d.start()
	d.makeLot(s)
	return d
}

// start is the normal start of a ledger's process.
func (d *drill) start() {
	d.t.Helper()
	db, err := backup.OpenSQLite(d.t.Context(), d.file(), d.redo())
	if err != nil {
		d.t.Fatal(err)
	}
	d.db = db
	d.open(db)
}

// backup does as another process does, beside the ledger.
func (d *drill) backup(ctx context.Context) error {
	db, err := OpenSQLite(ctx, d.file())
	if err != nil {
		return err
	}
	d.taken, err = backup.Take(ctx, db, d.backups(), testStart, func(uint64) {})
	if info, err := os.Stat(filepath.Join(d.redo(), "0000000000000001.redo")); err == nil {
		d.redoBytes = info.Size()
	}
	return errors.Join(err, db.Close())
}

// lose deletes the ledger's file with all that is beside it.
func (d *drill) lose() {
	d.t.Helper()
	if err := d.db.Close(); err != nil {
		d.t.Fatal(err)
	}
	for _, c := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(d.file() + c); err != nil && !errors.Is(err, os.ErrNotExist) {
			d.t.Fatal(err)
		}
	}
}

func (d *drill) restore(held ...[]byte) error {
	_, err := backup.Restore(d.t.Context(), backup.Plan{Backup: d.taken.Dir, Redo: d.redo(), To: d.file(), Held: held})
	return err
}

// makeDuringBackup makes good chips while a backup is written, and says how many.
func (d *drill) makeDuringBackup() int {
	d.t.Helper()
	done := make(chan error, 1)
	go func() { done <- d.backup(context.Background()) }()
	made := 0
	for running := true; running || made < 5; made++ {
		d.makeGood(d.one(), 0)
		select {
		case err := <-done:
			if err != nil {
				d.t.Fatal(err)
			}
			running = false
		default:
		}
	}
	return made
}

// The ledger is lost with everything since its backup, which was made while it worked; chips were made in between. Nothing is
// missing from the ledger that is made anew, the vault goes on with it, and no identity is made twice.
func TestRestoreDrill(t *testing.T) {
	t.Parallel()
	d := newDrill(t, spec{good: 60, spares: 10})
	half := d.begin(d.one(), d.at(3)) // in work at the backup and at the loss
	first := d.act(half)

	made := d.makeDuringBackup()
	young := d.one()
	youngAct := d.begin(young, d.at(4)) // begun after the backup
	d.act(youngAct)
	d.makeLost(d.one(), 1)
	if err := d.bin(d.makeGood(d.one(), 2), perso.VerdictGood); err != nil {
		t.Fatal(err)
	}
	made++
	if d.taken.Manifest.Size >= d.l.head.get().Size() {
		t.Fatal("nothing happened since the backup")
	}
	size, root := d.l.head.get().Size(), d.l.head.get().Root()
	_, note, err := d.l.Signed(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	d.lose()
	if err := d.restore(note); err != nil {
		t.Fatal(err)
	}
	d.start()
	d.vault.restart()
	if got := d.l.head.get(); got.Size() != size || got.Root() != root {
		t.Errorf("the log has %d entries, and had %d; or another root", got.Size(), size)
	}
	if s := d.status(); s.Good != uint64(made) {
		t.Errorf("%d units are good, and %d were made", s.Good, made)
	}
	d.check()
	// What was in work goes on where it was, and new chips are made; the vault's double tells of any identity that is made twice,
	// and of a log that does not continue the one that it signed.
	if again := d.act(half); string(again.Window[0].APDU) != string(first.Window[0].APDU) {
		t.Errorf("after the loss: %s, before: %s", again.Window[0].APDU, first.Window[0].APDU)
	}
	d.want(d.act(next(half, "x")), perso.VerdictGood, perso.ReasonNone)
	d.want(d.act(next(youngAct, "x")), perso.VerdictGood, perso.ReasonNone)
	for range 3 {
		d.makeGood(d.one(), 0)
	}
	d.check()

	// The next loss, with the same backup.
	size = d.l.head.get().Size()
	d.lose()
	if err := d.restore(note); err != nil {
		t.Fatal(err)
	}
	d.start()
	if got := d.l.head.get().Size(); got != size {
		t.Errorf("restored again, the log has %d entries, and had %d", got, size)
	}
	d.check()
}

// What does not lead to the ledger as it was is not restored; the log vault takes nothing less.
func TestRestoreRefused(t *testing.T) {
	t.Parallel()
	d := newDrill(t, spec{good: 5, spares: 5})
	if err := d.backup(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.makeGood(d.one(), 0)
	_, note, err := d.l.Signed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.lose()
	aside := d.redo() + ".aside"
	move := func(from, to string) {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(d.redo(), aside)
	if err := d.restore(); !errors.Is(err, backup.ErrRedoGap) {
		t.Errorf("without the redo log: %v", err)
	}
	if err := os.Mkdir(d.redo(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.restore(); !errors.Is(err, backup.ErrRedoGap) {
		t.Errorf("with an empty redo log: %v", err)
	}
	// A redo log that ends with the backup: what came behind was cut off. A checkpoint that was kept outside tells, and the log vault.
	segment := "0000000000000001.redo"
	whole, err := os.ReadFile(filepath.Join(aside, segment))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.redo(), segment), whole[:d.redoBytes], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.restore(note); !errors.Is(err, backup.ErrRolledBack) {
		t.Errorf("with a redo log that was cut off, and a checkpoint kept outside: %v", err)
	}
	if err := d.restore(); err != nil {
		t.Fatal(err)
	}
	d.start()
	if _, _, err := d.l.Signed(t.Context()); !errors.Is(err, ErrNotTheLedger) {
		t.Errorf("the log vault took a ledger that was put back: %v", err)
	}
	d.lose()
	if err := os.RemoveAll(d.redo()); err != nil {
		t.Fatal(err)
	}
	move(aside, d.redo())
	if err := d.restore(note); err != nil {
		t.Fatal(err)
	}
	d.start()
	if _, _, err := d.l.Signed(t.Context()); err != nil {
		t.Error(err)
	}
	d.check()
}

// A ledger that is there, or a part of one, is not written over.
func TestRestoreInTheWay(t *testing.T) {
	t.Parallel()
	d := newDrill(t, spec{good: 5, spares: 5})
	if err := d.backup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.restore(); !errors.Is(err, backup.ErrInTheWay) {
		t.Errorf("over a ledger: %v", err)
	}
	d.lose()
	if err := os.WriteFile(d.file()+"-wal", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.restore(); !errors.Is(err, backup.ErrInTheWay) {
		t.Errorf("beside an old write-ahead log: %v", err)
	}
	if err := os.Remove(d.file() + "-wal"); err != nil {
		t.Fatal(err)
	}
	if err := d.restore(); err != nil {
		t.Error(err)
	}
}

// The durable steps of a ledger keep their promise with a redo log as well: what was told is in it.
func TestRestoreAfterEachStep(t *testing.T) {
	t.Parallel()
	for _, step := range durableSteps {
		t.Run(step.name, func(t *testing.T) {
			t.Parallel()
			d := newDrill(t, spec{good: 2, spares: 2})
			if err := d.backup(t.Context()); err != nil {
				t.Fatal(err)
			}
			do := step.prepare(d.bench)
			if err := do(); err != nil {
				t.Fatal(err)
			}
			kinds := fmt.Sprint(d.kinds())
			d.lose()
			if err := d.restore(); err != nil {
				t.Fatal(err)
			}
			d.start()
			if got := fmt.Sprint(d.kinds()); got != kinds {
				t.Errorf("restored %s, was %s", got, kinds)
			}
			if err := do(); err != nil {
				t.Errorf("asked again: %v", err)
			}
			d.check()
		})
	}
}
