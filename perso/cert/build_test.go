package cert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/brainpool"
	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/persoline/persoline/perso/tlv"
)

const (
	testEID = "89049032123451234512345678901235"
	testIIN = "89049032"
	testOrg = "Maker"
)

// signingKey is a private key of tests: the scalar is public or thrown away.
func signingKey(c Curve, scalar []byte) *ecdsa.PrivateKey {
	curve := elliptic.P256()
	if c == BrainpoolP256r1 {
		curve = brainpool.P256r1()
	}
	k := new(ecdsa.PrivateKey)
	//lint:ignore SA1019 tests sign on a curve that the standard library does not know
	k.Curve, k.D = curve, new(big.Int).SetBytes(scalar)
	//lint:ignore SA1019 as above
	k.X, k.Y = curve.ScalarBaseMult(scalar)
	return k
}

// sketch is a certificate to be made as wrongly as a test likes.
type sketch struct {
	version          int
	serial           int64
	issuer, subject  []Part
	from, to         time.Time
	key, by          *ecdsa.PrivateKey
	curve            OID // written for the key; that of the key when nil
	algorithm        OID
	parameters       []byte // of the algorithm
	extensions       []Extension
	spoiltSignature  bool
	outer            func(b *cryptobyte.Builder) // written for the outer algorithm
	after            []byte                      // written after the signature, inside
	explicitVersion1 bool
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func der(build func(b *cryptobyte.Builder)) []byte {
	var b cryptobyte.Builder
	build(&b)
	return b.BytesOrPanic()
}

func (s sketch) der() []byte {
	pub := must(FromECDSA(&s.key.PublicKey))
	algorithm := func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(s.algorithm)
			b.AddBytes(s.parameters)
		})
	}
	tbs := der(func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			if s.version > 1 || s.explicitVersion1 {
				b.AddASN1(context(0).Constructed(), func(b *cryptobyte.Builder) { b.AddASN1Int64(int64(s.version - 1)) })
			}
			b.AddASN1Int64(s.serial)
			algorithm(b)
			AddName(b, s.issuer...)
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				AddTime(b, s.from)
				AddTime(b, s.to)
			})
			AddName(b, s.subject...)
			s.addKey(b, pub)
			if len(s.extensions) > 0 {
				b.AddASN1(context(3).Constructed(), func(b *cryptobyte.Builder) { AddExtensions(b, s.extensions) })
			}
		})
	})
	digest := sha256.Sum256(tbs)
	sig := must(ecdsa.SignASN1(rand.Reader, s.by, digest[:]))
	if s.spoiltSignature {
		sig[len(sig)-1] ^= 1
	}
	return der(func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(tbs)
			if s.outer != nil {
				s.outer(b)
			} else {
				algorithm(b)
			}
			b.AddASN1BitString(sig)
			b.AddBytes(s.after)
		})
	})
}

func (s sketch) addKey(b *cryptobyte.Builder, pub PublicKey) {
	if s.curve == nil {
		pub.AddTo(b)
		return
	}
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oidECPublicKey)
			b.AddASN1ObjectIdentifier(s.curve)
		})
		b.AddASN1BitString(pub.Point())
	})
}

func (s *sketch) extension(oid OID) *Extension {
	i := slices.IndexFunc(s.extensions, func(e Extension) bool { return e.OID.Equal(oid) })
	return &s.extensions[i]
}

func (s *sketch) drop(oid OID) {
	s.extensions = slices.DeleteFunc(s.extensions, func(e Extension) bool { return e.OID.Equal(oid) })
}

func (s *sketch) set(e Extension) {
	s.drop(e.OID)
	s.extensions = append(s.extensions, e)
}

// maker is a root, an EUM and an eUICC to be changed before they are made.
type maker struct{ ci, eum, euicc sketch }

var (
	begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	end   = time.Date(2056, 1, 2, 3, 4, 5, 0, time.UTC)
)

func part(kind OID, v string) Part { return must(NewPart(kind, v)) }

func newMaker(t testing.TB, c Curve) *maker {
	t.Helper()
	ci, eum, euicc := testKey(c, 1), testKey(c, 2), testKey(c, 3)
	ciName := []Part{part(OIDCommonName, "Root")}
	eumName := []Part{part(OIDCountry, "ES"), part(OIDOrganization, testOrg), part(OIDCommonName, "EUM")}
	ski := func(k *ecdsa.PrivateKey) [KeyIDBytes]byte { return must(FromECDSA(&k.PublicKey)).ID() }
	common := func(k, by *ecdsa.PrivateKey, issuer, subject []Part, more ...Extension) sketch {
		return sketch{version: 3, serial: 1, issuer: issuer, subject: subject, from: begin, to: end, key: k, by: by, algorithm: oidECDSAWithSHA256,
			extensions: append([]Extension{AuthorityKeyIDOf(ski(by)), SubjectKeyIDOf(ski(k))}, more...)}
	}
	pair := must(NewSubtree(testOrg, testIIN))
	return &maker{
		ci: common(ci, ci, ciName, ciName, KeyUsageOf(UsageCertSign|UsageCRLSign), PoliciesOf(PolicyOf(RoleCI, VariantO)), BasicConstraintsOf(-1)),
		eum: common(eum, ci, ciName, eumName, KeyUsageOf(UsageCertSign), PoliciesOf(PolicyOf(RoleEUM, VariantO)), RegisteredIDOf(OID{2, 999, 5}),
			BasicConstraintsOf(0), NameConstraintsOf([]Subtree{pair})),
		euicc: common(euicc, eum, eumName, []Part{part(OIDCountry, "ES"), part(OIDOrganization, testOrg), part(OIDSerialNumber, testEID), part(OIDCommonName, "chip")},
			KeyUsageOf(UsageDigitalSignature), PoliciesOf(PolicyOf(RoleEUICC, VariantO))),
	}
}

func testKey(c Curve, n byte) *ecdsa.PrivateKey {
	scalar := sha256.Sum256([]byte{n})
	scalar[0] &= 0x7F // below the order of both curves
	return signingKey(c, scalar[:])
}

func (m *maker) chain(t testing.TB) Chain {
	t.Helper()
	c := Chain{}
	for s, to := range map[*sketch]**Certificate{&m.eum: &c.EUM, &m.euicc: &c.EUICC} {
		var err error
		if *to, err = Parse(s.der()); err != nil {
			t.Fatal(err)
		}
	}
	root, err := Parse(m.ci.der())
	if err != nil {
		t.Fatal(err)
	}
	c.Roots = []*Certificate{root}
	return c
}

// signRaw gives r and s, as a token does.
func signRaw(k *ecdsa.PrivateKey, message []byte) ([]byte, error) {
	digest := sha256.Sum256(message)
	der, err := ecdsa.SignASN1(rand.Reader, k, digest[:])
	if err != nil {
		return nil, err
	}
	return tlv.ECDSASigToRaw(der, coordinateBytes)
}
