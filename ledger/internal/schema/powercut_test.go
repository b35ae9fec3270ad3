package schema

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/ledger/internal/sqldb"
)

// Sizes of SQLite's write-ahead log: a frame is what is written at once.
const (
	walHeaderBytes = 32
	frameBytes     = 24 + 4096
)

// filming is a database on a file, which keeps what the disk holds when an update was acknowledged.
type filming struct {
	sqldb.DB
	t      *testing.T
	path   string
	wals   [][]byte
	states []string
}

func (f *filming) Update(ctx context.Context, do func(sqldb.Tx) error) error {
	err := f.DB.Update(ctx, do)
	f.shoot()
	return err
}

func (f *filming) shoot() {
	f.t.Helper()
	f.wals, f.states = append(f.wals, read(f.t, f.path+"-wal")), append(f.states, described(f.t, f.DB))
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return b
}

// described is all that a migration makes or may spoil: tables, indexes, migrations that are done, and rows.
func described(t *testing.T, db sqldb.DB) string {
	t.Helper()
	var out strings.Builder
	ctx := t.Context()
	if err := db.View(ctx, func(tx sqldb.Tx) error {
		out.Reset()
		tables := map[string]bool{}
		err := tx.Each(ctx, func(row sqldb.Row) error {
			var kind, name, text string
			err := row.Scan(&kind, &name, &text)
			tables[name] = kind == "table"
			fmt.Fprintln(&out, kind, name, text)
			return err
		}, `SELECT type, name, COALESCE(sql, '') FROM sqlite_master ORDER BY rootpage`)
		for _, name := range []string{"schema_version", "log_head", "reel"} {
			var n int64
			if err == nil && tables[name] {
				err = tx.QueryRow(ctx, `SELECT COUNT(*) FROM `+name).Scan(&n)
			}
			fmt.Fprintln(&out, name, n)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestPowerCut cuts the power at every write of a migration, of a new ledger and of one that holds something: with what was written and not synced
// gone, torn, or rubbish. What opens is the ledger as it stood when the last statement was acknowledged, or the next one whole; nobody takes it for a
// whole one; and the migration goes on from there.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	all, err := load(files)
	if err != nil {
		t.Fatal(err)
	}
	for _, had := range []int{0, len(all) - 1} {
		f := filmed(t, all, had)
		file := read(t, f.path)
		if err := Upgrade(t.Context(), f); (err != nil) != (had == 0) {
			t.Fatal(err)
		}
		if had == 0 {
			err = Init(t.Context(), f)
		}
		if err = errors.Join(err, Check(t.Context(), f)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(read(t, f.path), file) {
			t.Fatal("the write-ahead log was carried over meanwhile: this test knows nothing of that")
		}
		whole := f.states[len(f.states)-1]
		for i := range len(f.wals) - 1 {
			for what, wal := range torn(f.wals[i], f.wals[i+1]) {
				db := develop(t, file, wal)
				if got := described(t, db); got != f.states[i] && (!bytes.Equal(wal, f.wals[i+1]) || got != f.states[i+1]) {
					t.Errorf("from %d migrations, cut after update %d, %s: it is as it never was:\n%s", had, i, what, got)
				}
				if passes := Check(t.Context(), db) == nil; passes != (described(t, db) == whole) {
					t.Errorf("from %d migrations, cut after update %d, %s: passes %v", had, i, what, passes)
				}
				if what == "gone" {
					finish(t, db, whole)
				}
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// filmed makes a ledger of the first migrations, with a row if it has a table for it.
func filmed(t *testing.T, all []migration, had int) *filming {
	t.Helper()
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "ledger.db")
	db, err := sqldb.CreateSQLite(ctx, path)
	if err == nil && had > 0 {
		err = exec(ctx, db, createVersion)
		for i := 0; i < had && err == nil; i++ {
			err = apply(ctx, db, all[:i+1], i)
		}
		err = errors.Join(err, exec(ctx, db, `INSERT INTO reel (reel, file_hash, product, count, created) VALUES ('R', $1, 'p', 1, 1)`, []byte{1}))
	}
	if err == nil { // what is there is in the file, and the write-ahead log begins anew
		err = db.Close()
	}
	if err == nil {
		db, err = sqldb.OpenSQLite(ctx, path)
	}
	if err != nil {
		t.Fatal(err)
	}
	f := &filming{DB: db, t: t, path: path}
	f.shoot()
	return f
}

// torn gives what may be left of a write-ahead log when the power goes between one sync and the next: at each frame in between whole frames only,
// half a frame more, or rubbish behind.
func torn(before, after []byte) map[string][]byte {
	out := map[string][]byte{"gone": before, "all": after}
	for at := max(len(before), walHeaderBytes); at+frameBytes <= len(after); at += frameBytes {
		if at+frameBytes < len(after) {
			out[fmt.Sprintf("frames up to byte %d", at+frameBytes)] = after[:at+frameBytes]
		}
		out[fmt.Sprintf("half a frame at byte %d", at)] = append(bytes.Clone(after[:at+frameBytes/2]), make([]byte, frameBytes/2)...)
		out[fmt.Sprintf("rubbish at byte %d", at)] = append(bytes.Clone(after[:at]), bytes.Repeat([]byte{0xA5}, frameBytes)...)
	}
	return out
}

// develop opens what is left.
func develop(t *testing.T, file, wal []byte) sqldb.DB {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	if err := errors.Join(os.WriteFile(path, file, 0o600), os.WriteFile(path+"-wal", wal, 0o600)); err != nil {
		t.Fatal(err)
	}
	db, err := sqldb.OpenSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// finish types the same again.
func finish(t *testing.T, db sqldb.DB, whole string) {
	t.Helper()
	err := Upgrade(t.Context(), db)
	if err != nil {
		err = Init(t.Context(), db)
	}
	if err = errors.Join(err, Check(t.Context(), db)); err != nil {
		t.Errorf("going on: %v", err)
	}
	if got := described(t, db); got != whole {
		t.Errorf("gone on, it is\n%s\nnot\n%s", got, whole)
	}
}
