package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// SQLSTATE codes that callers or the retry loop act on (PostgreSQL, appendix A; CockroachDB uses the same).
const (
	codeSerialization = "40001"
	codeDeadlock      = "40P01"
	codeLockTimeout   = "55P03"
	codeUnique        = "23505"
	codeNoTable       = "42P01"
	codeTooMany       = "53300"
	codeShutdown      = "57P01"
	codeCrash         = "57P02"
	codeStarting      = "57P03"
	codeIdle          = "25P03"
)

// serverTx is the statements of one transaction on a server.
type serverTx struct {
	tx   pgx.Tx
	kind Kind
}

// turn queues up. On PostgreSQL the lock of a table is given in order, and before the transaction's snapshot is taken, so that
// who waited sees what he waited for; the lock of a row would let him wait and then fail, because his snapshot is older. The
// mode keeps out its like and no reader.
func (s serverTx) turn(table, touch string) string {
	if s.kind == Cockroach {
		return touch
	}
	return "LOCK TABLE " + table + " IN SHARE UPDATE EXCLUSIVE MODE"
}

func (s serverTx) exec(ctx context.Context, query string, args []any) (int64, error) {
	args, err := portable(args)
	if err != nil {
		return 0, err
	}
	tag, err := s.tx.Exec(ctx, query, args...)
	return tag.RowsAffected(), err
}

func (s serverTx) query(ctx context.Context, query string, args []any) (driver.Rows, error) {
	args, err := portable(args)
	if err != nil {
		return nil, err
	}
	rows, err := s.tx.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return serverRows{rows}, nil
}

func (s serverTx) first(ctx context.Context, query string, args []any) ([]driver.Value, error) {
	rows, err := s.query(ctx, query, args)
	if err != nil {
		return nil, err
	}
	row := make([]driver.Value, len(rows.Columns()))
	err = rows.Next(row)
	if cerr := rows.Close(); cerr != nil { // also after io.EOF: the statement may have failed after its last row
		err = cerr
	}
	return row, err
}

// portable holds arguments to what the subset allows, as the other driver does.
func portable(args []any) ([]any, error) {
	out := make([]any, len(args))
	for i, a := range args {
		v, err := driver.DefaultParameterConverter.ConvertValue(a)
		if err != nil {
			return nil, fmt.Errorf("argument %d: %w", i+1, err)
		}
		out[i] = v
	}
	return out, nil
}

// serverRows gives rows as they come over the wire.
type serverRows struct{ rows pgx.Rows }

func (r serverRows) Columns() []string {
	names := make([]string, len(r.rows.FieldDescriptions()))
	for i, f := range r.rows.FieldDescriptions() {
		names[i] = f.Name
	}
	return names
}

func (r serverRows) Next(row []driver.Value) error {
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	values, err := r.rows.Values()
	if err != nil {
		return err
	}
	if len(values) != len(row) {
		return fmt.Errorf("row has %d columns, not %d", len(values), len(row))
	}
	for i, v := range values {
		switch v := v.(type) {
		case int32: // the type of a small literal
			row[i] = int64(v)
		case pgtype.Numeric: // the type of a SUM of BIGINT
			n, err := v.Int64Value()
			if err != nil {
				return fmt.Errorf("column %d: %w", i+1, err)
			}
			row[i] = n.Int64
			if !n.Valid {
				row[i] = nil
			}
		default:
			row[i] = v
		}
	}
	return nil
}

func (r serverRows) Close() error {
	r.rows.Close()
	return r.rows.Err()
}

func (s serverTx) classify(err error) error { return classifyServer(err) }

func (d *serverDB) classify(err error) error { return classifyServer(err) }

// classifyServer names the refusals that callers act on.
func classifyServer(err error) error {
	var e *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e) && e.Code == codeUnique:
		return fmt.Errorf("%w: %w", ErrConflict, err)
	case errors.As(err, &e) && e.Code == codeNoTable:
		return fmt.Errorf("%w: %w", ErrNoTable, err)
	case unavailable(err):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// lost says that a transaction had to give way to another one and may be run again.
func lost(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == codeSerialization || e.Code == codeDeadlock || e.Code == codeLockTimeout)
}

// unavailable says that there was no connection, or that it broke, or that the server is going down or coming up. It says
// nothing about a commit that was under way.
func unavailable(err error) bool {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		switch e.Code {
		case codeTooMany, codeShutdown, codeCrash, codeStarting, codeIdle:
			return true
		}
		return e.Code[:min(2, len(e.Code))] == "08" // connection exceptions
	}
	var dial *pgconn.ConnectError
	return errors.As(err, &dial) || errors.Is(err, errConnection)
}
