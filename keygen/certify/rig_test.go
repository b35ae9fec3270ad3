package certify

import (
	"encoding/asn1"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/perso/cert"
	"github.com/persoline/persoline/perso/cert/certtest"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/reftest"
)

const (
	testEID = certtest.EID
	testIIN = certtest.IIN
	testOrg = certtest.Organization
)

var (
	begin = certtest.Begin
	end   = certtest.End
	now   = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

	eumOID = cert.OID{1, 3, 6, 1, 4, 1, 99999}
)

func must[T any](v T, err error) T { return certtest.Must(v, err) }

type softKey = certtest.Key

var (
	testKey    = certtest.NumberedKey
	newSoftKey = certtest.NewKey
)

// site is a CI, and an EUM that has asked for its certificate.
type site struct {
	ci, eum *softKey
	root    *cert.Certificate
	request Request
}

func newSite(c cert.Curve) *site {
	p := certtest.New(c)
	return &site{ci: p.CIKey, eum: p.EUMKey, root: p.Root, request: Request{Country: "ES", Organization: testOrg, CommonName: "EUM", OID: eumOID,
		IssuerNumbers: []string{testIIN, "89049099"}, Key: p.EUMKey.Public}}
}

// answer is what the CI gives when it does as asked.
func (s *site) answer() certtest.Paper {
	r := s.request
	return certtest.Paper{Issuer: s.root.Subject.Parts, Subject: must(r.name()), From: begin, To: end,
		Extensions: append([]cert.Extension{cert.AuthorityKeyIDOf(s.ci.Public.ID())}, must(r.extensions())...)}
}

func (s *site) euicc() EUICC {
	return EUICC{EUM: s.answer().Sign(s.ci, s.eum), EID: must(id.ParseEID(testEID)), Key: testKey(s.eum.Public.Curve(), 3).Public, CommonName: "chip", NotBefore: now}
}

// reference is the path of a file of the public test data, which are not in the repository.
func reference(t testing.TB, name string) string {
	t.Helper()
	return reftest.Path(t, "data", "sgp26_v1.5", name)
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
	reftest.RequireTool(t, "openssl")
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
