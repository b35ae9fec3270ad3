package wire

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/ledger"
	"github.com/persoline/persoline/ledger/backup"
	"github.com/persoline/persoline/perso/cmd/cli"
	"github.com/persoline/persoline/perso/cmd/site"
)

// This file is what is done with a ledger's database while nobody serves it: tables, upgrades, and moving it to a server.

// addressed makes the flags that name another database than the site's.
func addressed(c *cobra.Command, d *site.Database, flag string) {
	c.Flags().StringVar(&d.URL, flag, "", "URL of a PostgreSQL or CockroachDB database, without a password")
	c.Flags().StringVar(&d.PasswordFile, flag+"-password-file", "", "file with its password; without one .pgpass is asked")
}

// serverURL refuses what names no server; without a URL the site's own database is meant.
func serverURL(flag, text string) error {
	if text == "" || strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://") {
		return nil
	}
	return cli.Usage("--%s: %q is no URL of a database: it begins with postgres://, as in postgres://perso@/ledger?host=/run/postgresql", flag, text)
}

// openDatabase opens the database that is named, else the site's in the way that is wanted.
func openDatabase(ctx context.Context, env *cli.Env, d site.Database, own func(*site.Site, context.Context) (ledger.DB, error)) (ledger.DB, error) {
	if d.URL != "" {
		if err := serverURL("database", d.URL); err != nil {
			return nil, err
		}
		return d.Open(ctx, ".")
	}
	s, err := site.Open(env.SiteDir)
	if err != nil {
		return nil, err
	}
	return own(s, ctx)
}

func newLedgerStatusCmd(env *cli.Env) *cobra.Command {
	var d site.Database
	c := &cobra.Command{
		Use: "status", Short: "Say which database it is, its migrations, and how far the log goes; changes nothing",
		Example: "  perso ledger status --site ./site\n  perso ledger status --database 'postgres://perso@/ledger?host=/run/postgresql'", Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			db, err := openDatabase(cmd.Context(), env, d, (*site.Site).OpenToRead)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, db.Close()) }()
			s, err := ledger.Describe(cmd.Context(), db)
			if err != nil {
				return noTables(err)
			}
			return env.Emit(describedOf(s), func(w io.Writer) { tellDescription(w, s) })
		},
	}
	addressed(c, &d, "database")
	c.Long = cli.Describe(c.Short+".", described{})
	return c
}

// noTables says what brings a ledger into an empty database.
func noTables(err error) error {
	if !errors.Is(err, backup.ErrMissing) {
		return err
	}
	return cli.Hint(err, "a new site makes one ('perso site init --database'), 'perso ledger copy' moves one in, 'perso ledger restore' makes one anew that was lost")
}

// described is the result of "ledger status", "ledger init" and "ledger upgrade".
type described struct {
	Kind       string   `json:"database"`
	Migrations int      `json:"migrations"`
	Known      int      `json:"migrations_known"`
	Entries    int64    `json:"log_entries"`
	Signed     int64    `json:"signed_entries"`
	Moved      *movedTo `json:"moved,omitempty"`
	Copying    bool     `json:"copy_unfinished,omitempty"`
	Restored   bool     `json:"restored_unsigned,omitempty"`
	Restoring  bool     `json:"restore_unfinished,omitempty"`
}

// movedTo says where a ledger that is served no more went.
type movedTo struct {
	To     string    `json:"to"`
	At     time.Time `json:"at"`
	Size   int64     `json:"log_size"`
	Root   string    `json:"log_root"`
	Signed int64     `json:"signed_size"`
	Note   string    `json:"checkpoint"`
}

func describedOf(s ledger.Description) described {
	d := described{Kind: s.Kind, Migrations: s.Migrations, Known: s.Known, Entries: s.Entries, Signed: s.Signed, Copying: s.Copying, Restored: s.Restored, Restoring: s.Restoring}
	if m := s.Moved; m != nil {
		d.Moved = &movedTo{To: m.To, At: m.At, Size: m.Size, Root: hex.EncodeToString(m.Root), Signed: m.Signed, Note: string(m.Note)}
	}
	return d
}

func tellDescription(w io.Writer, s ledger.Description) {
	fmt.Fprintf(w, "%s, %d of %d migrations\n", s.Kind, s.Migrations, s.Known)
	switch {
	case s.Moved != nil:
		fmt.Fprintf(w, "moved to %s on %s with %d entries, root %x: it is not served any more\n", s.Moved.To, s.Moved.At.Format(time.RFC3339), s.Moved.Size, s.Moved.Root)
	case s.Copying:
		fmt.Fprintln(w, "a copy into it was not finished: run 'perso ledger copy' again")
	case s.Restoring:
		fmt.Fprintln(w, "restoring into it was not finished: run 'perso ledger restore' again")
	case s.Entries == 0:
		fmt.Fprintln(w, "no log yet: that begins with a key ceremony, or comes with a copy")
	default:
		fmt.Fprintf(w, "log of %d entries, checkpoint of %d stored\n", s.Entries, s.Signed)
	}
	if s.Restored {
		fmt.Fprintln(w, "restored from a backup: no identity is issued until two officers have signed what was restored, perso ledger draft-restored")
	}
	if s.Moved == nil && s.Migrations < s.Known {
		fmt.Fprintln(w, "older than this program: stop the ledger and run 'perso ledger upgrade'")
	}
}

func newLedgerInitCmd(env *cli.Env) *cobra.Command {
	var d site.Database
	c := &cobra.Command{
		Use: "init", Short: "Make the tables of an empty database, or go on where that broke off",
		Example: "  perso ledger init --database 'postgres://perso@/ledger?host=/run/postgresql'", Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if d.URL == "" {
				return cli.Usage("--database: which one? the file of a site is made by 'perso site init'")
			}
			return changed(cmd.Context(), env, d, ledger.InitTables)
		},
	}
	addressed(c, &d, "database")
	return c
}

func newLedgerUpgradeCmd(env *cli.Env) *cobra.Command {
	var d site.Database
	c := &cobra.Command{
		Use: "upgrade", Short: "Apply the migrations that the database of a stopped ledger lacks",
		Example: "  perso ledger upgrade --site ./site", Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			release, err := holdOwn(env, d)
			if err != nil {
				return err
			}
			if err := errors.Join(changed(cmd.Context(), env, d, ledger.Upgrade), release()); err != nil {
				return err
			}
			env.Advise("next, before the factory works again: %s; backups from before are restored by the program that made them alone", env.Command("ledger backup", "--to FOLDER"))
			return nil
		},
	}
	addressed(c, &d, "database")
	return c
}

// holdOwn takes the site's own ledger, if that is meant.
func holdOwn(env *cli.Env, d site.Database) (release func() error, err error) {
	if d.URL != "" {
		return func() error { return nil }, nil
	}
	return site.Hold(env.SiteDir)
}

// changed does something to a database and says how it stands then.
func changed(ctx context.Context, env *cli.Env, d site.Database, do func(context.Context, ledger.DB) error) (err error) {
	db, err := openDatabase(ctx, env, d, (*site.Site).OpenDatabase)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := throughRedo(ctx, d, db); err != nil {
		return err
	}
	if err := do(ctx, db); err != nil {
		return noTables(err)
	}
	s, err := ledger.Describe(ctx, db)
	if err != nil {
		return err
	}
	return env.Emit(describedOf(s), func(w io.Writer) { tellDescription(w, s) })
}

// throughRedo refuses to change a database past its redo log, which only its site knows.
func throughRedo(ctx context.Context, d site.Database, db ledger.DB) error {
	if d.URL == "" {
		return nil
	}
	has, err := backup.HasRedo(ctx, db)
	if has {
		return cli.Hint(cli.Usage("--database: that database has a redo log, and what is done to it must be in it"), "name its site instead, with --site: there is the redo log")
	}
	return err
}

// copied is the result of "ledger copy".
type copied struct {
	Entries int64               `json:"log_entries"`
	Root    string              `json:"log_root"`
	Tables  []ledger.TableProof `json:"tables"`
}

func newLedgerCopyCmd(env *cli.Env) *cobra.Command {
	var to site.Database
	c := &cobra.Command{
		Use: "copy", Short: "Move the ledger of a stopped site to a server's empty database, and give the old one up",
		Example: "  perso ledger copy --site ./site --to 'postgres://perso@/ledger?host=/run/postgresql'\n  perso ledger use --site ./site --database 'postgres://perso@/ledger?host=/run/postgresql' --ledgers 4", Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if to.URL == "" {
				return cli.Usage("--to: where to?")
			}
			if err := serverURL("to", to.URL); err != nil {
				return err
			}
			proof, err := copyLedger(cmd.Context(), env, to)
			if errors.Is(err, ledger.ErrMoved) {
				return cli.Hint(err, "'perso ledger status' says where the ledger is; where the copy is complete, 'perso ledger use' has the site use it")
			}
			if err != nil {
				return err
			}
			return env.Emit(copied{Entries: proof.Entries, Root: hex.EncodeToString(proof.Root), Tables: proof.Tables}, func(w io.Writer) {
				fmt.Fprintf(w, "%d entries, root %s\n", proof.Entries, hex.EncodeToString(proof.Root))
				for _, t := range proof.Tables {
					fmt.Fprintf(w, "%-20s %10d rows\n", t.Table, t.Rows)
				}
				fmt.Fprintf(w, "equal in both; the old one is given up\nthe site still names the old one: perso ledger use --site %s --database '%s'\n", env.SiteDir, to.URL)
			})
		},
	}
	addressed(c, &to, "to")
	c.Long = cli.Describe(c.Short+".\nRows, sums of all tables and the log's root, computed anew from its entries, are compared before that. A copy that broke off is run again.", copied{})
	return c
}

func copyLedger(ctx context.Context, env *cli.Env, to site.Database) (proof ledger.CopyProof, err error) {
	s, err := site.Open(env.SiteDir)
	if err != nil {
		return proof, err
	}
	release, err := site.Hold(s.Dir)
	if err != nil {
		return proof, err
	}
	defer func() { err = errors.Join(err, release()) }()
	from, err := s.OpenDatabase(ctx)
	if err != nil {
		return proof, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	target, err := to.Open(ctx, ".")
	if err != nil {
		return proof, err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	told := newTicker(env, "rows copied and read back")
	return ledger.Copy(ctx, ledger.CopyPlan{From: from, To: target, Name: to.URL, Now: env.Now, Progress: told.copied})
}

func newLedgerUseCmd(env *cli.Env) *cobra.Command {
	var d site.Database
	c := &cobra.Command{
		Use: "use", Short: "Have a stopped site use the database that its ledger was moved to",
		Example: "  perso ledger use --site ./site --database 'postgres://perso@/ledger?host=/run/postgresql' --ledgers 4", Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if d.URL == "" {
				return cli.Usage("--database: which one?")
			}
			if err := serverURL("database", d.URL); err != nil {
				return err
			}
			s, err := site.UseDatabase(cmd.Context(), env.SiteDir, d)
			if err != nil {
				return err
			}
			return env.Emit(s.Config, func(w io.Writer) {
				fmt.Fprintf(w, "site %s keeps its ledger at %s, with %d ledger processes\n", s.Config.Site, d.URL, max(1, d.Processes))
			})
		},
	}
	addressed(c, &d, "database")
	c.Flags().IntVar(&d.Processes, "ledgers", 0, "ledger processes on that database (default 1)")
	return c
}
