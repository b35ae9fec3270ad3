package carddata

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
)

// Expander gives the streams of one seed. It belongs to one goroutine; drop it soon, since it holds the seed.
type Expander struct{ mac hash.Hash }

// NewExpander takes a card's seed.
func NewExpander(seed *[SeedBytes]byte) *Expander { return &Expander{hmac.New(sha256.New, seed[:])} }

// Stream is HKDF-Expand-SHA-256 (RFC 5869 §2.3) of the seed for a name, L bytes of it, made block by block: the first block
// is nearly always enough, and of the library's Expand a card would take a hundred times as many as it needs. Only one
// stream of an Expander is in use at a time. Wipe it.
type Stream struct {
	mac   hash.Hash
	info  []byte
	block [sha256.Size]byte
	used  int  // bytes of the block
	n     byte // blocks so far
	left  int
}

// Stream begins the stream of a name.
func (x *Expander) Stream(name string, length int) *Stream {
	return &Stream{mac: x.mac, info: []byte(labelCard + name), used: sha256.Size, left: length}
}

// Fill takes the next bytes; false when the stream has no more so many.
func (s *Stream) Fill(p []byte) bool {
	if s.left < len(p) {
		return false
	}
	s.left -= len(p)
	for len(p) > 0 {
		if s.used == len(s.block) {
			s.next()
		}
		m := copy(p, s.block[s.used:])
		p, s.used = p[m:], s.used+m
	}
	return true
}

func (s *Stream) next() {
	s.mac.Reset()
	if s.n > 0 {
		s.mac.Write(s.block[:])
	}
	s.n++
	s.mac.Write(s.info)
	s.mac.Write([]byte{s.n})
	s.mac.Sum(s.block[:0])
	s.used = 0
}

// Wipe clears what is left of the last block.
func (s *Stream) Wipe() { clear(s.block[:]) }
