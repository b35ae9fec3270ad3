package keygen_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/keygen/life"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// keyToken is a token with something else that happens while it is asked for a lot's key.
type keyToken struct {
	*hsmfake.Token
	look func()
}

func (t *keyToken) Has(ctx context.Context, k hsm.Key) (bool, error) {
	if k.Class == hsm.ClassLot {
		t.look()
	}
	return t.Token.Has(ctx, k)
}

// kept is what the vault did for good: lots that it made and gave away, and receipts.
func (r *rig) kept() string {
	r.t.Helper()
	m, err := r.cfg.Memory.Recall()
	if err != nil {
		r.t.Fatal(err)
	}
	given := 0
	if a, ok := r.cfg.Assignments.(*assignments); ok {
		given = len(a.lots)
	}
	receipts := 0
	if err := r.journal.Read(r.lot, 0, func([]byte) (bool, error) { receipts++; return true, nil }); err != nil {
		r.t.Fatal(err)
	}
	return fmt.Sprintf("%d lots made, %d given away, %d receipts", len(m.Lots), given, receipts)
}

// dismissal makes a word that takes bob out of the register, who signed what the rig asks for, and one that lets dan in before.
func (r *rig) dismissal() []statement.Signed {
	r.t.Helper()
	key := ed25519.NewKeyFromSeed(make32(9))
	r.officers["dan"] = key
	added := r.change(statement.KindAdd, r.register, statement.Officer{ID: "dan", Person: "Dan", Role: statement.RoleQuality, Key: key.Public().(ed25519.PublicKey)}, "ann", "bob")
	bob := statement.Officer{ID: "bob", Person: "Bob", Role: statement.RoleSecurity, Key: r.officers["bob"].Public().(ed25519.PublicKey)}
	return []statement.Signed{added, r.change(statement.KindRevoke, added, bob, "ann", "dan")}
}

// TestWordsBindWhatIsUnderWay: a lot is neither made nor given away, and no unit given up, by the word of an officer whom the vault heard
// dismissed while the request stood before the HSM; nor is a lot that was frozen meanwhile made or given away.
func TestWordsBindWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	const dismissed, frozen = "is an older one, or another", "is frozen: a drill"
	for what, c := range map[string]struct {
		ready   func(*rig) (ask func() error)
		several bool // vaults
		atKey   bool // it is heard after it was looked what is frozen, and not before
		want    string
	}{
		"open, dismissed":           {(*rig).readyToOpen, false, false, dismissed},
		"open, dismissed later":     {(*rig).readyToOpen, false, true, dismissed},
		"open, frozen":              {(*rig).readyToOpen, false, false, frozen},
		"open, frozen later":        {(*rig).readyToOpen, false, true, frozen},
		"give away, dismissed":      {(*rig).readyToAssign, true, false, dismissed},
		"give away, frozen":         {(*rig).readyToAssign, true, false, frozen},
		"give a unit up, dismissed": {(*rig).readyToGiveUp, false, false, dismissed},
	} {
		var atLook, atKey []statement.Signed
		var r *rig
		saying := func(words *[]statement.Signed) func() {
			return func() {
				now := *words
				if *words = nil; len(now) > 0 {
					r.tell(now...)
				}
			}
		}
		r = newRigOn(t, &keyToken{hsmfake.New(mrand.NewChaCha8([32]byte{1})), saying(&atKey)}, "S1")
		r.cfg.LogVault, r.cfg.Assignments, r.cfg.Sole = r.cfg.Name, &assignments{newStore(), map[perso.Name]keygen.Assignment{}}, !c.several
		r.cfg.Life = lookingLife{r.cfg.Life, saying(&atLook)}
		r.restart()
		ask, words := c.ready(r), r.dismissal()
		if c.want == frozen {
			words = []statement.Signed{r.frost(statement.FrozenLot, string(testLot), nil, "bob")}
		}
		if c.atKey {
			atKey = words
		} else {
			atLook = words
		}
		before := r.kept()
		if err := ask(); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
		if after := r.kept(); after != before {
			t.Errorf("%s: it left %s; before it were %s", what, after, before)
		}
	}
}

func (r *rig) readyToOpen() func() error {
	return func() error {
		_, err := r.vault.OpenLot(ctx, r.openRequest())
		return err
	}
}

func (r *rig) readyToAssign() func() error {
	return func() error {
		_, err := r.vault.AssignLot(ctx, bus.AssignLotRequest{Register: [][]byte{r.register.Encode()}, Release: r.signed.Encode(), Vault: "V2", Birth: [16]byte{2}})
		return err
	}
}

func (r *rig) readyToGiveUp() func() error {
	r.openLot()
	ask, _ := r.claimUnit(newCard(r.t, testKMC, 1), 0, 0).giveUp(1)
	return func() error {
		_, err := ask()
		return err
	}
}

// TestADismissalBindsADestruction: nor is a lot's key destroyed by the word of who was dismissed after the statements were checked.
func TestADismissalBindsADestruction(t *testing.T) {
	t.Parallel()
	g := newGrave(t)
	q, words := g.request(), g.dismissal()
	g.cfg.Life = lookingLife{g.cfg.Life, func() { g.tell(words...) }}
	g.restart()
	if _, err := g.vault.DestroyLot(ctx, q); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), "is an older one, or another") || !g.there() {
		t.Errorf("dismissed meanwhile: %v, there: %v", err, g.there())
	}
	if _, found, err := g.cfg.Graves.Destroyed(testLot); err != nil || found {
		t.Errorf("it is remembered as destroyed: %v, %v", found, err)
	}
}

// TestOvertakenInFlight: a process that another one overtook while an act was before the HSM answers it no more, and writes no receipt: the
// other one has the lot's receipts now, and does not know this one.
func TestOvertakenInFlight(t *testing.T) {
	t.Parallel()
	r := newHeldRig(t)
	r.openLot()
	f := r.fly(r.asked(r.claimUnit(newCard(t, testKMC, 1), 0, 0)))
	r.overtake()
	r.now = r.now.Add(life.DefaultCheck)
	if f.land(); !errors.Is(f.err, life.ErrOvertaken) {
		t.Errorf("%d answers, %v", len(f.reply.Results), f.err)
	}
	if kept := r.kept(); !strings.HasSuffix(kept, "0 receipts") {
		t.Error(kept)
	}
}

// overtake has another process, with a copy of the vault's state, become the vault.
func (r *rig) overtake() {
	r.t.Helper()
	stolen := *r.lives[r.cfg.Name]
	if _, err := r.lifeOf(&stolen); err != nil {
		r.t.Error(err)
	}
}

// TestOvertakenWhileItExports: nor do keys leave a process that was overtaken while it asked the HSM for them.
func TestOvertakenWhileItExports(t *testing.T) {
	t.Parallel()
	r := newHeldRig(t)
	r.openLot()
	_, q := r.goodUnit()
	g, over := newGate(), make(chan error)
	var a bus.ExportReply
	go func() {
		var err error
		a, err = r.vault.Export(g.on(ctx), q)
		over <- err
	}()
	<-g.reached
	r.overtake()
	r.now = r.now.Add(life.DefaultCheck)
	close(g.opened)
	if err := <-over; !errors.Is(err, life.ErrOvertaken) || len(a.Results) > 0 {
		t.Errorf("%d results, %v", len(a.Results), err)
	}
}

// lookedLife is a life with something else that happens when the token has answered.
type lookedLife struct {
	keygen.Life
	then func()
}

func (l lookedLife) Look(ctx context.Context) error {
	defer l.then()
	return l.Life.Look(ctx)
}

// TestOvertakenWhileItGivesUp: nor does such a process give a unit up: the one that is the vault now may have found it good.
func TestOvertakenWhileItGivesUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	then := func() {}
	r.cfg.Life = lookedLife{r.cfg.Life, func() { then() }}
	r.restart()
	ask, before := r.readyToGiveUp(), r.kept()
	then = sync.OnceFunc(r.overtake)
	if err := ask(); !errors.Is(err, life.ErrOvertaken) {
		t.Error(err)
	}
	if after := r.kept(); after != before {
		t.Errorf("it left %s; before it were %s", after, before)
	}
}

// exportWatch is a log in which something else happens when an export is let out.
type exportWatch struct {
	slog.Handler
	out func()
}

func (w exportWatch) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "units exported" {
		w.out()
	}
	return nil
}

func (exportWatch) Enabled(context.Context, slog.Level) bool { return true }

// TestAFreezeWaitsForAnExport: a freeze that comes after the last look at an export is not said to be heard before it is let out.
func TestAFreezeWaitsForAnExport(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	heard := make(chan struct{})
	r.cfg.Log = slog.New(exportWatch{r.cfg.Log.Handler(), func() {
		go func() {
			defer close(heard)
			r.tell(r.frost(statement.FrozenLot, string(testLot), nil, "bob"))
		}()
		select {
		case <-heard:
			t.Error("a freeze was heard that the export did not heed")
		case <-time.After(soon):
		}
	}})
	r.restart()
	r.openLot()
	_, q := r.goodUnit()
	if a, err := r.vault.Export(ctx, q); err != nil || len(a.Results) != 1 {
		t.Errorf("%d results, %v", len(a.Results), err)
	}
	<-heard
	if _, err := r.vault.Export(ctx, q); code(err) != bus.FaultRefused {
		t.Errorf("afterwards: %v", err)
	}
}
