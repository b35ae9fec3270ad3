package backup

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/persoline/persoline/ledger/internal/schema"
	"github.com/persoline/persoline/ledger/internal/sqldb"
)

// A restoration that is pointed at the ledger of an older program refuses it, and that program can go on with it: nothing was migrated.
func TestOlderLedgerInTheWay(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "other.db")
	db, err := sqldb.CreateSQLite(ctx, path)
	ok(t, err)
	ok(t, schema.Init(ctx, db))
	n, err := schema.Known()
	ok(t, err)
	ok(t, db.Update(ctx, func(tx sqldb.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM schema_version WHERE n = $1`, int64(n))
		if err == nil {
			_, err = tx.Exec(ctx, `INSERT INTO meta (key, value) VALUES ('site', 'x')`)
		}
		return err
	}))
	_, err = RestoreInto(ctx, db, Plan{Backup: t.TempDir()})
	if !errors.Is(err, ErrInTheWay) {
		t.Errorf("restoring over it: %v", err)
	}
	db, err = sqldb.OpenSQLite(ctx, path)
	ok(t, err)
	if after, err := schema.Has(ctx, db); err != nil || after != n-1 {
		t.Errorf("it had %d migrations, and has %d now, %v", n-1, after, err)
	}
	ok(t, db.Close())
}
