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

// PruneRedo deletes what a verified backup covers of the redo log.
func PruneRedo(dir string, t Taken) (files int, err error) { return redo.Prune(dir, t.Manifest.Redo) }

// Errors that people must act on.
var (
	ErrNoRedo  = redo.ErrNone
	ErrRedoGap = redo.ErrGap
	ErrMissing = sqldb.ErrMissing
)
