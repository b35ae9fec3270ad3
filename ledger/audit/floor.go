package audit

import (
	"strings"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/statement"
)

// floor is what people signed at the lines about a lot.
type floor struct {
	policy    statement.Policy // in force when the lot was released, with what its order asks for
	unopened  bool             // nobody can say what it asks for
	approved  bool             // quality signed the first article
	handCount [32]byte         // hash of the last hand count
	handTimes uint64
	hands     []Miscount // the first hand counts of a lot that is not closed
	explained [32]byte   // hash of the hand count that two persons explained
}

// policy is what lots that are released from now on must go through.
func (a *auditor) policy(e entry.Statement) {
	a.asks, a.asksUnknown = statement.Policy{}, true // of a policy that is not opened nothing can be asked
	if p, found := ofSite(a, e, statement.ParsePolicy, statement.Policy.Head); found {
		a.asks, a.asksUnknown = p, false
	}
}

// firstArticle is quality's word, after so many good chips as the policy says, or when the lot is over.
func (a *auditor) firstArticle(e entry.Statement) {
	l := a.lotOf(e.Lot)
	if l == nil {
		return
	}
	f, found := ofSite(a, e, statement.ParseFirstArticle, statement.FirstArticle.Head)
	if !found {
		l.approved = true // who may look into the words is for others to say
		return
	}
	if f.Lot != e.Lot || f.Good != l.good {
		a.bad("I6", "the statement is about %d good chips of lot %s, of which %d were good then", f.Good, f.Lot, l.good)
		return
	}
	l.approved = true
}

// clearance is a person's word that a line is empty, and that a lot may start there.
func (a *auditor) clearance(e entry.Statement) {
	c, found := ofSite(a, e, statement.ParseClearance, statement.Clearance.Head)
	if !found {
		return
	}
	if c.Lot != e.Lot {
		a.bad("I6", "the statement clears line %s for lot %s", c.Line, c.Lot)
	}
	a.cleared[c.Line] = c.Lot
}

// mayBegin finds a chip that was begun although the lot's policy held it.
func (a *auditor) mayBegin(l *lot) {
	if n := l.policy.FirstArticle; n > 0 && !l.approved && l.good+l.open >= n {
		a.bad("I6", "%d chips were good or in work, and nobody of quality had signed the first %d", l.good+l.open, n)
	}
	if l.policy.Issue && l.issued <= 0 {
		a.bad("I6", "no chips were issued to the lot")
	} else if taken := l.claims + l.bins[perso.VerdictRejectBlank] + l.bins[perso.VerdictReturn]; l.policy.Issue && taken >= uint64(l.issued) {
		a.bad("I6", "%d chips were issued to the lot, and before this one %d had a unit or were binned without one", l.issued, taken)
	}
}

// cleanLine finds a chip at a line that nobody cleared for its lot.
func (a *auditor) cleanLine(l *lot, name, line perso.Name) {
	if l.policy.Clearance && a.cleared[line] != name {
		a.bad("I6", "line %s was not cleared for lot %s", line, name)
	}
}

// explain is two persons' word why people count otherwise than the log, after they counted twice.
func (a *auditor) explain(e entry.Statement) {
	l := a.lotOf(e.Lot)
	if l == nil {
		return
	}
	x, found := ofSite(a, e, statement.ParseExplained, statement.Explained.Head)
	switch {
	case !found:
	case x.Lot != e.Lot || x.Count != l.handCount || l.handTimes < 2:
		a.bad("I6", "the statement explains a count of lot %s that is not its last, or its first", x.Lot)
	default:
		l.explained = x.Count
	}
}

// rejects are live rejects that two officers saw destroyed, chip by chip.
func (a *auditor) rejects(e entry.Statement) {
	d, found := ofSite(a, e, statement.ParseRejects, statement.Rejects.Head)
	if !found {
		return
	}
	l := a.lots[e.Lot]
	if l == nil || !l.closed || d.Lot != e.Lot {
		a.bad("I6", "lot %q is not closed, or the statement is about lot %s", e.Lot, d.Lot)
		return
	}
	a.standsStill(l, "")
	from := map[perso.Account]uint64{}
	for _, chip := range statement.InOrder(d.Chips) {
		account := a.rejectIn(l, chip)
		if account == "" {
			a.bad("I6", "chip %s is no live reject of lot %s, or was destroyed before", chip, d.Lot)
			continue
		}
		c, pieces := a.chips.row(chip), uint64(1)
		if account == perso.AccountRejectLive {
			pieces = max(1, uint64(c.inLive))
		}
		if listed := d.Pieces(chip); listed != pieces {
			a.bad("I6", "pieces of chip id %s in lot %s: %d on record, %d in the statement", chip, d.Lot, pieces, listed)
		}
		c.destroyed = true
		from[account] += pieces
		a.destroyedChips += pieces
	}
	for _, account := range []perso.Account{perso.AccountRejectLive, perso.AccountMissing, perso.AccountSample} {
		if from[account] > 0 {
			a.post("", account, perso.AccountDestroyed, from[account])
		}
	}
}

// rejectIn says where a live reject, or a sample that quality keeps, is in the books; empty if it is none. Every good chip of a lot that
// quality did not accept is a live reject.
func (a *auditor) rejectIn(l *lot, chip id.ChipID) perso.Account {
	c := a.chips.row(chip)
	if c == nil || c.lot != l.number || c.destroyed {
		return ""
	}
	o := a.lossOf(c)
	switch {
	case c.failed, c.inGood > 0 && l.refused():
		return perso.AccountRejectLive
	case c.put.name() == perso.VerdictSample && c.inGood > 0 && l.drawn.kept > 0:
		return perso.AccountSample
	case o.counts() && o.fate == statement.FateMissing:
		return perso.AccountMissing
	case c.verdict.name() == perso.VerdictRejectLive || o.counts():
		return perso.AccountRejectLive
	}
	return ""
}

// desk is the order desk's word about an order: what it cancelled is not released.
func (a *auditor) desk(e entry.Statement) {
	if e.What == statement.KindTaken {
		a.named[e.Hash] = opened{what: e.What}
	}
	d, found := ofSite(a, e, statement.ParseDesk, statement.Desk.Head)
	switch {
	case !found:
	case d.Kind != e.What:
		a.bad("I7", "the statement is a %s", d.Kind)
	case d.Kind == statement.KindCancelled:
		a.cancelled[d.OrderHash] = true
	}
}

// MaxMiscounts bounds the hand counts that are told of: of a lot, and of all. Any last one that nobody explained is a finding all the same.
const MaxMiscounts = 1_000

// Miscount is a hand count that differs from what was signed when its lot was closed: people counted again, or two of them signed why.
type Miscount struct {
	Seq    int64 // of its log entry
	Count  entry.Count
	Signed entry.Count // the figures that were signed; without source and time
}

// miscounts notes the hand counts of a lot that differ from its closing.
func (a *auditor) miscounts(l *lot, signed entry.Count) {
	for _, m := range l.hands {
		figures := m.Count
		figures.Source, figures.At = signed.Source, signed.At
		if figures != signed && len(a.report.Miscounts) < MaxMiscounts {
			m.Signed = signed
			a.report.Miscounts = append(a.report.Miscounts, m)
		}
	}
	l.hands = nil
}

// short is two officers' word that nothing of a lot begins any more.
func (a *auditor) short(e entry.Statement) {
	l := a.lotOf(e.Lot)
	if l == nil {
		return
	}
	again := l.short
	l.short = true // also when the words are not there: which kind they are is in the log
	body, by, found := a.openingNamed(e)
	if !found {
		return
	}
	a.standsStill(l, "")
	s, err := statement.ParseShort(body)
	switch {
	case err != nil:
		a.bad("I5", "%v", err)
	case s.Env != a.genesis.Env || s.Site != a.genesis.Site || s.Lot != e.Lot || s.Release != l.hash:
		a.bad("I7", "the statement is about lot %s of site %s (%s), or another release of it", s.Lot, s.Site, s.Env)
	case again:
		a.bad("I5", "the lot was ended short before")
	default:
		a.note("lot %s ended short on the word of %s: %s", e.Lot, strings.Join(by, " and "), s.Reason)
	}
}
