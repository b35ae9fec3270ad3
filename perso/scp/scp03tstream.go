package scp

import (
	"fmt"
	"slices"

	"github.com/persoline/persoline/perso/tlv"
)

// What a host sends to load a package is a stream of SCP03t objects, one behind the other: EXTERNAL AUTHENTICATE, then the
// package in segments of MaxTLVData bytes. Its lengths follow from that of the package, so a script can be cut into commands
// before any card is known.

// KeyIDTLV is the key identifier that an opening names: the first key of the set.
const KeyIDTLV = 1

// MaxPackage bounds what one stream carries: more than any chip of today takes.
const MaxPackage = 64 << 10

// StreamObjects are the lengths of the objects of a stream for a package of n bytes, in order. macBytes is 8, or 16 in S16 mode.
func StreamObjects(n, macBytes int) []int {
	whole := func(value int) int { return len(tlvHeader(TagData, value)) + value }
	all := []int{whole(1 + 2*macBytes)}
	for ; n > 0; n -= MaxTLVData {
		all = append(all, whole(padded(min(n, MaxTLVData))+macBytes))
	}
	return all
}

// SealStream makes the stream of a package for a session that was just opened, and the mark of each segment, by which the answers
// are opened.
func (h *Host) SealStream(dst, pkg []byte) (stream []byte, marks []Mark, err error) {
	if len(pkg) == 0 || len(pkg) > MaxPackage {
		return dst, nil, fmt.Errorf("sealing package of %d bytes, limit %d: %w", len(pkg), MaxPackage, ErrTooLong)
	}
	auth, err := h.ExternalAuthenticateTLV()
	if err != nil {
		return dst, nil, err
	}
	whole := 0
	for _, n := range StreamObjects(len(pkg), h.s.macBytes) {
		whole += n
	}
	dst = append(slices.Grow(dst, whole), auth...)
	for len(pkg) > 0 {
		n := min(len(pkg), MaxTLVData)
		next, m, err := h.appendTLV(dst, pkg[:n])
		if err != nil {
			return dst, nil, err
		}
		dst, marks, pkg = next, append(marks, m), pkg[n:]
	}
	return dst, marks, nil
}

// AnswersTLV are the answers of a card that takes every segment without a word and says report to the last: what it answers to
// EXTERNAL AUTHENTICATE, and then to each segment, end to end.
func (h *Host) AnswersTLV(marks []Mark, report []byte) []byte {
	all := tlv.Encode(TagExternal)
	for i, m := range marks {
		if i < len(marks)-1 {
			all = append(all, h.s.answerTLV(m, nil)...)
			continue
		}
		all = append(all, h.s.answerTLV(m, report)...)
	}
	return all
}
