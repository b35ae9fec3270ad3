package ledgertest_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/persoline/persoline/ledger/ledgertest"
)

func file(t *testing.T) ledgertest.DB {
	t.Helper()
	db, err := ledgertest.Create(t.Context(), filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func memory(t *testing.T) ledgertest.DB {
	t.Helper()
	db, err := ledgertest.Memory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func TestConformance(t *testing.T) {
	t.Parallel()
	t.Run("file", func(t *testing.T) { t.Parallel(); ledgertest.Run(t, file) })
	t.Run("memory", func(t *testing.T) { t.Parallel(); ledgertest.Run(t, memory) })
	t.Run("every update run twice", func(t *testing.T) {
		t.Parallel()
		ledgertest.Run(t, func(t *testing.T) ledgertest.DB {
			return ledgertest.WithFaults(file(t), ledgertest.Every(1, ledgertest.Twice))
		})
	})
}

func TestFaults(t *testing.T) {
	t.Parallel()
	cases := []struct {
		fault     ledgertest.Fault
		written   bool
		ambiguous bool
		injected  bool
		runs      int
	}{
		{ledgertest.None, true, false, false, 1},
		{ledgertest.Lost, false, false, true, 1},
		{ledgertest.AmbiguousLost, false, true, true, 1},
		{ledgertest.AmbiguousWritten, true, true, true, 1},
		{ledgertest.Twice, true, false, false, 2},
		{ledgertest.Written, true, false, true, 1},
	}
	for _, c := range cases {
		t.Run(c.fault.String(), func(t *testing.T) {
			t.Parallel()
			ctx, runs := t.Context(), 0
			db := ledgertest.WithFaults(ledgertest.PreparedMemory(t), ledgertest.At(1, c.fault))
			put := func(tx ledgertest.Tx) error {
				runs++
				_, err := tx.Exec(ctx, `INSERT INTO meta (key, value) VALUES ($1, $2)`, "k", []byte("v"))
				return err
			}
			err := db.Update(ctx, put)
			if errors.Is(err, ledgertest.ErrAmbiguous) != c.ambiguous || errors.Is(err, ledgertest.ErrInjected) != c.injected ||
				(err != nil) != (c.ambiguous || c.injected) {
				t.Errorf("reported %v", err)
			}
			if runs != c.runs {
				t.Errorf("f ran %d times, want %d", runs, c.runs)
			}
			if got := rows(ctx, t, db); got != c.written {
				t.Errorf("written: %v, want %v", got, c.written)
			}
			if db.Updates() != 1 {
				t.Errorf("counted %d updates", db.Updates())
			}
		})
	}
}

func rows(ctx context.Context, t *testing.T, db ledgertest.DB) bool {
	t.Helper()
	var n int64
	if err := db.View(ctx, func(tx ledgertest.Tx) error {
		return tx.QueryRow(ctx, `SELECT COUNT(*) FROM meta`).Scan(&n)
	}); err != nil {
		t.Fatal(err)
	}
	return n == 1
}

func TestDecide(t *testing.T) {
	t.Parallel()
	every := ledgertest.Every(3, ledgertest.Lost)
	for n := int64(1); n <= 9; n++ {
		if got := every(ledgertest.Op{N: n, Write: true}) == ledgertest.Lost; got != (n%3 == 0) {
			t.Errorf("update %d fails: %v", n, got)
		}
		if every(ledgertest.Op{N: n}) != ledgertest.None {
			t.Errorf("view %d fails", n)
		}
	}
	db := ledgertest.WithFaults(ledgertest.PreparedMemory(t), func(op ledgertest.Op) ledgertest.Fault {
		if !op.Write {
			return ledgertest.Lost
		}
		return ledgertest.None
	})
	if err := db.View(t.Context(), func(ledgertest.Tx) error { return nil }); !errors.Is(err, ledgertest.ErrInjected) {
		t.Errorf("failed view: %v", err)
	}
}
