package sqldb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cockroachdb/cockroach-go/v2/crdb"
	crdbpgx "github.com/cockroachdb/cockroach-go/v2/crdb/crdbpgxv5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Limits of trying again.
const (
	// MaxTries bounds how often one transaction is run. The ledger's transactions wait for one another at the head of the log
	// (package ledger), so that even with many processes few tries lose; as many as this means that the server is away, or that
	// something else writes without pause.
	MaxTries = 40
	// firstPause and maxPause bound the wait between two tries, which doubles, and of which a random part is left out so that
	// two that collided do not collide again. All tries together wait some three seconds: a server restarts in that.
	firstPause = time.Millisecond
	maxPause   = 100 * time.Millisecond
	// restarts is how often CockroachDB begins a transaction again at its savepoint, without a pause, before it is run as a whole
	// again after one.
	restarts = 4
	// transactionTimeout bounds a transaction with all its tries where the driver runs them.
	transactionTimeout = 2 * time.Minute
)

// errConnection marks an error after which the connection is of no use any more.
var errConnection = errors.New("connection to the database broke")

// again runs a transaction as a whole until it is over, or was tried often enough.
func (d *serverDB) again(ctx context.Context, mode pgx.TxAccessMode, f func(Tx) error) error {
	pause := firstPause
	for try := 1; ; try++ {
		err := d.once(ctx, mode, f)
		switch {
		case err == nil || errors.Is(err, ErrAmbiguous) || !lost(err) && !unavailable(err):
			return d.classify(err)
		case ctx.Err() != nil:
			return errors.Join(ctx.Err(), d.classify(err))
		case try == MaxTries && lost(err):
			return fmt.Errorf("%w: %d tries: %w", ErrContended, try, err)
		case try == MaxTries:
			return d.classify(err)
		}
		timer := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(ctx.Err(), d.classify(err))
		}
		pause = min(2*pause, maxPause)
	}
}

// once runs a transaction on a connection of its own.
func (d *serverDB) once(ctx context.Context, mode pgx.TxAccessMode, f func(Tx) error) error {
	c, err := d.pool.Acquire(ctx)
	if err != nil {
		if d.closing.Load() {
			return ErrClosed
		}
		return fmt.Errorf("waiting for the database: %w", err)
	}
	defer c.Release()
	err = d.run(ctx, c, mode, f)
	if errors.Is(err, ErrAmbiguous) {
		return err
	}
	return broken(ctx, c.Conn(), err)
}

// broken marks an error that a connection did not survive, unless its caller gave up.
func broken(ctx context.Context, c *pgx.Conn, err error) error {
	if err != nil && c.IsClosed() && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", errConnection, err)
	}
	return err
}

// runPostgres runs f in one transaction. crdbpgx would not do here: it takes RELEASE SAVEPOINT for the commit, which to
// PostgreSQL it is not, and drops the error of COMMIT (TestCommitErrorIsAnError pins it).
func (d *serverDB) runPostgres(ctx context.Context, c *pgxpool.Conn, mode pgx.TxAccessMode, f func(Tx) error) error {
	tx, err := c.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.Serializable, AccessMode: mode})
	if err != nil {
		return fmt.Errorf("beginning transaction: %w", err)
	}
	ended := false
	defer func() { // also when f panics
		if !ended {
			d.rollback(ctx, tx)
		}
	}()
	outcome, failed := inTx(serverTx{tx, d.kind}, f)
	if lost(failed) || unavailable(failed) {
		return failed // whatever f made of it
	}
	if outcome != nil {
		return outcome
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	// Before this line nothing is durable. After it everything is, or the error says that nothing is, or nobody knows.
	err = tx.Commit(own)
	ended = true
	switch {
	case err == nil:
		return nil
	case mode == pgx.ReadOnly || refused(err):
		return fmt.Errorf("committing: %w", err)
	}
	return fmt.Errorf("committing: %w: %w", ErrAmbiguous, err)
}

// refused says that the server answered COMMIT with no, or never got it. An answer that ends the connection too leaves open
// whether it was written before.
func refused(err error) bool {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Severity == "ERROR"
	}
	return errors.Is(err, pgx.ErrTxCommitRollback) || pgconn.SafeToRetry(err)
}

// runCockroach runs f by CockroachDB's own rules: what lost begins again at a savepoint, with a higher priority.
func (d *serverDB) runCockroach(ctx context.Context, c *pgxpool.Conn, mode pgx.TxAccessMode, f func(Tx) error) error {
	// The commit is not cut short by a caller that goes away: f's statements are.
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), transactionTimeout)
	defer cancel()
	own = crdb.WithMaxRetries(own, restarts)
	err := crdbpgx.ExecuteTx(own, c, pgx.TxOptions{IsoLevel: pgx.Serializable, AccessMode: mode}, func(tx pgx.Tx) error {
		outcome, failed := inTx(serverTx{tx, d.kind}, f)
		if lost(failed) || unavailable(failed) {
			return failed // whatever f made of it
		}
		if outcome == nil {
			outcome = ctx.Err()
		}
		return outcome
	})
	var ambiguous *crdb.AmbiguousCommitError
	if errors.As(err, &ambiguous) && mode == pgx.ReadWrite {
		return fmt.Errorf("committing: %w: %w", ErrAmbiguous, err)
	}
	return err
}

// rollback gives a transaction up. If that fails the connection is closed, and the server rolls back by itself.
func (d *serverDB) rollback(ctx context.Context, tx pgx.Tx) {
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	if err := tx.Rollback(own); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
		_ = tx.Conn().Close(own) // it is of no use, and its error says nothing that the caller can act on
	}
}
