package keygen

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
)

// MaxRememberedSessions bounds the sessions of a lot of which each act is remembered, about ten hours of eight fast lines.
// A challenge is not taken when one was used whose serial number is higher by this many, or by a multiple of it.
const MaxRememberedSessions = 65_536

// rendered is one journal record: the receipt, and what the index and a repeated act need beside it.
type rendered struct {
	Receipt []byte `cbor:"1,keyasint"`
	Serial  uint64 `cbor:"2,keyasint"`
	Index   uint32 `cbor:"3,keyasint"`           // EID index of the claim, or its place among the chips of a lot without EIDs
	Secrets bool   `cbor:"4,keyasint,omitempty"` // the window held a secret of the card
	Cert    []byte `cbor:"5,keyasint,omitempty"` // signed in this act, or what its verdict was proven with
	Key     []byte `cbor:"6,keyasint,omitempty"`
	// Stamp is the serial number of the session whose stamp the chip is to show.
	Stamp uint64 `cbor:"9,keyasint,omitempty"`
	Ki    []byte `cbor:"8,keyasint,omitempty"` // sealed: drawn in this act, or what its verdict was proven with

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

// index is what a lot's receipts say, at hand: it finds replays, second claims and repeated acts. It is rebuilt from the
// journal and knows only what this vault served; other vaults of the site have their own.
//
// A lot has up to a million units, so it keeps 34 bytes of each and not what can be read in the journal, and of those bytes
// only the ones in use in memory. Claims, sessions and certificates are in it as tags: 64 bits of an HMAC. Who owns the ledger chooses the content of claims, and a line
// that of sessions; but the key never leaves the vault, so nobody can look for two with one tag: all that is left is to
// ask the vault 2^63 times, each time with another entry in the log.
type index struct {
	mac      hash.Hash // HMAC-SHA-256 under the index key of the lot
	units    *pages[seenUnit]
	sessions *pages[seenSession]
	kis      *pages[uint64] // tags of the sealed Ki that units were found good with; of a lot that has sealed ones
	goods    uint64
}

// seenUnit is what a unit was last served as, and by whom the EID of the same number is used.
type seenUnit struct {
	claim   uint64 // tag of the claim's hash
	session uint64 // serial number of the session that wrote first; until one did, of the last that was opened
	cert    uint64 // tag of the hash of the certificate that it was proven good with
	eidOf   uint32 // 1 + the unit that claimed the EID of this number; 0 when none did
	goodAt  uint32 // 1 + number of the receipt that first called it good
	gen     perso.Generation
	is      unitMarks
}

type unitMarks uint8

const (
	unitSeen    unitMarks = 1 << iota
	unitWrote             // a window after act 0 left
	unitSecrets           // a secret may have left
	unitGood
	unitGone // officers gave it up: it never becomes good
)

// seenSession is the place of one session; the next one in it has a higher serial number.
type seenSession struct {
	serial uint64
	tag    uint64
	acts   [perso.MaxActs]uint32 // 1 + number of the act's last receipt; 0 when it has none
	used   bool
}

// maxReceipts bounds the receipts of a lot: a million units of a thousand acts each.
const maxReceipts = 1<<32 - 2

func newIndex(key []byte, units uint64, sessions int, g paging) *index {
	mac := hmac.New(sha256.New, key)
	return &index{mac: mac, units: newPages(units, unitLayout(), mac, g), sessions: newPages(uint64(sessions), sessionLayout(), mac, g),
		kis: newPages(units, tagLayout(), mac, g)}
}

// close gives back what the index has outside memory.
func (x *index) close() error { return errors.Join(x.units.close(), x.sessions.close(), x.kis.close()) }

func unitLayout() layout[seenUnit] {
	return layout[seenUnit]{bytes: 34, put: func(b []byte, u seenUnit) {
		binary.BigEndian.PutUint64(b, u.claim)
		binary.BigEndian.PutUint64(b[8:], u.session)
		binary.BigEndian.PutUint64(b[16:], u.cert)
		binary.BigEndian.PutUint32(b[24:], u.eidOf)
		binary.BigEndian.PutUint32(b[28:], u.goodAt)
		b[32], b[33] = byte(u.gen), byte(u.is)
	}, get: func(b []byte) seenUnit {
		return seenUnit{claim: binary.BigEndian.Uint64(b), session: binary.BigEndian.Uint64(b[8:]), cert: binary.BigEndian.Uint64(b[16:]),
			eidOf: binary.BigEndian.Uint32(b[24:]), goodAt: binary.BigEndian.Uint32(b[28:]), gen: perso.Generation(b[32]), is: unitMarks(b[33])}
	}}
}

func sessionLayout() layout[seenSession] {
	return layout[seenSession]{bytes: 17 + 4*perso.MaxActs, put: func(b []byte, s seenSession) {
		binary.BigEndian.PutUint64(b, s.serial)
		binary.BigEndian.PutUint64(b[8:], s.tag)
		for n, seq := range s.acts {
			binary.BigEndian.PutUint32(b[16+4*n:], seq)
		}
		b[16+4*perso.MaxActs] = map[bool]byte{true: 1}[s.used]
	}, get: func(b []byte) seenSession {
		s := seenSession{serial: binary.BigEndian.Uint64(b), tag: binary.BigEndian.Uint64(b[8:]), used: b[16+4*perso.MaxActs] != 0}
		for n := range s.acts {
			s.acts[n] = binary.BigEndian.Uint32(b[16+4*n:])
		}
		return s
	}}
}

func tagLayout() layout[uint64] {
	return layout[uint64]{bytes: 8, put: binary.BigEndian.PutUint64, get: binary.BigEndian.Uint64}
}

// What a tag is of.
const (
	tagClaim   = 'c'
	tagSession = 's'
	tagCert    = 'x'
)

func (x *index) tag(of byte, b [32]byte) uint64 {
	var sum [sha256.Size]byte
	x.mac.Reset()
	x.mac.Write([]byte{of})
	x.mac.Write(b[:])
	return binary.BigEndian.Uint64(x.mac.Sum(sum[:0]))
}

// add takes one receipt into the index.
func (x *index) add(r rendered) error {
	e := r.receipt
	if uint64(e.Unit) >= x.units.len || uint64(r.Index) >= x.units.len || int(e.N) >= perso.MaxActs || e.Seq > maxReceipts {
		return fmt.Errorf("receipt %d is of unit %d, act %d, which the lot does not have", e.Seq, e.Unit, e.N)
	}
	if e.Result != entry.ResultAbandoned { // which no chip asked for
		if err := x.addSession(r); err != nil {
			return err
		}
	}
	if err := x.addUnit(r); err != nil {
		return err
	}
	of, err := x.units.get(uint64(r.Index))
	if err != nil {
		return err
	}
	of.eidOf = uint32(e.Unit) + 1
	return x.units.set(uint64(r.Index), of)
}

// placeOf gives the place of a session.
func (x *index) placeOf(serial uint64) uint64 { return serial % x.sessions.len }

func (x *index) addSession(r rendered) error {
	place, tag := x.placeOf(r.Serial), x.tag(tagSession, r.receipt.Session)
	s, err := x.sessions.get(place)
	if err != nil {
		return err
	}
	if !s.used || s.serial != r.Serial || s.tag != tag {
		s = seenSession{serial: r.Serial, tag: tag, used: true}
	}
	s.acts[r.receipt.N] = uint32(r.receipt.Seq) + 1
	return x.sessions.set(place, s)
}

func (x *index) addUnit(r rendered) error {
	e, claim := r.receipt, x.tag(tagClaim, r.receipt.Claim)
	u, err := x.units.get(uint64(e.Unit))
	if err != nil {
		return err
	}
	if u.is&unitSeen == 0 || u.claim != claim {
		u.claim, u.gen, u.is, u.session, u.cert, u.goodAt = claim, e.Gen, unitSeen, 0, 0, 0
	}
	if e.Result == entry.ResultScript && u.is&unitWrote == 0 {
		u.session = r.Serial
		if e.N > 0 {
			u.is |= unitWrote
		}
	}
	if r.Secrets {
		u.is |= unitSecrets
	}
	if e.Result == entry.ResultAbandoned {
		u.is |= unitGone
	}
	if e.Result == entry.ResultGood && u.is&unitGood == 0 {
		u.is |= unitGood
		u.goodAt = uint32(e.Seq) + 1
		u.cert = x.tag(tagCert, certHash(r.Cert))
		if err := x.addKi(e.Unit, r.Ki); err != nil {
			return err
		}
		x.goods++
	}
	return x.units.set(uint64(e.Unit), u)
}

// certHash is how log entries name a certificate: zero for a chip that has none.
func certHash(cert []byte) (h [32]byte) {
	if len(cert) > 0 {
		h = sha256.Sum256(cert)
	}
	return h
}

// act gives the number of an act's last receipt.
func (x *index) act(s perso.Session, serial uint64, n uint8) (seq uint64, known bool, err error) {
	seen, err := x.sessions.get(x.placeOf(serial))
	if err != nil || !seen.used || seen.serial != serial || int(n) >= len(seen.acts) || seen.acts[n] == 0 || seen.tag != x.tag(tagSession, s) {
		return 0, false, err
	}
	return uint64(seen.acts[n]) - 1, true, nil
}

// admitSession refuses a challenge that was used by another session, or that is too old to know.
func (x *index) admitSession(s perso.Session, serial uint64) error {
	switch seen, err := x.sessions.get(x.placeOf(serial)); {
	case err != nil:
		return err
	case !seen.used || seen.serial < serial:
		return nil
	case seen.serial > serial:
		return refuse("challenge %d is older than the sessions that are remembered", serial)
	case seen.tag != x.tag(tagSession, s):
		return refuse("challenge %d was used by another session than %s", serial, s)
	}
	return nil
}

// admitClaim refuses a claim that contradicts one that was served: another chip for the unit or EID, or a generation that
// was superseded (I1).
func (x *index) admitClaim(c entry.Claim, hash [32]byte) error {
	u, err := x.units.get(uint64(c.Unit))
	if err != nil {
		return err
	}
	of, err := x.units.get(uint64(c.Index))
	switch {
	case err != nil:
		return err
	case u.is&unitSeen != 0 && u.claim == x.tag(tagClaim, hash):
		return nil
	case of.eidOf != 0:
		return refuse("EID index %d was claimed otherwise", c.Index)
	case u.is&unitSeen == 0:
		return nil
	case u.gen >= c.Gen:
		return refuse("unit %d generation %d was claimed otherwise, in generation %d", c.Unit, c.Gen, u.gen)
	case u.is&unitGood != 0:
		return refuse("unit %d is good in generation %d", c.Unit, u.gen)
	}
	return nil
}

// history is what earlier acts of a claim came to.
type history struct {
	wrote   bool   // a window after act 0 left
	secrets bool   // secrets may have reached its chip
	good    bool   // the chip proved itself
	goodAt  uint64 // number of the receipt that says so: the first one
	gone    bool   // officers gave the unit up
	session uint64 // serial number of the session that wrote first; until one did, of the last that was opened
}

// wroteBefore says whether another session than this one began to write.
func (h history) wroteBefore(serial uint64) bool { return h.wrote && h.session != serial }

func (x *index) history(c entry.Claim, hash [32]byte) (history, error) {
	u, err := x.units.get(uint64(c.Unit))
	if err != nil || u.is&unitSeen == 0 || u.claim != x.tag(tagClaim, hash) {
		return history{}, err
	}
	h := history{wrote: u.is&unitWrote != 0, secrets: u.is&unitSecrets != 0, good: u.is&unitGood != 0, gone: u.is&unitGone != 0, session: u.session}
	if h.good {
		h.goodAt = uint64(u.goodAt) - 1
	}
	return h, nil
}

// proven says whether a claim was found good, and with the certificate of this hash. No word of the log stands in for that.
func (x *index) proven(c entry.Claim, hash, cert [32]byte) (good, withCert bool, err error) {
	h, err := x.history(c, hash)
	if err != nil || !h.good {
		return false, false, err
	}
	u, err := x.units.get(uint64(c.Unit))
	return true, u.cert == x.tag(tagCert, cert), err
}
