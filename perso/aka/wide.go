package aka

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
)

// ErrNoGSM says that RES, CK or IK are of a size for which TS 33.102 §6.8.1.2 has no conversion to GSM.
var ErrNoGSM = errors.New("no conversion to GSM for keys of this size")

// WideKeys is what both ends hold after an authentication whose sizes the algorithm chooses (TUAK, XOR). It prints as
// "[redacted]".
type WideKeys struct {
	RES, CK, IK []byte
	AK          [6]byte
}

// Wipe clears the keys.
func (k *WideKeys) Wipe() {
	clear(k.RES)
	clear(k.CK)
	clear(k.IK)
	*k = WideKeys{}
}

// Format keeps the keys out of every fmt verb.
func (WideKeys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText keeps the keys out of JSON and logs.
func (WideKeys) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// SRES is the GSM answer, conversion function c2 (TS 33.102 §6.8.1.2): RES filled with zeros to 16 bytes, its four words
// XORed. ErrNoGSM when RES is longer.
func (k *WideKeys) SRES() (sres [4]byte, err error) {
	if len(k.RES) > 16 {
		return sres, fmt.Errorf("converting RES of %d bytes: %w", len(k.RES), ErrNoGSM)
	}
	for i, b := range k.RES {
		sres[i%4] ^= b
	}
	return sres, nil
}

// Kc is the GSM cipher key, conversion function c3 (TS 33.102 §6.8.1.2). ErrNoGSM unless CK and IK have 16 bytes.
func (k *WideKeys) Kc() (kc [8]byte, err error) {
	if len(k.CK) != 16 || len(k.IK) != 16 {
		return kc, fmt.Errorf("converting CK and IK of %d and %d bytes: %w", len(k.CK), len(k.IK), ErrNoGSM)
	}
	for i := range 16 {
		kc[i%8] ^= k.CK[i] ^ k.IK[i]
	}
	return kc, nil
}

// WideVector is one authentication vector of the network. Its expected answer is Keys.RES.
type WideVector struct {
	Rand Rand
	AUTN AUTN
	Keys WideKeys
}

// Format keeps the keys out of every fmt verb.
func (WideVector) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// WideOpened is an AUTN whose MAC was right.
type WideOpened struct {
	SQN  SQN
	AMF  AMF
	Keys WideKeys
}

// WideAnswer is what AUTHENTICATE gives back when the MAC was right: either Keys, or AUTS when Resync.
type WideAnswer struct {
	Resync bool
	Keys   WideKeys // zero when Resync
	AUTS   AUTS     // zero unless Resync
}

// functions are the functions of TS 33.102 §6.3, whatever the algorithm.
type functions interface {
	F1(Rand, SQN, AMF) []byte
	F1Star(Rand, SQN, AMF) []byte
	F2345(Rand) WideKeys
	F5Star(Rand) [6]byte
}

func buildWide(f functions, rand Rand, sqn SQN, amf AMF) (WideVector, error) {
	mac := f.F1(rand, sqn, amf)
	if len(mac) != autnMAC {
		return WideVector{}, fmt.Errorf("building AUTN: %w", ErrTokenMAC)
	}
	v := WideVector{Rand: rand, Keys: f.F2345(rand)}
	subtle.XORBytes(v.AUTN[:6], sqn[:], v.Keys.AK[:])
	copy(v.AUTN[6:], amf[:])
	copy(v.AUTN[8:], mac)
	return v, nil
}

func openWide(f functions, rand Rand, autn AUTN) (WideOpened, error) {
	o := WideOpened{AMF: AMF(autn[6:8]), Keys: f.F2345(rand)}
	subtle.XORBytes(o.SQN[:], autn[:6], o.Keys.AK[:])
	mac := f.F1(rand, o.SQN, o.AMF)
	if len(mac) != autnMAC {
		o.Keys.Wipe()
		return WideOpened{}, fmt.Errorf("opening AUTN: %w", ErrTokenMAC)
	}
	if !sameMAC(mac, autn[8:]) {
		o.Keys.Wipe()
		return WideOpened{}, fmt.Errorf("opening AUTN: %w", ErrMAC)
	}
	return o, nil
}

func buildWideAUTS(f functions, rand Rand, sqnMS SQN) (auts AUTS, err error) {
	mac, ak := f.F1Star(rand, sqnMS, AMF{}), f.F5Star(rand)
	if len(mac) != autnMAC {
		return auts, fmt.Errorf("building AUTS: %w", ErrTokenMAC)
	}
	subtle.XORBytes(auts[:6], sqnMS[:], ak[:])
	copy(auts[6:], mac)
	return auts, nil
}

func verifyWideAUTS(f functions, rand Rand, auts AUTS) (SQN, error) {
	var sqnMS SQN
	ak := f.F5Star(rand)
	subtle.XORBytes(sqnMS[:], auts[:6], ak[:])
	mac := f.F1Star(rand, sqnMS, AMF{})
	if len(mac) != autnMAC {
		return SQN{}, fmt.Errorf("opening AUTS: %w", ErrTokenMAC)
	}
	if !sameMAC(mac, auts[6:]) {
		return SQN{}, fmt.Errorf("opening AUTS: %w", ErrMAC)
	}
	return sqnMS, nil
}

// authenticateWide asks for the MAC first, then for freshness; ErrMAC leaves fresh untouched.
func authenticateWide(f functions, rand Rand, autn AUTN, fresh Freshness) (WideAnswer, error) {
	o, err := openWide(f, rand, autn)
	if err != nil {
		return WideAnswer{}, err
	}
	if fresh.Accept(o.SQN) {
		return WideAnswer{Keys: o.Keys}, nil
	}
	o.Keys.Wipe()
	auts, err := buildWideAUTS(f, rand, fresh.Highest())
	return WideAnswer{Resync: true, AUTS: auts}, err
}
