// Package tlv reads and writes the tag-length-value forms that cards and
// certificates speak: BER-TLV as in ISO/IEC 7816-4 and ITU-T X.690, the data
// groupings of EMV Card Personalization, and the DER form of an ECDSA signature.
//
// Everything has one spelling. The readers accept only what the writers would
// write (definite lengths in their shortest form), so that bytes that are
// signed, hashed or compared cannot be said in a second way. One freedom stays
// because cards in the field use it: a tag of two bytes may carry a number below
// 31 (EMV's BF0C). As a Tag is the tag's bytes, it is no second spelling here.
//
// Readers never panic and return slices of their input, which the caller must
// not change meanwhile. Writers panic on what no data can cause: a tag that is
// no tag, a value beyond the limit. Any package may import this one.
package tlv

import (
	"errors"
	"fmt"
)

const (
	// MaxTagBytes covers every tag of SGP.02, SGP.22, SGP.32, GlobalPlatform
	// and the profile package (at most 2 bytes), with one in reserve.
	MaxTagBytes = 3
	// MaxValueBytes is what three length bytes can say: 16 MiB, against 1 MiB
	// of the largest eUICC profile.
	MaxValueBytes = 1<<24 - 1
	// MaxElements bounds the memory of one ParseAll (32 bytes per element).
	// The longest list in use, a profile package, has some hundred.
	MaxElements = 16_384
)

// ErrTruncated is wrapped when the input ends inside an element, so that a
// reader from a stream can tell "more needed" from "wrong".
var ErrTruncated = errors.New("input ends inside an element")

// TLV is one element. Tag is the tag's bytes read as a number: 0x5A, 0x9F7F,
// 0xBF2D. Value is without tag and length.
type TLV struct {
	Tag   uint32
	Value []byte
}

// Parse reads the first element of b and returns what follows it.
func Parse(b []byte) (element TLV, rest []byte, err error) {
	tag, tagLen, err := parseTag(b)
	if err != nil {
		return TLV{}, nil, fmt.Errorf("parsing tag: %w", err)
	}
	length, lengthLen, err := parseLength(b[tagLen:])
	if err != nil {
		return TLV{}, nil, fmt.Errorf("parsing length of tag %X: %w", tag, err)
	}
	start := tagLen + lengthLen
	if length > len(b)-start {
		return TLV{}, nil, fmt.Errorf("parsing value of tag %X: %w: %d bytes announced, %d there", tag, ErrTruncated, length, len(b)-start)
	}
	end := start + length
	return TLV{Tag: tag, Value: b[start:end:end]}, b[end:], nil
}

// ParseAll reads b as elements one after another, to its end. Filler bytes
// between elements are refused. Empty input has no elements.
func ParseAll(b []byte) ([]TLV, error) {
	var all []TLV
	for rest := b; len(rest) > 0; {
		if len(all) == MaxElements {
			return nil, fmt.Errorf("parsing elements: more than %d", MaxElements)
		}
		element, after, err := Parse(rest)
		if err != nil {
			return nil, fmt.Errorf("parsing element at byte %d: %w", len(b)-len(rest), err)
		}
		all, rest = append(all, element), after
	}
	return all, nil
}

// Constructed reports whether the tag says that the value consists of elements.
func (t TLV) Constructed() bool {
	first := t.Tag
	for first > 0xFF {
		first >>= 8
	}
	return first&0x20 != 0
}

// Children reads the elements of a constructed element. For a primitive tag
// that holds elements all the same (GlobalPlatform C9) use ParseAll on Value.
func (t TLV) Children() ([]TLV, error) {
	if !t.Constructed() {
		return nil, fmt.Errorf("parsing children of tag %X: the tag is primitive", t.Tag)
	}
	children, err := ParseAll(t.Value)
	if err != nil {
		return nil, fmt.Errorf("parsing children of tag %X: %w", t.Tag, err)
	}
	return children, nil
}

// Find returns the value of the first element with this tag among the elements
// of b, not deeper. The whole of b must be well-formed.
func Find(b []byte, tag uint32) (value []byte, found bool, err error) {
	all, err := ParseAll(b)
	if err != nil {
		return nil, false, fmt.Errorf("finding tag %X: %w", tag, err)
	}
	for _, element := range all {
		if element.Tag == tag {
			return element.Value, true, nil
		}
	}
	return nil, false, nil
}

// FindPath finds the first tag in b, the second in its value, and so on. With
// no tags it is b itself.
func FindPath(b []byte, tags ...uint32) (value []byte, found bool, err error) {
	value = b
	for _, tag := range tags {
		value, found, err = Find(value, tag)
		if err != nil || !found {
			return nil, false, err
		}
	}
	return value, true, nil
}

// Append appends one element to dst. It panics if tag is not a well-formed tag
// or value is longer than MaxValueBytes.
func Append(dst []byte, tag uint32, value []byte) []byte {
	return append(appendHeader(dst, tag, len(value)), value...)
}

// Encode is one new element whose value is the parts one after another. It
// panics as Append does.
func Encode(tag uint32, parts ...[]byte) []byte {
	length := 0
	for _, part := range parts {
		length += len(part)
	}
	const maxHeaderBytes = MaxTagBytes + 4
	out := appendHeader(make([]byte, 0, maxHeaderBytes+length), tag, length)
	for _, part := range parts {
		out = append(out, part...)
	}
	return out
}

func appendHeader(dst []byte, tag uint32, length int) []byte {
	start := len(dst)
	for shift := 24; shift >= 0; shift -= 8 {
		if tag>>shift != 0 {
			dst = append(dst, byte(tag>>shift))
		}
	}
	if _, n, err := parseTag(dst[start:]); err != nil || n != len(dst)-start {
		panic(fmt.Sprintf("tlv: writing tag %X: not a tag", tag))
	}
	switch {
	case length < 0x80:
		return append(dst, byte(length))
	case length <= 0xFF:
		return append(dst, 0x81, byte(length))
	case length <= 0xFFFF:
		return append(dst, 0x82, byte(length>>8), byte(length))
	case length <= MaxValueBytes:
		return append(dst, 0x83, byte(length>>16), byte(length>>8), byte(length))
	default:
		panic(fmt.Sprintf("tlv: writing tag %X: value of %d bytes", tag, length))
	}
}

// parseTag returns the tag at the start of b and its length in bytes.
func parseTag(b []byte) (tag uint32, n int, err error) {
	if len(b) == 0 {
		return 0, 0, ErrTruncated
	}
	if b[0] == 0 {
		return 0, 0, errors.New("tag 00 is filler, not a tag")
	}
	tag = uint32(b[0])
	if b[0]&0x1F != 0x1F {
		return tag, 1, nil
	}
	for n = 1; n < MaxTagBytes; n++ {
		if n == len(b) {
			return 0, 0, ErrTruncated
		}
		if n == 1 && b[n] == 0x80 {
			return 0, 0, errors.New("tag number with leading zeros")
		}
		tag = tag<<8 | uint32(b[n])
		if b[n]&0x80 == 0 {
			return tag, n + 1, nil
		}
	}
	return 0, 0, fmt.Errorf("tag longer than %d bytes", MaxTagBytes)
}

// parseLength returns the length at the start of b and how many bytes say it.
func parseLength(b []byte) (length, n int, err error) {
	if len(b) == 0 {
		return 0, 0, ErrTruncated
	}
	if b[0] < 0x80 {
		return int(b[0]), 1, nil
	}
	more := int(b[0] & 0x7F)
	if more == 0 {
		return 0, 0, errors.New("indefinite length")
	}
	if more > 3 {
		return 0, 0, fmt.Errorf("length in %d bytes, longer than any value allowed", more)
	}
	if len(b) <= more {
		return 0, 0, ErrTruncated
	}
	for _, v := range b[1 : 1+more] {
		length = length<<8 | int(v)
	}
	if length < 0x80 || length>>(8*(more-1)) == 0 {
		return 0, 0, fmt.Errorf("length %d not in its shortest form", length)
	}
	return length, 1 + more, nil
}
