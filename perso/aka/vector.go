package aka

import (
	"crypto/subtle"
	"fmt"
	"io"
)

// AUTN is the network's token: (SQN xor AK), AMF, MAC-A.
type AUTN [16]byte

// AUTS is the card's resynchronisation token: (SQN_MS xor AK*), MAC-S.
type AUTS [14]byte

// Vector is one authentication vector of the network. Its expected answer is Keys.RES.
type Vector struct {
	Rand Rand
	AUTN AUTN
	Keys Keys
}

// Format keeps the keys out of every fmt verb.
func (Vector) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// BuildVector is the network's side of one authentication (TS 33.102 §6.3.2).
func (m *Milenage) BuildVector(rand Rand, sqn SQN, amf AMF) Vector {
	v := Vector{Rand: rand}
	m.setTemp(rand)
	v.Keys = m.keys()
	m.out1(sqn, amf)
	subtle.XORBytes(v.AUTN[:6], sqn[:], v.Keys.AK[:])
	copy(v.AUTN[6:], amf[:])
	copy(v.AUTN[8:], m.x[:8])
	return v
}

// BuildAUTN is the token alone.
func (m *Milenage) BuildAUTN(rand Rand, sqn SQN, amf AMF) AUTN {
	return m.BuildVector(rand, sqn, amf).AUTN
}

// Opened is an AUTN whose MAC was right.
type Opened struct {
	SQN  SQN
	AMF  AMF
	Keys Keys
}

// Open is the card's first step: uncover SQN and check MAC-A. ErrMAC when it is wrong (SW 9862).
// Whether SQN is fresh is the next question, and not asked here.
func (m *Milenage) Open(rand Rand, autn AUTN) (Opened, error) {
	m.setTemp(rand)
	o := Opened{AMF: AMF(autn[6:8]), Keys: m.keys()}
	subtle.XORBytes(o.SQN[:], autn[:6], o.Keys.AK[:])
	m.out1(o.SQN, o.AMF)
	if subtle.ConstantTimeCompare(m.x[:8], autn[8:]) != 1 {
		return Opened{}, fmt.Errorf("opening AUTN: %w", ErrMAC)
	}
	return o, nil
}

// BuildAUTS is the card's answer to a stale SQN. It is made with AMF 0000 (TS 33.102 §6.3.3).
func (m *Milenage) BuildAUTS(rand Rand, sqnMS SQN) (auts AUTS) {
	m.setTemp(rand)
	m.out(4)
	subtle.XORBytes(auts[:6], sqnMS[:], m.x[:6])
	m.out1(sqnMS, AMF{})
	copy(auts[6:], m.x[8:])
	return auts
}

// VerifyAUTS is the network's reading of it: the card's highest sequence number, or ErrMAC. Since only
// this K makes a right MAC-S, it also proves the card's K without spoiling a sequence number.
func (m *Milenage) VerifyAUTS(rand Rand, auts AUTS) (SQN, error) {
	var sqnMS SQN
	m.setTemp(rand)
	m.out(4)
	subtle.XORBytes(sqnMS[:], auts[:6], m.x[:6])
	m.out1(sqnMS, AMF{})
	if subtle.ConstantTimeCompare(m.x[8:], auts[6:]) != 1 {
		return SQN{}, fmt.Errorf("opening AUTS: %w", ErrMAC)
	}
	return sqnMS, nil
}

// Freshness decides whether a sequence number is new, and remembers it then. SQNArray is the usual one.
type Freshness interface {
	// Accept says whether sqn is fresh, and from then on it is not.
	Accept(sqn SQN) bool
	// Highest is the highest sequence number accepted so far.
	Highest() SQN
}

// Answer is what AUTHENTICATE gives back when the MAC was right: either Keys, or AUTS when Resync.
type Answer struct {
	Resync bool
	Keys   Keys // zero when Resync
	AUTS   AUTS // zero unless Resync
}

// Authenticate is the whole of the card's side (TS 33.102 §6.3.3): MAC first, then freshness. ErrMAC
// leaves fresh untouched.
func (m *Milenage) Authenticate(rand Rand, autn AUTN, fresh Freshness) (Answer, error) {
	o, err := m.Open(rand, autn)
	if err != nil {
		return Answer{}, err
	}
	if !fresh.Accept(o.SQN) {
		return Answer{Resync: true, AUTS: m.BuildAUTS(rand, fresh.Highest())}, nil
	}
	return Answer{Keys: o.Keys}, nil
}
