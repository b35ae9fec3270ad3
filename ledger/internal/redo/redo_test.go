package redo

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/persoline/persoline/ledger/internal/rows"
	"github.com/persoline/persoline/ledger/internal/schema"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/ledgertest"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A database with a redo log is a database like any other.
func TestConformance(t *testing.T) {
	t.Parallel()
	open := func(t *testing.T, wrap func(sqldb.DB) sqldb.DB) sqldb.DB {
		ctx, dir := t.Context(), t.TempDir()
		db, err := sqldb.CreateSQLite(ctx, filepath.Join(dir, "ledger.db"))
		ok(t, err)
		ok(t, db.Update(ctx, func(tx sqldb.Tx) error {
			_, err := tx.Exec(ctx, `CREATE TABLE meta (key TEXT PRIMARY KEY, value BYTEA NOT NULL)`)
			return err
		}))
		ok(t, Begin(ctx, db, filepath.Join(dir, "redo"), rand.Reader))
		d, err := Open(ctx, wrap(db), filepath.Join(dir, "redo"))
		ok(t, err)
		return d
	}
	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		ledgertest.Run(t, func(t *testing.T) sqldb.DB { return open(t, func(db sqldb.DB) sqldb.DB { return db }) })
	})
	t.Run("every update run twice", func(t *testing.T) {
		t.Parallel()
		ledgertest.Run(t, func(t *testing.T) sqldb.DB {
			return open(t, func(db sqldb.DB) sqldb.DB { return ledgertest.WithFaults(db, ledgertest.Every(1, ledgertest.Twice)) })
		})
	})
}

// rig is a ledger's database in memory with a redo log, and a second one, as it was when the log began.
type rig struct {
	t    *testing.T
	db   sqldb.DB
	base sqldb.DB
	dir  string
	d    *DB
	next int64
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, dir: filepath.Join(t.TempDir(), "redo")}
	r.db = ledgertest.PreparedMemory(t)
	ok(t, Begin(t.Context(), r.db, r.dir, rand.Reader))
	r.base = copyOf(t, r.db)
	r.open()
	return r
}

func (r *rig) open() {
	r.t.Helper()
	d, err := Open(r.t.Context(), r.db, r.dir)
	ok(r.t, err)
	d.log.limit = 2_000 // some segments
	r.d = d
}

// reopen is the normal start after a process died: nothing was closed but by the kernel.
func (r *rig) reopen() {
	r.t.Helper()
	ok(r.t, r.d.log.close())
	r.open()
}

// copyOf copies a database row by row.
func copyOf(t *testing.T, db sqldb.DB) sqldb.DB {
	t.Helper()
	to, all := ledgertest.PreparedMemory(t), dump(t, db)
	tables, _, err := schema.Tables()
	ok(t, err)
	ok(t, to.Update(t.Context(), func(tx sqldb.Tx) error {
		for _, table := range tables {
			if err := errors.Join(rows.Clear(t.Context(), tx, table), rows.Write(t.Context(), tx, table, all[table.Name])); err != nil {
				return err
			}
		}
		return nil
	}))
	return to
}

func dump(t *testing.T, db sqldb.DB) map[string][][]any {
	t.Helper()
	tables, _, err := schema.Tables()
	ok(t, err)
	all := map[string][][]any{}
	ok(t, db.View(t.Context(), func(tx sqldb.Tx) error {
		clear(all)
		for _, table := range tables {
			if err := rows.Read(t.Context(), tx, table, func(row []any) error {
				all[table.Name] = append(all[table.Name], slices.Clone(row))
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	}))
	return all
}

// work does one transaction of several kinds of values; it fails when the database does.
func (r *rig) work() error {
	r.next++
	n, ctx := r.next, r.t.Context()
	return r.d.Update(ctx, func(tx sqldb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO reel (reel, file_hash, product, count, created) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`, "R-1", []byte("x"), "p", int64(0), int64(-5))
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO script_blob (hash, data) VALUES ($1, $2)`, fmt.Appendf(nil, "%d", n), bytes.Repeat([]byte{byte(n)}, 100))
		if err == nil {
			_, err = tx.Exec(ctx, `UPDATE script_blob SET data = $2 WHERE hash = $1`, fmt.Appendf(nil, "%d", n-1), []byte{})
		}
		if err == nil && n%3 == 0 {
			_, err = tx.Exec(ctx, `DELETE FROM script_blob WHERE hash = $1`, fmt.Appendf(nil, "%d", n-2))
		}
		if err == nil && n%4 == 0 {
			_, err = tx.Exec(ctx, `INSERT INTO chip (chip, reel, twin) VALUES ($1, $2, $3)`, fmt.Appendf(nil, "%d", n), "R-1", n%8 == 0)
		}
		return err
	})
}

// restored does the log again upon the base and holds the two against one another.
func (r *rig) restored() {
	r.t.Helper()
	got := copyOf(r.t, r.base)
	_, err := Replay(r.t.Context(), got, r.dir, nil)
	ok(r.t, err)
	if a, b := dump(r.t, got), dump(r.t, r.db); fmt.Sprint(a) != fmt.Sprint(b) {
		r.t.Errorf("restored\n%v\nwas\n%v", a, b)
	}
}

func TestReplayMakesTheSameDatabase(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range 60 {
		ok(t, r.work())
		if i%7 == 0 {
			r.reopen()
		}
	}
	if all, err := listSegments(r.dir); err != nil || len(all) < 4 {
		t.Fatal("the test has too few segments", all, err)
	}
	r.restored()
	// What a backup in between holds is not done again.
	middle := copyOf(t, r.db)
	for range 20 {
		ok(t, r.work())
	}
	r.base = middle
	m, err := markIn(t.Context(), middle)
	ok(t, err)
	if n, err := Prune(r.dir, m); err != nil || n < 3 {
		t.Fatal("pruned", n, err)
	}
	r.restored()
	ok(t, r.work())
	r.restored()
	// A backup that has all of it leaves nothing but what comes after, one backup later.
	r.d.log.limit = 1 << 20
	r.base = copyOf(t, r.db)
	if _, err := Prune(r.dir, r.d.log.last); err != nil {
		t.Fatal(err)
	}
	ok(t, r.work())
	r.restored()
	if n, err := Prune(r.dir, r.d.log.last); err != nil || n == 0 {
		t.Error("the segment that a backup covered stays:", n, err)
	}
	if all, err := listSegments(r.dir); err != nil || len(all) != 1 {
		t.Error(all, err)
	}
	r.reopen()
	ok(t, r.work())
}

// The database fails at each transaction in each way that it may; nothing that was told is lost, and nothing is there that was not.
func TestDatabaseFails(t *testing.T) {
	t.Parallel()
	for _, fault := range []ledgertest.Fault{ledgertest.Lost, ledgertest.AmbiguousLost, ledgertest.AmbiguousWritten, ledgertest.Twice} {
		t.Run(fault.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.d.DB = ledgertest.WithFaults(r.db, ledgertest.At(5, fault))
			for i := range 12 {
				err := r.work()
				switch {
				case err == nil:
				case errors.Is(err, sqldb.ErrAmbiguous):
					if err := r.work(); !errors.Is(err, sqldb.ErrFenced) {
						t.Fatalf("after a commit of unknown outcome: %v", err)
					}
					r.reopen()
				case !errors.Is(err, ledgertest.ErrInjected) || i != 4:
					t.Fatal(err)
				}
			}
			r.restored()
		})
	}
}

// faultyDisk fails one operation, done or not.
type faultyDisk struct {
	disk
	left *int
	done bool
}

var errDisk = errors.New("input/output error")

func (f faultyDisk) op(do func() error) error {
	*f.left--
	if *f.left != 0 {
		return do()
	}
	if f.done {
		return errors.Join(do(), errDisk)
	}
	return errDisk
}

func (f faultyDisk) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.op(func() (err error) { n, err = f.disk.WriteAt(p, off); return err })
	return n, err
}
func (f faultyDisk) Sync() error            { return f.op(f.disk.Sync) }
func (f faultyDisk) Truncate(n int64) error { return f.op(func() error { return f.disk.Truncate(n) }) }

// The disk of the redo log fails at each operation, having done it or not; the process goes on where it may, and else is started again.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	const work = 8
	for _, done := range []bool{false, true} {
		for at := 1; ; at++ {
			left, failed := at, false
			t.Run(fmt.Sprintf("%d, done %v", at, done), func(t *testing.T) {
				r := newRig(t)
				r.d.log.create = func(path string) (disk, error) {
					d, err := createFile(path)
					return faultyDisk{d, &left, done}, err
				}
				for range work {
					err := r.work()
					if err != nil {
						failed = true
						if !errors.Is(err, errDisk) {
							t.Fatal(err)
						}
					}
					if r.d.log.dead != nil {
						r.reopen()
					}
				}
				r.restored()
			})
			if !failed {
				break
			}
		}
	}
}

// At any byte the power may go: the record that was being written is not there, all before it are.
func TestTornRecord(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 3 {
		ok(t, r.work())
	}
	whole, at := r.d.log.end, r.d.log.last
	before := copyOf(t, r.db)
	ok(t, r.work())
	path := filepath.Join(r.dir, "0000000000000001.redo")
	b, err := os.ReadFile(path)
	ok(t, err)
	ok(t, r.d.log.close())
	for cut := whole; cut <= int64(len(b)); cut++ { // the last one is whole, and was not committed
		ok(t, os.WriteFile(path, b[:cut], 0o600))
		l, err := openLog(r.dir, at)
		if err != nil || l.end != whole || l.last != at {
			t.Fatalf("cut to %d of %d: %v", cut, len(b), err)
		}
		ok(t, l.close())
		if got, err := os.ReadFile(path); err != nil || int64(len(got)) != whole {
			t.Fatalf("cut to %d: %d bytes are left, %v", cut, len(got), err)
		}
	}
	d, err := Open(t.Context(), before, r.dir)
	ok(t, err)
	r.db, r.d = before, d
	ok(t, r.work())
	r.restored()
}

// What does not belong together is refused.
func TestRefused(t *testing.T) {
	t.Parallel()
	made := func(t *testing.T) (*rig, []segment) {
		r := newRig(t)
		for range 40 {
			ok(t, r.work())
		}
		ok(t, r.d.log.close())
		all, err := listSegments(r.dir)
		ok(t, err)
		return r, all
	}
	replay := func(r *rig) error {
		_, err := Replay(context.Background(), r.base, r.dir, nil)
		return err
	}
	cases := map[string]struct {
		do   func(t *testing.T, r *rig, all []segment) error
		want error
	}{
		"a segment is missing": {func(t *testing.T, r *rig, all []segment) error {
			ok(t, os.Remove(all[1].path))
			return replay(r)
		}, ErrGap},
		"the first segment is missing": {func(t *testing.T, r *rig, all []segment) error {
			ok(t, os.Remove(all[0].path))
			return replay(r)
		}, ErrGap},
		"the folder is missing": {func(t *testing.T, r *rig, all []segment) error {
			ok(t, os.RemoveAll(r.dir))
			return replay(r)
		}, ErrGap},
		"a byte of an old segment is changed": {func(t *testing.T, r *rig, all []segment) error {
			flip(t, all[0].path, 200)
			return replay(r)
		}, ErrCorrupt},
		"a byte in the middle of the newest is changed": {func(t *testing.T, r *rig, all []segment) error {
			flip(t, all[len(all)-1].path, 20)
			return replay(r)
		}, ErrCorrupt},
		"the base is another database's": {func(t *testing.T, r *rig, all []segment) error {
			r.base = newRig(t).base
			return replay(r)
		}, ErrGap},
		"the base is older than the log": {func(t *testing.T, r *rig, all []segment) error {
			ok(t, Forget(t.Context(), r.base))
			return replay(r)
		}, ErrNone},
		"the database lacks what the log has": {func(t *testing.T, r *rig, all []segment) error {
			_, err := Open(t.Context(), r.base, r.dir)
			return err
		}, ErrGap},
		"the log lacks what the database has": {func(t *testing.T, r *rig, all []segment) error {
			ok(t, os.Truncate(all[len(all)-1].path, 0))
			_, err := Open(t.Context(), r.db, r.dir)
			return err
		}, ErrGap},
		"the folder is emptied": {func(t *testing.T, r *rig, all []segment) error {
			ok(t, os.RemoveAll(r.dir))
			ok(t, os.Mkdir(r.dir, 0o700))
			_, err := Open(t.Context(), r.db, r.dir)
			return err
		}, ErrGap},
		"two processes": {func(t *testing.T, r *rig, all []segment) error {
			d, err := Open(t.Context(), r.db, r.dir)
			ok(t, err)
			defer d.log.close()
			_, err = Open(t.Context(), r.db, r.dir)
			return err
		}, ErrLocked},
		"the base is of a redo log that began anew since": {func(t *testing.T, r *rig, all []segment) error {
			r.dir = newRig(t).dir
			if _, err := Open(t.Context(), r.base, r.dir); !errors.Is(err, ErrLocked) { // its own ledger has it
				t.Error(err)
			}
			return replay(r)
		}, ErrGap},
		"begun twice": {func(t *testing.T, r *rig, all []segment) error {
			return Begin(t.Context(), r.db, filepath.Join(t.TempDir(), "other"), rand.Reader)
		}, ErrBegun},
		"begun in a folder that is used": {func(t *testing.T, r *rig, all []segment) error {
			ok(t, Forget(t.Context(), r.db))
			return Begin(t.Context(), r.db, r.dir, rand.Reader)
		}, ErrBegun},
		"somebody writes past it": {func(t *testing.T, r *rig, all []segment) error {
			ok(t, r.base.Update(t.Context(), func(tx sqldb.Tx) error {
				_, err := tx.Exec(t.Context(), `INSERT INTO script_blob (hash, data) VALUES ($1, $2)`, []byte("3"), []byte("x"))
				return err
			}))
			return replay(r)
		}, ErrDiverged},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, all := made(t)
			if err := c.do(t, r, all); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func flip(t *testing.T, path string, at int) {
	t.Helper()
	b, err := os.ReadFile(path)
	ok(t, err)
	b[at] ^= 1
	ok(t, os.WriteFile(path, b, 0o600))
}

func FuzzReadRecord(f *testing.F) {
	b, err := encoding.Marshal(record{Seq: 1, Texts: []string{"INSERT"}, Did: []statement{{Args: []any{int64(-1), "s", []byte{1}, true, nil}, Rows: 1}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := readRecord(b)
		if err != nil {
			return
		}
		again, err := encoding.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readRecord(again); err != nil {
			t.Fatal(err)
		}
	})
}
