package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

func (b *bench) freeze(kind string, what statement.Frozen, name string, lifts [32]byte, officers ...perso.Name) (bus.WordReply, error) {
	b.words++
	f := statement.Freeze{Kind: kind, Env: perso.EnvTest, Site: testSite, What: what, Name: name, Lifts: lifts, Reason: "a drill", At: b.clock(), Nonce: [32]byte{b.words}}
	return b.l.Word(b.t.Context(), bus.SignedRequest{Signed: b.sign(must(f.Encode()), officers...).Encode()})
}

// TestFreeze: one officer stops a lot by its name, its order, a key of it, or its line, in every process at once; two let it go
// on; until then nothing is begun, goes on, is closed or handed out, and what lies in a bin is still taken.
func TestFreeze(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 3, spares: 1})
	chips := b.stock(3)
	binned := b.makeGood(chips[0], 0)
	open := b.begin(chips[1], b.at(1))
	b.act(open)
	r := must(b.l.lot(t.Context(), b.lot)).release
	for what, name := range map[statement.Frozen]string{statement.FrozenLot: string(b.lot), statement.FrozenOrder: r.Order, statement.FrozenKey: string(r.KMC), statement.FrozenLine: "line-1"} {
		f, err := b.freeze(statement.KindFreeze, what, name, [32]byte{}, "ann")
		if err != nil || f.Unknown {
			t.Fatal(what, f, err)
		}
		b.want(b.act(b.begin(chips[2], b.at(2))), perso.VerdictHold, perso.ReasonFrozen)
		b.want(b.act(open), perso.VerdictHold, perso.ReasonFrozen)
		b.want(b.mute(b.at(3), 3), perso.VerdictHold, perso.ReasonFrozen)
		if what != statement.FrozenLine {
			if s := b.status(); !strings.Contains(s.Waits, "is frozen: a drill") {
				t.Errorf("status says it waits for %q", s.Waits)
			}
			for doing, err := range map[string]error{"handing out": b.l.MayHandOut(t.Context(), bus.LotRequest{Lot: b.lot}), "recording an export": b.l.RecordExport(t.Context(), entry.Export{Lot: b.lot, What: "eis", Receiver: "x"}),
				"closing": second(b.l.Close(t.Context(), b.closing(nil, "ann", "bob"))), "issuing": second(b.move(byte(90+b.words), "R1", perso.AccountStore, perso.LotAccount(b.lot), 1))} {
				if err == nil || !strings.Contains(err.Error(), "is frozen: a drill") {
					t.Errorf("%s: %s was not refused: %v", what, doing, err)
				}
			}
		}
		if s := must(b.l.Standing(t.Context(), bus.Empty{})); len(s.Frozen) != 1 || s.Frozen[0].Hash != f.Hash {
			t.Errorf("%s: standing %+v", what, s)
		}
		if _, err := b.freeze(statement.KindUnfreeze, what, name, f.Hash, "ann", "bob"); err != nil {
			t.Error(what, err)
		}
	}
	if a := b.act(open); a.Verdict != nil {
		t.Errorf("it does not go on: %+v", a.Verdict)
	}
	if err := b.bin(binned, perso.VerdictGood); err != nil {
		t.Error(err)
	}
	b.check()
}

func second[T any](_ T, err error) error { return err }

// TestFreezeRefusals: who may not freeze, what is frozen already, and old words.
func TestFreezeRefusals(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1})
	lot := string(b.lot)
	f := must(b.freeze(statement.KindFreeze, statement.FrozenLot, lot, [32]byte{}, "ann"))
	for name, err := range map[string]error{
		"nobody":             second(b.freeze(statement.KindFreeze, statement.FrozenLine, "line-1", [32]byte{})),
		"twice":              second(b.freeze(statement.KindFreeze, statement.FrozenLot, lot, [32]byte{}, "bob")),
		"unfreeze by one":    second(b.freeze(statement.KindUnfreeze, statement.FrozenLot, lot, f.Hash, "ann")),
		"of another freeze":  second(b.freeze(statement.KindUnfreeze, statement.FrozenLot, lot, [32]byte{1}, "ann", "bob")),
		"of what is at work": second(b.freeze(statement.KindUnfreeze, statement.FrozenLine, "line-1", f.Hash, "ann", "bob")),
		"no word":            second(b.l.Word(t.Context(), b.closing(nil, "ann", "bob"))),
	} {
		var fault *bus.Fault
		if !errors.As(err, &fault) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(must(b.l.Standing(t.Context(), bus.Empty{})).Frozen) != 1 {
		t.Error("a refused word changed something")
	}
	b.check()
}

// TestFreezeUnknown: a name that nothing has is frozen, for what may come, and whoever froze it hears that nothing stops.
func TestFreezeUnknown(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1})
	for _, what := range []statement.Frozen{statement.FrozenLot, statement.FrozenOrder, statement.FrozenKey} {
		if f, err := b.freeze(statement.KindFreeze, what, "misspelt", [32]byte{}, "ann"); err != nil || !f.Unknown {
			t.Errorf("%s: %+v, %v", what, f, err)
		}
	}
	if s := must(b.l.Standing(t.Context(), bus.Empty{})); len(s.Frozen) != 3 {
		t.Errorf("frozen: %+v", s.Frozen)
	}
	b.check()
}

// TestLogRefusal: what the office was refused stands in the log, once however often it is asked again.
func TestLogRefusal(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1})
	q := b.closing(nil, "ann", "bob")
	_, err := b.l.Close(t.Context(), q)
	var fault *bus.Fault
	if !errors.As(err, &fault) {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.l.LogRefusal(t.Context(), bus.OfficeClose, q, fault); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.l.LogRefusal(t.Context(), bus.OfficeWord, q, fault); err != nil {
		t.Fatal(err)
	}
	if n := b.kinds()[entry.KindForbidden]; n != 2 {
		t.Errorf("%d refusals are logged", n)
	}
	b.check()
}

// TestFreezeWhileTheVaultWorks: a window that the vault makes while its lot is being frozen does not leave; when the work goes on
// the same act gets it.
func TestFreezeWhileTheVaultWorks(t *testing.T) {
	t.Parallel()
	for what, name := range map[statement.Frozen]string{statement.FrozenLot: "", statement.FrozenLine: "line-1"} {
		b := newBench(t, spec{good: 1})
		if name == "" {
			name = string(b.lot)
		}
		q := b.begin(b.one(), b.at(0))
		var f bus.WordReply
		b.vault.serving = func(entry.Claim, entry.Act) {
			f = must(b.freeze(statement.KindFreeze, what, name, [32]byte{}, "ann"))
		}
		b.want(b.act(q), perso.VerdictHold, perso.ReasonFrozen)
		b.vault.serving = nil
		b.want(b.act(q), perso.VerdictHold, perso.ReasonFrozen)
		if _, err := b.freeze(statement.KindUnfreeze, what, name, f.Hash, "ann", "bob"); err != nil {
			t.Fatal(err)
		}
		if a := b.act(q); a.Verdict != nil || len(a.State) == 0 {
			t.Errorf("%s: it does not go on: %+v", what, a.Verdict)
		}
		b.check()
	}
}

// TestFreezeBeforeTheKeyIsGone: the word that destroys a lot's key was logged, and the vault was away; then somebody froze the lot.
func TestFreezeBeforeTheKeyIsGone(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1})
	b.closeLot()
	b.deliver()
	b.pass(2 * time.Hour)
	q := b.endLot(nil, "ann", "bob")
	b.vault.fail = failOn("destroy", context.DeadlineExceeded)
	if _, err := b.l.DestroyKeys(t.Context(), q); err == nil {
		t.Fatal("the vault was not away")
	}
	f := must(b.freeze(statement.KindFreeze, statement.FrozenLot, string(b.lot), [32]byte{}, "ann"))
	b.vault.fail = failOn("destroy", errors.New("the vault was asked"))
	if _, err := b.l.DestroyKeys(t.Context(), q); err == nil || !strings.Contains(err.Error(), "is frozen: a drill") {
		t.Errorf("of a frozen lot: %v", err)
	}
	b.vault.fail = nil
	if _, err := b.freeze(statement.KindUnfreeze, statement.FrozenLot, string(b.lot), f.Hash, "ann", "bob"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.l.DestroyKeys(t.Context(), q); err != nil {
		t.Error(err)
	}
	b.check()
}

// TestVaultsAreTold: a vault hears the register and what is frozen at once, in the order of the log; one that was away, or a ledger that
// was started anew, makes up for it before anything is asked of the vault.
func TestVaultsAreTold(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 3})
	b.makeGood(b.one(), 0)
	lot := string(b.lot)
	kinds := func() string {
		b.vault.mu.Lock()
		defer b.vault.mu.Unlock()
		var all []string
		for _, s := range b.vault.words {
			all = append(all, must(record.Kind(s.Body)))
		}
		return strings.Join(all, " ")
	}
	f := must(b.freeze(statement.KindFreeze, statement.FrozenLot, lot, [32]byte{}, "cid"))
	if got := kinds(); got != "officer-register freeze" || len(f.Untold) > 0 {
		t.Fatalf("the vault heard %q, untold %v", got, f.Untold)
	}
	b.vault.mu.Lock()
	b.vault.fail = func(verb string) error {
		if verb == "heed" {
			return bus.ErrNoAnswer
		}
		return nil
	}
	b.vault.mu.Unlock()
	away := must(b.l.Word(t.Context(), b.change(statement.KindRevoke, "cid", nil, "ann", "bob")))
	if len(away.Untold) != 1 || away.Untold[0] != "V1" {
		t.Errorf("untold: %v", away.Untold)
	}
	if r := must(b.freeze(statement.KindUnfreeze, statement.FrozenLot, lot, f.Hash, "ann", "bob")); len(r.Untold) != 1 {
		t.Errorf("untold: %v", r.Untold)
	}
	if _, err := b.l.Act(t.Context(), b.begin(b.one(), b.at(1))); !errors.Is(err, bus.ErrNoAnswer) {
		t.Errorf("a vault that was not told is asked to serve: %v", err)
	}
	if got := kinds(); got != "officer-register freeze" {
		t.Fatalf("the vault heard %q", got)
	}
	b.vault.mu.Lock()
	b.vault.fail = nil
	b.vault.mu.Unlock()
	b.open(b.db)
	b.vault.restart()
	b.makeGood(b.one(), 2)
	if got := kinds(); got != "officer-register freeze officer-revoke unfreeze" {
		t.Errorf("the vault heard %q", got)
	}
	b.check()
}

// TestVaultApart: a vault that heard a word which this ledger lost is not said to have been told what comes after; whoever hands a word in
// hears in which it differs. What was lost can be handed in again; what came between cannot be mended.
func TestVaultApart(t *testing.T) {
	t.Parallel()
	for _, between := range []bool{false, true} {
		b := newSite(t)
		must(b.freeze(statement.KindFreeze, statement.FrozenLine, "line-8", [32]byte{}, "ann"))
		lost := b.sign(must(statement.Freeze{Kind: statement.KindFreeze, Env: perso.EnvTest, Site: testSite, What: statement.FrozenLine, Name: "line-9",
			Reason: "a drill", At: b.clock(), Nonce: [32]byte{77}}.Encode()), "ann")
		var row statement.Words
		for _, s := range b.vault.words {
			row = row.And(s.Hash())
		}
		if a := must(b.vault.Heed(t.Context(), bus.HeedRequest{Known: row.Count, Chain: row.Chain, Words: [][]byte{lost.Encode()}})); !a.Taken {
			t.Fatal("it was not told")
		}
		if between {
			r := must(b.freeze(statement.KindFreeze, statement.FrozenKey, "kmc", [32]byte{}, "ann"))
			if want := fmt.Sprintf("word 2 of the officers is freeze %x here, and statement %x there", r.Hash, lost.Hash()); len(r.Untold) != 1 || len(r.Apart) != 1 || r.Apart[0].Vault != "V1" || !strings.Contains(r.Apart[0].Why, want) {
				t.Errorf("another word came: %+v, want %q", r, want)
			}
			// One more does not make the two look alike, nor does a ledger that is started anew.
			b.open(b.db)
			if r := must(b.freeze(statement.KindFreeze, statement.FrozenKey, "kmd", [32]byte{}, "ann")); len(r.Apart) != 1 || !strings.Contains(r.Apart[0].Why, "word 2 of") {
				t.Errorf("two words came: %+v", r)
			}
			if n := len(b.vault.words); n != 3 {
				t.Errorf("the vault heard %d words", n)
			}
			continue
		}
		if _, apart := b.l.tellAll(t.Context()); len(apart) != 1 || !strings.Contains(apart[0].Why, fmt.Sprintf("the vault heard statement %x as word 2, which this ledger has not", lost.Hash())) {
			t.Errorf("nothing came: %+v", apart)
		}
		if r := must(b.l.Word(t.Context(), bus.SignedRequest{Signed: lost.Encode()})); len(r.Untold)+len(r.Apart) > 0 {
			t.Errorf("handed in again: %+v", r)
		}
		if r := must(b.freeze(statement.KindFreeze, statement.FrozenKey, "kmc", [32]byte{}, "ann")); len(r.Untold)+len(r.Apart) > 0 || b.vault.words[3].Hash() != r.Hash {
			t.Errorf("the next word: %+v", r)
		}
	}
}

// TestDeafVaultOfALedgerStartedAnew: a vault that did not answer when something was frozen is told before its first act through a ledger that
// was not there then, although its lots are still open.
func TestDeafVaultOfALedgerStartedAnew(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 3})
	b.makeGood(b.one(), 0)
	b.vault.fail = failOn("heed", bus.ErrNoAnswer)
	r := must(b.freeze(statement.KindFreeze, statement.FrozenKey, "some-key", [32]byte{}, "ann"))
	if len(r.Untold) != 1 {
		t.Fatalf("untold: %v", r.Untold)
	}
	b.open(b.db)
	if _, err := b.l.Act(t.Context(), b.begin(b.one(), b.at(1))); !errors.Is(err, bus.ErrNoAnswer) {
		t.Errorf("it is asked to serve before it was told: %v", err)
	}
	b.vault.fail = nil
	b.makeGood(b.one(), 2)
	if last := b.vault.words[len(b.vault.words)-1]; last.Hash() != r.Hash {
		t.Error("it served, and was not told what officers had said meanwhile")
	}
	b.check()
}
