package conduct_test

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/keygen/ceremony/census"
	"github.com/persoline/persoline/keygen/ceremony/conduct"
	"github.com/persoline/persoline/keygen/ceremony/plan"
	"github.com/persoline/persoline/keygen/ceremony/share"
	"github.com/persoline/persoline/keygen/kisource"
	"github.com/persoline/persoline/keygen/life"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement/transcript"
)

// consistent is the whole-world check after a ceremony: the chain verifies from the first transcript, the token is as the
// inventory says, the vault may use what is active and nothing else, and no key material is in any file.
func (s *site) consistent() *transcript.Chain {
	s.t.Helper()
	chain, err := conduct.Load(s.store, [32]byte{})
	s.must(err)
	c, err := census.Take(s.t.Context(), s.token, chain.Inventory, s.env, nil)
	s.must(err)
	if alarms := c.Alarms(); len(alarms) > 0 {
		s.t.Errorf("alarms: %+v", alarms)
	}
	if len(c) != len(slices.DeleteFunc(chain.Inventory.Keys(), func(e *transcript.Entry) bool { return e.Key.Class() == transcript.ClassOP })) {
		s.t.Errorf("census has %d lines", len(c))
	}
	s.leaks()
	return chain
}

func TestLifeOfASite(t *testing.T) {
	t.Parallel()
	for _, env := range []perso.Env{perso.EnvTest, perso.EnvProduction} {
		s := newSite(t, env)
		first := s.mustRun(s.planText("first-keys", "", firstSteps()+generateEnvelope))
		if first.Number() != 1 || len(first.Steps) != 26 || len(first.Public) != 10 {
			t.Errorf("number %d, %d steps, public %q", first.Number(), len(first.Steps), first.Public)
		}
		s.consistent()
		s.mustRun(s.planText("end-of-maker", "", endOfMaker))
		chain := s.consistent()
		maker := chain.Inventory.Find(transcript.Label("persoline/" + string(env) + "/kmc/maker-1"))
		if maker.State != transcript.StateDestroyed || s.has(string(maker.Key)) {
			t.Errorf("maker's key is %s", maker.State)
		}
		text := s.planText("new-officer", "", fmt.Sprintf("  - {do: add-officer, id: dee, person: Dee Example, role: security, key: %x}\n"+
			"  - {do: revoke-officer, id: bob, person: Bob Example, role: security, key: %x, reason: left}\n", publicOf(s, "cid", 9), []byte(s.keys["bob"].Public().(ed25519.PublicKey))))
		s.mustRun(text)
		chain = s.consistent()
		if _, there := chain.Register.Officer("bob"); there || chain.Number != 3 {
			t.Errorf("number %d, bob there: %v", chain.Number, there)
		}
		if _, err := s.run(s.parse(text)); !errors.Is(err, conduct.ErrFinished) {
			t.Errorf("again: %v", err)
		}
		s.room.keys["dee"] = ed25519.NewKeyFromSeed(slices.Repeat([]byte{9}, 32))
		res := s.mustRun(s.planText("with-dee", "present: [ann, dee]\n", "  - {do: generate, key: transport/mno-1, backup: cluster-only, owner: site, until: 2037-01-01}\n"))
		if !strings.Contains(string(must(s.store.Get(res.File))), "env "+string(env)) {
			t.Error("the transcript does not name its environment")
		}
		s.consistent()
	}
}

func publicOf(_ *site, _ perso.Name, seed byte) []byte {
	return ed25519.NewKeyFromSeed(slices.Repeat([]byte{seed}, 32)).Public().(ed25519.PublicKey)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestBreaks kills a ceremony at every durable step, before and after it took effect, and runs the same plan again.
func TestBreaks(t *testing.T) {
	t.Parallel()
	for _, steps := range []string{firstSteps(), "retire"} {
		for _, written := range []bool{false, true} {
			for at := 1; ; at++ {
				s := newSite(t, perso.EnvTest)
				if steps == "retire" {
					s.mustRun(s.planText("first-keys", "", firstSteps()))
				}
				p := s.parse(s.planText("broken", "", map[bool]string{true: endOfMaker, false: steps}[steps == "retire"]))
				sound := s.store
				s.store = &faultyStore{Store: sound, at: at, written: written}
				_, err := s.run(p)
				s.store = sound
				if err == nil {
					if at < 10 {
						t.Fatalf("only %d durable steps", at)
					}
					break
				}
				if !errors.Is(err, errBroken) {
					t.Fatalf("break %d (written %v): %v", at, written, err)
				}
				if _, err := s.run(p); err != nil && !errors.Is(err, conduct.ErrFinished) {
					t.Fatalf("after break %d (written %v): %v", at, written, err)
				}
				s.consistent()
			}
		}
	}
}

// TestTokenBreaks lets every call of the token fail, done or not done.
func TestTokenBreaks(t *testing.T) {
	t.Parallel()
	for _, done := range []bool{false, true} {
		for at := uint64(1); ; at++ {
			s := newSite(t, perso.EnvTest)
			p := s.parse(s.planText("broken", "", firstSteps()))
			calls := uint64(0)
			s.token.Inject(func(uint64, hsm.Verb, hsm.Key) hsmfake.Fault {
				switch calls++; {
				case calls != at:
					return hsmfake.Fault{}
				case done:
					return hsmfake.Fault{After: hsm.ErrSessionLost}
				}
				return hsmfake.Fault{Before: hsm.ErrSessionLost}
			})
			_, err := s.run(p)
			s.token.Inject(nil)
			if err == nil {
				if at < 20 {
					t.Fatalf("only %d calls", at)
				}
				break
			}
			if _, err := s.run(p); err != nil {
				t.Fatalf("after call %d (done %v): %v", at, done, err)
			}
			s.consistent()
		}
	}
}

// brokenGenerate is a ceremony that makes one key, and broke between its intent and its outcome. Of the key that is on the token the
// token does not say that it was made inside.
func brokenGenerate(t *testing.T, class string) (s *site, p *plan.Plan, k hsm.Key) {
	t.Helper()
	const alone = "  - {do: generate, key: %s/S1, backup: cluster-only, owner: site, until: 2037-01-01}\n"
	s = newSite(t, perso.EnvTest)
	p = s.parse(s.planText("broken", "", fmt.Sprintf(alone, class)))
	sound := s.store
	s.store = &faultyStore{Store: sound, at: 3, written: true} // register, order, intent
	if _, err := s.run(p); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	s.store = sound
	k = must(hsm.ParseKey("persoline/test/" + class + "/S1"))
	if s.has(k.Label) {
		t.Fatalf("%s was made before its intent was on disk", class)
	}
	s.must(s.token.Import(t.Context(), k, secret.New(make([]byte, 32))))
	return s, p, k
}

// TestHalfMadeKeys: a process that was killed between an intent and its outcome left a key without a value, of which the token does not
// say that it was made inside: SoftHSM writes a key's attributes first, and that with its value (hsm, TestKilledMakers). It is made anew,
// and not taken for done by who gives the ceremony up; and the transcript tells that something was taken away.
func TestHalfMadeKeys(t *testing.T) {
	t.Parallel()
	for _, class := range []string{"receipt", "seal", "transport"} {
		for _, giveUp := range []bool{false, true} {
			s, p, k := brokenGenerate(t, class)
			label, whole := k.Label, false
			s.token.Inject(func(_ uint64, v hsm.Verb, asked hsm.Key) (f hsmfake.Fault) {
				whole = whole || v == hsm.VerbGenerate
				if !whole && asked == k && (v == hsm.VerbKCV || v == hsm.VerbSeal) {
					f.Before = hsm.ErrUnsupported
				}
				return f
			})
			hold, outcome := conduct.Run, transcript.OutcomeComplete
			if giveUp {
				hold, outcome = conduct.Abandon, transcript.OutcomeAbandoned
			}
			res, err := hold(t.Context(), s.config(p))
			if err != nil || res.End.Outcome != outcome {
				t.Errorf("%s, given up %v: %v, %q", class, giveUp, err, res.End.Outcome)
			}
			if s.has(label) == giveUp || !giveUp && !must(s.token.Local(t.Context(), k)) {
				t.Errorf("%s, given up %v: on the token %v", class, giveUp, s.has(label))
			}
			if note := s.room.steps[len(s.room.steps)-1].Note; !strings.Contains(note, "taken away") {
				t.Errorf("%s, given up %v: the transcript says %q", class, giveUp, note)
			}
			s.consistent()
		}
	}
}

// TestBroughtKeys: a key that can be used, and was not made inside, is somebody's who brought it while the ceremony was broken off. It is
// neither taken nor taken away, as little as one of which the token does not say now whether it can be used.
func TestBroughtKeys(t *testing.T) {
	t.Parallel()
	for _, class := range []string{"receipt", "seal", "transport"} {
		for _, hold := range []func(context.Context, conduct.Config) (conduct.Result, error){conduct.Run, conduct.Abandon} {
			s, p, k := brokenGenerate(t, class)
			if _, err := hold(t.Context(), s.config(p)); !errors.Is(err, conduct.ErrToken) || !s.has(k.Label) {
				t.Errorf("%s: %v, on the token %v", class, err, s.has(k.Label))
			}
			s.token.Inject(func(_ uint64, v hsm.Verb, _ hsm.Key) (f hsmfake.Fault) {
				if v == hsm.VerbKCV || v == hsm.VerbSeal {
					f.Before = hsm.ErrDevice
				}
				return f
			})
			if _, err := hold(t.Context(), s.config(p)); !errors.Is(err, hsm.ErrDevice) || !s.has(k.Label) {
				t.Errorf("%s, with a token that fails: %v, on the token %v", class, err, s.has(k.Label))
			}
		}
	}
}

// TestAbandon gives a ceremony up after every break; the next one begins where the inventory then is.
func TestAbandon(t *testing.T) {
	t.Parallel()
	for _, written := range []bool{false, true} {
		for at := 3; at < 20; at++ { // the first two are register and order: nothing was begun
			s := newSite(t, perso.EnvTest)
			p := s.parse(s.planText("broken", "", firstSteps()))
			sound := s.store
			s.store = &faultyStore{Store: sound, at: at, written: written}
			_, err := s.run(p)
			s.store = sound
			if !errors.Is(err, errBroken) {
				t.Fatalf("break %d: %v", at, err)
			}
			res, err := conduct.Abandon(t.Context(), s.config(p))
			if err != nil || res.End.Outcome != transcript.OutcomeAbandoned {
				t.Fatalf("giving up after break %d (written %v): %v, %q", at, written, err, res.End.Outcome)
			}
			s.consistent()
			s.mustRun(s.planText("next", "", "  - {do: generate, key: transport/mno-1, backup: cluster-only, owner: site, until: 2037-01-01}\n"))
			s.consistent()
		}
	}
	s := newSite(t, perso.EnvTest)
	if _, err := conduct.Abandon(t.Context(), s.config(s.parse(s.planText("never", "", generateSite)))); err == nil {
		t.Error("gave up what was not begun")
	}
}

// TestComponents: with fewer than all, or a wrong one, nothing is left.
func TestComponents(t *testing.T) {
	t.Parallel()
	away := errors.New("the third keeper is away")
	for name, c := range map[string]struct {
		enter func(s *site, q conduct.Request) (secret.Bytes, error)
		want  error
	}{
		"fewer than all": {func(s *site, q conduct.Request) (secret.Bytes, error) {
			if q.Custodian.ID == "c3" {
				return secret.Bytes{}, away
			}
			return s.component(q)
		}, away},
		"mistyped three times": {func(s *site, q conduct.Request) (secret.Bytes, error) {
			b := componentBytes(string(q.Key.ID()), string(q.Custodian.ID), q.Bytes)
			b[0] ^= 1
			return secret.New(b), nil
		}, share.ErrKCV},
		"too short": {func(_ *site, q conduct.Request) (secret.Bytes, error) {
			return secret.New(make([]byte, q.Bytes-1)), nil
		}, share.ErrComponent},
	} {
		s := newSite(t, perso.EnvTest)
		s.room.enter = func(q conduct.Request) (secret.Bytes, error) { return c.enter(s, q) }
		if _, err := s.run(s.parse(s.planText("import", "", importStep("import", "kmc", "maker-1", 16)))); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if s.has("persoline/test/kmc/maker-1") || len(s.room.steps) > 0 {
			t.Errorf("%s: something is left: %v", name, s.room.steps)
		}
		s.leaks()
	}
	s := newSite(t, perso.EnvTest)
	s.room.enter = func(q conduct.Request) (secret.Bytes, error) {
		if q.Try == 1 {
			return secret.New(make([]byte, q.Bytes)), nil
		}
		return s.component(q)
	}
	s.mustRun(s.planText("second-try", "", importStep("import", "kmc", "maker-1", 16)))
	s.consistent()
	// A receive key cannot encrypt: custodians have the usual check values, the token shows another.
	s.mustRun(s.planText("receive-key", "", importStep("import", "receive", "rk-1", 16)))
	s.consistent()
	known := strings.Replace(importStep("import", "kmc", "maker-2", 16), "kcv: none", "kcv: 000000", 1)
	if _, err := s.run(s.parse(s.planText("other-key", "", known))); !errors.Is(err, share.ErrKCV) || s.has("persoline/test/kmc/maker-2") {
		t.Errorf("joined to another key than its sender's: %v", err)
	}
}

// TestCheck: what Run refuses before anybody signs, a reviewer hears from the plan alone.
func TestCheck(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ extra, steps, old, other, want string }{
		"two officers":     {"", generateSite, "", "", ""},
		"one officer":      {"present: [ann]\n", generateSite, "", "", "different person and role"},
		"an officer twice": {"present: [ann, ann]\n", generateSite, "", "", "stands twice"},
		"nobody":           {"present: []\n", generateSite, "", "", "different person and role"},
		"a stranger":       {"present: [ann, eve]\n", generateSite, "", "", "no officer in the register"},
		"one role":         {"", generateSite, "role: security", "role: production", "different person and role"},
		"one person":       {"", generateSite, "person: First Keeper", "person: Bob Example", "same person under two names"},
		"nothing to end":   {"", "  - {do: retire, key: kmc/maker-1, reason: none}\n", "", "", "step 1 of the plan"},
	} {
		s := newSite(t, perso.EnvTest)
		p := s.parse(strings.ReplaceAll(s.planText("first-keys", c.extra, c.steps), cmp.Or(c.old, "\x00"), c.other))
		switch err := conduct.Check(p); {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v", name, err)
		}
		if c.want == "" {
			continue
		}
		if _, err := s.run(p); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the same plan is carried out: %v", name, err)
		}
		if chain := must(conduct.Load(s.store, [32]byte{})); chain.Number != 0 || len(s.store.(memory)) != 0 {
			t.Errorf("%s: something was signed before the plan was refused", name)
		}
	}
	s := newSite(t, perso.EnvTest)
	s.mustRun(s.planText("first-keys", "", firstSteps()))
	if err := conduct.Check(s.parse(s.planText("later", "present: [ann]\n", generateSite))); err == nil {
		t.Error("a later ceremony with one officer is well")
	}
}

// TestDualControl: one officer, one person with two names, a signature by another, and whatever a key's life does not allow,
// leave nothing behind.
func TestDualControl(t *testing.T) {
	t.Parallel()
	with := func(extra, steps string) func(*site) string {
		return func(s *site) string { return s.planText("x", extra, steps) }
	}
	for name, c := range map[string]struct {
		change func(s *site) string
		want   string
	}{
		"one officer":      {with("present: [ann]\n", generateSite), "different person and role"},
		"an officer twice": {with("present: [ann, ann]\n", generateSite), "stands twice"},
		"a stranger":       {with("present: [ann, eve]\n", generateSite), "no officer in the register"},
		"one is not there": {func(s *site) string { s.room.absent = "bob"; return s.planText("x", "", generateSite) }, "is not here"},
		"a forged hand":    {func(s *site) string { s.room.forge = "bob"; return s.planText("x", "", generateSite) }, "does not verify"},
		"too late":         {func(s *site) string { s.now = s.now.AddDate(0, 1, 0); return s.planText("x", "", generateSite) }, "was to be begun by"},
		"a number left out": {func(s *site) string {
			return strings.Replace(s.planText("x", "", generateSite), "number: 2", "number: 3", 1)
		}, "the last one was 1"},
		"another head": {func(s *site) string {
			head := must(conduct.Load(s.store, [32]byte{})).Head
			return strings.Replace(s.planText("x", "", generateSite), fmt.Sprintf("previous: %x", head), "previous: "+strings.Repeat("ab", 32), 1)
		}, "put back to an older state"},
		"sign-off by one person": {func(s *site) string {
			return strings.Replace(s.planText("x", "", endOfMaker), "person: First Keeper", "person: BOB EXAMPLE", 1)
		}, "the same person under two names"},
		"unknown copy":     {with("", strings.Replace(endOfMaker, "holder: c2", "holder: c3", 1)), "no copy left"},
		"out of order":     {with("", "  - {do: destroy, key: kmc/maker-1, reason: hurry}\n"), "it is active"},
		"a label again":    {with("", importStep("import", "kmc", "maker-1", 16)), "a label is used once"},
		"revoke too many":  {func(s *site) string { return s.planText("x", "", revokeAll(s)) }, "nobody could sign any more"},
		"stranger revoked": {func(s *site) string { return s.planText("x", "", strings.Replace(revokeAll(s), "Ann", "Eve", 1)) }, "does not repeat"},
	} {
		s := newSite(t, perso.EnvTest)
		s.mustRun(s.planText("first-keys", "", importStep("import", "kmc", "maker-1", 16)))
		before, files := len(s.room.steps), len(s.store.(memory))
		if _, err := s.run(s.parse(c.change(s))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if len(s.room.steps) != before || len(s.store.(memory)) != files || s.has("persoline/test/log/S1") || !s.has("persoline/test/kmc/maker-1") {
			t.Errorf("%s: something was done", name)
		}
	}
}

// revokeAll leaves one officer.
func revokeAll(s *site) string {
	var b strings.Builder
	for _, o := range officers[:2] {
		fmt.Fprintf(&b, "  - {do: revoke-officer, id: %s, person: %s, role: %s, key: %x, reason: all}\n", o.ID, o.Person, o.Role, []byte(s.keys[o.ID].Public().(ed25519.PublicKey)))
	}
	return b.String()
}

// TestOldToken: whatever a restored token shows is an alarm, the vault may not use it, and no ceremony begins on it.
func TestOldToken(t *testing.T) {
	t.Parallel()
	s := newSite(t, perso.EnvTest)
	s.mustRun(s.planText("first-keys", "", firstSteps()))
	s.mustRun(s.planText("end-of-maker", "", endOfMaker))
	key := func(label string) hsm.Key { return must(hsm.ParseKey(label)) }
	ctx := context.Background()
	s.must(s.token.Import(ctx, key("persoline/test/kmc/maker-1"), secret.New(make([]byte, 16)))) // came back
	s.must(s.token.Import(ctx, key("persoline/test/kmc/planted"), secret.New(make([]byte, 16)))) // unknown
	s.must(s.token.Destroy(ctx, key("persoline/test/eis/S1")))                                   // missing
	s.must(s.token.Destroy(ctx, key("persoline/test/log/S1")))
	s.must(s.token.Generate(ctx, key("persoline/test/log/S1")))  // changed
	s.must(s.token.Generate(ctx, key("persoline/test/lot/L-1"))) // destroyed lot
	s.must(s.token.Generate(ctx, key("persoline/test/lot/L-2"))) // fine
	lotSeal := must(kisource.LotSealKey(s.env, "L-2"))
	s.must(s.token.Generate(ctx, lotSeal))                                 // its seal key
	s.must(s.token.Generate(ctx, must(kisource.LotSealKey(s.env, "L-1")))) // of a destroyed lot
	s.must(s.token.Generate(ctx, key("persoline/test/lot/L-3")))           // never made
	s.must(s.token.Generate(ctx, key("persoline/production/lot/L-2")))     // of the other environment
	alive := must(life.Owner{Env: s.env, Site: "S1", Vault: "vault-1"}.Key(life.Nonce{1}))
	s.must(s.token.Generate(ctx, alive))                          // a vault's life is its own matter
	s.must(s.token.Generate(ctx, key("persoline/test/life/odd"))) // no vault's
	chain := must(conduct.Load(s.store, [32]byte{}))
	c := must(census.Take(ctx, s.token, chain.Inventory, s.env, census.Lots{"L-1": true, "L-2": false}))
	want := map[string]census.Verdict{
		"persoline/test/kmc/maker-1": census.CameBack, "persoline/test/kmc/planted": census.Unknown, "persoline/test/eis/S1": census.Missing,
		"persoline/test/log/S1": census.Changed, "persoline/test/lot/L-1": census.CameBack, must(kisource.LotSealKey(s.env, "L-1")).Label: census.CameBack, "persoline/test/lot/L-3": census.Unknown,
		"persoline/production/lot/L-2": census.Unknown, "persoline/test/life/odd": census.Unknown,
	}
	for _, l := range c.Alarms() {
		if want[l.Key] != l.Verdict {
			t.Errorf("%s is %s: %s", l.Key, l.Verdict, l.What)
		}
		delete(want, l.Key)
	}
	if len(want) > 0 {
		t.Errorf("no alarm about %v", want)
	}
	g := census.Guard(s.token, c)
	if err := g.Generate(ctx, must(kisource.LotSealKey(s.env, "L-9"))); err != nil {
		t.Errorf("a new lot's seal key: %v", err)
	}
	for label, fit := range map[string]bool{"persoline/test/lot/L-2": true, lotSeal.Label: true, alive.Label: false, "persoline/test/lot/L-9": true, "persoline/test/lot/L-1": false, "persoline/test/kmc/maker-1": false,
		"persoline/test/kmc/planted": false, "persoline/test/log/S1": false, "persoline/test/eum/S1": true, "persoline/test/kmc/other": false} {
		if _, err := g.Has(ctx, key(label)); (err == nil) != fit || err != nil && !errors.Is(err, hsm.ErrRefused) {
			t.Errorf("%s: %v", label, err)
		}
	}
	refusesAll(t, g, key)
	if _, err := s.run(s.parse(s.planText("on-an-old-token", "", "  - {do: generate, key: transport/mno-1, backup: cluster-only, owner: site, until: 2037-01-01}\n"))); !errors.Is(err, conduct.ErrToken) {
		t.Errorf("a ceremony on an old token: %v", err)
	}
}

// refusesAll tries every verb of the vault with a key that came back.
func refusesAll(t *testing.T, g keygen.Token, key func(string) hsm.Key) {
	ctx := context.Background()
	kmc, log, seal := key("persoline/test/kmc/maker-1"), key("persoline/test/log/S1"), key("persoline/test/seal/other")
	_, public := g.Public(ctx, log)
	_, mac := g.MAC(ctx, key("persoline/test/lot/L-1"), []byte{1})
	_, ecb := g.EncryptECB(ctx, kmc, make([]byte, 16))
	_, sealing := g.Seal(ctx, seal, secret.New(make([]byte, 16)), nil)
	_, unseal := g.Unseal(ctx, seal, make([]byte, 64), nil)
	_, digest := g.SignDigest(ctx, key("persoline/test/eis/S1"), make([]byte, 32))
	_, message := g.SignMessage(ctx, log, []byte{1})
	for verb, err := range map[string]error{"Public": public, "MAC": mac, "EncryptECB": ecb, "Seal": sealing, "Unseal": unseal, "SignDigest": digest, "SignMessage": message,
		"Generate": g.Generate(ctx, key("persoline/test/kmc/new")), "Generate of a destroyed lot": g.Generate(ctx, key("persoline/test/lot/L-1"))} {
		if !errors.Is(err, hsm.ErrRefused) {
			t.Errorf("%s: %v", verb, err)
		}
	}
}

// TestEveryByteCounts changes a transcript byte by byte, and leaves parts out.
func TestEveryByteCounts(t *testing.T) {
	t.Parallel()
	s := newSite(t, perso.EnvTest)
	res := s.mustRun(s.planText("first-keys", "", generateSite[:strings.Index(generateSite, "  - {do: generate, key: receipt")]))
	b := must(s.store.Get(res.File))
	verify := func(b []byte) error {
		f, err := transcript.Decode(b)
		if err == nil {
			_, err = transcript.NewChain(res.RegisterPin).Follow(f)
		}
		var fault *transcript.Fault
		if err != nil && !errors.As(err, &fault) {
			t.Errorf("no place: %v", err)
		}
		return err
	}
	if err := verify(b); err != nil {
		t.Fatal(err)
	}
	for i := range b {
		changed := slices.Clone(b)
		changed[i] ^= 1
		if verify(changed) == nil {
			t.Fatalf("byte %d changed from %q and nothing found", i, b[i])
		}
	}
	f := must(transcript.Decode(b))
	for i := range f.Steps {
		g := f
		g.Steps = slices.Delete(slices.Clone(f.Steps), i, i+1)
		if verify(g.Encode()) == nil {
			t.Errorf("step %d left out and nothing found", i+1)
		}
	}
	if _, err := transcript.NewChain([32]byte{1}).Follow(f); err == nil {
		t.Error("another register's genesis was taken")
	}
	unsigned := f
	unsigned.End.Signatures = f.End.Signatures[:1]
	if err := verify(unsigned.Encode()); err == nil || !strings.Contains(err.Error(), "end: ") {
		t.Errorf("signed by one: %v", err)
	}
	if _, err := transcript.NewPartial(res.RegisterPin).Follow(f); err != nil {
		t.Errorf("by itself: %v", err)
	}
}
