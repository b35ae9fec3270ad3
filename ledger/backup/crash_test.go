package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/ledger/internal/restored"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/ledgertest"
)

// crashDisk fails the nth durable step, done or not, and knows what a power cut would leave of the files.
type crashDisk struct {
	disk
	left   int
	done   bool
	synced map[string]int // bytes of a file that are on the disk
	names  []func()       // what takes back the names that no folder's sync made durable, the oldest first
}

var errDisk = errors.New("input/output error")

func (c *crashDisk) step(do func() error) error {
	c.left--
	switch {
	case c.left != 0:
		return do()
	case c.done:
		return errors.Join(do(), errDisk)
	}
	return errDisk
}

type crashFile struct {
	file
	c       *crashDisk
	path    string
	written int
}

func (f *crashFile) Write(b []byte) (n int, err error) {
	err = f.c.step(func() (err error) { n, err = f.file.Write(b); return err })
	f.written += n
	return n, err
}

func (f *crashFile) Sync() error {
	return f.c.step(func() error {
		f.c.synced[f.path] = f.written
		return f.file.Sync()
	})
}

func newCrashDisk(at int, done bool) *crashDisk {
	c := &crashDisk{disk: osDisk(), left: at, done: done, synced: map[string]int{}}
	real := osDisk()
	c.create = func(path string) (f file, err error) {
		err = c.step(func() (err error) {
			f, err = real.create(path)
			c.names = append(c.names, func() { _ = os.Remove(path) })
			return err
		})
		if err != nil {
			return nil, err
		}
		return &crashFile{file: f, c: c, path: path}, nil
	}
	c.rename = func(from, to string) error {
		return c.step(func() error {
			c.names = append(c.names, func() { _ = os.Rename(to, from) })
			for path, n := range c.synced {
				if strings.HasPrefix(path, from+"/") {
					c.synced[to+strings.TrimPrefix(path, from)] = n
				}
			}
			return real.rename(from, to)
		})
	}
	c.syncDir = func(path string) error {
		return c.step(func() error {
			c.names = nil
			return real.syncDir(path)
		})
	}
	return c
}

// powerCut drops what was not synced: names in the order opposite to their making, and bytes.
func (c *crashDisk) powerCut(t *testing.T, under string) {
	t.Helper()
	for _, undo := range slices.Backward(c.names) {
		undo()
	}
	ok(t, filepath.WalkDir(under, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Base(path) == lockName {
			return err
		}
		return os.Truncate(path, int64(c.synced[path]))
	}))
}

// A backup fails, is killed, or loses its power at each of its steps: what has a backup's name is a backup, and the next one comes
// through.
func TestBackupFailsAtEachStep(t *testing.T) {
	t.Parallel()
	db, _ := newLedger(t)
	for _, cut := range []bool{false, true} {
		for _, done := range []bool{false, true} {
			steps := 0
			for at := 1; ; at++ {
				under := t.TempDir()
				c := newCrashDisk(at, done)
				_, err := take(t.Context(), c.disk, db, under, testAt, untold)
				if err == nil {
					steps = at - 1
					break
				}
				if !errors.Is(err, errDisk) {
					t.Fatal(err)
				}
				if cut {
					c.powerCut(t, under)
				}
				left, err := filepath.Glob(filepath.Join(under, folderPrefix+"*"))
				ok(t, err)
				for _, dir := range left { // nobody was told of it; but nobody must be led astray by it
					if _, err := Verify(dir, nil, untold); err != nil {
						t.Errorf("step %d (done %v, power cut %v) left a wrong backup: %v", at, done, cut, err)
					}
					ok(t, os.RemoveAll(dir))
				}
				if _, err := Take(t.Context(), db, under, testAt, untold); err != nil {
					t.Errorf("after step %d (done %v, power cut %v) failed: %v", at, done, cut, err)
				}
			}
			if steps < 12 {
				t.Errorf("it has %d durable steps; it writes three files", steps)
			}
			// Told, it is there, whatever becomes of the power.
			under, c := t.TempDir(), newCrashDisk(0, false)
			taken, err := take(t.Context(), c.disk, db, under, testAt, untold)
			ok(t, err)
			c.powerCut(t, under)
			if _, err := Verify(taken.Dir, nil, untold); err != nil {
				t.Errorf("after a power cut: %v", err)
			}
		}
	}
}

// Killed or failed anywhere, a restoration leaves no ledger, or the whole one, and can be run again.
func TestRestoreFailsAtEachStep(t *testing.T) {
	t.Parallel()
	db, redoDir := newLedger(t)
	taken, err := Take(t.Context(), db, t.TempDir(), testAt, untold)
	ok(t, err)
	grow(t, db, 20)
	stop(t, db)
	want := dump(t, db)
	dir := t.TempDir()
	p := Plan{Backup: taken.Dir, Redo: redoDir, To: filepath.Join(dir, "ledger.db")}
	again := func(name string) {
		t.Helper()
		if _, err := os.Stat(p.To); err == nil {
			t.Errorf("%s: there is a ledger", name)
		}
		_, err := Restore(t.Context(), p)
		ok(t, err)
		got, err := sqldb.OpenSQLite(t.Context(), p.To)
		ok(t, err)
		if dump(t, got) != want {
			t.Errorf("%s: restored another ledger", name)
		}
		ok(t, got.Close())
		ok(t, os.Remove(p.To))
	}
	// Killed while it loads: the part has rows, and a write-ahead log.
	half, err := sqldb.CreateSQLite(t.Context(), p.To+restoring)
	ok(t, err)
	_, err = load(t.Context(), half, p)
	ok(t, err)
	ok(t, os.WriteFile(filepath.Join(dir, "keep"), nil, 0o600))
	again("killed while it loaded")
	_ = half.Close() // its files are gone
	for _, done := range []bool{false, true} {
		d := osDisk()
		d.rename = func(from, to string) error {
			if done {
				return errors.Join(os.Rename(from, to), errDisk)
			}
			return errDisk
		}
		if _, err := restore(t.Context(), d, p); !errors.Is(err, errDisk) {
			t.Fatal(err)
		}
		if done { // whole, and nobody was told
			if _, err := Restore(t.Context(), p); !errors.Is(err, ErrInTheWay) {
				t.Errorf("over the ledger that is there: %v", err)
			}
			ok(t, os.Remove(p.To))
		}
		again(fmt.Sprintf("rename, done %v", done))
	}
}

// Each transaction of a restoration into a server's database fails in turn, written or not: until it is whole nobody serves it or backs it up,
// and run again it is the ledger.
func TestRestoreIntoFailsAtEachUpdate(t *testing.T) {
	t.Parallel()
	db, redoDir := newLedger(t)
	taken, err := Take(t.Context(), db, t.TempDir(), testAt, untold)
	ok(t, err)
	grow(t, db, 20)
	stop(t, db)
	want := dump(t, db)
	p := Plan{Backup: taken.Dir, Redo: redoDir}
	for _, fault := range []ledgertest.Fault{ledgertest.Lost, ledgertest.Written} {
		for n, over := int64(1), false; !over; n++ {
			memory, err := ledgertest.Memory(t.Context())
			ok(t, err)
			faulty := ledgertest.WithFaults(undying{memory}, ledgertest.At(n, fault))
			_, err = RestoreInto(t.Context(), faulty, p)
			if over = faulty.Updates() < n; over != (err == nil) {
				t.Fatalf("%v at update %d of %d: %v", fault, n, faulty.Updates(), err)
			}
			if err != nil {
				if _, err := Take(t.Context(), memory, t.TempDir(), testAt, untold); err == nil && !restoredWhole(t, memory) {
					t.Errorf("%v at update %d: half a ledger was backed up", fault, n)
				}
				if _, err := RestoreInto(t.Context(), undying{memory}, p); err != nil && !(errors.Is(err, ErrInTheWay) && restoredWhole(t, memory)) {
					t.Errorf("%v at update %d, again: %v", fault, n, err)
				}
			}
			if !restoredWhole(t, memory) || dump(t, memory) != want {
				t.Errorf("%v at update %d: restored another ledger", fault, n)
			}
			ok(t, memory.Close())
		}
	}
}

// restoredWhole says that a database is locked, as what was restored is, and not marked as one that is being filled.
func restoredWhole(t *testing.T, db sqldb.DB) (whole bool) {
	t.Helper()
	ok(t, db.View(t.Context(), func(tx sqldb.Tx) error {
		half, err := restored.Unfinished(t.Context(), tx)
		if err != nil {
			return err
		}
		_, locked, err := restored.Read(t.Context(), tx)
		whole = locked && !half
		return err
	}))
	return whole
}
