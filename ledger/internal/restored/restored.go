// Package restored is what a ledger remembers of having been restored, until two officers have signed it (statement.Restored): as long as
// it stands in the database, no identity is issued. It also marks a database that is being filled from a backup, which nobody serves.
//
// ledger/backup writes it with the restoration, ledger reads it and takes it away. Only packages under ledger import it.
package restored

import (
	"context"
	"errors"
	"fmt"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso/record"
)

// Mark says from what the ledger was made again, and what came out.
type Mark struct {
	Backup     [32]byte // hash of its manifest
	BackupSize int64    // entries of its log
	BackupRoot [32]byte
	From, To   uint64 // records of the redo log that were done again: behind From, up to To
	Size       int64  // entries of the restored log
	Root       [32]byte
}

const (
	kind       = "ledger-restoration"
	key        = "restored"
	unfinished = "restoring"
	selectMark = `SELECT value FROM meta WHERE key = $1`
	insertMark = `INSERT INTO meta (key, value) VALUES ($1, $2)`
	deleteMark = `DELETE FROM meta WHERE key = $1`
)

// Read gives the mark of a ledger that two officers must still look at.
func Read(ctx context.Context, tx sqldb.Tx) (m Mark, locked bool, err error) {
	var b []byte
	err = tx.QueryRow(ctx, selectMark, key).Scan(&b)
	if errors.Is(err, sqldb.ErrNoRows) {
		return m, false, nil
	}
	if err == nil {
		m, err = parse(b)
	}
	if err != nil {
		return m, false, fmt.Errorf("reading whether the ledger was restored: %w", err)
	}
	return m, true, nil
}

// Set locks a ledger that was restored. Of one that was locked already it keeps the older backup: nobody has looked at that either.
func Set(ctx context.Context, tx sqldb.Tx, m Mark) error {
	was, locked, err := Read(ctx, tx)
	if err != nil {
		return err
	}
	if locked && was.BackupSize <= m.BackupSize {
		m.Backup, m.BackupSize, m.BackupRoot, m.From = was.Backup, was.BackupSize, was.BackupRoot, was.From
	}
	b, err := m.bytes()
	if err == nil {
		err = Clear(ctx, tx)
	}
	if err == nil {
		_, err = tx.Exec(ctx, insertMark, key, b)
	}
	if err != nil {
		return fmt.Errorf("noting that the ledger was restored: %w", err)
	}
	return nil
}

// ErrUnfinished says that a database was being filled from a backup, and is not whole.
var ErrUnfinished = errors.New("restoring into this database was not finished; run 'perso ledger restore' again")

// Begin marks a database that is being filled. The mark is no row of any backup, and is set anew when the rows of its table were replaced.
func Begin(ctx context.Context, tx sqldb.Tx) error {
	if err := Finish(ctx, tx); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, insertMark, unfinished, []byte("begun")); err != nil {
		return fmt.Errorf("noting that the ledger is being restored: %w", err)
	}
	return nil
}

// Unfinished says whether a database is marked so.
func Unfinished(ctx context.Context, tx sqldb.Tx) (bool, error) {
	var b []byte
	err := tx.QueryRow(ctx, selectMark, unfinished).Scan(&b)
	if errors.Is(err, sqldb.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// Finish takes the mark away.
func Finish(ctx context.Context, tx sqldb.Tx) error {
	_, err := tx.Exec(ctx, deleteMark, unfinished)
	return err
}

// Clear unlocks it.
func Clear(ctx context.Context, tx sqldb.Tx) error {
	_, err := tx.Exec(ctx, deleteMark, key)
	return err
}

func (m Mark) bytes() ([]byte, error) {
	return record.New(kind).Hex("backup", m.Backup[:]).Uint("backup_size", uint64(m.BackupSize)).Hex("backup_root", m.BackupRoot[:]).
		Uint("from", m.From).Uint("to", m.To).Uint("size", uint64(m.Size)).Hex("root", m.Root[:]).Bytes()
}

func parse(b []byte) (m Mark, err error) {
	r, err := record.Parse(b, kind)
	if err != nil {
		return m, err
	}
	m = Mark{Backup: r.Hash("backup"), BackupSize: int64(r.Uint("backup_size", 63)), BackupRoot: r.Hash("backup_root"), From: r.Uint("from", 63), To: r.Uint("to", 63),
		Size: int64(r.Uint("size", 63)), Root: r.Hash("root")}
	return m, r.Done()
}
