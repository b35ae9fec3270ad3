package product

import (
	"fmt"
	"strings"
)

const (
	minATRBytes = 2  // TS and T0
	maxATRBytes = 33 // ISO/IEC 7816-3: TS and at most 32 characters
)

// ATR is the pattern of a chip's answer to reset. Nibbles written X (an OS revision, the check byte) match anything.
// The zero value matches nothing.
type ATR struct {
	text        string // upper case
	value, mask [maxATRBytes]byte
}

// ParseATR reads 2 to 33 bytes in hexadecimal of either case, with X for nibbles that vary. The first byte says the
// convention and is 3B or 3F.
func ParseATR(s string) (ATR, error) {
	if len(s)%2 != 0 || len(s) < 2*minATRBytes || len(s) > 2*maxATRBytes {
		return ATR{}, fmt.Errorf("ATR of %d hex digits, expected %d to %d and an even number", len(s), 2*minATRBytes, 2*maxATRBytes)
	}
	a := ATR{text: strings.ToUpper(s)}
	for i := range len(a.text) {
		c := a.text[i]
		value, mask := byte(0), byte(0xF)
		switch {
		case c >= '0' && c <= '9':
			value = c - '0'
		case c >= 'A' && c <= 'F':
			value = c - 'A' + 10
		case c == 'X':
			mask = 0
		default:
			return ATR{}, fmt.Errorf("ATR character %d is %q, expected a hex digit or X", i+1, s[i])
		}
		shift := 4 * (1 - i%2)
		a.value[i/2] |= value << shift
		a.mask[i/2] |= mask << shift
	}
	if ts := a.text[:2]; ts != "3B" && ts != "3F" {
		return ATR{}, fmt.Errorf("ATR begins with %s, expected 3B or 3F (ISO/IEC 7816-3)", ts)
	}
	return a, nil
}

// String is the pattern in upper case.
func (a ATR) String() string { return a.text }

// IsZero reports that no pattern was given.
func (a ATR) IsZero() bool { return a.text == "" }

// Match reports whether a chip's answer fits.
func (a ATR) Match(answer []byte) bool {
	if a.IsZero() || 2*len(answer) != len(a.text) {
		return false
	}
	for i, b := range answer {
		if b&a.mask[i] != a.value[i] {
			return false
		}
	}
	return true
}
