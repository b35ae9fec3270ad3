package cert

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

func TestChainIsAccepted(t *testing.T) {
	t.Parallel()
	for _, curve := range []Curve{P256, BrainpoolP256r1} {
		c := newMaker(t, curve).chain(t)
		for _, at := range []time.Time{begin, inForce.At, end} {
			if err := Check(c, Rules{At: at}); err != nil {
				t.Errorf("%s at %s: %v", curve, at, err)
			}
		}
		c.EUICC = nil
		if err := Check(c, inForce); err != nil {
			t.Errorf("%s without eUICC: %v", curve, err)
		}
	}
}

// broken is one way to spoil a chain, and everything that Check then says.
type broken struct {
	name  string
	spoil func(m *maker)
	want  []string
}

// linkFaults are those of a certificate against the one above it.
var linkFaults = []broken{
	{"expired root", func(m *maker) { m.ci.to = inForce.At.Add(-time.Second) }, []string{"ci expired"}},
	{"expired EUM", func(m *maker) { m.eum.to = inForce.At.Add(-time.Second) }, []string{"eum expired"}},
	{"expired eUICC", func(m *maker) { m.euicc.to = inForce.At.Add(-time.Second) }, []string{"euicc expired"}},
	{"future EUM", func(m *maker) { m.eum.from = inForce.At.Add(time.Second) }, []string{"eum not-yet-valid"}},
	{"ends before it begins", func(m *maker) { m.euicc.from, m.euicc.to = end, begin }, []string{"euicc expired"}},
	{"signature of the root", func(m *maker) { m.ci.spoiltSignature = true }, []string{"ci signature"}},
	{"signature of the EUM", func(m *maker) { m.eum.spoiltSignature = true }, []string{"eum signature"}},
	{"eUICC signed by another key", func(m *maker) { m.euicc.by = m.ci.key }, []string{"euicc signature"}},
	{"issuer of the eUICC", func(m *maker) { m.euicc.issuer = slices.Clone(m.euicc.issuer[:2]) }, []string{"euicc issuer"}},
	{"issuer in another string type", func(m *maker) {
		m.euicc.issuer = slices.Clone(m.euicc.issuer)
		m.euicc.issuer[1].Raw = der(func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.PrintableString, func(b *cryptobyte.Builder) { b.AddBytes([]byte(testOrg)) })
		})
	}, []string{"euicc issuer"}},
	{"issuer of the EUM", func(m *maker) { m.eum.issuer = []Part{part(OIDCommonName, "Other")} }, []string{"eum unknown-ci"}},
	{"key of the root", func(m *maker) { m.eum.set(AuthorityKeyIDOf([KeyIDBytes]byte{1})) }, []string{"eum unknown-ci"}},
	{"key of the EUM", func(m *maker) { m.euicc.set(AuthorityKeyIDOf([KeyIDBytes]byte{1})) }, []string{"euicc authority-key-id"}},
	{"no authority key", func(m *maker) { m.euicc.drop(OIDAuthorityKeyID) }, []string{"euicc authority-key-id"}},
	{"root with another authority", func(m *maker) { m.ci.set(AuthorityKeyIDOf([KeyIDBytes]byte{1})) }, []string{"ci authority-key-id"}},
	{"no subject key", func(m *maker) { m.euicc.drop(OIDSubjectKeyID) }, []string{"euicc subject-key-id"}},
	{"P-384", func(m *maker) { m.euicc.curve = OID{1, 3, 132, 0, 34} }, []string{"euicc curve"}},
	{"serial number zero", func(m *maker) { m.euicc.serial = 0 }, []string{"euicc serial"}},
	{"negative serial number of the root", func(m *maker) { m.ci.serial = -5 }, []string{"ci serial"}},
	{"SHA-384", func(m *maker) { m.euicc.algorithm = OID{1, 2, 840, 10045, 4, 3, 3} }, []string{"euicc algorithm", "euicc signature"}},
	{"version 1", func(m *maker) { m.euicc.version, m.euicc.extensions = 1, nil },
		[]string{"euicc version", "euicc subject-key-id", "euicc authority-key-id", "euicc key-usage", "euicc role"}},
}

// placeFaults are those of a certificate in its place.
var placeFaults = []broken{
	{"EUM that signs no certificates", func(m *maker) { m.eum.set(KeyUsageOf(UsageDigitalSignature)) }, []string{"eum key-usage"}},
	{"EUM that signs lists", func(m *maker) { m.eum.set(KeyUsageOf(UsageCertSign | UsageCRLSign)) }, []string{"eum key-usage"}},
	{"EUM that signs all", func(m *maker) { m.eum.set(KeyUsageOf(UsageCertSign | UsageDigitalSignature)) }, []string{"eum key-usage"}},
	{"root that signs data", func(m *maker) { m.ci.set(KeyUsageOf(UsageCertSign | UsageDigitalSignature)) }, []string{"ci key-usage"}},
	{"eUICC that signs certificates", func(m *maker) { m.euicc.set(KeyUsageOf(UsageCertSign | UsageDigitalSignature)) }, []string{"euicc key-usage"}},
	{"eUICC for key agreement", func(m *maker) { m.euicc.set(KeyUsageOf(1 << 4)) }, []string{"euicc key-usage"}},
	{"no key usage", func(m *maker) { m.euicc.drop(OIDKeyUsage) }, []string{"euicc key-usage"}},
	{"EUM that is no CA", func(m *maker) { m.eum.drop(OIDBasicConstraints) }, []string{"eum basic-constraints"}},
	{"root that is no CA", func(m *maker) { m.ci.extension(OIDBasicConstraints).Value = []byte{0x30, 0} }, []string{"ci basic-constraints"}},
	{"eUICC that is a CA", func(m *maker) { m.euicc.set(BasicConstraintsOf(0)) }, []string{"euicc basic-constraints"}},
	{"eUICC that says it is none", func(m *maker) { m.euicc.set(Extension{OIDBasicConstraints, true, []byte{0x30, 0}}) }, []string{"euicc basic-constraints"}},
	{"root of path 0", func(m *maker) { m.ci.set(BasicConstraintsOf(0)) }, []string{"ci path-length"}},
	{"root of path 1", func(m *maker) { m.ci.set(BasicConstraintsOf(1)) }, nil},
	{"EUM of path 1", func(m *maker) { m.eum.set(BasicConstraintsOf(1)) }, []string{"eum path-length"}},
	{"EUM without path", func(m *maker) { m.eum.set(BasicConstraintsOf(-1)) }, []string{"eum path-length"}},
	{"EUM as server", func(m *maker) { m.eum.set(PoliciesOf(PolicyOf(RoleDPAuth, VariantO))) }, []string{"eum role"}},
	{"eUICC as EUM", func(m *maker) { m.euicc.set(PoliciesOf(PolicyOf(RoleEUM, VariantO))) }, []string{"euicc role"}},
	{"root of another world", func(m *maker) { m.ci.set(PoliciesOf(OID{2, 5, 29, 32, 0})) }, []string{"ci role"}},
	{"no role", func(m *maker) { m.euicc.drop(OIDPolicies) }, []string{"euicc role"}},
	{"two roles", func(m *maker) {
		m.euicc.extension(OIDPolicies).Value = der(func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, r := range []Role{RoleEUICC, RoleCI} {
					b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(PolicyOf(r, VariantO)) })
				}
			})
		})
	}, []string{"euicc role"}},
	{"eUICC of another family", func(m *maker) { m.euicc.set(PoliciesOf(PolicyOf(RoleEUICC, VariantNested))) }, []string{"euicc variant"}},
	{"unknown critical", func(m *maker) { m.euicc.set(Extension{OID{1, 2, 3}, true, []byte{5, 0}}) }, []string{"euicc critical-extension"}},
	{"unknown", func(m *maker) { m.euicc.set(Extension{OID{1, 2, 3}, false, []byte{5, 0}}) }, nil},
	{"key usage not critical", func(m *maker) { m.eum.extension(OIDKeyUsage).Critical = false }, []string{"eum extension-not-critical"}},
	{"constraints not critical", func(m *maker) { m.eum.extension(OIDNameConstraints).Critical = false }, []string{"eum extension-not-critical"}},
	{"role not critical", func(m *maker) { m.euicc.extension(OIDPolicies).Critical = false }, []string{"euicc extension-not-critical"}},
	{"eUICC with constraints", func(m *maker) { m.euicc.set(NameConstraintsOf([]Subtree{must(NewSubtree(testOrg, testIIN))})) }, []string{"euicc extension-not-allowed"}},
}

// nameFaults are those of what the EUM may name.
var nameFaults = []broken{
	{"EUM without constraints", func(m *maker) { m.eum.drop(OIDNameConstraints) }, []string{"eum name-constraints"}},
	{"EUM without identifier", func(m *maker) { m.eum.drop(OIDSubjectAltName) }, []string{"eum registered-id"}},
	{"organization of the eUICC", func(m *maker) { m.euicc.subject[1] = part(OIDOrganization, "maker") }, []string{"euicc organization"}},
	{"two organizations", func(m *maker) { m.euicc.subject = append(m.euicc.subject, part(OIDOrganization, testOrg)) }, []string{"euicc organization"}},
	{"no EID", func(m *maker) { m.euicc.subject = slices.Delete(slices.Clone(m.euicc.subject), 2, 3) }, []string{"euicc eid", "euicc eid-prefix"}},
	{"check digits", func(m *maker) { m.euicc.subject[2] = part(OIDSerialNumber, testEID[:30]+"36") }, []string{"euicc eid"}},
	{"31 digits", func(m *maker) { m.euicc.subject[2] = part(OIDSerialNumber, testEID[:31]) }, []string{"euicc eid"}},
	{"EID of another maker", func(m *maker) { m.euicc.subject[2] = part(OIDSerialNumber, "89049044900000000000000000102355") }, []string{"euicc eid-prefix"}},
	{"pairs are not mixed", func(m *maker) {
		m.eum.set(NameConstraintsOf([]Subtree{must(NewSubtree("Other", testIIN)), must(NewSubtree(testOrg, "89049044"))}))
	}, []string{"euicc eid-prefix"}},
	{"second pair", func(m *maker) {
		m.eum.set(NameConstraintsOf([]Subtree{must(NewSubtree(testOrg, "89049044")), must(NewSubtree(testOrg, testIIN))}))
	}, nil},
	{"permitted EIN", func(m *maker) { m.eum.drop(OIDNameConstraints); m.eum.set(permittedEINs("8904", "8904903212")) }, nil},
	{"other EIN", func(m *maker) { m.eum.drop(OIDNameConstraints); m.eum.set(permittedEINs("8904903213", "5")) }, []string{"euicc eid-prefix"}},
	{"EIN and organization", func(m *maker) {
		m.eum.drop(OIDNameConstraints)
		m.eum.set(permittedEINs("8904"))
		m.euicc.subject[1] = part(OIDOrganization, "Other")
	}, []string{"euicc organization"}},
}

func permittedEINs(all ...string) Extension {
	return extensionOf(OIDPermittedEINs, true, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, ein := range all {
				b.AddASN1(casn1.PrintableString, func(b *cryptobyte.Builder) { b.AddBytes([]byte(ein)) })
			}
		})
	})
}

func TestChainIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range slices.Concat(linkFaults, placeFaults, nameFaults) {
		m := newMaker(t, P256)
		c.spoil(m)
		err := Check(m.chain(t), inForce)
		if got := reasonsOf(err); !slices.Equal(got, c.want) {
			t.Errorf("%s: reasons %q, want %q\n%v", c.name, got, c.want, err)
		}
	}
}

func TestCurvesAreNotMixed(t *testing.T) {
	t.Parallel()
	m, other := newMaker(t, P256), newMaker(t, BrainpoolP256r1)
	m.euicc.key = other.euicc.key
	if got := reasonsOf(Check(m.chain(t), inForce)); !slices.Equal(got, []string{"euicc curve"}) {
		t.Errorf("reasons %q", got)
	}
}

// The chains of SGP.22 v3 with sub CAs, by the roles between root and EUM.
func TestVariants(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		subs []Role
		root int // its path length
		want []string
	}{
		{"Ov3", nil, -1, nil},
		{"A", []Role{RoleEUMSubCA}, -1, nil},
		{"B", []Role{RoleCISubCA}, 2, nil},
		{"C", []Role{RoleCISubCA, RoleEUMSubCA}, 3, nil},
		{"wrong order", []Role{RoleEUMSubCA, RoleCISubCA}, -1, []string{"ci-sub-ca role", "eum-sub-ca role"}},
		{"too deep", []Role{RoleCISubCA}, 1, []string{"ci path-length"}},
		{"server", []Role{RoleDPSubCA}, -1, []string{"eum-sub-ca role"}},
	} {
		if got := reasonsOf(Check(subChain(t, c.subs, c.root), inForce)); !slices.Equal(got, c.want) {
			t.Errorf("%s: reasons %q, want %q", c.name, got, c.want)
		}
	}
	long := subChain(t, []Role{RoleCISubCA, RoleEUMSubCA}, -1)
	long.SubCAs = append(long.SubCAs, long.SubCAs[1])
	if err := Check(long, inForce); !errors.Is(err, ReasonChainNotWhole) {
		t.Errorf("three sub CAs: %v", err)
	}
	if err := Check(Chain{}, inForce); !errors.Is(err, ReasonChainNotWhole) {
		t.Errorf("no EUM: %v", err)
	}
}

func subChain(t *testing.T, roles []Role, rootPath int) Chain {
	t.Helper()
	m := newMaker(t, P256)
	m.ci.set(BasicConstraintsOf(rootPath))
	above, all := &m.ci, []*Certificate(nil)
	for i, r := range roles {
		s := m.eum
		s.extensions = slices.Clone(m.ci.extensions)
		s.key, s.by, s.issuer, s.subject = testKey(P256, byte(10+i)), above.key, above.subject, []Part{part(OIDCommonName, r.String())}
		s.set(PoliciesOf(PolicyOf(r, VariantNested)))
		s.set(BasicConstraintsOf(len(roles) - i))
		s.set(SubjectKeyIDOf(must(FromECDSA(&s.key.PublicKey)).ID()))
		s.set(AuthorityKeyIDOf(must(FromECDSA(&s.by.PublicKey)).ID()))
		all = append(all, must(Parse(s.der())))
		above = &s
	}
	m.eum.by, m.eum.issuer = above.key, above.subject
	m.eum.set(AuthorityKeyIDOf(must(FromECDSA(&above.key.PublicKey)).ID()))
	m.eum.drop(OIDNameConstraints)
	m.eum.set(permittedEINs("89049032"))
	m.eum.set(PoliciesOf(PolicyOf(RoleEUM, VariantNested)))
	m.euicc.set(PoliciesOf(PolicyOf(RoleEUICC, VariantNested)))
	c := m.chain(t)
	c.SubCAs = all
	return c
}

func TestOtherNamesOfAnEUM(t *testing.T) {
	t.Parallel()
	m, other := newMaker(t, P256), OID{1, 3, 6, 1, 4, 1, 99999, 1}
	m.eum.set(PoliciesOf(other))
	c := m.chain(t)
	if got := reasonsOf(Check(c, inForce)); !slices.Equal(got, []string{"eum role"}) {
		t.Errorf("reasons %q", got)
	}
	rules := inForce
	rules.EUMPolicies = []OID{other}
	if err := Check(c, rules); err != nil {
		t.Error(err)
	}
}

// Under SGP.02 the EUM needs no name constraints, a role only where the rules name one, and signs no X.509 certificate.
func TestM2M(t *testing.T) {
	t.Parallel()
	m, role := newMaker(t, P256), OID{1, 3, 6, 1, 4, 1, 99999, 1}
	m.eum.drop(OIDNameConstraints)
	m.eum.set(PoliciesOf(role))
	m.ci.drop(OIDPolicies)
	c := m.chain(t)
	rules := Rules{At: inForce.At, Scheme: SGP02}
	if err := Check(c, rules); !errors.Is(err, ReasonChainNotWhole) {
		t.Errorf("with an eUICC: %v", err)
	}
	c.EUICC = nil
	if err := Check(c, rules); err != nil {
		t.Error(err)
	}
	rules.EUMPolicies = []OID{role}
	if err := Check(c, rules); err != nil {
		t.Error(err)
	}
	rules.EUMPolicies = []OID{PolicyOf(RoleEUM, VariantO)}
	if got := reasonsOf(Check(c, rules)); !slices.Equal(got, []string{"eum role"}) {
		t.Errorf("reasons %q", got)
	}
}

func TestFaultsSayWhere(t *testing.T) {
	t.Parallel()
	m := newMaker(t, P256)
	m.euicc.subject[1] = part(OIDOrganization, "Else\u202eware, Inc")
	err := Check(m.chain(t), inForce)
	want := `euicc certificate C=ES, O="Else\u202eware, Inc", serialNumber=` + testEID + `, CN=chip: organization: its organization "Else\u202eware, Inc" is none that the EUM may name`
	if err == nil || err.Error() != want {
		t.Errorf("error\n%v\nwant\n%s", err, want)
	}
	var f Fault
	if !errors.As(err, &f) || f.Of != RoleEUICC || f.Reason != ReasonOrganization {
		t.Errorf("fault %+v", f)
	}
}

func TestOutlives(t *testing.T) {
	t.Parallel()
	c := must(Parse(newMaker(t, P256).eum.der()))
	const margin = 30 * 24 * time.Hour
	if err := c.Outlives(end.Add(-margin), margin); err != nil {
		t.Errorf("to the second: %v", err)
	}
	err := c.Outlives(end.Add(-margin+time.Second), margin)
	var e *EndingError
	if !errors.As(err, &e) || !errors.Is(err, ReasonEndsTooEarly) || !e.Ends.Equal(end) {
		t.Fatalf("one second short: %v", err)
	}
	for _, part := range []string{"O=Maker", "ends on 2056-01-02", "2055-12-03 and 30 days", "have the CI renew it"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

func TestRootsAreFoundByKey(t *testing.T) {
	t.Parallel()
	m := newMaker(t, P256)
	c := m.chain(t)
	m.ci.key = testKey(P256, 77) // a root of the same name and another key
	m.ci.set(SubjectKeyIDOf(must(FromECDSA(&m.ci.key.PublicKey)).ID()))
	other := must(Parse(m.ci.der()))
	c.Roots = []*Certificate{other, c.Roots[0]}
	if err := Check(c, inForce); err != nil {
		t.Error(err)
	}
	if got := FindRoot(c.Roots, c.EUM); !bytes.Equal(got.Raw, c.Roots[1].Raw) {
		t.Errorf("found %s", got)
	}
}

func BenchmarkCheck(b *testing.B) {
	for _, curve := range []Curve{P256, BrainpoolP256r1} {
		c := newMaker(b, curve).chain(b)
		b.Run(curve.String(), func(b *testing.B) {
			for b.Loop() {
				if err := Check(c, inForce); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
