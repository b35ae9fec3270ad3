// Package aka is the authentication of a subscriber: the Milenage and TUAK functions and the XOR test
// algorithm, the authentication vectors of the network, the card's answer to them, and the card's
// sequence number policy.
//
// It exists because the vault proves a finished card by AUTHENTICATE (RES or AUTS under the new Ki),
// the virtual chip has to answer as a real USIM does, and the office exports OPc to the operator.
//
// Contract. Values have fixed sizes and cannot be malformed; MACs are compared in constant time; no
// error carries a secret. A Milenage or Tuak belongs to one goroutine: it works in its own scratch space;
// a call of Milenage's functions allocates nothing. Nothing here reads a clock or randomness. Any package of
// the vault, the line's virtual chip and the office's tests may import it; it imports only the
// standard library.
//
// Specifications: 3GPP TS 35.206 (Milenage), TS 35.231 (TUAK), TS 34.108 §8.1.2 (XOR), TS 55.205 (GSM
// use), TS 33.102 §6.3, §6.8 and Annex C (vectors, resynchronisation, GSM conversion, sequence numbers),
// TS 31.102 §7.1.2 (AUTHENTICATE).
package aka

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"math/bits"
)

const (
	keyBytes = 16
	redacted = "[redacted]"
)

var (
	// ErrKeyLength says that K, OP or OPc is not 16 bytes.
	ErrKeyLength = errors.New("wrong key length")
	// ErrConstants says that rotations and constants are out of range, or that the inputs of two functions
	// could be the same.
	ErrConstants = errors.New("unusable Milenage constants")
	// ErrMAC says that AUTN or AUTS was not made with this K; a card answers 9862 to such an AUTN.
	ErrMAC = errors.New("wrong authentication MAC")
)

// Rand is the random challenge of the network.
type Rand [16]byte

// AMF is the authentication management field.
type AMF [2]byte

// Keys is what both ends hold after an authentication. It prints as "[redacted]".
type Keys struct {
	RES [8]byte
	CK  [16]byte
	IK  [16]byte
	AK  [6]byte
}

// Constants are the rotations, in bits 0..127, and the added constants of f1..f5* (TS 35.206 §4.1).
// An operator may set his own; both ends must have the same. Refused are constants with which the
// functions would not be independent of one another: two equal pairs of rotation and constant make two
// functions one; and the number of bits set must be even in c1 and odd in c2 to c5, as in the default
// ones. A rotation keeps the parity of a block and IN1 is a block twice the same half, so with that
// parity the block that f1 encrypts is never one that f2 to f5* encrypt, whatever SQN and AMF are.
type Constants struct {
	R [5]byte
	C [5][16]byte
}

// DefaultConstants are those of TS 35.206 §4.1.
func DefaultConstants() Constants {
	return Constants{
		R: [5]byte{64, 0, 32, 64, 96},
		C: [5][16]byte{{}, {15: 1}, {15: 2}, {15: 4}, {15: 8}},
	}
}

// Milenage holds one subscriber's K and OPc. It prints as "[redacted]".
type Milenage struct {
	block cipher.Block
	opc   [16]byte
	con   Constants
	temp  [16]byte // E_K(RAND xor OPc)
	x     [16]byte // scratch
}

// OPc is OP xor E_K(OP) (TS 35.206 §4.1); both 16 bytes, else ErrKeyLength.
func OPc(k, op []byte) ([16]byte, error) {
	if len(k) != keyBytes || len(op) != keyBytes {
		return [16]byte{}, fmt.Errorf("computing OPc from %d and %d bytes: %w", len(k), len(op), ErrKeyLength)
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return [16]byte{}, fmt.Errorf("computing OPc: %w", err)
	}
	var out [16]byte
	block.Encrypt(out[:], op)
	subtle.XORBytes(out[:], out[:], op)
	return out, nil
}

// New is NewWithConstants with DefaultConstants.
func New(k, opc []byte) (*Milenage, error) {
	return NewWithConstants(k, opc, DefaultConstants())
}

// NewFromOP is NewWithConstants with the operator's own OP, 16 bytes, of which it makes OPc.
func NewFromOP(k, op []byte, con Constants) (*Milenage, error) {
	opc, err := OPc(k, op)
	if err != nil {
		return nil, err
	}
	defer clear(opc[:])
	return NewWithConstants(k, opc[:], con)
}

// NewWithConstants takes K and OPc of 16 bytes; both are copied.
func NewWithConstants(k, opc []byte, con Constants) (*Milenage, error) {
	if len(k) != keyBytes || len(opc) != keyBytes {
		return nil, fmt.Errorf("taking K and OPc of %d and %d bytes: %w", len(k), len(opc), ErrKeyLength)
	}
	if err := con.check(); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, fmt.Errorf("taking K: %w", err)
	}
	return &Milenage{block: block, opc: [16]byte(opc), con: con}, nil
}

// F1 is MAC-A, the network's authentication code.
func (m *Milenage) F1(rand Rand, sqn SQN, amf AMF) (macA [8]byte) {
	m.setTemp(rand)
	m.out1(sqn, amf)
	return [8]byte(m.x[:8])
}

// F1Star is MAC-S, the resynchronisation code.
func (m *Milenage) F1Star(rand Rand, sqn SQN, amf AMF) (macS [8]byte) {
	m.setTemp(rand)
	m.out1(sqn, amf)
	return [8]byte(m.x[8:])
}

// F2345 is RES (f2), CK (f3), IK (f4) and AK (f5).
func (m *Milenage) F2345(rand Rand) Keys {
	m.setTemp(rand)
	return m.keys()
}

// F5Star is AK*, which hides the sequence number in AUTS.
func (m *Milenage) F5Star(rand Rand) (akStar [6]byte) {
	m.setTemp(rand)
	m.out(4)
	return [6]byte(m.x[:6])
}

// Wipe clears OPc and all scratch space and drops the key schedule. No method may follow.
func (m *Milenage) Wipe() { *m = Milenage{} }

// Format keeps the keys out of every fmt verb.
func (Milenage) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// Wipe clears the keys.
func (k *Keys) Wipe() { *k = Keys{} }

// Format keeps the keys out of every fmt verb.
func (Keys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText keeps the keys out of JSON and logs.
func (Keys) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Kc is the GSM cipher key, conversion function c3 (TS 33.102 §6.8.1.2).
func (k *Keys) Kc() (kc [8]byte) {
	for i := range kc {
		kc[i] = k.CK[i] ^ k.CK[i+8] ^ k.IK[i] ^ k.IK[i+8]
	}
	return kc
}

// SRES is the GSM answer, conversion function c2 (TS 33.102 §6.8.1.2), which is also SRES#1 of
// TS 55.205: the halves of RES XORed.
func (k *Keys) SRES() (sres [4]byte) {
	for i := range sres {
		sres[i] = k.RES[i] ^ k.RES[i+4]
	}
	return sres
}

// SRES2 is SRES#2 of TS 55.205: the first half of RES.
func (k *Keys) SRES2() (sres [4]byte) { return [4]byte(k.RES[:4]) }

func (m *Milenage) setTemp(rand Rand) {
	subtle.XORBytes(m.temp[:], rand[:], m.opc[:])
	m.block.Encrypt(m.temp[:], m.temp[:])
}

// keys computes f2..f5 from temp. f2 and f5 share one block.
func (m *Milenage) keys() (k Keys) {
	m.out(1)
	k.AK, k.RES = [6]byte(m.x[:6]), [8]byte(m.x[8:])
	m.out(2)
	k.CK = m.x
	m.out(3)
	k.IK = m.x
	return k
}

// out1 leaves OUT1 in x.
func (m *Milenage) out1(sqn SQN, amf AMF) {
	for half := 0; half < 16; half += 8 {
		copy(m.x[half:], sqn[:])
		copy(m.x[half+6:], amf[:])
	}
	subtle.XORBytes(m.x[:], m.x[:], m.opc[:])
	m.x = rotateLeft(m.x, m.con.R[0])
	subtle.XORBytes(m.x[:], m.x[:], m.temp[:])
	m.finish(0)
}

// out leaves OUT(i+1) in x, i = 1..4.
func (m *Milenage) out(i int) {
	subtle.XORBytes(m.x[:], m.temp[:], m.opc[:])
	m.x = rotateLeft(m.x, m.con.R[i])
	m.finish(i)
}

func (m *Milenage) finish(i int) {
	subtle.XORBytes(m.x[:], m.x[:], m.con.C[i][:])
	m.block.Encrypt(m.x[:], m.x[:])
	subtle.XORBytes(m.x[:], m.x[:], m.opc[:])
}

func (c Constants) check() error {
	for i, r := range c.R {
		if r > 127 {
			return fmt.Errorf("checking rotation r%d of %d bits: %w", i+1, r, ErrConstants)
		}
		if odd(c.C[i]) != (i > 0) {
			return fmt.Errorf("checking constant c%d: its bits set must be even in number in c1, odd in c2 to c5: %w", i+1, ErrConstants)
		}
		for j := range i {
			if c.R[j] == r && c.C[j] == c.C[i] {
				return fmt.Errorf("checking constants %d and %d: %w", j+1, i+1, ErrConstants)
			}
		}
	}
	return nil
}

// odd says whether an odd number of bits is set.
func odd(c [16]byte) bool {
	n := 0
	for _, b := range c {
		n += bits.OnesCount8(b)
	}
	return n%2 == 1
}

// rotateLeft rotates by r bits towards the first byte, the most significant one.
func rotateLeft(in [16]byte, r byte) (out [16]byte) {
	whole, part := int(r/8), r%8
	for i := range out {
		a, b := in[(i+whole)%16], in[(i+whole+1)%16]
		out[i] = a<<part | b>>(8-part)
	}
	return out
}
