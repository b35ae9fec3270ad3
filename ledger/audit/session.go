package audit

import (
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
)

// session is one secure channel with one chip.
type session struct {
	id      perso.Session
	present contactKey
	serial  uint64
	claim   place
	last    place // its last act
	n       uint8 // of that
}

// act is one step of a session, with what a receipt must repeat of it beside the session.
type act struct {
	responses [32]byte
	at        int64  // in microseconds
	seq       uint32 // of its entry; a bundle has fewer
	claim     place  // that the entry names: the session's, else that was found
	before    place  // the session's act before it
	needed    bool   // something rests on its having been served
	served    bool   // there is a receipt for it
	script    bool   // it was served with a script
}

// sessionName is what a session is called; nothing for none.
func (a *auditor) sessionName(p place) (name perso.Session) {
	if s := a.sessions.get(p); s != nil {
		name = s.id
	}
	return name
}

// act is one step of a session: act 0 opens it with a host challenge that serves once, the others follow one by one.
func (a *auditor) act(e entry.Act) {
	c := a.claimOf(e.Lot, e.Unit, e.Gen)
	if c == nil {
		return
	}
	l := a.lotOfClaim(c)
	a.standsStill(l, e.Present.Line)
	if e.N == 0 {
		a.cleanLine(l, e.Lot, e.Present.Line)
	}
	if e.N >= perso.MaxActs {
		a.bad("I9", "act %d, at most %d", e.N, perso.MaxActs-1)
	}
	if c.ended != 0 && (c.verdict.name() != perso.VerdictGood || e.N > 0) {
		a.bad("I1", "the claim ended with entry %d", c.ended)
	}
	if c.ended == 0 && c.loss != 0 {
		a.bad("I1", "two officers gave the unit up with entry %d", a.lossOf(c).seq)
	}
	at, present, of := a.sessionIDs.find(e.Session), a.contactKey(e.Present), l.units.get(uint64(e.Unit))
	s := a.sessions.get(at)
	switch {
	case e.N == 0 && s == nil:
		if l.serials.add(e.Serial) {
			a.bad("I5", "host challenge %d served another session", e.Serial)
		}
		at, s = a.sessions.add(session{id: e.Session, claim: of, present: present, serial: e.Serial})
		a.sessionIDs.put(e.Session, at)
		c.session = at
	case e.N == 0 || s == nil || e.N != s.n+1:
		a.bad("I5", "act %d of session %s does not follow the one before", e.N, e.Session)
		return
	default:
		if s.claim != of || s.serial != e.Serial || s.present != present || c.session != at {
			a.bad("I5", "session %s is of another claim, challenge or presentation, or was given up", e.Session)
		}
		a.needReceipt(s)
	}
	p, _ := a.acts.add(act{seq: uint32(a.seq), responses: e.Responses, at: e.At.UnixMicro(), claim: of, before: s.last})
	s.n, s.last = e.N, p
}

// needReceipt notes that a session's last act must have been served, since something follows from it.
func (a *auditor) needReceipt(s *session) { a.acts.at(s.last).needed = true }

// actOf is act n of a session; nil if it has none.
func (a *auditor) actOf(s *session, n uint8) *act {
	p := s.last
	for at := s.n; at > n && p != 0; at-- {
		p = a.acts.at(p).before
	}
	if n > s.n {
		return nil
	}
	return a.acts.get(p)
}
