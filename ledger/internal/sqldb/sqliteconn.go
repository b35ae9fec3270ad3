package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/mattn/go-sqlite3"
)

// sqliteConn is one connection with the statements it has prepared. It is used by one goroutine at a time. The driver is
// called without database/sql: this pool of ours needs none of its own, and a card costs some fifty statements.
type sqliteConn struct {
	conn  *sqlite3.SQLiteConn
	stmts map[string]*sqlite3.SQLiteStmt
	args  []driver.NamedValue // of the statement that runs
}

func dial(dsn string) (*sqliteConn, error) {
	opened, err := (&sqlite3.SQLiteDriver{}).Open(dsn)
	if err != nil {
		return nil, err
	}
	conn, ok := opened.(*sqlite3.SQLiteConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the driver opened a %T", opened), opened.Close())
	}
	c := &sqliteConn{conn: conn, stmts: make(map[string]*sqlite3.SQLiteStmt)}
	if err := c.setUp(); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// setUp sets what every connection needs, and reads it back: SQLite ignores a pragma that it does not know.
func (c *sqliteConn) setUp() error {
	return errors.Join(
		c.assert("busy_timeout", strconv.Itoa(BusyTimeoutMillis)),
		c.assert("foreign_keys", "1"),
		c.assert("secure_delete", "1"), // a deleted opening leaves no bytes behind
		c.assert("trusted_schema", "0"),
	)
}

// durable makes commits survive a power cut, or refuses: 2 is FULL, an fsync of the log at each commit.
func (c *sqliteConn) durable() error {
	return errors.Join(c.assert("journal_mode", "wal"), c.assert("synchronous", "2"))
}

// brisk lets the writer write a page that changes often to the database file less often, and keep what it reads again.
func (c *sqliteConn) brisk() error {
	return errors.Join(c.assert("wal_autocheckpoint", strconv.Itoa(CheckpointPages)), c.assert("cache_size", strconv.Itoa(-CacheKiB)))
}

// assert sets a pragma and refuses when it does not read back as set.
func (c *sqliteConn) assert(pragma, want string) error {
	if _, err := c.conn.Exec("PRAGMA "+pragma+" = "+want, nil); err != nil {
		return fmt.Errorf("setting %s: %w", pragma, err)
	}
	got, err := c.pragma(pragma)
	if err != nil {
		return fmt.Errorf("reading %s back: %w", pragma, err)
	}
	if got != want {
		return fmt.Errorf("setting %s: it reads %q, want %q", pragma, got, want)
	}
	return nil
}

func (c *sqliteConn) pragma(name string) (value string, err error) {
	rows, err := c.conn.Query("PRAGMA "+name, nil)
	if err != nil {
		return "", err
	}
	defer rows.Close() // reads only
	row := make([]driver.Value, 1)
	if err := rows.Next(row); err != nil {
		return "", err
	}
	return fmt.Sprint(row[0]), nil
}

// run executes BEGIN, COMMIT or ROLLBACK, which must not be cut short.
func (c *sqliteConn) run(query string) error {
	_, err := c.exec(context.Background(), query, nil)
	return err
}

// exec runs a statement to its end: it is short, and one that can be cut short would cost the driver a goroutine.
func (c *sqliteConn) exec(_ context.Context, query string, args []any) (int64, error) {
	s, err := c.ready(query, args)
	if err != nil {
		return 0, err
	}
	res, err := s.ExecContext(context.Background(), c.args)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// query runs a statement to its first row.
func (c *sqliteConn) query(_ context.Context, query string, args []any) (driver.Rows, error) {
	s, err := c.ready(query, args)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(context.Background(), c.args)
}

// first gives a statement's first row, or io.EOF.
func (c *sqliteConn) first(ctx context.Context, query string, args []any) ([]driver.Value, error) {
	rows, err := c.query(ctx, query, args)
	if err != nil {
		return nil, err
	}
	row := make([]driver.Value, len(rows.Columns()))
	err = rows.Next(row)
	if cerr := rows.Close(); err == nil {
		err = cerr
	}
	return row, err
}

// ready prepares a text once per connection, and its arguments.
func (c *sqliteConn) ready(query string, args []any) (*sqlite3.SQLiteStmt, error) {
	c.args = c.args[:0]
	for i, a := range args {
		v, err := driver.DefaultParameterConverter.ConvertValue(a)
		if err != nil {
			return nil, fmt.Errorf("argument %d: %w", i+1, err)
		}
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	s, known := c.stmts[query]
	if !known {
		if len(c.stmts) >= MaxStatements {
			return nil, fmt.Errorf("preparing statement: more than %d different texts", MaxStatements)
		}
		// To SQLite $1 is a name, ?1 the first argument.
		prepared, err := c.conn.Prepare(strings.ReplaceAll(query, "$", "?"))
		if err != nil {
			return nil, fmt.Errorf("preparing statement: %w", err)
		}
		s = prepared.(*sqlite3.SQLiteStmt)
		c.stmts[query] = s
	}
	if want := s.NumInput(); want != len(args) {
		return nil, fmt.Errorf("statement takes %d arguments, not %d", want, len(args))
	}
	return s, nil
}

func (c *sqliteConn) close() error {
	var err error
	for _, s := range c.stmts {
		err = errors.Join(err, s.Close())
	}
	return errors.Join(err, c.conn.Close())
}

// turn: BEGIN IMMEDIATE has waited for every other writer.
func (c *sqliteConn) turn(string, string) string { return "" }

// classify names the refusals that callers act on.
func (c *sqliteConn) classify(err error) error {
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return err
	}
	switch {
	case e.ExtendedCode == sqlite3.ErrConstraintUnique || e.ExtendedCode == sqlite3.ErrConstraintPrimaryKey:
		return fmt.Errorf("%w: %w", ErrConflict, err)
	case e.Code == sqlite3.ErrError && strings.HasPrefix(e.Error(), "no such table"): // it has no code of its own
		return fmt.Errorf("%w: %w", ErrNoTable, err)
	}
	return err
}
