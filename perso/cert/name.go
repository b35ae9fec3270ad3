package cert

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Limits of a distinguished name: a certificate of the GSMA has at most six parts, a public one not many more.
const (
	maxNameParts      = 32
	maxNamePartsOfOne = 8 // of one relative name
)

// The parts of a name that are used here.
var (
	OIDCountry      = OID{2, 5, 4, 6}
	OIDOrganization = OID{2, 5, 4, 10}
	OIDUnit         = OID{2, 5, 4, 11}
	OIDCommonName   = OID{2, 5, 4, 3}
	OIDSerialNumber = OID{2, 5, 4, 5}
)

var partNames = []struct {
	oid  OID
	name string
}{{OIDCountry, "C"}, {OIDOrganization, "O"}, {OIDUnit, "OU"}, {OIDCommonName, "CN"}, {OIDSerialNumber, "serialNumber"}, {OID{2, 5, 4, 7}, "L"}, {OID{2, 5, 4, 8}, "ST"}}

// Name is a distinguished name.
type Name struct {
	Raw   []byte // DER: names are compared byte by byte
	Parts []Part
}

// Part is one attribute of a name.
type Part struct {
	OID  OID
	Text string
	Raw  []byte // DER of the value, with its string type
}

// Values are the texts of all parts of one kind.
func (n Name) Values(kind OID) (all []string) {
	for _, p := range n.Parts {
		if p.OID.Equal(kind) {
			all = append(all, p.Text)
		}
	}
	return all
}

// Only is the text of the part that there must be exactly one of.
func (n Name) Only(kind OID) (string, bool) {
	v := n.Values(kind)
	if len(v) != 1 {
		return "", false
	}
	return v[0], true
}

// String is the name in its own order, with its texts quoted where they hold separators or what cannot be printed.
func (n Name) String() string {
	var b strings.Builder
	for i, p := range n.Parts {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(p.name() + "=" + plain(p.Text))
	}
	return b.String()
}

// plain keeps a text of a certificate, which anybody may have written, from moving the reader's cursor.
func plain(s string) string {
	if q := fmt.Sprintf("%q", s); strings.ContainsAny(s, ",=+") || q[1:len(q)-1] != s {
		return q
	}
	return s
}

func (p Part) name() string {
	for _, n := range partNames {
		if n.oid.Equal(p.OID) {
			return n.name
		}
	}
	return p.OID.String()
}

// maxPartLetters is the upper bound of RFC 5280 appendix A (ub-organization-name, ub-common-name, ub-serial-number).
const maxPartLetters = 64

// NewPart makes an attribute with the string type that the GSMA gives it: PrintableString for country and serial number,
// UTF8String for everything else.
func NewPart(kind OID, value string) (Part, error) {
	p := Part{OID: kind, Text: value}
	tag := casn1.UTF8String
	printable := kind.Equal(OIDCountry) || kind.Equal(OIDSerialNumber)
	if printable {
		tag = casn1.PrintableString
	}
	letters := utf8.RuneCountInString(value)
	switch {
	case !utf8.ValidString(value) || letters == 0 || letters > maxPartLetters:
		return Part{}, fmt.Errorf("making a name: %s has %d letters, want 1 to %d", p.name(), letters, maxPartLetters)
	case strings.ContainsFunc(value, unicode.IsControl):
		return Part{}, fmt.Errorf("making a name: %s holds control characters", p.name())
	case printable && !isPrintable(value):
		return Part{}, fmt.Errorf("making a name: %s is not letters and digits", p.name())
	case kind.Equal(OIDCountry) && letters != 2:
		return Part{}, fmt.Errorf("making a name: country %q is not two letters", value)
	}
	var b cryptobyte.Builder
	b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes([]byte(value)) })
	var err error
	p.Raw, err = b.Bytes()
	return p, err
}

// isPrintable allows of PrintableString what countries and serial numbers need.
func isPrintable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') })
}

// AddName writes a name of one attribute per relative name.
func AddName(b *cryptobyte.Builder, parts ...Part) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, p := range parts {
			b.AddASN1(casn1.SET, func(b *cryptobyte.Builder) {
				b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(p.OID)
					b.AddBytes(p.Raw)
				})
			})
		}
	})
}

func readName(s *cryptobyte.String) (n Name, err error) {
	var element, sequence cryptobyte.String
	if !s.ReadASN1Element(&element, casn1.SEQUENCE) {
		return n, errors.New("a name is not a SEQUENCE")
	}
	n.Raw = element
	if !element.ReadASN1(&sequence, casn1.SEQUENCE) {
		return n, errors.New("a name is not a SEQUENCE")
	}
	for !sequence.Empty() {
		var set cryptobyte.String
		if !sequence.ReadASN1(&set, casn1.SET) || set.Empty() {
			return n, errors.New("a relative name is not a SET of something")
		}
		for i := 0; !set.Empty(); i++ {
			if len(n.Parts) == maxNameParts || i == maxNamePartsOfOne {
				return n, fmt.Errorf("a name has more than %d parts, or a relative name more than %d", maxNameParts, maxNamePartsOfOne)
			}
			p, err := readPart(&set)
			if err != nil {
				return n, err
			}
			n.Parts = append(n.Parts, p)
		}
	}
	return n, nil
}

func readPart(s *cryptobyte.String) (p Part, err error) {
	var pair, element, value cryptobyte.String
	var tag casn1.Tag
	if !s.ReadASN1(&pair, casn1.SEQUENCE) || !pair.ReadASN1ObjectIdentifier(&p.OID) || !pair.ReadAnyASN1Element(&element, &tag) || !pair.Empty() {
		return p, errors.New("a part of a name is not a type with a value")
	}
	p.Raw = element
	if !element.ReadAnyASN1(&value, &tag) {
		return p, errors.New("a part of a name has no value")
	}
	if p.Text, err = text(tag, value); err != nil {
		return p, fmt.Errorf("part %s of a name: %w", p.name(), err)
	}
	return p, nil
}

// text reads the string types that RFC 5280 lets a certificate of this infrastructure use. Others are refused: what cannot be
// shown cannot be compared.
func text(tag casn1.Tag, value []byte) (string, error) {
	switch {
	case tag == casn1.UTF8String && utf8.Valid(value):
		return string(value), nil
	case (tag == casn1.PrintableString || tag == casn1.IA5String) && isASCII(value):
		return string(value), nil
	default:
		return "", fmt.Errorf("its string type %d is none that is read, or its bytes are not of that type", uint8(tag))
	}
}

func isASCII(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c >= utf8.RuneSelf })
}
