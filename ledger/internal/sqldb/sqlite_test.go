package sqldb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func create(t testing.TB) (DB, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a name with ? and % and #.db")
	db, err := CreateSQLite(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db, path
}

func TestOpenIsNeverCreate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	if _, err := OpenSQLite(t.Context(), path); !errors.Is(err, ErrMissing) {
		t.Errorf("opening nothing: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("opening a missing ledger made a file")
	}
	if _, err := OpenSQLite(t.Context(), filepath.Dir(path)); err == nil || errors.Is(err, ErrMissing) {
		t.Errorf("opening a folder: %v", err)
	}
	if err := os.WriteFile(path, []byte("this is a text file and no database at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := CreateSQLite(t.Context(), path); err == nil {
		t.Error("created a ledger over a file")
	}
	if _, err := OpenSQLite(t.Context(), path); err == nil {
		t.Error("opened a text file")
	}
}

func TestReopen(t *testing.T) {
	t.Parallel()
	db, path := create(t)
	ctx := t.Context()
	update(t, db, `CREATE TABLE t (k BIGINT PRIMARY KEY)`)
	update(t, db, `INSERT INTO t (k) VALUES ($1)`, int64(7))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != ledgerFileMode {
		t.Errorf("file is %v, %v", info.Mode(), err)
	}
	again, err := OpenSQLite(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = again.Close() })
	var k int64
	if err := again.View(ctx, func(tx Tx) error { return tx.QueryRow(ctx, `SELECT k FROM t`).Scan(&k) }); err != nil || k != 7 {
		t.Errorf("read back %d, %v", k, err)
	}
}

func update(t testing.TB, db DB, query string, args ...any) {
	t.Helper()
	ctx := context.Background()
	if err := db.Update(ctx, func(tx Tx) error { _, err := tx.Exec(ctx, query, args...); return err }); err != nil {
		t.Fatal(err)
	}
}

// TestErase: after Erase, no file holds a byte of what was deleted, be it in a row of its own page, in a long one, or in
// the write-ahead log. A reader of an older snapshot is waited for.
func TestErase(t *testing.T) {
	t.Parallel()
	db, path := create(t)
	ctx := t.Context()
	update(t, db, `CREATE TABLE t (k BIGINT PRIMARY KEY, v BYTEA)`)
	word := []byte("what nobody may find again")
	for k, times := range []int{1, 2_000} {
		update(t, db, `INSERT INTO t (k, v) VALUES ($1, $2)`, int64(k), bytes.Repeat(word, times))
	}
	update(t, db, `DELETE FROM t`)
	if !written(t, path, word) {
		t.Fatal("the word was in no file before: this test shows nothing")
	}
	reading, over := make(chan struct{}), make(chan struct{})
	read := make(chan error, 1)
	go func() {
		read <- db.View(ctx, func(tx Tx) error {
			var n int64
			err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM t`).Scan(&n)
			close(reading)
			<-over
			return err
		})
	}()
	<-reading
	short, cancel := context.WithCancel(ctx)
	cancel()
	if err := db.Erase(short); !errors.Is(err, context.Canceled) {
		t.Errorf("while somebody reads: %v", err)
	}
	close(over)
	if err := errors.Join(db.Erase(ctx), <-read); err != nil {
		t.Fatal(err)
	}
	if written(t, path, word) {
		t.Error("a deleted row is in a file")
	}
	update(t, db, `INSERT INTO t (k) VALUES ($1)`, int64(7))
}

// written looks for a text in every file of the database's folder.
func written(t *testing.T, path string, text []byte) bool {
	t.Helper()
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(files) < 2 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(path), f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, text) {
			return true
		}
	}
	return false
}

// TestPragmasAreAsserted: a pragma that does not take must stop the opening, here one that cannot be set to a nonsense.
func TestPragmasAreAsserted(t *testing.T) {
	t.Parallel()
	db, _ := create(t)
	conns := db.(*sqliteDB).all
	if len(conns) != 1+ReadConnections {
		t.Fatalf("%d connections", len(conns))
	}
	for pragma, want := range map[string]string{"synchronous": "2", "journal_mode": "wal", "foreign_keys": "1", "secure_delete": "1"} {
		for i, c := range conns {
			if got, err := c.pragma(pragma); err != nil || got != want {
				t.Errorf("connection %d: %s is %q, %v; want %q", i, pragma, got, err, want)
			}
		}
	}
	if err := conns[0].assert("synchronous", "FULL"); err == nil {
		t.Error("a pragma that reads back otherwise was accepted")
	}
}

// TestFailedCommitFences lets COMMIT itself fail: the transaction is ended behind the seam's back.
func TestFailedCommitFences(t *testing.T) {
	t.Parallel()
	db, path := create(t)
	ctx := t.Context()
	update(t, db, `CREATE TABLE t (k BIGINT PRIMARY KEY)`)
	err := db.Update(ctx, func(tx Tx) error { _, err := tx.Exec(ctx, `ROLLBACK`); return err })
	if !errors.Is(err, ErrAmbiguous) {
		t.Errorf("failed commit: %v", err)
	}
	nothing := func(Tx) error { return nil }
	if err := db.Update(ctx, nothing); !errors.Is(err, ErrFenced) {
		t.Errorf("update after it: %v", err)
	}
	if err := db.View(ctx, nothing); !errors.Is(err, ErrFenced) {
		t.Errorf("view after it: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	again, err := OpenSQLite(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	update(t, again, `INSERT INTO t (k) VALUES (1)`)
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestStatementTextsAreBounded(t *testing.T) {
	t.Parallel()
	db, _ := create(t)
	ctx := t.Context()
	err := db.View(ctx, func(tx Tx) error {
		for i := range MaxStatements + 1 {
			var n int64
			if err := tx.QueryRow(ctx, fmt.Sprintf("SELECT %d", i)).Scan(&n); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		t.Error("statement texts are not bounded")
	}
}

func TestForeignKeyIsNoConflict(t *testing.T) {
	t.Parallel()
	db, _ := create(t)
	ctx := t.Context()
	update(t, db, `CREATE TABLE a (k BIGINT PRIMARY KEY)`)
	update(t, db, `CREATE TABLE b (k BIGINT REFERENCES a (k))`)
	err := db.Update(ctx, func(tx Tx) error { _, err := tx.Exec(ctx, `INSERT INTO b (k) VALUES (1)`); return err })
	if err == nil || errors.Is(err, ErrConflict) || errors.Is(err, ErrAmbiguous) {
		t.Errorf("row without its parent: %v", err)
	}
}

// TestCloseWaits: Close lets a running transaction end, and its commit counts.
func TestCloseWaits(t *testing.T) {
	t.Parallel()
	db, path := create(t)
	ctx := t.Context()
	update(t, db, `CREATE TABLE t (k BIGINT PRIMARY KEY)`)
	inside, goOn := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		err := db.Update(ctx, func(tx Tx) error {
			close(inside)
			<-goOn
			_, err := tx.Exec(ctx, `INSERT INTO t (k) VALUES (1)`)
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-inside
	wg.Go(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	close(goOn)
	wg.Wait()
	again, err := OpenSQLite(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	if err := again.View(ctx, func(tx Tx) error { return tx.QueryRow(ctx, `SELECT COUNT(*) FROM t`).Scan(&n) }); err != nil || n != 1 {
		t.Errorf("%d rows, %v", n, err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// BenchmarkInsert measures rows per second within transactions of 256; the ledger needs 30,000.
func BenchmarkInsert(b *testing.B) {
	db, _ := create(b)
	ctx := context.Background()
	update(b, db, `CREATE TABLE t (seq BIGINT PRIMARY KEY, kind TEXT NOT NULL, subject BYTEA NOT NULL, body BYTEA NOT NULL)`)
	body, k := make([]byte, 400), int64(0)
	b.ResetTimer()
	for k < int64(b.N) {
		err := db.Update(ctx, func(tx Tx) error {
			for range 256 {
				if _, err := tx.Exec(ctx, `INSERT INTO t (seq, kind, subject, body) VALUES ($1, $2, $3, $4)`, k, "act", body[:16], body); err != nil {
					return err
				}
				k++
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(k)/b.Elapsed().Seconds(), "rows/s")
}
