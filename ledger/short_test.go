package ledger

import (
	"errors"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

func (b *bench) short(reason string) statement.Short {
	return statement.Short{Header: b.header(), Lot: b.lot, Release: must(b.l.lot(b.t.Context(), b.lot)).hash, Reason: reason}
}

// asksOver is what a line at an empty reel hears.
func (b *bench) asksOver() bool {
	b.t.Helper()
	return must(b.l.Challenges(b.t.Context(), bus.ChallengesRequest{Lot: b.lot, Line: "line-1", Over: true})).Over
}

// TestALotEndsShort: two officers end a lot whose chips are used up. Nothing of it begins any more, what is in work comes to its end, and
// it is counted, closed and handed out with what is good.
func TestALotEndsShort(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 4, spares: 1})
	chips := b.stock(3)
	if err := b.bin(b.makeGood(chips[0], 0), perso.VerdictGood); err != nil {
		t.Fatal(err)
	}
	open := b.begin(chips[1], b.at(1))
	b.act(open)
	if err := b.countWith(entry.SourceHand, 2, 1, 0, 0); err == nil || b.asksOver() {
		t.Fatal("it was over before anybody ended it")
	}
	w := b.short("the reel is used up")
	b.denied(b.say(w, "ann"), "two officers")
	other := w
	other.Release[0] ^= 1
	b.denied(b.say(other, "ann", "bob"), "another release")
	if err := b.say(w, "ann", "bob"); err != nil {
		t.Fatal(err)
	}
	if err := b.say(w, "ann", "bob"); err != nil {
		t.Error("handed in again:", err)
	}
	b.denied(b.say(b.short("again"), "ann", "bob"), "ended lot "+string(b.lot)+" short before")
	if s := b.status(); s.State != perso.LotRunning || !s.Short || !strings.Contains(s.Waits, "two officers ended it short") || b.asksOver() {
		t.Errorf("with a unit in work: %+v", s)
	}
	late := b.begin(chips[2], b.at(2))
	b.want(b.act(late), perso.VerdictHold, perso.ReasonLotWaiting)
	chips[1].kvn = cardKVN
	b.want(b.act(next(open, "written")), perso.VerdictGood, perso.ReasonNone)
	if s := b.status(); s.State != perso.LotComplete || s.Good != 2 || !b.asksOver() {
		t.Errorf("with nothing in work: %+v", s)
	}
	b.want(b.act(late), perso.VerdictReturn, perso.ReasonNoIdentity)
	b.closesWith(open.Present, late.Present)
}

// closesWith counts and closes a lot of three chips, two of which are good and one came back.
func (b *bench) closesWith(good, back perso.Presentation) {
	b.t.Helper()
	if err := errors.Join(b.bin(good, perso.VerdictGood), b.bin(back, perso.VerdictReturn)); err != nil {
		b.t.Fatal(err)
	}
	b.count(entry.SourceHandler, 3, 2, 0, 0, 1)
	b.count(entry.SourceHand, 3, 2, 0, 0, 1)
	if s := b.status(); len(s.Blocks) != 0 || s.Balance.Good != 2 {
		b.t.Errorf("status %+v", s)
	}
	if _, err := b.l.Close(b.t.Context(), b.closing(nil, "ann", "bob")); err != nil {
		b.t.Error(err)
	}
	b.denied(b.say(b.short("too late"), "ann", "bob"), "short before")
	b.check()
}

// TestALotEndsShortAtOnce: with nothing in work it is complete with the officers' word, also when a unit waits to be made again; what is
// complete is not ended short; and a vault hears the word before what was said later.
func TestALotEndsShortAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2, spares: 1})
	if err := b.bin(b.makeLost(b.one(), 0), perso.VerdictRejectLive); err != nil {
		t.Fatal(err)
	}
	if err := b.say(b.short("the order was cut"), "ann", "bob"); err != nil {
		t.Fatal(err)
	}
	if s := b.status(); s.State != perso.LotComplete || !s.Short {
		t.Errorf("status %+v", s)
	}
	b.vault.mu.Lock()
	last := b.vault.words[len(b.vault.words)-1]
	b.vault.mu.Unlock()
	if kind := must(record.Kind(last.Body)); kind != statement.KindShort {
		t.Errorf("the vault heard a %s last", kind)
	}
	b.want(b.act(b.begin(b.one(), b.at(1))), perso.VerdictReturn, perso.ReasonNoIdentity)
	b.check()

	b = newBench(t, spec{good: 1})
	b.makeGood(b.one(), 0)
	b.denied(b.say(b.short("needless"), "ann", "bob"), "is complete")
	b.check()
}
