package ledger

import (
	"errors"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
)

func (b *bench) move(id byte, reel perso.Name, from, to perso.Account, chips uint64) (bus.BookReply, error) {
	return b.l.Book(b.t.Context(), bus.BookRequest{ID: [32]byte{id}, Reel: reel, From: from, To: to, Chips: chips, By: "Store Keeper"})
}

// account sums an account over products and reels.
func (b *bench) account(a perso.Account) (n int64) {
	for _, x := range must(b.l.Stock(b.t.Context(), bus.Empty{})).Rows {
		if x.Account == a {
			n += x.Chips
		}
	}
	return n
}

// TestBooking: chips are moved once, from where they are, and what may not be moved is refused and leaves nothing.
func TestBooking(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2, spares: 1})
	b.stock(10)
	lot := perso.LotAccount(b.lot)
	reel := must(b.l.Stock(t.Context(), bus.Empty{})).Rows[0].Reel
	for i := range 2 {
		r, err := b.move(1, reel, perso.AccountStore, lot, 6)
		if err != nil || r.Chips != 6 || r.Left != 4 || r.There != 6 || r.Duplicate != (i == 1) {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	before := b.kinds()
	for name, c := range map[string]struct {
		q    bus.BookRequest
		want string
	}{
		"more than there is":   {bus.BookRequest{Reel: reel, From: perso.AccountStore, To: lot, Chips: 5}, "store holds 4 chips"},
		"an empty account":     {bus.BookRequest{Reel: reel, From: perso.LineAccount("line-1"), To: lot}, "line/line-1 holds 0 chips"},
		"unknown reel":         {bus.BookRequest{Reel: "R99", From: perso.AccountStore, To: lot, Chips: 1}, "no reel"},
		"unknown lot":          {bus.BookRequest{Reel: reel, From: perso.AccountStore, To: "lot/L99", Chips: 1}, "no lot"},
		"another product":      {bus.BookRequest{Product: "m2m", Reel: reel, From: perso.AccountStore, To: lot, Chips: 1}, "is of product"},
		"of no catalogue":      {bus.BookRequest{Product: "m2m", From: perso.AccountStore, To: lot, Chips: 1}, "not in the catalogue"},
		"live rejects":         {bus.BookRequest{Reel: reel, From: perso.AccountRejectLive, To: perso.AccountStore, Chips: 1}, "may not be booked"},
		"into good":            {bus.BookRequest{Reel: reel, From: lot, To: perso.AccountGood, Chips: 1}, "may not be booked"},
		"no such account":      {bus.BookRequest{Reel: reel, From: "pocket", To: lot, Chips: 1}, "unknown account"},
		"neither reel nor sku": {bus.BookRequest{From: perso.AccountStore, To: lot, Chips: 1}, "need their product"},
	} {
		c.q.ID, c.q.By = [32]byte{9}, "x"
		var fault *bus.Fault
		if r, err := b.l.Book(t.Context(), c.q); !errors.As(err, &fault) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	if _, err := b.l.Book(t.Context(), bus.BookRequest{ID: [32]byte{9}, Reel: reel, From: perso.AccountStore, To: lot, Chips: 1}); err == nil {
		t.Error("nobody said to have moved them")
	}
	if _, err := b.move(1, reel, perso.AccountStore, lot, 2); err == nil || !strings.Contains(err.Error(), "another booking") {
		t.Errorf("another booking under a known id: %v", err)
	}
	if after := b.kinds(); after[entry.KindBooking] != before[entry.KindBooking] || b.account(lot) != 6 {
		t.Errorf("refused bookings left something: %v", after)
	}
	b.check()
}

// TestIssuedChips: where chips are issued, a lot takes no other chips and not one more, gives back what it did not feed, and is
// not closed before.
func TestIssuedChips(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2, spares: 1})
	mine, other := b.stock(2), b.one()
	lot := perso.LotAccount(b.lot)
	if _, err := b.move(1, "R1", perso.AccountStore, perso.LineAccount("line-1"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := b.move(2, "R1", perso.LineAccount("line-1"), lot, 2); err != nil {
		t.Fatal(err)
	}
	b.want(b.act(b.begin(other, b.at(1))), perso.VerdictStop, perso.ReasonNotIssued)
	for i, c := range mine {
		if err := b.bin(b.makeGood(c, uint16(i)), perso.VerdictGood); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.move(3, "R1", lot, perso.AccountStore, 1); err == nil || !strings.Contains(err.Error(), "0 are left") {
		t.Errorf("fed chips were given back: %v", err)
	}
	if _, err := b.move(4, "R2", perso.AccountStore, lot, 1); err != nil {
		t.Fatal(err)
	}
	b.count(entry.SourceHandler, 2, 2, 0, 0, 0)
	b.count(entry.SourceHand, 2, 2, 0, 0, 0)
	if s := b.status(); len(s.Blocks) != 1 || !strings.Contains(s.Blocks[0], "3 chips were issued to the lot and 2 were fed") {
		t.Errorf("blocks %q", s.Blocks)
	}
	if _, err := b.move(5, "R2", lot, perso.AccountStore, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := b.l.Close(t.Context(), b.closing(nil, "ann", "bob")); err != nil {
		t.Fatal(err)
	}
	if b.account(lot) != 0 || b.account(perso.AccountGood) != 2 || b.account(perso.AccountStore) != 1 || b.account(perso.AccountUnissued) != 0 {
		t.Errorf("after closing: %+v", must(b.l.Stock(t.Context(), bus.Empty{})).Rows)
	}
	if _, err := b.move(6, "R2", perso.AccountStore, lot, 1); err == nil || !strings.Contains(err.Error(), "is closed") {
		t.Errorf("chips were issued to a closed lot: %v", err)
	}
	b.check()
}

// TestNoMoreThanIssued: a chip that was issued is taken once a unit begins on it, whichever of several heads it lies under and before it
// lies in a bin, and so is one that was binned blank; none that is taken is given back.
func TestNoMoreThanIssued(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 6, spares: 2})
	chips := b.stock(6)
	lot := perso.LotAccount(b.lot)
	if _, err := b.move(1, "R1", perso.AccountStore, lot, 4); err != nil {
		t.Fatal(err)
	}
	first, bad := b.makeGood(chips[0], 0), b.makeLost(chips[1], 1) // neither is in its bin yet
	blank := b.at(2)
	b.want(b.mute(blank, maxPlainTries), perso.VerdictRejectBlank, perso.ReasonMute)
	if err := b.bin(blank, perso.VerdictRejectBlank); err != nil {
		t.Fatal(err)
	}
	if _, err := b.move(2, "R1", lot, perso.AccountStore, 2); err == nil || !strings.Contains(err.Error(), "1 are left") {
		t.Errorf("chips with a unit were given back: %v", err)
	}
	open := b.begin(chips[2], b.at(2))
	if a := b.act(open); len(a.Window) == 0 {
		t.Fatalf("the last chip that was issued: %+v", a.Verdict)
	}
	over := func(head uint16) {
		t.Helper()
		b.want(b.act(b.begin(chips[3], b.at(head))), perso.VerdictHold, perso.ReasonNotIssued)
	}
	over(3)
	chips[2].kvn = cardKVN
	b.want(b.act(next(open, "written")), perso.VerdictGood, perso.ReasonNone)
	over(4)
	if err := errors.Join(b.bin(first, perso.VerdictGood), b.bin(bad, perso.VerdictRejectLive), b.bin(open.Present, perso.VerdictGood)); err != nil {
		t.Fatal(err)
	}
	over(5)
	b.check()
}

// TestMoreChipsIssued: heads that wait because all chips that were issued are taken go on with the question that they asked when more are
// issued, and the lot's status says by which command. A chip that the lot has no use for goes back, and is issued before the lot is closed.
func TestMoreChipsIssued(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2, spares: 1})
	chips := b.stock(3)
	lot := perso.LotAccount(b.lot)
	if _, err := b.move(1, "R1", perso.AccountStore, lot, 1); err != nil {
		t.Fatal(err)
	}
	waits := func(want string) {
		t.Helper()
		if got := b.status().Waits; want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("it waits for %q, want %q", got, want)
		}
	}
	waits("")
	first := b.makeGood(chips[0], 0)
	one, two := b.begin(chips[1], b.at(1)), b.begin(chips[2], b.at(2))
	for range 2 {
		b.want(b.act(one), perso.VerdictHold, perso.ReasonNotIssued)
		b.want(b.act(two), perso.VerdictHold, perso.ReasonNotIssued)
	}
	waits("all chips that were issued to it are taken, and 1 of 2 units are good or in work: 'perso chips issue --reel REEL --lot " + string(b.lot) + " --chips N --by NAME'")
	if _, err := b.move(2, "R1", perso.AccountStore, lot, 1); err != nil {
		t.Fatal(err)
	}
	waits("")
	if a := b.act(one); len(a.Window) == 0 {
		t.Fatalf("a chip that was issued since: %+v", a.Verdict)
	}
	b.want(b.act(two), perso.VerdictHold, perso.ReasonLotWaiting)
	waits("") // what is in work may suffice
	chips[1].kvn = cardKVN
	b.want(b.act(next(one, "written")), perso.VerdictGood, perso.ReasonNone)
	b.want(b.act(two), perso.VerdictReturn, perso.ReasonLotComplete)
	if err := errors.Join(b.bin(first, perso.VerdictGood), b.bin(one.Present, perso.VerdictGood), b.bin(two.Present, perso.VerdictReturn)); err != nil {
		t.Fatal(err)
	}
	b.count(entry.SourceHandler, 3, 2, 0, 0, 1)
	b.count(entry.SourceHand, 3, 2, 0, 0, 1)
	if s := b.status(); len(s.Blocks) != 1 || !strings.Contains(s.Blocks[0], "2 chips were issued to the lot and 3 were fed: the others must be issued too, 'perso chips issue --reel REEL --lot "+string(b.lot)+" --chips 1 --by NAME'") {
		t.Errorf("blocks %q", s.Blocks)
	}
	if _, err := b.move(3, "R1", perso.AccountStore, lot, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := b.l.Close(t.Context(), b.closing(nil, "ann", "bob")); err != nil {
		t.Fatal(err)
	}
	if b.account(perso.AccountGood) != 2 || b.account(perso.AccountStore) != 1 || b.account(lot) != 0 {
		t.Errorf("after closing: %+v", must(b.l.Stock(t.Context(), bus.Empty{})).Rows)
	}
	b.check()
}

// TestUnissuedChips: a lot that nobody issued chips to is booked as a whole when it is closed.
func TestUnissuedChips(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1, spares: 1})
	lost := b.makeLost(b.one(), 0)
	if err := errors.Join(b.bin(lost, perso.VerdictRejectLive), b.bin(b.makeGood(b.one(), 0), perso.VerdictGood)); err != nil {
		t.Fatal(err)
	}
	b.count(entry.SourceHandler, 2, 1, 0, 1, 0)
	b.count(entry.SourceHand, 2, 1, 0, 1, 0)
	if _, err := b.l.Close(t.Context(), b.closing(nil, "ann", "bob")); err != nil {
		t.Fatal(err)
	}
	if b.account(perso.AccountUnissued) != -2 || b.account(perso.AccountGood) != 1 || b.account(perso.AccountRejectLive) != 1 || b.account(perso.AccountSupplier) != -2 {
		t.Errorf("%+v", must(b.l.Stock(t.Context(), bus.Empty{})).Rows)
	}
	b.check()
}
