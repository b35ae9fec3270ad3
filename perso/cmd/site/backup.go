package site

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/persoline/persoline/ledger"
	"github.com/persoline/persoline/ledger/backup"
)

// redoDir is where the ledger's redo log is.
func (s *Site) redoDir() string {
	switch {
	case s.Config.Redo == "":
		return s.path("redo")
	case filepath.IsAbs(s.Config.Redo):
		return s.Config.Redo
	}
	return s.path(s.Config.Redo)
}

// backupsDir is where backups go when nobody says where.
func (s *Site) backupsDir() string { return s.path("backups") }

// openFile opens the ledger's file with its redo log, or says what is missing and what to do.
func (s *Site) openFile(ctx context.Context) (ledger.DB, error) {
	db, err := backup.OpenSQLite(ctx, s.ledgerFile(), s.redoDir())
	switch {
	case errors.Is(err, backup.ErrNoRedo):
		return nil, fmt.Errorf("%w; 'perso ledger backup --site %s --new-redo' begins one", err, s.Dir)
	case errors.Is(err, backup.ErrRedoGap):
		return nil, fmt.Errorf("%w; ledger_redo in site.json names the folder. If the folder is lost and the ledger's file is the one that ran last, "+
			"move what is left of the folder away and begin a new one with 'perso ledger backup --site %s --new-redo'. If the file was put back, "+
			"move it away and restore it: ledger/RESTORE.md", err, s.Dir)
	case errors.Is(err, backup.ErrMissing):
		return nil, fmt.Errorf("%w; if it was lost, 'perso ledger restore --site %s' makes it anew: ledger/RESTORE.md", err, s.Dir)
	}
	return db, err
}

// firstBackup begins the redo log of a new ledger, and makes the backup that it leads on from: so a site can be restored from its first
// minute on. A database on a server is replicated by its own means.
func (s *Site) firstBackup(ctx context.Context, db ledger.DB) error {
	if s.Config.Database != nil {
		return nil
	}
	if err := backup.BeginRedo(ctx, db, s.redoDir(), rand.Reader); err != nil {
		return err
	}
	_, err := backup.Take(ctx, db, s.backupsDir(), time.Now(), func(uint64) {})
	return err
}

// BackupPlan says what a backup is to do.
type BackupPlan struct {
	Under   string // folder for backups; nothing is the site's own
	NewRedo bool   // begin another redo log: the last one was lost
	Told    func(rows uint64)
}

// BackedUp is a backup that was made.
type BackedUp struct {
	backup.Taken
	Pruned int // files of the redo log that it made superfluous
}

// Backup writes and verifies a backup of the ledger, while it works or not, and deletes what it makes superfluous of the redo log.
func (s *Site) Backup(ctx context.Context, p BackupPlan) (b BackedUp, err error) {
	if p.Under == "" {
		p.Under = s.backupsDir()
	}
	if p.NewRedo {
		release, err := s.renewRedo(ctx)
		if err != nil {
			return b, err
		}
		defer func() { err = errors.Join(err, release()) }()
	}
	db, err := s.beside(ctx)
	if err != nil {
		return b, err
	}
	b.Taken, err = backup.Take(ctx, db, p.Under, time.Now(), p.Told)
	if err = errors.Join(err, db.Close()); err != nil || s.Config.Database != nil {
		return b, err
	}
	b.Pruned, err = backup.PruneRedo(s.redoDir(), b.Taken)
	return b, err
}

// beside opens the ledger's database beside the ledger that works on it, to read.
func (s *Site) beside(ctx context.Context) (ledger.DB, error) {
	if s.Config.Database == nil {
		return ledger.OpenSQLite(ctx, s.ledgerFile())
	}
	return s.OpenDatabase(ctx)
}

// renewRedo begins another redo log while nobody works on the ledger.
func (s *Site) renewRedo(ctx context.Context) (release func() error, err error) {
	if s.Config.Database != nil {
		return nil, errors.New("a database on a server has no redo log")
	}
	if release, err = Hold(s.Dir); err != nil {
		return nil, err
	}
	db, err := ledger.OpenSQLite(ctx, s.ledgerFile())
	if err == nil {
		err = errors.Join(backup.RenewRedo(ctx, db, s.redoDir(), rand.Reader), db.Close())
	}
	if err != nil {
		return nil, errors.Join(err, release())
	}
	return release, nil
}

// ErrOnServer says that what is asked for is for a ledger in a file.
var ErrOnServer = errors.New("the ledger is on a database server: restore it with the server's own means (deploy/database/README.md)")

// Restore makes the ledger's file anew from a backup and the redo log. The factory must not run.
func (s *Site) Restore(ctx context.Context, from string, held [][]byte, told func(backup.Progress)) (r backup.Restored, err error) {
	if s.Config.Database != nil {
		return r, ErrOnServer
	}
	release, err := Hold(s.Dir)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if from == "" {
		if from, err = backup.Newest(s.backupsDir()); err != nil {
			return r, err
		}
	}
	if err := os.Mkdir(filepath.Dir(s.ledgerFile()), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return r, err
	}
	return backup.Restore(ctx, backup.Plan{Backup: from, Redo: s.redoDir(), To: s.ledgerFile(), Held: held, Told: told})
}
