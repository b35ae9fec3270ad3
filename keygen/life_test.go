package keygen_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/keygen/journal"
	"github.com/persoline/persoline/keygen/life"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// lifeDouble is a life.Store without a disk.
type lifeDouble struct {
	record life.Record
	found  bool
}

func (s *lifeDouble) Life() (life.Record, bool, error) { return s.record, s.found, nil }

func (s *lifeDouble) RememberLife(r life.Record) error {
	s.record, s.found = r, true
	return nil
}

// birth is what a vault of the rig says of itself; of one that never began, something.
func (r *rig) birth(vault perso.Name) life.Birth {
	if s := r.lives[vault]; s != nil {
		return s.record.Birth
	}
	return life.Birth{1}
}

// beginLife begins a life of the vault that the rig is configured as.
func (r *rig) beginLife() {
	r.t.Helper()
	s := r.lives[r.cfg.Name]
	if s == nil {
		s = &lifeDouble{}
		r.lives[r.cfg.Name] = s
	}
	l, err := r.lifeOf(s)
	if err != nil {
		r.t.Fatal(err)
	}
	r.cfg.Life = l
}

func (r *rig) lifeOf(s life.Store) (*life.Life, error) {
	return life.Begin(ctx, life.Config{Owner: life.Owner{Env: r.cfg.Env, Site: r.cfg.Site, Vault: r.cfg.Name}, Token: r.token.(life.Token), Store: s,
		Folder: "vault", Now: r.cfg.Now, Log: r.cfg.Log})
}

// folder is a vault's state as it is copied and put back: receipts, memory and life together.
type folder struct {
	t   *testing.T
	dir string
}

func newFolder(t *testing.T) folder {
	t.Helper()
	f := folder{t, filepath.Join(t.TempDir(), "state")}
	err := errors.Join(os.Mkdir(f.dir, 0o700), os.Mkdir(filepath.Join(f.dir, "journal"), 0o700))
	if err == nil {
		_, err = journal.CreateMemory(filepath.Join(f.dir, "memory"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// newHomeless is a rig whose vault has not begun, and a folder for it.
func newHomeless(t *testing.T) (*rig, folder) {
	t.Helper()
	r := newRig(t)
	if err := r.destroyLives(); err != nil {
		t.Fatal(err)
	}
	return r, newFolder(t)
}

func (f folder) copied() folder {
	f.t.Helper()
	to := filepath.Join(f.t.TempDir(), "state")
	if err := os.CopyFS(to, os.DirFS(f.dir)); err != nil {
		f.t.Fatal(err)
	}
	return folder{f.t, to}
}

// start starts a vault from a folder, as perso/cmd/site does. The rig's own stays as it is.
func (f folder) start(as *rig) (*keygen.Vault, error) {
	f.t.Helper()
	memory, err := journal.OpenMemory(filepath.Join(f.dir, "memory"))
	if err != nil {
		f.t.Fatal(err)
	}
	receipts, err := journal.Open(filepath.Join(f.dir, "journal"))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = receipts.Close() })
	l, err := as.lifeOf(memory)
	if err != nil {
		return nil, err
	}
	cfg := as.cfg
	cfg.Journal, cfg.Memory, cfg.Life, cfg.Graves, cfg.Shredder = receipts, memory, l, memory, as.token.(*hsmfake.Token)
	if cfg.LogVault == "" || cfg.LogVault == cfg.Name {
		cfg.Assignments = memory
		cfg.Sole = cfg.LogVault == ""
	}
	return keygen.New(ctx, cfg)
}

// A folder that is copied while its vault runs is refused from the first lot on that was opened since; one that is copied and
// started at once is the vault, and the original ends: it signs, serves and opens nothing any more.
func TestCopiedVault(t *testing.T) {
	t.Parallel()
	r, f := newHomeless(t)
	original, err := f.start(r)
	if err != nil {
		t.Fatal(err)
	}
	before := f.copied()
	if _, err := original.OpenLot(ctx, r.openRequest()); err != nil {
		t.Fatal(err)
	}
	if _, err := before.start(r); !errors.Is(err, life.ErrOvertaken) {
		t.Errorf("a copy from before the lot was opened: %v", err)
	}
	r.log.add(entry.Stock{Reel: "R1", File: [32]byte{1}, Chips: 1, At: start})
	note, err := original.Checkpoint(ctx, r.log.request(0))
	if err != nil {
		t.Fatal("the refused copy did harm:", err)
	}

	second, err := f.copied().start(r)
	if err != nil {
		t.Fatal(err)
	}
	r.now = r.now.Add(life.DefaultCheck)
	_, checkpoint := original.Checkpoint(ctx, r.log.request(0))
	_, serve := original.Serve(ctx, bus.ServeRequest{Lot: testLot, Checkpoint: note.Note, Items: make([]bus.ServeItem, 1)})
	_, export := original.Export(ctx, bus.ExportRequest{Lot: testLot, Checkpoint: note.Note, Items: make([]bus.ExportItem, 1)})
	_, challenges := original.Challenges(ctx, bus.VaultChallengesRequest{Lot: testLot, Count: 1})
	_, receipts := original.Receipts(ctx, bus.ReceiptsRequest{Lot: testLot})
	_, seal := original.SealBundle(ctx, bus.SealBundleRequest{})
	_, opened := original.OpenLot(ctx, r.openRequest())
	_, ki := original.CheckKi(ctx, bus.CheckKiRequest{})
	for i, err := range []error{checkpoint, serve, export, challenges, receipts, seal, opened, ki} {
		if !errors.Is(err, life.ErrOvertaken) {
			t.Errorf("%d: the original goes on: %v", i, err)
		}
	}
	if _, err := second.OpenLot(ctx, r.openRequest()); err != nil {
		t.Errorf("the copy does not: %v", err)
	}
}

// Before it opens a lot a vault asks the token, whenever it did last.
func TestOpensNoLotWhenOvertaken(t *testing.T) {
	t.Parallel()
	r, f := newHomeless(t)
	original, err := f.start(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.copied().start(r); err != nil {
		t.Fatal(err)
	}
	if _, err := original.OpenLot(ctx, r.openRequest()); !errors.Is(err, life.ErrOvertaken) {
		t.Errorf("opened: %v", err)
	}
	if r.lotKey() {
		t.Error("its key was made")
	}
}

// TestLostFollowerMakesNoDestroyedLot: a follower that destroyed a lot's key is put back to before, loses its state, or loses state
// and lives: nothing makes the lot again. What the log vault gave away to one birth, it gives to no other.
func TestLostFollowerMakesNoDestroyedLot(t *testing.T) {
	t.Parallel()
	p, f := newPair(t), newFolder(t)
	two := p.second
	delete(p.lives, "V2")
	if err := two.destroyLives(); err != nil {
		t.Fatal(err)
	}
	vault, err := f.start(two)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := p.vault.AssignLot(ctx, bus.AssignLotRequest{Register: [][]byte{p.register.Encode()}, Release: p.signed.Encode(), Vault: "V2"})
	if code(err) != bus.FaultRefused || reply.Assigned != nil {
		t.Errorf("a lot is given to a vault whose birth nobody said: %v", err)
	}
	birth := f.birth()
	if reply, err = p.vault.AssignLot(ctx, bus.AssignLotRequest{Register: [][]byte{p.register.Encode()}, Release: p.signed.Encode(), Vault: "V2", Birth: birth}); err != nil {
		t.Fatal(err)
	}
	opening := p.openRequest()
	opening.Assigned = reply.Assigned
	if _, err := vault.OpenLot(ctx, opening); err != nil {
		t.Fatal(err)
	}
	before := f.copied()
	g := &grave{rig: p.rig, by: []perso.Name{"ann", "bob"}, logged: true}
	g.close = statement.Close{Env: perso.EnvTest, Lot: testLot, At: start.Add(24 * time.Hour), Nonce: [32]byte{1}, Counts: statement.Counts{In: 2, Good: 2}}
	g.destroy = statement.Destroy{Env: perso.EnvTest, Site: "S1", Lot: testLot, Release: p.signed.Hash(), Retained: start.Add(90 * 24 * time.Hour),
		At: start.Add(91 * 24 * time.Hour), Nonce: [32]byte{2}}
	two.now = start.Add(91 * 24 * time.Hour)
	p.now = two.now
	q := g.request()
	if follow, err := vault.Follow(ctx, bus.FollowRequest{Note: q.Checkpoint, Last: 0, Proof: p.log.request(0).Proof}); err != nil || !follow.Taken || follow.Birth != birth {
		t.Fatal(follow, err)
	}
	if _, err := vault.DestroyLot(ctx, q); err != nil || g.there() {
		t.Fatal(err, g.there())
	}
	if _, err := before.start(two); !errors.Is(err, life.ErrOvertaken) {
		t.Errorf("the state from before it was destroyed is taken: %v", err)
	}
	if _, err := newFolder(t).start(two); !errors.Is(err, life.ErrLost) {
		t.Errorf("an empty state is taken: %v", err)
	}
	if err := two.destroyLives(); err != nil { // by somebody who can log in to the token
		t.Fatal(err)
	}
	empty := newFolder(t)
	anew, err := empty.start(two)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := anew.OpenLot(ctx, opening); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), "the state was lost and made anew") {
		t.Errorf("a vault of another birth opens the destroyed lot: %v", err)
	}
	again, err := p.vault.AssignLot(ctx, bus.AssignLotRequest{Register: [][]byte{p.register.Encode()}, Release: p.signed.Encode(), Vault: "V2", Birth: empty.birth()})
	if err != nil {
		t.Fatal(err)
	}
	opening.Assigned = again.Assigned
	if _, err := anew.OpenLot(ctx, opening); code(err) != bus.FaultRefused || g.there() {
		t.Errorf("by asking the log vault again: %v, its key there: %v", err, g.there())
	}
}

// birth is what the vault of the folder was born as.
func (f folder) birth() life.Birth {
	f.t.Helper()
	m, err := journal.OpenMemory(filepath.Join(f.dir, "memory"))
	if err != nil {
		f.t.Fatal(err)
	}
	r, found, err := m.Life()
	if err != nil || !found {
		f.t.Fatal(found, err)
	}
	return r.Birth
}

// destroyLives makes the token forget the vault that the rig is configured as.
func (r *rig) destroyLives() error {
	token := r.token.(*hsmfake.Token)
	all, err := token.List(ctx)
	if err != nil {
		return err
	}
	for _, k := range all {
		if vault, ok := life.VaultOf(k); ok && vault == r.cfg.Name {
			err = errors.Join(err, token.Destroy(ctx, k))
		}
	}
	return err
}

// TestUnforgettableBreaks: when the life does not turn after a lot was remembered, nothing is made of the lot until it has
// turned; asked again it is made, and a copy from before is refused.
func TestUnforgettableBreaks(t *testing.T) {
	t.Parallel()
	for _, verb := range []hsm.Verb{hsm.VerbRandom, hsm.VerbDestroy} {
		for _, done := range []bool{false, true} {
			r, f := newHomeless(t)
			vault, err := f.start(r)
			if err != nil {
				t.Fatal(err)
			}
			before := f.copied()
			r.token.(*hsmfake.Token).Inject(func(_ uint64, v hsm.Verb, k hsm.Key) hsmfake.Fault {
				switch {
				case v != verb || k.Class != hsm.ClassLife && k.Label != "":
					return hsmfake.Fault{}
				case done:
					return hsmfake.Fault{After: hsm.ErrSessionLost}
				}
				return hsmfake.Fault{Before: hsm.ErrSessionLost}
			})
			if _, err := vault.OpenLot(ctx, r.openRequest()); !errors.Is(err, hsm.ErrSessionLost) {
				t.Errorf("%s done=%v: %v", verb, done, err)
			}
			if made := r.lotKey(); made {
				t.Errorf("%s done=%v: the lot's key was made all the same", verb, done)
			}
			r.token.(*hsmfake.Token).Inject(nil)
			if _, err := vault.OpenLot(ctx, r.openRequest()); err != nil || !r.lotKey() {
				t.Errorf("%s done=%v: asked again: %v", verb, done, err)
			}
			if _, err := before.start(r); !errors.Is(err, life.ErrOvertaken) {
				t.Errorf("%s done=%v: the state from before: %v", verb, done, err)
			}
		}
	}
}

// lotKey says whether the test lot's key is on the token.
func (r *rig) lotKey() bool {
	r.t.Helper()
	key, err := hsm.NewKey("test", hsm.ClassLot, string(testLot))
	if err != nil {
		r.t.Fatal(err)
	}
	has, err := r.token.(*hsmfake.Token).Has(ctx, key)
	if err != nil {
		r.t.Fatal(err)
	}
	return has
}
