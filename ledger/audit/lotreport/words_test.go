package lotreport_test

import (
	"strings"
	"testing"

	. "github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/statement"
)

// watched is a lot with all that people can sign between its release and the destruction of its rejects. Its unit 0 is given up, with
// its chip in the locked bin or missing.
func watched(fate statement.Fate) *Site {
	s := New()
	s.Enlist("qua", statement.RoleQuality)
	head := func() statement.Header {
		return statement.Header{Env: perso.EnvTest, Site: SiteName, At: s.Tick(), Nonce: Hash("word %d", len(s.Entries))}
	}
	frost := func(kind string, what statement.Frozen, name string, lifts [32]byte, signers ...perso.Name) [32]byte {
		f := statement.Freeze{Kind: kind, Env: perso.EnvTest, Site: SiteName, What: what, Name: name, Lifts: lifts, Reason: "about " + name, At: s.Tick(), Nonce: Hash("frost %d", len(s.Entries))}
		return s.Word(Sign(Must(f.Encode()), signers...), "")
	}
	book := func(reel perso.Name, from, to perso.Account, chips uint64) {
		s.Append(entry.Booking{ID: Hash("booking %d", len(s.Entries)), Reel: reel, From: from, To: to, Chips: chips, By: "Store Keeper", At: s.Tick()})
	}
	s.Word(Sign(Must(statement.Policy{Header: head(), FirstArticle: 1, Clearance: true, Issue: true}.Encode()), "prod", "sec"), "")
	lot := s.Release("L1", 0, 3, 2)
	s.Word(Sign(Must(statement.Policy{Header: head(), FirstArticle: 9}.Encode()), "prod", "sec"), "") // for later lots
	s.Word(Sign(Must(statement.Clearance{Header: head(), Line: "line-1", Lot: "L1", Finding: "looked under the trays"}.Encode()), "prod"), "L1")
	book("reel-1", perso.AccountStore, perso.LotAccount("L1"), 7)
	book("reel-1", perso.LotAccount("L1"), perso.AccountStore, 2)
	book("reel-1", perso.AccountStore, perso.LineAccount("line-9"), 11)
	run := func(u perso.Unit, gen perso.Generation, loss int64, chip uint32) {
		c := lot.Claim(u, gen, loss, Chip(chip))
		c.Run()
		c.Bin()
	}
	run(1, 0, 0, 1)
	s.Word(Sign(Must(statement.FirstArticle{Header: head(), Lot: "L1", Good: 1, Finding: "read back in the laboratory"}.Encode()), "qua"), "L1")
	s.Word(Sign(Must(statement.Policy{Header: head()}.Encode()), "prod", "sec"), "")
	stopped := frost(statement.KindFreeze, statement.FrozenKey, "kmc", [32]byte{}, "sec")
	frost(statement.KindFreeze, statement.FrozenLine, "line-9", [32]byte{}, "sec")
	frost(statement.KindUnfreeze, statement.FrozenKey, "kmc", stopped, "prod", "sec")
	gone := lot.Claim(0, 0, 0, Chip(2))
	gone.Act("identify")
	c := gone.Claim
	word := Sign(Must(statement.Lost{Env: perso.EnvTest, Site: SiteName, Lot: "L1", Release: lot.Hash, Unit: c.Unit, Gen: c.Gen, Index: c.Index, EID: c.EID, Chip: c.Chip,
		Claim: gone.Hash, Session: gone.Session, Fate: fate, Reason: "fell off the belt", At: s.Tick(), Nonce: Hash("lost")}.Encode()), "prod", "sec")
	at := s.Tick()
	s.Openings = append(s.Openings, word)
	s.Append(entry.Statement{What: statement.KindLost, Hash: word.Hash(), Lot: "L1", At: at})
	gone.Answer(word.Hash(), at, func(*entry.Receipt) {})
	o := gone.Outcome(perso.VerdictRejectLive, perso.ReasonAbandoned)
	o.Receipt = gone.Receipt
	loss := s.Append(o)
	run(0, 1, loss, 3)
	live := lot.Claim(2, 0, 0, Chip(4))
	live.Act("identify")
	loss = live.Lose()
	live.Bin()
	run(2, 1, loss, 5)
	locked, missing := uint64(1), uint64(0)
	if fate == statement.FateMissing {
		locked, missing = 0, 1
	}
	lot.CountWith(entry.SourceHandler, func(c *entry.Count) { c.In++ })
	var last entry.Count
	for range 2 {
		lot.CountWith(entry.SourceHand, func(c *entry.Count) { c.In, c.RejectLive = c.In+2, c.RejectLive+locked+1; last = *c })
	}
	s.Word(Sign(Must(statement.Explained{Header: head(), Lot: "L1", Count: entry.Hash(Must(last.Encode())), Reason: "a chip of the day before lay in the bin"}.Encode()), "prod", "sec"), "L1")
	s.Word(Sign(Must(statement.Short{Header: head(), Lot: "L1", Release: lot.Hash, Reason: "the reel is used up"}.Encode()), "prod", "sec"), "L1")
	closing := lot.NewClose()
	closing.Counts.In, closing.Counts.RejectLive, closing.Counts.Missing = closing.Counts.In+1, closing.Counts.RejectLive+locked, missing
	lot.CloseAs(closing, "prod", "sec")
	s.Word(Sign(Must(statement.Rejects{Header: head(), Lot: "L1", Place: "cellar", How: "shredded to two millimetres", Chips: []id.ChipID{Chip(4)}}.Encode()), "prod", "sec"), "L1")
	s.Append(entry.Forbidden{Verb: "freeze", Content: Hash("asked"), Reason: "signed by nobody", At: s.Tick()})
	return s
}

// TestWordsAreTold: policy, clearance, first article, freezes, explanations, units given up and destroyed rejects are in the report, with
// who signed them, and so are the lot's chips in the stock; what concerns other lots and lines only is not.
func TestWordsAreTold(t *testing.T) {
	t.Parallel()
	for fate, want := range map[statement.Fate][]string{
		statement.FateRejectLive: {"1 chips of units that were given up lie in the locked bin", `<td>handler: its own counters</td><td class="n">5</td><td class="n">3</td><td class="n">0</td><td class="n">1</td><td class="n">0</td><td class="n">0</td><td><span class="goodtext">agrees`},
		statement.FateMissing:    {"1 are signed for as missing", `<td>officers: signed at closing</td><td class="n">5</td><td class="n">3</td><td class="n">0</td><td class="n">1</td><td class="n">0</td><td class="n">0</td><td><span class="goodtext">agrees`},
	} {
		s := watched(fate)
		p := pageOf(t, s, s.Bundle("L1"), "L1", false)
		if !p.Audit.OK() || p.Differences != 0 {
			t.Errorf("%s: %v, %d differences", fate, p.Audit.Findings, p.Differences)
		}
		text := write(t, p)
		for _, want := range append(want,
			"first article after 1 good chips; line clearance before the lot starts at a line; only chips that were issued to the lot",
			"line-1: looked under the trays", "1 good chips: read back in the laboratory", "Person qua (quality, qua)", "key kmc: about kmc; lifted: about kmc",
			"a chip of the day before lay in the bin", "differs, explained", "differs, counted again", "people: blind count by hand, 20", "Ended short", "the reel is used up", "fell off the belt", "1 chips at cellar: shredded to two millimetres", "destroyed, entry ",
			"7 chips were issued to the lot and 2 given back; 5 were fed", "Store Keeper", "<td>line/line-9</td><td class=\"n\">11</td>", "\u2212100\u202f000", "freeze was refused: signed by nobody",
		) {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is not in the report", fate, want)
			}
		}
		if strings.Contains(text, "about line-9") || strings.Contains(text, "first article after 9") {
			t.Errorf("%s: it tells of another line, or of a later policy", fate)
		}
		wellFormed(t, text)
		if text != write(t, pageOf(t, s, s.Bundle("L1"), "L1", true)) {
			t.Errorf("%s: the report on a bundle that was judged before differs", fate)
		}
	}
}

// TestWordsWithoutOpening: a bundle without the words says so, and calls nothing asked for.
func TestWordsWithoutOpening(t *testing.T) {
	t.Parallel()
	s := New()
	s.Release("L1", 0, 1, 1)
	if text := write(t, pageOf(t, s, s.Bundle("L1"), "L1", false)); !strings.Contains(text, "none was on record when the lot was released") || !strings.Contains(text, "booked out of “unissued”") {
		t.Error("it does not say that nothing was asked for")
	}
	w := watched(statement.FateMissing)
	for i, o := range w.Openings {
		if _, err := statement.ParsePolicy(o.Body); err == nil {
			w.Openings = append(w.Openings[:i:i], w.Openings[i+1:]...)
			break
		}
	}
	if text := write(t, pageOf(t, w, w.Bundle("L1"), "L1", false)); !strings.Contains(text, "not opened in this bundle") {
		t.Error("a policy that is not opened is told as if it were")
	}
}

// TestNotAccepted: the report of a lot that quality did not accept says so before all else; one bad sample less, and it says nothing of it.
func TestNotAccepted(t *testing.T) {
	t.Parallel()
	for failed := range 2 {
		s := New()
		s.Enlist("qua", statement.RoleQuality)
		head := func() statement.Header {
			return statement.Header{Env: perso.EnvTest, Site: SiteName, At: s.Tick(), Nonce: Hash("word %d", len(s.Entries))}
		}
		s.Word(Sign(Must(statement.Policy{Header: head(), Sampling: "output 9:1/0"}.Encode()), "prod", "sec"), "")
		lot := s.Release("L1", 0, 2, 0)
		for u := range perso.Unit(2) {
			c := lot.Claim(u, 0, 0, Chip(uint32(u)+1))
			c.Run()
			c.Bin()
		}
		s.Word(Sign(Must(statement.Samples{Header: head(), Lot: "L1", Examined: 1, Finding: "read back", Failed: []id.ChipID{Chip(1)}[:failed]}.Encode()), "qua"), "L1")
		text := write(t, pageOf(t, s, s.Bundle("L1"), "L1", false))
		for _, want := range []string{"<b>NOT ACCEPTED by quality.</b>", "NOT ACCEPTED by quality</div>", "made good, not accepted", "before quality rejected the lot", "Nothing was handed out, and nothing may be"} {
			if strings.Contains(text, want) != (failed > 0) {
				t.Errorf("%d bad samples: %q in the report: %t", failed, want, failed == 0)
			}
		}
		if strings.Contains(text, "Nothing was handed out yet") != (failed == 0) {
			t.Errorf("%d bad samples: the report does not tell a lot that waits from one that is refused", failed)
		}
		wellFormed(t, text)
	}
}
