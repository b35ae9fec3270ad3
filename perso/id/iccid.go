package id

import (
	"encoding/hex"
	"fmt"
	"strings"
)

const (
	// ICCIDIINDigits is the longest issuer part that E.118 allows (89, country
	// code, issuer). Shorter parts exist, but their length is not in the
	// number; a range that changes one of these 7 digits needs a person.
	ICCIDIINDigits = 7

	iccidMajorIndustry = "89" // telecommunication, E.118
	iccidBodyOnly      = 18   // digits of an ICCID that has no check digit
	iccidMaxDigits     = 20   // EF.ICCID has 10 bytes
)

// ICCID is the serial number of a UICC: 19 or 20 digits with a Luhn digit, or
// 18 digits without one.
type ICCID struct {
	bcd [10]byte // reading order, padded with F nibbles
	n   uint8    // digits
}

// ParseICCID reads 19 digits (with or without one trailing F), 20 digits, or
// 18 digits, which are taken as a body without check digit.
func ParseICCID(s string) (ICCID, error) {
	digits := s
	if len(s) == iccidMaxDigits && (s[len(s)-1] == 'F' || s[len(s)-1] == 'f') {
		digits = s[:len(s)-1]
	}
	if len(digits) < iccidBodyOnly || len(digits) > iccidMaxDigits {
		return ICCID{}, fmt.Errorf("parsing ICCID: %d characters, expected 18, 19 or 20 digits", len(s))
	}
	if err := checkDigitsOnly(digits); err != nil {
		return ICCID{}, fmt.Errorf("parsing ICCID: %w", err)
	}
	if !strings.HasPrefix(digits, iccidMajorIndustry) {
		return ICCID{}, fmt.Errorf("parsing ICCID %q: begins with %q, expected %q (E.118)", s, digits[:2], iccidMajorIndustry)
	}
	if last := len(digits) - 1; len(digits) > iccidBodyOnly && digits[last] != luhn(digits[:last]) {
		return ICCID{}, fmt.Errorf("parsing ICCID %q: %w: check digit is %c, expected %c (Luhn)",
			s, ErrCheckDigit, digits[last], luhn(digits[:last]))
	}
	c := ICCID{n: uint8(len(digits))}
	packBCD(c.bcd[:], digits)
	return c, nil
}

// ICCIDFromEF reads the 10 bytes of EF.ICCID (2FE2).
func ICCIDFromEF(b []byte) (ICCID, error) {
	if len(b) != len(ICCID{}.bcd) {
		return ICCID{}, fmt.Errorf("parsing EF.ICCID: %d bytes, expected %d", len(b), len(ICCID{}.bcd))
	}
	var plain [10]byte
	copy(plain[:], b)
	swapNibbles(plain[:])
	c, err := ParseICCID(strings.TrimRight(hex.EncodeToString(plain[:]), "f"))
	if err != nil {
		return ICCID{}, fmt.Errorf("parsing EF.ICCID: %w", err)
	}
	return c, nil
}

// WithCheckDigit completes an 18-digit body to 19 digits. Other values are
// returned as they are.
func (c ICCID) WithCheckDigit() ICCID {
	if c.n != iccidBodyOnly {
		return c
	}
	done := ICCID{n: iccidBodyOnly + 1}
	packBCD(done.bcd[:], c.String()+string(luhn(c.String())))
	return done
}

// String is the digits without filler, or nothing for the zero value.
func (c ICCID) String() string { return hex.EncodeToString(c.bcd[:])[:c.n] }

// Padded is the 20 character form of output files: the digits filled up with F.
func (c ICCID) Padded() string {
	if c.IsZero() {
		return ""
	}
	return c.String() + strings.Repeat("F", iccidMaxDigits-c.Digits())
}

// EFBytes is the content of EF.ICCID (2FE2): nibbles swapped, filled with F.
func (c ICCID) EFBytes() [10]byte {
	ef := c.bcd
	swapNibbles(ef[:])
	return ef
}

// Digits is 18, 19 or 20; 0 for the zero value.
func (c ICCID) Digits() int { return int(c.n) }

// IsZero reports whether c is no ICCID.
func (c ICCID) IsZero() bool { return c.n == 0 }

// MarshalText is the digits without filler.
func (c ICCID) MarshalText() ([]byte, error) { return marshal(c) }

// UnmarshalText reads what MarshalText writes; a trailing F is refused here.
func (c *ICCID) UnmarshalText(text []byte) error { return unmarshal(c, text, ParseICCID) }

// MarshalBinary is MarshalText.
func (c ICCID) MarshalBinary() ([]byte, error) { return marshal(c) }

// UnmarshalBinary is UnmarshalText.
func (c *ICCID) UnmarshalBinary(text []byte) error { return c.UnmarshalText(text) }

func (c ICCID) text() string { return c.String() }

// body is what a range counts: everything but the check digit.
func (c ICCID) body() string {
	if c.n == iccidBodyOnly {
		return c.String()
	}
	return c.String()[:c.n-1]
}

func (c ICCID) advance(n uint64) (ICCID, error) {
	body := []byte(c.body())
	if !countOn(body[ICCIDIINDigits:], n) {
		return ICCID{}, fmt.Errorf("counting %d on from ICCID %q: %w: the first %d digits would change", n, c, ErrCarry, ICCIDIINDigits)
	}
	if c.n > iccidBodyOnly {
		body = append(body, luhn(string(body)))
	}
	return ParseICCID(string(body))
}

// sortKey is that of the body, so that 18 digits collide with the 19 that they
// become by a check digit. No ICCID begins with 0, so lengths cannot be confused.
func (c ICCID) sortKey() [16]byte { return sortKey(c.body()) }

func (c ICCID) shape() [2]uint8 { return [2]uint8{c.n} }
