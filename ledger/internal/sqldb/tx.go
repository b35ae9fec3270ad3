package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
)

// statements runs the statements of one transaction, one at a time. Of a question without a row, first and Next give io.EOF.
type statements interface {
	exec(ctx context.Context, query string, args []any) (rowsAffected int64, err error)
	first(ctx context.Context, query string, args []any) ([]driver.Value, error)
	query(ctx context.Context, query string, args []any) (driver.Rows, error)
	// classify names the failures that callers act on.
	classify(err error) error
	// turn is the statement that queues up at a table (TakeTurn), "" where the transaction's beginning has done so.
	turn(table, touch string) string
}

// strictTx holds each database to the strictness of all: the first failure is final, statements do not overlap, and a Tx
// that outlives its function is refused.
type strictTx struct {
	on      statements
	err     error // set by the first failure
	pending bool  // a QueryRow waits for its Scan
	looping bool  // Each is running
}

var (
	errOverlap = errors.New("statement before the last one's rows were read")
	errOver    = errors.New("transaction is over")
)

// TakeTurn makes a transaction wait for those of other processes that took their turn at the same table. It must come before
// any other statement, and is for speed only: without it a transaction that was overtaken would be run again, after all its
// work, and of many that wait none would be sure to come first. touch is a statement that writes a row of the table and
// changes nothing; CockroachDB queues up at rows, PostgreSQL, which would refuse whoever waited there, at the table, and
// SQLite did so when the transaction began.
func TakeTurn(ctx context.Context, tx Tx, table, touch string) error {
	for { // one that notes what is done notes no turn: it changes nothing
		outer, ok := tx.(interface{ Within() Tx })
		if !ok {
			break
		}
		tx = outer.Within()
	}
	t, ok := tx.(*strictTx)
	if !ok {
		return fmt.Errorf("taking turns at %s: a %T is no transaction of this package", table, tx)
	}
	query := t.on.turn(table, touch)
	if query == "" {
		return nil
	}
	_, err := t.Exec(ctx, query)
	return err
}

// inTx runs f. It gives what f itself says, else what a statement failed of; and apart from that the first failed statement,
// which f may have kept to itself.
func inTx(on statements, f func(Tx) error) (outcome, failed error) {
	tx := &strictTx{on: on}
	outcome = f(tx)
	failed = tx.err
	if tx.pending && failed == nil {
		failed = errOverlap
	}
	tx.err = errOver
	if outcome == nil {
		outcome = failed
	}
	return outcome, failed
}

// ready is asked before each statement.
func (t *strictTx) ready(ctx context.Context) error {
	switch {
	case t.err != nil:
		return t.err
	case t.pending || t.looping:
		return t.fail(errOverlap)
	}
	if err := ctx.Err(); err != nil {
		return t.fail(err)
	}
	return nil
}

func (t *strictTx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	if err := t.ready(ctx); err != nil {
		return 0, err
	}
	n, err := t.on.exec(ctx, query, args)
	if err != nil {
		return 0, t.fail(t.on.classify(err))
	}
	return n, nil
}

func (t *strictTx) QueryRow(ctx context.Context, query string, args ...any) Row {
	if err := t.ready(ctx); err != nil {
		return &strictRow{tx: t, err: err}
	}
	t.pending = true
	row, err := t.on.first(ctx, query, args)
	return &strictRow{tx: t, row: row, err: err, fresh: true}
}

func (t *strictTx) Each(ctx context.Context, scan func(Row) error, query string, args ...any) (err error) {
	if err := t.ready(ctx); err != nil {
		return err
	}
	rows, err := t.on.query(ctx, query, args)
	if err != nil {
		return t.fail(t.on.classify(err))
	}
	t.looping = true
	defer func() {
		t.looping = false
		if cerr := rows.Close(); err == nil && cerr != nil {
			err = t.fail(t.on.classify(cerr))
		}
	}()
	row := make([]driver.Value, len(rows.Columns()))
	for {
		err := rows.Next(row)
		switch {
		case none(err):
			return nil
		case err != nil:
			return t.fail(t.on.classify(err))
		}
		if err := ctx.Err(); err != nil {
			return t.fail(err)
		}
		if err := scan(eachRow{tx: t, row: row}); err != nil {
			return err
		}
	}
}

// fail keeps the first failure.
func (t *strictTx) fail(err error) error {
	if t.err == nil {
		t.err = err
	}
	return err
}

// strictRow is the answer to a QueryRow.
type strictRow struct {
	tx    *strictTx
	row   []driver.Value
	err   error
	fresh bool // the transaction waits for Scan
}

func (r *strictRow) Scan(dest ...any) error {
	if r.tx.err != nil {
		return r.tx.err
	}
	if !r.fresh {
		return r.tx.fail(errOverlap)
	}
	r.fresh, r.tx.pending = false, false
	switch {
	case none(r.err):
		return ErrNoRows
	case r.err != nil:
		return r.tx.fail(r.tx.on.classify(r.err))
	}
	if err := fill(dest, r.row); err != nil {
		return r.tx.fail(err)
	}
	return nil
}

type eachRow struct {
	tx  *strictTx
	row []driver.Value
}

func (r eachRow) Scan(dest ...any) error {
	if r.tx.err != nil {
		return r.tx.err
	}
	if err := fill(dest, r.row); err != nil {
		return r.tx.fail(err)
	}
	return nil
}
