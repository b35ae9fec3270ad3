package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/persoline/persoline/ledger/internal/redo"
	"github.com/persoline/persoline/ledger/internal/restored"
	"github.com/persoline/persoline/ledger/internal/rows"
	"github.com/persoline/persoline/ledger/internal/schema"
	"github.com/persoline/persoline/ledger/internal/sqldb"
)

// tableMeta holds the mark of a database that is being filled.
const tableMeta = "meta"

// RestoreInto makes a ledger in an empty database on a server, from a backup of whatever kind of database and the redo log behind it, and
// verifies both. It may be killed and run again: until all of it is there and verified the database bears a mark, with which nobody
// serves it or backs it up. It closes the database.
func RestoreInto(ctx context.Context, db sqldb.DB, p Plan) (r Restored, err error) {
	if r, err = restoreInto(ctx, db, p); err != nil {
		return Restored{}, fmt.Errorf("restoring backup %q into a database: %w", p.Backup, err)
	}
	return r, nil
}

func restoreInto(ctx context.Context, db sqldb.DB, p Plan) (r Restored, err error) {
	p.To = ""
	whole := db
	defer func() { err = errors.Join(err, whole.Close()) }()
	if err := makeRoom(ctx, db); err != nil {
		return r, err
	}
	if r, err = fillDatabase(ctx, db, p); err != nil {
		return r, err
	}
	if whole, err = lockUp(ctx, db, p.Redo, r); err != nil {
		return r, err
	}
	// COMMIT POINT. Before: there is no ledger, only rows that the next restoration deletes. The mark is no part of the redo log, which may be
	// done again on a database that has none.
	return r, db.Update(ctx, func(tx sqldb.Tx) error { return restored.Finish(ctx, tx) })
}

// makeRoom makes the tables, refuses a database that holds anything but what an interrupted restoration left, and deletes that.
func makeRoom(ctx context.Context, db sqldb.DB) error {
	if err := refuseOlder(ctx, db); err != nil {
		return err
	}
	if err := schema.Init(ctx, db); err != nil && !errors.Is(err, schema.ErrExists) {
		return err
	}
	tables, _, err := schema.Tables()
	if err != nil {
		return err
	}
	return db.Update(ctx, func(tx sqldb.Tx) error {
		half, err := restored.Unfinished(ctx, tx)
		if err != nil {
			return err
		}
		for _, t := range slices.Backward(tables) { // what refers to others goes first
			if err := clearOrRefuse(ctx, tx, t, half); err != nil {
				return err
			}
		}
		return restored.Begin(ctx, tx)
	})
}

// refuseOlder refuses the ledger of an older program before anything touches it: making what tables it lacks would lock that program out.
func refuseOlder(ctx context.Context, db sqldb.DB) error {
	has, err := schema.Has(ctx, db)
	if errors.Is(err, sqldb.ErrMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	if known, err := schema.Known(); err != nil || has == 0 || has == known {
		return err
	}
	return db.View(ctx, func(tx sqldb.Tx) error {
		half, err := restored.Unfinished(ctx, tx)
		if err != nil || half {
			return err
		}
		return clearOrRefuse(ctx, tx, schema.Table{Name: tableMeta}, false)
	})
}

func clearOrRefuse(ctx context.Context, tx sqldb.Tx, t schema.Table, half bool) error {
	if half {
		return rows.Clear(ctx, tx, t)
	}
	if t.Name == tableHead { // the migrations make its row
		return nil
	}
	var held int64
	if err := tx.QueryRow(ctx, "SELECT COUNT(*) FROM "+t.Name).Scan(&held); err != nil {
		return fmt.Errorf("looking for a ledger in the database: %w", err)
	}
	if held > 0 {
		return fmt.Errorf("%w: the database's table %s has %d rows; name an empty one, and keep this", ErrInTheWay, t.Name, held)
	}
	return nil
}

// Recover takes a database that its server brought back by its own means (a standby, a base backup and its write-ahead log): it does again
// what the redo log holds behind it, if there is one, holds the log against a backup and against what was kept outside, and locks the
// ledger up until two officers have looked at it. A database that it refuses is not locked up, but has what the redo log held behind it:
// that is done before the log is judged. It closes the database.
func Recover(ctx context.Context, db sqldb.DB, p Plan) (r Restored, err error) {
	if r, err = recovered(ctx, db, p); err != nil {
		return Restored{}, fmt.Errorf("holding the recovered database against backup %q: %w", p.Backup, err)
	}
	return r, nil
}

func recovered(ctx context.Context, db sqldb.DB, p Plan) (r Restored, err error) {
	whole := db
	defer func() { err = errors.Join(err, whole.Close()) }()
	if err := schema.Check(ctx, db); err != nil {
		return r, err
	}
	if err := db.View(ctx, func(tx sqldb.Tx) error {
		half, err := restored.Unfinished(ctx, tx)
		if half {
			err = restored.ErrUnfinished
		}
		return err
	}); err != nil {
		return r, err
	}
	told := Progress{}
	if r.Manifest, err = verify(p.Backup, func(n uint64) {
		if told.Rows += n; told.Rows%rowsPerTransaction == 0 {
			p.tell(told)
		}
	}); err != nil {
		return r, err
	}
	raw, err := r.Manifest.Encode() // canonical: as it stands in the file
	if err != nil {
		return r, err
	}
	r.Backup, r.Hash = p.Backup, HashOf(raw)
	if r.Mark, err = p.catchUp(ctx, db, r.Manifest); err != nil {
		return r, err
	}
	if err := r.holds(ctx, db, p); err != nil {
		return r, err
	}
	whole, err = lockUp(ctx, db, p.Redo, r)
	return r, err
}

// catchUp does again what the redo log holds behind the database. What it does is only what the ledger did before, so that nothing need be
// taken back when the log turns out to be another one.
func (p Plan) catchUp(ctx context.Context, db sqldb.DB, m Manifest) (redo.Mark, error) {
	has, err := HasRedo(ctx, db)
	switch {
	case err != nil:
		return m.Redo, err
	case p.Redo == "" && !has:
		return m.Redo, nil
	case p.Redo == "":
		return m.Redo, fmt.Errorf("the database has a redo log, and nobody names its folder: %w", redo.ErrGap)
	}
	told := Progress{Rows: m.rows(), All: m.rows()}
	return redo.Replay(ctx, db, p.Redo, func(n uint64) {
		told.Records += n
		p.tell(told)
	})
}
