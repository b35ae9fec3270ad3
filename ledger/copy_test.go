package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/persoline/persoline/ledger/internal/redo"
	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/ledger/ledgertest/pgtest"
)

// toCopy makes a ledger in which something of everything happened, half of a lot too.
func toCopy(t *testing.T) *bench {
	t.Helper()
	b := newSiteOn(t, must(ledgertest.Memory(t.Context())))
	b.makeLot(spec{good: 4, spares: 2})
	b.makeGood(b.one(), 0)
	b.makeGood(b.one(), 1)
	b.act(b.begin(b.one(), b.at(2)))
	return b
}

func (b *bench) copyTo(to DB) (CopyProof, error) {
	return Copy(b.t.Context(), CopyPlan{From: b.db, To: to, Name: "the server", Now: func() time.Time { return testStart }})
}

// TestCopy moves a ledger with a lot half made to PostgreSQL, where it goes on; the file is given up.
func TestCopy(t *testing.T) {
	t.Parallel()
	b := toCopy(t)
	size := must(b.l.size(t.Context()))
	to := pgtest.Open(t, pgtest.URL(t))
	proof, err := b.copyTo(to)
	if err != nil || proof.Entries != size || len(proof.Tables) < 20 {
		t.Fatalf("%+v, %v", proof, err)
	}
	old := b.db
	if _, err := Open(t.Context(), Config{DB: old, Now: b.clock}); !errors.Is(err, ErrMoved) {
		t.Errorf("the source opens: %v", err)
	}
	if err := b.l.commit(t.Context(), func(ctx context.Context, b *Batch) error { return nil }); err == nil {
		t.Error("a process that had the source open goes on with it")
	}
	d, err := Describe(t.Context(), old)
	if err != nil || d.Moved == nil || d.Entries != size || d.Moved.To != "the server" {
		t.Errorf("the source describes itself: %+v, %v", d, err)
	}
	if _, err := b.copyTo(pgtest.Open(t, pgtest.URL(t))); !errors.Is(err, ErrMoved) {
		t.Errorf("copied a second time: %v", err)
	}
	if _, err := b.copyTo(to); err == nil {
		t.Error("copied into the same target again")
	}
	_ = old.Close()
	b.db = to
	b.open(to)
	b.makeGood(b.one(), 3)
	if s := b.status(); s.Good != 3 || s.LogSize <= size {
		t.Errorf("%+v", s)
	}
	b.check()
}

// TestCopyRefuses: a target that holds something stays as it is, and so does the source.
func TestCopyRefuses(t *testing.T) {
	t.Parallel()
	b := toCopy(t)
	other := newSiteOn(t, must(ledgertest.Memory(t.Context())))
	before := must(other.l.size(t.Context()))
	if _, err := b.copyTo(other.db); !errors.Is(err, ErrRefused) {
		t.Errorf("copied over a ledger: %v", err)
	}
	if n := must(other.l.size(t.Context())); n != before {
		t.Errorf("the other ledger has %d entries, had %d", n, before)
	}
	b.makeGood(b.one(), 4)
	b.check()
}

// TestCopyForgetsTheRedoLog: the source's redo log knows nothing of what happens in the target, which begins one of its own.
func TestCopyForgetsTheRedoLog(t *testing.T) {
	t.Parallel()
	b := toCopy(t)
	dir, file, target := filepath.Join(t.TempDir(), "redo"), b.db, ledgertest.PreparedMemory(t)
	if err := redo.Begin(t.Context(), file, dir, rand.Reader); err != nil {
		t.Fatal(err)
	}
	b.db = must(redo.Open(t.Context(), file, dir))
	if _, err := b.copyTo(target); err != nil {
		t.Fatal(err)
	}
	_ = b.db.Close()
	if _, err := redo.Open(t.Context(), target, dir); !errors.Is(err, redo.ErrNone) {
		t.Errorf("the target goes on with the source's redo log: %v", err)
	}
	own := filepath.Join(t.TempDir(), "own")
	if err := redo.Begin(t.Context(), target, own, rand.Reader); err != nil {
		t.Fatal(err)
	}
	b.db = must(redo.Open(t.Context(), target, own))
	b.open(b.db)
	b.makeGood(b.one(), 4)
	b.check()
}

// TestCopyBreaksOff lets each write of target and source fail in turn, written or not: the same call again completes the copy, at
// no time both serve, and what comes out is the ledger.
func TestCopyBreaksOff(t *testing.T) {
	t.Parallel()
	for _, fault := range []ledgertest.Fault{ledgertest.Lost, ledgertest.Written} {
		t.Run(fault.String(), func(t *testing.T) {
			t.Parallel()
			for n, over := int64(1), false; !over; n++ {
				b := toCopy(t)
				file, target := b.db, ledgertest.PreparedMemory(t)
				sourceFails := ledgertest.WithFaults(file, ledgertest.At(n, fault))
				targetFails := ledgertest.WithFaults(target, ledgertest.At(n, fault))
				b.db = sourceFails
				_, err := b.copyTo(targetFails)
				over = targetFails.Updates() < n
				b.db = file
				if mayServe(t.Context(), file) == nil && mayServe(t.Context(), target) == nil && CheckVacant(t.Context(), target) != nil {
					t.Fatalf("update %d: both may be served", n)
				}
				if err != nil {
					if _, err := b.copyTo(target); err != nil && mayServe(t.Context(), target) != nil {
						t.Fatalf("update %d: again: %v", n, err)
					}
				}
				b.db = target
				b.open(target)
				if s := b.status(); s.Good != 2 || s.Open != 1 {
					t.Errorf("update %d: %+v", n, s)
				}
				b.check()
				_ = file.Close()
			}
		})
	}
}
