package backup

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/persoline/persoline/ledger/internal/redo"
	"github.com/persoline/persoline/ledger/internal/sqldb"
)

// OpenSQLite opens a ledger's file with its redo log: from then on no transaction is committed that the redo log does not hold.
func OpenSQLite(ctx context.Context, path, redoDir string) (sqldb.DB, error) {
	db, err := sqldb.OpenSQLite(ctx, path)
	if err != nil {
		return nil, err
	}
	return WithRedo(ctx, db, redoDir)
}

// WithRedo joins an open database with its redo log, and closes it when they don't fit. The one process that does so is the only one
// that writes: on a server as in a file.
func WithRedo(ctx context.Context, db sqldb.DB, redoDir string) (sqldb.DB, error) {
	d, err := redo.Open(ctx, db, redoDir)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return d, nil
}

// BeginRedo begins the redo log of a ledger in an empty folder. A backup must follow: before it nothing can be restored.
func BeginRedo(ctx context.Context, db sqldb.DB, dir string, random io.Reader) error {
	return redo.Begin(ctx, db, dir, random)
}

// RenewRedo begins another redo log for a ledger whose redo log was lost, or does not fit any more. What the old one holds is of use with
// the old backups only.
func RenewRedo(ctx context.Context, db sqldb.DB, dir string, random io.Reader) error {
	if err := redo.Forget(ctx, db); err != nil {
		return fmt.Errorf("ending the redo log that was lost: %w", err)
	}
	return redo.Begin(ctx, db, dir, random)
}

// EndRedo ends the redo log of a ledger that goes on without one: that of a server's database that is replicated.
func EndRedo(ctx context.Context, db sqldb.DB) error {
	if err := redo.Forget(ctx, db); err != nil {
		return fmt.Errorf("ending the redo log: %w", err)
	}
	return nil
}

// HasRedo says whether a database is one whose every transaction must be in a redo log.
func HasRedo(ctx context.Context, db sqldb.DB) (has bool, err error) {
	err = db.View(ctx, func(tx sqldb.Tx) error {
		m, err := redo.MarkOf(ctx, tx)
		has = err == nil && !m.IsZero()
		return err
	})
	if errors.Is(err, sqldb.ErrNoTable) { // none was made yet
		return false, nil
	}
	return has, err
}

// PruneRedo deletes what a verified backup covers of the redo log.
func PruneRedo(dir string, t Taken) (files int, err error) { return redo.Prune(dir, t.Manifest.Redo) }

// Errors that people must act on.
var (
	ErrNoRedo  = redo.ErrNone
	ErrRedoGap = redo.ErrGap
	ErrMissing = sqldb.ErrMissing
)
