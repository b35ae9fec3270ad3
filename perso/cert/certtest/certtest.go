// Package certtest is a CI and an EUM in the open, for tests: keys that are no secret, and certificates as right or as wrong
// as a test writes them.
//
// It exists so that tests of several zones need no certificates in files. Only tests may use it. What it cannot do panics: a
// test that asks for it is wrong.
package certtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"math/big"
	"time"

	"github.com/ProtonMail/go-crypto/brainpool"
	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/persoline/persoline/perso/cert"
	"github.com/persoline/persoline/perso/tlv"
)

// What the certificates of this package say where a test does not care.
const (
	EID          = "89049032123451234512345678901235"
	IIN          = "89049032"
	Organization = "Maker"
)

// Begin and End are the validity of the CI and the EUM.
var (
	Begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	End   = time.Date(2056, 1, 2, 3, 4, 5, 0, time.UTC)
)

// Must gives the value, or panics.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Key is a private key in the open. It signs as a token does.
type Key struct {
	Private *ecdsa.PrivateKey
	Public  cert.PublicKey
}

// NewKey takes a published private key.
func NewKey(c cert.Curve, scalar []byte) *Key {
	curve := elliptic.P256()
	if c == cert.BrainpoolP256r1 {
		curve = brainpool.P256r1()
	}
	k := new(ecdsa.PrivateKey)
	//lint:ignore SA1019 the standard library does not know the curve
	k.Curve, k.D = curve, new(big.Int).SetBytes(scalar)
	//lint:ignore SA1019 as above
	k.X, k.Y = curve.ScalarBaseMult(scalar)
	return &Key{k, Must(cert.FromECDSA(&k.PublicKey))}
}

// NumberedKey is the n-th key on a curve, always the same.
func NumberedKey(c cert.Curve, n byte) *Key {
	scalar := sha256.Sum256([]byte{n})
	scalar[0] &= 0x7F // below the order of both curves
	return NewKey(c, scalar[:])
}

// SignDigest gives r and s.
func (k *Key) SignDigest(_ context.Context, digest []byte) ([]byte, error) {
	der, err := ecdsa.SignASN1(rand.Reader, k.Private, digest)
	if err != nil {
		return nil, err
	}
	return tlv.ECDSASigToRaw(der, cert.SignatureBytes/2)
}

// Paper is a certificate to be signed.
type Paper struct {
	Issuer, Subject []cert.Part
	From, To        time.Time
	Extensions      []cert.Extension
}

// Sign signs the paper for a key.
func (p Paper) Sign(by, of *Key) *cert.Certificate {
	algorithm := func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(cert.OID{1, 2, 840, 10045, 4, 3, 2}) })
	}
	var body, whole cryptobyte.Builder
	body.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) { b.AddASN1Uint64(2) })
		b.AddASN1Uint64(1)
		algorithm(b)
		cert.AddName(b, p.Issuer...)
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			cert.AddTime(b, p.From)
			cert.AddTime(b, p.To)
		})
		cert.AddName(b, p.Subject...)
		of.Public.AddTo(b)
		b.AddASN1(casn1.Tag(3).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) { cert.AddExtensions(b, p.Extensions) })
	})
	digest := sha256.Sum256(body.BytesOrPanic())
	signature := Must(ecdsa.SignASN1(rand.Reader, by.Private, digest[:]))
	whole.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(body.BytesOrPanic())
		algorithm(b)
		b.AddASN1BitString(signature)
	})
	return Must(cert.Parse(whole.BytesOrPanic()))
}

// PKI is a CI with an EUM below it, of variant O.
type PKI struct {
	CIKey, EUMKey *Key
	Root          *cert.Certificate
}

// New makes the CI.
func New(c cert.Curve) *PKI {
	p := &PKI{CIKey: NumberedKey(c, 1), EUMKey: NumberedKey(c, 2)}
	name := Parts(cert.OIDCommonName, "Root")
	p.Root = Paper{name, name, Begin, End, []cert.Extension{cert.SubjectKeyIDOf(p.CIKey.Public.ID()), cert.KeyUsageOf(cert.UsageCertSign | cert.UsageCRLSign),
		cert.BasicConstraintsOf(-1), cert.PoliciesOf(cert.PolicyOf(cert.RoleCI, cert.VariantO))}}.Sign(p.CIKey, p.CIKey)
	return p
}

// EUM is the paper of the EUM as the CI would sign it.
func (p *PKI) EUM() Paper {
	pair := Must(cert.NewSubtree(Organization, IIN))
	return Paper{p.Root.Subject.Parts, append(Parts(cert.OIDCountry, "ES"), append(Parts(cert.OIDOrganization, Organization), Parts(cert.OIDCommonName, "EUM")...)...), Begin, End,
		[]cert.Extension{cert.AuthorityKeyIDOf(p.CIKey.Public.ID()), cert.SubjectKeyIDOf(p.EUMKey.Public.ID()), cert.KeyUsageOf(cert.UsageCertSign),
			cert.PoliciesOf(cert.PolicyOf(cert.RoleEUM, cert.VariantO)), cert.RegisteredIDOf(cert.OID{2, 999, 5}), cert.BasicConstraintsOf(0),
			cert.NameConstraintsOf([]cert.Subtree{pair})}}
}

// Parts is a name of one attribute.
func Parts(kind cert.OID, text string) []cert.Part {
	return []cert.Part{Must(cert.NewPart(kind, text))}
}
