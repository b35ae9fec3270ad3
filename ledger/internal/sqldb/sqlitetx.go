package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteConn is one connection with the statements it has prepared. It is used by one goroutine at a time.
type sqliteConn struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

// setUp sets what every connection needs, and reads it back: SQLite ignores a pragma that it does not know.
func (c *sqliteConn) setUp(ctx context.Context) error {
	return errors.Join(
		c.assert(ctx, "busy_timeout", fmt.Sprint(BusyTimeoutMillis)),
		c.assert(ctx, "foreign_keys", "1"),
		c.assert(ctx, "secure_delete", "1"), // a deleted opening leaves no bytes behind
		c.assert(ctx, "trusted_schema", "0"),
	)
}

// durable makes commits survive a power cut, or refuses: 2 is FULL, an fsync of the log at each commit.
func (c *sqliteConn) durable(ctx context.Context) error {
	return errors.Join(c.assert(ctx, "journal_mode", "wal"), c.assert(ctx, "synchronous", "2"))
}

// assert sets a pragma and refuses when it does not read back as set.
func (c *sqliteConn) assert(ctx context.Context, pragma, want string) error {
	ctx = context.WithoutCancel(ctx)
	if _, err := c.conn.ExecContext(ctx, "PRAGMA "+pragma+" = "+want); err != nil {
		return fmt.Errorf("setting %s: %w", pragma, err)
	}
	var got string
	if err := c.conn.QueryRowContext(ctx, "PRAGMA "+pragma).Scan(&got); err != nil {
		return fmt.Errorf("reading %s back: %w", pragma, err)
	}
	if got != want {
		return fmt.Errorf("setting %s: it reads %q, want %q", pragma, got, want)
	}
	return nil
}

// run executes BEGIN, COMMIT or ROLLBACK, which must not be cut short.
func (c *sqliteConn) run(ctx context.Context, query string) error {
	stmt, err := c.prepare(context.WithoutCancel(ctx), query)
	if err != nil {
		return err
	}
	_, err = stmt.ExecContext(context.WithoutCancel(ctx))
	return err
}

// prepare parses a text once per connection.
func (c *sqliteConn) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	if len(c.stmts) >= MaxStatements {
		return nil, fmt.Errorf("preparing statement: more than %d different texts", MaxStatements)
	}
	s, err := c.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	c.stmts[query] = s
	return s, nil
}

func (c *sqliteConn) close() error {
	var err error
	for _, s := range c.stmts {
		err = errors.Join(err, s.Close())
	}
	return errors.Join(err, c.conn.Close())
}

// sqliteTx adds to SQLite the strictness of the others: the first failure is final, statements do not overlap, and a Tx
// that outlives its function is refused.
type sqliteTx struct {
	conn    *sqliteConn
	err     error    // set by the first failure
	pending *sql.Row // waits for its Scan
	looping bool     // Each is running
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
	if tx.pending != nil {
		_ = tx.pending.Scan() // frees the connection; the overlap is the error to report
		if failed == nil {
			failed = errOverlap
		}
	}
	tx.err = errOver
	if err != nil {
		return err
	}
	return failed
}

// ready is asked before each statement. Statements themselves run to their end: they are short, and a context that can
// be cancelled would cost the driver a goroutine for each.
func (t *sqliteTx) ready(ctx context.Context, query string) (*sql.Stmt, error) {
	if t.err != nil {
		return nil, t.err
	}
	if t.pending != nil || t.looping {
		return nil, t.fail(errOverlap)
	}
	if err := ctx.Err(); err != nil {
		return nil, t.fail(err)
	}
	s, err := t.conn.prepare(context.WithoutCancel(ctx), query)
	if err != nil {
		return nil, t.fail(fmt.Errorf("preparing statement: %w", err))
	}
	return s, nil
}

func (t *sqliteTx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	s, err := t.ready(ctx, query)
	if err != nil {
		return 0, err
	}
	res, err := s.ExecContext(context.WithoutCancel(ctx), args...)
	if err != nil {
		return 0, t.fail(classify(err))
	}
	n, err := res.RowsAffected()
	if err != nil {
		return 0, t.fail(err)
	}
	return n, nil
}

func (t *sqliteTx) QueryRow(ctx context.Context, query string, args ...any) Row {
	s, err := t.ready(ctx, query)
	if err != nil {
		return failedRow{err}
	}
	t.pending = s.QueryRowContext(context.WithoutCancel(ctx), args...)
	return &sqliteRow{tx: t, row: t.pending}
}

func (t *sqliteTx) Each(ctx context.Context, scan func(Row) error, query string, args ...any) error {
	s, err := t.ready(ctx, query)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(context.WithoutCancel(ctx), args...)
	if err != nil {
		return t.fail(classify(err))
	}
	t.looping = true
	defer func() { t.looping = false }()
	defer rows.Close() // reads only; what matters is reported by Err
	for rows.Next() {
		if err := ctx.Err(); err != nil {
			return t.fail(err)
		}
		if err := scan(eachRow{tx: t, rows: rows}); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return t.fail(classify(err))
	}
	return nil
}

// fail keeps the first failure.
func (t *sqliteTx) fail(err error) error {
	if t.err == nil {
		t.err = err
	}
	return err
}

type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }

type sqliteRow struct {
	tx  *sqliteTx
	row *sql.Row
}

func (r *sqliteRow) Scan(dest ...any) error {
	if r.tx.err != nil {
		return r.tx.err
	}
	r.tx.pending = nil
	err := r.row.Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNoRows
	}
	if err != nil {
		return r.tx.fail(classify(err))
	}
	return nil
}

type eachRow struct {
	tx   *sqliteTx
	rows *sql.Rows
}

func (r eachRow) Scan(dest ...any) error {
	if r.tx.err != nil {
		return r.tx.err
	}
	if err := r.rows.Scan(dest...); err != nil {
		return r.tx.fail(err)
	}
	return nil
}

// classify names the one refusal that callers act on.
func classify(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() {
		case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
			return fmt.Errorf("%w: %w", ErrConflict, err)
		}
	}
	return err
}
