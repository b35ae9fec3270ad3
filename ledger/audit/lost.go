package audit

import (
	"cmp"
	"slices"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// loss is two officers' word that a unit is given up.
type loss struct {
	seq      int64
	at       time.Time
	lot      *lot
	claim    *claim // nil when the word is not opened, or is about no claim
	unit     perso.Unit
	session  perso.Session
	fate     statement.Fate
	answered bool // the vault has a receipt for it
}

// counts says whether the chip lies where the officers said: no head has put it anywhere.
func (l *loss) counts() bool { return l != nil && l.claim != nil && !l.claim.binned }

// lossOf is the officers' word that gave a claim up; nil if there is none.
func (a *auditor) lossOf(c *claim) *loss {
	if c.loss == 0 {
		return nil
	}
	return a.givenUps[c.loss-1]
}

// lost takes two officers' word that a unit is given up: it names one claim of the lot, once, before that is lost.
func (a *auditor) lost(e entry.Statement) {
	l := a.lotOf(e.Lot)
	if l == nil {
		return
	}
	if a.losses[e.Hash] != nil {
		a.bad("I5", "the statement is in the log twice")
		return
	}
	o := &loss{seq: a.seq, at: e.At, lot: l}
	a.losses[e.Hash] = o
	l.losses = append(l.losses, o)
	body, found := a.opening(e)
	if !found {
		return
	}
	w, err := statement.ParseLost(body)
	if err != nil {
		a.bad("I7", "%v", err)
		return
	}
	if w.Lot != e.Lot || w.Env != a.genesis.Env || w.Site != a.genesis.Site || w.Release != l.hash {
		a.bad("I7", "the statement is about lot %s of site %s (%s), or another release", w.Lot, w.Site, w.Env)
		return
	}
	c := a.unit(l, w.Unit)
	switch {
	case c == nil || c.gen != w.Gen || c.hash != w.Claim || c.eid != w.EID || c.chip != w.Chip:
		a.bad("I7", "unit %d generation %d was not claimed as the statement says, or again since", w.Unit, w.Gen)
		return
	case c.loss != 0:
		a.bad("I7", "unit %d generation %d was given up before, by log entry %d", w.Unit, w.Gen, a.lossOf(c).seq)
		return
	case c.ended != 0 && c.verdict.name() != perso.VerdictGood:
		a.bad("I7", "unit %d generation %d was lost before, by log entry %d", w.Unit, w.Gen, c.ended)
		return
	case a.sessionName(c.session) != w.Session:
		a.bad("I7", "session %s is not the last of the chip", w.Session)
	}
	o.claim, o.unit, o.session, o.fate = c, w.Unit, w.Session, w.Fate
	a.givenUps = append(a.givenUps, o)
	c.loss, l.gaveUp[c.hash] = uint32(len(a.givenUps)), c
}

// givenUp holds the outcome that ends a claim as lost against the officers' word: who gave it up waits for the vault's receipt,
// and nobody else has one.
func (a *auditor) givenUp(c *claim, e entry.Outcome) {
	switch {
	case c.loss == 0 && e.Receipt == [32]byte{} && e.Reason != perso.ReasonAbandoned:
	case c.loss == 0 || e.Receipt == [32]byte{} || e.Reason != perso.ReasonAbandoned:
		a.bad("I7", "a unit is given up by two officers and the vault's receipt, and by nothing less: reason %q", e.Reason)
	default:
		a.abandoned[e.Receipt] = a.lossOf(c)
	}
}

// answer takes the vault's receipt that it gave a unit up: it has the officers' word in the log, and one only.
func (c *chain) answer(e *receipt) {
	a := c.a
	o := a.losses[e.Responses]
	if o == nil {
		if l := a.lots[e.Lot]; !e.At.Before(a.last) && (l == nil || !l.closed) {
			a.newer++
			return
		}
		a.find(c.place(), "I7", "the vault gave unit %d up, and the log holds no word of two officers for it", e.Unit)
		return
	}
	if o.claim == nil {
		return // not opened, or found to be wrong
	}
	switch {
	case o.lot != a.lots[e.Lot] || o.unit != e.Unit || o.claim.gen != e.Gen || o.claim.hash != e.Claim || o.session != e.Session || e.N != 0 || !e.At.Equal(o.at):
		a.find(c.place(), "I7", "it answers log entry %d, and is about another unit", o.seq)
	case o.answered:
		a.find(c.place(), "I5", "log entry %d was answered before", o.seq)
	case o.claim.calledGood:
		a.find(c.place(), "I1", "unit %d was called good before it was given up", e.Unit)
	case o.claim.ended != 0 && o.claim.verdict.name() != perso.VerdictRejectLive:
		a.find(c.place(), "I1", "unit %d was given up, and is %s by log entry %d", e.Unit, o.claim.verdict.name(), o.claim.ended)
	}
	o.answered, o.claim.gone = true, true
	if named := a.abandoned[e.hash]; named == o {
		delete(a.abandoned, e.hash)
	}
}

// afterwards finds what the vault served for a unit that it had given up, and notes what it called good.
func (c *chain) afterwards(l *lot, e *receipt) {
	u := l.gaveUp[e.Claim]
	if u == nil {
		return
	}
	if u.gone {
		c.a.find(c.place(), "I1", "unit %d had been given up, and the vault served it: %s", e.Unit, e.Result)
	}
	u.calledGood = u.calledGood || e.Result == entry.ResultGood
}

// checkLosses looks at what became of the officers' words: of a closed lot each has its answer.
func (a *auditor) checkLosses() {
	for _, o := range a.abandoned {
		a.find(logPlace(int64(o.claim.ended), entry.KindOutcome), "I7", "the receipt that it names does not give the unit up, or is in no chain")
	}
	all := make([]*loss, 0, len(a.losses))
	for _, o := range a.losses {
		all = append(all, o)
	}
	slices.SortFunc(all, func(x, y *loss) int { return cmp.Compare(x.seq, y.seq) })
	for _, o := range all {
		if c := o.claim; c != nil && o.lot.closed && o.lot.chained && !o.answered && !c.calledGood {
			a.find(logPlace(o.seq, entry.KindStatement), "I7", "two officers gave unit %d up, and the vault neither did nor had called it good", o.unit)
		}
	}
}

// accounted are the chips that lie where officers said.
type accounted struct{ rejectLive, missing, good uint64 }

func (l *lot) accounted() (n accounted) {
	for _, o := range l.losses {
		if !o.counts() {
			continue
		}
		if o.fate == statement.FateMissing {
			n.missing++
		} else {
			n.rejectLive++
		}
		if o.claim.verdict.name() == perso.VerdictGood {
			n.good++
		}
	}
	return n
}
