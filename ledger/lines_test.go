package ledger

import (
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// makeAndBin leads a chip to the good bin.
func (b *bench) makeAndBin(c *chip) {
	b.t.Helper()
	if err := b.bin(b.makeGood(c, 0), perso.VerdictGood); err != nil {
		b.t.Fatal(err)
	}
}

// waitsAt holds what a lot waits for at the lines against what its text must contain; nothing means that it waits for nothing.
func (b *bench) waitsAt(step string, lot perso.Name, lines []perso.Name, want ...string) {
	b.t.Helper()
	s := must(b.l.Status(b.t.Context(), bus.LotRequest{Lot: lot}))
	if err := b.l.AtLines(b.t.Context(), &s, lines); err != nil {
		b.t.Fatal(step, err)
	}
	for _, part := range want {
		if !strings.Contains(s.Waits, part) {
			b.t.Errorf("%s: lot %s waits for %q, want %q", step, lot, s.Waits, part)
		}
	}
	if len(want) == 0 && s.Waits != "" {
		b.t.Errorf("%s: lot %s waits for %q", step, lot, s.Waits)
	}
}

// TestStatusSaysWhatTheLinesOwe: a lot that was released behind another says which, and what that one waits for; so does one whose line is
// frozen, or whose reel is used up or not loaded.
func TestStatusSaysWhatTheLinesOwe(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2})
	one, two := []perso.Name{"line-1"}, []perso.Name{"line-1", "line-2"}
	first := b.lot
	chips := b.stock(3)
	b.makeLot(spec{good: 2})
	second := b.lot
	b.waitsAt("both released", first, one)
	b.waitsAt("both released", second, one, "lot "+string(first)+" was released before it, and line-1 takes that one first")
	f := must(b.freeze(statement.KindFreeze, statement.FrozenLine, "line-1", [32]byte{}, "ann"))
	b.waitsAt("frozen, neither began", second, one, "line-1 takes that one first, which waits: line line-1 is frozen: a drill")
	must(b.freeze(statement.KindUnfreeze, statement.FrozenLine, "line-1", f.Hash, "ann", "bob"))
	b.pass(2 * idleAfter)
	b.waitsAt("no chip since the release", first, one, "no chip was begun since", "at line-1")
	b.in(first).makeAndBin(chips[0])
	b.waitsAt("the first began", first, one)
	b.waitsAt("the first began", second, one, "line-1 has lot "+string(first)+" in hand")
	b.waitsAt("a second line takes the first too", second, two, "line-1 has lot", "line-2 takes that one first")
	b.pass(2 * idleAfter)
	b.waitsAt("no chip for long", first, one, "no chip was begun since", "line-1")
	b.waitsAt("no chip for long", second, one, "line-1 has lot "+string(first)+" in hand until that one is finished, which waits: no chip was begun")

	f = must(b.freeze(statement.KindFreeze, statement.FrozenLine, "line-1", [32]byte{}, "ann"))
	b.waitsAt("line frozen", first, one, "line line-1 is frozen: a drill")
	b.waitsAt("line frozen", second, one, "which waits: line line-1 is frozen: a drill")
	must(b.freeze(statement.KindUnfreeze, statement.FrozenLine, "line-1", f.Hash, "ann", "bob"))
	b.makeAndBin(chips[1])
	b.count("handler", 2, 2, 0, 0, 0)
	b.waitsAt("the first is done", second, one)
	f = must(b.freeze(statement.KindFreeze, statement.FrozenLine, "line-1", [32]byte{}, "ann"))
	b.waitsAt("frozen before it began", second, one, "line line-1 is frozen")
	b.waitsAt("the other line is free", second, two)
	must(b.freeze(statement.KindUnfreeze, statement.FrozenLine, "line-1", f.Hash, "ann", "bob"))

	open := b.in(second).begin(chips[2], b.at(0))
	b.act(open)
	b.pass(2 * idleAfter)
	b.waitsAt("a chip is in work", second, one)
	chips[2].kvn = cardKVN
	b.act(next(open, "written"))
	if err := b.bin(open.Present, perso.VerdictGood); err != nil {
		t.Fatal(err)
	}
	b.waitsAt("the reel is used up", second, one, "the reel is empty", "perso chips receive")
	b.stock(1)
	b.waitsAt("another reel came", second, one)
	b.check()
}

// TestStatusSaysThatTheIssuedAreUsedUp: a lot to which a site issues chips says when these are gone, though others lie in the store.
func TestStatusSaysThatTheIssuedAreUsedUp(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2})
	chips := b.stock(2)
	if _, err := b.move(1, "R1", perso.AccountStore, perso.LotAccount(b.lot), 1); err != nil {
		t.Fatal(err)
	}
	b.waitsAt("issued", b.lot, []perso.Name{"line-1"})
	b.makeAndBin(chips[0])
	b.waitsAt("fed", b.lot, []perso.Name{"line-1"}, "all chips that were issued to it are taken", "perso chips issue --reel REEL --lot "+string(b.lot))
}
