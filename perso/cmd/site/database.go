package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/persoline/persoline/ledger"
	"github.com/persoline/persoline/ledger/backup"
)

// MaxLedgers bounds the ledger processes of one site: they take turns at the head of one log, and more than a few gain nothing.
const MaxLedgers = 16

// Database is where a site's ledger is kept when it is no file of the site's own: on a PostgreSQL or CockroachDB server.
type Database struct {
	// URL is a libpq connection URI without a password.
	URL string `json:"url"`
	// PasswordFile holds the password, for the eyes of the site's user alone; a relative path is within the site's folder. Without
	// one .pgpass is asked, or a client certificate stands for it.
	PasswordFile string `json:"password_file,omitempty"`
	// Processes is how many ledger processes 'perso up' runs; nothing means one.
	Processes int `json:"ledger_processes,omitempty"`
}

func (d *Database) validate() error {
	switch {
	case d == nil:
		return nil
	case d.URL == "":
		return errors.New("database: no url: site.json names the server in it (deploy/database)")
	case d.Processes < 0 || d.Processes > MaxLedgers:
		return fmt.Errorf("database: ledger_processes is %d; 1 to %d are possible", d.Processes, MaxLedgers)
	}
	return nil
}

// server is the database as the ledger opens it.
func (d *Database) server(dir string) (ledger.Server, error) {
	if os.Getenv("PGPASSWORD") != "" {
		return ledger.Server{}, errors.New("the environment holds PGPASSWORD, where every process can read it: put the password into a file (password_file), or into .pgpass, and unset it")
	}
	at := ledger.Server{URL: d.URL, PasswordFile: d.PasswordFile}
	if at.PasswordFile != "" && !filepath.IsAbs(at.PasswordFile) {
		at.PasswordFile = filepath.Join(dir, at.PasswordFile)
	}
	return at, nil
}

// OpenDatabase opens the database of the site's ledger, wherever it is.
func (s *Site) OpenDatabase(ctx context.Context) (ledger.DB, error) {
	if s.Config.Database == nil {
		db, err := backup.OpenSQLite(ctx, s.ledgerFile(), s.redoDir())
		return db, s.explainRedo(err)
	}
	db, err := s.Config.Database.Open(ctx, s.Dir)
	if err != nil {
		return nil, err
	}
	if s.hasRedo() {
		db, err = backup.WithRedo(ctx, db, s.redoDir())
		return db, s.explainRedo(err)
	}
	if err := s.needsNoRedo(ctx, db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// OpenToRead opens it beside the ledger that works on it.
func (s *Site) OpenToRead(ctx context.Context) (ledger.DB, error) { return s.beside(ctx) }

// Open opens a database on a server. A relative password file lies in dir.
func (d *Database) Open(ctx context.Context, dir string) (ledger.DB, error) {
	at, err := d.server(dir)
	if err != nil {
		return nil, err
	}
	return ledger.OpenServer(ctx, at)
}

// UseDatabase has a stopped site use the database that its ledger was moved to. It changes site.json when that is the very one.
func UseDatabase(ctx context.Context, dir string, d Database) (*Site, error) {
	if err := CheckIdle(dir); err != nil {
		return nil, err
	}
	s, err := Open(dir)
	if err != nil {
		return nil, err
	}
	if d.PasswordFile != "" {
		if d.PasswordFile, err = filepath.Abs(d.PasswordFile); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(d.validate(), s.continues(ctx, d)); err != nil {
		return nil, fmt.Errorf("using another database: %w", err)
	}
	s.Config.Database, s.Config.Redo = &d, "" // the redo log was the old one's
	// COMMIT POINT: from here on the site's ledger is there.
	if err := s.replace(); err != nil {
		return nil, fmt.Errorf("using another database: %w", err)
	}
	return s, nil
}

// continues refuses a database that does not continue the site's own ledger, which must have been given up.
func (s *Site) continues(ctx context.Context, d Database) (err error) {
	old, err := s.OpenDatabase(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, old.Close()) }()
	next, err := d.Open(ctx, s.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, next.Close()) }()
	return ledger.Continues(ctx, old, next)
}

// newDatabase makes the file of a new ledger, or opens the server's database for one.
func (s *Site) newDatabase(ctx context.Context) (ledger.DB, error) {
	if s.Config.Database == nil {
		return ledger.CreateSQLite(ctx, s.ledgerFile())
	}
	return s.OpenDatabase(ctx)
}

// checkVacant refuses a server's database that holds a ledger, before anything of a new site is made.
func (d *Database) checkVacant(ctx context.Context, dir string) (err error) {
	if d == nil {
		return nil
	}
	db, err := d.Open(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return ledger.CheckVacant(ctx, db)
}

// ledgerProcesses names the processes that run the site's ledger.
func (s *Site) ledgerProcesses() []string {
	names := []string{ZoneLedger}
	for i := 2; s.Config.Database != nil && i <= s.Config.Database.Processes; i++ {
		names = append(names, fmt.Sprintf("%s-%d", ZoneLedger, i))
	}
	return names
}
