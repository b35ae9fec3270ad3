package certify

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/brainpool"
	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/persoline/persoline/perso/cert"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/tlv"
)

const (
	testEID = "89049032123451234512345678901235"
	testIIN = "89049032"
	testOrg = "Maker"
)

var (
	begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	end   = time.Date(2056, 1, 2, 3, 4, 5, 0, time.UTC)
	now   = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

	eumOID = cert.OID{1, 3, 6, 1, 4, 1, 99999}
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// softKey is a private key in the open, in the place of the HSM's.
type softKey struct {
	private *ecdsa.PrivateKey
	public  cert.PublicKey
}

func newSoftKey(c cert.Curve, scalar []byte) *softKey {
	curve := elliptic.P256()
	if c == cert.BrainpoolP256r1 {
		curve = brainpool.P256r1()
	}
	k := new(ecdsa.PrivateKey)
	//lint:ignore SA1019 tests sign on a curve that the standard library does not know
	k.Curve, k.D = curve, new(big.Int).SetBytes(scalar)
	//lint:ignore SA1019 as above
	k.X, k.Y = curve.ScalarBaseMult(scalar)
	return &softKey{k, must(cert.FromECDSA(&k.PublicKey))}
}

func testKey(c cert.Curve, n byte) *softKey {
	scalar := sha256.Sum256([]byte{n})
	scalar[0] &= 0x7F // below the order of both curves
	return newSoftKey(c, scalar[:])
}

func (k *softKey) SignDigest(_ context.Context, digest []byte) ([]byte, error) {
	der, err := ecdsa.SignASN1(rand.Reader, k.private, digest)
	if err != nil {
		return nil, err
	}
	return tlv.ECDSASigToRaw(der, cert.SignatureBytes/2)
}

// paper is a certificate of a CI or an EUM as a test CI writes it.
type paper struct {
	issuer, subject []cert.Part
	from, to        time.Time
	extensions      []cert.Extension
}

func (p paper) sign(t testing.TB, by, of *softKey) *cert.Certificate {
	t.Helper()
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) { b.AddASN1Uint64(2) })
		b.AddASN1Uint64(1)
		addAlgorithm(b)
		cert.AddName(b, p.issuer...)
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			cert.AddTime(b, p.from)
			cert.AddTime(b, p.to)
		})
		cert.AddName(b, p.subject...)
		of.public.AddTo(b)
		b.AddASN1(casn1.Tag(3).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) { cert.AddExtensions(b, p.extensions) })
	})
	return must(cert.Parse(must(seal(t.Context(), by, by.public, b.BytesOrPanic()))))
}

// site is a CI, and an EUM that has asked for its certificate.
type site struct {
	ci, eum *softKey
	root    *cert.Certificate
	request Request
}

func newSite(t testing.TB, c cert.Curve) *site {
	t.Helper()
	s := &site{ci: testKey(c, 1), eum: testKey(c, 2)}
	name := []cert.Part{must(cert.NewPart(cert.OIDCommonName, "Root"))}
	s.root = paper{name, name, begin, end, []cert.Extension{cert.SubjectKeyIDOf(s.ci.public.ID()), cert.KeyUsageOf(cert.UsageCertSign | cert.UsageCRLSign),
		cert.BasicConstraintsOf(-1), cert.PoliciesOf(cert.PolicyOf(cert.RoleCI, cert.VariantO))}}.sign(t, s.ci, s.ci)
	s.request = Request{Country: "ES", Organization: testOrg, CommonName: "EUM", OID: eumOID, IssuerNumbers: []string{testIIN, "89049099"}, Key: s.eum.public}
	return s
}

// answer is what the CI gives when it does as asked.
func (s *site) answer() paper {
	r := s.request
	return paper{s.root.Subject.Parts, must(r.name()), begin, end, append([]cert.Extension{cert.AuthorityKeyIDOf(s.ci.public.ID())}, must(r.extensions())...)}
}

func (s *site) euicc(t testing.TB) EUICC {
	t.Helper()
	return EUICC{EUM: s.answer().sign(t, s.ci, s.eum), EID: must(id.ParseEID(testEID)), Key: testKey(s.eum.public.Curve(), 3).public, CommonName: "chip", NotBefore: now}
}

// reference is the path of a file of the public test data, which are not in the repository.
func reference(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("PERSO_REFERENCE_DATA")
	if dir == "" {
		t.Skip("SKIP: PERSO_REFERENCE_DATA is not set: not compared with the published certificates")
	}
	return filepath.Join(dir, "data", "sgp26_v1.5", name)
}

func published(t testing.TB, name string) *cert.Certificate {
	t.Helper()
	return must(cert.Parse(must(os.ReadFile(reference(t, name)))))
}

// publishedKey reads a private key of the test data, which the GSMA publishes: RFC 5915, after curve parameters or not.
func publishedKey(t testing.TB, c cert.Curve, name string) *softKey {
	t.Helper()
	for rest := must(os.ReadFile(reference(t, name))); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			t.Fatalf("%s holds no key", name)
		}
		if block.Type != "EC PRIVATE KEY" {
			continue
		}
		var k struct {
			Version int
			Private []byte
			Curve   asn1.RawValue `asn1:"optional,explicit,tag:0"`
			Public  asn1.RawValue `asn1:"optional,explicit,tag:1"`
		}
		_ = must(asn1.Unmarshal(block.Bytes, &k))
		return newSoftKey(c, k.Private)
	}
}

// openssl runs the program on a file, and skips where it is missing unless PERSO_TEST_REQUIRE names it.
func openssl(t *testing.T, dir string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		if slices.Contains(strings.Split(os.Getenv("PERSO_TEST_REQUIRE"), ","), "openssl") {
			t.Fatal("openssl is required by PERSO_TEST_REQUIRE and not installed")
		}
		t.Skip("SKIP: openssl not installed")
	}
	cmd := exec.Command("openssl", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func write(t *testing.T, dir, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}
