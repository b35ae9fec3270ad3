package sqldb_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	crdbpgx "github.com/cockroachdb/cockroach-go/v2/crdb/crdbpgxv5"
	"github.com/jackc/pgx/v5"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/ledger/ledgertest/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

type opener func(context.Context, sqldb.Server) (sqldb.DB, error)

// openers are the two ways to deal with a server. Where CockroachDB's rules meet a PostgreSQL, all but a commit that fails
// is the same, which makes the path testable where there is no CockroachDB.
var openers = map[string]opener{"PostgreSQL": sqldb.OpenServer, "by CockroachDB's rules": sqldb.OpenAsCockroach}

func open(t *testing.T, by opener, at string) sqldb.DB {
	t.Helper()
	db, err := by(t.Context(), sqldb.Server{URL: at})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func run(ctx context.Context, db sqldb.DB, query string, args ...any) error {
	return db.Update(ctx, func(tx sqldb.Tx) error { _, err := tx.Exec(ctx, query, args...); return err })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func rows(t *testing.T, db sqldb.DB, table string) (n int64) {
	t.Helper()
	must(t, db.View(t.Context(), func(tx sqldb.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT COUNT(*) FROM `+table).Scan(&n)
	}))
	return n
}

// TestCockroachRules: the suite holds for what CockroachDB's client does, as far as a PostgreSQL can show it.
func TestCockroachRules(t *testing.T) {
	t.Parallel()
	pgtest.URL(t) // skips here, where there is none
	ledgertest.Run(t, func(t *testing.T) ledgertest.DB { return open(t, sqldb.OpenAsCockroach, pgtest.URL(t)) })
}

// TestCommitErrorIsAnError pins why PostgreSQL has a loop of its own. A deferred constraint fails at COMMIT: crdbpgx takes the
// RELEASE before it for the commit, and says yes to what was not written.
func TestCommitErrorIsAnError(t *testing.T) {
	t.Parallel()
	at := pgtest.URL(t)
	db := open(t, sqldb.OpenServer, at)
	ctx := t.Context()
	must(t, run(ctx, db, `CREATE TABLE a (k BIGINT PRIMARY KEY)`))
	must(t, run(ctx, db, `CREATE TABLE b (k BIGINT REFERENCES a (k) DEFERRABLE INITIALLY DEFERRED)`))
	const orphan = `INSERT INTO b (k) VALUES (1)`

	conn, err := pgx.Connect(ctx, at)
	must(t, err)
	defer conn.Close(ctx)
	if err := crdbpgx.ExecuteTx(ctx, conn, pgx.TxOptions{}, func(tx pgx.Tx) error { _, err := tx.Exec(ctx, orphan); return err }); err != nil {
		t.Errorf("crdbpgx on PostgreSQL now reports %v: see whether the loop is still needed", err)
	}
	if n := rows(t, db, "b"); n != 0 {
		t.Fatalf("%d rows: this test shows nothing", n)
	}
	if err := run(ctx, db, orphan); err == nil || errors.Is(err, sqldb.ErrAmbiguous) {
		t.Errorf("a transaction that failed at COMMIT: %v", err)
	}
	if n := rows(t, db, "b"); n != 0 {
		t.Errorf("%d rows, want 0", n)
	}
}

// TestLostConnection breaks the connection at each place of a transaction. At COMMIT nobody knows, and it is said; before it,
// the transaction is run again.
func TestLostConnection(t *testing.T) {
	t.Parallel()
	if os.Getenv("PERSO_TEST_PG_URL") != "" {
		t.Skip("SKIP: PERSO_TEST_PG_URL names a server on another wire than this test's")
	}
	cluster := pgtest.Shared(t)
	cases := []struct {
		what      string
		text      string
		cut       pgtest.Cut
		times     int
		ambiguous bool
		written   int64
	}{
		{"begin", "begin", pgtest.CutBefore, 1, false, 1},
		{"begin answered", "begin", pgtest.CutAfter, 1, false, 1},
		{"insert", "insert into t", pgtest.CutBefore, 1, false, 1},
		{"insert answered", "insert into t", pgtest.CutAfter, 3, false, 1},
		{"commit", "commit", pgtest.CutBefore, 1, true, 0},
		{"commit answered", "commit", pgtest.CutAfter, 1, true, 1},
		{"release", "release savepoint", pgtest.CutBefore, 1, true, 0},
	}
	for name, by := range openers {
		for _, c := range cases {
			cockroach := strings.Contains(name, "Cockroach")
			if cockroach != (c.text == "release savepoint") && (c.text == "commit" || c.text == "release savepoint") {
				continue // each has its own commit
			}
			t.Run(name+", "+c.what, func(t *testing.T) {
				t.Parallel()
				wire := pgtest.NewWire(t, cluster)
				db := open(t, by, wire.Through(t, pgtest.URL(t)))
				must(t, run(t.Context(), db, `CREATE TABLE t (k BIGINT PRIMARY KEY)`))
				wire.Arm(c.text, c.cut, c.times)
				err := run(t.Context(), db, `INSERT INTO t (k) VALUES ($1)`, int64(7))
				if errors.Is(err, sqldb.ErrAmbiguous) != c.ambiguous || (err != nil) != c.ambiguous {
					t.Errorf("reported %v", err)
				}
				if wire.Cuts() != c.times {
					t.Errorf("the connection broke %d times, want %d", wire.Cuts(), c.times)
				}
				if n := rows(t, db, "t"); n != c.written {
					t.Errorf("%d rows, want %d", n, c.written)
				}
			})
		}
	}
}

// TestServerCrash kills the server under a writer: what was answered with yes is there after its recovery, and the client
// comes back by itself.
func TestServerCrash(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Start(t)
	db := open(t, sqldb.OpenServer, cluster.URL())
	ctx := t.Context()
	must(t, run(ctx, db, `CREATE TABLE t (k BIGINT PRIMARY KEY)`))
	var said atomic.Int64 // every row up to here was acknowledged
	stop, done := make(chan struct{}), make(chan struct{})
	enough := make(chan struct{})
	go func() {
		defer close(done)
		for k := int64(1); ; k++ {
			select {
			case <-stop:
				return
			default:
			}
			for run(ctx, db, `INSERT INTO t (k) VALUES ($1) ON CONFLICT DO NOTHING`, k) != nil {
			}
			if said.Store(k); k == 50 {
				close(enough)
			}
		}
	}()
	<-enough
	must(t, cluster.Signal(syscall.SIGQUIT))
	before := said.Load()
	must(t, cluster.Run())
	var n int64
	must(t, db.View(ctx, func(tx sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT COUNT(*) FROM t WHERE k <= $1`, before).Scan(&n)
	}))
	close(stop)
	<-done
	if n != before {
		t.Errorf("%d of %d acknowledged rows are there", n, before)
	}
	if n := rows(t, db, "t"); n < before {
		t.Errorf("%d rows, %d were acknowledged", n, before)
	}
}

// TestUnreachable: a server that is away is said to be away, in bounded time, and nothing is called ambiguous.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Start(t)
	db := open(t, sqldb.OpenServer, cluster.URL())
	must(t, cluster.Signal(syscall.SIGINT))
	err := run(t.Context(), db, `SELECT 1`)
	if !errors.Is(err, sqldb.ErrUnavailable) || errors.Is(err, sqldb.ErrAmbiguous) {
		t.Errorf("server is down: %v", err)
	}
	if _, err := sqldb.OpenServer(t.Context(), sqldb.Server{URL: cluster.URL()}); err == nil {
		t.Error("opened a server that is down")
	}
}

// TestStorm has many writers fight for one row by reading it and writing it, in an order that makes nearly all of them lose.
func TestStorm(t *testing.T) {
	t.Parallel()
	for name, by := range openers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := pgtest.URL(t)
			db := open(t, by, at)
			ctx := t.Context()
			must(t, run(ctx, db, `CREATE TABLE t (k BIGINT PRIMARY KEY, n BIGINT NOT NULL)`))
			must(t, run(ctx, db, `INSERT INTO t (k, n) VALUES (1, 0)`))
			const writers, each = 4, 25
			var wg sync.WaitGroup
			var runs atomic.Int64
			var all sync.WaitGroup // have read the row, before any of them writes it for the first time
			all.Add(writers)
			for range writers {
				other := open(t, by, at)
				wg.Go(func() {
					together := sync.OnceFunc(func() { all.Done(); all.Wait() })
					for range each {
						if err := other.Update(ctx, func(tx sqldb.Tx) error {
							runs.Add(1)
							var n int64
							if err := tx.QueryRow(ctx, `SELECT n FROM t WHERE k = 1`).Scan(&n); err != nil {
								return errors.New("told in other words") // what a caller makes of it does not matter
							}
							together()
							if _, err := tx.Exec(ctx, `UPDATE t SET n = $1 WHERE k = 1`, n+1); err != nil {
								return fmt.Errorf("hidden: %v", err)
							}
							return nil
						}); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			var n int64
			must(t, db.View(ctx, func(tx sqldb.Tx) error { return tx.QueryRow(ctx, `SELECT n FROM t WHERE k = 1`).Scan(&n) }))
			if n != writers*each {
				t.Errorf("%d, want %d: changes were lost", n, writers*each)
			}
			if runs.Load() == writers*each {
				t.Error("no transaction lost against another: this test shows nothing")
			}
		})
	}
}

// TestDurabilityIsAsserted opens servers that would lose what they acknowledged.
func TestDurabilityIsAsserted(t *testing.T) {
	t.Parallel()
	at := pgtest.URL(t)
	_, err := sqldb.OpenServer(t.Context(), sqldb.Server{URL: pgtest.In(t, at, "synchronous_commit", "off")})
	if err == nil || !strings.Contains(err.Error(), "synchronous_commit") {
		t.Errorf("synchronous_commit=off: %v", err)
	}
	if _, err := sqldb.OpenServer(t.Context(), sqldb.Server{URL: pgtest.In(t, at, "default_transaction_read_only", "on")}); err == nil {
		t.Error("opened a read-only server")
	}
	unsafe := pgtest.Start(t)
	must(t, unsafe.Signal(syscall.SIGINT))
	must(t, unsafe.Set("fsync", "off"))
	if err := unsafe.Run(); err == nil || !strings.Contains(err.Error(), `"off"`) || !strings.Contains(err.Error(), "fsync") {
		t.Errorf("fsync=off: %v", err)
	}
}

// TestWayToTheServer: no password in a URL, and no way on which somebody else could answer.
func TestWayToTheServer(t *testing.T) {
	t.Parallel()
	loose := filepath.Join(t.TempDir(), "loose")
	must(t, os.WriteFile(loose, []byte("x"), 0o644))
	for what, s := range map[string]sqldb.Server{
		"holds a password":       {URL: "postgres://perso:secret@localhost/ledger"},
		"holds a password again": {URL: "postgres://perso@localhost/ledger?sslmode=require&password=secret"},
		"must begin with":        {URL: "host=localhost user=perso password=secret"},
		"sslmode=verify-full":    {URL: "postgres://perso@db.example/ledger?sslmode=require"},
		"sslmode=verify-full to": {URL: "postgres://perso@db.example/ledger"},
		"may be read by others":  {URL: "postgres://perso@127.0.0.1:1/ledger", PasswordFile: loose},
		"no such file":           {URL: "postgres://perso@127.0.0.1:1/ledger", PasswordFile: loose + "-not"},
	} {
		_, err := sqldb.OpenServer(t.Context(), s)
		if words, _, _ := strings.Cut(what, " again"); err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(words, " to")) {
			t.Errorf("%s: %v", what, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error tells the password: %v", what, err)
		}
	}
}

// TestDiskFull fills the disk on which a table lies: the transaction that finds it full changes nothing and says so, the
// others go on, and when there is room again so does it.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Start(t)
	cluster.SmallDisk(t, 2<<20)
	db := open(t, sqldb.OpenServer, cluster.URL())
	ctx := t.Context()
	for _, query := range []string{`CREATE TABLE t (k BIGINT PRIMARY KEY, v TEXT) TABLESPACE small`, `CREATE TABLE filler (v TEXT) TABLESPACE small`, `CREATE TABLE other (k BIGINT)`} {
		must(t, run(ctx, db, query))
	}
	text := strings.Repeat("a page of a table ", 400)
	written := int64(0)
	var err error
	for written < 10_000 && err == nil {
		if written == 50 {
			must(t, run(ctx, db, `INSERT INTO filler SELECT v FROM t`))
		}
		if err = run(ctx, db, `INSERT INTO t (k, v) SELECT $1, string_agg(md5(i::text || $2), '') FROM generate_series(1, 200) i`, written, text[:3]+fmt.Sprint(written)); err == nil {
			written++
		}
	}
	if err == nil || errors.Is(err, sqldb.ErrAmbiguous) || errors.Is(err, sqldb.ErrUnavailable) || !strings.Contains(err.Error(), "No space left") {
		t.Errorf("the disk is full: %v", err)
	}
	if n := rows(t, db, "t"); n != written {
		t.Errorf("%d rows, %d were acknowledged", n, written)
	}
	must(t, run(ctx, db, `INSERT INTO other (k) VALUES (1)`))
	must(t, run(ctx, db, `DROP TABLE filler`))
	must(t, run(ctx, db, `INSERT INTO t (k, v) VALUES ($1, $2)`, written, text))
}
