package audit

import (
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/statement"
)

// drawn are a lot's samples: drawn again by the auditor, examined by quality's word.
type drawn struct {
	taken              uint64 // samples so far
	signed, accepted   bool   // quality's word is in the log, and it is within the plan
	back, kept, failed uint64
	bad                []id.ChipID // of those that failed
}

// draw draws the unit that has just become good, or not. Of a lot whose release or policy was not opened nobody can tell.
func (a *auditor) draw(l *lot, e entry.Outcome) perso.Verdict {
	if l.release == nil {
		return e.Verdict
	}
	d := statement.Draw{Good: l.release.Good, Size: l.policy.Sampling.For(l.release.Good).Size, Nth: l.good - 1, Taken: l.drawn.taken, Receipt: e.Receipt}
	if !d.Drawn() {
		return e.Verdict
	}
	l.drawn.taken++
	a.drawnChips++
	return perso.VerdictSample
}

// mayDiffer reports that a good unit may lie among the samples without the auditor's knowing why.
func (l *lot) mayDiffer(verdict, bin perso.Verdict) bool {
	return (l.release == nil || l.unopened) && verdict == perso.VerdictGood && bin == perso.VerdictSample
}

// samples is quality's word about what was drawn. The last one counts, while nothing was handed out.
func (a *auditor) samples(e entry.Statement) {
	l := a.lotOf(e.Lot)
	if l == nil {
		return
	}
	w, found := ofSite(a, e, statement.ParseSamples, statement.Samples.Head)
	inBin := l.bins[perso.VerdictSample]
	a.noneAstray(l, "quality signed")
	for _, chip := range l.drawn.bad { // by an earlier word, which is no more
		a.chips.row(chip).failed = false
	}
	l.drawn = drawn{taken: l.drawn.taken, signed: true}
	if !found {
		l.drawn.accepted, l.drawn.back = true, inBin // who may look into the words is for others to say
		return
	}
	if w.Lot != e.Lot || w.Examined != inBin || len(l.exported) > 0 {
		a.bad("I6", "the statement is about %d samples of lot %s; %d lay in their bin then, and %d exports were made", w.Examined, w.Lot, inBin, len(l.exported))
	}
	for _, chip := range w.Failed {
		c := a.chips.row(chip)
		if c == nil || c.lot != l.number || c.put.name() != perso.VerdictSample || c.inGood == 0 {
			a.bad("I6", "chip %s failed, and is no sample of lot %s", chip, e.Lot)
			continue
		}
		c.failed = true
		l.drawn.bad = append(l.drawn.bad, chip)
	}
	l.drawn.failed = uint64(len(w.Failed))
	passed := w.Examined - l.drawn.failed // a statement has no more failures than chips
	l.drawn.back = passed
	if l.policy.Sampling.Kept() {
		l.drawn.back, l.drawn.kept = 0, passed
	}
	l.drawn.accepted = l.release == nil || l.policy.Sampling.Accepts(statement.Examined{Good: l.release.Good, Made: l.good, Drawn: w.Examined, Failed: l.drawn.failed})
	if l.refused() {
		a.rejected = e.Lot
	}
}

// refused reports a lot that quality did not accept: its good units are handed to nobody and wait for their destruction. Without its policy
// one bad sample is enough to believe it.
func (l *lot) refused() bool {
	return (l.policy.Sampling != "" || l.unopened) && l.drawn.signed && !l.drawn.accepted
}

// examined finds a lot that is closed, or handed out, before quality signed what its plan asks for.
func (a *auditor) examined(l *lot, what string) {
	if l.policy.Sampling == "" {
		return
	}
	a.noneAstray(l, what)
	if d := l.drawn; !d.signed {
		a.bad("I6", "%s, and quality had not signed the samples that the policy asks for", what)
	} else if in := l.bins[perso.VerdictSample]; d.back+d.kept+d.failed != in {
		a.bad("I6", "%s with %d samples in their bin, and quality signed for %d", what, in, d.back+d.kept+d.failed)
	}
}

// noneAstray finds units that were drawn and that nobody can have examined: no head put their chips anywhere, and no officers said where they are.
func (a *auditor) noneAstray(l *lot, what string) {
	var n uint64
	for _, p := range l.units.all() {
		if c := a.claims.get(p); c != nil && c.put.name() == perso.VerdictSample && c.inGood == 0 && !a.lossOf(c).counts() {
			n++
		}
	}
	if n > 0 {
		a.bad("I6", "%s, and %d units that were drawn as samples lay in no bin", what, n)
	}
}
