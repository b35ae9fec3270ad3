// Package sqldb is the one seam between the ledger and its database: whole transactions, and SQL written once in a
// portable subset that SQLite, PostgreSQL and CockroachDB all read the same way.
//
// The subset: $n placeholders; BIGINT, TEXT, BYTEA, BOOLEAN; CHECK, UNIQUE, REFERENCES; ON CONFLICT DO NOTHING; RETURNING;
// LIMIT; COUNT and SUM of BIGINT; compare-and-set by rows affected; ORDER BY on BIGINT and BYTEA only, since TEXT collates differently. Not in it:
// FOR UPDATE, sequences, now(), JSON types, advisory locks, LISTEN, triggers.
//
// The contract is the strictest of the three, so that code which works on one works on all:
//
//   - f may be run more than once before Update or View returns: it must set its results anew each time, and have no other
//     effect outside its Tx.
//   - A statement that fails ends its transaction: every later one fails, and Update fails whatever f returns.
//     A missing row (ErrNoRows) is not a failure.
//   - One statement at a time: scan functions of Each run no statement, and a QueryRow is scanned before the next one.
//   - A Tx belongs to the goroutine that runs f and is dead when f returns. Update and View do not nest.
//   - Arguments are int64 (or a narrower integer), string, []byte, bool or nil, and are not kept. A nil []byte is NULL.
//     A NULL and an empty BYTEA may both scan as nil: tell them apart by IS NULL, if ever.
//
// Only packages under ledger may import it; ledgertest.Run is its conformance suite.
package sqldb

import (
	"context"
	"errors"
)

// Row is one row of an answer. Scan copies: what it fills stays valid.
type Row interface {
	Scan(dest ...any) error
}

// Tx is one transaction.
type Tx interface {
	// Exec runs one statement and returns how many rows it inserted, updated or deleted. Compare-and-set reads it:
	// 0 means that somebody else was first.
	Exec(ctx context.Context, query string, args ...any) (rowsAffected int64, err error)
	// QueryRow runs a statement for its first row; Scan must be called and returns ErrNoRows when there is none.
	QueryRow(ctx context.Context, query string, args ...any) Row
	// Each calls scan once per row, in order. An error of scan ends the loop and is returned as it is.
	Each(ctx context.Context, scan func(Row) error, query string, args ...any) error
}

// DB is an open ledger database.
type DB interface {
	// Update runs f in one serializable transaction and commits it. When it returns nil the change is on stable storage.
	// ErrAmbiguous means that it may or may not be; with any other error nothing was changed.
	Update(ctx context.Context, f func(Tx) error) error
	// View runs f against one snapshot, taken at its first statement. Nothing can be written.
	View(ctx context.Context, f func(Tx) error) error
	// Erase carries deletions through to the files as far as the database lets its client. Of SQLite, when it returns nil,
	// nothing that was deleted before it began is in any file any more; it waits for running transactions until ctx ends, and
	// lets none begin meanwhile. PostgreSQL takes dead rows out of its tables and keeps them in its write-ahead log until
	// that is reused; CockroachDB keeps them until their time is up (gc.ttlseconds). What the site has to do there is in
	// deploy/database/README.md.
	Erase(ctx context.Context) error
	// Close waits for running transactions.
	Close() error
}

// KindOf says which database this is; "" of one that is wrapped by a test.
func KindOf(db DB) Kind {
	switch d := db.(type) {
	case interface{ Inner() DB }:
		return KindOf(d.Inner())
	case *sqliteDB:
		return SQLite
	case *serverDB:
		return d.kind
	}
	return ""
}

// What callers act on.
var (
	// ErrNoRows: the row asked for does not exist.
	ErrNoRows = errors.New("no such row")
	// ErrConflict: a primary key or UNIQUE constraint refused a row. The transaction is over.
	ErrConflict = errors.New("row conflicts with a stored one")
	// ErrAmbiguous: the commit was sent and its outcome is unknown; read the idempotency keys back before deciding.
	ErrAmbiguous = errors.New("commit outcome is unknown")
	// ErrFenced: after a commit of unknown outcome a file database takes no more calls, because page cache and disk may
	// differ. Close it and open it again: recovery settles what is true.
	ErrFenced = errors.New("database must be closed and opened again")
	// ErrMissing: there is no ledger at the path; making one is an explicit act.
	ErrMissing = errors.New("no ledger file")
	// ErrNoTable: a statement names a table that the database does not have.
	ErrNoTable = errors.New("no such table")
	// ErrUnavailable: the database can't be reached, or takes no connections. Nothing was changed; ask again later.
	ErrUnavailable = errors.New("database is not available")
	// ErrDenied: the server answers, and lets this user not in, or not into that database.
	ErrDenied = errors.New("database server refuses")
	// ErrUnsafe: the server is set up, or is of a version, such that commits may be lost.
	ErrUnsafe = errors.New("database is not one to trust with a ledger")
	// ErrContended: the transaction lost against others as often as it was tried. Nothing was changed.
	ErrContended = errors.New("transaction lost against others too often")
	// ErrClosed: the database was closed.
	ErrClosed = errors.New("database is closed")
)
