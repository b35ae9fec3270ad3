package keygen

import (
	"crypto/sha256"
	"fmt"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
)

// MaxRememberedSessions bounds the sessions of a lot of which each act is remembered, about ten hours of eight fast lines.
// A session whose challenge is older than the oldest remembered one is refused if it is not remembered itself.
const MaxRememberedSessions = 65_536

// rendered is one journal record: the receipt, and what the index and a repeated act need beside it.
type rendered struct {
	Receipt []byte `cbor:"1,keyasint"`
	Serial  uint64 `cbor:"2,keyasint"`
	Index   uint32 `cbor:"3,keyasint"`           // EID index of the claim
	Secrets bool   `cbor:"4,keyasint,omitempty"` // the window held a secret of the card
	Cert    []byte `cbor:"5,keyasint,omitempty"` // signed in this act, or what its verdict was proven with
	Key     []byte `cbor:"6,keyasint,omitempty"`
	// Stamp is the serial number of the session whose stamp the chip is to show.
	Stamp uint64 `cbor:"7,keyasint,omitempty"`

	receipt entry.Receipt
}

func parseRendered(b []byte) (rendered, error) {
	r, err := bus.Decode[rendered](b)
	if err != nil {
		return r, fmt.Errorf("reading journal record: %w", err)
	}
	if r.receipt, err = entry.ParseReceipt(r.Receipt); err != nil {
		return r, fmt.Errorf("reading journal record: %w", err)
	}
	return r, nil
}

const resultScript, resultGood = "script", "good"

// servedAct is an act that has a receipt.
type servedAct struct {
	responses [32]byte
	seq       uint64 // of its last receipt
	known     bool
}

type seenSession struct {
	serial uint64
	acts   [perso.MaxActs]servedAct
}

// bound is what a unit was last served as. Claims are told apart by their whole hash: who owns the ledger chooses their
// content, and could make two that agree in half of it.
type bound struct {
	claim   [32]byte
	cert    [32]byte // hash of the certificate that it was proven good with
	session uint64   // serial number of the session that wrote first; until one did, of the last that was opened
	gen     perso.Generation
	wrote   bool // a window after act 0 left
	secrets bool // a secret may have left
	good    bool
}

// index is what a lot's receipts say, in memory: it finds replays, second claims and repeated acts. It is rebuilt from the
// journal and knows only what this vault served; other vaults of the site have their own.
type index struct {
	sessions map[perso.Session]*seenSession
	serials  map[uint64]perso.Session
	queue    []perso.Session // in order of their first act
	low      uint64          // highest serial number that was forgotten
	forgot   bool

	units map[perso.Unit]*bound
	eids  map[uint32][32]byte
	goods uint64
}

func newIndex() *index {
	return &index{sessions: map[perso.Session]*seenSession{}, serials: map[uint64]perso.Session{}, units: map[perso.Unit]*bound{}, eids: map[uint32][32]byte{}}
}

// add takes one receipt into the index.
func (x *index) add(r rendered) {
	e := r.receipt
	s := x.sessions[e.Session]
	if s == nil {
		x.forgetOldest()
		s = &seenSession{serial: r.Serial}
		x.sessions[e.Session], x.serials[r.Serial] = s, e.Session
		x.queue = append(x.queue, e.Session)
	}
	s.acts[e.N] = servedAct{responses: e.Responses, seq: e.Seq, known: true}
	u := x.units[e.Unit]
	if u == nil || u.claim != e.Claim {
		u = &bound{claim: e.Claim, gen: e.Gen}
		x.units[e.Unit] = u
	}
	x.eids[r.Index] = e.Claim
	if e.Result == resultScript && !u.wrote {
		u.wrote, u.session = e.N > 0, r.Serial
	}
	u.secrets = u.secrets || r.Secrets
	if e.Result == resultGood && !u.good {
		u.good, u.cert = true, sha256.Sum256(r.Cert)
		x.goods++
	}
}

func (x *index) forgetOldest() {
	if len(x.queue) < MaxRememberedSessions {
		return
	}
	oldest := x.queue[0]
	x.queue = x.queue[1:]
	serial := x.sessions[oldest].serial
	delete(x.sessions, oldest)
	delete(x.serials, serial)
	x.low, x.forgot = max(x.low, serial), true
}

// act gives what is known of an act.
func (x *index) act(s perso.Session, n uint8) servedAct {
	if seen := x.sessions[s]; seen != nil && int(n) < len(seen.acts) {
		return seen.acts[n]
	}
	return servedAct{}
}

// admitSession refuses a challenge that was used by another session, or that is too old to know.
func (x *index) admitSession(s perso.Session, serial uint64) error {
	if seen := x.sessions[s]; seen != nil {
		if seen.serial != serial {
			return refuse("session %s was opened with challenge %d, not %d", s, seen.serial, serial)
		}
		return nil
	}
	if other, used := x.serials[serial]; used {
		return refuse("challenge %d was used by session %s", serial, other)
	}
	if x.forgot && serial <= x.low {
		return refuse("challenge %d is older than the sessions that are remembered", serial)
	}
	return nil
}

// admitClaim refuses a claim that contradicts one that was served: another chip for the unit or EID, or a generation that
// was superseded (I1).
func (x *index) admitClaim(c entry.Claim, hash [32]byte) error {
	if other, used := x.eids[uint32(c.Index)]; used && other != hash {
		return refuse("EID index %d was claimed otherwise", c.Index)
	}
	u := x.units[c.Unit]
	switch {
	case u == nil || u.claim == hash:
		return nil
	case u.gen >= c.Gen:
		return refuse("unit %d generation %d was claimed otherwise, in generation %d", c.Unit, c.Gen, u.gen)
	case u.good:
		return refuse("unit %d is good in generation %d", c.Unit, u.gen)
	}
	return nil
}

// history is what earlier acts of a claim came to.
type history struct {
	wrote   bool   // a window after act 0 left
	secrets bool   // secrets may have reached its chip
	good    bool   // the chip proved itself
	session uint64 // serial number of the session that wrote first; until one did, of the last that was opened
}

// wroteBefore says whether another session than this one began to write.
func (h history) wroteBefore(serial uint64) bool { return h.wrote && h.session != serial }

func (x *index) history(c entry.Claim, hash [32]byte) history {
	u := x.units[c.Unit]
	if u == nil || u.claim != hash {
		return history{}
	}
	return history{wrote: u.wrote, secrets: u.secrets, good: u.good, session: u.session}
}

// proven gives the hash of the certificate that a claim was found good with. No word of the log stands in for that.
func (x *index) proven(c entry.Claim, hash [32]byte) (cert [32]byte, good bool) {
	u := x.units[c.Unit]
	if u == nil || u.claim != hash || !u.good {
		return cert, false
	}
	return u.cert, true
}
