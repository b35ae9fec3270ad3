package ledger

import (
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// TestPolicyThatNobodyFulfils: without a quality officer in the register, a policy that asks for quality's word is refused, and says
// what is missing; lots would stand under it.
func TestPolicyThatNobodyFulfils(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	if _, err := b.l.Word(t.Context(), b.change(statement.KindRevoke, "qua", nil, "ann", "bob")); err != nil {
		t.Fatal(err)
	}
	for _, p := range []statement.Policy{{FirstArticle: 3}, {Sampling: "output 9:2/0"}} {
		p.Header = b.header()
		if err := b.say(p, "ann", "bob"); err == nil || !strings.Contains(err.Error(), "1 of quality must sign") {
			t.Errorf("%+v: %v", p, err)
		}
	}
	if err := b.say(statement.Policy{Header: b.header(), Clearance: true}, "ann", "bob"); err != nil {
		t.Error(err)
	}
}

// withoutQuality revokes the one quality officer, and gives what the ledger says of it.
func (b *bench) withoutQuality() bus.WordReply {
	b.t.Helper()
	return must(b.l.Word(b.t.Context(), b.change(statement.KindRevoke, "qua", nil, "ann", "bob")))
}

const lacksQuality = "1 of quality must sign a first-article, and the register has 0"

// TestDemandsThatNobodyFulfils: an order that asks for quality's word is refused while nobody is of quality, and the desk hears what to do. It
// is not its fault what the site's policy asks.
func TestDemandsThatNobodyFulfils(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	if err := b.say(statement.Policy{Header: b.header(), FirstArticle: 3}, "ann", "bob"); err != nil {
		t.Fatal(err)
	}
	b.withoutQuality()
	asking := b.orderFile(spec{good: 1, asks: "first-article 1"})
	for range 2 {
		a := b.submit(asking)
		if len(a.Faults) != 1 || a.Faults[0].Field != "asks" || !strings.Contains(a.Faults[0].Reason, lacksQuality) || !strings.Contains(a.Faults[0].Hint, "add-officer") {
			t.Fatalf("%+v", a)
		}
	}
	if found := must(b.l.CheckOrder(t.Context(), asking)); len(found) != 1 || found[0].Field != "asks" {
		t.Errorf("looked at: %v", found)
	}
	for _, asks := range []string{"", "clearance", "issue; blind-count"} {
		if a := b.submit(b.orderFile(spec{good: 1, asks: asks})); len(a.Faults) != 0 {
			t.Errorf("%q: %+v", asks, a.Faults)
		}
	}
	if err := b.enlist("qui", statement.RoleQuality); err != nil {
		t.Fatal(err)
	}
	if a := b.submit(asking); len(a.Faults) != 0 {
		t.Errorf("with another of quality: %+v", a.Faults)
	}
	b.check()
}

// TestLotThatWouldStand: of an order that was accepted before the last of quality was revoked no release is drafted, nor taken in.
func TestLotThatWouldStand(t *testing.T) {
	t.Parallel()
	for _, s := range []spec{{good: 1, asks: "first-article 1"}, {good: 1}} {
		b := newSite(t)
		if s.asks == "" {
			if err := b.say(statement.Policy{Header: b.header(), FirstArticle: 1}, "ann", "bob"); err != nil {
				t.Fatal(err)
			}
		}
		r := b.draft(s)
		release := bus.SignedRequest{Signed: b.sign(must(r.Encode()), "ann", "bob").Encode()}
		b.withoutQuality()
		_, err := b.l.Draft(t.Context(), bus.DraftRequest{Order: r.Order})
		b.denied(err, lacksQuality)
		_, err = b.l.Release(t.Context(), release)
		b.denied(err, lacksQuality)
		if err := b.enlist("qui", statement.RoleQuality); err != nil {
			t.Fatal(err)
		}
		if _, err := b.l.Release(t.Context(), release); err != nil {
			t.Errorf("with another of quality: %v", err)
		}
	}
}

// TestLastOfQualityIsRevoked: it is done at once, and told wherever people look: what stands, and what lets it go on. What is signed already
// needs nobody.
func TestLastOfQualityIsRevoked(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	if err := b.say(statement.Policy{Header: b.header(), FirstArticle: 1}, "ann", "bob"); err != nil {
		t.Fatal(err)
	}
	b.makeLot(spec{good: 2})
	signed := b.lot
	b.makeGood(b.one(), 0)
	if err := b.say(statement.FirstArticle{Header: b.header(), Lot: signed, Good: 1, Finding: "fine"}, "qua"); err != nil {
		t.Fatal(err)
	}
	b.makeLot(spec{good: 2})
	if s := b.status(); strings.Contains(s.Waits, lacksQuality) {
		t.Errorf("before: %q", s.Waits)
	}
	if s := must(b.l.Standing(t.Context(), bus.Empty{})); len(s.Unmanned) != 0 {
		t.Errorf("before: %q", s.Unmanned)
	}
	told := b.withoutQuality().Unmanned
	standing := must(b.l.Standing(t.Context(), bus.Empty{})).Unmanned
	for _, all := range [][]string{told, standing} {
		if len(all) != 2 || !strings.HasPrefix(all[0], "no lot can be released under the site's policy: "+lacksQuality) || !strings.HasPrefix(all[1], "lot "+string(b.lot)+": ") ||
			!strings.Contains(all[1], lacksQuality) || !strings.Contains(all[1], "add-officer") {
			t.Errorf("told %q", all)
		}
	}
	if s := b.status(); !strings.Contains(s.Waits, lacksQuality) {
		t.Errorf("its status: %q", s.Waits)
	}
	if s := must(b.l.Status(t.Context(), bus.LotRequest{Lot: signed})); strings.Contains(s.Waits, lacksQuality) {
		t.Errorf("the status of the other: %q", s.Waits)
	}
	if err := b.enlist("qui", statement.RoleQuality); err != nil {
		t.Fatal(err)
	}
	if s := must(b.l.Standing(t.Context(), bus.Empty{})); len(s.Unmanned) != 0 || strings.Contains(b.status().Waits, lacksQuality) {
		t.Errorf("with another of quality: %q, %q", s.Unmanned, b.status().Waits)
	}
	b.check()
}

// TestUnmannedAtTheEnd: what a lot needs when it is over is told as well, and of a closed one nothing.
func TestUnmannedAtTheEnd(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	b.makeLot(spec{good: 1, asks: "clearance; samples output 9:1/0"})
	if err := b.say(statement.Clearance{Header: b.header(), Line: "line-1", Lot: b.lot, Finding: "empty"}, "ann"); err != nil {
		t.Fatal(err)
	}
	q := b.begin(b.one(), b.at(0))
	b.act(q)
	b.want(b.act(next(q, "written")), perso.VerdictSample, perso.ReasonNone)
	if err := b.bin(q.Present, perso.VerdictSample); err != nil {
		t.Fatal(err)
	}
	b.withoutQuality()
	if s := b.status(); s.State != perso.LotComplete || !strings.HasPrefix(s.Waits, "nobody can sign what it needs: 1 of quality must sign a samples-examined") || !strings.Contains(s.Waits, blockSamples) {
		t.Errorf("%s waits %q", s.State, s.Waits)
	}
	if err := b.enlist("qui", statement.RoleQuality); err != nil {
		t.Fatal(err)
	}
	if err := b.say(statement.Samples{Header: b.header(), Lot: b.lot, Examined: 1, Finding: "read back"}, "qui"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.l.Word(t.Context(), b.change(statement.KindRevoke, "qui", nil, "ann", "bob")); err != nil {
		t.Fatal(err)
	}
	if s := b.status(); strings.Contains(s.Waits, "nobody") {
		t.Errorf("its samples are signed, and it waits %q", s.Waits)
	}
	b.check()
}
