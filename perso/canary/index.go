package canary

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"math/bits"
)

// prefixBytes is how much of every form goes into the index; no form is shorter (base64 of 8 bytes has 10 characters that
// depend on them alone, 8 bytes in decimal have 15).
const prefixBytes = 8

// index finds many patterns at once: a bitmap of hashed 8-byte prefixes, each under two hashes, says at nearly every place
// of the input, with one multiplication and one memory access, that nothing begins there; a map settles the rest.
type index struct {
	names    []string
	patterns []pattern
	first    map[uint64]int32 // prefix to the first pattern that begins with it
	bitmap   []uint64
	shift    uint // from hash to bit number
	longest  int  // bytes of the longest pattern
}

type pattern struct {
	text   []byte
	form   Form
	needle int32
	next   int32 // another pattern with the same prefix, or none
}

const none int32 = -1

// bitsPerPattern keeps the bitmap so thin that the first hash lets one place in 16 pass without cause, both one in 256.
// The second is for runs of one byte, where a chance agreement would be met at every place.
const bitsPerPattern = 32

func newIndex(needles []Needle) (*index, error) {
	if len(needles) == 0 || len(needles) > MaxNeedles {
		return nil, fmt.Errorf("%w: %d of them, want 1 to %d", ErrNeedle, len(needles), MaxNeedles)
	}
	x := &index{first: map[uint64]int32{}}
	for i, n := range needles {
		if err := n.check(); err != nil {
			return nil, fmt.Errorf("taking needle %d: %w", i, err)
		}
		x.names = append(x.names, n.Name)
		for _, w := range forms(bytes.Clone(n.Value)) {
			x.add(pattern{text: w.text, form: w.form, needle: int32(i)})
		}
	}
	x.fillBitmap()
	return x, nil
}

// check refuses what would be found everywhere or nowhere.
func (n Needle) check() error {
	switch {
	case n.Name == "":
		return fmt.Errorf("%w: it has no name to report it by", ErrNeedle)
	case len(n.Value) < MinNeedleBytes || len(n.Value) > MaxNeedleBytes:
		return fmt.Errorf("%w: %q has %d bytes, want %d to %d", ErrNeedle, n.Name, len(n.Value), MinNeedleBytes, MaxNeedleBytes)
	case bytes.Count(n.Value, n.Value[:1]) == len(n.Value):
		return fmt.Errorf("%w: %q is one byte repeated, which is everywhere", ErrNeedle, n.Name)
	}
	return nil
}

func (x *index) add(p pattern) {
	key := binary.LittleEndian.Uint64(p.text)
	p.next = none
	if first, ok := x.first[key]; ok {
		p.next = first
	}
	x.first[key] = int32(len(x.patterns))
	x.patterns = append(x.patterns, p)
	x.longest = max(x.longest, len(p.text))
}

func (x *index) fillBitmap() {
	const minBits = 16 // 8 KiB, for a handful of needles
	width := max(minBits, bits.Len(uint(len(x.first)*bitsPerPattern)))
	x.shift = uint(64 - width)
	x.bitmap = make([]uint64, 1<<(width-6))
	for key := range x.first {
		for _, h := range []uint64{hash(key) >> x.shift, rehash(key) >> x.shift} {
			x.bitmap[h>>6] |= 1 << (h & 63)
		}
	}
}

// hash spreads a prefix (multiplicative hashing with the golden ratio; the upper bits are the good ones).
func hash(prefix uint64) uint64 { return prefix * 0x9E3779B97F4A7C15 }

// rehash is a second opinion, independent of the first.
func rehash(prefix uint64) uint64 { return hash(^prefix ^ prefix>>31) }

// find yields each of the first places of buf where a pattern may begin.
func (x *index) find(buf []byte, places int) iter.Seq[int] {
	return func(yield func(int) bool) {
		bitmap, shift := x.bitmap, x.shift
		for i := range min(places, len(buf)-prefixBytes+1) {
			prefix := binary.LittleEndian.Uint64(buf[i:])
			h := hash(prefix) >> shift
			if bitmap[h>>6]&(1<<(h&63)) == 0 {
				continue
			}
			h = rehash(prefix) >> shift
			if bitmap[h>>6]&(1<<(h&63)) != 0 && !yield(i) {
				return
			}
		}
	}
}

// at lists the patterns that buf begins with.
func (x *index) at(buf []byte) (matches []pattern) {
	i, ok := x.first[binary.LittleEndian.Uint64(buf)]
	if !ok {
		return nil
	}
	for ; i != none; i = x.patterns[i].next {
		if bytes.HasPrefix(buf, x.patterns[i].text) {
			matches = append(matches, x.patterns[i])
		}
	}
	return matches
}
