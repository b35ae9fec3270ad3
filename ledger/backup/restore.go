package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/persoline/persoline/ledger/internal/redo"
	"github.com/persoline/persoline/ledger/internal/restored"
	"github.com/persoline/persoline/ledger/internal/rows"
	"github.com/persoline/persoline/ledger/internal/schema"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/internal/tree"
)

// Plan says what is restored, and to where.
type Plan struct {
	Backup string   // folder of a backup
	Redo   string   // folder of the redo log; of a server's database that has none, nothing
	To     string   // the ledger's file, which must not be there; nothing where it goes to a server
	Held   [][]byte // checkpoints kept outside; the restored log must hold what they say
	Told   func(Progress)
}

// Progress is how far a restoration is.
type Progress struct {
	Rows    uint64 // of the backup, of All
	All     uint64
	Records uint64 // of the redo log
}

// Restored says what was restored.
type Restored struct {
	Backup   string   // its folder
	Hash     [32]byte // of its manifest
	Manifest Manifest
	Mark     redo.Mark // the last transaction that was done again
	Size     int64     // entries of the log
	Root     [32]byte
}

// restoring is where the new file grows, beside its place.
const restoring = ".restoring"

// ErrInTheWay says that there is a ledger, or a part of one, where one was to be restored to.
var ErrInTheWay = errors.New("there is a ledger already")

// companions are the files that SQLite keeps beside a database, and would take for the new one's.
var companions = []string{"", "-wal", "-shm", "-journal"}

// Restore makes a ledger's file from a backup and the redo log behind it, and verifies both on the way. It may be killed and run
// again: until all of it is durable the file has another name.
func Restore(ctx context.Context, p Plan) (Restored, error) {
	r, err := restore(ctx, osDisk(), p)
	if err != nil {
		return Restored{}, fmt.Errorf("restoring backup %q: %w", p.Backup, err)
	}
	return r, nil
}

func restore(ctx context.Context, d disk, p Plan) (r Restored, err error) {
	for _, c := range companions {
		if _, err := os.Lstat(p.To + c); !errors.Is(err, fs.ErrNotExist) {
			return r, fmt.Errorf("%w: %q; move it away, do not delete it", ErrInTheWay, p.To+c)
		}
	}
	part := p.To + restoring
	for _, c := range companions { // of one that was killed
		if err := os.Remove(part + c); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return r, err
		}
	}
	db, err := sqldb.CreateSQLite(ctx, part)
	if err != nil {
		return r, err
	}
	if r, err = fillDatabase(ctx, db, p); err == nil {
		db, err = lockUp(ctx, db, p.Redo, r)
	}
	if err = errors.Join(err, db.Close()); err != nil { // a clean end empties the write-ahead log
		return r, err
	}
	if _, err := os.Lstat(part + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("the restored database was not closed cleanly: %w", errors.Join(sqldb.ErrFenced, err))
	}
	if err := syncFile(part); err != nil {
		return r, err
	}
	// COMMIT POINT. Before: there is no ledger, only a file that the next restoration removes. After the folder's sync: it is there.
	if err := d.rename(part, p.To); err != nil {
		return r, err
	}
	return r, d.syncDir(filepath.Dir(p.To))
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// fillDatabase loads the backup into an empty database, does the redo log again, and verifies the log that results.
func fillDatabase(ctx context.Context, db sqldb.DB, p Plan) (r Restored, err error) {
	o, err := load(ctx, db, p)
	if err != nil {
		return r, err
	}
	r.Backup, r.Hash, r.Manifest = p.Backup, HashOf(o.raw), o.m
	if r.Mark, err = p.replay(ctx, db, o.m); err != nil {
		return r, err
	}
	return r, r.holds(ctx, db, p)
}

// replay does again what the redo log holds behind a backup. Without a redo log there is nothing behind it, or it is lost: then what
// somebody keeps outside tells, and the log vault.
func (p Plan) replay(ctx context.Context, db sqldb.DB, m Manifest) (redo.Mark, error) {
	switch {
	case p.Redo == "" && m.Redo.IsZero():
		return m.Redo, nil
	case p.Redo == "":
		return m.Redo, fmt.Errorf("the backup is of a ledger with a redo log, and nobody names its folder: %w", redo.ErrGap)
	case m.Redo.IsZero():
		return m.Redo, fmt.Errorf("the backup was made before the redo log began, so nothing leads on from it: %w", redo.ErrGap)
	}
	told := Progress{Rows: m.rows(), All: m.rows()}
	return redo.Replay(ctx, db, p.Redo, func(n uint64) {
		told.Records += n
		p.tell(told)
	})
}

// holds verifies the log that a database has now: it continues the backup's, and holds what was kept outside.
func (r *Restored) holds(ctx context.Context, db sqldb.DB, p Plan) error {
	m := r.Manifest
	at := []int64{m.Size}
	for _, note := range p.Held {
		size, err := sizeOf(note)
		if err != nil {
			return err
		}
		at = append(at, size)
	}
	c := newLogCheck(at...)
	if err := c.database(ctx, db); err != nil {
		return err
	}
	switch r.Size, r.Root = c.log.Size(), c.log.Root(); {
	case r.Size < m.Size:
		return fmt.Errorf("%w: the backup has %d entries, and there are %d", ErrRolledBack, m.Size, r.Size)
	case c.roots[m.Size] != m.Root:
		return fmt.Errorf("%w: what there is now is not what the backup's log led to", ErrForked)
	}
	for _, note := range p.Held {
		if err := c.holdsOutside(note); err != nil {
			return err
		}
	}
	return nil
}

// lockUp keeps the restored ledger from issuing identities until two officers have looked at it. It goes through the redo log, if there is
// one, as everything does from now on.
func lockUp(ctx context.Context, db sqldb.DB, redoDir string, r Restored) (sqldb.DB, error) {
	d := db
	if redoDir != "" {
		var err error
		if d, err = redo.Open(ctx, db, redoDir); err != nil {
			return db, err
		}
	}
	return d, d.Update(ctx, func(tx sqldb.Tx) error {
		return restored.Set(ctx, tx, restored.Mark{Backup: r.Hash, BackupSize: r.Manifest.Size, BackupRoot: r.Manifest.Root, From: r.Manifest.Redo.Seq, To: r.Mark.Seq,
			Size: r.Size, Root: r.Root})
	})
}

// database reads the log out of a database.
func (c *logCheck) database(ctx context.Context, db sqldb.DB) error {
	tables, _, err := schema.Tables()
	if err != nil {
		return err
	}
	return db.View(ctx, func(tx sqldb.Tx) error {
		for _, t := range tables {
			if t.Name != tableEntries && t.Name != tableTiles {
				continue
			}
			if err := rows.Read(ctx, tx, t, func(row []any) error { return c.row(t, row) }); err != nil {
				return err
			}
			if err := c.end(t); err != nil {
				return err
			}
		}
		stored, err := tree.Open(ctx, tx)
		if err == nil && (stored.Size() != c.log.Size() || stored.Root() != c.log.Root()) {
			err = tree.ErrUnfit
		}
		return err
	})
}

func (m Manifest) rows() (n uint64) {
	for _, t := range m.Tables {
		n += t.Rows
	}
	return n
}

func (p Plan) tell(x Progress) {
	if p.Told != nil {
		p.Told(x)
	}
}

// ErrOtherProgram says that a backup is of a ledger with other tables than this program's.
var ErrOtherProgram = errors.New("the backup was made by another version of this program: restore it with that one, then upgrade")

// load makes the tables and fills them.
func load(ctx context.Context, db sqldb.DB, p Plan) (o opened, err error) {
	if o, err = open(p.Backup); err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	tables, made, err := schema.Tables()
	if err != nil {
		return o, err
	}
	if o.m.Schema != made {
		return o, fmt.Errorf("%w: it has %d migrations, this program %d", ErrOtherProgram, o.m.Schema.Migrations, made.Migrations)
	}
	if p.To != "" {
		err = schema.Init(ctx, db)
	}
	if err != nil {
		return o, err
	}
	c, err := o.check(p.Held)
	if err != nil {
		return o, err
	}
	told := Progress{All: o.m.rows()}
	l := &loader{ctx: ctx, db: db, tables: tables, marks: p.To == ""}
	if err = readTables(o.tables, o.m, func(n uint64) {
		if told.Rows += n; told.Rows%rowsPerTransaction == 0 {
			p.tell(told)
		}
	}, c, l); err == nil {
		err = o.holds(c, p.Held)
	}
	if err == nil && l.next != len(tables) {
		err = damaged("table %s is missing", tables[l.next].Name)
	}
	return o, err
}

// rowsPerTransaction are written at once.
const rowsPerTransaction = 1_000

// loader is a sink that writes what it is told into a database.
type loader struct {
	ctx    context.Context // of one restoration, for as long as it lasts
	db     sqldb.DB
	tables []schema.Table // of this program
	next   int            // whose turn it is
	marks  bool           // the database is marked as one that is being filled
	rows   [][]any
}

func (l *loader) table(t schema.Table) error {
	if l.next == len(l.tables) || l.tables[l.next].Name != t.Name || fmt.Sprint(l.tables[l.next].Columns) != fmt.Sprint(t.Columns) {
		return damaged("table %s is not one of the ledger's, or not in its turn", t.Name)
	}
	return l.db.Update(l.ctx, func(tx sqldb.Tx) error {
		err := rows.Clear(l.ctx, tx, l.tables[l.next])
		if err == nil && l.marks && t.Name == tableMeta {
			err = restored.Begin(l.ctx, tx)
		}
		return err
	})
}

func (l *loader) row(t schema.Table, row []any) error {
	if l.rows = append(l.rows, row); len(l.rows) < rowsPerTransaction {
		return nil
	}
	return l.flush()
}

func (l *loader) end(schema.Table) error {
	err := l.flush()
	l.next++
	return err
}

func (l *loader) flush() error {
	if len(l.rows) == 0 {
		return nil
	}
	err := l.db.Update(l.ctx, func(tx sqldb.Tx) error { return rows.Write(l.ctx, tx, l.tables[l.next], l.rows) })
	l.rows = l.rows[:0]
	return err
}
