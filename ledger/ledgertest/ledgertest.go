// Package ledgertest is what tests and the factory simulator need of the ledger's database: fresh databases, one that
// fails on command, and the conformance suite of the seam (Run).
//
// No product path imports it. The seam itself is internal to ledger; the aliases here let perso/sim hold a database
// without knowing what it is.
package ledgertest

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/persoline/persoline/ledger/internal/schema"
	"github.com/persoline/persoline/ledger/internal/sqldb"
)

// The seam's types.
type (
	DB  = sqldb.DB
	Tx  = sqldb.Tx
	Row = sqldb.Row
)

// ErrAmbiguous is the seam's: the outcome of a commit is unknown.
var ErrAmbiguous = sqldb.ErrAmbiguous

// Memory gives an empty database, without tables, that vanishes at Close. Update and View take turns.
func Memory(ctx context.Context) (DB, error) { return sqldb.OpenMemory(ctx) }

// Create gives a new ledger file without tables; Open opens an existing one, as after a crash.
func Create(ctx context.Context, path string) (DB, error) { return sqldb.CreateSQLite(ctx, path) }

// Open opens an existing ledger file.
func Open(ctx context.Context, path string) (DB, error) { return sqldb.OpenSQLite(ctx, path) }

// Init makes the ledger's tables.
func Init(ctx context.Context, db DB) error { return schema.Init(ctx, db) }

// Prepared gives a test a ledger file with tables, closed at its end.
func Prepared(t testing.TB) DB {
	t.Helper()
	db, err := Create(t.Context(), filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	return prepare(t, db)
}

// PreparedMemory is Prepared without a file, for tests in which nothing depends on one.
func PreparedMemory(t testing.TB) DB {
	t.Helper()
	db, err := Memory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return prepare(t, db)
}

func prepare(t testing.TB, db DB) DB {
	t.Helper()
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := Init(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	return db
}
