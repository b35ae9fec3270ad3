package schema

import (
	"context"
	"crypto/sha256"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/persoline/persoline/ledger/internal/sqldb"
)

func memory(t *testing.T) sqldb.DB {
	t.Helper()
	db, err := sqldb.OpenMemory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestInitThenCheck(t *testing.T) {
	t.Parallel()
	db, ctx := memory(t), t.Context()
	if Check(ctx, db) == nil || Upgrade(ctx, db) == nil {
		t.Error("an empty database passes for a ledger")
	}
	if err := Init(ctx, db); err != nil {
		t.Fatal(err)
	}
	if err := Check(ctx, db); err != nil {
		t.Error(err)
	}
	if err := Upgrade(ctx, db); err != nil {
		t.Errorf("upgrading a current ledger: %v", err)
	}
	if err := Init(ctx, db); !errors.Is(err, ErrExists) {
		t.Errorf("second Init: %v", err)
	}
	var size int64
	if err := db.View(ctx, func(tx sqldb.Tx) error { return tx.QueryRow(ctx, `SELECT size FROM log_head`).Scan(&size) }); err != nil || size != 0 {
		t.Errorf("log head is %d, %v", size, err)
	}
}

// TestInterrupted stops Init after each of its transactions, then runs it again.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	all, err := load(files)
	if err != nil {
		t.Fatal(err)
	}
	statements := 1 + len(all)
	for _, m := range all {
		statements += len(split(m.text))
	}
	for stop := range statements {
		db, ctx := memory(t), t.Context()
		if err := Init(ctx, &stopping{DB: db, left: stop}); !errors.Is(err, errStopped) {
			t.Fatalf("stopped after %d: %v", stop, err)
		}
		if Check(ctx, db) == nil {
			t.Fatalf("half a schema passes after %d", stop)
		}
		if err := Init(ctx, db); err != nil {
			t.Fatalf("again after %d: %v", stop, err)
		}
		if err := Check(ctx, db); err != nil {
			t.Fatalf("check after %d: %v", stop, err)
		}
	}
}

var errStopped = errors.New("stopped")

type stopping struct {
	sqldb.DB
	left int
}

func (s *stopping) Update(ctx context.Context, f func(sqldb.Tx) error) error {
	if s.left--; s.left < 0 {
		return errStopped
	}
	return s.DB.Update(ctx, f)
}

func TestMismatch(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit string
		want error
	}{
		"edited file":   {`UPDATE schema_version SET sum = $1 WHERE n = 2`, ErrMismatch},
		"newer ledger":  {`INSERT INTO schema_version (n, name, sum) VALUES (999, 'later', $1)`, ErrMismatch},
		"gap":           {`DELETE FROM schema_version WHERE n = 1 AND sum <> $1`, ErrMismatch},
		"older ledger":  {`DELETE FROM schema_version WHERE n = (SELECT MAX(n) FROM schema_version) AND sum <> $1`, ErrOld},
		"never applied": {`DELETE FROM schema_version WHERE sum <> $1`, ErrOld},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, ctx := memory(t), t.Context()
			if err := Init(ctx, db); err != nil {
				t.Fatal(err)
			}
			if err := exec(ctx, db, c.edit, make([]byte, sha256.Size)); err != nil {
				t.Fatal(err)
			}
			if err := Check(ctx, db); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if err := Upgrade(ctx, db); (err == nil) != (name == "older ledger") {
				t.Errorf("upgrade: %v", err)
			}
		})
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	got := split("-- a comment;\n\nCREATE TABLE a (\n  -- inner\n  k BIGINT\n);\nINSERT INTO a VALUES (1);\nunfinished\n")
	want := []string{"CREATE TABLE a (\n  k BIGINT\n)", "INSERT INTO a VALUES (1)", "unfinished\n"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestLoadRefusesGapsAndTwins(t *testing.T) {
	t.Parallel()
	for _, names := range [][]string{{"0002_b.sql"}, {"0001_a.sql", "0003_c.sql"}, {"0001_a.sql", "0001_b.sql"}} {
		fsys := fstest.MapFS{}
		for _, n := range names {
			fsys["sql/"+n] = &fstest.MapFile{}
		}
		if _, err := load(fsys); err == nil {
			t.Errorf("%v was accepted", names)
		}
	}
}

// TestPortable refuses what one of the databases does not know, in the text of every migration.
func TestPortable(t *testing.T) {
	t.Parallel()
	foreign := regexp.MustCompile(`(?i)\b(integer|int|blob|bytes|autoincrement|bigserial|rowid|trigger|jsonb?|now|timestamp\w*|default|begin|strict|collate)\b|;`)
	all, err := load(files)
	if err != nil || len(all) == 0 {
		t.Fatalf("%d migrations, %v", len(all), err)
	}
	for _, m := range all {
		for _, stmt := range split(m.text) {
			if word := foreign.FindString(stmt); word != "" {
				t.Errorf("%s: %q is not in the portable subset", m.name, word)
			}
			again := strings.Contains(stmt, "IF NOT EXISTS") || strings.Contains(stmt, "ON CONFLICT DO NOTHING")
			if !again {
				t.Errorf("%s: statement is not harmless when run twice: %.60q", m.name, stmt)
			}
		}
	}
}
