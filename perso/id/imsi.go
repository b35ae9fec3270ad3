package id

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

const (
	imsiMCCDigits = 3
	imsiMaxDigits = 15 // TS 23.003 clause 2.2
)

// IMSI names a subscription in the network: country (3 digits), network (2 or
// 3), subscriber. The length of the network code cannot be told from the
// digits, so it is part of the value.
type IMSI struct {
	bcd [8]byte // reading order, padded with F nibbles
	n   uint8   // digits
	mnc uint8   // digits of the network code
}

// ParseIMSI reads 6 to 15 decimal digits, of which at least one is the
// subscriber's, with a network code of mncDigits (2 or 3). Its errors do not
// quote the digits.
func ParseIMSI(s string, mncDigits int) (IMSI, error) {
	if mncDigits != 2 && mncDigits != 3 {
		return IMSI{}, fmt.Errorf("parsing IMSI: network code of %d digits, expected 2 or 3", mncDigits)
	}
	if least := imsiMCCDigits + mncDigits + 1; len(s) < least || len(s) > imsiMaxDigits {
		return IMSI{}, fmt.Errorf("parsing IMSI: %d characters, expected %d to %d digits", len(s), least, imsiMaxDigits)
	}
	if err := checkDigitsOnly(s); err != nil {
		return IMSI{}, fmt.Errorf("parsing IMSI: %w", err)
	}
	m := IMSI{n: uint8(len(s)), mnc: uint8(mncDigits)}
	packBCD(m.bcd[:], s)
	return m, nil
}

// IMSIFromEF reads the 9 bytes of EF.IMSI (6F07) and refuses every coding but
// the one that EFBytes writes.
func IMSIFromEF(b []byte, mncDigits int) (IMSI, error) {
	if len(b) != 9 {
		return IMSI{}, fmt.Errorf("parsing EF.IMSI: %d bytes, expected 9", len(b))
	}
	var plain [8]byte
	copy(plain[:], b[1:])
	swapNibbles(plain[:])
	digits := strings.TrimRight(hex.EncodeToString(plain[:])[1:], "f")
	m, err := ParseIMSI(digits, mncDigits)
	if err != nil {
		return IMSI{}, fmt.Errorf("parsing EF.IMSI: %w", err)
	}
	if m.EFBytes() != [9]byte(b) {
		return IMSI{}, errors.New("parsing EF.IMSI: length byte or parity do not fit the digits")
	}
	return m, nil
}

// String is the digits, or nothing for the zero value. It is personal data.
func (m IMSI) String() string { return hex.EncodeToString(m.bcd[:])[:m.n] }

// MCC is the mobile country code, 3 digits.
func (m IMSI) MCC() string {
	if m.IsZero() {
		return ""
	}
	return m.String()[:imsiMCCDigits]
}

// MNC is the mobile network code, 2 or 3 digits.
func (m IMSI) MNC() string {
	if m.IsZero() {
		return ""
	}
	return m.String()[imsiMCCDigits:m.prefix()]
}

// MNCDigits is 2 or 3; 0 for the zero value.
func (m IMSI) MNCDigits() int { return int(m.mnc) }

// EFBytes is the content of EF.IMSI (TS 31.102 clause 4.2.2): the number of
// bytes used, then a parity nibble and the digits, nibbles swapped, filled
// with F. It is all zero for the zero value.
func (m IMSI) EFBytes() (ef [9]byte) {
	if m.IsZero() {
		return ef
	}
	parity := "1"
	if m.n%2 == 1 {
		parity = "9"
	}
	ef[0] = (m.n + 2) / 2
	packBCD(ef[1:], parity+m.String())
	swapNibbles(ef[1:])
	return ef
}

// ACC is the content of EF.ACC (6F78): the bit of the access class that is the
// last digit of the IMSI. Classes 11 to 15 come from the order, never from here.
func (m IMSI) ACC() (acc [2]byte) {
	if m.IsZero() {
		return acc
	}
	class := m.String()[m.n-1] - '0'
	bits := uint16(1) << class
	return [2]byte{byte(bits >> 8), byte(bits)}
}

// LogValue shows country and network and masks the subscriber.
func (m IMSI) LogValue() slog.Value { return slog.StringValue(m.masked()) }

// IsZero reports whether m is no IMSI.
func (m IMSI) IsZero() bool { return m.n == 0 }

// MarshalText is the digits, a slash and the length of the network code, for
// example 001010123456789/2.
func (m IMSI) MarshalText() ([]byte, error) { return marshal(m) }

// UnmarshalText reads what MarshalText writes.
func (m *IMSI) UnmarshalText(text []byte) error { return unmarshal(m, text, parseIMSIText) }

// MarshalBinary is MarshalText.
func (m IMSI) MarshalBinary() ([]byte, error) { return marshal(m) }

// UnmarshalBinary is UnmarshalText.
func (m *IMSI) UnmarshalBinary(text []byte) error { return m.UnmarshalText(text) }

func parseIMSIText(s string) (IMSI, error) {
	digits, mnc, _ := strings.Cut(s, "/")
	switch mnc {
	case "2":
		return ParseIMSI(digits, 2)
	case "3":
		return ParseIMSI(digits, 3)
	default:
		return IMSI{}, errors.New("parsing IMSI text: the length of the network code is missing (/2 or /3)")
	}
}

func (m IMSI) text() string { return fmt.Sprintf("%s/%d", m.String(), m.mnc) }

// prefix is the number of digits of country and network code.
func (m IMSI) prefix() int { return imsiMCCDigits + int(m.mnc) }

func (m IMSI) masked() string {
	if m.IsZero() {
		return ""
	}
	return m.String()[:m.prefix()] + strings.Repeat("*", int(m.n)-m.prefix())
}

func (m IMSI) advance(n uint64) (IMSI, error) {
	digits := []byte(m.String())
	if !countOn(digits[m.prefix():], n) {
		return IMSI{}, fmt.Errorf("counting %d on from IMSI %s: %w: the network code would change", n, m.masked(), ErrCarry)
	}
	return ParseIMSI(string(digits), m.MNCDigits())
}

// sortKey carries the length in front, because IMSIs may begin with 0. The
// length of the network code is left out: to a network both are one IMSI.
func (m IMSI) sortKey() [16]byte {
	key := sortKey(m.String())
	key[0] = m.n
	return key
}

func (m IMSI) shape() [2]uint8 { return [2]uint8{m.n, m.mnc} }
