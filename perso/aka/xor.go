package aka

import (
	"crypto/subtle"
	"fmt"
	"io"
)

// XOR is the test algorithm of 3GPP TS 34.108 §8.1.2.1, which test USIMs and network simulators speak. It hides nothing
// (RES is K XOR RAND), so no subscription may have it; it is here for cards that are delivered as test cards.
type XOR struct{ k [keyBytes]byte }

// NewXOR takes K of 16 bytes, which is copied.
func NewXOR(k []byte) (*XOR, error) {
	if len(k) != keyBytes {
		return nil, fmt.Errorf("taking K of %d bytes: %w", len(k), ErrKeyLength)
	}
	return &XOR{k: [keyBytes]byte(k)}, nil
}

// F1 is MAC-A: the first half of K XOR RAND, XORed with SQN and AMF.
func (x *XOR) F1(rand Rand, sqn SQN, amf AMF) []byte {
	out := x.mix(rand)
	mac := out[:autnMAC]
	subtle.XORBytes(mac[:6], mac[:6], sqn[:])
	subtle.XORBytes(mac[6:], mac[6:], amf[:])
	return mac
}

// F1Star is F1.
func (x *XOR) F1Star(rand Rand, sqn SQN, amf AMF) []byte { return x.F1(rand, sqn, amf) }

// F2345 is RES, CK and IK, which are K XOR RAND rotated by 0, 1 and 2 bytes, and AK, its bytes 3 to 8.
func (x *XOR) F2345(rand Rand) WideKeys {
	out := x.mix(rand)
	return WideKeys{RES: out, CK: append(out[1:16:16], out[0]), IK: append(out[2:16:16], out[0], out[1]), AK: x.F5Star(rand)}
}

// F5Star is AK.
func (x *XOR) F5Star(rand Rand) (ak [6]byte) {
	out := x.mix(rand)
	return [6]byte(out[3:9])
}

// BuildVector is the network's side of one authentication.
func (x *XOR) BuildVector(rand Rand, sqn SQN, amf AMF) (WideVector, error) {
	return buildWide(x, rand, sqn, amf)
}

// Open is the card's first step, as Milenage.Open is.
func (x *XOR) Open(rand Rand, autn AUTN) (WideOpened, error) { return openWide(x, rand, autn) }

// BuildAUTS is the card's answer to a stale SQN.
func (x *XOR) BuildAUTS(rand Rand, sqnMS SQN) (AUTS, error) { return buildWideAUTS(x, rand, sqnMS) }

// VerifyAUTS is the network's reading of it.
func (x *XOR) VerifyAUTS(rand Rand, auts AUTS) (SQN, error) { return verifyWideAUTS(x, rand, auts) }

// Authenticate is the whole of the card's side, as Milenage.Authenticate is.
func (x *XOR) Authenticate(rand Rand, autn AUTN, fresh Freshness) (WideAnswer, error) {
	return authenticateWide(x, rand, autn, fresh)
}

// GSM is the test algorithm of a 2G card (TS 51.010-1 Annex 4): SRES and Kc are the first 4 and the next 8 bytes of
// K XOR RAND. It is not the conversion of the 3G answer.
func (x *XOR) GSM(rand Rand) (sres [4]byte, kc [8]byte) {
	out := x.mix(rand)
	return [4]byte(out), [8]byte(out[4:])
}

// Wipe clears K. No method may follow.
func (x *XOR) Wipe() { *x = XOR{} }

// Format keeps the key out of every fmt verb.
func (XOR) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

func (x *XOR) mix(rand Rand) []byte {
	out := make([]byte, keyBytes)
	subtle.XORBytes(out, x.k[:], rand[:])
	return out
}
