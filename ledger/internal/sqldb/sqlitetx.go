package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
)

// sqliteTx adds to SQLite the strictness of the others: the first failure is final, statements do not overlap, and a Tx
// that outlives its function is refused.
type sqliteTx struct {
	conn    *sqliteConn
	err     error // set by the first failure
	pending bool  // a QueryRow waits for its Scan
	looping bool  // Each is running
}

var (
	errOverlap = errors.New("statement before the last one's rows were read")
	errOver    = errors.New("transaction is over")
)

// inTx runs f and lets a failed statement win over f's own opinion.
func inTx(c *sqliteConn, f func(Tx) error) error {
	tx := &sqliteTx{conn: c}
	err := f(tx)
	failed := tx.err
	if tx.pending && failed == nil {
		failed = errOverlap
	}
	tx.err = errOver
	if err != nil {
		return err
	}
	return failed
}

// ready is asked before each statement.
func (t *sqliteTx) ready(ctx context.Context) error {
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

func (t *sqliteTx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	if err := t.ready(ctx); err != nil {
		return 0, err
	}
	n, err := t.conn.exec(query, args)
	if err != nil {
		return 0, t.fail(classify(err))
	}
	return n, nil
}

func (t *sqliteTx) QueryRow(ctx context.Context, query string, args ...any) Row {
	if err := t.ready(ctx); err != nil {
		return &sqliteRow{tx: t, err: err}
	}
	t.pending = true
	row, err := t.conn.first(query, args)
	return &sqliteRow{tx: t, row: row, err: err, fresh: true}
}

func (t *sqliteTx) Each(ctx context.Context, scan func(Row) error, query string, args ...any) (err error) {
	if err := t.ready(ctx); err != nil {
		return err
	}
	rows, err := t.conn.query(query, args)
	if err != nil {
		return t.fail(classify(err))
	}
	t.looping = true
	defer func() {
		t.looping = false
		if cerr := rows.Close(); err == nil && cerr != nil {
			err = t.fail(classify(cerr))
		}
	}()
	row := make([]driver.Value, len(rows.Columns()))
	for {
		err := rows.Next(row)
		switch {
		case none(err):
			return nil
		case err != nil:
			return t.fail(classify(err))
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
func (t *sqliteTx) fail(err error) error {
	if t.err == nil {
		t.err = err
	}
	return err
}

// sqliteRow is the answer to a QueryRow.
type sqliteRow struct {
	tx    *sqliteTx
	row   []driver.Value
	err   error
	fresh bool // the transaction waits for Scan
}

func (r *sqliteRow) Scan(dest ...any) error {
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
		return r.tx.fail(classify(r.err))
	}
	if err := fill(dest, r.row); err != nil {
		return r.tx.fail(err)
	}
	return nil
}

type eachRow struct {
	tx  *sqliteTx
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
