package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/persoline/persoline/ledger/internal/schema"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/internal/tree"
)

// keptProcesses is how long a process is remembered that did not begin again: it may be running still.
const keptProcesses = 2 * 365 * 24 * time.Hour

// Register writes down that a process with a random name of its own runs the ledger of this database. Processes on one server
// know by it that they are of one database, and not of a copy.
func Register(ctx context.Context, db sqldb.DB, instance [16]byte, now time.Time) error {
	if err := schema.Check(ctx, db); err != nil {
		return err
	}
	err := db.Update(ctx, func(tx sqldb.Tx) error {
		if _, err := tx.Exec(ctx, sqlForgetProcesses, now.Add(-keptProcesses).UnixMicro()); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, sqlAddProcess, instance[:], now.UnixMicro())
		return err
	})
	if err != nil {
		return fmt.Errorf("registering with the database: %w", err)
	}
	return nil
}

// Registered says whether a process runs, or ran, the ledger of this database.
func Registered(ctx context.Context, db sqldb.DB, instance [16]byte) (known bool, err error) {
	err = db.View(ctx, func(tx sqldb.Tx) error {
		var since int64
		err := tx.QueryRow(ctx, sqlProcess, instance[:]).Scan(&since)
		if known = err == nil; errors.Is(err, sqldb.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("asking the database for a process: %w", err)
	}
	return known, nil
}

// CheckVacant refuses a database that holds a ledger.
func CheckVacant(ctx context.Context, db sqldb.DB) error {
	var size int64
	err := db.View(ctx, func(tx sqldb.Tx) (err error) {
		size, err = tree.Size(ctx, tx)
		return err
	})
	switch {
	case errors.Is(err, sqldb.ErrNoTable), errors.Is(err, sqldb.ErrNoRows): // no tables, or an Init that did not come far
		return nil
	case err != nil:
		return fmt.Errorf("looking for a ledger in the database: %w", err)
	case size > 0:
		return fmt.Errorf("%w: the database holds a ledger of %d entries", ErrRefused, size)
	}
	return nil
}
