package auth

import (
	"bytes"
	"fmt"

	"github.com/persoline/persoline/perso/aka"
)

// What a chip is told before its keys, so that it authenticates as the network does.
const (
	cardMilenage = 0x01 // with the constants of TS 35.206; nothing follows
	cardTUAK     = 0x02 // follow the bytes of K, RES, CK and IK, and the iterations
	cardOwn      = 0x11 // Milenage; r1 to r5 and c1 to c5 follow
)

// Parameters is what a chip is told: 1, 6 or 86 bytes (lineside/cardsim/OS.md).
func (a Algorithm) Parameters() []byte {
	switch {
	case a.Name == TUAK:
		return []byte{cardTUAK, byte(a.kBits / 8), byte(a.tuak.RES / 8), byte(a.tuak.CK / 8), byte(a.tuak.IK / 8), byte(a.tuak.Iterations)}
	case a.ownConstants():
		return append(append([]byte{cardOwn}, a.con.R[:]...), a.constants()...)
	}
	return []byte{cardMilenage}
}

// ParseParameters reads what Parameters writes at the beginning of b, and gives what follows. Whether the operator key was
// OPc, a chip is not told.
func ParseParameters(b []byte) (a Algorithm, rest []byte, err error) {
	fail := func() (Algorithm, []byte, error) {
		return Algorithm{}, nil, fmt.Errorf("reading parameters of an authentication: %w", ErrAlgorithm)
	}
	if len(b) == 0 {
		return fail()
	}
	a = Default()
	switch n := 0; b[0] {
	case cardTUAK:
		if len(b) < 6 {
			return fail()
		}
		a = Algorithm{Name: TUAK, kBits: 8 * int(b[1]), tuak: aka.TuakParams{MAC: aka.DefaultTuakParams().MAC, RES: 8 * int(b[2]), CK: 8 * int(b[3]), IK: 8 * int(b[4]), Iterations: int(b[5])}}
	case cardOwn:
		n = 1 + len(a.con.R)
		if len(b) < n+len(a.constants()) {
			return fail()
		}
		copy(a.con.R[:], b[1:])
		for i := range a.con.C {
			n += copy(a.con.C[i][:], b[n:])
		}
	}
	p := a.Parameters()
	if a.check() != nil || !bytes.HasPrefix(b, p) {
		return fail()
	}
	return a, b[len(p):], nil
}

// Card is a chip's side of the algorithm with one K.
type Card interface {
	// Authenticate is TS 33.102 §6.3.3: MAC first, then freshness; aka.ErrMAC leaves fresh untouched.
	Authenticate(rand aka.Rand, autn aka.AUTN, fresh aka.Freshness) (Answer, error)
	// Wipe clears the keys; no method may follow.
	Wipe()
}

// Answer is what AUTHENTICATE gives back: keys, or AUTS when Resync.
type Answer struct {
	Resync bool
	AUTS   aka.AUTS
	Keys   aka.WideKeys // RES, CK and IK; wipe them
	Kc     []byte       // of GSM; none where RES, CK or IK are longer than its conversion takes
}

// Card takes K and OPc, or TOPc.
func (a Algorithm) Card(k, opc []byte) (Card, error) {
	e, err := a.engine(k, opc)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// engine is both sides.
type engine interface {
	Network
	Card
}

func (a Algorithm) engine(k, opc []byte) (engine, error) {
	switch a.Name {
	case Milenage:
		m, err := aka.NewWithConstants(k, opc, a.con)
		return milenage{m}, err
	case TUAK:
		if len(k) != a.KBytes() {
			return nil, fmt.Errorf("taking K of %d bytes for %s: %w", len(k), a, ErrAlgorithm)
		}
		t, err := aka.NewTuak(k, opc, a.tuak)
		return tuak{t}, err
	}
	return nil, fmt.Errorf("algorithm %.20q: %w", string(a.Name), ErrAlgorithm)
}

type milenage struct{ *aka.Milenage }

// AUTN is the token for a challenge.
func (m milenage) AUTN(rand aka.Rand, sqn aka.SQN, amf aka.AMF) (aka.AUTN, error) {
	return m.BuildAUTN(rand, sqn, amf), nil
}

// Authenticate is the chip's side.
func (m milenage) Authenticate(rand aka.Rand, autn aka.AUTN, fresh aka.Freshness) (Answer, error) {
	a, err := m.Milenage.Authenticate(rand, autn, fresh)
	if err != nil || a.Resync {
		return Answer{Resync: a.Resync, AUTS: a.AUTS}, err
	}
	defer a.Keys.Wipe()
	kc := a.Keys.Kc()
	return Answer{Kc: kc[:], Keys: aka.WideKeys{RES: bytes.Clone(a.Keys.RES[:]), CK: bytes.Clone(a.Keys.CK[:]), IK: bytes.Clone(a.Keys.IK[:]), AK: a.Keys.AK}}, nil
}

type tuak struct{ *aka.Tuak }

// AUTN is the token for a challenge.
func (t tuak) AUTN(rand aka.Rand, sqn aka.SQN, amf aka.AMF) (aka.AUTN, error) {
	v, err := t.BuildVector(rand, sqn, amf)
	v.Keys.Wipe()
	return v.AUTN, err
}

// Authenticate is the chip's side.
func (t tuak) Authenticate(rand aka.Rand, autn aka.AUTN, fresh aka.Freshness) (Answer, error) {
	a, err := t.Tuak.Authenticate(rand, autn, fresh)
	if err != nil || a.Resync {
		return Answer{Resync: a.Resync, AUTS: a.AUTS}, err
	}
	out := Answer{Keys: a.Keys}
	if kc, err := a.Keys.Kc(); err == nil {
		out.Kc = kc[:]
	}
	return out, nil
}
