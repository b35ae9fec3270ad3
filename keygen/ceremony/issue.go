package ceremony

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// Lifetimes as in the public test PKI, in years.
const (
	ciYears  = 35
	eumYears = 34
)

// Certificate policies and extensions. The roles are those of the public test PKI; SGP.02 has its own arc, which is not
// public, and no verifier of ours reads them.
var (
	oidPolicies = asn1.ObjectIdentifier{2, 5, 29, 32}
	oidSAN      = asn1.ObjectIdentifier{2, 5, 29, 17}
	policyCI    = asn1.ObjectIdentifier{2, 23, 146, 1, 2, 1, 0}
	policyEUM   = asn1.ObjectIdentifier{2, 23, 146, 1, 2, 1, 2}
	oidTestCI   = asn1.ObjectIdentifier{2, 999, 1}
)

// certificates issues the EUM's two certificates under a CI whose key is forgotten on return.
func (c *ceremony) certificates() error {
	if !c.plan.certifies() {
		return nil
	}
	eumOID, err := parseOID(c.plan.EUM.OID)
	if err != nil {
		return err
	}
	iin, err := hex.DecodeString(c.plan.EUM.IIN)
	if err != nil || len(iin) != len(c.made.CAID) {
		return fmt.Errorf("IIN %q is not %d digits", c.plan.EUM.IIN, 2*len(c.made.CAID))
	}
	copy(c.made.CAID[:], iin)
	key, err := ecdsa.GenerateKey(elliptic.P256(), c.plan.Rand)
	if err != nil {
		return err
	}
	ci := &issuer{ceremony: c, key: key}
	if c.made.CICert, err = ci.issue(ci.template(1, "Test CI", ciYears, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, policyCI, oidTestCI), &key.PublicKey); err != nil {
		return err
	}
	if ci.cert, err = x509.ParseCertificate(c.made.CICert); err != nil {
		return err
	}
	eum, err := c.p256Key(c.made.Keys.EUM)
	if err != nil {
		return err
	}
	if c.made.EUMCert, err = ci.issue(ci.template(2, "EUM Test", eumYears, x509.KeyUsageCertSign, policyEUM, eumOID), eum); err != nil {
		return err
	}
	eis, err := c.p256Key(c.made.Keys.EIS)
	if err != nil {
		return err
	}
	c.made.EISCert, err = ci.issue(ci.template(3, "EUM Test EIS", eumYears, x509.KeyUsageDigitalSignature, policyEUM, eumOID), eis)
	return err
}

// issuer is the throw-away CI.
type issuer struct {
	*ceremony
	key  *ecdsa.PrivateKey
	cert *x509.Certificate // nil while it signs its own
}

func (i *issuer) template(serial int64, name string, years int, use x509.KeyUsage, policy, own asn1.ObjectIdentifier) *x509.Certificate {
	isCA := use&x509.KeyUsageCertSign != 0
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{Country: []string{i.plan.EUM.Country}, Organization: []string{i.plan.EUM.Name}, CommonName: name},
		NotBefore:    i.plan.Now.UTC().Truncate(time.Second), NotAfter: i.plan.Now.UTC().Truncate(time.Second).AddDate(years, 0, 0),
		KeyUsage: use, IsCA: isCA, BasicConstraintsValid: isCA,
		MaxPathLenZero: isCA && i.cert != nil, // the CI has no limit, the EUM issues no CA
		ExtraExtensions: []pkix.Extension{
			{Id: oidPolicies, Critical: true, Value: must(asn1.Marshal([][]asn1.ObjectIdentifier{{policy}}))},
			{Id: oidSAN, Value: registeredID(own)},
		},
	}
}

// issue signs; subject and authority key identifiers are SHA-1 of the point, as in all certificates of this PKI.
func (i *issuer) issue(t *x509.Certificate, pub *ecdsa.PublicKey) ([]byte, error) {
	point, err := pub.Bytes()
	if err != nil {
		return nil, err
	}
	ski := sha1.Sum(point)
	t.SubjectKeyId = ski[:]
	parent := i.cert
	if parent == nil {
		parent = t
	}
	return x509.CreateCertificate(i.plan.Rand, t, parent, pub, i.key)
}

// registeredID is a subject alternative name of one registered identifier (RFC 5280 §4.2.1.6, tag 8).
func registeredID(oid asn1.ObjectIdentifier) []byte {
	der := must(asn1.Marshal(oid))
	der[0] = 0x88
	return must(asn1.Marshal([]asn1.RawValue{{FullBytes: der}}))
}

func parseOID(s string) (asn1.ObjectIdentifier, error) {
	var oid asn1.ObjectIdentifier
	for part := range strings.SplitSeq(s, ".") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("object identifier %q is not numbers and dots", s)
		}
		oid = append(oid, n)
	}
	if _, err := asn1.Marshal(oid); err != nil {
		return nil, fmt.Errorf("object identifier %q: %w", s, err)
	}
	return oid, nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic("ceremony: marshalling a constant: " + err.Error())
	}
	return v
}
