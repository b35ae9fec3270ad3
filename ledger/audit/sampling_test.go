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

// sampled makes the lot's two units by receipts of which one draws its unit by a plan that asks for one sample; it gives the drawn one and the
// other. putDrawn and putOther are where their chips go.
func (w *world) sampled(putDrawn, putOther perso.Verdict) (drawn, other *Unit) {
	drawn, other = w.claim(0, 1), w.claim(1, 2)
	drawn.RunAs(func(hash [32]byte) bool { return statement.Draw{Good: 2, Size: 1, Receipt: hash}.Drawn() })
	other.RunAs(func(hash [32]byte) bool {
		return !statement.Draw{Good: 2, Size: 1, Nth: 1, Taken: 1, Receipt: hash}.Drawn()
	})
	w.lot.Put(drawn.Claim.Present, drawn.Claim.Chip, putDrawn)
	w.lot.Put(other.Claim.Present, other.Claim.Chip, putOther)
	return drawn, other
}

func (w *world) examine(n uint64, signer perso.Name, failed ...id.ChipID) {
	w.Word(Sign(Must(statement.Samples{Header: w.head(), Lot: "L1", Examined: n, Finding: "read back", Failed: failed}.Encode()), signer), "L1")
}

// end counts and closes the lot with so many good, live rejects and samples of two.
func (w *world) end(good, live, sample uint64) {
	w.lot.CloseAs(w.counted(good, live, sample), "prod", "sec")
}

// counted logs the counts of a lot, and gives the closing that agrees with them.
func (w *world) counted(good, live, sample uint64) statement.Close {
	w.lot.CountWith(entry.SourceHandler, func(*entry.Count) {})
	edit := func(c *entry.Count) { c.Good, c.RejectLive, c.Sample = good, live, sample }
	w.lot.CountWith(entry.SourceHand, edit)
	c := w.lot.NewClose()
	c.Counts.Good, c.Counts.RejectLive, c.Counts.Sample = good, live, sample
	return c
}

func (w *world) handOut(units uint64) {
	w.Append(entry.Export{Lot: "L1", What: "output", Receiver: w.lot.Release.Delivery, Units: units, Hash: Hash("export"), At: w.Tick()})
}

// TestSamples: which units are samples the auditor draws again; a lot is closed and handed out by quality's word, and as its plan says.
func TestSamples(t *testing.T) {
	t.Parallel()
	good, sample := perso.VerdictGood, perso.VerdictSample
	const output, kept, strict = "output 9:1/0", "kept 9:1/0", "output 9:2/0"
	for name, c := range map[string]struct {
		plan statement.Sampling
		live func(w *world)
		want string
	}{
		"given back": {output, func(w *world) { w.sampled(sample, good); w.examine(1, "qua"); w.end(2, 0, 0); w.handOut(2) }, ""},
		"kept":       {kept, func(w *world) { w.sampled(sample, good); w.examine(1, "qua"); w.end(1, 0, 1); w.handOut(1) }, ""},
		"kept, sold": {kept, func(w *world) { w.sampled(sample, good); w.examine(1, "qua"); w.end(1, 0, 1); w.handOut(2) }, "2 units were handed out, 1 are good"},
		"shredded": {kept, func(w *world) {
			d, _ := w.sampled(sample, good)
			w.examine(1, "qua")
			w.end(1, 0, 1)
			w.shred("L1", []id.ChipID{d.Claim.Chip}, "prod", "sec")
		}, ""},
		"not drawn":   {output, func(w *world) { w.sampled(good, good); w.examine(0, "qua"); w.end(2, 0, 0) }, `was put into good, the verdict was "sample"`},
		"another":     {output, func(w *world) { w.sampled(good, sample); w.examine(1, "qua"); w.end(2, 0, 0) }, `was put into`},
		"too many":    {output, func(w *world) { w.sampled(sample, sample); w.examine(2, "qua"); w.end(2, 0, 0) }, `was put into sample, the verdict was "good"`},
		"no plan":     {"", func(w *world) { w.good(0, 1); u := w.good(1, 2); w.lot.Put(u.Claim.Present, u.Claim.Chip, sample) }, `was put into sample`},
		"not signed":  {output, func(w *world) { w.sampled(sample, good); w.end(1, 0, 1) }, "it was closed, and quality had not signed"},
		"sold before": {output, func(w *world) { w.sampled(sample, good); w.handOut(2) }, "it was handed out, and quality had not signed"},
		"by others":   {output, func(w *world) { w.sampled(sample, good); w.examine(1, "prod") }, "must sign the samples-examined"},
		"too few":     {output, func(w *world) { w.sampled(sample, good); w.examine(0, "qua") }, "about 0 samples of lot L1; 1 lay in their bin"},
		"one is bad":  {output, func(w *world) { d, _ := w.sampled(sample, good); w.examine(1, "qua", d.Claim.Chip); w.end(1, 1, 0) }, ""},
		"bad is sold": {output, func(w *world) {
			d, _ := w.sampled(sample, good)
			w.examine(1, "qua", d.Claim.Chip)
			w.end(1, 1, 0)
			w.handOut(1)
		}, "out of a lot that quality did not accept"},
		"bad is lost": {output, func(w *world) { d, _ := w.sampled(sample, good); w.examine(1, "qua", d.Claim.Chip); w.end(1, 0, 0) }, "difference 1"},
		"bad, gone": {output, func(w *world) {
			d, _ := w.sampled(sample, good)
			w.examine(1, "qua", d.Claim.Chip)
			w.end(1, 1, 0)
			w.shred("L1", []id.ChipID{d.Claim.Chip}, "prod", "sec")
		}, ""},
		"second word, gone": {output, func(w *world) { // the first said that it failed, the second that it did not
			d, _ := w.sampled(sample, good)
			w.examine(1, "qua", d.Claim.Chip)
			w.examine(1, "qua")
			w.end(2, 0, 0)
			w.shred("L1", []id.ChipID{d.Claim.Chip}, "prod", "sec")
		}, "is no live reject of lot"},
		"second word, good": {output, func(w *world) {
			d, _ := w.sampled(sample, good)
			w.examine(1, "qua", d.Claim.Chip)
			w.examine(1, "qua")
			w.end(2, 0, 0)
			w.handOut(2)
		}, ""},
		"second word, bad": {output, func(w *world) {
			d, _ := w.sampled(sample, good)
			w.examine(1, "qua")
			w.examine(1, "qua", d.Claim.Chip)
			w.end(1, 1, 0)
			w.shred("L1", []id.ChipID{d.Claim.Chip}, "prod", "sec")
		}, ""},
		"refused, gone": {output, func(w *world) {
			d, o := w.sampled(sample, good)
			w.examine(1, "qua", d.Claim.Chip)
			w.end(1, 1, 0)
			w.shred("L1", statement.InOrder([]id.ChipID{d.Claim.Chip, o.Claim.Chip}), "prod", "sec")
		}, ""},
		"accepted, gone": {output, func(w *world) {
			_, o := w.sampled(sample, good)
			w.examine(1, "qua")
			w.end(2, 0, 0)
			w.shred("L1", []id.ChipID{o.Claim.Chip}, "prod", "sec")
		}, "is no live reject of lot"},
		"not its own": {output, func(w *world) { _, o := w.sampled(sample, good); w.examine(1, "qua", o.Claim.Chip) }, "failed, and is no sample"},
		"all of them": {strict, func(w *world) { w.sampled(sample, sample); w.examine(2, "qua"); w.end(2, 0, 0); w.handOut(2) }, ""},
	} {
		w := under(statement.Policy{Sampling: c.plan})
		c.live(w)
		r, err := w.verify()
		if err != nil || (c.want == "") != r.OK() {
			t.Errorf("%s: %v, %v", name, err, r.Findings)
			continue
		}
		if c.want != "" && !strings.Contains(r.Findings[0].What, c.want) {
			t.Errorf("%s: %v", name, r.Findings)
		}
	}
}

// TestRejectedLotWaits: the good chips of a lot that quality did not accept are counted among those that wait for their destruction.
func TestRejectedLotWaits(t *testing.T) {
	t.Parallel()
	for failed, want := range map[int]uint64{0: 0, 1: 2} {
		w := under(statement.Policy{Sampling: "output 9:1/0"})
		d, _ := w.sampled(perso.VerdictSample, perso.VerdictGood)
		w.examine(1, "qua", []id.ChipID{d.Claim.Chip}[:failed]...)
		w.end(2-uint64(failed), uint64(failed), 0)
		if r, err := w.verify(); err != nil || !r.OK() || count(r, "live rejects that wait for their destruction") != want {
			t.Errorf("%d bad samples: %v, %v, %v", failed, err, r.Findings, r.Stock)
		} else if len(r.Exceptions) != failed || failed == 1 && (r.Exceptions[0].Lot != "L1" || !strings.Contains(r.Exceptions[0].What, "quality did not accept lot L1")) {
			t.Errorf("%d bad samples: exceptions %v", failed, r.Exceptions)
		}
	}
}

// TestRejectedLotEnds: the keys of a lot that quality did not accept are destroyed although it was handed to nobody; those of another lot not.
func TestRejectedLotEnds(t *testing.T) {
	t.Parallel()
	for failed, early := range map[int]bool{0: true, 1: false} {
		w := under(statement.Policy{Sampling: "output 9:1/0"})
		d, _ := w.sampled(perso.VerdictSample, perso.VerdictGood)
		w.examine(1, "qua", []id.ChipID{d.Claim.Chip}[:failed]...)
		new(ending).behind(w, w.counted(2-uint64(failed), uint64(failed), 0), func(e *ending) { e.delivered = nil })
		if r, err := w.verify(); err != nil || r.OK() == early {
			t.Errorf("%d bad samples: %v, %v", failed, err, r.Findings)
		}
	}
}

// TestSamplesAstray: a unit that was drawn and lies in no bin is found at quality's word, at the export and at the close, also when another
// sample was put into the bin twice to make up for it; and none is put there when the lot was handed out.
func TestSamplesAstray(t *testing.T) {
	t.Parallel()
	const astray = "units that were drawn as samples lay in no bin"
	for name, c := range map[string]struct {
		live func(w *world, a, b *Unit)
		want string
	}{
		"one kept back": {func(w *world, a, _ *Unit) {
			w.lot.Put(a.Claim.Present, a.Claim.Chip, perso.VerdictSample)
			w.examine(1, "qua")
		}, "quality signed, and 1 " + astray},
		"all kept back": {func(w *world, _, _ *Unit) { w.examine(0, "qua") }, "quality signed, and 2 " + astray},
		"one twice": {func(w *world, a, _ *Unit) {
			w.lot.Put(a.Claim.Present, a.Claim.Chip, perso.VerdictSample)
			w.lot.Put(w.Contact(perso.VerdictSample), a.Claim.Chip, perso.VerdictSample)
			w.examine(2, "qua")
		}, astray},
		"handed out": {func(w *world, _, _ *Unit) { w.handOut(2) }, "it was handed out, and 2 " + astray},
		"put there afterwards": {func(w *world, a, b *Unit) {
			w.lot.Put(a.Claim.Present, a.Claim.Chip, perso.VerdictSample)
			w.lot.Put(b.Claim.Present, b.Claim.Chip, perso.VerdictSample)
			w.examine(2, "qua")
			w.handOut(2)
			w.lot.Put(w.Contact(perso.VerdictHold), a.Claim.Chip, perso.VerdictSample)
		}, "had been handed out"},
	} {
		w := under(statement.Policy{Sampling: "output 9:2/0"})
		c.live(w, w.good(0, 1), w.good(1, 2))
		r, err := w.verify()
		if err != nil || !slices.ContainsFunc(r.Findings, func(f audit.Finding) bool { return strings.Contains(f.What, c.want) }) {
			t.Errorf("%s: %v, %v", name, err, r.Findings)
		}
	}
}

// TestShortLotIsJudgedByWhatWasMade: of twenty ordered units five are good, and all of their samples bad, or none was drawn at all.
func TestShortLotIsJudgedByWhatWasMade(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		plan      statement.Sampling
		bad, sold bool
	}{{"output 20:4/2", true, false}, {"output 20:4/2", false, true}, {"output 20:1/0", false, false}} {
		w := under(statement.Policy{Sampling: c.plan})
		w.lot = w.Release("L1-short", 1, 20, 1)
		d := statement.Draw{Good: 20, Size: c.plan.For(20).Size}
		var drawn, failed []id.ChipID
		made := uint64(5)
		if d.Size == 1 {
			made = 1
		}
		for d.Nth = range made {
			u := w.good(perso.Unit(d.Nth), uint32(d.Nth)+1)
			d.Receipt = u.Receipt
			if d.Drawn() {
				d.Taken, u.Verdict = d.Taken+1, perso.VerdictSample
				drawn = append(drawn, u.Claim.Chip)
			}
			u.Bin()
		}
		if c.bad {
			failed = statement.InOrder(drawn)
		}
		word := statement.Samples{Header: w.head(), Lot: "L1-short", Examined: uint64(len(drawn)), Finding: "read back", Failed: failed}
		w.Word(Sign(Must(word.Encode()), "qua"), "L1-short")
		w.Append(entry.Export{Lot: "L1-short", What: "output", Receiver: w.lot.Release.Delivery, Units: made - uint64(len(failed)), Hash: Hash("export"), At: w.Tick()})
		r, err := w.verify()
		if err != nil || r.OK() != c.sold || !c.sold && !strings.Contains(r.Findings[0].What, "quality did not accept") {
			t.Errorf("%s, %d made, %d drawn, %d bad: %v, %v", c.plan, made, len(drawn), len(failed), err, r.Findings)
		}
	}
}

// provenTwice is a unit whose chip the vault found good in a first session; it comes again before that is on record.
func (w *world) provenTwice() (u *Unit, first [32]byte) {
	u = w.claim(0, 1)
	u.Act("identify")
	u.Act("public key")
	u.Certify("first")
	u.Serve(u.Ask("proof"), entry.ResultGood)
	first = u.Receipt
	u.Reopen()
	u.Act("identify")
	return u, first
}

// TestCalledGoodOnce: a vault calls a unit good by one receipt, from which its draw follows, however often it is asked. One that makes another
// could make as many as it takes until the draw suits somebody.
func TestCalledGoodOnce(t *testing.T) {
	t.Parallel()
	const anew = "the vault had called unit 0 good before"
	proof := func(u *Unit, result string) { u.Serve(u.Ask("proof"), result) }
	for name, c := range map[string]struct {
		live func(u *Unit, first [32]byte) (named [32]byte)
		want string
	}{
		"asked again": {func(u *Unit, first [32]byte) [32]byte { proof(u, entry.ResultGoodAgain); return first }, ""},
		"asked twice": {func(u *Unit, first [32]byte) [32]byte {
			proof(u, entry.ResultGoodAgain)
			u.Reopen()
			u.Act("identify")
			proof(u, entry.ResultGoodAgain)
			return first
		}, ""},
		"called good anew":           {func(u *Unit, _ [32]byte) [32]byte { proof(u, entry.ResultGood); return u.Receipt }, anew},
		"called good anew, not used": {func(u *Unit, first [32]byte) [32]byte { proof(u, entry.ResultGood); return first }, anew},
		"drawn by what says again":   {func(u *Unit, _ [32]byte) [32]byte { proof(u, entry.ResultGoodAgain); return u.Receipt }, `the vault said "good-again"`},
		"not proven again":           {func(u *Unit, first [32]byte) [32]byte { u.Act("more"); return first }, "did not call good again"},
		"not answered again":         {func(u *Unit, first [32]byte) [32]byte { u.Ask("proof"); return first }, "the vault has no receipt for it"},
		"by an act that is not the last": {func(u *Unit, first [32]byte) [32]byte {
			proof(u, entry.ResultGoodAgain)
			u.Act("more")
			return first
		}, "did not call good again"},
	} {
		w := under(statement.Policy{Sampling: "output 9:1/0"})
		u, first := w.provenTwice()
		u.Receipt = c.live(u, first)
		u.End(perso.VerdictGood, perso.ReasonNone)
		r, err := w.verify()
		if err != nil || (c.want == "") != r.OK() || c.want != "" && !strings.Contains(r.Findings[0].What, c.want) {
			t.Errorf("%s: %v, %v", name, err, r.Findings)
		}
	}
}

// TestAnotherUnitsReceipt: each outcome names the receipt of its own unit, also when its chip opened another session since.
func TestAnotherUnitsReceipt(t *testing.T) {
	t.Parallel()
	w := under(statement.Policy{})
	u, _ := w.provenTwice()
	u.Serve(u.Ask("proof"), entry.ResultGoodAgain)
	other := w.claim(1, 2)
	other.Act("identify")
	other.Act("public key")
	other.Certify("first")
	other.Serve(other.Ask("proof"), entry.ResultGood)
	u.Receipt = other.Receipt
	u.End(perso.VerdictGood, perso.ReasonNone)
	if r, err := w.verify(); err != nil || r.OK() || !strings.Contains(r.Findings[0].What, "calls session") {
		t.Errorf("%v, %v", err, r.Findings)
	}
}

// TestAgainWithoutBefore: what the vault calls good again it must have called good.
func TestAgainWithoutBefore(t *testing.T) {
	t.Parallel()
	w := under(statement.Policy{})
	u := w.claim(0, 1)
	u.Act("identify")
	u.Serve(u.Ask("proof"), entry.ResultGoodAgain)
	if r, err := w.verify(); err != nil || r.OK() || !strings.Contains(r.Findings[0].What, "and never had before") {
		t.Errorf("%v, %v", err, r.Findings)
	}
}

// TestReturnedAmongBlank: a handler without a bin for returned chips lays them with the blank rejects, and nothing else there.
func TestReturnedAmongBlank(t *testing.T) {
	t.Parallel()
	for verdict, ok := range map[perso.Verdict]bool{perso.VerdictReturn: true, perso.VerdictStop: false} {
		w := under(statement.Policy{})
		p := w.Contact(verdict)
		w.lot.Put(p, id.ChipID{}, perso.VerdictRejectBlank)
		if r, err := w.verify(); err != nil || r.OK() != ok {
			t.Errorf("%s: %v, %v", verdict, err, r.Findings)
		}
	}
}

// Contact logs a presentation that is not binned.
func (w *world) Contact(v perso.Verdict) perso.Presentation {
	p := perso.Presentation{Line: "line-1", Head: 9, Number: uint64(len(w.Entries))}
	w.Append(entry.Present{Lot: "L1", Present: p, Verdict: v, Reason: perso.ReasonLotComplete, At: w.Tick()})
	return p
}

// TestDemands: what an order asks for beyond the site's policy stands in its release, and the lot is judged by both.
func TestDemands(t *testing.T) {
	t.Parallel()
	for demands, want := range map[statement.Demands]string{"": "", "clearance": "line line-1 was not cleared", "first-article 1": "nobody of quality had signed the first 1",
		"issue": "no chips were issued", "samples output 9:2/0": `was put into good, the verdict was "sample"`} {
		w := under(statement.Policy{FirstArticle: 9})
		r := w.NewRelease("L2", 1, 2, 1)
		r.Asks = demands
		w.lot = w.Admit(r, "prod", "sec")
		w.good(0, 1).Bin()
		w.claim(1, 2)
		got, err := w.verify()
		if err != nil || (want == "") != got.OK() || want != "" && !strings.Contains(got.Findings[0].What, want) {
			t.Errorf("%q: %v, %v", demands, err, got.Findings)
		}
	}
}

// TestDropped: the auditor tells of a unit that the vault called good and the log has as a live reject, where samples are drawn.
func TestDropped(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		plan   statement.Sampling
		result string
		told   bool
	}{"called good": {"output 99:1/0", entry.ResultGood, true}, "without a plan": {"", entry.ResultGood, false}, "failed": {"output 99:1/0", string(perso.ReasonStatus), false}} {
		w := under(statement.Policy{Sampling: c.plan})
		u := w.claim(0, 1)
		u.Act("identify")
		u.Serve(u.Ask("proof"), c.result)
		u.Receipt = [32]byte{}
		u.Lose()
		r, err := w.verify()
		told := slices.ContainsFunc(r.Notes, func(n string) bool {
			return strings.Contains(n, "1 units of lots with a sampling plan are live rejects")
		})
		if err != nil || !r.OK() || told != c.told {
			t.Errorf("%s: %v, %v, %q", what, err, r.Findings, r.Notes)
		}
	}
}

// TestDrawsAgain: the auditor draws the same units as the ledger, whatever was drawn before them.
func TestDrawsAgain(t *testing.T) {
	t.Parallel()
	w := under(statement.Policy{Sampling: "output 99:4/0"})
	w.lot = w.Release("L2", 1, 20, 1)
	d := statement.Draw{Good: 20, Size: 4}
	drawn := 0
	for d.Nth = range d.Good {
		u := w.good(perso.Unit(d.Nth), uint32(d.Nth)+1)
		d.Receipt = u.Receipt
		if d.Drawn() {
			d.Taken, u.Verdict = d.Taken+1, perso.VerdictSample
			drawn++
		}
		u.Bin()
	}
	if r, err := w.verify(); err != nil || !r.OK() || drawn < 4 || count(r, "good units drawn as samples") != uint64(drawn) {
		t.Errorf("%d drawn: %v, %v", drawn, err, r.Findings)
	}
}
