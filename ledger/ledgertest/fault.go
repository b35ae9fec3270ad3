package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
)

// Fault is what happens to one call of a FaultDB.
type Fault int

// The faults. Each but the last keeps the seam's contract, so the ledger must come through it unharmed.
const (
	// None lets the call pass.
	None Fault = iota
	// Lost runs f, writes nothing and reports ErrInjected. A View can have it, and Twice.
	Lost
	// AmbiguousLost runs f, writes nothing and reports ErrAmbiguous.
	AmbiguousLost
	// AmbiguousWritten commits and reports ErrAmbiguous.
	AmbiguousWritten
	// Twice runs f, rolls it back, runs it again and commits, as a database does that asks for a retry.
	Twice
	// Written commits and reports ErrInjected, which the seam forbids: for a process that died between its commit and its
	// answer, when the caller is thrown away and the ledger opened again.
	Written
)

// String names the fault in a trace.
func (f Fault) String() string {
	switch f {
	case None:
		return "none"
	case Lost:
		return "lost"
	case AmbiguousLost:
		return "ambiguous-lost"
	case AmbiguousWritten:
		return "ambiguous-written"
	case Twice:
		return "twice"
	case Written:
		return "written"
	}
	return fmt.Sprintf("fault(%d)", int(f))
}

// ErrInjected is the plain storage error of a FaultDB.
var ErrInjected = errors.New("injected storage error")

// Op is one call of a FaultDB.
type Op struct {
	N     int64 // number of the Update, or of the View, from 1
	Write bool
}

// Decide chooses the fault of a call. It may be called by several goroutines at once.
type Decide func(Op) Fault

// At gives update number n a fault.
func At(n int64, f Fault) Decide {
	return func(op Op) Fault {
		if op.Write && op.N == n {
			return f
		}
		return None
	}
}

// Every gives each nth update a fault.
func Every(n int64, f Fault) Decide {
	return func(op Op) Fault {
		if op.Write && op.N%n == 0 {
			return f
		}
		return None
	}
}

// FaultDB is a database that fails when it is told to.
type FaultDB struct {
	inner   DB
	decide  Decide
	updates atomic.Int64
	views   atomic.Int64
}

// WithFaults wraps a database.
func WithFaults(inner DB, decide Decide) *FaultDB { return &FaultDB{inner: inner, decide: decide} }

// Updates is how many updates were asked for, so that a test can fail each in turn.
func (d *FaultDB) Updates() int64 { return d.updates.Load() }

// Update runs f with the fault that is decided for it. An error of f itself comes first.
func (d *FaultDB) Update(ctx context.Context, f func(Tx) error) error {
	switch fault := d.decide(Op{N: d.updates.Add(1), Write: true}); fault {
	case None:
		return d.inner.Update(ctx, f)
	case Lost:
		return d.undone(ctx, f, ErrInjected)
	case AmbiguousLost:
		return d.undone(ctx, f, fmt.Errorf("%w: %w", ErrAmbiguous, ErrInjected))
	case AmbiguousWritten:
		return d.done(ctx, f, fmt.Errorf("%w: %w", ErrAmbiguous, ErrInjected))
	case Written:
		return d.done(ctx, f, ErrInjected)
	case Twice:
		if err := d.undone(ctx, f, errAgain); !errors.Is(err, errAgain) {
			return err
		}
		return d.inner.Update(ctx, f)
	default:
		return fmt.Errorf("update with unknown fault %d", int(fault))
	}
}

// View runs f, or fails before it.
func (d *FaultDB) View(ctx context.Context, f func(Tx) error) error {
	switch d.decide(Op{N: d.views.Add(1)}) {
	case Lost:
		return ErrInjected
	case Twice:
		if err := d.inner.View(ctx, f); err != nil {
			return err
		}
	}
	return d.inner.View(ctx, f)
}

// Erase erases in the wrapped database.
func (d *FaultDB) Erase(ctx context.Context) error { return d.inner.Erase(ctx) }

// Close closes the wrapped database.
func (d *FaultDB) Close() error { return d.inner.Close() }

var errAgain = errors.New("transaction is run again")

// undone runs f to its end and rolls it back.
func (d *FaultDB) undone(ctx context.Context, f func(Tx) error, report error) error {
	return d.inner.Update(ctx, func(tx Tx) error {
		if err := f(tx); err != nil {
			return err
		}
		return report
	})
}

func (d *FaultDB) done(ctx context.Context, f func(Tx) error, report error) error {
	if err := d.inner.Update(ctx, f); err != nil {
		return err
	}
	return report
}
