package cert

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/persoline/persoline/perso/tlv"
)

// What this package reads and what crypto/x509 reads is the same, where that knows the curve.
func TestAgreesWithTheStandardLibrary(t *testing.T) {
	t.Parallel()
	m := newMaker(t, P256)
	for name, s := range map[string]sketch{"ci": m.ci, "eum": m.eum, "euicc": m.euicc} {
		ours := must(Parse(s.der()))
		theirs, err := x509.ParseCertificate(ours.Raw)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		point := must(theirs.PublicKey.(*ecdsa.PublicKey).Bytes())
		if !bytes.Equal(theirs.RawTBSCertificate, ours.RawTBS) || !bytes.Equal(theirs.RawSubject, ours.Subject.Raw) || !bytes.Equal(theirs.RawIssuer, ours.Issuer.Raw) ||
			theirs.SerialNumber.Cmp(ours.Serial) != 0 || !theirs.NotBefore.Equal(ours.NotBefore) || !theirs.NotAfter.Equal(ours.NotAfter) ||
			!bytes.Equal(point, ours.Key.Point()) || !bytes.Equal(theirs.SubjectKeyId, ours.Values.SubjectKeyID) || !bytes.Equal(theirs.AuthorityKeyId, ours.Values.AuthorityKeyID) {
			t.Errorf("%s: read differently:\n%+v\n%+v", name, theirs, ours)
		}
		if int(theirs.KeyUsage) != int(ours.Values.KeyUsage) { // the same bits in both
			t.Errorf("%s: key usage %x, %x", name, theirs.KeyUsage, ours.Values.KeyUsage)
		}
		if b := ours.Values.Constraints; (b != nil) != theirs.BasicConstraintsValid || b != nil && (b.CA != theirs.IsCA || b.PathLen != theirs.MaxPathLen) {
			t.Errorf("%s: basic constraints %+v", name, b)
		}
		if len(theirs.PolicyIdentifiers) != 1 || !theirs.PolicyIdentifiers[0].Equal(ours.Values.Policies[0]) {
			t.Errorf("%s: policies %v", name, ours.Values.Policies)
		}
	}
}

func TestParseFile(t *testing.T) {
	t.Parallel()
	a, b := must(Parse(newMaker(t, P256).ci.der())), must(Parse(newMaker(t, BrainpoolP256r1).ci.der()))
	if all, err := ParseFile(a.Raw); err != nil || len(all) != 1 {
		t.Errorf("DER: %d, %v", len(all), err)
	}
	bundle := slices.Concat([]byte("# two roots\n"), a.MarshalPEM(), []byte("\nand\n"), b.MarshalPEM())
	all, err := ParseFile(bundle)
	if err != nil || len(all) != 2 || !bytes.Equal(all[0].Raw, a.Raw) || !bytes.Equal(all[1].Raw, b.Raw) {
		t.Errorf("PEM: %d, %v", len(all), err)
	}
	for name, content := range map[string][]byte{
		"nothing":       nil,
		"text":          []byte("certificate"),
		"half a block":  bundle[:len(a.MarshalPEM())/2],
		"other block":   bytes.ReplaceAll(bundle, []byte("CERTIFICATE"), []byte("EC PRIVATE KEY")),
		"one bad":       slices.Concat(a.MarshalPEM(), bytes.Replace(b.MarshalPEM(), []byte("\nMII"), []byte("\nMIJ"), 1)),
		"too many":      bytes.Repeat(a.MarshalPEM(), MaxCount+1),
		"too long":      make([]byte, MaxBytes+1),
		"two in DER":    slices.Concat(a.Raw, b.Raw),
		"one byte less": a.Raw[:len(a.Raw)-1],
	} {
		if all, err := ParseFile(content); !errors.Is(err, ErrForm) || all != nil {
			t.Errorf("%s: %d certificates, %v", name, len(all), err)
		}
	}
}

// Bytes that are not DER of a certificate, or say one thing in two ways.
func TestParseRefuses(t *testing.T) {
	t.Parallel()
	list := func(b ...byte) []byte { return append([]byte{0x30, byte(len(b))}, b...) }
	for _, c := range []struct {
		name  string
		spoil func(s *sketch)
		want  string
	}{
		{"version 1 written out", func(s *sketch) { s.version, s.explicitVersion1, s.extensions = 1, true, nil }, "version"},
		{"version 4", func(s *sketch) { s.version = 4 }, "version"},
		{"two algorithms", func(s *sketch) {
			s.outer = func(b *cryptobyte.Builder) {
				b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(OID{1, 2, 840, 10045, 4, 3, 3}) })
			}
		}, "not the one of its signature"},
		{"algorithm with parameters", func(s *sketch) { s.parameters = []byte{5, 0} }, "parameters"},
		{"something after the signature", func(s *sketch) { s.after = []byte{5, 0} }, "nothing else"},
		{"extensions in version 2", func(s *sketch) { s.version = 2 }, "extensions"},
		{"one extension twice", func(s *sketch) { s.extensions = append(s.extensions, s.extensions[0]) }, "twice"},
		{"too many extensions", func(s *sketch) {
			for i := range maxExtensions {
				s.extensions = append(s.extensions, Extension{OID: OID{1, 2, i}})
			}
		}, "more than 32"},
		{"point not on the curve", func(s *sketch) { s.curve = oidBrainpoolP256r1 }, "not on the curve"},
		{"key usage with a bit that is unused", func(s *sketch) { s.extension(OIDKeyUsage).Value = []byte{3, 2, 7, 0x81} }, "2.5.29.15"},
		{"key usage of no byte", func(s *sketch) { s.extension(OIDKeyUsage).Value = []byte{3, 1, 0} }, "2.5.29.15"},
		{"something after the key usage", func(s *sketch) { s.extension(OIDKeyUsage).Value = []byte{3, 2, 7, 0x80, 0} }, "follows"},
		{"no policy", func(s *sketch) { s.extension(OIDPolicies).Value = list() }, "2.5.29.32"},
		{"one policy twice", func(s *sketch) {
			one := list(6, 2, 0x2A, 3)
			s.extension(OIDPolicies).Value = list(append(one, one...)...)
		}, "twice"},
		{"key identifier of no byte", func(s *sketch) { s.extension(OIDSubjectKeyID).Value = []byte{4, 0} }, "2.5.29.14"},
		{"no CA, written out", func(s *sketch) { s.set(Extension{OIDBasicConstraints, true, list(1, 1, 0)}) }, "2.5.29.19"},
		{"path of no CA", func(s *sketch) { s.set(Extension{OIDBasicConstraints, true, list(2, 1, 0)}) }, "2.5.29.19"},
		{"path of -1", func(s *sketch) { s.set(Extension{OIDBasicConstraints, true, list(1, 1, 0xFF, 2, 1, 0xFF)}) }, "2.5.29.19"},
		{"excluded names", func(s *sketch) { s.set(excluding()) }, "excludes"},
		{"constraint of an address", func(s *sketch) { s.set(Extension{OIDNameConstraints, true, list(0xA0, 5, 0x30, 3, 0x82, 1, 'a')}) }, "no directory name"},
		{"constraint without issuer number", func(s *sketch) {
			s.set(extensionOf(OIDNameConstraints, true, func(b *cryptobyte.Builder) { addPermitted(b, part(OIDOrganization, testOrg)) }))
		}, "organization with a serial number"},
		{"constraint of 7 digits", func(s *sketch) {
			s.set(extensionOf(OIDNameConstraints, true, func(b *cryptobyte.Builder) {
				addPermitted(b, part(OIDOrganization, testOrg), part(OIDSerialNumber, "8904903"))
			}))
		}, "8 digits"},
		{"EIN of letters", func(s *sketch) { s.set(permittedEINs("89x")) }, "no EIN"},
		{"EIN of a whole EID", func(s *sketch) { s.set(permittedEINs(testEID)) }, "no EIN"},
		{"name of another string type", func(s *sketch) { s.subject[0].Raw = []byte{0x1E, 2, 0, 'E'} }, "string type"},
		{"name that is not UTF-8", func(s *sketch) { s.subject[1].Raw = []byte{0x0C, 1, 0xFF} }, "string type"},
	} {
		s := newMaker(t, P256).euicc
		c.spoil(&s)
		if _, err := Parse(s.der()); !errors.Is(err, ErrForm) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func addPermitted(b *cryptobyte.Builder, parts ...Part) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(context(0).Constructed(), func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(context(nameDirectory).Constructed(), func(b *cryptobyte.Builder) { AddName(b, parts...) })
			})
		})
	})
}

func excluding() Extension {
	e := NameConstraintsOf([]Subtree{must(NewSubtree(testOrg, testIIN))})
	tree := bytes.Clone(e.Value[2:])
	tree[0] = 0xA1
	both := append(bytes.Clone(e.Value[2:]), tree...)
	e.Value = append([]byte{0x30, byte(len(both))}, both...)
	return e
}

// Times have one spelling: two digits of the year until 2049, four from 2050 on.
func TestTimes(t *testing.T) {
	t.Parallel()
	for want, at := range map[string]time.Time{
		"170d3439313233313233353935395a":     time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC),
		"180f32303530303130313030303030305a": time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC),
		"180f37343936303132343039343835385a": time.Date(7496, 1, 24, 10, 48, 58, 0, time.FixedZone("", 3600)),
	} {
		got := der(func(b *cryptobyte.Builder) { AddTime(b, at) })
		if hexOrNone(got) != want {
			t.Errorf("%s: %x, want %s", at, got, want)
		}
		s := cryptobyte.String(got)
		if back, err := readTime(&s); err != nil || !back.Equal(at) {
			t.Errorf("%s: read as %s, %v", at, back, err)
		}
	}
	for name, b := range map[string]string{
		"2049 with four digits": "\x18\x0f20491231235959Z", "no seconds": "\x17\x0b2601010000Z", "not UTC": "\x17\x11260101000000+0100", "no time": "\x04\x00",
	} {
		s := cryptobyte.String(b)
		if got, err := readTime(&s); err == nil {
			t.Errorf("%s: read as %s", name, got)
		}
	}
}

func TestPublicKeys(t *testing.T) {
	t.Parallel()
	for _, c := range []Curve{P256, BrainpoolP256r1} {
		k := must(FromECDSA(&testKey(c, 9).PublicKey))
		written := cryptobyte.String(der(k.AddTo))
		if back, kind, err := readPublicKey(&written); err != nil || back != k || !kind.Equal(c.OID()) {
			t.Errorf("%s: read as %v on %s, %v", c, back, kind, err)
		}
		bad := k.Point()
		bad[PointBytes-1] ^= 1
		if _, err := NewPublicKey(c, bad); err == nil {
			t.Errorf("%s: a point that is not on the curve was taken", c)
		}
		params := testKey(c, 9).Curve.Params()
		edges := []*big.Int{new(big.Int), big.NewInt(1), new(big.Int).Sub(params.N, big.NewInt(1)), params.N, params.Gx, new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))}
		for _, r := range edges {
			for _, s := range edges {
				rs := make([]byte, SignatureBytes)
				r.FillBytes(rs[:coordinateBytes])
				s.FillBytes(rs[coordinateBytes:])
				if k.Verify([]byte("message"), rs) {
					t.Errorf("%s: r %x and s %x verified", c, r, s)
				}
			}
		}
		if k.Verify(nil, nil) {
			t.Errorf("%s: verified nothing", c)
		}
	}
	if _, err := NewPublicKey(CurveNone, make([]byte, PointBytes)); err == nil {
		t.Error("a point on no curve was taken")
	}
	if _, err := FromECDSA(&ecdsa.PublicKey{Curve: elliptic.P384()}); err == nil {
		t.Error("a key on P-384 was taken")
	}
	if (PublicKey{}).Verify([]byte("message"), bytes.Repeat([]byte{1}, SignatureBytes)) {
		t.Error("no key verified a signature")
	}
}

// A point has one spelling: a coordinate with the prime added is another number with the same meaning to the arithmetic.
func TestPointsAreReduced(t *testing.T) {
	t.Parallel()
	for _, c := range []Curve{P256, BrainpoolP256r1} {
		tried := 0
		for n := range byte(200) {
			private := testKey(c, n)
			point := must(FromECDSA(&private.PublicKey)).Point()
			for _, at := range []int{1, 1 + coordinateBytes} {
				v := new(big.Int).SetBytes(point[at : at+coordinateBytes])
				if v.Add(v, private.Curve.Params().P); v.BitLen() > 8*coordinateBytes {
					continue
				}
				tried++
				other := bytes.Clone(point)
				v.FillBytes(other[at : at+coordinateBytes])
				if _, err := NewPublicKey(c, other); err == nil {
					t.Errorf("%s: key %d was taken with a coordinate beyond the prime", c, n)
				}
			}
		}
		if c == BrainpoolP256r1 && tried == 0 { // on P-256 one in four thousand million
			t.Errorf("%s: no point to try", c)
		}
	}
}

func TestRolesHaveOneName(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, i := range roles {
		if seen[i.oid.String()] {
			t.Errorf("policy %s names two roles", i.oid)
		}
		seen[i.oid.String()] = true
		role, variant := roleOf([]OID{{1, 2}, i.oid})
		if role != i.role || variant != i.variant || !PolicyOf(i.role, i.variant).Equal(i.oid) || roleNames[i.role] == "" {
			t.Errorf("policy %s: role %s of variant %d", i.oid, role, variant)
		}
	}
	if PolicyOf(RoleEUMSubCA, VariantO) != nil {
		t.Error("variant O has a sub CA")
	}
}

func TestParts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind  OID
		value string
	}{
		{OIDCountry, "ESP"}, {OIDCountry, "ÉS"}, {OIDSerialNumber, "8904 9032"}, {OIDOrganization, ""}, {OIDOrganization, strings.Repeat("é", 65)},
		{OIDOrganization, "a\nb"}, {OIDCommonName, "\xff"},
	} {
		if p, err := NewPart(c.kind, c.value); err == nil {
			t.Errorf("%q was taken: %x", c.value, p.Raw)
		}
	}
	if p, err := NewPart(OIDOrganization, strings.Repeat("é", 64)); err != nil || len(p.Raw) != 3+128 {
		t.Errorf("64 letters: %x, %v", p.Raw, err)
	}
	for _, iin := range []string{"", "8904903", "890490321", "8904903x"} {
		if _, err := NewSubtree(testOrg, iin); err == nil {
			t.Errorf("issuer number %q was taken", iin)
		}
	}
}

// ecasd is a certificate of an eUICC in the form of the vault.
func ecasd(t testing.TB, curve Curve, fields ...[]byte) []byte {
	t.Helper()
	k := must(FromECDSA(&testKey(curve, 5).PublicKey))
	ref := map[Curve]byte{P256: 0, BrainpoolP256r1: 3}[curve]
	if fields == nil {
		fields = [][]byte{tlv.Encode(0x93, []byte{1}), tlv.Encode(0x42, []byte{2}), tlv.Encode(0x5F20, []byte{3}), tlv.Encode(0x95, []byte{0, 0x80}),
			tlv.Encode(0x5F25, []byte{0x20, 0x26, 1, 2}), tlv.Encode(0x5F24, []byte{0x20, 0x56, 1, 2}), tlv.Encode(0x45, []byte{4}),
			tlv.Encode(0x73, tlv.Encode(0xC9, []byte{5})), tlv.Encode(0x7F49, tlv.Encode(0xB0, k.Point()), tlv.Encode(0xF0, []byte{ref}))}
	}
	body := bytes.Join(fields, nil)
	sig := must(signRaw(testKey(curve, 6), body))
	return tlv.Encode(0x7F21, body, tlv.Encode(0x5F37, sig))
}

func TestECASD(t *testing.T) {
	t.Parallel()
	for _, curve := range []Curve{P256, BrainpoolP256r1} {
		c, err := ParseECASD(ecasd(t, curve))
		if err != nil {
			t.Fatal(err)
		}
		if !c.SignedBy(must(FromECDSA(&testKey(curve, 6).PublicKey))) || c.SignedBy(must(FromECDSA(&testKey(curve, 5).PublicKey))) {
			t.Errorf("%s: signature", curve)
		}
		if c.Usage != UsageKeyAgreement || c.Effective.Format(time.DateOnly) != "2026-01-02" || c.Expires.Format(time.DateOnly) != "2056-01-02" ||
			!bytes.Equal(c.AuthorityKeyID, []byte{5}) || c.Key.Curve() != curve || !bytes.Equal(c.Image, []byte{4}) {
			t.Errorf("%s: %+v", curve, c)
		}
	}
	whole := ecasd(t, P256)
	outer, _, _ := tlv.Parse(whole)
	all, _ := tlv.ParseAll(outer.Value)
	pieces := make([][]byte, len(all))
	for i, f := range all {
		pieces[i] = tlv.Encode(f.Tag, f.Value)
	}
	for i := range pieces {
		missing := tlv.Encode(0x7F21, bytes.Join(slices.Delete(slices.Clone(pieces), i, i+1), nil))
		twice := tlv.Encode(0x7F21, bytes.Join(slices.Insert(slices.Clone(pieces), i, pieces[i]), nil))
		_, err := ParseECASD(missing)
		optional := slices.Contains([]uint32{0x5F25, 0x45, 0x73}, all[i].Tag)
		if (err == nil) != optional {
			t.Errorf("without tag %X: %v", all[i].Tag, err)
		}
		if _, err := ParseECASD(twice); !errors.Is(err, ErrForm) {
			t.Errorf("with tag %X twice: %v", all[i].Tag, err)
		}
	}
	for name, b := range map[string][]byte{"longer": append(bytes.Clone(whole), 0), "too long": make([]byte, MaxBytes+1), "other tag": tlv.Encode(0x7F22, outer.Value),
		"no day": bytes.Replace(bytes.Clone(whole), []byte{0x20, 0x56, 1, 2}, []byte{0x20, 0x56, 0x13, 2}, 1),
		"P-384":  bytes.Replace(bytes.Clone(whole), []byte{0xF0, 1, 0}, []byte{0xF0, 1, 1}, 1)} {
		if _, err := ParseECASD(b); !errors.Is(err, ErrForm) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
