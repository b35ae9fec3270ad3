package keygen_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/keygen/life"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// frost is a signed freeze, or what lifts one.
func (r *rig) frost(what statement.Frozen, name string, lifts *statement.Signed, officers ...perso.Name) statement.Signed {
	r.t.Helper()
	f := statement.Freeze{Kind: statement.KindFreeze, Env: perso.EnvTest, Site: r.release.Site, What: what, Name: name, Reason: "a drill", At: start, Nonce: [32]byte{7}}
	if lifts != nil {
		f.Kind, f.Lifts = statement.KindUnfreeze, lifts.Hash()
	}
	return r.signWord(f, officers...)
}

// signWord is a statement with officers' signatures.
func (r *rig) signWord(word interface{ Encode() ([]byte, error) }, officers ...perso.Name) statement.Signed {
	r.t.Helper()
	body, err := word.Encode()
	if err != nil {
		r.t.Fatal(err)
	}
	s := statement.Signed{Body: body}
	for _, o := range officers {
		s.Sign(o, r.officers[o])
	}
	return s
}

// change is a signed change of the officer register.
func (r *rig) change(kind string, prev statement.Signed, o statement.Officer, by ...perso.Name) statement.Signed {
	r.t.Helper()
	return r.signWord(statement.Change{Kind: kind, Prev: prev.Hash(), At: start, Nonce: [32]byte{5}, Officer: o}, by...)
}

// known is how many words the vault knows.
func (r *rig) known() uint64 {
	r.t.Helper()
	a, err := r.vault.Heed(ctx, bus.HeedRequest{Known: 1 << 40})
	if err != nil || a.Taken {
		r.t.Fatal(a, err)
	}
	return a.Known
}

// TestFrozenIsServedNothing: what one officer froze a vault neither serves, opens, hands out nor destroys, whatever its ledger asks for,
// also after a restart; until two let it go on.
func TestFrozenIsServedNothing(t *testing.T) {
	t.Parallel()
	for what, name := range map[statement.Frozen]string{statement.FrozenLot: string(testLot), statement.FrozenOrder: "ORDER-1", statement.FrozenKey: "kmc-1", statement.FrozenLine: "line-1"} {
		r := newRig(t)
		r.openLot()
		if what == statement.FrozenOrder {
			name = r.release.Order
		}
		u := r.claimUnit(r.newCard(1), 1, 0)
		item := u.begin()
		line := u.actOf(item).Present.Line
		if what == statement.FrozenLine {
			name = string(line)
		}
		serve := func() error {
			note := r.note()
			item.Claim, item.Act = r.log.prove(item.Claim.Seq), r.log.prove(item.Act.Seq)
			a, err := r.vault.Serve(ctx, bus.ServeRequest{Lot: testLot, Checkpoint: note, Items: []bus.ServeItem{item}})
			if err == nil && a.Results[0].Refused != "" {
				err = errors.New(a.Results[0].Refused)
			}
			return err
		}
		word := r.frost(what, name, nil, "bob")
		r.tell(word)
		for _, restart := range []bool{false, true} {
			if restart {
				r.reopenVault()
				r.openLot() // it was made before: what is known of it stays to be read
			}
			if err := serve(); code(err) != bus.FaultBusy || !strings.Contains(err.Error(), "is frozen: a drill") {
				t.Errorf("%s %s is served: %v", what, name, err)
			}
			if what == statement.FrozenLine {
				continue
			}
			q := bus.ExportRequest{Lot: testLot, Kind: bus.ExportEIS, Receiver: r.release.SMSR, Checkpoint: r.note(), Items: []bus.ExportItem{{}}}
			if _, err := r.vault.Export(ctx, q); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), "is frozen: a drill") {
				t.Errorf("%s %s is handed out: %v", what, name, err)
			}
		}
		if what == statement.FrozenKey { // a lot that is new
			rel, q := r.later(2), r.openRequest()
			rel.Lot = "LOT-2"
			q.Release = r.sign(rel, "ann", "bob").Encode()
			if _, err := r.vault.OpenLot(ctx, q); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), "is frozen: a drill") {
				t.Errorf("a new lot with a frozen key is opened: %v", err)
			}
		}
		r.tell(r.frost(what, name, &word, "ann", "bob"))
		if err := serve(); err != nil {
			t.Errorf("%s %s does not go on: %v", what, name, err)
		}
	}
}

// TestFrozenKeyIsNotDestroyed: a lot's key rests with the lot.
func TestFrozenKeyIsNotDestroyed(t *testing.T) {
	t.Parallel()
	g := newGrave(t)
	word := g.frost(statement.FrozenLot, string(testLot), nil, "bob")
	g.tell(word)
	q := g.request()
	if _, err := g.vault.DestroyLot(ctx, q); err == nil || !strings.Contains(err.Error(), "is frozen: a drill") || !g.there() {
		t.Errorf("key of a frozen lot: %v, there: %v", err, g.there())
	}
	g.tell(g.frost(statement.FrozenLot, string(testLot), &word, "ann", "bob"))
	if _, err := g.vault.DestroyLot(ctx, q); err != nil || g.there() {
		t.Errorf("when it goes on: %v, there: %v", err, g.there())
	}
}

// lookingLife is a life with something else that happens while the token is asked.
type lookingLife struct {
	keygen.Life
	look func()
}

func (l lookingLife) Look(ctx context.Context) error {
	l.look()
	return l.Life.Look(ctx)
}

// slowGraves is a memory with something else that happens before a destruction is durable.
type slowGraves struct {
	keygen.Graves
	remember func()
}

func (s slowGraves) RememberDestroyed(lot perso.Name, g keygen.Grave) error {
	s.remember()
	return s.Graves.RememberDestroyed(lot, g)
}

// restart starts the vault anew, in the life that the rig is configured with.
func (r *rig) restart() {
	r.t.Helper()
	v, err := keygen.New(ctx, r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.vault = v
}

// TestAFreezeBindsADestruction: a freeze that is heard after the statements were checked still stops it; and one that comes too late is not
// said to be heard before the destruction is durable.
func TestAFreezeBindsADestruction(t *testing.T) {
	t.Parallel()
	g := newGrave(t)
	q, word := g.request(), g.frost(statement.FrozenLot, string(testLot), nil, "bob")
	lifted := g.frost(statement.FrozenLot, string(testLot), &word, "ann", "bob")
	sound := g.cfg.Life
	g.cfg.Life = lookingLife{sound, func() { g.tell(word) }}
	g.restart()
	if _, err := g.vault.DestroyLot(ctx, q); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), "is frozen: a drill") || !g.there() {
		t.Fatalf("frozen meanwhile: %v, there: %v", err, g.there())
	}
	if _, found, err := g.cfg.Graves.Destroyed(testLot); err != nil || found {
		t.Errorf("it is remembered as destroyed: %v, %v", found, err)
	}
	heard := make(chan struct{})
	g.cfg.Life, g.cfg.Graves = sound, slowGraves{g.cfg.Graves, func() {
		go func() {
			defer close(heard)
			g.tell(g.frost(statement.FrozenOrder, string(g.release.Order), nil, "bob"))
		}()
		select {
		case <-heard:
			t.Error("a freeze was heard that the destruction did not heed")
		case <-time.After(soon):
		}
	}}
	g.restart()
	g.tell(lifted)
	if _, err := g.vault.DestroyLot(ctx, q); err != nil || g.there() {
		t.Errorf("when it goes on: %v, there: %v", err, g.there())
	}
	<-heard
}

// TestWordsThatNobodyHeeds: nothing is frozen by nobody, let go on by one, or by an old word; and what is refused is not remembered.
func TestWordsThatNobodyHeeds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	lot := string(testLot)
	word := r.frost(statement.FrozenLot, lot, nil, "bob")
	r.tell(word)
	before := r.known()
	elsewhere := statement.Freeze{Kind: statement.KindFreeze, Env: perso.EnvTest, Site: "site-2", What: statement.FrozenLot, Name: lot, Reason: "x", At: start, Nonce: [32]byte{8}}
	edited := r.frost(statement.FrozenLot, lot, &word, "ann", "bob")
	edited.Body = []byte(strings.Replace(string(edited.Body), "a drill", "a thief", 1))
	for want, w := range map[string]statement.Signed{
		"freeze":                      r.frost(statement.FrozenLine, "line-1", nil),
		"two officers":                r.frost(statement.FrozenLot, lot, &word, "ann"),
		"different person and role":   r.frost(statement.FrozenLot, lot, &word, "ann", "cid"),
		"does not verify":             edited,
		"is for site \"site-2\"":      r.signWord(elsewhere, "bob"),
		"is no word for a vault":      r.signed,
		"was heard before, as word 0": r.register,
		"as word 1":                   word,
	} {
		err := r.heed(w)
		if code(err) != bus.FaultRefused || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	if n := r.known(); n != before {
		t.Errorf("it knows %d words, knew %d", n, before)
	}
	// Of another freeze than the one in force: it is heard, and lifts nothing.
	r.tell(r.frost(statement.FrozenLot, lot, &r.signed, "ann", "bob"))
	if _, err := r.vault.OpenLot(ctx, r.openRequest()); code(err) != bus.FaultRefused {
		t.Errorf("a word that lifts something else: %v", err)
	}
}

// short is a signed word that ends a lot short.
func (r *rig) short(release [32]byte, site perso.Name, officers ...perso.Name) statement.Signed {
	r.t.Helper()
	w := statement.Short{Header: statement.Header{Env: perso.EnvTest, Site: site, At: start, Nonce: [32]byte{9}}, Lot: testLot, Release: release, Reason: "no chips"}
	return r.signWord(w, officers...)
}

// TestALotEndsShort: of a lot that two officers ended the vault begins no session, also after a restart; what is in work comes to its
// verdict, and the lot opens as before. Another release's end is nothing to it.
func TestALotEndsShort(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	inWork, late := r.claimUnit(newCard(t, testKMC, 1), 0, 0), r.claimUnit(newCard(t, testKMC, 2), 1, 1)
	release := r.sign(r.release, "ann", "bob").Hash()
	for want, word := range map[string]statement.Signed{"two officers": r.short(release, r.release.Site, "ann"), "is for site": r.short(release, "elsewhere", "ann", "bob")} {
		if err := r.heed(word); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	r.tell(r.short([32]byte{1}, r.release.Site, "ann", "bob"))
	item := inWork.begin()
	got := inWork.serve(item)
	if len(got.Window) == 0 {
		t.Fatalf("another lot's end stops this one: %+v", got)
	}
	r.tell(r.short(release, r.release.Site, "ann", "bob"))
	for len(got.Window) > 0 {
		inWork.keep(got.Stored)
		item = inWork.next(item, got)
		got = inWork.serve(item)
	}
	if !got.Good {
		t.Errorf("what is in work: %+v %+v", got, got.Failed)
	}
	for range 2 {
		if got := late.session(); !strings.Contains(got.Refused, "short") {
			t.Errorf("a session begins: %+v", got)
		}
		r.reopenVault()
		r.openLot()
	}
}

// TestDismissedSaysNothing: words count as of their own time: who was dismissed since froze with right, and lets nothing go on.
func TestDismissedSaysNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	key := ed25519.NewKeyFromSeed(make32(9))
	r.officers["dan"] = key
	word := r.frost(statement.FrozenLot, string(testLot), nil, "bob")
	added := r.change(statement.KindAdd, r.register, statement.Officer{ID: "dan", Person: "Dan", Role: statement.RoleQuality, Key: key.Public().(ed25519.PublicKey)}, "ann", "bob")
	dismissed := r.change(statement.KindRevoke, added, statement.Officer{ID: "bob", Person: "Bob", Role: statement.RoleSecurity, Key: r.officers["bob"].Public().(ed25519.PublicKey)}, "ann", "dan")
	r.tell(word, added, dismissed)
	if err := r.heed(r.frost(statement.FrozenLot, string(testLot), &word, "ann", "bob")); code(err) != bus.FaultRefused {
		t.Errorf("a dismissed officer let a lot go on: %v", err)
	}
	r.reopenVault()
	q := r.openRequest()
	q.Register, q.Release = [][]byte{r.register.Encode(), added.Encode(), dismissed.Encode()}, r.sign(r.release, "ann", "dan").Encode()
	if _, err := r.vault.OpenLot(ctx, q); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), "is frozen") {
		t.Errorf("what he froze before: %v", err)
	}
	r.tell(r.frost(statement.FrozenLot, string(testLot), &word, "ann", "dan"))
	if _, err := r.vault.OpenLot(ctx, q); err != nil {
		t.Error(err)
	}
}

// TestWordsSurviveADisk: a word that was not written binds nobody and is told again; one that was, and whose writer heard otherwise, is
// known after the restart.
func TestWordsSurviveADisk(t *testing.T) {
	t.Parallel()
	for _, written := range []bool{false, true} {
		r := newRig(t)
		s := r.withoutDisk()
		before, word := r.known(), r.frost(statement.FrozenLot, string(testLot), nil, "bob")
		s.fail, s.after = true, written
		if err := r.heed(word); !errors.Is(err, errDisk) {
			t.Errorf("written %v: %v", written, err)
		}
		s.fail = false
		r.reopenVault()
		want := before
		if written {
			want++
		}
		if n := r.known(); n != want {
			t.Errorf("written %v: it knows %d words, want %d", written, n, want)
		}
	}
}

// TestOldWordsAreNotHeardAgain: a freeze that was lifted, and what lifted it, say nothing a second time, whoever signed them again; also
// after a restart, and in one batch.
func TestOldWordsAreNotHeardAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	freeze := r.frost(statement.FrozenLot, string(testLot), nil, "bob")
	lift := r.frost(statement.FrozenLot, string(testLot), &freeze, "ann", "bob")
	again := r.frost(statement.FrozenLot, string(testLot), nil, "ann")
	r.tell(freeze, lift)
	before := r.heard()
	for range 2 {
		for i, words := range [][]statement.Signed{{freeze}, {lift}, {again}, {freeze, lift}} {
			if err := r.heed(words...); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), "was heard before") {
				t.Errorf("%d: %v", i, err)
			}
		}
		r.reopenVault()
		r.openLot()
	}
	fresh := r.frost(statement.FrozenLine, "line-9", nil, "bob")
	if err := r.heed(fresh, fresh); code(err) != bus.FaultRefused {
		t.Errorf("twice in a batch: %v", err)
	}
	if r.heard() != before.And(fresh.Hash()) {
		t.Error("it remembers what it refused")
	}
	if _, err := r.vault.Serve(ctx, r.asked(r.claimUnit(newCard(t, testKMC, 1), 0, 0))); err != nil {
		t.Errorf("the lot that two let go on: %v", err)
	}
}

// TestWordsAfterOthers: no word is taken after other words than the vault heard, or after more or fewer; it says which it heard.
func TestWordsAfterOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	here, there := r.frost(statement.FrozenLine, "line-1", nil, "bob"), r.frost(statement.FrozenLine, "line-2", nil, "bob")
	r.tell(here)
	row := statement.Words{}.And(r.register.Hash())
	next := r.frost(statement.FrozenLine, "line-3", nil, "bob").Encode()
	for what, c := range map[string]struct {
		after statement.Words
		same  bool
		next  [32]byte
	}{
		"others":         {row.And(there.Hash()), false, [32]byte{}},
		"fewer":          {row, true, here.Hash()},
		"none":           {statement.Words{}, true, r.register.Hash()},
		"another first":  {statement.Words{}.And(there.Hash()), false, here.Hash()},
		"more":           {row.And(here.Hash()).And(there.Hash()), false, [32]byte{}},
		"another number": {statement.Words{Count: 2}, false, [32]byte{}},
	} {
		a, err := r.vault.Heed(ctx, bus.HeedRequest{Known: c.after.Count, Chain: c.after.Chain, Words: [][]byte{next}})
		if want := (bus.HeedReply{Known: 2, Same: c.same, Next: c.next}); err != nil || a != want {
			t.Errorf("%s: %+v, %v, want %+v", what, a, err, want)
		}
	}
	if r.heard() != row.And(here.Hash()) {
		t.Error("a word was taken")
	}
}

// TestManyWords: changes and freezes in turn are heard one by one, recalled at a start, and each freeze is lifted on its own.
func TestManyWords(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var words []statement.Signed
	head := r.register
	key := ed25519.NewKeyFromSeed(make32(9))
	for i := range 40 {
		kind := statement.KindAdd
		if i%2 == 1 {
			kind = statement.KindRevoke
		}
		head = r.change(kind, head, statement.Officer{ID: "dan", Person: "Dan", Role: statement.RoleQuality, Key: key.Public().(ed25519.PublicKey)}, "ann", "bob")
		words = append(words, head, r.signWord(statement.Freeze{Kind: statement.KindFreeze, Env: perso.EnvTest, Site: r.release.Site, What: statement.FrozenLot,
			Name: string(testLot), Reason: "a drill", At: start, Nonce: [32]byte{byte(i), 1}}, "bob"))
	}
	r.tell(words...)
	r.reopenVault()
	if n := r.known(); n != 81 {
		t.Errorf("%d words", n)
	}
	for i := 1; i < len(words); i += 2 {
		if _, err := r.vault.OpenLot(ctx, r.openRequest()); code(err) != bus.FaultRefused {
			t.Fatalf("after %d lifts: %v", i/2, err)
		}
		lift := statement.Freeze{Kind: statement.KindUnfreeze, Env: perso.EnvTest, Site: r.release.Site, What: statement.FrozenLot, Name: string(testLot),
			Reason: "over", At: start, Nonce: [32]byte{byte(i), 2}, Lifts: words[i].Hash()}
		r.tell(r.signWord(lift, "ann", "bob"))
	}
	q := r.openRequest()
	q.Register = [][]byte{r.register.Encode()}
	for i := 0; i < len(words); i += 2 {
		q.Register = append(q.Register, words[i].Encode())
	}
	if _, err := r.vault.OpenLot(ctx, q); err != nil {
		t.Error(err)
	}
}

// TestForgottenWord: a vault does not start when its memory lost its newest word, or has another in its place; nor when the number that its life
// notes was changed with it. It starts with one more than is noted, which it was writing when it ended.
func TestForgottenWord(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	freeze := r.frost(statement.FrozenLot, string(testLot), nil, "bob")
	r.tell(freeze)
	newest := filepath.Join(r.made.MemoryDir, "words", "000001")
	start := func() error {
		l, err := r.lifeOf(r.lives[r.cfg.Name])
		if err != nil {
			return err
		}
		cfg := r.cfg
		cfg.Life = l
		_, err = keygen.New(ctx, cfg)
		return err
	}
	write := func(name string, s statement.Signed) {
		if err := os.WriteFile(name, s.Encode(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := start(); err != nil {
		t.Fatal(err)
	}
	other := r.frost(statement.FrozenLine, "line-9", nil, "bob")
	write(newest, other)
	if err := start(); err == nil || !strings.Contains(err.Error(), "it heard 2 words, and its memory has 2, or others") {
		t.Errorf("another word: %v", err)
	}
	if err := os.Remove(newest); err != nil {
		t.Fatal(err)
	}
	if err := start(); err == nil || !strings.Contains(err.Error(), "it heard 2 words, and its memory has 1, or others") {
		t.Errorf("the newest word is gone: %v", err)
	}
	noted := r.lives[r.cfg.Name].record
	for _, w := range []statement.Words{{}, statement.Words{}.And(r.register.Hash())} {
		r.lives[r.cfg.Name].record.Words = w
		if err := start(); !errors.Is(err, life.ErrOvertaken) {
			t.Errorf("%d words noted by somebody else: %v", w.Count, err)
		}
	}
	r.lives[r.cfg.Name].record = noted
	write(newest, freeze)
	write(filepath.Join(r.made.MemoryDir, "words", "000002"), other)
	if err := start(); err != nil {
		t.Errorf("one more word than is noted: %v", err)
	}
	r.reopenVault()
	if err := r.heed(); err != nil || r.lives[r.cfg.Name].record.Words != r.heard() {
		t.Errorf("the word is not noted when the vault says that it knows it: %v", err)
	}
}
