package ledger

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/statement"
)

func (b *bench) header() statement.Header {
	b.words++
	return statement.Header{Env: perso.EnvTest, Site: testSite, At: b.clock(), Nonce: [32]byte{b.words}}
}

// say hands a word in, signed by those named.
func (b *bench) say(s interface{ Encode() ([]byte, error) }, officers ...perso.Name) error {
	b.t.Helper()
	_, err := b.l.Word(b.t.Context(), bus.SignedRequest{Signed: b.sign(must(s.Encode()), officers...).Encode()})
	return err
}

func (b *bench) denied(err error, want string) {
	b.t.Helper()
	var fault *bus.Fault
	if !errors.As(err, &fault) || !strings.Contains(err.Error(), want) {
		b.t.Errorf("want a refusal with %q, got %v", want, err)
	}
}

// TestPolicy: a lot is held by the policy that it was released under until chips are issued, its line is cleared, and quality has
// signed its first article; each word counts for its own lot only.
func TestPolicy(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	b.denied(b.say(statement.Policy{Header: b.header(), FirstArticle: 1}, "ann"), "two officers")
	if err := b.say(statement.Policy{Header: b.header(), FirstArticle: 1, Clearance: true, Issue: true}, "ann", "bob"); err != nil {
		t.Fatal(err)
	}
	b.makeLot(spec{good: 2, spares: 1})
	chips := b.stock(2)
	if s := b.status(); s.Policy != (bus.Policy{FirstArticle: 1, Clearance: true, Issue: true}) || s.Approved {
		t.Errorf("status %+v", s.Policy)
	}
	b.want(b.act(b.begin(chips[0], b.at(1))), perso.VerdictHold, perso.ReasonClearance)
	b.want(b.mute(b.at(2), 3), perso.VerdictHold, perso.ReasonClearance)
	clear := statement.Clearance{Header: b.header(), Line: "line-1", Lot: "L99", Finding: "empty"}
	b.denied(b.say(clear, "ann"), "no lot")
	clear.Lot = b.lot
	b.denied(b.say(clear), "must sign")
	if err := b.say(clear, "ann"); err != nil {
		t.Fatal(err)
	}
	b.want(b.act(b.begin(chips[0], b.at(1))), perso.VerdictHold, perso.ReasonNotIssued)
	if _, err := b.move(200, "R1", perso.AccountStore, perso.LotAccount(b.lot), 2); err != nil {
		t.Fatal(err)
	}
	article := statement.FirstArticle{Header: b.header(), Lot: b.lot, Good: 1, Finding: "as ordered"}
	b.denied(b.say(article, "qua"), "0 chips")
	first := b.makeGood(chips[0], 1)
	b.want(b.act(b.begin(chips[1], b.at(2))), perso.VerdictHold, perso.ReasonFirstArticle)
	b.denied(b.say(article, "ann", "bob"), "must sign the first-article")
	wrong := article
	wrong.Good = 2
	b.denied(b.say(wrong, "qua"), "1 chips")
	if err := b.say(article, "qua"); err != nil {
		t.Fatal(err)
	}
	clear.Header = b.header()
	b.denied(b.say(clear, "ann"), "is not empty")
	if err := errors.Join(b.bin(first, perso.VerdictGood), b.bin(b.makeGood(chips[1], 2), perso.VerdictGood)); err != nil {
		t.Fatal(err)
	}
	b.check()
}

// TestUnsignedFirstArticle: a lot that is over before quality signed is not closed.
func TestUnsignedFirstArticle(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	if err := b.say(statement.Policy{Header: b.header(), FirstArticle: 5}, "ann", "bob"); err != nil {
		t.Fatal(err)
	}
	b.makeLot(spec{good: 1})
	if err := b.bin(b.makeGood(b.one(), 0), perso.VerdictGood); err != nil {
		t.Fatal(err)
	}
	b.count(entry.SourceHandler, 1, 1, 0, 0, 0)
	b.count(entry.SourceHand, 1, 1, 0, 0, 0)
	if s := b.status(); !slices.Contains(s.Blocks, blockFirstArticle) {
		t.Errorf("blocks %q", s.Blocks)
	}
	b.denied(second(b.l.Close(t.Context(), b.closing(nil, "ann", "bob"))), blockFirstArticle)
	if err := b.say(statement.FirstArticle{Header: b.header(), Lot: b.lot, Good: 1, Finding: "fine"}, "qua"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.l.Close(t.Context(), b.closing(nil, "ann", "bob")); err != nil {
		t.Error(err)
	}
	b.check()
}

// TestBlindCount: who counted wrong is told to count again, and not what to find; a difference that stays is explained by two persons
// after two counts, each for the count that it names, and the lot is closed with the ledger's counts.
func TestBlindCount(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1})
	if err := b.bin(b.makeGood(b.one(), 0), perso.VerdictGood); err != nil {
		t.Fatal(err)
	}
	b.count(entry.SourceHandler, 1, 1, 0, 0, 0)
	again := func(id byte) {
		t.Helper()
		if _, err := b.l.Count(t.Context(), bus.CountRequest{Lot: b.lot, Source: entry.SourceHand, In: 2, Good: 2, ID: [16]byte{id}}); err != nil {
			t.Fatal(err)
		}
	}
	again(1)
	again(1) // its answer was lost
	if s := b.status(); len(s.Blocks) != 1 || s.Blocks[0] != bus.BlockCountAgain || s.HandCount != [32]byte{} {
		t.Errorf("after one count: %q", s.Blocks)
	}
	word := statement.Explained{Header: b.header(), Lot: b.lot, Count: [32]byte{1}, Reason: "one of the last lot lay there"}
	b.denied(b.say(word, "ann", "bob"), "counted by hand 1 times")
	again(2)
	s := b.status()
	if len(s.Blocks) != 2 || !strings.Contains(s.Blocks[1], "hand count says 2 for good, the ledger 1") || s.HandCount == [32]byte{} {
		t.Errorf("after two counts: %q", s.Blocks)
	}
	b.denied(b.say(word, "ann", "bob"), "another count")
	word.Count = s.HandCount
	b.denied(b.say(word, "ann"), "must sign")
	if err := b.say(word, "ann", "bob"); err != nil {
		t.Fatal(err)
	}
	if s := b.status(); len(s.Blocks) != 0 || s.HandCount != [32]byte{} {
		t.Errorf("explained: %q", s.Blocks)
	}
	again(3)
	if s := b.status(); len(s.Blocks) != 2 {
		t.Errorf("another count is explained by the old word: %q", s.Blocks)
	}
	word.Header, word.Count = b.header(), b.status().HandCount
	if err := b.say(word, "ann", "cid"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.l.Close(t.Context(), b.closing(nil, "ann", "bob")); err != nil {
		t.Fatal(err)
	}
	b.check()
}

// TestOneList: a list ends before the limit rather than between two pieces of one id.
func TestOneList(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		chips, list string
		more        uint64
	}{{"abc", "abc", 0}, {"aab", "aab", 0}, {"abcd", "abc", 1}, {"aabb", "aa", 2}, {"abbb", "a", 3}, {"aaab", "aaa", 1}} {
		if list, more := oneList(strings.Split(c.chips, ""), 3); strings.Join(list, "") != c.list || more != c.more {
			t.Errorf("of %s %s are listed, and %d left", c.chips, list, more)
		}
	}
}

// TestDestroyTwins: two live rejects to which their maker gave one id are listed twice, destroyed together, and leave the books both.
func TestDestroyTwins(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1, spares: 2})
	c, other, fine := b.one(), b.one(), b.one()
	twin := &chip{kdd: c.kdd, kvn: c.kvn, seq: 90}
	again := func() perso.Presentation {
		q := b.begin(twin, b.at(1))
		b.want(b.act(q), perso.VerdictRejectLive, perso.ReasonStatus)
		return q.Present
	}
	err := errors.Join(b.bin(b.makeLost(c, 0), perso.VerdictRejectLive), b.bin(again(), perso.VerdictRejectLive), b.bin(b.makeLost(other, 2), perso.VerdictRejectLive),
		b.bin(b.makeGood(fine, 3), perso.VerdictGood))
	if err != nil {
		t.Fatal(err)
	}
	b.count(entry.SourceHandler, 4, 1, 0, 3, 0)
	b.count(entry.SourceHand, 4, 1, 0, 3, 0)
	if _, err := b.l.Close(t.Context(), b.closing(nil, "ann", "bob")); err != nil {
		t.Fatal(err)
	}
	all := statement.Pieces([]id.ChipID{c.id(), other.id(), c.id()})
	var texts []string
	for _, c := range all {
		texts = append(texts, c.String())
	}
	if r := must(b.l.Rejects(t.Context(), bus.LotRequest{Lot: b.lot})); !slices.Equal(r.Chips, texts) {
		t.Errorf("%v wait for their destruction, not %v", r.Chips, texts)
	}
	list := func(chips ...id.ChipID) error {
		return b.say(statement.Rejects{Header: b.header(), Lot: b.lot, Place: "cellar", How: "shredded", Chips: statement.Pieces(chips)}, "ann", "bob")
	}
	b.denied(list(c.id(), other.id()), ": 2 on record, 1 in the list")
	b.denied(list(c.id(), c.id(), c.id()), ": 2 on record, 3 in the list")
	b.denied(list(other.id(), other.id()), ": 1 on record, 2 in the list")
	if live := b.account(perso.AccountRejectLive); live != 3 {
		t.Errorf("%d live rejects after lists that were refused", live)
	}
	if err := list(all...); err != nil {
		t.Fatal(err)
	}
	r := must(b.l.Rejects(t.Context(), bus.LotRequest{Lot: b.lot}))
	if live, gone := b.account(perso.AccountRejectLive), b.account(perso.AccountDestroyed); live != 0 || gone != 3 || len(r.Chips) != 0 {
		t.Errorf("%d live rejects, %d destroyed, %v wait", live, gone, r.Chips)
	}
	b.denied(list(c.id(), c.id()), "is no live reject")
	b.check()
}

// TestDestroyRejects: live rejects of a closed lot are destroyed by two officers' word, chip by chip and once.
func TestDestroyRejects(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1, spares: 2})
	bad, fine := b.stock(2), b.one()
	for i, c := range bad {
		if err := b.bin(b.makeLost(c, uint16(i)), perso.VerdictRejectLive); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.bin(b.makeGood(fine, 3), perso.VerdictGood); err != nil {
		t.Fatal(err)
	}
	word := statement.Rejects{Header: b.header(), Lot: b.lot, Place: "cellar", How: "shredded to 2 mm", Chips: []id.ChipID{bad[0].id()}}
	b.denied(b.say(word, "ann", "bob"), "is not closed")
	b.count(entry.SourceHandler, 3, 1, 0, 2, 0)
	b.count(entry.SourceHand, 3, 1, 0, 2, 0)
	if _, err := b.l.Close(t.Context(), b.closing(nil, "ann", "bob")); err != nil {
		t.Fatal(err)
	}
	if r := must(b.l.Rejects(t.Context(), bus.LotRequest{Lot: b.lot})); len(r.Chips) != 2 || r.Chips[0] != bad[0].id().String() {
		t.Errorf("rejects %+v", r)
	}
	b.denied(b.say(word, "ann"), "two officers")
	b.denied(b.say(word, "ann", "cid"), "two officers")
	if err := b.say(word, "ann", "bob"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*chip{bad[0], fine, b.one()} {
		word.Header, word.Chips = b.header(), []id.ChipID{c.id()}
		b.denied(b.say(word, "ann", "bob"), "is no live reject")
	}
	if r := must(b.l.Rejects(t.Context(), bus.LotRequest{Lot: b.lot})); len(r.Chips) != 1 || b.account(perso.AccountRejectLive) != 1 || b.account(perso.AccountDestroyed) != 1 {
		t.Errorf("rejects %+v", r)
	}
	b.check()
}
