package wire

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/ledger/backup"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/cmd/cli"
	"github.com/persoline/persoline/perso/cmd/site"
	"github.com/persoline/persoline/perso/record"
)

// This file is what keeps the ledger from being lost: ledger/RESTORE.md says when to type what.

func newLedgerCmd(env *cli.Env) *cobra.Command {
	return cli.Group("ledger", "Back the ledger up and restore it, look after its tables, move it to a server", `  perso ledger backup --to /mnt/other-disk/backups
  perso ledger status
  perso ledger verify-backup /mnt/other-disk/backups/backup-000000008195-2f8d1c0a9b7e6543
  perso ledger restore`, newBackupCmd(env), newVerifyBackupCmd(env), newRestoreCmd(env), cli.NewDraftRestoredCmd(env), cli.NewConfirmRestoredCmd(env),
		newLedgerStatusCmd(env), newLedgerInitCmd(env), newLedgerUpgradeCmd(env), newLedgerCopyCmd(env), newLedgerUseCmd(env))
}

// backedUp is the result of "ledger backup" and "ledger verify-backup".
type backedUp struct {
	Backup string `json:"backup"`
	Hash   string `json:"hash,omitempty"`
	Site   string `json:"site"`
	Env    string `json:"environment"`
	At     string `json:"at"`
	Size   int64  `json:"log_size"`
	Root   string `json:"log_root"`
	Signed int64  `json:"checkpoint_size"`
	Redo   uint64 `json:"redo_record"`
	Tables int    `json:"tables"`
	Rows   uint64 `json:"rows"`
	Bytes  int64  `json:"bytes"`
	Pruned int    `json:"redo_files_deleted"`
}

func backupResult(dir string, m backup.Manifest) backedUp {
	r := backedUp{Backup: dir, Site: string(m.Site), Env: string(m.Env), At: m.At.Format(record.TimeForm), Size: m.Size, Root: hex.EncodeToString(m.Root[:]),
		Signed: m.Signed, Redo: m.Redo.Seq, Tables: len(m.Tables), Bytes: m.Bytes}
	for _, t := range m.Tables {
		r.Rows += t.Rows
	}
	return r
}

func newBackupCmd(env *cli.Env) *cobra.Command {
	var p site.BackupPlan
	c := &cobra.Command{
		Use:   "backup",
		Short: "Write a verified backup of the ledger, while it works",
		Long: cli.Describe("Writes all tables of the ledger, as they are at one moment, into a new folder, with the log's size, root and last checkpoint, and reads it\n"+
			"all back. Files of the redo log that the backup covers are deleted then. A backup is as confidential as the ledger.\n\n"+
			"--new-redo begins another redo log, while the factory is stopped: the folder of the last one was lost, or a ledger on a server had none.\n"+
			"--end-redo ends that of a ledger on a server, which goes on without.", backedUp{}),
		Example: `  perso ledger backup --site ./site
  perso ledger backup --site ./site --to /mnt/other-disk/backups
  perso ledger backup --site ./site --new-redo
  perso ledger backup --site ./site --end-redo`,
		Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := site.Open(env.SiteDir)
			if err != nil {
				return err
			}
			p.Told = newTicker(env, "rows written and read back").rows
			b, err := s.Backup(cmd.Context(), p)
			if err != nil {
				return err
			}
			r := backupResult(b.Dir, b.Manifest)
			r.Hash, r.Pruned = hex.EncodeToString(b.Hash[:]), b.Pruned
			return env.Emit(r, func(w io.Writer) { fmt.Fprintf(w, "backup %s\n%s", r.Backup, r.text()) })
		},
	}
	c.Flags().StringVar(&p.Under, "to", "", "folder for backups (default: backups in the site's folder)")
	c.Flags().BoolVar(&p.NewRedo, "new-redo", false, "begin another redo log, with this backup as what it leads on from")
	c.Flags().BoolVar(&p.EndRedo, "end-redo", false, "end the redo log of a ledger on a server, which replicates it from now on")
	c.MarkFlagsMutuallyExclusive("new-redo", "end-redo")
	return c
}

func (r backedUp) text() string {
	s := fmt.Sprintf("site     %s (%s), %s\nlog      %d entries, root %s, signed up to %d\nholds    %d tables, %d rows, %d bytes, up to redo record %d\n",
		r.Site, r.Env, r.At, r.Size, r.Root, r.Signed, r.Tables, r.Rows, r.Bytes, r.Redo)
	if r.Pruned > 0 {
		s += fmt.Sprintf("redo     %d files deleted, which it covers\n", r.Pruned)
	}
	return s
}

func newVerifyBackupCmd(env *cli.Env) *cobra.Command {
	var held []string
	c := &cobra.Command{
		Use:   "verify-backup BACKUP",
		Short: "Read a backup and say whether it is whole",
		Long: cli.Describe("Reads the whole backup and holds it against its manifest, and its log against root, tiles and checkpoint. It needs no site and no network.\n"+
			"--held takes checkpoints of the log that were kept outside the site; those that are younger than the backup say nothing about it.", backedUp{}),
		Example: `  perso ledger verify-backup /mnt/other-disk/backups/backup-000000008195-2f8d1c0a9b7e6543
  perso ledger verify-backup ./site/backups/backup-000000008195-2f8d1c0a9b7e6543 --held last-year.checkpoint`,
		Args: cli.Takes("BACKUP"),
		RunE: func(_ *cobra.Command, args []string) error {
			notes, err := readHeld(env, held)
			if err != nil {
				return err
			}
			m, err := backup.Verify(args[0], notes, newTicker(env, "rows read").rows)
			if errors.Is(err, backup.ErrDamaged) || errors.Is(err, backup.ErrForked) {
				return cli.Hint(cli.Refuted("%w", err), "an older backup with the redo log behind it restores the ledger as well, where the redo log reaches back to it")
			}
			if err != nil {
				return noBackup(args[0], err)
			}
			r := backupResult(args[0], m)
			return env.Emit(r, func(w io.Writer) { fmt.Fprintf(w, "OK       %s is whole\n%s", r.Backup, r.text()) })
		},
	}
	c.Flags().StringArrayVar(&held, "held", nil, "file with a checkpoint that was kept outside the site")
	return c
}

// noBackup helps whoever named the folder that the backups are in.
func noBackup(dir string, err error) error {
	if !errors.Is(err, backup.ErrNoBackup) {
		return err
	}
	within, _ := filepath.Glob(filepath.Join(dir, "backup-*")) // the pattern is well-formed, or dir is odd and nothing is found
	if len(within) == 0 {
		return cli.Hint(err, "'perso ledger backup' says where it wrote one")
	}
	return cli.Hint(err, "a backup is one of the folders in it, as %s", within[len(within)-1])
}

// maxHeld bounds the checkpoints that one command is given.
const maxHeld = 64

func readHeld(env *cli.Env, paths []string) (notes [][]byte, err error) {
	if len(paths) > maxHeld {
		return nil, cli.Usage("%d checkpoints with --held, at most %d", len(paths), maxHeld)
	}
	for _, path := range paths {
		note, err := env.Read(path, checkpoint.MaxNoteBytes)
		if err != nil {
			return nil, cli.Hint(fmt.Errorf("reading a held checkpoint: %w", err), "this is the file log/checkpoint of a bundle, or what 'perso audit witness cosign' wrote")
		}
		notes = append(notes, note)
	}
	return notes, nil
}

// restored is the result of "ledger restore".
type restored struct {
	Backup string `json:"backup"`
	Hash   string `json:"hash"`
	From   int64  `json:"backup_log_size"`
	Redone uint64 `json:"redo_records"`
	Size   int64  `json:"log_size"`
	Root   string `json:"log_root"`
}

func newRestoreCmd(env *cli.Env) *cobra.Command {
	var held []string
	var p site.RestorePlan
	c := &cobra.Command{
		Use:   "restore",
		Short: "Make the ledger anew from a backup and the redo log",
		Long: cli.Describe("Loads a backup, does again what the redo log holds behind it, and verifies both, while the factory is stopped. The ledger's file must be\n"+
			"away: move it, never delete it. A ledger on a server goes into an empty database, which site.json names. What is killed is run again.\n\n"+
			"--recovered is for a server that brought its database back by its own means (a standby, a base backup and its write-ahead log): nothing is\n"+
			"loaded, the database is held against the backup, and locked until two officers have signed, as what is restored is.\n\n"+
			"--held takes checkpoints that were kept outside the site: a restored ledger that lacks what they show is refused. The log vault holds the\n"+
			"ledger against the last one that it signed in any case, when the factory starts.", restored{}),
		Example: `  perso ledger restore --site ./site
  perso ledger restore --site ./site --from /mnt/other-disk/backups/backup-000000008195-2f8d1c0a9b7e6543 --held now.cosigned
  perso ledger restore --site ./site --recovered --held now.cosigned`,
		Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return restoreLedger(cmd.Context(), env, p, held)
		},
	}
	c.Flags().StringVar(&p.From, "from", "", "folder of a backup (default: the newest in the site's folder backups)")
	c.Flags().StringArrayVar(&held, "held", nil, "file with a checkpoint that was kept outside the site")
	c.Flags().BoolVar(&p.Recovered, "recovered", false, "the server brought its database back by itself: hold it against the backup, and lock it")
	return c
}

func restoreLedger(ctx context.Context, env *cli.Env, p site.RestorePlan, held []string) error {
	s, err := site.Open(env.SiteDir)
	if err != nil {
		return err
	}
	if p.Held, err = readHeld(env, held); err != nil {
		return err
	}
	redone := uint64(0)
	p.Told = newTicker(env, "rows and transactions").restored(&redone)
	r, err := s.Restore(ctx, p)
	switch {
	case errors.Is(err, backup.ErrDamaged), errors.Is(err, backup.ErrForked), errors.Is(err, backup.ErrRolledBack):
		return cli.Hint(cli.Refuted("%w", err), "%s; ledger/RESTORE.md says what else there is", leftBehind(s.Config.Database != nil, p.Recovered))
	case errors.Is(err, backup.ErrRedoGap):
		return cli.Hint(err, "%s; without the redo log behind it a backup is not the ledger: ledger/RESTORE.md", leftBehind(s.Config.Database != nil, p.Recovered))
	case errors.Is(err, site.ErrOnlyServer):
		return cli.Hint(cli.Usage("--recovered: %w", err), "leave --recovered out")
	case err != nil:
		return noBackup(p.From, err)
	}
	env.Advise("next: perso up --site %s; then two officers look at it: %s", env.SiteDir, env.Command("ledger draft-restored", "--reason TEXT -o FILE"))
	out := restored{Backup: r.Backup, Hash: hex.EncodeToString(r.Hash[:]), From: r.Manifest.Size, Redone: redone, Size: r.Size, Root: hex.EncodeToString(r.Root[:])}
	return env.Emit(out, func(w io.Writer) {
		how := "restored"
		if p.Recovered {
			how = "the server recovered"
		}
		fmt.Fprintf(w, "%s a log of %d entries; %s has %d of them, and %d transactions were done again behind it\nroot     %s\n", how, out.Size, out.Backup, out.From, out.Redone, out.Root)
	})
}

// leftBehind says what a refused restoration leaves: of a file nothing, of a server's database what was done before it was judged.
func leftBehind(server, recovered bool) string {
	switch {
	case !server:
		return "nothing was changed"
	case recovered:
		return "the database may have been brought up to the end of the redo log, and is not locked up: do not start the factory with it"
	}
	return "the database may hold what was loaded so far, marked so that nobody serves it: the next restoration deletes that and begins anew"
}

// ticker tells of progress on what takes more than two seconds.
type ticker struct {
	env   *cli.Env
	what  string
	began time.Time
	told  time.Time
	n     uint64
}

const tickEvery = 2 * time.Second

func newTicker(env *cli.Env, what string) *ticker {
	now := time.Now()
	return &ticker{env: env, what: what, began: now, told: now}
}

func (t *ticker) rows(n uint64) {
	if t.n += n; t.n%1_000 == 0 {
		t.tick(0)
	}
}

// tick says how many there were; where all are known, also how long the rest takes.
func (t *ticker) tick(all uint64) {
	now := time.Now()
	if now.Sub(t.told) < tickEvery {
		return
	}
	t.told = now
	rate := float64(t.n) / now.Sub(t.began).Seconds()
	left := ""
	if all > t.n && rate > 0 {
		left = fmt.Sprintf(" of %d, time left %v", all, time.Duration(float64(all-t.n)/rate*float64(time.Second)).Round(time.Second))
	}
	fmt.Fprintf(t.env.Err, "%d %s%s, %.0f/s\n", t.n, t.what, left, rate)
}

func (t *ticker) copied(_ string, done, total int64) {
	t.n = uint64(done)
	t.tick(uint64(total))
}

func (t *ticker) restored(redone *uint64) func(backup.Progress) {
	return func(p backup.Progress) {
		*redone = p.Records
		t.n = p.Rows + p.Records
		t.tick(p.All)
	}
}
