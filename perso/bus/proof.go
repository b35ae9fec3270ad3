package bus

import (
	"bytes"
	"errors"
)

// Proof is hashes of the log's tree: an array of byte strings, each of 32 bytes. It has a codec of its own, because a
// request of the ledger holds thousands of hashes and the library takes each through reflection.
type Proof [][32]byte

// MaxProofHashes bounds a proof: a tree of 2^63 entries is 63 high, and consistency takes one hash more.
const MaxProofHashes = 64

// Heads of CBOR (RFC 8949 §3): an array by its length, and a byte string of 32 bytes.
const (
	headArray      = 0x80
	headArrayByte  = 0x98 // length in the next byte
	mostInHead     = 23
	headHash       = "\x58\x20"
	hashCodedBytes = len(headHash) + 32
)

var errProof = errors.New("not a proof of at most 64 hashes")

// MarshalCBOR writes the array.
func (p Proof) MarshalCBOR() ([]byte, error) {
	if len(p) > MaxProofHashes {
		return nil, errProof
	}
	b := make([]byte, 0, 2+len(p)*hashCodedBytes)
	if len(p) <= mostInHead {
		b = append(b, headArray|byte(len(p)))
	} else {
		b = append(b, headArrayByte, byte(len(p)))
	}
	for i := range p {
		b = append(b, headHash...)
		b = append(b, p[i][:]...)
	}
	return b, nil
}

// UnmarshalCBOR reads the array in the one spelling that MarshalCBOR gives it.
func (p *Proof) UnmarshalCBOR(b []byte) error {
	n, rest := 0, b
	switch {
	case len(b) > 0 && b[0] >= headArray && b[0] <= headArray|mostInHead:
		n, rest = int(b[0]&^headArray), b[1:]
	case len(b) > 1 && b[0] == headArrayByte && b[1] > mostInHead:
		n, rest = int(b[1]), b[2:]
	default:
		return errProof
	}
	if n > MaxProofHashes || len(rest) != n*hashCodedBytes {
		return errProof
	}
	out := make(Proof, n)
	for i := range out {
		coded := rest[i*hashCodedBytes : (i+1)*hashCodedBytes]
		if !bytes.HasPrefix(coded, []byte(headHash)) {
			return errProof
		}
		out[i] = [32]byte(coded[len(headHash):])
	}
	*p = out
	return nil
}
