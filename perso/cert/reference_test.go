package cert

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/perso/reftest"
)

// reference reads a file of the public test data, which are not in the repository.
func reference(t testing.TB, name string) []byte {
	t.Helper()
	return reftest.Read(t, "data", name)
}

// published reads one certificate of the test data.
func published(t testing.TB, name string) *Certificate {
	t.Helper()
	all, err := ParseFile(reference(t, name))
	if err != nil || len(all) != 1 {
		t.Fatalf("%s: %d certificates, %v", name, len(all), err)
	}
	return all[0]
}

const (
	setFolder     = "sgp26_v1.5/"
	invalidFolder = "sgp26_invalid/"
)

// publishedChain is the valid set on a curve, NIST or BRP.
func publishedChain(t testing.TB, curve string) Chain {
	t.Helper()
	return Chain{
		Roots: []*Certificate{published(t, setFolder+"CertificateIssuer/CERT_CI_ECDSA_"+curve+".der")},
		EUM:   published(t, setFolder+"EUM/CERT_EUM_ECDSA_"+curve+".der"),
		EUICC: published(t, setFolder+"eUICC/CERT_EUICC_ECDSA_"+curve+".der"),
	}
}

var inForce = Rules{At: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}

func TestPublishedSetIsAccepted(t *testing.T) {
	t.Parallel()
	for curve, key := range map[string]Curve{"NIST": P256, "BRP": BrainpoolP256r1} {
		c := publishedChain(t, curve)
		if err := Check(c, inForce); err != nil {
			t.Errorf("%s: %v", curve, err)
		}
		if err := CheckRoot(c.Roots[0], inForce); err != nil {
			t.Errorf("%s: %v", curve, err)
		}
		if c.EUICC.Key.Curve() != key || c.EUICC.NotAfter.Year() != 7496 {
			t.Errorf("%s: on %s until %s", curve, c.EUICC.Key.Curve(), c.EUICC.NotAfter)
		}
		for _, one := range []*Certificate{c.Roots[0], c.EUM, c.EUICC} {
			if own := one.Key.ID(); !bytes.Equal(own[:], one.Values.SubjectKeyID) {
				t.Errorf("%s: key identifier %x, computed %x", one, one.Values.SubjectKeyID, own)
			}
		}
	}
}

// reasonsOf are the reasons of a refusal with the places of the certificates, in order.
func reasonsOf(err error) (all []string) {
	var r *Refusal
	if !errors.As(err, &r) {
		return nil
	}
	for _, f := range r.Faults {
		all = append(all, f.Of.String()+" "+string(f.Reason))
	}
	return all
}

// Each published certificate that is invalid is refused for its own reason, and for nothing that is not wrong with it. The
// defective EUMs have a role and extensions of another kind too, which their makers did not mean and which is said as well.
func TestPublishedInvalidSetIsRefused(t *testing.T) {
	t.Parallel()
	const eum = "CERT_EUM_ECDSA_NIST_"
	otherKind := []string{"eum key-usage", "eum basic-constraints", "eum role", "eum registered-id", "eum name-constraints"}
	for _, c := range []struct {
		file string
		why  Reason
		all  []string
	}{
		{"CERT_EUICC_ECDSA_NIST_EXPIRED.der", ReasonExpired, []string{"euicc expired"}},
		{"CERT_EUICC_ECDSA_NIST_INVALID.der", ReasonSignature, []string{"euicc issuer", "euicc authority-key-id", "euicc signature", "euicc organization"}},
		{"CERT_EUICC_ECDSA_NIST_INVALID_EID.der", ReasonEIDPrefix, []string{"euicc eid", "euicc eid-prefix"}},
		{"CERT_EUICC_ECDSA_NIST_INVALID_EID.pem", ReasonEIDPrefix, []string{"euicc eid", "euicc eid-prefix"}},
		{"CERT_EUICC_ECDSA_NIST_UNMATCHED_EID.der", ReasonEID, []string{"euicc eid"}},
		{"CERT_EUICC_ECDSA_NIST_UNMATCHED_EID.pem", ReasonEID, []string{"euicc eid"}},
		{eum + "EXPIRED.der", ReasonExpired, slices.Concat([]string{"eum expired"}, otherKind)},
		{eum + "INVALID.der", ReasonUnknownCI, slices.Concat([]string{"eum unknown-ci"}, otherKind)},
		{eum + "UNKNOWN_CI.der", ReasonUnknownCI, slices.Concat([]string{"eum unknown-ci"}, otherKind)},
	} {
		chain := publishedChain(t, "NIST")
		bad := published(t, invalidFolder+c.file)
		if strings.HasPrefix(c.file, eum) {
			chain.EUM, chain.EUICC = bad, nil
		} else {
			chain.EUICC = bad
		}
		err := Check(chain, inForce)
		if !errors.Is(err, c.why) {
			t.Errorf("%s: not refused as %s: %v", c.file, c.why, err)
		}
		if got := reasonsOf(err); !slices.Equal(got, c.all) {
			t.Errorf("%s: reasons %q, want %q\n%v", c.file, got, c.all, err)
		}
	}
}

// The unknown CI has no extension at all: as a root it is refused, and the EUM below it stays refused when it is trusted.
func TestPublishedUnknownCI(t *testing.T) {
	t.Parallel()
	ci := published(t, invalidFolder+"CERT_UNKNOWN_CI_ECDSA_NIST.der")
	want := []string{"ci subject-key-id", "ci key-usage", "ci basic-constraints", "ci role"}
	if got := reasonsOf(CheckRoot(ci, inForce)); !slices.Equal(got, want) {
		t.Errorf("reasons %q, want %q", got, want)
	}
	chain := publishedChain(t, "NIST")
	chain.EUM, chain.Roots = published(t, invalidFolder+"CERT_EUM_ECDSA_NIST_UNKNOWN_CI.der"), append(chain.Roots, ci)
	if err := Check(chain, inForce); !errors.Is(err, ReasonUnknownCI) {
		t.Errorf("not refused as %s: %v", ReasonUnknownCI, err)
	}
}

// Curves are not mixed, even where every certificate is valid by itself.
func TestPublishedSetsAreNotMixed(t *testing.T) {
	t.Parallel()
	nist, brp := publishedChain(t, "NIST"), publishedChain(t, "BRP")
	nist.EUICC = brp.EUICC
	err := Check(nist, inForce)
	for _, r := range []Reason{ReasonCurve, ReasonSignature, ReasonAuthorityKey} {
		if !errors.Is(err, r) {
			t.Errorf("not refused as %s: %v", r, err)
		}
	}
}

// The roots in the field are of many forms; all are read, and have the form of a CI.
func TestRealRoots(t *testing.T) {
	t.Parallel()
	for file, count := range map[string]int{"gsma_rsp2_root_ci1.crt": 1, "production_ci_bundle.pem": 8, "test_ci_bundle.pem": 8} {
		all, err := ParseFile(reference(t, "ci_real/"+file))
		if err != nil || len(all) != count {
			t.Fatalf("%s: %d certificates, want %d, %v", file, len(all), count, err)
		}
		for _, c := range all {
			rules := Rules{At: c.NotBefore.AddDate(1, 0, 0)}
			if err := CheckRoot(c, rules); err != nil {
				t.Error(err)
			}
			if role, _ := c.Role(); role != RoleCI || len(c.Values.RegisteredIDs) != 1 {
				t.Errorf("%s: role %s, identifiers %v", c, role, c.Values.RegisteredIDs)
			}
		}
	}
}

// Servers' certificates are read, with their roles.
func TestPublishedServers(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]Role{
		"DPauth/CERT_S_SM_DPauth_ECDSA_NIST.der": RoleDPAuth, "DPauth/CERT_S_SM_DP2auth_ECDSA_BRP.der": RoleDPAuth,
		"DPpb/CERT_S_SM_DPpb_ECDSA_BRP.der": RoleDPPB, "DPtls/CERT_S_SM_DP_VARO_TLS_NIST.der": RoleDPTLS, "DPtls/CERT_S_SM_DP4_TLS.der": RoleDPTLS,
	} {
		c := published(t, setFolder+name)
		if role, variant := c.Role(); role != want || variant != VariantO {
			t.Errorf("%s: role %s of variant %d, want %s", name, role, variant, want)
		}
		if want == RoleDPTLS && (len(c.Values.DNSNames) == 0 || len(c.Values.ExtKeyUsage) != 2) {
			t.Errorf("%s: names %q, usage %v", name, c.Values.DNSNames, c.Values.ExtKeyUsage)
		}
	}
}

// vectors are the published certificates of tag 7F21, and the key of each issuer.
func vectors(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for s := bufio.NewScanner(bytes.NewReader(reference(t, "gp_cert/vectors.txt"))); s.Scan(); {
		name, value, ok := strings.Cut(s.Text(), "=")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		b, err := hex.DecodeString(value)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = b
	}
	return all
}

func TestPublishedECASD(t *testing.T) {
	t.Parallel()
	v := vectors(t)
	ca1, err := NewPublicKey(P256, v["CA1_PUB"])
	if err != nil {
		t.Fatal(err)
	}
	ca2, err := FromECDSA(&signingKey(P256, v["CI2_PRIV"]).PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	const header = 5 + 3 // of the command, and of data grouping 3A01
	second := v["APDU2"][header:]
	own, err := hex.DecodeString(strings.TrimSpace(string(reference(t, "synthetic_eis/cert_ecasd_ecka_synthetic.hex"))))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		der    []byte
		issuer PublicKey
		usage  uint16
		until  string
	}{
		{"SCP11", v["CERT1"], ca1, 0x0080, "2036-12-31"},
		{"SM-SR", second, ca2, 0x8800, "2145-01-01"},
		{"synthetic", own, published(t, setFolder+"EUM/CERT_EUM_ECDSA_NIST.der").Key, UsageKeyAgreement, "2056-11-22"},
	} {
		got, err := ParseECASD(c.der)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if !got.SignedBy(c.issuer) {
			t.Errorf("%s: its signature does not verify", c.name)
		}
		if got.Usage != c.usage || got.Expires.Format(time.DateOnly) != c.until {
			t.Errorf("%s: usage %04X until %s", c.name, got.Usage, got.Expires)
		}
		for i := range c.der { // no byte of it can change
			bad := bytes.Clone(c.der)
			bad[i] ^= 1
			if other, err := ParseECASD(bad); err == nil && other.SignedBy(c.issuer) {
				t.Errorf("%s: verifies with byte %d changed", c.name, i)
			}
		}
	}
	if c, err := ParseECASD(own); err != nil || hex.EncodeToString(c.Subject) != testEID || hex.EncodeToString(c.AuthorityKeyID) != "dd3da24d350c1cc5d0af0965f40ec34c5ee409f1" {
		t.Errorf("synthetic: %+v, %v", c, err)
	}
}
