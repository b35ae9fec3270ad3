package ledger

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/statement"
)

// sampled makes a lot of two units whose policy draws both, and puts them among the samples.
func (b *bench) sampled(plan statement.Sampling) []*chip {
	b.t.Helper()
	if err := b.say(statement.Policy{Header: b.header(), Sampling: plan}, "ann", "bob"); err != nil {
		b.t.Fatal(err)
	}
	b.makeLot(spec{good: 2})
	chips := b.stock(2)
	b.putSamples(chips)
	return chips
}

// putSamples makes good units of chips that are all drawn, and puts them among the samples.
func (b *bench) putSamples(chips []*chip) {
	b.t.Helper()
	for i, c := range chips {
		p := b.at(uint16(i))
		q := b.begin(c, p)
		b.act(q)
		c.kvn = cardKVN
		b.want(b.act(next(q, "written")), perso.VerdictSample, perso.ReasonNone)
		b.want(b.act(next(q, "written")), perso.VerdictSample, perso.ReasonNone) // asked again
		b.refused(b.bin(p, perso.VerdictGood), bus.FaultConflict)
		if err := b.bin(p, perso.VerdictSample); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *bench) countWith(source string, in, good, live, sample uint64) error {
	b.words++
	_, err := b.l.Count(b.t.Context(), bus.CountRequest{Lot: b.lot, Source: source, In: in, Good: good, RejectLive: live, Sample: sample, ID: [16]byte{b.words}})
	return err
}

func (b *bench) examined(n uint64, failed ...id.ChipID) statement.Samples {
	return statement.Samples{Header: b.header(), Lot: b.lot, Examined: n, Finding: "read back", Failed: statement.InOrder(failed)}
}

// TestSamples: a lot with a plan goes towards its end one step at a time, for each way that good samples may go.
func TestSamples(t *testing.T) {
	t.Parallel()
	for become, c := range map[string]struct{ good, sample, held uint64 }{statement.SamplesOutput: {1, 0, 1}, statement.SamplesKept: {0, 1, 2}} {
		b := newSite(t)
		chips := b.sampled(statement.Sampling(become + " 10:2/1"))
		if s := b.status(); s.Samples == nil || *s.Samples != (bus.Samples{State: "due", Drawn: 2, InBin: 2}) || s.Policy.Samples != become+" 10:2/1" {
			t.Errorf("%s: status %+v", become, s.Samples)
		}
		if err := b.countWith(entry.SourceHandler, 2, 0, 0, 2); err != nil {
			t.Fatal(err)
		}
		export := entry.Export{Lot: b.lot, What: "output", Receiver: "r", Hash: [32]byte{1}, Units: 2 - c.held}
		b.denied(b.countWith(entry.SourceHand, 2, 2, 0, 0), blockSamples)
		b.denied(second(b.l.Close(t.Context(), b.closing(nil, "ann", "bob"))), blockSamples)
		b.denied(b.l.RecordExport(t.Context(), export), blockSamples)
		b.denied(b.say(b.examined(2), "ann", "bob"), "must sign the samples-examined")
		b.denied(b.say(b.examined(1), "qua"), "2 samples")
		bad := chips[1].id()
		b.denied(b.say(b.examined(2, b.newChips(3)[2].id()), "qua"), "is no sample")
		if r, err := b.l.InWork(t.Context(), bus.InWorkRequest{Lot: b.lot, Chip: bad.String()}); err != nil || !r.Units[0].Sample || !strings.Contains(r.Units[0].Stays, "lies in the good bin") {
			t.Errorf("a sample in its bin: %+v, %v", r.Units, err)
		}
		if s := b.status(); s.Samples.State != "due" || s.Samples.Back+s.Samples.Kept != 0 {
			t.Fatalf("a refused word changed something: %+v", s.Samples)
		}
		if err := b.say(b.examined(2, bad), "qua"); err != nil {
			t.Fatal(err)
		}
		if err := b.countWith(entry.SourceHand, 2, c.good, 1, c.sample); err != nil {
			t.Fatal(err)
		}
		over := export
		over.Units++
		b.denied(b.l.RecordExport(t.Context(), over), "are to be handed out")
		if err := b.l.RecordExport(t.Context(), export); err != nil {
			t.Fatal(err)
		}
		b.denied(b.say(b.examined(2), "qua"), "was handed out")
		if s := b.status(); len(s.Blocks) > 0 || s.Balance.Good != c.good || s.Balance.Sample != c.sample || s.Balance.RejectLive != 1 {
			t.Fatalf("%s: %q, %+v", become, s.Blocks, s.Balance)
		}
		if _, err := b.l.Close(t.Context(), b.closing(nil, "ann", "bob")); err != nil {
			t.Fatal(err)
		}
		if b.account(perso.AccountSample) != int64(c.sample) || b.account(perso.AccountRejectLive) != 1 {
			t.Errorf("%s: %d samples, %d live rejects in the books", become, b.account(perso.AccountSample), b.account(perso.AccountRejectLive))
		}
		b.shredSamples(chips, c.sample)
		b.check()
	}
}

// shredSamples destroys the bad sample, and the one that quality kept; no other.
func (b *bench) shredSamples(chips []*chip, kept uint64) {
	b.t.Helper()
	shred := func(c *chip) error {
		return b.say(statement.Rejects{Header: b.header(), Lot: b.lot, Place: "cellar", How: "shredded", Chips: []id.ChipID{c.id()}}, "ann", "bob")
	}
	if r, err := b.l.Rejects(b.t.Context(), bus.LotRequest{Lot: b.lot}); err != nil || len(r.Chips) != 1 || r.Chips[0] != chips[1].id().String() {
		b.t.Errorf("rejects are %v, %v", r.Chips, err)
	}
	if err := shred(chips[1]); err != nil {
		b.t.Error(err)
	}
	if err := shred(chips[0]); (err == nil) != (kept == 1) {
		b.t.Errorf("a good sample of which %d are kept is destroyed: %v", kept, err)
	}
	if n := b.account(perso.AccountSample); n != 0 {
		b.t.Errorf("%d samples are left", n)
	}
}

// TestRejectedSamples: a lot with more bad samples than its plan accepts can be closed, and nothing of it is handed out.
func TestRejectedSamples(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	chips := b.sampled("output 10:2/0")
	err := errors.Join(b.say(b.examined(2, chips[0].id()), "qua"), b.countWith(entry.SourceHandler, 2, 0, 0, 2), b.countWith(entry.SourceHand, 2, 1, 1, 0))
	if err != nil {
		t.Fatal(err)
	}
	b.denied(b.l.RecordExport(t.Context(), entry.Export{Lot: b.lot, What: "output", Receiver: "r", Hash: [32]byte{1}, Units: 1}), blockSamplesRejected)
	if w := b.status().Waits; !strings.Contains(w, blockSamplesRejected) || !strings.Contains(w, "perso lot draft-close") || !strings.Contains(w, "perso chips draft-destroy") {
		t.Errorf("it waits for %q", w)
	}
	if err := b.say(b.examined(2), "qua"); err != nil { // quality looked again, while nothing was handed out
		t.Fatal(err)
	}
	if s := b.status(); s.Samples.State != "accepted" || s.Samples.Back != 2 || s.Samples.Failed != 0 {
		t.Errorf("samples %+v", s.Samples)
	}
}

// TestRejectedLotIsDestroyed: once a lot that quality did not accept is closed, its good chips, and the samples that are kept, wait for their
// destruction with its rejects, and are destroyed chip by chip.
func TestRejectedLotIsDestroyed(t *testing.T) {
	t.Parallel()
	for become, c := range map[string]struct{ good, sample uint64 }{statement.SamplesOutput: {1, 0}, statement.SamplesKept: {0, 1}} {
		b := newSite(t)
		chips := b.sampled(statement.Sampling(become + " 10:2/0"))
		err := errors.Join(b.say(b.examined(2, chips[0].id()), "qua"), b.countWith(entry.SourceHandler, 2, 0, 0, 2), b.countWith(entry.SourceHand, 2, c.good, 1, c.sample))
		if err != nil {
			t.Fatal(err)
		}
		all := statement.InOrder([]id.ChipID{chips[0].id(), chips[1].id()})
		word := statement.Rejects{Header: b.header(), Lot: b.lot, Place: "cellar", How: "shredded", Chips: all}
		b.denied(b.say(word, "ann", "bob"), "is not closed")
		if _, err := b.l.Close(t.Context(), b.closing(nil, "ann", "bob")); err != nil {
			t.Fatal(err)
		}
		if w := b.status().Waits; !strings.Contains(w, blockSamplesRejected) || !strings.Contains(w, "perso chips draft-destroy") || strings.Contains(w, "draft-close") {
			t.Errorf("closed, it waits for %q", w)
		}
		if live, good, kept := b.account(perso.AccountRejectLive), b.account(perso.AccountGood), b.account(perso.AccountSample); live != 2 || good != 0 || kept != 0 {
			t.Errorf("%s: %d live rejects, %d good, %d samples in the books", become, live, good, kept)
		}
		if r := must(b.l.Rejects(t.Context(), bus.LotRequest{Lot: b.lot})); !slices.Equal(r.Chips, []string{all[0].String(), all[1].String()}) {
			t.Errorf("%s: chips that wait are %v", become, r.Chips)
		}
		if err := b.say(word, "ann", "bob"); err != nil {
			t.Fatal(err)
		}
		word.Header = b.header()
		b.denied(b.say(word, "ann", "bob"), "is no live reject")
		r := must(b.l.Rejects(t.Context(), bus.LotRequest{Lot: b.lot}))
		if live, gone := b.account(perso.AccountRejectLive), b.account(perso.AccountDestroyed); live != 0 || gone != 2 || len(r.Chips) != 0 {
			t.Errorf("%s: %d live rejects, %d destroyed, %v wait", become, live, gone, r.Chips)
		}
		b.pass(2 * time.Hour)
		if _, err := b.l.DestroyKeys(t.Context(), b.endLot(nil, "ann", "bob")); err != nil {
			t.Errorf("%s: its keys live on, although it is handed to nobody: %v", become, err)
		}
		b.check()
	}
}

// TestSampleKeptBack: a line that puts a sample nowhere and goes on keeps its lot from being examined, handed out and closed, until the chip
// lies among the samples, or two officers have signed that nobody finds it. When the lot is handed out that is its last word.
func TestSampleKeptBack(t *testing.T) {
	t.Parallel()
	for _, found := range []bool{true, false} {
		b := newSite(t)
		if err := b.say(statement.Policy{Header: b.header(), Sampling: "output 10:2/0"}, "ann", "bob"); err != nil {
			t.Fatal(err)
		}
		b.makeLot(spec{good: 2})
		chips := b.stock(2)
		for i, c := range chips {
			p := b.at(1)
			q := b.begin(c, p)
			b.act(q)
			c.kvn = cardKVN
			b.want(b.act(next(q, "written")), perso.VerdictSample, perso.ReasonNone)
			if i == 1 {
				if err := b.bin(p, perso.VerdictSample); err != nil {
					t.Fatal(err)
				}
			}
		}
		export := entry.Export{Lot: b.lot, What: "output", Receiver: "r", Hash: [32]byte{1}, Units: 1}
		for _, examined := range []uint64{0, 1, 2} {
			b.denied(b.say(b.examined(examined), "qua"), "1 units were drawn as samples and lie in no bin")
		}
		b.denied(b.l.RecordExport(t.Context(), export), blockSamples)
		b.denied(second(b.l.Close(t.Context(), b.closing(nil, "ann", "bob"))), "1 chips lie in the bins of good ones and samples")
		p, n := b.at(2), uint64(1)
		if found {
			b.want(b.act(b.begin(chips[0], p)), perso.VerdictSample, perso.ReasonAlreadyGood)
			export.Units, n = 2, 2
			if err := b.bin(p, perso.VerdictSample); err != nil {
				t.Fatal(err)
			}
		} else if a := b.lose(b.loss(chips[0], statement.FateMissing, nil, "ann", "bob")); !a.Good {
			t.Fatalf("the vault had called it good, and says %+v", a)
		}
		if err := errors.Join(b.say(b.examined(n), "qua"), b.l.RecordExport(t.Context(), export)); err != nil {
			t.Fatal(err)
		}
		if !found { // and now it comes back
			b.want(b.act(b.begin(chips[0], p)), perso.VerdictSample, perso.ReasonAlreadyGood)
			b.refused(b.bin(p, perso.VerdictSample), bus.FaultRefused)
		}
		if s := b.status(); s.Samples.Drawn != 2 || s.Samples.InBin != n || s.Samples.State != "accepted" {
			t.Errorf("found %v: %+v", found, s.Samples)
		}
	}
}

// TestSamplesOfAShortLot: a lot that ends short is judged by what was made and drawn of it. When all its samples are bad nothing is handed out, nor when
// it ended before any was drawn; it can be closed all the same.
func TestSamplesOfAShortLot(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		plan statement.Sampling
		made int
		fail bool
		want string
	}{{"output 20:4/2", 5, true, "rejected"}, {"output 20:4/2", 5, false, "accepted"}, {"output 20:1/0", 1, false, "rejected"}} {
		b := newSite(t)
		if err := b.say(statement.Policy{Header: b.header(), Sampling: c.plan}, "ann", "bob"); err != nil {
			t.Fatal(err)
		}
		b.makeLot(spec{good: 20, expires: "2026-12-01T00:00:00Z"})
		var drawn, bad []id.ChipID
		for i, chip := range b.stock(c.made) {
			p := b.at(uint16(i))
			q := b.begin(chip, p)
			b.act(q)
			chip.kvn = cardKVN
			v := b.act(next(q, "written")).Verdict.Verdict
			if v == perso.VerdictSample {
				drawn = append(drawn, chip.id())
			}
			if err := b.bin(p, v); err != nil {
				t.Fatal(err)
			}
		}
		b.pass(30 * 24 * time.Hour)
		if c.fail {
			bad = drawn
		}
		made, n, failed := uint64(c.made), uint64(len(drawn)), uint64(len(bad))
		export := entry.Export{Lot: b.lot, What: "output", Receiver: "r", Hash: [32]byte{1}, Units: made - failed}
		if err := errors.Join(b.countWith(entry.SourceHandler, made, made-n, 0, n), b.say(b.examined(n, bad...), "qua"), b.countWith(entry.SourceHand, made, made-failed, failed, 0)); err != nil {
			t.Fatal(err)
		}
		if s := b.status(); s.Samples.State != c.want || len(s.Blocks) > 0 {
			t.Errorf("%s, %d made, %d drawn, %d bad: %+v, %q", c.plan, made, n, failed, s.Samples, s.Blocks)
		}
		if err := b.l.RecordExport(t.Context(), export); (err == nil) != (c.want == "accepted") {
			t.Errorf("%s, %d made, %d drawn, %d bad: handed out: %v", c.plan, made, n, failed, err)
		}
		if _, err := b.l.Close(t.Context(), b.closing(nil, "ann", "bob")); err != nil {
			t.Error(err)
		}
	}
}

// TestHiddenUntilCounted: under a policy of blind counts nobody who asks how a lot stands, or tries to close it, is told what lies in its bins
// before people have counted, and again when their first count differs.
func TestHiddenUntilCounted(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	if err := b.say(statement.Policy{Header: b.header(), Blind: true}, "ann", "bob"); err != nil {
		t.Fatal(err)
	}
	b.makeLot(spec{good: 1, spares: 2})
	if err := errors.Join(b.bin(b.makeLost(b.one(), 1), perso.VerdictRejectLive), b.bin(b.makeGood(b.one(), 2), perso.VerdictGood)); err != nil {
		t.Fatal(err)
	}
	hidden := func(when string, want bool) {
		t.Helper()
		s := b.status()
		lots, err := b.l.Lots(t.Context(), bus.Empty{})
		if err != nil || len(lots.Lots) != 1 || lots.Lots[0].Hidden != want {
			t.Errorf("%s: the list is %+v, %v", when, lots, err)
		}
		told := s.Bins != nil || s.Reasons != nil || s.Balance != nil || s.Lost > 0 || s.EIDsUsed > 0
		if s.Hidden != want || told == want {
			t.Errorf("%s: status %+v", when, s)
		}
		if r, err := b.l.Rejects(t.Context(), bus.LotRequest{Lot: b.lot}); (err != nil) != want || len(r.Chips) == 1 == want {
			t.Errorf("%s: the rejects are %v, %v", when, r.Chips, err)
		}
	}
	close := func() error { return second(b.l.Close(t.Context(), b.closing(nil, "ann", "bob"))) }
	hidden("made", true)
	if err := b.countWith(entry.SourceHandler, 3, 1, 2, 0); err != nil { // which the ledger would contradict with its numbers
		t.Fatal(err)
	}
	hidden("reported by the handler", true)
	b.denied(close(), bus.BlockHidden)
	if s := b.status(); !slices.Contains(s.Blocks, bus.BlockNotCounted) || !slices.Contains(s.Blocks, bus.BlockHidden) || len(s.Blocks) != 2 {
		t.Errorf("blocks %q", s.Blocks)
	}
	if err := b.countWith(entry.SourceHand, 3, 1, 2, 0); err != nil {
		t.Fatal(err)
	}
	hidden("counted once, and it differs", true)
	if err := b.countWith(entry.SourceHand, 2, 1, 1, 0); err != nil {
		t.Fatal(err)
	}
	hidden("counted twice", false)
}

// TestDemandsOfAnOrder: an order may ask for more than the site; its release says so, and its lot goes through both, also for a ledger that
// starts anew.
func TestDemandsOfAnOrder(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	if err := b.say(statement.Policy{Header: b.header(), FirstArticle: 5}, "ann", "bob"); err != nil {
		t.Fatal(err)
	}
	b.makeLot(spec{good: 2, asks: "first-article 1; clearance; samples kept 9:1/0"})
	if s := b.status(); s.Policy != (bus.Policy{FirstArticle: 1, Clearance: true, Samples: "kept 9:1/0"}) || s.Samples == nil {
		t.Errorf("status %+v, %+v", s.Policy, s.Samples)
	}
	if r := b.release2(); r.Asks != "first-article 1; clearance; samples kept 9:1/0" {
		t.Errorf("the release says %q", r.Asks)
	}
	b.want(b.act(b.begin(b.one(), b.at(1))), perso.VerdictHold, perso.ReasonClearance)
	b.makeLot(spec{good: 1})
	if s := b.status(); s.Policy != (bus.Policy{FirstArticle: 5}) || s.Samples != nil {
		t.Errorf("another order of the site: %+v", s.Policy)
	}
	if a := b.submit(b.orderFile(spec{good: 1, asks: "no-clearance"})); len(a.Faults) != 1 || a.Faults[0].Field != "asks" {
		t.Errorf("an order that asks for less: %+v", a)
	}
	b.check()
}

// TestHiddenSamples: before the bins of a blind lot were counted nobody is told where its samples lie, and quality says how many it examined.
func TestHiddenSamples(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	if err := b.say(statement.Policy{Header: b.header(), Blind: true, Sampling: "output 10:2/1"}, "ann", "bob"); err != nil {
		t.Fatal(err)
	}
	b.makeLot(spec{good: 2})
	b.putSamples(b.stock(2))
	told := func(step string, want bus.Samples) {
		t.Helper()
		if s := b.status(); *s.Samples != want {
			t.Errorf("%s: samples %+v, want %+v", step, *s.Samples, want)
		}
	}
	told("made", bus.Samples{State: samplesDue, Drawn: 2})
	err := b.say(b.examined(1), "qua")
	if b.denied(err, "not as many"); err != nil && strings.Contains(err.Error(), "2") {
		t.Errorf("the refusal tells how many lie there: %v", err)
	}
	if err := b.say(b.examined(2), "qua"); err != nil {
		t.Fatal(err)
	}
	told("signed", bus.Samples{State: samplesAccepted, Drawn: 2})
	if err := errors.Join(b.countWith(entry.SourceHandler, 2, 0, 0, 2), b.countWith(entry.SourceHand, 2, 2, 0, 0)); err != nil {
		t.Fatal(err)
	}
	told("counted", bus.Samples{State: samplesAccepted, Drawn: 2, InBin: 2, Back: 2})
}

// TestNoCountBeforeTheEnd: a hand count of a lot that is not complete is refused, says what to do, and does not count towards the two that
// show what lies in the bins of a blind lot.
func TestNoCountBeforeTheEnd(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	if err := b.say(statement.Policy{Header: b.header(), Blind: true}, "ann", "bob"); err != nil {
		t.Fatal(err)
	}
	b.makeLot(spec{good: 2, spares: 1})
	guess := func(step, want string) {
		t.Helper()
		before := b.kinds()[entry.KindCount]
		for range minHandCounts {
			b.denied(b.countWith(entry.SourceHand, 0, 0, 0, 0), want)
		}
		if s := b.status(); !s.Hidden || b.kinds()[entry.KindCount] != before {
			t.Errorf("%s: counts that were refused show the bins, or are in the log", step)
		}
	}
	guess("released", "the lot is released")
	if err := b.bin(b.makeLost(b.one(), 1), perso.VerdictRejectLive); err != nil {
		t.Fatal(err)
	}
	guess("running", "the lot is running, and its bins still fill")
	open, at := b.one(), b.at(2)
	q := b.begin(open, at)
	b.act(q)
	guess("in work", "with 1 units in work")
	open.kvn = cardKVN
	b.want(b.act(next(q, "written")), perso.VerdictGood, perso.ReasonNone)
	if err := errors.Join(b.bin(at, perso.VerdictGood), b.bin(b.makeGood(b.one(), 3), perso.VerdictGood)); err != nil {
		t.Fatal(err)
	}
	if s := b.status(); !s.Hidden || s.State != perso.LotComplete {
		t.Errorf("%s, hidden %v", s.State, s.Hidden)
	}
	if err := b.countWith(entry.SourceHand, 3, 2, 1, 0); err != nil {
		t.Error(err)
	}
	b.check()
}
