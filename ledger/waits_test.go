package ledger

import (
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/statement"
)

// TestStatusSaysWhatPeopleOwe: a lot whose heads are held until somebody signs or books says so in its status, with the command, and no
// longer once that was done.
func TestStatusSaysWhatPeopleOwe(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	p := statement.Policy{Header: b.header(), FirstArticle: 1, Clearance: true, Issue: true, Sampling: statement.Sampling("output 10:1/0")}
	if err := b.say(p, "ann", "bob"); err != nil {
		t.Fatal(err)
	}
	b.makeLot(spec{good: 2})
	const cleared, issued, article, samples, reel = "draft-clearance", "chips issue", "draft-first-article", "draft-samples", "no reel"
	waits := func(step string, want ...string) {
		t.Helper()
		got := b.status().Waits
		for _, part := range []string{cleared, issued, article, samples, reel} {
			wanted := strings.Contains(strings.Join(want, " "), part)
			if strings.Contains(got, part) != wanted {
				t.Errorf("%s: it waits for %q, want %q", step, got, want)
			}
		}
		if len(want) == 0 && got != "" {
			t.Errorf("%s: it waits for %q", step, got)
		}
	}
	waits("released", reel, cleared, issued)
	chips := b.stock(2)
	waits("a reel came", cleared, issued)
	if err := b.say(statement.Clearance{Header: b.header(), Line: "line-1", Lot: b.lot, Finding: "empty"}, "ann"); err != nil {
		t.Fatal(err)
	}
	waits("a line is clear", issued)
	if _, err := b.move(200, "R1", perso.AccountStore, perso.LotAccount(b.lot), 2); err != nil {
		t.Fatal(err)
	}
	waits("chips were issued")
	put := func(c *chip, head uint16) {
		t.Helper()
		at := b.at(head)
		q := b.begin(c, at)
		b.act(q)
		c.kvn = cardKVN
		v := b.act(next(q, "written")).Verdict.Verdict
		if err := b.bin(at, v); err != nil {
			t.Fatal(err)
		}
	}
	put(chips[0], 1)
	waits("the first is good", article)
	b.want(b.act(b.begin(chips[1], b.at(2))), perso.VerdictHold, perso.ReasonFirstArticle)
	if err := b.say(statement.FirstArticle{Header: b.header(), Lot: b.lot, Good: 1, Finding: "as ordered"}, "qua"); err != nil {
		t.Fatal(err)
	}
	waits("quality signed")
	put(chips[1], 2)
	if s := b.status(); s.State != perso.LotComplete {
		t.Fatalf("the lot is %s", s.State)
	}
	waits("it is complete", samples)
	if err := b.say(b.examined(b.status().Samples.InBin), "qua"); err != nil {
		t.Fatal(err)
	}
	waits("the samples are signed")
	b.check()
}
