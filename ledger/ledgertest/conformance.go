package ledgertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/persoline/persoline/ledger/internal/sqldb"
)

// Run is the conformance suite of the seam. open gives an empty database, which the suite closes.
func Run(t *testing.T, open func(t *testing.T) DB) {
	cases := []struct {
		name string
		run  func(t *testing.T, db DB)
	}{
		{"commit is visible, rollback is not", visibility},
		{"panic rolls back", panics},
		{"values round trip", roundTrip},
		{"bytes sort as unsigned bytes", byteOrder},
		{"compare and set counts rows", compareAndSet},
		{"returning", returning},
		{"conflict ends the transaction", conflict},
		{"check constraint", checkConstraint},
		{"no row is no failure", noRow},
		{"statements do not overlap", overlap},
		{"a transaction dies with its function", deadTx},
		{"view keeps its snapshot", snapshot},
		{"view refuses writes", readOnly},
		{"concurrent appends leave no gap and no twin", appends},
		{"cancelled context changes nothing", cancelled},
		{"closed database refuses", closed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			db := open(t)
			t.Cleanup(func() {
				if err := db.Close(); err != nil {
					t.Error(err)
				}
			})
			must(t, exec(t, db, `CREATE TABLE kv (k BIGINT PRIMARY KEY CHECK (k >= 0), v BYTEA, s TEXT, b BOOLEAN)`))
			c.run(t, db)
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func exec(t *testing.T, db DB, query string, args ...any) error {
	return db.Update(t.Context(), func(tx Tx) error {
		_, err := tx.Exec(t.Context(), query, args...)
		return err
	})
}

func count(t *testing.T, db DB) (n int64) {
	t.Helper()
	must(t, db.View(t.Context(), func(tx Tx) error {
		return tx.QueryRow(t.Context(), `SELECT COUNT(*) FROM kv`).Scan(&n)
	}))
	return n
}

const insertKV = `INSERT INTO kv (k, v, s, b) VALUES ($1, $2, $3, $4)`

func visibility(t *testing.T, db DB) {
	must(t, exec(t, db, insertKV, int64(1), []byte("x"), "s", true))
	stop := errors.New("stop")
	err := db.Update(t.Context(), func(tx Tx) error {
		if _, err := tx.Exec(t.Context(), insertKV, int64(2), []byte("y"), "s", true); err != nil {
			return err
		}
		var n int64
		if err := tx.QueryRow(t.Context(), `SELECT COUNT(*) FROM kv`).Scan(&n); err != nil || n != 2 {
			t.Errorf("own write: %d rows, %v", n, err)
		}
		return stop
	})
	if !errors.Is(err, stop) {
		t.Errorf("error of f: got %v", err)
	}
	if n := count(t, db); n != 1 {
		t.Errorf("after rollback: %d rows, want 1", n)
	}
}

func panics(t *testing.T, db DB) {
	func() {
		defer func() {
			if recover() == nil {
				t.Error("panic was swallowed")
			}
		}()
		_ = db.Update(t.Context(), func(tx Tx) error {
			if _, err := tx.Exec(t.Context(), insertKV, int64(1), nil, "s", true); err != nil {
				t.Error(err)
			}
			panic("f fell over")
		})
	}()
	if n := count(t, db); n != 0 {
		t.Errorf("after panic: %d rows", n)
	}
	must(t, exec(t, db, insertKV, int64(1), nil, "s", true))
}

func roundTrip(t *testing.T, db DB) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	rows := []struct {
		k int64
		v []byte
		s string
		b bool
	}{
		{0, []byte{}, "", false}, {1, nil, "text", true}, {math.MaxInt64, all, "ünïcödé 'quoted' \"; --", true},
		{7, []byte("12345"), "0042", false}, {8, bytes.Repeat([]byte{0}, 100_000), "1e5", true},
	}
	for _, r := range rows {
		must(t, exec(t, db, insertKV, r.k, r.v, r.s, r.b))
	}
	for _, want := range rows {
		got := want
		var isNull bool
		must(t, db.View(t.Context(), func(tx Tx) error {
			// The numbers run backwards: a placeholder means its number, not its place.
			return tx.QueryRow(t.Context(), `SELECT k, v, s, b, v IS NULL FROM kv WHERE b = $2 AND k = $1`, want.k, want.b).
				Scan(&got.k, &got.v, &got.s, &got.b, &isNull)
		}))
		if got.k != want.k || !bytes.Equal(got.v, want.v) || got.s != want.s || got.b != want.b || isNull != (want.v == nil) {
			t.Errorf("row %d came back as %d, %d bytes, %q, %v, null %v", want.k, got.k, len(got.v), got.s, got.b, isNull)
		}
	}
}

func byteOrder(t *testing.T, db DB) {
	want := [][]byte{{}, {0}, {0, 0}, {0, 1}, {1}, {0x30}, {0x7f}, {0x80}, {0x80, 0}, {0xff}, {0xff, 0xff}}
	for i, v := range want {
		must(t, exec(t, db, insertKV, int64(len(want)-i), v, "s", true))
	}
	var got [][]byte
	must(t, db.View(t.Context(), func(tx Tx) error {
		got = nil
		return tx.Each(t.Context(), func(r Row) error {
			var v []byte
			err := r.Scan(&v)
			got = append(got, v)
			return err
		}, `SELECT v FROM kv WHERE v >= $1 AND v <= $2 ORDER BY v`, []byte{}, []byte{0xff, 0xff})
	}))
	if fmt.Sprintf("%x", got) != fmt.Sprintf("%x", want) {
		t.Errorf("order is %x, want %x", got, want)
	}
}

func compareAndSet(t *testing.T, db DB) {
	must(t, exec(t, db, insertKV, int64(1), []byte("a"), "s", true))
	must(t, db.Update(t.Context(), func(tx Tx) error {
		for i, want := range []int64{1, 0} {
			n, err := tx.Exec(t.Context(), `UPDATE kv SET v = $1 WHERE k = $2 AND v = $3`, []byte("b"), int64(1), []byte("a"))
			if err != nil || n != want {
				t.Errorf("try %d: %d rows, %v; want %d", i, n, err, want)
			}
		}
		n, err := tx.Exec(t.Context(), insertKV+` ON CONFLICT DO NOTHING`, int64(1), nil, "t", false)
		if err != nil || n != 0 {
			t.Errorf("insert over a row: %d rows, %v; want 0", n, err)
		}
		n, err = tx.Exec(t.Context(), `DELETE FROM kv WHERE k = $1`, int64(1))
		if err != nil || n != 1 {
			t.Errorf("delete: %d rows, %v; want 1", n, err)
		}
		return nil
	}))
}

func returning(t *testing.T, db DB) {
	must(t, exec(t, db, insertKV, int64(5), []byte("a"), "s", true))
	must(t, db.Update(t.Context(), func(tx Tx) error {
		var k int64
		if err := tx.QueryRow(t.Context(), `UPDATE kv SET s = $1 WHERE k = $2 RETURNING k`, "t", int64(5)).Scan(&k); err != nil || k != 5 {
			t.Errorf("returning gave %d, %v", k, err)
		}
		err := tx.QueryRow(t.Context(), insertKV+` ON CONFLICT DO NOTHING RETURNING k`, int64(5), nil, "u", true).Scan(&k)
		if !errors.Is(err, sqldb.ErrNoRows) {
			t.Errorf("returning without a row: %v", err)
		}
		return nil
	}))
}

func conflict(t *testing.T, db DB) {
	must(t, exec(t, db, insertKV, int64(1), []byte("a"), "s", true))
	err := db.Update(t.Context(), func(tx Tx) error {
		if _, err := tx.Exec(t.Context(), insertKV, int64(2), nil, "s", true); err != nil {
			return err
		}
		if _, err := tx.Exec(t.Context(), insertKV, int64(1), nil, "s", true); !errors.Is(err, sqldb.ErrConflict) {
			t.Errorf("second row with one key: %v", err)
		}
		if _, err := tx.Exec(t.Context(), insertKV, int64(3), nil, "s", true); err == nil {
			t.Error("a statement ran after a failed one")
		}
		return nil // swallowed, and yet:
	})
	if !errors.Is(err, sqldb.ErrConflict) {
		t.Errorf("commit after a failed statement: %v", err)
	}
	if n := count(t, db); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

func checkConstraint(t *testing.T, db DB) {
	err := exec(t, db, insertKV, int64(-1), nil, "s", true)
	if err == nil || errors.Is(err, sqldb.ErrConflict) {
		t.Errorf("row against CHECK: %v", err)
	}
}

func noRow(t *testing.T, db DB) {
	must(t, db.Update(t.Context(), func(tx Tx) error {
		var k int64
		if err := tx.QueryRow(t.Context(), `SELECT k FROM kv WHERE k = $1`, int64(9)).Scan(&k); !errors.Is(err, sqldb.ErrNoRows) {
			t.Errorf("missing row: %v", err)
		}
		_, err := tx.Exec(t.Context(), insertKV, int64(9), nil, "s", true)
		return err
	}))
	if n := count(t, db); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

func overlap(t *testing.T, db DB) {
	must(t, exec(t, db, insertKV, int64(1), nil, "s", true))
	must(t, exec(t, db, insertKV, int64(2), nil, "s", true))
	uses := map[string]func(tx Tx){
		"in Each": func(tx Tx) {
			_ = tx.Each(t.Context(), func(Row) error {
				_, _ = tx.Exec(t.Context(), `DELETE FROM kv`)
				return nil
			}, `SELECT k FROM kv ORDER BY k`)
		},
		"before Scan": func(tx Tx) {
			_ = tx.QueryRow(t.Context(), `SELECT k FROM kv ORDER BY k`)
			_, _ = tx.Exec(t.Context(), `DELETE FROM kv`)
		},
		"without Scan": func(tx Tx) { _ = tx.QueryRow(t.Context(), `DELETE FROM kv RETURNING k`) },
	}
	for name, use := range uses {
		err := db.Update(t.Context(), func(tx Tx) error { use(tx); return nil })
		if err == nil {
			t.Errorf("%s: overlapping statements were committed", name)
		}
	}
	if n := count(t, db); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}

func deadTx(t *testing.T, db DB) {
	var kept Tx
	must(t, db.Update(t.Context(), func(tx Tx) error { kept = tx; return nil }))
	if _, err := kept.Exec(t.Context(), insertKV, int64(1), nil, "s", true); err == nil {
		t.Error("statement ran in a transaction that is over")
	}
	if n := count(t, db); n != 0 {
		t.Errorf("%d rows, want 0", n)
	}
}

// snapshot holds a View open over an Update; a database that makes Views wait passes when the Update comes after.
func snapshot(t *testing.T, db DB) {
	must(t, exec(t, db, insertKV, int64(1), nil, "s", true))
	wrote := make(chan error, 1)
	must(t, db.View(t.Context(), func(tx Tx) error {
		read := func() (n int64, err error) {
			err = tx.QueryRow(t.Context(), `SELECT COUNT(*) FROM kv`).Scan(&n)
			return n, err
		}
		before, err := read()
		if err != nil {
			return err
		}
		go func() { wrote <- exec(t, db, insertKV, int64(2), nil, "s", true) }()
		select {
		case err := <-wrote:
			wrote <- err
		case <-time.After(200 * time.Millisecond): // Views and Updates take turns here
		}
		after, err := read()
		if after != before {
			t.Errorf("view saw %d rows, then %d", before, after)
		}
		return err
	}))
	must(t, <-wrote)
	if n := count(t, db); n != 2 {
		t.Errorf("%d rows after both, want 2", n)
	}
}

func readOnly(t *testing.T, db DB) {
	for _, write := range []func(tx Tx) error{
		func(tx Tx) error { _, err := tx.Exec(t.Context(), insertKV, int64(1), nil, "s", true); return err },
		func(tx Tx) error {
			var k int64
			return tx.QueryRow(t.Context(), insertKV+` RETURNING k`, int64(1), nil, "s", true).Scan(&k)
		},
	} {
		if err := db.View(t.Context(), write); err == nil {
			t.Error("view wrote")
		}
	}
	if n := count(t, db); n != 0 {
		t.Errorf("%d rows, want 0", n)
	}
	must(t, exec(t, db, insertKV, int64(1), nil, "s", true))
}

// appends is the ledger's own pattern: head first by compare-and-set, row second, several writers.
func appends(t *testing.T, db DB) {
	const writers, each = 8, 25
	must(t, exec(t, db, `CREATE TABLE head (id BIGINT PRIMARY KEY, size BIGINT NOT NULL)`))
	must(t, exec(t, db, `INSERT INTO head (id, size) VALUES (1, 0)`))
	one := func(tx Tx) error {
		var size int64
		if err := tx.QueryRow(t.Context(), `SELECT size FROM head WHERE id = 1`).Scan(&size); err != nil {
			return err
		}
		n, err := tx.Exec(t.Context(), `UPDATE head SET size = $1 WHERE id = 1 AND size = $2`, size+1, size)
		if err != nil || n != 1 {
			return fmt.Errorf("moving head from %d: %d rows, %w", size, n, err)
		}
		_, err = tx.Exec(t.Context(), insertKV, size, nil, "s", true)
		return err
	}
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				if err := db.Update(t.Context(), one); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	next := int64(0)
	must(t, db.View(t.Context(), func(tx Tx) error {
		return tx.Each(t.Context(), func(r Row) error {
			var k int64
			err := r.Scan(&k)
			if k != next {
				t.Errorf("row %d follows %d", k, next-1)
			}
			next = k + 1
			return err
		}, `SELECT k FROM kv ORDER BY k`)
	}))
	if next != writers*each {
		t.Errorf("%d rows, want %d", next, writers*each)
	}
}

func cancelled(t *testing.T, db DB) {
	ctx, cancel := context.WithCancel(t.Context())
	err := db.Update(ctx, func(tx Tx) error {
		_, err := tx.Exec(ctx, insertKV, int64(1), nil, "s", true)
		cancel()
		return err
	})
	if !errors.Is(err, context.Canceled) || errors.Is(err, sqldb.ErrAmbiguous) {
		t.Errorf("cancelled before its commit: %v", err)
	}
	if err := db.Update(ctx, func(Tx) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before it began: %v", err)
	}
	if n := count(t, db); n != 0 {
		t.Errorf("%d rows, want 0", n)
	}
}

func closed(t *testing.T, db DB) {
	must(t, db.Close())
	if err := db.Update(t.Context(), func(Tx) error { return nil }); !errors.Is(err, sqldb.ErrClosed) {
		t.Errorf("update after close: %v", err)
	}
	if err := db.View(t.Context(), func(Tx) error { return nil }); !errors.Is(err, sqldb.ErrClosed) {
		t.Errorf("view after close: %v", err)
	}
}
