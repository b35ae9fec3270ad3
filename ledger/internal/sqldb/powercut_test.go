package sqldb

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// survivors opens what a power cut left of a database, and counts rows, which must be the first ones.
func survivors(t *testing.T, file, wal []byte) (n int64) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	for name, content := range map[string][]byte{path: file, path + "-wal": wal} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	db, err := OpenSQLite(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var last int64
	var sound string
	if err := db.View(ctx, func(tx Tx) error {
		if err := tx.QueryRow(ctx, `SELECT COUNT(*), COALESCE(MAX(k), 0) FROM t`).Scan(&n, &last); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `PRAGMA integrity_check`).Scan(&sound)
	}); err != nil || sound != "ok" || n != last {
		t.Fatalf("%d rows up to %d, integrity %q, %v", n, last, sound, err)
	}
	return n
}

// TestPowerCut drops what was written and not synced. What a commit was acknowledged with is synced, to the end of the write-ahead
// log of that moment; behind it a power cut leaves nothing, half of the next frames, zeros or rubbish. While the log is carried over, any
// page of the database file may be the old or the new one, and the log is whole.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	const commits = 12
	db, path := create(t)
	read := func(name string) []byte {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	update(t, db, `CREATE TABLE t (k BIGINT PRIMARY KEY, v BYTEA)`)
	draw := rand.New(rand.NewPCG(1, 2))
	synced := []int{len(read(path + "-wal"))}
	for k := range commits {
		update(t, db, `INSERT INTO t (k, v) VALUES ($1, $2)`, int64(k+1), bytes.Repeat([]byte{byte(k)}, 1+draw.IntN(9_000)))
		synced = append(synced, len(read(path+"-wal")))
	}
	file, wal := read(path), read(path+"-wal")
	for k, end := range synced[:commits] {
		next := synced[k+1]
		torn := append(bytes.Clone(wal[:(end+next)/2]), make([]byte, 64)...)
		rubbish := bytes.Clone(wal[:next])
		for i := end; i < next; i++ {
			rubbish[i] = byte(draw.Uint32())
		}
		for what, left := range map[string][]byte{"nothing": wal[:end], "half": torn, "zeros": append(bytes.Clone(wal[:end]), make([]byte, next-end)...), "rubbish": rubbish} {
			if n := survivors(t, file, left); n != int64(k) {
				t.Errorf("cut after commit %d, %s behind it: %d rows", k, what, n)
			}
		}
	}
	if err := db.Erase(context.Background()); err != nil { // carries the whole log over
		t.Fatal(err)
	}
	carried := read(path)
	const page = 4096
	for range 20 {
		mixed := bytes.Clone(carried)
		for at := 0; at < len(file); at += page {
			if draw.IntN(2) == 0 {
				copy(mixed[at:], file[at:min(at+page, len(file))])
			}
		}
		if n := survivors(t, mixed[:page*(len(file)/page+draw.IntN((len(carried)-len(file))/page+1))], wal); n != commits {
			t.Errorf("cut while the log was carried over: %d rows", n)
		}
	}
}
