// Package redo keeps, outside a ledger's database, what every transaction did to it: so that a database which is lost is made again
// from its last backup, up to the last transaction that anybody heard of.
//
// It exists because a ledger may not go back: the log vault remembers the last checkpoint that it signed, and signs no other
// history. A backup of last night alone would end the site's log. With the redo log nothing is lost with the database, as long as
// the two do not lie on one disk.
//
// DB is a database of the ledger whose Update writes its statements to the redo log, and has them on stable storage, before
// it commits. So what is committed is in the redo log, always; and at most its last record is of a transaction that did not
// commit, and that nobody heard of. Records are numbered, and each names the hash of the one before; the database keeps number and
// hash of the last (its mark), in the same transaction. So a backup, which holds the mark of its moment, says where to go on, and a
// record that is missing, changed, or of another database is found.
//
// The records are statements with their arguments, which give the same rows in the same order on any database, since the
// ledger's SQL knows no clock, no chance and no sequences. What a transaction deleted stays in the redo log until a verified backup
// covers it: the log deserves the care that the database gets.
//
// One process writes one redo log (a lock holds the folder, and the mark moves by compare-and-set); a server's database that several
// processes write is replicated by its own means. Only packages under ledger import it.
package redo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/persoline/persoline/ledger/internal/sqldb"
)

// What callers act on.
var (
	// ErrNone: the database has no redo log. Begin makes one.
	ErrNone = errors.New("the database has no redo log")
	// ErrBegun: the database has a redo log already, or the folder holds one.
	ErrBegun = errors.New("a redo log was begun already")
	// ErrGap: the redo log lacks records that the database knows of, or is another database's.
	ErrGap = errors.New("the redo log does not continue the database")
	// ErrCorrupt: a record in the middle is damaged, which no crash does.
	ErrCorrupt = errors.New("the redo log is damaged")
	// ErrLocked: another process writes it.
	ErrLocked = errors.New("the redo log is in use")
	// ErrBroken: a write failed before, and what the disk holds is unknown. Open the database again.
	ErrBroken = errors.New("the redo log could not be written")
	// ErrDiverged: a statement did something else when it was done again.
	ErrDiverged = errors.New("the redo log does not fit the database")
)

// Mark is a place in a redo log: behind record Seq, whose hash is Hash. Seq 0 is the beginning, and Hash then drawn by chance, so that no
// two redo logs have a mark in common.
type Mark struct {
	Seq  uint64
	Hash [sha256.Size]byte
}

// IsZero says that there is no redo log.
func (m Mark) IsZero() bool { return m == Mark{} }

const (
	markKey    = "redo"
	selectMark = `SELECT value FROM meta WHERE key = $1`
	insertMark = `INSERT INTO meta (key, value) VALUES ($1, $2)`
	updateMark = `UPDATE meta SET value = $2 WHERE key = $1 AND value = $3`
	deleteMark = `DELETE FROM meta WHERE key = $1`
	touchMark  = `UPDATE meta SET value = value WHERE key = $1`
)

func (m Mark) bytes() []byte {
	return append(binary.BigEndian.AppendUint64(nil, m.Seq), m.Hash[:]...)
}

// MarkOf reads the mark of a database; the zero mark says that it has no redo log.
func MarkOf(ctx context.Context, tx sqldb.Tx) (m Mark, err error) {
	var b []byte
	err = tx.QueryRow(ctx, selectMark, markKey).Scan(&b)
	if errors.Is(err, sqldb.ErrNoRows) {
		return m, nil
	}
	if err == nil && len(b) != len(m.bytes()) {
		err = ErrCorrupt
	}
	if err != nil {
		return m, fmt.Errorf("reading how far the redo log goes: %w", err)
	}
	m.Seq = binary.BigEndian.Uint64(b)
	copy(m.Hash[:], b[8:])
	return m, nil
}

func markIn(ctx context.Context, db sqldb.DB) (m Mark, err error) {
	err = db.View(ctx, func(tx sqldb.Tx) (err error) {
		m, err = MarkOf(ctx, tx)
		return err
	})
	return m, err
}

// Begin makes the redo log of a database in an empty folder, or one that is not there. The database's state at this moment is no part
// of it: a backup must follow.
func Begin(ctx context.Context, db sqldb.DB, dir string, random io.Reader) error {
	var m Mark
	if _, err := io.ReadFull(random, m.Hash[:]); err != nil {
		return fmt.Errorf("beginning redo log: %w", err)
	}
	if err := makeFolder(dir, m); err != nil {
		return fmt.Errorf("beginning redo log: %w", err)
	}
	return db.Update(ctx, func(tx sqldb.Tx) error {
		if was, err := MarkOf(ctx, tx); err != nil || !was.IsZero() {
			return errors.Join(err, fmt.Errorf("beginning redo log %q: %w", dir, ErrBegun))
		}
		_, err := tx.Exec(ctx, insertMark, markKey, m.bytes())
		return err
	})
}

// Forget ends a database's redo log, so that Begin can make another one: its folder was lost.
func Forget(ctx context.Context, db sqldb.DB) error {
	return db.Update(ctx, func(tx sqldb.Tx) error { return ForgetIn(ctx, tx) })
}

// ForgetIn does so within a transaction.
func ForgetIn(ctx context.Context, tx sqldb.Tx) error {
	_, err := tx.Exec(ctx, deleteMark, markKey)
	return err
}

// DB is a database with its redo log.
type DB struct {
	sqldb.DB
	mu  sync.Mutex // held for the length of an Update: the records are in the order of the commits
	log *log
}

// settledMark reads the mark behind a commit whose answer was lost: a server may still be at it when the process that sent it is gone, and
// a record that was taken for one that failed would be missing for ever.
func settledMark(ctx context.Context, db sqldb.DB) (m Mark, err error) {
	err = db.Update(ctx, func(tx sqldb.Tx) (err error) {
		if _, err := tx.Exec(ctx, touchMark, markKey); err != nil {
			return err
		}
		m, err = MarkOf(ctx, tx)
		return err
	})
	return m, err
}

// Open joins a database with its redo log, and drops the record of a transaction that a crash kept from being committed. The DB closes the
// database.
func Open(ctx context.Context, db sqldb.DB, dir string) (*DB, error) {
	m, err := settledMark(ctx, db)
	if err == nil && m.IsZero() {
		err = ErrNone
	}
	if err != nil {
		return nil, fmt.Errorf("opening redo log %q: %w", dir, err)
	}
	l, err := openLog(dir, m)
	if err != nil {
		return nil, fmt.Errorf("opening redo log %q: %w", dir, err)
	}
	return &DB{DB: db, log: l}, nil
}

// Update runs f and writes what it did to the redo log before it commits.
func (d *DB) Update(ctx context.Context, f func(sqldb.Tx) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.log.dead != nil {
		return fmt.Errorf("%w: %w", sqldb.ErrFenced, d.log.dead)
	}
	returned := false
	defer func() {
		if !returned { // f panicked: the transaction is rolled back
			_ = d.log.drop() // what it could not drop keeps it dead
		}
	}()
	err := d.DB.Update(ctx, func(tx sqldb.Tx) error {
		if err := d.log.drop(); err != nil { // f runs again: the transaction before it was rolled back
			return err
		}
		r := &recorder{Tx: tx}
		if err := f(r); err != nil || len(r.did) == 0 {
			return err
		}
		was := d.log.last
		now, err := d.log.write(r.did)
		if err != nil {
			return fmt.Errorf("writing redo log: %w", err)
		}
		n, err := tx.Exec(ctx, updateMark, markKey, now.bytes(), was.bytes())
		if err == nil && n != 1 {
			err = fmt.Errorf("somebody else wrote to the database: %w", ErrGap)
		}
		return err
	})
	returned = true
	switch {
	case err == nil:
		// COMMIT POINT, in d.DB. Before it the record is durable, and nobody heard of what it says; after it both are.
		d.log.keep()
		return nil
	case errors.Is(err, sqldb.ErrAmbiguous):
		d.log.doubt(err)
		return err
	}
	return errors.Join(err, d.log.drop())
}

// Close closes both.
func (d *DB) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(d.DB.Close(), d.log.close())
}

// Inner is the database itself (sqldb.KindOf).
func (d *DB) Inner() sqldb.DB { return d.DB }

// statement is one that changed something, or may have.
type statement struct {
	_     struct{} `cbor:",toarray"`
	Text  uint64   // its number among the texts of the segment
	Args  []any
	Rows  int64 // that it changed; unknown where it was asked for its answer
	query string
}

const unknownRows = -1

// recorder notes the statements of a transaction.
type recorder struct {
	sqldb.Tx
	did []statement
}

// Within is the transaction itself (sqldb.TakeTurn).
func (r *recorder) Within() sqldb.Tx { return r.Tx }

func (r *recorder) note(query string, args []any, rows int64) {
	kept := make([]any, len(args))
	for i, a := range args {
		if b, ok := a.([]byte); ok && b != nil {
			a = bytes.Clone(b)
		} else if ok {
			a = nil // a nil []byte is NULL
		}
		kept[i] = a
	}
	r.did = append(r.did, statement{query: query, Args: kept, Rows: rows})
}

func (r *recorder) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	n, err := r.Tx.Exec(ctx, query, args...)
	if err == nil && (n > 0 || !isRowChange(query)) {
		r.note(query, args, n)
	}
	return n, err
}

func (r *recorder) QueryRow(ctx context.Context, query string, args ...any) sqldb.Row {
	if !isQuestion(query) {
		r.note(query, args, unknownRows)
	}
	return r.Tx.QueryRow(ctx, query, args...)
}

func (r *recorder) Each(ctx context.Context, scan func(sqldb.Row) error, query string, args ...any) error {
	if !isQuestion(query) {
		r.note(query, args, unknownRows)
	}
	return r.Tx.Each(ctx, scan, query, args...)
}

func isQuestion(query string) bool { return strings.HasPrefix(query, "SELECT ") }

// isRowChange says that a statement which changed no row did nothing. A table is made without a row.
func isRowChange(query string) bool {
	return slices.ContainsFunc([]string{"INSERT ", "UPDATE ", "DELETE "}, func(verb string) bool { return strings.HasPrefix(query, verb) })
}
