package id

import (
	"encoding/hex"
	"fmt"
)

const (
	// EIDDigits is the length of every EID (SGP.02, SGP.29).
	EIDDigits = 32
	// EIDIINDigits is the length of the issuer part: a range may not count
	// into it, because other digits there belong to another eUICC maker.
	EIDIINDigits = 8

	eidBodyDigits = EIDDigits - 2
)

// EID identifies one eUICC for its whole life: 30 digits and two check digits.
type EID struct{ bcd [16]byte }

// ParseEID reads exactly 32 decimal digits of which the last two are
// 98 - (first 30 x 100 mod 97), so that the whole is 1 modulo 97.
//
// The check digits 00, 01 and 99 also give 1 modulo 97 but are never computed
// by that rule. They are refused: else one body would have two EIDs.
func ParseEID(s string) (EID, error) {
	if len(s) != EIDDigits {
		return EID{}, fmt.Errorf("parsing EID: %d characters, expected %d digits", len(s), EIDDigits)
	}
	if err := checkDigitsOnly(s); err != nil {
		return EID{}, fmt.Errorf("parsing EID: %w", err)
	}
	if want := mod97(s[:eidBodyDigits]); s[eidBodyDigits:] != want {
		return EID{}, fmt.Errorf("parsing EID %q: %w: check digits are %s, expected %s (MOD 97-10)",
			s, ErrCheckDigit, s[eidBodyDigits:], want)
	}
	var e EID
	packBCD(e.bcd[:], s)
	return e, nil
}

// EIDFromBytes reads the 16 byte card form: plain BCD, not nibble-swapped
// (SGP.22 tag 5A).
func EIDFromBytes(b []byte) (EID, error) {
	if len(b) != len(EID{}.bcd) {
		return EID{}, fmt.Errorf("parsing EID bytes: %d bytes, expected %d", len(b), len(EID{}.bcd))
	}
	return ParseEID(hex.EncodeToString(b))
}

// String is the 32 digits, or nothing for the zero value.
func (e EID) String() string {
	if e.IsZero() {
		return ""
	}
	return hex.EncodeToString(e.bcd[:])
}

// Bytes is the 16 byte card form, plain BCD.
func (e EID) Bytes() [16]byte { return e.bcd }

// IIN is the issuer identification: the first 8 digits.
func (e EID) IIN() string {
	if e.IsZero() {
		return ""
	}
	return e.String()[:EIDIINDigits]
}

// IsZero reports whether e is no EID. (All digits zero fails the check digits.)
func (e EID) IsZero() bool { return e == EID{} }

// MarshalText is the 32 digits.
func (e EID) MarshalText() ([]byte, error) { return marshal(e) }

// UnmarshalText reads what MarshalText writes.
func (e *EID) UnmarshalText(text []byte) error { return unmarshal(e, text, ParseEID) }

// MarshalBinary is MarshalText.
func (e EID) MarshalBinary() ([]byte, error) { return marshal(e) }

// UnmarshalBinary is UnmarshalText.
func (e *EID) UnmarshalBinary(text []byte) error { return e.UnmarshalText(text) }

func (e EID) text() string { return e.String() }

func (e EID) advance(n uint64) (EID, error) {
	body := []byte(e.String()[:eidBodyDigits])
	if !countOn(body[EIDIINDigits:], n) {
		return EID{}, fmt.Errorf("counting %d on from EID %q: %w: the first %d digits would change", n, e, ErrCarry, EIDIINDigits)
	}
	return ParseEID(string(body) + mod97(string(body)))
}

func (e EID) sortKey() [16]byte { return sortKey(e.String()[:eidBodyDigits]) }

func (e EID) shape() [2]uint8 { return [2]uint8{} }
