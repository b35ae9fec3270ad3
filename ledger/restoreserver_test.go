package ledger

import (
	"errors"
	"syscall"
	"testing"

	"github.com/persoline/persoline/ledger/backup"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/ledgertest/pgtest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// midway makes chips until a backup is done and some behind it, one that is in work and one that is lost, and gives what must be there again.
func (d *drill) midway() (made uint64, size int64, root [32]byte, note []byte) {
	d.t.Helper()
	d.makeDuringBackup()
	d.makeLost(d.one(), 1)
	d.act(d.begin(d.one(), d.at(4)))
	if d.taken.Manifest.Size >= d.l.head.get().Size() {
		d.t.Fatal("nothing happened since the backup")
	}
	_, note, err := d.l.Signed(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return d.status().Good, d.l.head.get().Size(), d.l.head.get().Root(), note
}

// goesOn holds a ledger that was made again against the one that was lost, and goes on with it as people do.
func (d *drill) goesOn(made uint64, size int64, root [32]byte) {
	d.t.Helper()
	d.start()
	d.vault.restart()
	if got := d.l.head.get(); got.Size() != size || got.Root() != root {
		d.t.Fatalf("the log has %d entries, and had %d; or another root", got.Size(), size)
	}
	if s := d.status(); s.Good != made || s.Waits != awaitsOfficers {
		d.t.Errorf("%d units are good, and %d were made; it waits for %q", s.Good, made, s.Waits)
	}
	next := d.one()
	d.want(d.act(d.begin(next, d.at(0))), perso.VerdictHold, perso.ReasonFrozen)
	if w := d.confirm(); len(w.Lots) != 1 || w.Lots[0].Claims == 0 || w.Lots[0].InWork == 0 || w.Size != uint64(size) || w.BackupSize != uint64(d.taken.Manifest.Size) {
		d.t.Errorf("the officers signed %+v", w)
	}
	d.makeGood(next, 0)
	d.makeGood(d.one(), 1)
	d.check()
}

// kill ends a server as a crash of its machine does.
func (d *drill) kill(c *pgtest.Cluster) {
	d.t.Helper()
	if err := c.Signal(syscall.SIGKILL); err != nil {
		d.t.Fatal(err)
	}
	_ = d.db.Close() // its server is gone
}

// The server is killed in the midst of work and its disk is lost, with all that was committed since a backup. The redo log gives it
// back, in the empty database of another server; the ledger's own processes were not told to stop.
func TestServerIsLost(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t)
	d := newServerDrill(t, spec{good: 60, spares: 10}, c.URL())
	made, size, root, note := d.midway()
	d.kill(c)
	if _, err := d.l.DraftRestored(t.Context(), bus.RestoredRequest{Reason: "a drill"}); err == nil {
		t.Error("a ledger without its database answers")
	}
	d.url = pgtest.URL(t)
	if err := d.restore(note); err != nil {
		t.Fatal(err)
	}
	d.goesOn(made, size, root)
	if err := d.restore(note); !errors.Is(err, backup.ErrInTheWay) {
		t.Errorf("over a ledger: %v", err)
	}
}

// A backup and a redo log lead from a server to a file, and from there to a server again.
func TestRestoreChangesSides(t *testing.T) {
	t.Parallel()
	d := newServerDrill(t, spec{good: 60, spares: 10}, pgtest.URL(t))
	made, size, root, note := d.midway()
	for _, to := range []string{"", pgtest.URL(t)} {
		if err := d.db.Close(); err != nil {
			t.Fatal(err)
		}
		d.url = to
		if err := d.restore(note); err != nil {
			t.Fatal(err)
		}
		d.goesOn(made, size, root)
		made, size, root, note = d.midway()
	}
}

// recover holds a database that its server brought back against the backup.
func (d *drill) recover(held ...[]byte) error {
	db, err := d.beside(d.t.Context())
	if err == nil {
		_, err = backup.Recover(d.t.Context(), db, backup.Plan{Backup: d.taken.Dir, Held: held})
	}
	return err
}

// Several processes work on a server without a redo log, whose write-ahead log another machine takes before a commit is told of. The server is
// killed, its disk is lost, and the other machine has all that anybody heard of: nothing that was signed is missing.
func TestServerKeepsItself(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t)
	d := &drill{dir: t.TempDir(), url: c.URL(), noRedo: true}
	d.setUp(t, pgtest.Open(t, d.url), spec{good: 60, spares: 10})
	c.KeepElsewhere(t)
	for i, l := range d.peers(d.url, 3) {
		d.l = l
		d.makeGood(d.one(), uint16(i%2))
	}
	made, size, root, note := d.midway()
	d.kill(c)
	if err := c.LoseAndRecover(); err != nil {
		t.Fatal(err)
	}
	if err := d.recover(note); err != nil {
		t.Fatal(err)
	}
	d.goesOn(made, size, root)

	// A database that was put back to its backup: whoever keeps a checkpoint tells, and the log vault.
	_, note, err := d.l.Signed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.db.Close(); err != nil {
		t.Fatal(err)
	}
	d.url = pgtest.URL(t)
	if err := d.restore(note); !errors.Is(err, backup.ErrRolledBack) {
		t.Errorf("less than a checkpoint that was kept outside: %v", err)
	}
	if err := d.recover(); err == nil {
		t.Error("a database that was half restored was taken for a recovered one")
	}
	if err := d.restore(); err != nil {
		t.Fatal(err)
	}
	if err := d.recover(note); !errors.Is(err, backup.ErrRolledBack) {
		t.Errorf("less than a checkpoint that was kept outside: %v", err)
	}
	d.start()
	if _, _, err := d.l.Signed(t.Context()); !errors.Is(err, ErrNotTheLedger) {
		t.Errorf("the log vault took a ledger that was put back: %v", err)
	}
}

// A database with a redo log is not served without: what it lacks then could not be done again.
func TestRedoOfServerIsBegunAnew(t *testing.T) {
	t.Parallel()
	d := newServerDrill(t, spec{good: 5, spares: 5}, pgtest.URL(t))
	if err := d.db.Close(); err != nil {
		t.Fatal(err)
	}
	db := pgtest.Open(t, d.url)
	if err := d.recover(); err == nil {
		t.Error("recovered without the redo log that it has")
	}
	has, err := backup.HasRedo(t.Context(), db)
	if err != nil || !has {
		t.Fatalf("%v, %v", has, err)
	}
	if err := backup.EndRedo(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.WithRedo(t.Context(), db, d.redo()); !errors.Is(err, backup.ErrNoRedo) {
		t.Errorf("opened with a redo log that ended: %v", err)
	}
	empty := pgtest.Open(t, pgtest.URL(t))
	if has, err := backup.HasRedo(t.Context(), empty); err != nil || has {
		t.Errorf("an empty database: %v, %v", has, err)
	}
	if err := empty.Close(); err != nil {
		t.Error(err)
	}
	if err := mayServe(t.Context(), db); !errors.Is(err, sqldb.ErrClosed) {
		t.Errorf("what could not be opened was left open: %v", err)
	}
}
