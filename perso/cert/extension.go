package cert

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// The extensions that are understood. OIDPermittedEINs is the GSMA's own (SGP.22 v3): it replaces the name constraints.
var (
	OIDAuthorityKeyID   = OID{2, 5, 29, 35}
	OIDSubjectKeyID     = OID{2, 5, 29, 14}
	OIDKeyUsage         = OID{2, 5, 29, 15}
	OIDPolicies         = OID{2, 5, 29, 32}
	OIDSubjectAltName   = OID{2, 5, 29, 17}
	OIDBasicConstraints = OID{2, 5, 29, 19}
	OIDCRLPoints        = OID{2, 5, 29, 31}
	OIDNameConstraints  = OID{2, 5, 29, 30}
	OIDExtKeyUsage      = OID{2, 5, 29, 37}
	OIDPermittedEINs    = OID{2, 23, 146, 1, 2, 2, 0}
)

// KeyUsage is the bits of the extension, the first (digitalSignature) being bit 0.
type KeyUsage uint16

// The bits in use here.
const (
	UsageDigitalSignature KeyUsage = 1 << 0
	UsageCertSign         KeyUsage = 1 << 5
	UsageCRLSign          KeyUsage = 1 << 6
)

var usageNames = []string{"digitalSignature", "contentCommitment", "keyEncipherment", "dataEncipherment", "keyAgreement", "keyCertSign", "cRLSign", "encipherOnly", "decipherOnly"}

func (u KeyUsage) String() string {
	var on []string
	for i, n := range usageNames {
		if u&(1<<i) != 0 {
			on = append(on, n)
		}
	}
	if len(on) == 0 {
		return "none"
	}
	return strings.Join(on, "+")
}

// Values are what the extensions say. An extension that is not there leaves its zero value.
type Values struct {
	AuthorityKeyID []byte // key identifier only
	SubjectKeyID   []byte
	KeyUsage       KeyUsage
	Policies       []OID

	Constraints *BasicConstraints // nil when not there

	RegisteredIDs []OID    // of the subject alternative name
	DNSNames      []string // of the subject alternative name
	CRLPoints     []string // addresses
	ExtKeyUsage   []OID

	Permitted     []Subtree // name constraints
	PermittedEINs []string
}

// BasicConstraints says whether the key may sign certificates, and how many CAs may follow.
type BasicConstraints struct {
	CA      bool
	PathLen int // -1 when not limited
}

type extensionReader struct {
	oid  OID
	read func(v *Values, s *cryptobyte.String) error
}

// readers are of the extensions that are understood; another one is a fault when critical.
func readers() []extensionReader {
	return []extensionReader{
		{OIDAuthorityKeyID, readAuthorityKeyID}, {OIDSubjectKeyID, readSubjectKeyID}, {OIDKeyUsage, readKeyUsage},
		{OIDPolicies, readPolicies}, {OIDSubjectAltName, readSubjectAltName}, {OIDBasicConstraints, readBasicConstraints},
		{OIDCRLPoints, readCRLPoints}, {OIDNameConstraints, readNameConstraints}, {OIDExtKeyUsage, readExtKeyUsage},
		{OIDPermittedEINs, readPermittedEINs},
	}
}

// understood reports whether an extension is decoded here.
func understood(oid OID) bool {
	return slices.ContainsFunc(readers(), func(r extensionReader) bool { return r.oid.Equal(oid) })
}

func valuesOf(extensions []Extension) (v Values, err error) {
	known := readers()
	for _, e := range extensions {
		i := slices.IndexFunc(known, func(r extensionReader) bool { return r.oid.Equal(e.OID) })
		if i < 0 {
			continue
		}
		s := cryptobyte.String(e.Value)
		err := known[i].read(&v, &s)
		if err == nil && !s.Empty() {
			err = errors.New("something follows it")
		}
		if err != nil {
			return v, fmt.Errorf("its extension %s: %w", e.OID, err)
		}
	}
	return v, nil
}

var errShape = errors.New("it has not the form that RFC 5280 gives it")

func context(n uint8) casn1.Tag { return casn1.Tag(n).ContextSpecific() }

func readAuthorityKeyID(v *Values, s *cryptobyte.String) error {
	var list, id cryptobyte.String
	var there bool
	if !s.ReadASN1(&list, casn1.SEQUENCE) || !list.ReadOptionalASN1(&id, &there, context(0)) {
		return errShape
	}
	v.AuthorityKeyID = id // issuer and serial number, which may follow, say nothing that the chain does not
	return nil
}

func readSubjectKeyID(v *Values, s *cryptobyte.String) error {
	var id cryptobyte.String
	if !s.ReadASN1(&id, casn1.OCTET_STRING) || id.Empty() {
		return errShape
	}
	v.SubjectKeyID = id
	return nil
}

// readKeyUsage reads the named bits. DER has no zero bit at their end, but a root in the field has, and it is signed.
func readKeyUsage(v *Values, s *cryptobyte.String) error {
	var bits cryptobyte.String
	if !s.ReadASN1(&bits, casn1.BIT_STRING) || len(bits) < 2 || len(bits) > 3 || bits[0] > 7 {
		return errShape
	}
	if unused, last := bits[0], bits[len(bits)-1]; last&(1<<unused-1) != 0 {
		return errors.New("it sets bits that it says are unused")
	}
	for i, b := range bits[1:] {
		for bit := range 8 {
			if b&(0x80>>bit) != 0 {
				v.KeyUsage |= 1 << (8*i + bit)
			}
		}
	}
	return nil
}

func readPolicies(v *Values, s *cryptobyte.String) error {
	var list cryptobyte.String
	if !s.ReadASN1(&list, casn1.SEQUENCE) || list.Empty() {
		return errShape
	}
	for !list.Empty() {
		var one cryptobyte.String
		var oid OID
		if !list.ReadASN1(&one, casn1.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&oid) {
			return errShape
		}
		if slices.ContainsFunc(v.Policies, oid.Equal) {
			return fmt.Errorf("policy %s is there twice", oid)
		}
		v.Policies = append(v.Policies, oid) // qualifiers are texts for people
	}
	return nil
}

// Tags of a GeneralName (RFC 5280 §4.2.1.6).
const (
	nameDNS        = 2
	nameDirectory  = 4
	nameURI        = 6
	nameRegistered = 8
)

func readSubjectAltName(v *Values, s *cryptobyte.String) error {
	var list cryptobyte.String
	if !s.ReadASN1(&list, casn1.SEQUENCE) || list.Empty() {
		return errShape
	}
	for !list.Empty() {
		var value cryptobyte.String
		var tag casn1.Tag
		if !list.ReadAnyASN1(&value, &tag) {
			return errShape
		}
		switch tag {
		case context(nameRegistered):
			oid, err := readImplicitOID(value)
			if err != nil {
				return err
			}
			v.RegisteredIDs = append(v.RegisteredIDs, oid)
		case context(nameDNS):
			if !isASCII(value) {
				return errShape
			}
			v.DNSNames = append(v.DNSNames, string(value))
		}
	}
	return nil
}

// readImplicitOID reads an object identifier that another tag stands for.
func readImplicitOID(value []byte) (oid OID, err error) {
	var b cryptobyte.Builder
	b.AddASN1(casn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes(value) })
	der, err := b.Bytes()
	if err != nil {
		return nil, errShape
	}
	s := cryptobyte.String(der)
	if !s.ReadASN1ObjectIdentifier(&oid) {
		return nil, errors.New("a registered identifier is none")
	}
	return oid, nil
}

func readBasicConstraints(v *Values, s *cryptobyte.String) error {
	var list cryptobyte.String
	if !s.ReadASN1(&list, casn1.SEQUENCE) {
		return errShape
	}
	b := &BasicConstraints{PathLen: -1}
	if list.PeekASN1Tag(casn1.BOOLEAN) && (!list.ReadASN1Boolean(&b.CA) || !b.CA) {
		return errShape // false is the default, which DER leaves out
	}
	if list.PeekASN1Tag(casn1.INTEGER) && (!list.ReadASN1Integer(&b.PathLen) || b.PathLen < 0 || !b.CA) {
		return errShape
	}
	if !list.Empty() {
		return errShape
	}
	v.Constraints = b
	return nil
}

func readExtKeyUsage(v *Values, s *cryptobyte.String) error {
	var list cryptobyte.String
	if !s.ReadASN1(&list, casn1.SEQUENCE) || list.Empty() {
		return errShape
	}
	for !list.Empty() {
		var oid OID
		if !list.ReadASN1ObjectIdentifier(&oid) {
			return errShape
		}
		v.ExtKeyUsage = append(v.ExtKeyUsage, oid)
	}
	return nil
}

// readCRLPoints takes the addresses out of DistributionPoint{[0]{[0]{[6]}}}; other forms say nothing that is used here.
func readCRLPoints(v *Values, s *cryptobyte.String) error {
	var list cryptobyte.String
	if !s.ReadASN1(&list, casn1.SEQUENCE) || list.Empty() {
		return errShape
	}
	for !list.Empty() {
		var point, named, full cryptobyte.String
		var isNamed, isFull bool
		if !list.ReadASN1(&point, casn1.SEQUENCE) || !point.ReadOptionalASN1(&named, &isNamed, context(0).Constructed()) ||
			!named.Empty() && !named.ReadOptionalASN1(&full, &isFull, context(0).Constructed()) {
			return errShape
		}
		for !full.Empty() {
			var value cryptobyte.String
			var tag casn1.Tag
			if !full.ReadAnyASN1(&value, &tag) || !isASCII(value) && tag == context(nameURI) {
				return errShape
			}
			if tag == context(nameURI) {
				v.CRLPoints = append(v.CRLPoints, string(value))
			}
		}
	}
	return nil
}
