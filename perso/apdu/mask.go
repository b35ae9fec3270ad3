package apdu

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	upperHex = "0123456789ABCDEF"

	// MaxAlternatives bounds one Mask. No command of a script accepts more ways to succeed than this.
	MaxAlternatives = 8
	// MaxDataMaskBytes bounds one DataMask: a short answer has at most 256 data bytes.
	MaxDataMaskBytes = 256
)

// ErrPattern says that a text is not a Mask or DataMask.
var ErrPattern = errors.New("malformed answer pattern")

// Mask says which status words are accepted: four nibbles each, X for any, "|" between alternatives,
// as in "9000|61XX|63CX". The zero Mask accepts nothing. Masks made from texts of the same meaning
// alternative by alternative are equal under ==.
type Mask struct {
	alts [MaxAlternatives]swPattern
	n    uint8
}

// swPattern accepts sw when sw&care == value.
type swPattern struct{ value, care SW }

// ParseMask reads a Mask. Upper and lower case are the same; a repeated alternative is dropped.
func ParseMask(text string) (Mask, error) {
	var alts []swPattern
	for word := range strings.SplitSeq(text, "|") {
		p, err := parseSWPattern(word)
		if err != nil {
			return Mask{}, fmt.Errorf("parsing status mask %q: %w", text, err)
		}
		alts = append(alts, p)
		if len(alts) > MaxAlternatives {
			return Mask{}, fmt.Errorf("parsing status mask %q, limit %d alternatives: %w", text, MaxAlternatives, ErrPattern)
		}
	}
	slices.SortFunc(alts, swPattern.compare)
	alts = slices.Compact(alts)
	var m Mask
	m.n = uint8(copy(m.alts[:], alts))
	return m, nil
}

// ExactMask accepts the one status word.
func ExactMask(sw SW) Mask {
	return Mask{alts: [MaxAlternatives]swPattern{{value: sw, care: 0xFFFF}}, n: 1}
}

// Match says whether one alternative accepts sw.
func (m Mask) Match(sw SW) bool {
	for _, p := range m.alts[:m.n] {
		if sw&p.care == p.value {
			return true
		}
	}
	return false
}

// String is the canonical text: upper case, sorted, no alternative twice.
func (m Mask) String() string {
	var b strings.Builder
	for i, p := range m.alts[:m.n] {
		if i > 0 {
			b.WriteByte('|')
		}
		for shift := 12; shift >= 0; shift -= 4 {
			b.WriteByte(nibbleText(byte(p.value>>shift)&0x0F, byte(p.care>>shift)&0x0F))
		}
	}
	return b.String()
}

// MarshalText is String.
func (m Mask) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText is ParseMask.
func (m *Mask) UnmarshalText(text []byte) (err error) {
	*m, err = ParseMask(string(text))
	return err
}

// DataMask says which answer data is accepted: hex digits, X for any nibble, and at the end "*" for
// any further bytes. "" accepts only empty data, "*" accepts everything. The zero DataMask is "".
type DataMask struct {
	value, care []byte
	open        bool
}

// ParseDataMask reads a DataMask. Upper and lower case are the same.
func ParseDataMask(text string) (DataMask, error) {
	digits, open := strings.CutSuffix(text, "*")
	if len(digits)%2 != 0 || len(digits) > 2*MaxDataMaskBytes {
		return DataMask{}, fmt.Errorf("parsing data mask of %d nibbles: %w", len(digits), ErrPattern)
	}
	d := DataMask{open: open}
	if len(digits) > 0 {
		d.value, d.care = make([]byte, len(digits)/2), make([]byte, len(digits)/2)
	}
	for i := range len(digits) {
		v, care, ok := parseNibble(digits[i])
		if !ok {
			return DataMask{}, fmt.Errorf("parsing data mask at nibble %d: %w", i, ErrPattern)
		}
		d.value[i/2] = d.value[i/2]<<4 | v
		d.care[i/2] = d.care[i/2]<<4 | care
	}
	return d, nil
}

// Match says whether data is accepted.
func (d DataMask) Match(data []byte) bool {
	if len(data) < len(d.value) || (!d.open && len(data) > len(d.value)) {
		return false
	}
	for i, v := range d.value {
		if data[i]&d.care[i] != v {
			return false
		}
	}
	return true
}

// Equal says whether both accept the same data.
func (d DataMask) Equal(o DataMask) bool {
	return d.open == o.open && bytes.Equal(d.value, o.value) && bytes.Equal(d.care, o.care)
}

// String is the canonical text, upper case.
func (d DataMask) String() string {
	var b strings.Builder
	for i, v := range d.value {
		b.WriteByte(nibbleText(v>>4, d.care[i]>>4))
		b.WriteByte(nibbleText(v&0x0F, d.care[i]&0x0F))
	}
	if d.open {
		b.WriteByte('*')
	}
	return b.String()
}

// MarshalText is String.
func (d DataMask) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is ParseDataMask.
func (d *DataMask) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDataMask(string(text))
	return err
}

func parseSWPattern(word string) (swPattern, error) {
	var p swPattern
	if len(word) != 4 {
		return p, fmt.Errorf("reading alternative %q: %w", word, ErrPattern)
	}
	for i := range len(word) {
		v, care, ok := parseNibble(word[i])
		if !ok {
			return p, fmt.Errorf("reading alternative %q: %w", word, ErrPattern)
		}
		p.value = p.value<<4 | SW(v)
		p.care = p.care<<4 | SW(care)
	}
	return p, nil
}

func (p swPattern) compare(o swPattern) int {
	if p.value != o.value {
		return int(p.value) - int(o.value)
	}
	return int(p.care) - int(o.care)
}

// parseNibble reads one digit into the value to meet and the bits that matter (all or none).
func parseNibble(c byte) (value, care byte, ok bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', 0x0F, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, 0x0F, true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, 0x0F, true
	case c == 'X' || c == 'x':
		return 0, 0, true
	default:
		return 0, 0, false
	}
}

func nibbleText(value, care byte) byte {
	if care == 0 {
		return 'X'
	}
	return upperHex[value]
}
