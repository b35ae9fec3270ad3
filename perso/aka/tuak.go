package aka

import (
	"crypto/sha3"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"slices"
)

const (
	// MaxTuakIterations bounds the Keccak permutations of one call. Cards store the number in one byte; the standard's own
	// value is 1.
	MaxTuakIterations = 255

	topBytes  = 32
	sqnBytes  = 6
	autnMAC   = 8 // bytes of MAC in AUTN and AUTS (TS 33.102 §6.3.2)
	tuakBlock = 136
	// The places of the outputs in the permuted state (TS 35.231 §6.2 to §6.5).
	tuakCKAt, tuakIKAt, tuakAKAt = 32, 64, 96
	tuakOutBytes                 = tuakAKAt + sqnBytes
)

// The parts of INSTANCE (TS 35.231 §6.2 to §6.5).
const (
	tuakStar  = 0x80 // f1*
	tuakF2345 = 0x40
	tuakF5S   = 0xC0
	tuakCK256 = 0x04
	tuakIK256 = 0x02
	tuakK256  = 0x01
)

var (
	// ErrTuakParams says that TUAK does not know a size, or that the number of iterations is out of range.
	ErrTuakParams = errors.New("unusable TUAK parameters")
	// ErrTokenMAC says that a MAC is not 64 bits: AUTN and AUTS have room for no other (TS 33.102 §6.3).
	ErrTokenMAC = errors.New("AUTN and AUTS need a MAC of 64 bits")
)

// TuakParams are the sizes, in bits, and the iterations that network and card agree on (TS 35.231 §5).
type TuakParams struct {
	MAC        int // 64, 128 or 256
	RES        int // 32, 64, 128 or 256
	CK, IK     int // 128 or 256
	Iterations int // of Keccak-f[1600], 1 to MaxTuakIterations
}

// DefaultTuakParams are the sizes of UMTS and LTE: MAC and RES of 64 bits, CK and IK of 128, one permutation.
func DefaultTuakParams() TuakParams {
	return TuakParams{MAC: 64, RES: 64, CK: 128, IK: 128, Iterations: 1}
}

func (p TuakParams) check() error {
	for _, x := range []struct {
		name  string
		bits  int
		known []int
	}{{"MAC", p.MAC, []int{64, 128, 256}}, {"RES", p.RES, []int{32, 64, 128, 256}}, {"CK", p.CK, []int{128, 256}}, {"IK", p.IK, []int{128, 256}}} {
		if !slices.Contains(x.known, x.bits) {
			return fmt.Errorf("checking %s of %d bits, TUAK knows %v: %w", x.name, x.bits, x.known, ErrTuakParams)
		}
	}
	if p.Iterations < 1 || p.Iterations > MaxTuakIterations {
		return fmt.Errorf("checking %d iterations, from 1 to %d: %w", p.Iterations, MaxTuakIterations, ErrTuakParams)
	}
	return nil
}

// Tuak holds one subscriber's K and TOPc (3GPP TS 35.231). It prints as "[redacted]" and belongs to one goroutine.
//
// TUAK fills the state of Keccak-f[1600] with 96 bytes of input, the padding 1F … 80 up to byte 136, and zero: that is
// SHAKE256 of those 96 bytes, and a further permutation is the next block of its output. So the permutation is the
// standard library's, which is constant in time, and none is written here.
type Tuak struct {
	p        TuakParams
	k        [topBytes]byte // reversed, zero behind a K of 128 bits
	k256     byte           // tuakK256 or 0
	topc     [topBytes]byte
	h        *sha3.SHAKE
	out      [tuakOutBytes]byte // scratch
	in       [96]byte           // scratch
	discards [tuakBlock]byte    // scratch
}

// NewTuak takes K of 16 or 32 bytes and TOPc of 32; both are copied.
func NewTuak(k, topc []byte, p TuakParams) (*Tuak, error) {
	if len(k) != keyBytes && len(k) != topBytes || len(topc) != topBytes {
		return nil, fmt.Errorf("taking K and TOPc of %d and %d bytes: %w", len(k), len(topc), ErrKeyLength)
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	t := &Tuak{p: p, topc: [topBytes]byte(topc), h: sha3.NewSHAKE256()}
	reverseInto(t.k[:], k)
	if len(k) == topBytes {
		t.k256 = tuakK256
	}
	return t, nil
}

// NewTuakFromTOP is NewTuak with the operator's own TOP, 32 bytes, of which it makes TOPc.
func NewTuakFromTOP(k, top []byte, p TuakParams) (*Tuak, error) {
	topc, err := TOPc(k, top, p.Iterations)
	if err != nil {
		return nil, err
	}
	defer clear(topc[:])
	return NewTuak(k, topc[:], p)
}

// TOPc is the operator's TOP bound to a K (TS 35.231 §6.1); K of 16 or 32 bytes, TOP of 32.
func TOPc(k, top []byte, iterations int) (topc [topBytes]byte, err error) {
	p := DefaultTuakParams()
	p.Iterations = iterations
	t, err := NewTuak(k, top, p)
	if err != nil {
		return topc, fmt.Errorf("computing TOPc: %w", err)
	}
	defer t.Wipe()
	t.run(t.k256, nil, nil, nil)
	reverseInto(topc[:], t.out[:topBytes])
	return topc, nil
}

// F1 is MAC-A, of the MAC's size.
func (t *Tuak) F1(rand Rand, sqn SQN, amf AMF) (macA []byte) {
	return t.mac(macInstance(t.p.MAC), rand, sqn, amf)
}

// F1Star is MAC-S, of the MAC's size.
func (t *Tuak) F1Star(rand Rand, sqn SQN, amf AMF) (macS []byte) {
	return t.mac(tuakStar|macInstance(t.p.MAC), rand, sqn, amf)
}

// F2345 is RES (f2), CK (f3), IK (f4) and AK (f5). Wipe them.
func (t *Tuak) F2345(rand Rand) (k WideKeys) {
	instance := tuakF2345 | resInstance(t.p.RES) | t.k256
	if t.p.CK == 256 {
		instance |= tuakCK256
	}
	if t.p.IK == 256 {
		instance |= tuakIK256
	}
	t.run(instance, rand[:], nil, nil)
	k.RES, k.CK, k.IK = t.take(0, t.p.RES), t.take(tuakCKAt, t.p.CK), t.take(tuakIKAt, t.p.IK)
	reverseInto(k.AK[:], t.out[tuakAKAt:])
	return k
}

// F5Star is AK*, which hides the sequence number in AUTS.
func (t *Tuak) F5Star(rand Rand) (akStar [6]byte) {
	t.run(tuakF5S|t.k256, rand[:], nil, nil)
	reverseInto(akStar[:], t.out[tuakAKAt:])
	return akStar
}

// BuildVector is the network's side of one authentication; ErrTokenMAC unless the MAC has 64 bits.
func (t *Tuak) BuildVector(rand Rand, sqn SQN, amf AMF) (WideVector, error) {
	return buildWide(t, rand, sqn, amf)
}

// Open is the card's first step, as Milenage.Open is.
func (t *Tuak) Open(rand Rand, autn AUTN) (WideOpened, error) { return openWide(t, rand, autn) }

// BuildAUTS is the card's answer to a stale SQN, with AMF 0000 (TS 33.102 §6.3.3).
func (t *Tuak) BuildAUTS(rand Rand, sqnMS SQN) (AUTS, error) { return buildWideAUTS(t, rand, sqnMS) }

// VerifyAUTS is the network's reading of it: the card's highest sequence number, or ErrMAC.
func (t *Tuak) VerifyAUTS(rand Rand, auts AUTS) (SQN, error) { return verifyWideAUTS(t, rand, auts) }

// Authenticate is the whole of the card's side, as Milenage.Authenticate is.
func (t *Tuak) Authenticate(rand Rand, autn AUTN, fresh Freshness) (WideAnswer, error) {
	return authenticateWide(t, rand, autn, fresh)
}

// Wipe clears K, TOPc and all scratch space. No method may follow.
func (t *Tuak) Wipe() {
	if t.h != nil {
		t.h.Reset()
	}
	*t = Tuak{}
}

// Format keeps the keys out of every fmt verb.
func (Tuak) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

func (t *Tuak) mac(instance byte, rand Rand, sqn SQN, amf AMF) []byte {
	t.run(instance|t.k256, rand[:], amf[:], sqn[:])
	return t.take(0, t.p.MAC)
}

// run leaves the permuted state's outputs in out. A nil field is zero.
func (t *Tuak) run(instance byte, rand, amf, sqn []byte) {
	clear(t.in[:])
	reverseInto(t.in[:topBytes], t.topc[:])
	t.in[32] = instance
	copy(t.in[33:40], "0.1KAUT") // "TUAK1.0" backwards
	reverseInto(t.in[40:40+len(rand)], rand)
	reverseInto(t.in[56:56+len(amf)], amf)
	reverseInto(t.in[58:58+len(sqn)], sqn)
	copy(t.in[64:], t.k[:])
	t.h.Reset()
	_, _ = t.h.Write(t.in[:]) // neither Write nor Read of a SHAKE fails
	for range t.p.Iterations - 1 {
		_, _ = t.h.Read(t.discards[:])
	}
	_, _ = t.h.Read(t.out[:])
	t.h.Reset()
	clear(t.in[:])
	clear(t.discards[:])
}

// take is the output of some bits at a place of the state.
func (t *Tuak) take(at, bits int) []byte {
	b := make([]byte, bits/8)
	reverseInto(b, t.out[at:at+len(b)])
	return b
}

func macInstance(bits int) byte { return byte(bits / 8) } // 08, 10, 20

func resInstance(bits int) byte {
	if bits == 32 {
		return 0
	}
	return byte(bits / 8) // 08, 10, 20
}

// reverseInto writes src backwards to dst, which is at least as long.
func reverseInto(dst, src []byte) {
	for i, b := range src {
		dst[len(src)-1-i] = b
	}
}

// sameMAC compares in constant time.
func sameMAC(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
