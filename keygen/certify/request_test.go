package certify

import (
	"bytes"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/perso/cert"
	"github.com/persoline/persoline/perso/cert/certtest"
)

func TestRequestIsReadByTheStandardLibrary(t *testing.T) {
	t.Parallel()
	s := newSite(cert.P256)
	csr, err := x509.ParseCertificateRequest(must(SignRequest(t.Context(), s.eum, s.request)))
	if err != nil {
		t.Fatal(err)
	}
	if err := csr.CheckSignature(); err != nil {
		t.Error(err)
	}
	var got []string
	for _, e := range csr.Extensions {
		got = append(got, e.Id.String())
	}
	want := []string{"2.5.29.14", "2.5.29.15", "2.5.29.32", "2.5.29.17", "2.5.29.19", "2.5.29.30"}
	if !slices.Equal(got, want) || csr.Subject.String() != "CN=EUM,O=Maker,C=ES" {
		t.Errorf("extensions %q of %s", got, csr.Subject)
	}
}

// What is asked for is what the published certificate of an EUM has: name, key and extensions, byte for byte and in order.
func TestRequestAsksForThePublishedCertificate(t *testing.T) {
	t.Parallel()
	for curve, name := range map[cert.Curve]string{cert.P256: "NIST", cert.BrainpoolP256r1: "BRP"} {
		want := published(t, "EUM/CERT_EUM_ECDSA_"+name+".der")
		r := Request{Country: "ES", Organization: "RSP Test EUM", CommonName: "EUM Test", OID: cert.OID{2, 999, 5}, IssuerNumbers: []string{testIIN},
			Key: publishedKey(t, curve, "EUM/SK_EUM_ECDSA_"+name+".pem").Public}
		fromCI := []cert.OID{cert.OIDAuthorityKeyID, cert.OIDCRLPoints}
		wanted := slices.DeleteFunc(slices.Clone(want.Extensions), func(e cert.Extension) bool { return slices.ContainsFunc(fromCI, e.OID.Equal) })
		same := func(a, b cert.Extension) bool {
			return a.OID.Equal(b.OID) && a.Critical == b.Critical && bytes.Equal(a.Value, b.Value)
		}
		if got := must(r.extensions()); !slices.EqualFunc(got, wanted, same) {
			t.Errorf("%s: extensions\n%v\nwant\n%v", name, got, wanted)
		}
		if body := must(RequestBody(r)); !bytes.Contains(body, want.Subject.Raw) {
			t.Errorf("%s: the name is not that of the certificate", name)
		}
		root := published(t, "CertificateIssuer/CERT_CI_ECDSA_"+name+".der")
		if err := CheckAnswer(r, cert.Chain{Roots: []*cert.Certificate{root}, EUM: want}, cert.Rules{At: now}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpenSSLReadsTheRequest(t *testing.T) {
	t.Parallel()
	for _, curve := range curves {
		s, dir := newSite(curve), t.TempDir()
		write(t, dir, "eum.csr", must(SignRequest(t.Context(), s.eum, s.request)))
		text := openssl(t, dir, "req", "-inform", "DER", "-in", "eum.csr", "-noout", "-text", "-verify")
		for _, want := range []string{"self-signature verify OK", "Subject: C = ES, O = Maker, CN = EUM", "Registered ID:1.3.6.1.4.1.99999", "CA:TRUE, pathlen:0",
			"Policy: 2.23.146.1.2.1.2", "DirName:O = Maker, serialNumber = 89049032", "DirName:O = Maker, serialNumber = 89049099"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: openssl does not show %q:\n%s", curve, want, text)
			}
		}
	}
}

// The request of SGP.02 has no name constraints, and a role only where it is told one.
func TestM2MRequest(t *testing.T) {
	t.Parallel()
	s := newSite(cert.P256)
	s.request.Scheme, s.request.IssuerNumbers = cert.SGP02, nil
	for _, role := range []cert.OID{nil, {1, 3, 6, 1, 4, 1, 99999, 2}} {
		r := s.request
		r.Role = role
		names := func(oid cert.OID) bool {
			return slices.ContainsFunc(must(r.extensions()), func(e cert.Extension) bool { return e.OID.Equal(oid) })
		}
		if names(cert.OIDNameConstraints) || names(cert.OIDPolicies) != (role != nil) || !names(cert.OIDSubjectAltName) {
			t.Errorf("role %v: extensions %v", role, must(r.extensions()))
		}
		s.request = r
		chain := cert.Chain{Roots: []*cert.Certificate{s.root}, EUM: s.answer().Sign(s.ci, s.eum)}
		if err := CheckAnswer(r, chain, cert.Rules{At: now}); err != nil {
			t.Errorf("role %v: %v", role, err)
		}
		if r.Role = (cert.OID{1, 2, 3}); !errors.Is(CheckAnswer(r, chain, cert.Rules{At: now}), cert.ReasonRole) {
			t.Errorf("role %v: accepted in the place of another", role)
		}
	}
	s.request.IssuerNumbers = []string{testIIN}
	if _, err := RequestBody(s.request); err == nil || !strings.Contains(err.Error(), "SGP.02") {
		t.Errorf("with issuer numbers: %v", err)
	}
}

func TestRequestRefuses(t *testing.T) {
	t.Parallel()
	s := newSite(cert.P256)
	for name, spoil := range map[string]func(r *Request){
		"8 digits":          func(r *Request) { r.IssuerNumbers = []string{"8904903"} },
		"want 1 to 16":      func(r *Request) { r.IssuerNumbers = nil },
		"twice":             func(r *Request) { r.IssuerNumbers = []string{testIIN, testIIN} },
		"no key":            func(r *Request) { r.Key = cert.PublicKey{} },
		"own object ident":  func(r *Request) { r.OID = nil },
		"role's object":     func(r *Request) { r.Role = cert.OID{3} },
		"not two letters":   func(r *Request) { r.Country = "E" },
		"O has 0 letters":   func(r *Request) { r.Organization = "" },
		"control character": func(r *Request) { r.CommonName = "a\x00b" },
	} {
		r := s.request
		spoil(&r)
		if _, err := SignRequest(t.Context(), s.eum, r); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := SignRequest(t.Context(), s.ci, s.request); !errors.Is(err, ErrSignature) {
		t.Errorf("signed with another key: %v", err)
	}
}

func TestAnswerIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		spoil func(s *site, p *certtest.Paper)
		key   byte // 2 is the EUM's
		want  []cert.Reason
	}{
		{"as asked", func(*site, *certtest.Paper) {}, 2, nil},
		{"another key", func(*site, *certtest.Paper) {}, 7, []cert.Reason{cert.ReasonOtherKey}},
		{"another identifier of the key", func(_ *site, p *certtest.Paper) { p.Extensions[1] = cert.SubjectKeyIDOf([20]byte{1}) }, 2, []cert.Reason{cert.ReasonNotAsked}},
		{"expired", func(_ *site, p *certtest.Paper) { p.To = now.Add(-time.Second) }, 2, []cert.Reason{cert.ReasonExpired}},
		{"one pair too few", func(s *site, p *certtest.Paper) {
			p.Extensions[len(p.Extensions)-1] = cert.NameConstraintsOf([]cert.Subtree{must(cert.NewSubtree(testOrg, testIIN))})
		}, 2, []cert.Reason{cert.ReasonNotAsked}},
		{"one pair too many", func(s *site, p *certtest.Paper) { s.request.IssuerNumbers = s.request.IssuerNumbers[:1] }, 2, []cert.Reason{cert.ReasonNotAsked}},
		{"another organization", func(s *site, p *certtest.Paper) { p.Subject[1] = must(cert.NewPart(cert.OIDOrganization, "Makers")) }, 2, []cert.Reason{cert.ReasonNotAsked}},
		{"another country", func(s *site, p *certtest.Paper) { p.Subject = p.Subject[1:] }, 2, []cert.Reason{cert.ReasonNotAsked}},
		{"another identifier", func(s *site, p *certtest.Paper) { s.request.OID = cert.OID{2, 999, 1} }, 2, []cert.Reason{cert.ReasonNotAsked}},
		{"a server's role", func(s *site, p *certtest.Paper) {
			p.Extensions[3] = cert.PoliciesOf(cert.PolicyOf(cert.RoleDPAuth, cert.VariantO))
		}, 2, []cert.Reason{cert.ReasonRole}},
	} {
		s := newSite(cert.P256)
		p := s.answer()
		c.spoil(s, &p)
		err := CheckAnswer(s.request, cert.Chain{Roots: []*cert.Certificate{s.root}, EUM: p.Sign(s.ci, testKey(cert.P256, c.key))}, cert.Rules{At: now})
		var got []cert.Reason
		if r := (*cert.Refusal)(nil); errors.As(err, &r) {
			for _, f := range r.Faults {
				got = append(got, f.Reason)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: reasons %q, want %q\n%v", c.name, got, c.want, err)
		}
	}
	s := newSite(cert.P256)
	if err := CheckAnswer(s.request, cert.Chain{}, cert.Rules{At: now}); !errors.Is(err, cert.ReasonChainNotWhole) {
		t.Errorf("no certificate: %v", err)
	}
}
