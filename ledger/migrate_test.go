package ledger

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/persoline/persoline/ledger/internal/schema"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/ledgertest/pgtest"
)

// killing is a server's database whose server is killed within the nth update, after its statement and before its commit.
type killing struct {
	DB
	left int
	kill func(tx sqldb.Tx) error
	done bool
}

func (k *killing) Update(ctx context.Context, f func(sqldb.Tx) error) error {
	k.left--
	return k.DB.Update(ctx, func(tx sqldb.Tx) error {
		err := f(tx)
		switch {
		case err != nil || k.left != 0:
			return err
		case k.done:
			return errors.New("a commit that never reached the server was tried again, and there it ends")
		}
		k.done = true
		return k.kill(tx)
	})
}

// recovered opens a database when its server has recovered.
func recovered(t *testing.T, at string) DB {
	t.Helper()
	for range 500 {
		db, err := OpenServer(t.Context(), Server{URL: at})
		if err == nil {
			return db
		}
		if !errors.Is(err, sqldb.ErrUnavailable) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the server does not come back")
	return nil
}

// TestServerKilledInMigration kills PostgreSQL in the midst of one statement after another of a migration, by turns the whole server, which is started
// again, and with kill -9 the one process that has the statement, after which the server recovers by itself. What was acknowledged stays,
// nobody takes half a schema for a ledger, and the same command goes on from there; the ledger that it makes works.
func TestServerKilledInMigration(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t)
	stop := func(sqldb.Tx) error {
		return errors.Join(c.Signal(syscall.SIGQUIT), fmt.Errorf("the server was killed: %w", sqldb.ErrAmbiguous))
	}
	shoot := func(tx sqldb.Tx) error {
		var pid int
		if err := tx.QueryRow(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
			return err
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return err
		}
		for range 5_000 { // until it is gone: on another processor it may commit before the signal reaches it
			if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
				return nil // and then the transaction commits, as if nothing had happened
			}
			time.Sleep(time.Millisecond)
		}
		return fmt.Errorf("process %d outlives SIGKILL", pid)
	}
	last, kills := 0, 0
	for {
		db := recovered(t, c.URL())
		k := &killing{DB: db, left: 2 + 2*kills, kill: []func(sqldb.Tx) error{stop, shoot}[kills%2]}
		err := InitTables(t.Context(), k)
		_ = db.Close() // it may have lost its server
		if err == nil && !k.done {
			break
		}
		if kills++; kills%2 == 1 {
			if err == nil {
				t.Fatal("the server was killed, and all was well")
			}
			if err := c.Run(); err != nil {
				t.Fatal(err)
			}
		}
		db = recovered(t, c.URL())
		has, err := schema.Has(t.Context(), db)
		if err != nil && !errors.Is(err, sqldb.ErrMissing) || has < last {
			t.Fatalf("after kill %d there are %d migrations, and were %d: %v", kills, has, last, err)
		}
		if known, err := schema.Known(); err != nil || has < known && schema.Check(t.Context(), db) == nil {
			t.Errorf("after kill %d half a schema passes: %v", kills, err)
		}
		if last = has; kills > 200 {
			t.Fatal("it comes no further")
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if kills < 8 {
		t.Errorf("killed %d times only", kills)
	}
	b := newSiteOn(t, recovered(t, c.URL()))
	b.makeLot(spec{good: 2})
	b.makeGood(b.one(), 0)
	b.check()
}
