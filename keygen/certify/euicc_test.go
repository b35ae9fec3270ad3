package certify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/persoline/persoline/perso/cert"
	"github.com/persoline/persoline/perso/id"
)

var curves = []cert.Curve{cert.P256, cert.BrainpoolP256r1}

func TestIssuedCertificateIsAccepted(t *testing.T) {
	t.Parallel()
	for _, curve := range curves {
		s := newSite(curve)
		e := s.euicc()
		c, err := Issue(t.Context(), s.eum, e)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []time.Time{now, end} { // it outlives its chain
			if err := cert.Check(cert.Chain{Roots: []*cert.Certificate{s.root}, EUM: e.EUM, EUICC: c}, cert.Rules{At: at}); err != nil {
				t.Errorf("%s: %v", curve, err)
			}
		}
		want := "C=ES, O=Maker, serialNumber=" + testEID + ", CN=chip"
		if c.Subject.String() != want || !bytes.Equal(c.Issuer.Raw, e.EUM.Subject.Raw) || c.Key != e.Key || !c.NotBefore.Equal(now) {
			t.Errorf("%s: %s by %s from %s", curve, c.Subject, c.Issuer, c.NotBefore)
		}
		if c.NotAfter.Sub(now) < 0 || c.NotAfter.Format(time.DateOnly) != "7502-10-26" {
			t.Errorf("%s: ends on %s", curve, c.NotAfter)
		}
		if c.SerialText() != testEID+c.SerialText()[32:] || len(c.SerialText()) != 38 {
			t.Errorf("%s: serial number %s", curve, c.SerialText())
		}
	}
}

// A body is a function of what it says; a new key under the same EID gives another serial number.
func TestBodyIsPure(t *testing.T) {
	t.Parallel()
	e := newSite(cert.P256).euicc()
	a, b := must(EUICCBody(e)), must(EUICCBody(e))
	if !bytes.Equal(a, b) {
		t.Error("the same certificate has two bodies")
	}
	other := e
	other.Key = testKey(cert.P256, 4).Public
	if SerialNumber(e.EID, e.Key).Cmp(SerialNumber(e.EID, other.Key)) == 0 {
		t.Error("two keys have one serial number")
	}
	if n := len(der(func(b *cryptobyte.Builder) { b.AddASN1BigInt(SerialNumber(e.EID, e.Key)) })); n > 2+20 {
		t.Errorf("the serial number has %d bytes", n-2)
	}
}

func der(build func(b *cryptobyte.Builder)) []byte {
	var b cryptobyte.Builder
	build(&b)
	return b.BytesOrPanic()
}

func TestIssueRefuses(t *testing.T) {
	t.Parallel()
	s := newSite(cert.P256)
	for _, c := range []struct {
		name  string
		spoil func(e *EUICC)
		want  string
	}{
		{"EID of another maker", func(e *EUICC) { e.EID = must(id.ParseEID("89049044900000000000000000102355")) }, "outside the issuer numbers"},
		{"no EID", func(e *EUICC) { e.EID = id.EID{} }, "missing"},
		{"no key", func(e *EUICC) { e.Key = cert.PublicKey{} }, "missing"},
		{"no EUM", func(e *EUICC) { e.EUM = nil }, "missing"},
		{"key on the other curve", func(e *EUICC) { e.Key = testKey(cert.BrainpoolP256r1, 3).Public }, "one curve"},
		{"the EUM's key", func(e *EUICC) { e.Key = s.eum.Public }, "the EUM's own"},
		{"certificate of the CI", func(e *EUICC) { e.EUM = s.root }, "not that of an EUM"},
		{"before the EUM", func(e *EUICC) { e.NotBefore = begin.Add(-time.Second) }, "not valid"},
		{"after the EUM", func(e *EUICC) { e.NotBefore = end.Add(time.Second) }, "not valid"},
		{"end that cannot be written", func(e *EUICC) {
			p := s.answer()
			p.To = time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC)
			e.EUM, e.NotBefore = p.Sign(s.ci, s.eum), time.Date(4600, 1, 1, 0, 0, 0, 0, time.UTC)
		}, "in the year 10075"},
		{"no name", func(e *EUICC) { e.CommonName = "" }, "CN has 0 letters"},
		{"long name", func(e *EUICC) { e.CommonName = strings.Repeat("x", 65) }, "CN has 65 letters"},
	} {
		e := s.euicc()
		c.spoil(&e)
		if got, err := Issue(t.Context(), s.eum, e); err == nil || !strings.Contains(err.Error(), c.want) || got != nil {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	for name, signer := range map[string]Signer{"another key": testKey(cert.P256, 9), "nothing": constant(nil), "zeros": constant(make([]byte, 64)), "half": constant(make([]byte, 32))} {
		if _, err := Issue(t.Context(), signer, s.euicc()); !errors.Is(err, ErrSignature) {
			t.Errorf("signed with %s: %v", name, err)
		}
	}
	if _, err := Issue(t.Context(), broken{}, s.euicc()); !errors.Is(err, errBroken) {
		t.Errorf("broken token: %v", err)
	}
}

type constant []byte

func (c constant) SignDigest(context.Context, []byte) ([]byte, error) { return c, nil }

var errBroken = errors.New("token is gone")

type broken struct{}

func (broken) SignDigest(context.Context, []byte) ([]byte, error) { return nil, errBroken }

// The organization comes from the pair that permits the EID, with its string type.
func TestOrganizationOfThePair(t *testing.T) {
	t.Parallel()
	s := newSite(cert.P256)
	p := s.answer()
	pairs := []cert.Subtree{must(cert.NewSubtree("Before the merger", testIIN)), must(cert.NewSubtree(testOrg, "89049099"))}
	p.Extensions[len(p.Extensions)-1] = cert.NameConstraintsOf(pairs)
	e := s.euicc()
	e.EUM = p.Sign(s.ci, s.eum)
	c := must(Issue(t.Context(), s.eum, e))
	if o, _ := c.Subject.Only(cert.OIDOrganization); o != "Before the merger" {
		t.Errorf("organization %q", o)
	}
	if err := cert.Check(cert.Chain{Roots: []*cert.Certificate{s.root}, EUM: e.EUM, EUICC: c}, cert.Rules{At: now}); err != nil {
		t.Error(err)
	}
}

// With the published key of the EUM and what the published certificate of an eUICC says, the body is the published one byte
// for byte, except for the serial number, which is numbered here in another way; and no field of a parsed one differs.
func TestPublishedCertificateIsMadeAgain(t *testing.T) {
	t.Parallel()
	for curve, name := range map[cert.Curve]string{cert.P256: "NIST", cert.BrainpoolP256r1: "BRP"} {
		eum, want := published(t, "EUM/CERT_EUM_ECDSA_"+name+".der"), published(t, "eUICC/CERT_EUICC_ECDSA_"+name+".der")
		signer := publishedKey(t, curve, "EUM/SK_EUM_ECDSA_"+name+".pem")
		if signer.Public != eum.Key {
			t.Fatalf("%s: the published key is not of the published certificate", name)
		}
		common, _ := want.Subject.Only(cert.OIDCommonName)
		eid, _ := want.Subject.Only(cert.OIDSerialNumber)
		e := EUICC{EUM: eum, EID: must(id.ParseEID(eid)), Key: want.Key, CommonName: common, NotBefore: want.NotBefore}
		if got := must(e.body(want.Serial)); !bytes.Equal(got, want.RawTBS) {
			t.Errorf("%s: body\n%x\nwant\n%x", name, got, want.RawTBS)
		}
		got := must(Issue(t.Context(), signer, e))
		if diff := differences(got, want); len(diff) != 1 || diff[0] != "serial" {
			t.Errorf("%s: differences %q, want the serial number alone", name, diff)
		}
		root := published(t, "CertificateIssuer/CERT_CI_ECDSA_"+name+".der")
		if err := cert.Check(cert.Chain{Roots: []*cert.Certificate{root}, EUM: eum, EUICC: got}, cert.Rules{At: now}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// differences names the parsed fields that two certificates differ in.
func differences(a, b *cert.Certificate) (diff []string) {
	extensions := func(c *cert.Certificate) (s string) {
		for _, e := range c.Extensions {
			s += fmt.Sprintf("%s %v %x\n", e.OID, e.Critical, e.Value)
		}
		return s
	}
	parts := func(n cert.Name) (s string) {
		for _, p := range n.Parts {
			s += fmt.Sprintf("%s %x\n", p.OID, p.Raw)
		}
		return s
	}
	for _, f := range []struct {
		name string
		same bool
	}{
		{"version", a.Version == b.Version}, {"serial", a.Serial.Cmp(b.Serial) == 0}, {"algorithm", a.Algorithm.Equal(b.Algorithm)},
		{"issuer", bytes.Equal(a.Issuer.Raw, b.Issuer.Raw)}, {"notBefore", a.NotBefore.Equal(b.NotBefore)}, {"notAfter", a.NotAfter.Equal(b.NotAfter)},
		{"subject", bytes.Equal(a.Subject.Raw, b.Subject.Raw)}, {"subject parts", parts(a.Subject) == parts(b.Subject)}, {"key", a.Key == b.Key},
		{"extensions", extensions(a) == extensions(b)},
	} {
		if !f.same {
			diff = append(diff, f.name)
		}
	}
	return diff
}

// openssl is another reader: it sees the same fields, and the signature verifies under the EUM's key.
func TestOpenSSLReadsTheCertificate(t *testing.T) {
	t.Parallel()
	for _, curve := range curves {
		s, dir := newSite(curve), t.TempDir()
		e := s.euicc()
		c := must(Issue(t.Context(), s.eum, e))
		write(t, dir, "eum.pem", e.EUM.MarshalPEM())
		write(t, dir, "euicc.der", c.Raw)
		write(t, dir, "tbs", c.RawTBS)
		text := openssl(t, dir, "x509", "-inform", "DER", "-in", "euicc.der", "-noout", "-text")
		for _, want := range []string{
			"Version: 3", "ecdsa-with-SHA256", "Issuer: C = ES, O = Maker, CN = EUM", "Subject: C = ES, O = Maker, serialNumber = " + testEID + ", CN = chip",
			"Not After : Oct 26 00:00:00 7502 GMT", "X509v3 Key Usage: critical\n                Digital Signature", "X509v3 Certificate Policies: critical\n                Policy: 2.23.146.1.2.1.1",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: openssl does not show %q:\n%s", curve, want, text)
			}
		}
		asn := openssl(t, dir, "asn1parse", "-inform", "DER", "-in", "euicc.der")
		if !strings.Contains(asn, "GENERALIZEDTIME   :75021026000000Z") || !strings.Contains(asn, "UTCTIME           :270101000000Z") {
			t.Errorf("%s: times are not written as RFC 5280 has them:\n%s", curve, asn)
		}
		write(t, dir, "pub.pem", []byte(openssl(t, dir, "x509", "-in", "eum.pem", "-noout", "-pubkey")))
		write(t, dir, "sig", signatureOf(c.Raw, c.RawTBS))
		if out := openssl(t, dir, "dgst", "-sha256", "-verify", "pub.pem", "-signature", "sig", "tbs"); !strings.Contains(out, "Verified OK") {
			t.Errorf("%s: %s", curve, out)
		}
	}
}

// signatureOf cuts the DER signature from the end of a certificate: after the body, the algorithm of 12 bytes, a BIT STRING
// header of 2 and the count of unused bits.
func signatureOf(whole, body []byte) []byte {
	return whole[bytes.Index(whole, body)+len(body)+12+3:]
}

func BenchmarkEUICCBody(b *testing.B) {
	e := newSite(cert.P256).euicc()
	for b.Loop() {
		must(EUICCBody(e))
	}
}
