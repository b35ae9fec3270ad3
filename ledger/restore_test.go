package ledger

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/persoline/persoline/ledger/backup"
	"github.com/persoline/persoline/ledger/ledgertest/pgtest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// drill is a bench on a file with a redo log, whose file may be lost; or on a server's database with one, where PERSO_TEST_DB says so.
type drill struct {
	*bench
	dir string
	url string // of the server's database; nothing: a file
	// noRedo: the server keeps what it commits elsewhere by itself.
	noRedo bool
	taken  backup.Taken
	// redoBytes is how long the redo log's first segment was when the backup was done.
	redoBytes int64
}

func (d *drill) file() string    { return filepath.Join(d.dir, "ledger.db") }
func (d *drill) redo() string    { return filepath.Join(d.dir, "redo") }
func (d *drill) backups() string { return filepath.Join(d.dir, "backups") }

func newDrill(t *testing.T, s spec) *drill {
	t.Helper()
	if os.Getenv("PERSO_TEST_DB") == "postgres" {
		return newServerDrill(t, s, pgtest.URL(t))
	}
	d := &drill{dir: t.TempDir()}
	db, err := CreateSQLite(t.Context(), d.file())
	if err != nil {
		t.Fatal(err)
	}
	d.setUp(t, db, s)
	return d
}

func newServerDrill(t *testing.T, s spec, at string) *drill {
	t.Helper()
	d := &drill{dir: t.TempDir(), url: at}
	d.setUp(t, pgtest.Open(t, at), s)
	return d
}

// setUp makes a site with a redo log and a lot in an empty database.
func (d *drill) setUp(t *testing.T, db DB, s spec) {
	t.Helper()
	d.bench = newSiteOn(t, db)
	if !d.noRedo {
		if err := backup.BeginRedo(d.t.Context(), db, d.redo(), rand.Reader); err != nil {
			d.t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		d.t.Fatal(err)
	}
	d.start()
	d.makeLot(s)
}

// beside opens the database as another process does.
func (d *drill) beside(ctx context.Context) (DB, error) {
	if d.url == "" {
		return OpenSQLite(ctx, d.file())
	}
	return OpenServer(ctx, Server{URL: d.url})
}

// start is the normal start of a ledger's process.
func (d *drill) start() {
	d.t.Helper()
	db, err := d.beside(d.t.Context())
	if err == nil && !d.noRedo {
		db, err = backup.WithRedo(d.t.Context(), db, d.redo())
	}
	if err != nil {
		d.t.Fatal(err)
	}
	d.db = db
	d.open(db)
}

// backup does as another process does, beside the ledger.
func (d *drill) backup(ctx context.Context) error {
	db, err := d.beside(ctx)
	if err != nil {
		return err
	}
	d.taken, err = backup.Take(ctx, db, d.backups(), testStart, func(uint64) {})
	if info, err := os.Stat(filepath.Join(d.redo(), "0000000000000001.redo")); err == nil {
		d.redoBytes = info.Size()
	}
	return errors.Join(err, db.Close())
}

// lose deletes the ledger's file with all that is beside it, or leaves its database for an empty one.
func (d *drill) lose() {
	d.t.Helper()
	if err := d.db.Close(); err != nil {
		d.t.Fatal(err)
	}
	if d.url != "" {
		d.url = pgtest.URL(d.t)
		return
	}
	for _, c := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(d.file() + c); err != nil && !errors.Is(err, os.ErrNotExist) {
			d.t.Fatal(err)
		}
	}
}

func (d *drill) restore(held ...[]byte) error {
	p := backup.Plan{Backup: d.taken.Dir, Redo: d.redo(), Held: held}
	if d.noRedo {
		p.Redo = ""
	}
	if d.url == "" {
		p.To = d.file()
		_, err := backup.Restore(d.t.Context(), p)
		return err
	}
	db, err := d.beside(d.t.Context())
	if err == nil {
		_, err = backup.RestoreInto(d.t.Context(), db, p)
	}
	return err
}

// makeDuringBackup makes good chips while a backup is written, and says how many.
func (d *drill) makeDuringBackup() int {
	d.t.Helper()
	done := make(chan error, 1)
	go func() { done <- d.backup(context.Background()) }()
	made := 0
	for running := true; running || made < 5; made++ {
		d.makeGood(d.one(), 0)
		select {
		case err := <-done:
			if err != nil {
				d.t.Fatal(err)
			}
			running = false
		default:
		}
	}
	return made
}

// drafted gives what officers are to sign.
func (d *drill) drafted() statement.Restored {
	d.t.Helper()
	r, err := d.l.DraftRestored(d.t.Context(), bus.RestoredRequest{Reason: "a drill"})
	if err != nil {
		d.t.Fatal(err)
	}
	return must(statement.ParseRestored(r.Body))
}

// handIn hands a word in that some signed.
func (d *drill) handIn(w statement.Restored, officers ...perso.Name) error {
	_, err := d.l.Word(d.t.Context(), bus.SignedRequest{Signed: d.sign(must(w.Encode()), officers...).Encode()})
	return err
}

// confirm has two officers sign what was restored.
func (d *drill) confirm() statement.Restored {
	d.t.Helper()
	w := d.drafted()
	if err := d.handIn(w, "ann", "bob"); err != nil {
		d.t.Fatal(err)
	}
	return w
}

// keep adds a receipt to a lot's chain. v.mu is held.
func (v *vaultDouble) keep(lot perso.Name, e entry.Receipt) {
	if v.chains == nil {
		v.chains = map[perso.Name][][]byte{}
	}
	if e.Seq = uint64(len(v.chains[lot])); e.Seq > 0 {
		e.Prev = entry.Hash(v.chains[lot][e.Seq-1])
	}
	v.chains[lot] = append(v.chains[lot], must(e.Encode()))
}

// Receipts gives them in portions of two.
func (v *vaultDouble) Receipts(_ context.Context, q bus.ReceiptsRequest) (bus.ReceiptsReply, error) {
	if _, err := v.release(q.Lot); err != nil {
		return bus.ReceiptsReply{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	all := v.chains[q.Lot]
	r := bus.ReceiptsReply{Vault: "V1", Receipts: all[q.From:min(q.From+2, uint64(len(all)))]}
	if q.From+2 < uint64(len(all)) {
		return r, nil
	}
	h := entry.ReceiptHead{Env: perso.EnvTest, Vault: "V1", Lot: q.Lot, Count: uint64(len(all)), At: testStart}
	if len(all) > 0 {
		h.Head = entry.Hash(all[len(all)-1])
	}
	r.Head = must(h.Encode())
	r.Signature = ed25519.Sign(v.key, r.Head)
	return r, nil
}

// A restored ledger issues nothing, and releases nothing, until two officers signed what it was restored from, and nobody signs for
// another restoration, or for a ledger that lacks what the vault served.
func TestRestoredIsLocked(t *testing.T) {
	t.Parallel()
	d := newDrill(t, spec{good: 5, spares: 5})
	if _, err := d.l.DraftRestored(t.Context(), bus.RestoredRequest{Reason: "a drill"}); err == nil {
		t.Error("a ledger that was not restored is signed for")
	}
	if err := d.backup(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.makeGood(d.one(), 0)
	d.lose()
	if err := d.restore(); err != nil {
		t.Fatal(err)
	}
	d.start()
	d.vault.restart()
	held := d.one()
	d.want(d.act(d.begin(held, d.at(0))), perso.VerdictHold, perso.ReasonFrozen)
	if s := d.status(); s.Waits != awaitsOfficers {
		t.Errorf("the lot waits for %q", s.Waits)
	}
	r := d.draft(spec{good: 1})
	_, err := d.l.Release(t.Context(), bus.SignedRequest{Signed: d.sign(must(r.Encode()), "ann", "bob").Encode()})
	d.refused(err, bus.FaultRefused)

	w := d.drafted()
	d.refused(d.handIn(w, "ann"), bus.FaultRefused)
	d.refused(d.handIn(w, "ann", "cid"), bus.FaultRefused) // of one role
	for name, change := range map[string]func(*statement.Restored){
		"another backup":  func(w *statement.Restored) { w.Backup[0] ^= 1 },
		"another log":     func(w *statement.Restored) { w.Root[0] ^= 1 },
		"less done again": func(w *statement.Restored) { w.Redone-- },
		"no lot":          func(w *statement.Restored) { w.Lots = nil },
		"fewer identities": func(w *statement.Restored) {
			w.Lots = []statement.RestoredLot{w.Lots[0]}
			w.Lots[0].Claims--
			w.Lots[0].First, w.Lots[0].Last = 0, 0
		},
		"another site's word": func(w *statement.Restored) { w.Site = "S2" },
	} {
		wrong := w
		if change(&wrong); d.handIn(wrong, "ann", "bob") == nil {
			t.Errorf("%s: taken", name)
		}
	}
	d.want(d.act(d.begin(held, d.at(0))), perso.VerdictHold, perso.ReasonFrozen)

	// The vault served somebody whom this ledger does not know.
	chain := d.vault.chains[d.lot]
	d.vault.keep(d.lot, entry.Receipt{Vault: "V1", Lot: d.lot, Unit: 4, Claim: [32]byte{5}, Session: perso.Session{1}, Responses: [32]byte{1}, Result: "script", At: testStart, MAC: [32]byte{1}})
	if _, err := d.l.DraftRestored(t.Context(), bus.RestoredRequest{Reason: "a drill"}); !errors.Is(err, ErrNotTheLedger) {
		t.Errorf("a receipt without its claim: %v", err)
	}
	d.vault.chains[d.lot] = chain

	// The lock outlives the ledger's process, and another loss.
	d.lose()
	if err := d.restore(); err != nil {
		t.Fatal(err)
	}
	d.start()
	d.want(d.act(d.begin(held, d.at(0))), perso.VerdictHold, perso.ReasonFrozen)
	d.refused(d.handIn(w, "ann", "bob"), bus.FaultRefused) // it is about the last one
	if w := d.confirm(); w.BackupSize != uint64(d.taken.Manifest.Size) || w.Lots[0].Claims != 1 {
		t.Errorf("the officers signed %+v", w)
	}
	d.refused(d.handIn(d.wrongTime(w), "ann", "bob"), bus.FaultRefused) // nothing waits for a word any more
	d.makeGood(held, 0)
	d.check()
}

// wrongTime is the same word at another time: another statement.
func (d *drill) wrongTime(w statement.Restored) statement.Restored {
	w.At = w.At.Add(1_000_000)
	return w
}

// The ledger is lost with everything since its backup, which was made while it worked; chips were made in between. Nothing is
// missing from the ledger that is made anew, the vault goes on with it, and no identity is made twice.
func TestRestoreDrill(t *testing.T) {
	t.Parallel()
	d := newDrill(t, spec{good: 60, spares: 10})
	half := d.begin(d.one(), d.at(3)) // in work at the backup and at the loss
	first := d.act(half)

	made := d.makeDuringBackup()
	young := d.one()
	youngAct := d.begin(young, d.at(4)) // begun after the backup
	d.act(youngAct)
	d.makeLost(d.one(), 1)
	if err := d.bin(d.makeGood(d.one(), 2), perso.VerdictGood); err != nil {
		t.Fatal(err)
	}
	made++
	if d.taken.Manifest.Size >= d.l.head.get().Size() {
		t.Fatal("nothing happened since the backup")
	}
	size, root := d.l.head.get().Size(), d.l.head.get().Root()
	_, note, err := d.l.Signed(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	d.lose()
	if err := d.restore(note); err != nil {
		t.Fatal(err)
	}
	d.start()
	d.vault.restart()
	if got := d.l.head.get(); got.Size() != size || got.Root() != root {
		t.Errorf("the log has %d entries, and had %d; or another root", got.Size(), size)
	}
	if s := d.status(); s.Good != uint64(made) {
		t.Errorf("%d units are good, and %d were made", s.Good, made)
	}
	d.check()
	// What was in work goes on where it was, and new chips are made; the vault's double tells of any identity that is made twice,
	// and of a log that does not continue the one that it signed.
	if again := d.act(half); string(again.Window[0].APDU) != string(first.Window[0].APDU) {
		t.Errorf("after the loss: %s, before: %s", again.Window[0].APDU, first.Window[0].APDU)
	}
	d.want(d.act(next(half, "x")), perso.VerdictGood, perso.ReasonNone)
	d.want(d.act(next(youngAct, "x")), perso.VerdictGood, perso.ReasonNone)
	// Identities are issued when two officers have signed.
	d.want(d.act(d.begin(d.one(), d.at(0))), perso.VerdictHold, perso.ReasonFrozen)
	if w := d.confirm(); len(w.Lots) != 1 || w.Lots[0].Claims == 0 || w.Lots[0].InWork != 2 || w.Size != uint64(size) || w.BackupSize != uint64(d.taken.Manifest.Size) {
		t.Errorf("the officers signed %+v", w)
	}
	for range 3 {
		d.makeGood(d.one(), 0)
	}
	d.check()

	// The next loss, with the same backup.
	size = d.l.head.get().Size()
	d.lose()
	if err := d.restore(note); err != nil {
		t.Fatal(err)
	}
	d.start()
	if got := d.l.head.get().Size(); got != size {
		t.Errorf("restored again, the log has %d entries, and had %d", got, size)
	}
	d.check()
}

// What does not lead to the ledger as it was is not restored; the log vault takes nothing less.
func TestRestoreRefused(t *testing.T) {
	t.Parallel()
	d := newDrill(t, spec{good: 5, spares: 5})
	if err := d.backup(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.makeGood(d.one(), 0)
	_, note, err := d.l.Signed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.lose()
	aside := d.redo() + ".aside"
	move := func(from, to string) {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(d.redo(), aside)
	if err := d.restore(); !errors.Is(err, backup.ErrRedoGap) {
		t.Errorf("without the redo log: %v", err)
	}
	if err := os.Mkdir(d.redo(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.restore(); !errors.Is(err, backup.ErrRedoGap) {
		t.Errorf("with an empty redo log: %v", err)
	}
	// A redo log that ends with the backup: what came behind was cut off. A checkpoint that was kept outside tells, and the log vault.
	segment := "0000000000000001.redo"
	whole, err := os.ReadFile(filepath.Join(aside, segment))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.redo(), segment), whole[:d.redoBytes], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.restore(note); !errors.Is(err, backup.ErrRolledBack) {
		t.Errorf("with a redo log that was cut off, and a checkpoint kept outside: %v", err)
	}
	if err := d.restore(); err != nil {
		t.Fatal(err)
	}
	d.start()
	if _, _, err := d.l.Signed(t.Context()); !errors.Is(err, ErrNotTheLedger) {
		t.Errorf("the log vault took a ledger that was put back: %v", err)
	}
	d.lose()
	if err := os.RemoveAll(d.redo()); err != nil {
		t.Fatal(err)
	}
	move(aside, d.redo())
	if err := d.restore(note); err != nil {
		t.Fatal(err)
	}
	d.start()
	if _, _, err := d.l.Signed(t.Context()); err != nil {
		t.Error(err)
	}
	d.check()
}

// A ledger that is there, or a part of one, is not written over.
func TestRestoreInTheWay(t *testing.T) {
	t.Parallel()
	d := newDrill(t, spec{good: 5, spares: 5})
	if err := d.backup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.restore(); !errors.Is(err, backup.ErrInTheWay) {
		t.Errorf("over a ledger: %v", err)
	}
	d.lose()
	if d.url == "" {
		if err := os.WriteFile(d.file()+"-wal", []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := d.restore(); !errors.Is(err, backup.ErrInTheWay) {
			t.Errorf("beside an old write-ahead log: %v", err)
		}
		if err := os.Remove(d.file() + "-wal"); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.restore(); err != nil {
		t.Error(err)
	}
}

// The durable steps of a ledger keep their promise with a redo log as well: what was told is in it.
func TestRestoreAfterEachStep(t *testing.T) {
	t.Parallel()
	for _, step := range durableSteps {
		t.Run(step.name, func(t *testing.T) {
			t.Parallel()
			d := newDrill(t, spec{good: 2, spares: 2})
			if err := d.backup(t.Context()); err != nil {
				t.Fatal(err)
			}
			do := step.prepare(d.bench)
			if err := do(); err != nil {
				t.Fatal(err)
			}
			kinds := fmt.Sprint(d.kinds())
			d.lose()
			if err := d.restore(); err != nil {
				t.Fatal(err)
			}
			d.start()
			if got := fmt.Sprint(d.kinds()); got != kinds {
				t.Errorf("restored %s, was %s", got, kinds)
			}
			if err := do(); err != nil {
				t.Errorf("asked again: %v", err)
			}
			d.check()
		})
	}
}
