package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/persoline/persoline/ledger/internal/redo"
	"github.com/persoline/persoline/ledger/internal/restored"
	"github.com/persoline/persoline/ledger/internal/schema"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/internal/tree"
	"github.com/persoline/persoline/perso/entry"
)

// Modes: as confidential as the ledger.
const (
	folderMode = 0o700
	fileMode   = 0o600
)

// unfinished is the folder in which a backup is written, and lock the file that keeps two from writing at once.
const (
	unfinished = "unfinished"
	lockName   = "lock"
)

// disk is what must be durable, step by step. It is the operating system's; tests fail each step.
type disk struct {
	create  func(path string) (file, error) // a new file; one that is there is refused
	rename  func(from, to string) error
	syncDir func(path string) error
}

type file interface {
	io.Writer
	Sync() error
	Close() error
}

func osDisk() disk {
	return disk{
		create: func(path string) (file, error) {
			return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
		},
		rename: os.Rename,
		syncDir: func(path string) error {
			d, err := os.Open(path)
			if err != nil {
				return err
			}
			return errors.Join(d.Sync(), d.Close())
		},
	}
}

// put writes a whole new file and syncs it.
func (d disk) put(path string, write func(io.Writer) error) error {
	f, err := d.create(path)
	if err != nil {
		return err
	}
	if err = write(f); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Taken is a backup that was written and verified.
type Taken struct {
	Dir      string
	Hash     [sha256.Size]byte
	Manifest Manifest
}

// Take writes a backup of a database under a folder, which is made when it is not there, while the ledger works: it reads one
// snapshot. told hears of rows that were written, and later of those that were read back.
func Take(ctx context.Context, db sqldb.DB, under string, at time.Time, told func(rows uint64)) (Taken, error) {
	t, err := take(ctx, osDisk(), db, under, at, told)
	if err != nil {
		return Taken{}, fmt.Errorf("backing the ledger up to %q: %w", under, err)
	}
	return t, nil
}

// ErrBusy says that another process writes a backup there.
var ErrBusy = errors.New("another backup is being written")

func take(ctx context.Context, d disk, db sqldb.DB, under string, at time.Time, told func(uint64)) (t Taken, err error) {
	if err := os.MkdirAll(under, folderMode); err != nil {
		return t, err
	}
	lock, err := os.OpenFile(filepath.Join(under, lockName), os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return t, fmt.Errorf("%w: %w", ErrBusy, err)
	}
	part := filepath.Join(under, unfinished)
	if err := os.RemoveAll(part); err != nil { // of one that was killed
		return t, err
	}
	if err := os.Mkdir(part, folderMode); err != nil {
		return t, err
	}
	raw, err := fillFolder(ctx, d, db, part, at, told)
	if err != nil {
		return t, err
	}
	if t.Manifest, err = verify(part, told); err != nil {
		return t, fmt.Errorf("reading it back: %w", err)
	}
	t.Hash, t.Dir = HashOf(raw), filepath.Join(under, folderName(t.Manifest.Size, raw))
	if _, err := os.Stat(t.Dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return t, fmt.Errorf("there is a backup %q already: %w", t.Dir, errors.Join(fs.ErrExist, err))
	}
	// COMMIT POINT. Before: there is no backup, only a folder that the next one removes. After the folder's sync: it is there for good.
	if err := d.rename(part, t.Dir); err != nil {
		return t, err
	}
	return t, d.syncDir(under)
}

// fillFolder writes the files, and their names.
func fillFolder(ctx context.Context, d disk, db sqldb.DB, dir string, at time.Time, told func(uint64)) (raw []byte, err error) {
	m := Manifest{At: at.UTC()}
	tables, made, err := schema.Tables()
	if err != nil {
		return nil, err
	}
	if err := schema.Check(ctx, db); err != nil {
		return nil, err
	}
	m.Schema = made
	var note []byte
	err = d.put(filepath.Join(dir, tablesFile), func(to io.Writer) error {
		out := &counted{to: to, sum: sha256.New()}
		ran := false
		err := db.View(ctx, func(tx sqldb.Tx) (err error) {
			if ran { // what is written is written
				return errors.New("the database asks for the snapshot to be read again; try again")
			}
			ran = true
			if note, err = m.describe(ctx, tx); err == nil {
				m.Tables, err = writeTables(ctx, tx, out, tables, told)
			}
			return err
		})
		m.Bytes, m.Sum = out.n, [sha256.Size]byte(out.sum.Sum(nil))
		return err
	})
	if err == nil && m.Signed > 0 {
		err = d.put(filepath.Join(dir, noteFile), func(to io.Writer) error { return all(to, note) })
	}
	if err == nil {
		raw, err = m.Encode()
	}
	if err == nil {
		err = d.put(filepath.Join(dir, ManifestFile), func(to io.Writer) error { return all(to, raw) })
	}
	if err == nil {
		err = d.syncDir(dir)
	}
	return raw, err
}

func all(to io.Writer, b []byte) error {
	_, err := to.Write(b)
	return err
}

// describe reads what a snapshot is of. It is its first statement, so that what follows is of the same moment.
func (m *Manifest) describe(ctx context.Context, tx sqldb.Tx) (note []byte, err error) {
	if half, err := restored.Unfinished(ctx, tx); err != nil || half {
		return nil, errors.Join(err, restored.ErrUnfinished)
	}
	log, err := tree.Open(ctx, tx)
	if err != nil {
		return nil, err
	}
	if log.Size() == 0 {
		return nil, errors.New("the ledger has no log")
	}
	m.Size, m.Root = log.Size(), log.Root()
	var first []byte
	err = log.Entries(ctx, tx, 0, 1, func(_ int64, _ string, body []byte) error {
		first = body
		return nil
	})
	if err != nil {
		return nil, err
	}
	g, err := entry.ParseGenesis(first)
	if err != nil {
		return nil, err
	}
	m.Env, m.Site, m.Origin = g.Env, g.Site, g.Origin
	if m.Signed, note, err = tree.Signed(ctx, tx); err != nil {
		return nil, err
	}
	if note == nil {
		m.Signed = 0
	}
	m.Redo, err = redo.MarkOf(ctx, tx)
	return note, err
}
