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

// hasRedo says whether the ledger has a redo log: a file always, a server's database where site.json names the folder.
func (s *Site) hasRedo() bool { return s.Config.Database == nil || s.Config.Redo != "" }

// explainRedo says what is missing and what to do, when a ledger could not be opened with its redo log.
func (s *Site) explainRedo(err error) error {
	switch {
	case errors.Is(err, backup.ErrNoRedo):
		return fmt.Errorf("%w; 'perso ledger backup --site %s --new-redo' begins one", err, s.Dir)
	case errors.Is(err, backup.ErrRedoGap):
		return fmt.Errorf("%w; ledger_redo in site.json names the folder. If the folder is lost and the ledger's database is the one that ran last, "+
			"move what is left of the folder away and begin a new one with 'perso ledger backup --site %s --new-redo'. If the database was put back, "+
			"move it away and restore it: ledger/RESTORE.md", err, s.Dir)
	case errors.Is(err, backup.ErrMissing):
		return fmt.Errorf("%w; if it was lost, 'perso ledger restore --site %s' makes it anew: ledger/RESTORE.md", err, s.Dir)
	}
	return err
}

// needsNoRedo refuses to work without a redo log on a database that has one: what it lacks then could never be done again.
func (s *Site) needsNoRedo(ctx context.Context, db ledger.DB) error {
	has, err := backup.HasRedo(ctx, db)
	if has {
		return fmt.Errorf("the ledger's database has a redo log, and site.json names no folder for it: ledger_redo does. If its server replicates it from now on, "+
			"'perso ledger backup --site %s --end-redo' ends the redo log", s.Dir)
	}
	return err
}

// firstBackup begins the redo log of a new ledger, and makes the backup that it leads on from: so a site can be restored from its first
// minute on. A server's database without a redo log is replicated by its own means.
func (s *Site) firstBackup(ctx context.Context, db ledger.DB) error {
	if !s.hasRedo() {
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
	NewRedo bool   // begin another redo log: the last one was lost, or there was none
	EndRedo bool   // go on without one, on a server
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
	if p.NewRedo || p.EndRedo {
		release, err := s.changeRedo(ctx, p.EndRedo)
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
	if err = errors.Join(err, db.Close()); err != nil || !s.hasRedo() {
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
	return s.Config.Database.Open(ctx, s.Dir)
}

// changeRedo begins another redo log while nobody works on the ledger, or ends it.
func (s *Site) changeRedo(ctx context.Context, end bool) (release func() error, err error) {
	switch {
	case !end && !s.hasRedo():
		return nil, errors.New("the ledger is on a database server, and site.json names no folder for a redo log: ledger_redo does, on another machine's disk than the database")
	case end && s.hasRedo():
		return nil, errors.New("site.json says that the ledger has a redo log: take ledger_redo out first, which only a ledger on a server can be without")
	}
	if release, err = Hold(s.Dir); err != nil {
		return nil, err
	}
	db, err := s.beside(ctx)
	switch {
	case err != nil:
	case end:
		err = errors.Join(backup.EndRedo(ctx, db), db.Close())
	default:
		err = errors.Join(backup.RenewRedo(ctx, db, s.redoDir(), rand.Reader), db.Close())
	}
	if err != nil {
		return nil, errors.Join(err, release())
	}
	return release, nil
}

// RestorePlan says from what the ledger is made anew.
type RestorePlan struct {
	From      string   // folder of a backup; nothing is the newest in the site's own folder
	Held      [][]byte // checkpoints kept outside
	Recovered bool     // the server brought its database back itself: it is held against the backup, and locked
	Told      func(backup.Progress)
}

// ErrOnlyServer says that what is asked for is for a ledger on a server.
var ErrOnlyServer = errors.New("the ledger is a file, which no server recovers: restore it from its backup and redo log")

// Restore makes the ledger anew from a backup and the redo log, in its file or in its server's empty database. The factory must not run.
func (s *Site) Restore(ctx context.Context, r RestorePlan) (done backup.Restored, err error) {
	if r.Recovered && s.Config.Database == nil {
		return done, ErrOnlyServer
	}
	release, err := Hold(s.Dir)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, release()) }()
	p := backup.Plan{Backup: r.From, Held: r.Held, Told: r.Told}
	if p.Backup == "" {
		if p.Backup, err = backup.Newest(s.backupsDir()); err != nil {
			return done, err
		}
	}
	if s.hasRedo() {
		p.Redo = s.redoDir()
	}
	if s.Config.Database == nil {
		p.To = s.ledgerFile()
		if err := os.Mkdir(filepath.Dir(p.To), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return done, err
		}
		return backup.Restore(ctx, p)
	}
	db, err := s.Config.Database.Open(ctx, s.Dir)
	if err != nil {
		return done, err
	}
	if r.Recovered {
		return backup.Recover(ctx, db, p)
	}
	return backup.RestoreInto(ctx, db, p)
}
