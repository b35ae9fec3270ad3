// Package schema makes and checks the ledger's tables.
//
// Migrations are the numbered files in sql/: forward only, never edited once released (their SHA-256 is stored and
// compared), statements separated by a line that ends in ";". A statement runs in a transaction of its own, because not
// every database takes table definitions in larger ones; so each must be harmless when run twice (IF NOT EXISTS, ON
// CONFLICT DO NOTHING), and an interrupted Init or Upgrade is simply run again. Nothing is migrated at service start:
// the ledger calls Check and refuses.
package schema

import (
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/persoline/persoline/ledger/internal/sqldb"
)

//go:embed sql/*.sql
var files embed.FS

// What callers act on.
var (
	// ErrExists: Init found a ledger that is complete.
	ErrExists = errors.New("ledger exists")
	// ErrOld: the program knows more migrations than the ledger has; run Upgrade.
	ErrOld = errors.New("ledger schema is older than this program")
	// ErrMismatch: the ledger was made by other files, or by a newer program.
	ErrMismatch = errors.New("ledger schema is not this program's")
)

// Texts of the version table; it is itself no migration, since it must exist before the first.
const (
	createVersion = `CREATE TABLE IF NOT EXISTS schema_version (n BIGINT PRIMARY KEY CHECK (n >= 1), name TEXT NOT NULL, sum BYTEA NOT NULL)`
	selectVersion = `SELECT n, name, sum FROM schema_version ORDER BY n`
	insertVersion = `INSERT INTO schema_version (n, name, sum) VALUES ($1, $2, $3)`
)

// migration is one file; its number is its place, from 1.
type migration struct {
	name string
	sum  [sha256.Size]byte
	text string
}

// Init makes the tables of a new ledger. It continues one that was interrupted and refuses a complete one.
func Init(ctx context.Context, db sqldb.DB) error {
	if err := exec(ctx, db, createVersion); err != nil {
		return fmt.Errorf("making schema: %w", err)
	}
	all, err := load(files)
	if err != nil {
		return err
	}
	done, err := matched(ctx, db, all)
	if err != nil {
		return fmt.Errorf("making schema: %w", err)
	}
	if done == len(all) {
		return fmt.Errorf("making schema: %w", ErrExists)
	}
	return apply(ctx, db, all, done)
}

// Upgrade applies the migrations that the ledger lacks.
func Upgrade(ctx context.Context, db sqldb.DB) error {
	all, err := load(files)
	if err != nil {
		return err
	}
	done, err := matched(ctx, db, all)
	if err != nil {
		return fmt.Errorf("upgrading schema: %w", err)
	}
	if done == 0 {
		return fmt.Errorf("upgrading schema: %w: no migration was ever applied", ErrMismatch)
	}
	return apply(ctx, db, all, done)
}

// Check accepts a ledger with exactly this program's migrations.
func Check(ctx context.Context, db sqldb.DB) error {
	all, err := load(files)
	if err != nil {
		return err
	}
	done, err := matched(ctx, db, all)
	if err != nil {
		return fmt.Errorf("checking schema: %w", err)
	}
	if done < len(all) {
		return fmt.Errorf("checking schema: %w: it has %d of %d migrations", ErrOld, done, len(all))
	}
	return nil
}

// Known counts this program's migrations.
func Known() (int, error) {
	all, err := load(files)
	return len(all), err
}

// Has counts the migrations that were applied to a ledger, each of which must be ours.
func Has(ctx context.Context, db sqldb.DB) (int, error) {
	all, err := load(files)
	if err != nil {
		return 0, err
	}
	return matched(ctx, db, all)
}

// matched counts the ledger's migrations, each of which must be ours.
func matched(ctx context.Context, db sqldb.DB, all []migration) (int, error) {
	done := 0
	err := db.View(ctx, func(tx sqldb.Tx) error {
		done = 0
		return tx.Each(ctx, func(row sqldb.Row) error {
			var n int64
			var name string
			var sum []byte
			if err := row.Scan(&n, &name, &sum); err != nil {
				return err
			}
			if done == len(all) || n != int64(done+1) || name != all[done].name || string(sum) != string(all[done].sum[:]) {
				return fmt.Errorf("%w: migration %d %q differs", ErrMismatch, n, name)
			}
			done++
			return nil
		}, selectVersion)
	})
	if errors.Is(err, sqldb.ErrNoTable) {
		return 0, fmt.Errorf("the database holds no ledger: %w", sqldb.ErrMissing)
	}
	if err != nil {
		return 0, fmt.Errorf("reading schema version: %w", err)
	}
	return done, nil
}

// apply runs the rest, statement by statement, and records each file after its last one.
func apply(ctx context.Context, db sqldb.DB, all []migration, done int) error {
	for i, m := range all[done:] {
		for _, stmt := range split(m.text) {
			if err := exec(ctx, db, stmt); err != nil {
				return fmt.Errorf("applying migration %q: %w", m.name, err)
			}
		}
		if err := exec(ctx, db, insertVersion, int64(done+i+1), m.name, m.sum[:]); err != nil {
			return fmt.Errorf("recording migration %q: %w", m.name, err)
		}
	}
	return nil
}

func exec(ctx context.Context, db sqldb.DB, query string, args ...any) error {
	return db.Update(ctx, func(tx sqldb.Tx) error {
		_, err := tx.Exec(ctx, query, args...)
		return err
	})
}

// load reads the files in order; their names begin with their number, so a gap or a twin is seen at once.
func load(from fs.FS) ([]migration, error) {
	names, err := fs.Glob(from, "sql/*.sql") // sorted
	if err != nil {
		return nil, fmt.Errorf("listing migrations: %w", err)
	}
	all := make([]migration, 0, len(names))
	for i, path := range names {
		name := strings.TrimPrefix(path, "sql/")
		if !strings.HasPrefix(name, fmt.Sprintf("%04d_", i+1)) {
			return nil, fmt.Errorf("reading migration %q: it is number %d in the list", name, i+1)
		}
		text, err := fs.ReadFile(from, path)
		if err != nil {
			return nil, fmt.Errorf("reading migration %q: %w", name, err)
		}
		all = append(all, migration{name: name, sum: sha256.Sum256(text), text: string(text)})
	}
	return all, nil
}

// split cuts a file into statements without comments or the closing ";".
func split(text string) []string {
	var out []string
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \r\n")
		if bare := strings.TrimSpace(line); bare == "" || strings.HasPrefix(bare, "--") {
			continue
		}
		stmt, end := strings.CutSuffix(line, ";")
		b.WriteString(stmt)
		if !end {
			b.WriteByte('\n')
			continue
		}
		out = append(out, b.String())
		b.Reset()
	}
	if b.Len() > 0 {
		out = append(out, b.String()) // unfinished: the database will say so
	}
	return out
}
