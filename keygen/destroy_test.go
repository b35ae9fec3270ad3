package keygen_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/keygen/journal"
	"github.com/persoline/persoline/keygen/kisource"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// grave is a rig whose lot was opened, closed, and is about to be destroyed.
type grave struct {
	*rig
	close   statement.Close
	destroy statement.Destroy
	by      []perso.Name
	logged  bool // the destruction stands in the log
}

func newGrave(t *testing.T) *grave { return newGraveOf(t, func(*statement.Release) {}) }

func newGraveOf(t *testing.T, change func(*statement.Release)) *grave {
	r := newRig(t)
	change(&r.release)
	r.signed = r.sign(r.release, "ann", "bob")
	memory, err := journal.OpenMemory(r.made.MemoryDir)
	if err != nil {
		t.Fatal(err)
	}
	r.cfg.Shredder, r.cfg.Graves = r.token.(*hsmfake.Token), memory
	r.reopenVault()
	if r.release.Customer.Rows > 0 {
		r.plant(r.release)
	}
	r.openLot()
	g := &grave{rig: r, by: []perso.Name{"ann", "bob"}, logged: true}
	g.close = statement.Close{Env: perso.EnvTest, Lot: testLot, At: start.Add(24 * time.Hour), Nonce: [32]byte{1}, Counts: statement.Counts{In: 2, Good: 2}}
	g.destroy = statement.Destroy{Env: perso.EnvTest, Site: "S1", Lot: testLot, Release: r.signed.Hash(), Retained: start.Add(90 * 24 * time.Hour),
		At: start.Add(91 * 24 * time.Hour), Nonce: [32]byte{2}, Copies: []statement.LotCopy{{Holder: "hsm-2", Place: "second room", By: [2]string{"Ann", "Dora"}}}}
	g.now = start.Add(91 * 24 * time.Hour)
	return g
}

// request logs closing and destruction and asks.
func (g *grave) request() bus.DestroyLotRequest {
	g.t.Helper()
	c := g.signWord(g.close, "ann", "bob")
	if g.destroy.Close == [32]byte{} {
		g.destroy.Close = c.Hash()
	}
	d := g.signWord(g.destroy, g.by...)
	closed := g.log.add(entry.Statement{What: statement.KindClose, Hash: c.Hash(), Lot: testLot, At: g.now})
	ordered := closed
	if g.logged {
		ordered = g.log.add(entry.Statement{What: statement.KindDestroy, Hash: d.Hash(), Lot: testLot, At: g.now})
	}
	note := g.note()
	return bus.DestroyLotRequest{Register: [][]byte{g.register.Encode()}, Release: g.rig.signed.Encode(), Close: c.Encode(), Destroy: d.Encode(), Checkpoint: note,
		Closed: g.log.prove(closed), Ordered: g.log.prove(ordered)}
}

func (g *grave) key() hsm.Key {
	k, err := hsm.NewKey("test", hsm.ClassLot, string(testLot))
	if err != nil {
		g.t.Fatal(err)
	}
	return k
}

func (g *grave) there() bool {
	has, err := g.token.(*hsmfake.Token).Has(ctx, g.key())
	if err != nil {
		g.t.Fatal(err)
	}
	return has
}

func TestDestroyLot(t *testing.T) {
	t.Parallel()
	g := newGrave(t)
	q := g.request()
	a, err := g.vault.DestroyLot(ctx, q)
	if err != nil || g.there() {
		t.Fatalf("%v, key there: %v", err, g.there())
	}
	s, err := statement.DecodeSigned(a.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	c, err := statement.ParseDestroyed(s.Body)
	if err != nil || c.Lot != testLot || c.Copies != 1 || len(c.Keys) != 1 || c.Keys[0] != g.key().Label || c.Vault != "V1" || !ed25519.Verify(g.made.StmtKey, s.Body, s.Signatures[0].Sig[:]) {
		t.Errorf("certificate %+v, %v", c, err)
	}
	g.now = g.now.Add(time.Hour)
	g.reopenVault()
	if again, err := g.vault.DestroyLot(ctx, q); err != nil || !slices.Equal(again.Certificate, a.Certificate) {
		t.Errorf("asked again: %v", err)
	}
	g.destroy.Nonce = [32]byte{3}
	if _, err := g.vault.DestroyLot(ctx, g.request()); code(err) != bus.FaultConflict {
		t.Errorf("by another statement: %v", err)
	}
	if _, err := g.vault.OpenLot(ctx, g.openRequest()); code(err) != bus.FaultRefused {
		t.Errorf("opened: %v", err)
	}
	if err := g.token.(*hsmfake.Token).Generate(ctx, g.key()); err != nil { // the token was put back
		t.Fatal(err)
	}
	g.reopenVault()
	if _, err := g.vault.OpenLot(ctx, g.openRequest()); code(err) != bus.FaultRefused {
		t.Errorf("opened with a key that came back: %v", err)
	}
}

// TestDestroyRandomKi: the key that a lot's random Ki are sealed under goes with the lot's own.
func TestDestroyRandomKi(t *testing.T) {
	t.Parallel()
	h := newGraveOf(t, func(r *statement.Release) { r.KiSource = "random" })
	seal, err := kisource.LotSealKey(perso.EnvTest, testLot)
	if err != nil {
		t.Fatal(err)
	}
	token := h.token.(*hsmfake.Token)
	if has, err := token.Has(ctx, seal); !has || err != nil {
		t.Fatalf("no seal key before: %v", err)
	}
	a, err := h.vault.DestroyLot(ctx, h.request())
	if err != nil {
		t.Fatal(err)
	}
	if has, err := token.Has(ctx, seal); has || err != nil || h.there() {
		t.Errorf("seal key there %v, lot key there %v, %v", has, h.there(), err)
	}
	s, err := statement.DecodeSigned(a.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := statement.ParseDestroyed(s.Body); err != nil || len(c.Keys) != 2 || c.Keys[1] != seal.Label {
		t.Errorf("certificate of %q, %v", c.Keys, err)
	}
}

// TestReceiptsOutliveTheKey: bundles of other lots need them.
func TestReceiptsOutliveTheKey(t *testing.T) {
	t.Parallel()
	g := newGrave(t)
	g.now = start.Add(time.Hour)
	g.claimUnit(newCard(t, testKMC, 1), 0, 0).session()
	ask := func() bus.ReceiptsReply {
		a, err := g.vault.Receipts(ctx, bus.ReceiptsRequest{Lot: testLot})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	before := ask()
	g.now = start.Add(91 * 24 * time.Hour)
	if _, err := g.vault.DestroyLot(ctx, g.request()); err != nil {
		t.Fatal(err)
	}
	g.reopenVault()
	for range 2 {
		after := ask()
		if len(after.Receipts) == 0 || len(after.Receipts) != len(before.Receipts) || !ed25519.Verify(g.made.StmtKey, after.Head, after.Signature) {
			t.Errorf("%d receipts, %d before", len(after.Receipts), len(before.Receipts))
		}
	}
	if _, err := g.vault.Receipts(ctx, bus.ReceiptsRequest{Lot: "LOT-9"}); code(err) != bus.FaultLotNotOpen {
		t.Errorf("receipts of no lot: %v", err)
	}
	if _, err := g.vault.Challenges(ctx, bus.VaultChallengesRequest{Lot: testLot, First: 1, Count: 1}); code(err) != bus.FaultLotNotOpen {
		t.Errorf("challenges of a destroyed lot: %v", err)
	}
}

// TestDestroyLotNeedsAuthority: without any of it nothing is destroyed and nothing noted.
func TestDestroyLotNeedsAuthority(t *testing.T) {
	t.Parallel()
	for name, bend := range map[string]func(g *grave){
		"one officer":                func(g *grave) { g.by = []perso.Name{"ann"} },
		"one role":                   func(g *grave) { g.by = []perso.Name{"ann", "cid"} },
		"retention not over":         func(g *grave) { g.now = g.destroy.Retained.Add(-time.Second) },
		"retention before the close": func(g *grave) { g.destroy.Retained = g.close.At.Add(-time.Second) },
		"another lot's close":        func(g *grave) { g.close.Lot = "LOT-2" },
		"another close":              func(g *grave) { g.destroy.Close = [32]byte{7} },
		"another release":            func(g *grave) { g.destroy.Release = [32]byte{7} },
		"another site":               func(g *grave) { g.destroy.Site = "S2" },
		"production":                 func(g *grave) { g.destroy.Env = perso.EnvProduction },
		"not logged":                 func(g *grave) { g.logged = false },
		"one saw a copy":             func(g *grave) { g.destroy.Copies[0].By[1] = "ANN" },
		"a lot of another vault":     func(g *grave) { g.destroy.Lot, g.close.Lot = "LOT-9", "LOT-9" },
		"no graves":                  func(g *grave) { g.cfg.Graves = nil; g.reopenVault() },
	} {
		g := newGrave(t)
		bend(g)
		if _, err := g.vault.DestroyLot(ctx, g.request()); code(err) != bus.FaultRefused {
			t.Errorf("%s: %v", name, err)
		}
		memory, err := journal.OpenMemory(g.made.MemoryDir)
		if err != nil {
			t.Fatal(err)
		}
		if _, noted, err := memory.Destroyed(testLot); noted || err != nil || !g.there() {
			t.Errorf("%s: noted %v, key there %v, %v", name, noted, g.there(), err)
		}
	}
	g := newGrave(t)
	q := g.request()
	q.Ordered.Proof = slices.Clone(q.Ordered.Proof)
	q.Ordered.Proof[0][0] ^= 1
	if _, err := g.vault.DestroyLot(ctx, q); code(err) != bus.FaultRefused || !g.there() {
		t.Errorf("a proof that does not hold: %v", err)
	}
}

// brokenGraves fails before or after it noted.
type brokenGraves struct {
	keygen.Graves
	written bool
}

func (b brokenGraves) RememberDestroyed(lot perso.Name, g keygen.Grave) error {
	if b.written {
		return errors.Join(errDisk, b.Graves.RememberDestroyed(lot, g))
	}
	return errDisk
}

// TestDestroyLotBreaks: after every break the same request ends with the key gone and one certificate; once the destruction
// is noted, no other use of the key happens in between.
func TestDestroyLotBreaks(t *testing.T) {
	t.Parallel()
	for _, written := range []bool{false, true} {
		g := newGrave(t)
		q, sound := g.request(), g.cfg.Graves
		g.cfg.Graves = brokenGraves{sound, written}
		g.reopenVault()
		if _, err := g.vault.DestroyLot(ctx, q); !errors.Is(err, errDisk) || !g.there() {
			t.Errorf("note broken (written %v): %v", written, err)
		}
		g.cfg.Graves = sound
		g.reopenVault()
		if _, err := g.vault.OpenLot(ctx, g.openRequest()); (err == nil) == written {
			t.Errorf("opened after the break (written %v): %v", written, err)
		}
		if _, err := g.vault.DestroyLot(ctx, q); err != nil || g.there() {
			t.Errorf("again (written %v): %v", written, err)
		}
	}
	for _, verb := range []hsm.Verb{hsm.VerbDestroy, hsm.VerbHas, hsm.VerbSignMessage} {
		for _, done := range []bool{false, true} {
			g := newGrave(t)
			q := g.request()
			broken := false
			g.token.(*hsmfake.Token).Inject(func(_ uint64, v hsm.Verb, k hsm.Key) hsmfake.Fault {
				switch {
				case v != verb || broken || k.Class == hsm.ClassLife: // of a life: TestTurnBreaks
					return hsmfake.Fault{}
				case done:
					broken = true
					return hsmfake.Fault{After: hsm.ErrSessionLost}
				}
				broken = true
				return hsmfake.Fault{Before: hsm.ErrSessionLost}
			})
			if _, err := g.vault.DestroyLot(ctx, q); !errors.Is(err, hsm.ErrSessionLost) {
				t.Errorf("%s broken (done %v): %v", verb, done, err)
			}
			g.reopenVault()
			if _, err := g.vault.OpenLot(ctx, g.openRequest()); code(err) != bus.FaultRefused {
				t.Errorf("%s broken (done %v): opened: %v", verb, done, err)
			}
			if a, err := g.vault.DestroyLot(ctx, q); err != nil || g.there() || len(a.Certificate) == 0 {
				t.Errorf("%s broken (done %v), again: %v", verb, done, err)
			}
		}
	}
}

// Bob was dismissed, and this very vault opened a later lot under the register that says so: he does not destroy an older lot's key
// with a register that was cut to the time before.
func TestDismissedDestroysNoKey(t *testing.T) {
	t.Parallel()
	g := newGrave(t)
	r := g.rig
	change := r.change
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, 32))
	dan := statement.Officer{ID: "dan", Person: "Dan", Role: statement.RoleQuality, Key: key.Public().(ed25519.PublicKey)}
	r.officers["dan"] = key
	bob := r.officers["bob"].Public().(ed25519.PublicKey)
	added := change(statement.KindAdd, r.register, dan, "ann", "bob")
	dismissed := change(statement.KindRevoke, added, statement.Officer{ID: "bob", Person: "Bob", Role: statement.RoleSecurity, Key: bob}, "ann", "dan")
	g.tell(added, dismissed)
	now := g.now
	g.now = start
	rel, q := r.later(1), r.openRequest()
	rel.Lot = "LOT-LATER"
	q.Register = [][]byte{r.register.Encode(), added.Encode(), dismissed.Encode()}
	q.Release = r.sign(rel, "ann", "dan").Encode()
	if _, err := r.vault.OpenLot(ctx, q); err != nil {
		t.Fatal(err)
	}
	g.now = now
	d := g.request() // register: genesis only; signed by ann and bob
	if _, err := g.vault.DestroyLot(ctx, d); err == nil || !g.there() {
		t.Errorf("a dismissed officer destroyed a lot's key: %v, there: %v", err, g.there())
	}
}

// TestDecidedIsNoPlainRefusal: once it is noted that a key is destroyed, no answer says that nothing was decided, whatever else is wrong
// with the statement: the ledger would let officers replace the one it is noted on.
func TestDecidedIsNoPlainRefusal(t *testing.T) {
	t.Parallel()
	g := newGrave(t)
	q := g.request()
	sound := g.cfg.Graves
	g.cfg.Graves = brokenGraves{sound, true}
	g.reopenVault()
	if _, err := g.vault.DestroyLot(ctx, q); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	g.cfg.Graves = sound
	g.reopenVault()
	unheard := q
	unheard.Register = nil
	if _, err := g.vault.DestroyLot(ctx, unheard); code(err) != bus.FaultConflict {
		t.Errorf("without a register: %v", err)
	}
	g.by = g.by[:1]
	if _, err := g.vault.DestroyLot(ctx, g.request()); code(err) != bus.FaultConflict {
		t.Errorf("by one officer: %v", err)
	}
}
