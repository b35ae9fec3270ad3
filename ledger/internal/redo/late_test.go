package redo

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/persoline/persoline/ledger/internal/sqldb"
)

// lateDB is a server that is still at a commit whose client has gone: who reads sees what was before it, and who writes what it touches
// waits until it is through.
type lateDB struct {
	sqldb.DB
	lose bool    // the answer to the next commit
	late []typed // what it wrote
}

// typed is a statement as it was sent.
type typed struct {
	query string
	args  []any
}

var (
	errRolledBack = errors.New("rolled back")
	errWaits      = errors.New("waits for another transaction")
)

func (d *lateDB) Update(ctx context.Context, f func(sqldb.Tx) error) error {
	tx := &lateTx{db: d}
	err := d.DB.Update(ctx, func(inner sqldb.Tx) error {
		tx.Tx, tx.waits, tx.sent = inner, false, nil
		err := f(tx)
		switch {
		case tx.waits:
			return errWaits
		case err == nil && d.lose:
			return errRolledBack
		}
		return err
	})
	switch {
	case errors.Is(err, errRolledBack):
		d.lose, d.late = false, tx.sent
		return sqldb.ErrAmbiguous
	case errors.Is(err, errWaits):
		if err := d.arrive(ctx); err != nil {
			return err
		}
		return d.Update(ctx, f)
	}
	return err
}

// arrive ends the commit.
func (d *lateDB) arrive(ctx context.Context) error {
	late := d.late
	d.late = nil
	return d.DB.Update(ctx, func(tx sqldb.Tx) error {
		for _, s := range late {
			if _, err := tx.Exec(ctx, s.query, s.args...); err != nil {
				return err
			}
		}
		return nil
	})
}

type lateTx struct {
	sqldb.Tx
	db    *lateDB
	waits bool
	sent  []typed
}

func (t *lateTx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	if len(t.db.late) > 0 {
		t.waits = true
		return 0, errWaits
	}
	t.sent = append(t.sent, typed{query, slices.Clone(args)})
	return t.Tx.Exec(ctx, query, args...)
}

// TestCommitArrivesLate: the process that sent a commit dies before the answer, and the next one opens the redo log before the server is
// through with it. What was committed is in the redo log all the same.
func TestCommitArrivesLate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 3 {
		ok(t, r.work())
	}
	server := &lateDB{DB: r.db, lose: true}
	r.d.DB = server
	if err := r.work(); !errors.Is(err, sqldb.ErrAmbiguous) {
		t.Fatal(err)
	}
	before, err := markIn(t.Context(), server)
	ok(t, err)
	ok(t, r.d.log.close())
	r.d, err = Open(t.Context(), server, r.dir)
	ok(t, err)
	if after, err := markIn(t.Context(), server); err != nil || after.Seq != before.Seq+1 {
		t.Errorf("opened at record %d, the commit was record %d: %v", after.Seq, before.Seq+1, err)
	}
	if len(server.late) > 0 {
		ok(t, server.arrive(t.Context()))
	}
	ok(t, r.work())
	r.restored()
}
