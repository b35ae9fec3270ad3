package cert

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/persoline/persoline/perso/id"
)

// maxSubtrees bounds the permitted pairs of an EUM: a large maker has a dozen issuer numbers.
const maxSubtrees = 256

// Subtree is one permitted pair of an EUM: eUICCs of this organization, with EIDs that begin with these digits.
type Subtree struct {
	Organization Part
	// IIN is what the serial number of the constraint says: 8 digits.
	IIN string
}

// Permits reports whether the EID begins with the issuer number.
func (t Subtree) Permits(e id.EID) bool { return strings.HasPrefix(e.String(), t.IIN) }

// NewSubtree makes a permitted pair, with the string types of the GSMA: UTF8String, and PrintableString for the digits.
func NewSubtree(organization, iin string) (Subtree, error) {
	if err := checkIIN(iin); err != nil {
		return Subtree{}, err
	}
	p, err := NewPart(OIDOrganization, organization)
	return Subtree{Organization: p, IIN: iin}, err
}

func checkIIN(iin string) error {
	if len(iin) != id.EIDIINDigits || !digitsOnly(iin) {
		return fmt.Errorf("issuer number %q is not %d digits", iin, id.EIDIINDigits)
	}
	return nil
}

func digitsOnly(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// addNameConstraints writes the value of the extension: permittedSubtrees of directory names (O, serialNumber).
func addNameConstraints(b *cryptobyte.Builder, permitted []Subtree) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(context(0).Constructed(), func(b *cryptobyte.Builder) {
			for _, t := range permitted {
				b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1(context(nameDirectory).Constructed(), func(b *cryptobyte.Builder) { t.addName(b) })
				})
			}
		})
	})
}

func (t Subtree) addName(b *cryptobyte.Builder) {
	serial, err := NewPart(OIDSerialNumber, t.IIN)
	if err != nil {
		b.SetError(err)
		return
	}
	AddName(b, t.Organization, serial)
}

// readNameConstraints reads permitted directory names of one organization and one serial number each. Everything else that
// RFC 5280 knows (exclusions, other kinds of names, distances) is refused: its meaning at the GSMA is not defined.
func readNameConstraints(v *Values, s *cryptobyte.String) error {
	var list, permitted cryptobyte.String
	if !s.ReadASN1(&list, casn1.SEQUENCE) || !list.ReadASN1(&permitted, context(0).Constructed()) || permitted.Empty() {
		return errShape
	}
	if !list.Empty() {
		return errors.New("it excludes names")
	}
	for !permitted.Empty() {
		var tree, directory cryptobyte.String
		if len(v.Permitted) == maxSubtrees {
			return fmt.Errorf("it has more than %d pairs", maxSubtrees)
		}
		if !permitted.ReadASN1(&tree, casn1.SEQUENCE) || !tree.ReadASN1(&directory, context(nameDirectory).Constructed()) || !tree.Empty() {
			return errors.New("a permitted name is no directory name, or has distances")
		}
		n, err := readName(&directory)
		if err != nil {
			return err
		}
		t, err := subtreeOf(n)
		if err != nil || !directory.Empty() {
			return errors.Join(errors.New("a permitted name is not an organization with a serial number"), err)
		}
		v.Permitted = append(v.Permitted, t)
	}
	return nil
}

func subtreeOf(n Name) (Subtree, error) {
	iin, one := n.Only(OIDSerialNumber)
	_, other := n.Only(OIDOrganization)
	if !one || !other || len(n.Parts) != 2 {
		return Subtree{}, fmt.Errorf("it is %s", n)
	}
	i := slices.IndexFunc(n.Parts, func(p Part) bool { return p.OID.Equal(OIDOrganization) })
	return Subtree{Organization: n.Parts[i], IIN: iin}, checkIIN(iin)
}

// maxEINDigits leaves one digit to number chips with; the two last digits of an EID are check digits.
const maxEINDigits = id.EIDDigits - 3

// readPermittedEINs reads a SEQUENCE OF PrintableString.
func readPermittedEINs(v *Values, s *cryptobyte.String) error {
	var list cryptobyte.String
	if !s.ReadASN1(&list, casn1.SEQUENCE) || list.Empty() {
		return errShape
	}
	for !list.Empty() {
		var ein cryptobyte.String
		if !list.ReadASN1(&ein, casn1.PrintableString) || len(v.PermittedEINs) == maxSubtrees {
			return errShape
		}
		if len(ein) > maxEINDigits || !digitsOnly(string(ein)) {
			return fmt.Errorf("%q is no EIN", ein)
		}
		v.PermittedEINs = append(v.PermittedEINs, string(ein))
	}
	return nil
}
