package audit_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/ledger/audit"
	. "github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/statement"
)

func (w *world) head() statement.Header {
	return statement.Header{Env: perso.EnvTest, Site: SiteName, At: w.Tick(), Nonce: Hash("word %d", len(w.Entries))}
}

// under is a world whose lot is released under a policy.
func under(p statement.Policy) *world {
	s := New()
	s.Enlist("qua", statement.RoleQuality)
	w := &world{Site: s}
	p.Header = w.head()
	w.Word(Sign(Must(p.Encode()), "prod", "sec"), "")
	w.lot = s.Release("L1", 0, 2, 1)
	return w
}

func (w *world) article(good uint64, signers ...perso.Name) {
	w.Word(Sign(Must(statement.FirstArticle{Header: w.head(), Lot: "L1", Good: good, Finding: "fine"}.Encode()), signers...), "L1")
}

func (w *world) clear(lot perso.Name, signers ...perso.Name) {
	w.Word(Sign(Must(statement.Clearance{Header: w.head(), Line: "line-1", Lot: lot, Finding: "empty"}.Encode()), signers...), lot)
}

// handCounts logs hand counts and gives the hash of the last.
func (w *world) handCounts(times int, good uint64) (last [32]byte) {
	for range times {
		e := entry.Count{Lot: "L1", Source: entry.SourceHand, In: good, Good: good, At: w.Tick()}
		w.Append(e)
		last = entry.Hash(Must(e.Encode()))
	}
	return last
}

func (w *world) explain(count [32]byte, signers ...perso.Name) {
	w.Word(Sign(Must(statement.Explained{Header: w.head(), Lot: "L1", Count: count, Reason: "two stuck together"}.Encode()), signers...), "L1")
}

func (w *world) short(lot perso.Name, release [32]byte, signers ...perso.Name) {
	w.Word(Sign(Must(statement.Short{Header: w.head(), Lot: lot, Release: release, Reason: "the reel is used up"}.Encode()), signers...), lot)
}

func (w *world) shred(lot perso.Name, chips []id.ChipID, signers ...perso.Name) {
	w.Word(Sign(Must(statement.Rejects{Header: w.head(), Lot: lot, Place: "cellar", How: "shredded", Chips: chips}.Encode()), signers...), lot)
}

// closed makes the lot with one live reject, which it gives, and closes it.
func (w *world) closed() id.ChipID { return w.closedWith(func(*Unit) {}) }

// closedTwins does so with a second chip of the live reject's id beside it.
func (w *world) closedTwins() id.ChipID {
	return w.closedWith(func(c *Unit) {
		at := c.Claim.Present
		at.Head, at.Number = 99, 1
		w.lot.Put(at, c.Claim.Chip, perso.VerdictRejectLive)
	})
}

// closedWith does something about the live reject before the rest is made.
func (w *world) closedWith(more func(*Unit)) id.ChipID {
	lost, seq := w.lost(0, 1)
	lost.Bin()
	more(lost)
	again := w.lot.Claim(0, 1, seq, Chip(2))
	again.Run()
	again.Bin()
	w.good(1, 3).Bin()
	w.lot.Count(entry.SourceHandler)
	w.lot.Count(entry.SourceHand)
	w.lot.Close()
	return lost.Claim.Chip
}

// TestWordsOfTheFloor: what the policy asks for and people signed is no finding; what was skipped, or signed by those whose duty it
// is not, is.
func TestWordsOfTheFloor(t *testing.T) {
	t.Parallel()
	first, clearance, issue := statement.Policy{FirstArticle: 1}, statement.Policy{Clearance: true}, statement.Policy{Issue: true}
	for name, c := range map[string]struct {
		policy statement.Policy
		live   func(w *world)
		want   string
	}{
		"all is done": {statement.Policy{FirstArticle: 1, Clearance: true, Issue: true}, func(w *world) {
			w.clear("L1", "prod")
			w.book("a", "reel-1", perso.AccountStore, perso.LotAccount("L1"), 3)
			w.good(0, 1)
			w.article(1, "qua")
			w.good(1, 2)
		}, ""},
		"first article skipped": {first, func(w *world) { w.good(0, 1); w.good(1, 2) }, "nobody of quality had signed the first 1"},
		"by nobody of quality":  {first, func(w *world) { w.good(0, 1); w.article(1, "prod", "sec") }, "quality must sign the first-article"},
		"before there was one":  {first, func(w *world) { w.article(1, "qua") }, "of which 0 were good then"},
		"closed without it":     {statement.Policy{FirstArticle: 9}, func(w *world) { w.closed() }, "nobody of quality had signed the first article"},
		"line not cleared":      {clearance, func(w *world) { w.claim(0, 1).Act("identify") }, "line line-1 was not cleared for lot L1"},
		"mute at a dirty line":  {clearance, func(w *world) { w.lot.Contact(perso.VerdictRejectBlank, perso.ReasonMute) }, "was not cleared"},
		"cleared for another":   {clearance, func(w *world) { w.clear("L1", "prod"); w.Release("L2", 1, 1, 1); w.clear("L2", "prod"); w.good(0, 1) }, "was not cleared for lot L1"},
		"cleared by nobody":     {clearance, func(w *world) { w.clear("L1") }, "must sign the line-clearance"},
		"nothing issued":        {issue, func(w *world) { w.good(0, 1) }, "no chips were issued"},
		"more than were issued": {issue, func(w *world) {
			w.book("a", "reel-1", perso.AccountStore, perso.LotAccount("L1"), 2)
			w.good(0, 1).Bin()
			w.claim(1, 2)
			w.claim(2, 3)
		}, "2 chips were issued to the lot, and before this one 2 "},
		"one was fed blank": {issue, func(w *world) {
			w.book("a", "reel-1", perso.AccountStore, perso.LotAccount("L1"), 2)
			w.good(0, 1)
			w.lot.Contact(perso.VerdictRejectBlank, perso.ReasonMute)
			w.claim(1, 2)
		}, "2 chips were issued to the lot, and before this one 2 "},
		"one was fed blank, and one more issued": {issue, func(w *world) {
			w.book("a", "reel-1", perso.AccountStore, perso.LotAccount("L1"), 2)
			w.good(0, 1)
			w.lot.Contact(perso.VerdictRejectBlank, perso.ReasonMute)
			w.book("b", "reel-1", perso.AccountStore, perso.LotAccount("L1"), 1)
			w.good(1, 2)
		}, ""},
		"policy of one officer":     {statement.Policy{}, func(w *world) { w.Word(Sign(Must(statement.Policy{Header: w.head()}.Encode()), "sec"), "") }, "two officers"},
		"count explained":           {statement.Policy{}, func(w *world) { w.miscounted(2, "prod", "sec") }, ""},
		"count explained by one":    {statement.Policy{}, func(w *world) { w.miscounted(2, "sec") }, "must sign the count-explained"},
		"the first count explained": {statement.Policy{}, func(w *world) { w.miscounted(1, "prod", "sec") }, "not its last, or its first"},
		"counted again":             {statement.Policy{}, func(w *world) { w.explain(w.handCounts(2, 9), "prod", "sec"); w.miscounted(1) }, "the hand says"},
		"ended short":               {statement.Policy{}, func(w *world) { w.good(0, 1).Bin(); w.short("L1", w.lot.Hash, "prod", "sec") }, ""},
		"begun after it ended":      {statement.Policy{}, func(w *world) { w.short("L1", w.lot.Hash, "prod", "sec"); w.good(0, 1) }, "two officers had ended the lot short"},
		"ended short by one":        {statement.Policy{}, func(w *world) { w.short("L1", w.lot.Hash, "prod") }, "two officers"},
		"ended short twice":         {statement.Policy{}, func(w *world) { w.short("L1", w.lot.Hash, "prod", "sec"); w.short("L1", w.lot.Hash, "prod", "sec") }, "was ended short before"},
		"another release ended":     {statement.Policy{}, func(w *world) { w.short("L1", Hash("another"), "prod", "sec") }, "another release of it"},
		"rejects destroyed":         {statement.Policy{}, func(w *world) { w.shred("L1", []id.ChipID{w.closed()}, "prod", "sec") }, ""},
		"twins destroyed":           {statement.Policy{}, func(w *world) { c := w.closedTwins(); w.shred("L1", []id.ChipID{c, c}, "prod", "sec") }, ""},
		"one of twins destroyed":    {statement.Policy{}, func(w *world) { w.shred("L1", []id.ChipID{w.closedTwins()}, "prod", "sec") }, ": 2 on record, 1 in the statement"},
		"a twin too many":           {statement.Policy{}, func(w *world) { c := w.closed(); w.shred("L1", []id.ChipID{c, c}, "prod", "sec") }, ": 1 on record, 2 in the statement"},
		"one signature":             {statement.Policy{}, func(w *world) { w.shred("L1", []id.ChipID{w.closed()}, "sec") }, "two officers of different person and role"},
		"destroyed twice": {statement.Policy{}, func(w *world) {
			c := w.closed()
			w.shred("L1", []id.ChipID{c}, "prod", "sec")
			w.shred("L1", []id.ChipID{c}, "prod", "sec")
		}, "was destroyed before"},
		"a good chip destroyed": {statement.Policy{}, func(w *world) { w.closed(); w.shred("L1", []id.ChipID{Chip(3)}, "prod", "sec") }, "is no live reject"},
		"before the lot closed": {statement.Policy{}, func(w *world) { lost, _ := w.lost(0, 1); w.shred("L1", []id.ChipID{lost.Claim.Chip}, "prod", "sec") }, "is not closed"},
	} {
		w := under(c.policy)
		c.live(w)
		r, err := w.verify()
		if err != nil || (c.want == "") != r.OK() {
			t.Errorf("%s: %v, %v", name, err, r.Findings)
			continue
		}
		if c.want == "" && strings.Contains(name, "destroyed") && slices.ContainsFunc(r.Stock, func(x audit.StockRow) bool { return x.Account == perso.AccountRejectLive }) {
			t.Errorf("%s: live rejects are left in the books: %v", name, r.Stock)
		}
		if c.want != "" && !strings.Contains(r.Findings[0].What, c.want) {
			t.Errorf("%s: %v", name, r.Findings)
		}
	}
}

// TestEndedShortIsTold: on whose word, and why.
func TestEndedShortIsTold(t *testing.T) {
	t.Parallel()
	w := under(statement.Policy{})
	w.short("L1", w.lot.Hash, "prod", "sec")
	r, err := w.verify()
	if told := strings.Join(r.Notes, "\n"); err != nil || !strings.Contains(told, "lot L1 ended short on the word of Person prod (production) and Person sec (security): the reel is used up") {
		t.Errorf("%v, notes %s", err, told)
	}
}

// miscounted closes a lot whose hand count differs, and has it explained by those named; without names nobody does.
func (w *world) miscounted(times int, signers ...perso.Name) {
	for u := range perso.Unit(2) {
		w.good(u, uint32(u)).Bin()
	}
	w.lot.Count(entry.SourceHandler)
	last := w.handCounts(times, 3)
	if len(signers) > 0 {
		w.explain(last, signers...)
	}
	w.lot.CloseAs(w.lot.NewClose(), "prod", "sec")
}

// TestMiscountsAreTold: each hand count that differs from the closing is told with its figures, also when people counted right afterwards.
func TestMiscountsAreTold(t *testing.T) {
	t.Parallel()
	w := newWorld()
	for u := range perso.Unit(2) {
		w.good(u, uint32(u)).Bin()
	}
	w.lot.Count(entry.SourceHandler)
	w.handCounts(1, 3)
	w.handCounts(2, 2)
	w.lot.CloseAs(w.lot.NewClose(), "prod", "sec")
	r, err := w.verify()
	if err != nil || !r.OK() || len(r.Miscounts) != 1 {
		t.Fatalf("%+v, %v, %v", r.Miscounts, r.Findings, err)
	}
	if m := r.Miscounts[0]; m.Count.Good != 3 || m.Signed.Good != 2 || m.Seq == 0 || m.Count.At.IsZero() || m.Count.Lot != "L1" {
		t.Errorf("%+v", m)
	}
}
