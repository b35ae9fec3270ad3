package audit

import (
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/statement"
)

// claim is one unit in one generation on one chip.
type claim struct {
	hash    [32]byte // of its entry, as receipts repeat it
	cert    [32]byte
	eid     id.EID
	chip    id.ChipID
	gen     perso.Generation
	verdict verdictCode
	put     verdictCode // by which its chip is put away: the verdict, or "sample"
	lot     uint32      // its number
	loss    uint32      // two officers gave it up: which of the losses, counted from 1
	inGood  uint32      // times its chip was put into the bin of good ones, or of samples
	inLive  uint32      // times a chip of its id was put among the live rejects: more than once if a maker gave it to two

	session   place // the latest
	certified place // the session that its certificate was logged in

	ended        uint64   // number of its outcome, 0 while it is open
	receipt      [32]byte // of a good one: that it names as the vault's word
	endedIn      place    // of a good one: its session, the last then
	endedBy      uint8    // the last act of that session then
	receiptFound bool     // in the vault's chain

	failed           bool // as a sample
	binned           bool // a head put its chip somewhere
	destroyed        bool // two officers saw it
	calledGood, gone bool // by the vault's receipts
	saidGood         bool // by a receipt so far, whether it was given up or not
}

// lotOfClaim is the lot that a claim is of.
func (a *auditor) lotOfClaim(c *claim) *lot { return a.numbered[c.lot] }

// claim binds identity and chip: one chip per identity, one identity per chip, an EID never twice (I1), within what was
// released (I7).
func (a *auditor) claim(e entry.Claim) {
	l := a.lotOf(e.Lot)
	if l == nil {
		return
	}
	a.standsStill(l, e.Present.Line)
	a.issues(e)
	a.mayBegin(l)
	if l.short {
		a.bad("I7", "two officers had ended the lot short")
	}
	if e.Release != l.hash {
		a.bad("I7", "it rests on another release than the lot's")
	}
	again := l.indexes.add(uint64(e.Index))
	if r := l.release; r != nil {
		if uint64(e.Unit) >= r.Units() || uint64(e.Index) >= r.Units() {
			a.bad("I7", "unit %d and EID index %d: %d were released", e.Unit, e.Index, r.Units())
		} else if !releasedEID(r, e) {
			a.bad("I1", "EID %s is not number %d of the released range", e.EID, e.Index)
		}
		if again {
			a.bad("I7", "a chip was begun as number %d before", e.Index)
		}
		if e.Gen > 0 && r.Remake != "same-identity" {
			a.bad("I1", "the order forbids to make a unit again")
		}
	}
	if a.eids[e.EID] {
		a.bad("I1", "EID %s was claimed before", e.EID)
	}
	if a.chips.find(e.Chip) != 0 {
		a.bad("I1", "chip %s was claimed before", e.Chip)
	}
	a.generation(l, e)
	if !e.EID.IsZero() {
		a.eids[e.EID] = true
	}
	at, _ := a.claims.add(claim{lot: l.number, gen: e.Gen, eid: e.EID, chip: e.Chip, hash: a.hash})
	a.chips.put(e.Chip, at)
	*l.units.at(uint64(e.Unit)) = at
	l.claims, l.open = l.claims+1, l.open+1
}

// releasedEID says whether a claim has the EID of its place in the released range, and none where the product has none.
func releasedEID(r *statement.Release, e entry.Claim) bool {
	if !r.EUICC() {
		return e.EID.IsZero()
	}
	eid, err := r.EIDs.At(uint64(e.Index))
	return err == nil && eid == e.EID
}

// generation checks that a re-make follows a loss that is accounted for, and nothing else.
func (a *auditor) generation(l *lot, e entry.Claim) {
	before := a.unit(l, e.Unit)
	switch {
	case e.Gen > perso.MaxGeneration:
		a.bad("I1", "generation %d, at most %d", e.Gen, perso.MaxGeneration)
	case before == nil && (e.Gen != 0 || e.Loss != 0):
		a.bad("I1", "generation %d of unit %d follows none", e.Gen, e.Unit)
	case before == nil:
	case before.verdict.name() == perso.VerdictGood:
		a.bad("I1", "unit %d is good in generation %d", e.Unit, before.gen)
	case before.ended == 0:
		a.bad("I1", "generation %d of unit %d has not ended", before.gen, e.Unit)
	case e.Gen != before.gen+1 || e.Loss != before.ended:
		a.bad("I1", "generation %d names loss %d; generation %d was lost by entry %d", e.Gen, e.Loss, before.gen, before.ended)
	}
}

// unit is the latest generation of a unit; nil when it was never claimed.
func (a *auditor) unit(l *lot, u perso.Unit) *claim { return a.claims.get(l.units.get(uint64(u))) }

// claimOf finds the claim of the entry at hand; only the latest generation of a unit can still have a life.
func (a *auditor) claimOf(lotName perso.Name, u perso.Unit, g perso.Generation) *claim {
	l := a.lotOf(lotName)
	if l == nil {
		return nil
	}
	c := a.unit(l, u)
	if c == nil || c.gen != g {
		a.bad("I5", "unit %d generation %d has no claim, or a later one", u, g)
		return nil
	}
	return c
}

// certificate puts a certificate on record; another one for the same claim names what it supersedes.
func (a *auditor) certificate(e entry.Certificate) {
	c := a.claimOf(e.Lot, e.Unit, e.Gen)
	if c == nil {
		return
	}
	l := a.lotOfClaim(c)
	switch {
	case l.release != nil && !l.release.EUICC():
		a.bad("I5", "a certificate for a chip that is no eUICC")
	case c.ended != 0:
		a.bad("I1", "the claim ended with entry %d", c.ended)
	case e.EID != c.eid:
		a.bad("I1", "EID %s is not the claim's", e.EID)
	case e.Supersedes != c.cert:
		a.bad("I5", "it supersedes %x, on record is %x", e.Supersedes, c.cert)
	case l.injects() && (c.session == 0 || c.certified == c.session):
		a.bad("I5", "session %s of a chip that is given its key has no act, or a certificate before", a.sessionName(c.session))
	}
	if c.cert != [32]byte{} {
		a.superseded++
	}
	c.cert, c.certified = e.Cert, c.session
}

// outcome ends a claim. Good needs the vault's word for the session (checked against the receipts later).
func (a *auditor) outcome(e entry.Outcome) {
	c := a.claimOf(e.Lot, e.Unit, e.Gen)
	if c == nil {
		return
	}
	if c.ended != 0 {
		a.bad("I1", "the claim ended with entry %d, which is terminal", c.ended)
		return
	}
	if e.EID != c.eid || e.Chip != c.chip {
		a.bad("I1", "EID %s on chip %s is not what was claimed", e.EID, e.Chip)
	}
	l := a.lotOfClaim(c)
	c.ended, c.verdict = uint64(a.seq), codeOf(e.Verdict)
	l.open--
	put := e.Verdict
	if e.Verdict == perso.VerdictGood {
		l.good++
		put = a.draw(l, e)
	}
	c.put = codeOf(put)
	a.judged(e.Present, l, put)
	switch e.Verdict {
	case perso.VerdictGood:
		a.good(c, e)
	case perso.VerdictRejectLive:
		l.lost++
		a.givenUp(c, e)
	default:
		a.bad("I6", "verdict %q does not end a claim", e.Verdict)
	}
}

func (a *auditor) good(c *claim, e entry.Outcome) {
	l := a.lotOfClaim(c)
	if r := l.release; r != nil && l.good > r.Good {
		a.bad("I7", "%d units are good, %d were released", l.good, r.Good)
	}
	if e.Cert != c.cert {
		a.bad("I5", "certificate %x is not the one on record", e.Cert)
	}
	at := a.sessionIDs.find(e.Session)
	s := a.sessions.get(at)
	if s == nil || a.claims.at(s.claim) != c || c.session != at {
		a.bad("I4", "session %s is not the claim's last", e.Session)
		return
	}
	if c.loss == 0 { // else the chip may have been torn off in a session that proved nothing, and nobody gets it
		a.needReceipt(s)
	}
	if e.Receipt == [32]byte{} || a.goods.find(e.Receipt) != 0 {
		a.bad("I4", "it names no receipt of its own")
		return
	}
	c.receipt, c.endedIn, c.endedBy = e.Receipt, at, s.n
	a.goods.put(e.Receipt, s.claim)
}
