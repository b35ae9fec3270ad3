package id

import (
	"errors"
	"fmt"
	"strings"
)

// ErrCheckDigit is wrapped by parse errors of an identifier whose only fault
// is its check digit or digits; the text names the expected ones.
var ErrCheckDigit = errors.New("wrong check digit")

// ErrCarry is wrapped when counting would leave the part of an identifier
// that its owner may count in.
var ErrCarry = errors.New("counting leaves the number space")

// checkDigitsOnly reports the first character that is not 0-9 by its position
// alone: the text may be an IMSI, or a key in the wrong column.
func checkDigitsOnly(s string) error {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return fmt.Errorf("character %d is not a decimal digit", i+1)
		}
	}
	return nil
}

// packBCD writes digits (and filler letters a-f) two to a byte, padding dst
// on the right with F nibbles. Callers have checked the characters.
func packBCD(dst []byte, digits string) {
	for i := range dst {
		dst[i] = nibble(digits, 2*i)<<4 | nibble(digits, 2*i+1)
	}
}

// nibble is the value of digit i, F behind the last.
func nibble(digits string, i int) byte {
	const filler = 0x0F
	if i >= len(digits) {
		return filler
	}
	switch c := digits[i]; {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	panic("id: packing unchecked digits") // not data: every caller checks first
}

// swapNibbles turns reading order into the order of elementary files, and back.
func swapNibbles(b []byte) {
	for i, v := range b {
		b[i] = v<<4 | v>>4
	}
}

// countOn adds n to a decimal number in ASCII digits, in place. It reports
// false when the sum does not fit.
func countOn(digits []byte, n uint64) bool {
	for i := len(digits) - 1; i >= 0 && n > 0; i-- {
		sum := uint64(digits[i]-'0') + n%10
		digits[i] = '0' + byte(sum%10)
		n = n/10 + sum/10
	}
	return n == 0
}

// sortKey right-aligns digits in 16 BCD bytes, so that bytes sort like numbers.
func sortKey(digits string) (key [16]byte) {
	packBCD(key[:], strings.Repeat("0", 2*len(key)-len(digits))+digits)
	return key
}

// luhn is the check digit of a decimal body (ISO/IEC 7812-1 annex B).
func luhn(body string) byte {
	sum := 0
	for i := 0; i < len(body); i++ {
		d := int(body[len(body)-1-i] - '0')
		if i%2 == 0 {
			d *= 2
		}
		sum += d/10 + d%10
	}
	return '0' + byte((10-sum%10)%10)
}

// mod97 is the pair of check digits of a decimal body (ISO/IEC 7064 MOD 97-10).
// It is always 02 to 98.
func mod97(body string) string {
	r := 0
	for i := 0; i < len(body); i++ {
		r = (r*10 + int(body[i]-'0')) % 97
	}
	r = 98 - r*100%97
	return pairs[2*r : 2*r+2]
}

// pairs are the numbers from 00 to 99, two digits each.
var pairs = func() string {
	var b strings.Builder
	for n := range 100 {
		fmt.Fprintf(&b, "%02d", n)
	}
	return b.String()
}()
