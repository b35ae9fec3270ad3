package bus

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Lists that every act carries travel packed into one byte string each: as arrays of CBOR they took a third of the CPU
// time of ledger and vault. Numbers are big-endian; each list has one spelling.

// maxPacked bounds the elements of a packed list, so that a message of a few MiB cannot make a process hold many times as
// much: a window has at most 512 commands, a batch of challenges 256.
const maxPacked = 4_096

// MaxProofHashes bounds a proof: a tree of 2^63 entries is 63 high, and consistency takes one hash more.
const MaxProofHashes = 64

// Window is what the line plays in one act: for each command the length of the APDU (2 bytes), the APDU, the length of the
// mask (1), the mask.
type Window []Play

// Chunks is a list of byte strings: for each its length (2 bytes), then the bytes.
type Chunks [][]byte

// Proof is a list of hashes, one after the other.
type Proof [][32]byte

// MarshalBinary packs a window.
func (w Window) MarshalBinary() ([]byte, error) {
	n := 0
	for _, p := range w {
		n += 3 + len(p.APDU) + len(p.SW)
	}
	b := make([]byte, 0, n)
	for _, p := range w {
		if len(p.APDU) > math.MaxUint16 || len(p.SW) > math.MaxUint8 {
			return nil, fmt.Errorf("packing a command of %d bytes with a mask of %d", len(p.APDU), len(p.SW))
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(p.APDU)))
		b = append(b, p.APDU...)
		b = append(b, byte(len(p.SW)))
		b = append(b, p.SW...)
	}
	return b, tooMany(len(w))
}

// UnmarshalBinary unpacks a window.
func (w *Window) UnmarshalBinary(b []byte) error {
	*w = nil
	for r := (unpacker{rest: append([]byte(nil), b...)}); len(r.rest) > 0; {
		apdu, sw := r.take(2), r.take(1)
		if r.short {
			return fmt.Errorf("unpacking command %d: it is cut off", len(*w))
		}
		*w = append(*w, Play{APDU: apdu, SW: string(sw)})
		if err := tooMany(len(*w)); err != nil {
			return err
		}
	}
	return nil
}

// MarshalBinary packs byte strings.
func (c Chunks) MarshalBinary() ([]byte, error) {
	n := 0
	for _, one := range c {
		n += 2 + len(one)
	}
	b := make([]byte, 0, n)
	for _, one := range c {
		if len(one) > math.MaxUint16 {
			return nil, fmt.Errorf("packing a string of %d bytes", len(one))
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(one)))
		b = append(b, one...)
	}
	return b, tooMany(len(c))
}

// UnmarshalBinary unpacks byte strings.
func (c *Chunks) UnmarshalBinary(b []byte) error {
	*c = nil
	for r := (unpacker{rest: append([]byte(nil), b...)}); len(r.rest) > 0; {
		one := r.take(2)
		if r.short {
			return fmt.Errorf("unpacking string %d: it is cut off", len(*c))
		}
		*c = append(*c, one)
		if err := tooMany(len(*c)); err != nil {
			return err
		}
	}
	return nil
}

// MarshalBinary packs hashes.
func (p Proof) MarshalBinary() ([]byte, error) {
	b := make([]byte, 0, 32*len(p))
	for i := range p {
		b = append(b, p[i][:]...)
	}
	if len(p) > MaxProofHashes {
		return nil, fmt.Errorf("packing a proof of %d hashes, at most %d", len(p), MaxProofHashes)
	}
	return b, nil
}

// UnmarshalBinary unpacks hashes.
func (p *Proof) UnmarshalBinary(b []byte) error {
	*p = nil
	if len(b)%32 != 0 {
		return fmt.Errorf("unpacking hashes: %d bytes are no multiple of 32", len(b))
	}
	if len(b) > 32*MaxProofHashes {
		return fmt.Errorf("unpacking a proof of %d hashes, at most %d", len(b)/32, MaxProofHashes)
	}
	if len(b) == 0 {
		return nil
	}
	*p = make(Proof, len(b)/32)
	for i := range *p {
		copy((*p)[i][:], b[32*i:])
	}
	return nil
}

func tooMany(n int) error {
	if n > maxPacked {
		return fmt.Errorf("a packed list of %d elements exceeds %d", n, maxPacked)
	}
	return nil
}

// unpacker cuts strings that come after their length.
type unpacker struct {
	rest  []byte
	short bool
}

func (r *unpacker) take(lengthBytes int) []byte {
	if len(r.rest) < lengthBytes {
		r.short = true
		return nil
	}
	n := 0
	for _, b := range r.rest[:lengthBytes] {
		n = n<<8 | int(b)
	}
	r.rest = r.rest[lengthBytes:]
	if len(r.rest) < n {
		r.short = true
		return nil
	}
	one := r.rest[:n:n]
	r.rest = r.rest[n:]
	return one
}
