package audit

import (
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
)

// session is one secure channel with one chip.
type session struct {
	claim   *claim
	present perso.Presentation
	serial  uint64
	n       uint8  // of its last act
	last    actKey // its last act
}

// actInfo is what is known of an act until the receipts are read.
type actInfo struct {
	seq      int64
	lot      uint32 // its number: without a pointer, the memory's keeper need not look into millions of these
	needed   bool   // something rests on its having been served
	script   bool   // it was served with a script
	receipts uint32
}

// goodRef is an outcome that waits for its receipt.
type goodRef struct {
	seq     int64
	session perso.Session // the claim's last
	n       uint8         // of its last act
	lost    bool          // two officers had given the unit up
}

// act is one step of a session: act 0 opens it with a host challenge that serves once, the others follow one by one.
func (a *auditor) act(e entry.Act) {
	c := a.claimOf(e.Lot, e.Unit, e.Gen)
	if c == nil {
		return
	}
	a.standsStill(c.lot, e.Present.Line)
	if e.N == 0 {
		a.cleanLine(c.lot, e.Lot, e.Present.Line)
	}
	if e.N >= perso.MaxActs {
		a.bad("I9", "act %d, at most %d", e.N, perso.MaxActs-1)
	}
	if c.ended != 0 && (c.verdict != perso.VerdictGood || e.N > 0) {
		a.bad("I1", "the claim ended with entry %d", c.ended)
	}
	if c.ended == 0 && c.loss != nil {
		a.bad("I1", "two officers gave the unit up with entry %d", c.loss.seq)
	}
	s := a.sessions[e.Session]
	key := keyOf(e.Session, e.N, e.Responses, c.hash, e.At)
	switch {
	case e.N == 0 && s == nil:
		if c.lot.serials[e.Serial] {
			a.bad("I5", "host challenge %d served another session", e.Serial)
		}
		c.lot.serials[e.Serial] = true
		s = &session{claim: c, present: e.Present, serial: e.Serial}
		a.sessions[e.Session], c.session = s, e.Session
	case e.N == 0 || s == nil || e.N != s.n+1:
		a.bad("I5", "act %d of session %s does not follow the one before", e.N, e.Session)
		return
	default:
		if s.claim != c || s.serial != e.Serial || s.present != e.Present || c.session != e.Session {
			a.bad("I5", "session %s is of another claim, challenge or presentation, or was given up", e.Session)
		}
		a.needReceipt(s.last)
	}
	s.n, s.last = e.N, key
	a.acts[key] = actInfo{seq: a.seq, lot: c.lot.number}
}

// needReceipt notes that an act must have been served, since something follows from it.
func (a *auditor) needReceipt(k actKey) {
	info := a.acts[k]
	info.needed = true
	a.acts[k] = info
}
