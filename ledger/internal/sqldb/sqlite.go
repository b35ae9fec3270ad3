package sqldb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
)

// Limits of a SQLite ledger.
const (
	// ReadConnections is how many Views run at once; they are short and the factory PC has few cores.
	ReadConnections = 4
	// BusyTimeoutMillis is how long a writer waits for another process's write lock; our own writers queue in Go instead.
	BusyTimeoutMillis = 5_000
	// MaxStatements bounds the prepared statements of a connection. The ledger's SQL is about a hundred constants, so
	// more means that somebody builds SQL text at run time.
	MaxStatements = 512
	// CheckpointPages is after how many pages the write-ahead log is carried over: 32 MiB, which a start reads in a moment.
	CheckpointPages = 8_192
	// CacheKiB bounds the writer's page cache: the right edges of all tables, and the leaves of those with random keys.
	CacheKiB = 16 << 10
)

// ledgerFileMode: the ledger holds no key, but commercial data of one customer that another must not see.
const ledgerFileMode fs.FileMode = 0o600

// sqliteDB is a DB on one file: one connection writes, a few read older snapshots beside it (write-ahead log).
type sqliteDB struct {
	writers chan *sqliteConn // holds the one writer when it is idle
	readers chan *sqliteConn // the same channel as writers when the database is in memory
	all     []*sqliteConn
	closed  chan struct{}
	closing atomic.Bool
	fenced  atomic.Bool
}

// OpenSQLite opens the ledger file at path. A missing file is ErrMissing, never a silent new ledger. It refuses a file
// system or build on which commits would not be durable.
func OpenSQLite(ctx context.Context, path string) (DB, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("opening ledger %q: %w", path, ErrMissing)
	case err != nil:
		return nil, fmt.Errorf("opening ledger %q: %w", path, err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("opening ledger %q: it is not a regular file", path)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("opening ledger %q: %w", path, err)
	}
	// rw: do not create; no: each connection has one user at a time, and needs no lock of its own.
	dsn := (&url.URL{Scheme: "file", Path: abs}).String() + "?mode=rw&_mutex=no"
	db, err := openPool(dsn, 1+ReadConnections)
	if err != nil {
		return nil, fmt.Errorf("opening ledger %q: %w", path, err)
	}
	db.readers = make(chan *sqliteConn, ReadConnections)
	err = errors.Join(db.all[0].durable(), db.all[0].brisk())
	for _, c := range db.all[1:] {
		err = errors.Join(err, c.durable(), c.assert("query_only", "1"))
		db.readers <- c
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening ledger %q: %w", path, err), db.Close())
	}
	return db, nil
}

// CreateSQLite makes a new, empty ledger file and opens it. It refuses to touch an existing one.
func CreateSQLite(ctx context.Context, path string) (DB, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, ledgerFileMode)
	if err != nil {
		return nil, fmt.Errorf("creating ledger: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close(), syncFolder(filepath.Dir(path))); err != nil {
		return nil, fmt.Errorf("creating ledger %q: %w", path, err)
	}
	return OpenSQLite(ctx, path)
}

// OpenMemory opens a new ledger that vanishes at Close: for tests and the simulator, no configuration leads here.
// It has one connection, so that Views wait for Updates.
func OpenMemory(ctx context.Context) (DB, error) {
	db, err := openPool(":memory:", 1)
	if err != nil {
		return nil, fmt.Errorf("opening ledger in memory: %w", err)
	}
	db.readers = db.writers
	return db, nil
}

// syncFolder makes a new file's name durable.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// openPool opens n connections; the first is the writer.
func openPool(dsn string, n int) (*sqliteDB, error) {
	db := &sqliteDB{writers: make(chan *sqliteConn, 1), closed: make(chan struct{})}
	for range n {
		c, err := dial(dsn)
		if err != nil {
			return nil, errors.Join(err, db.hangUp())
		}
		db.all = append(db.all, c)
	}
	db.writers <- db.all[0]
	return db, nil
}

// hangUp closes connections that nobody uses.
func (d *sqliteDB) hangUp() (err error) {
	for _, c := range d.all {
		err = errors.Join(err, c.close())
	}
	return err
}

// Update begins IMMEDIATE: the write lock is taken before the first read, so that no transaction is ever built on a
// snapshot that another writer has overtaken, and no retry is needed.
func (d *sqliteDB) Update(ctx context.Context, f func(Tx) error) error {
	c, err := d.take(ctx, d.writers)
	if err != nil {
		return err
	}
	defer func() { d.writers <- c }()
	if err := c.run("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("beginning transaction: %w", err)
	}
	committed := false
	defer func() { // also when f panics
		if !committed {
			d.rollback(c)
		}
	}()
	if err, _ := inTx(c, f); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	// Before this line nothing is durable; after it everything is, or the outcome is unknown and the database fenced.
	if err := c.run("COMMIT"); err != nil {
		d.fenced.Store(true)
		return fmt.Errorf("committing: %w: %w", ErrAmbiguous, err)
	}
	committed = true
	return nil
}

// View runs f on a read connection; query_only makes SQLite itself refuse a write.
func (d *sqliteDB) View(ctx context.Context, f func(Tx) error) error {
	c, err := d.take(ctx, d.readers)
	if err != nil {
		return err
	}
	defer func() { d.readers <- c }()
	if d.readers == d.writers {
		if err := c.assert("query_only", "1"); err != nil {
			return err
		}
		defer func() {
			if c.assert("query_only", "0") != nil {
				d.fenced.Store(true)
			}
		}()
	}
	if err := c.run("BEGIN"); err != nil {
		return fmt.Errorf("beginning view: %w", err)
	}
	defer d.rollback(c)
	err, _ = inTx(c, f)
	return err
}

// Erase empties the write-ahead log, in which a deleted row stands until its pages are written over: secure_delete
// overwrites only the row's place in the database file, and only when the log is carried over. No reader may hold an older
// snapshot of it, so Erase takes every connection, the writer's first: of two that erase, the second waits for the first.
func (d *sqliteDB) Erase(ctx context.Context) error {
	c, err := d.take(ctx, d.writers)
	if err != nil {
		return fmt.Errorf("erasing what was deleted: %w", err)
	}
	defer func() { d.writers <- c }()
	if d.readers == d.writers {
		return nil // in memory: there is no file
	}
	for range ReadConnections {
		r, err := d.take(ctx, d.readers)
		if err != nil {
			return fmt.Errorf("erasing what was deleted: %w", err)
		}
		defer func() { d.readers <- r }()
	}
	row, err := c.first(ctx, "PRAGMA wal_checkpoint(TRUNCATE)", nil)
	if err != nil {
		return fmt.Errorf("erasing what was deleted: %w", err)
	}
	if busy, ok := row[0].(int64); !ok || busy != 0 {
		return fmt.Errorf("erasing what was deleted: another process reads the database")
	}
	return nil
}

// Close takes every connection back, then closes the file.
func (d *sqliteDB) Close() error {
	if !d.closing.CompareAndSwap(false, true) {
		return nil
	}
	close(d.closed)
	for range d.all {
		select {
		case <-d.writers:
		case <-d.readers:
		}
	}
	if err := d.hangUp(); err != nil {
		return fmt.Errorf("closing ledger: %w", err)
	}
	return nil
}

// take waits for an idle connection.
func (d *sqliteDB) take(ctx context.Context, from chan *sqliteConn) (*sqliteConn, error) {
	if d.closing.Load() {
		return nil, ErrClosed
	}
	select {
	case c := <-from:
		if d.fenced.Load() {
			from <- c
			return nil, ErrFenced
		}
		return c, nil
	case <-d.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the database: %w", ctx.Err())
	}
}

// rollback fences the database when it fails: the connection's state is then unknown.
func (d *sqliteDB) rollback(c *sqliteConn) {
	if err := c.run("ROLLBACK"); err != nil {
		d.fenced.Store(true)
	}
}
