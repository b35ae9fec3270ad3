package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/keygen/certify"
	"github.com/persoline/persoline/perso/cert"
	"github.com/persoline/persoline/perso/cert/certtest"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/reftest"
	"github.com/persoline/persoline/perso/tlv"
)

// writeChain puts a CI in PEM, an EUM and an eUICC on a curve into a folder, and an M2M eUICC in hex.
func writeChain(t *testing.T, curve cert.Curve) (dir string) {
	t.Helper()
	dir = t.TempDir()
	p := certtest.New(curve)
	eum := p.EUM().Sign(p.CIKey, p.EUMKey)
	eid := certtest.Must(id.ParseEID(certtest.EID))
	chip := certtest.NumberedKey(curve, 3).Public
	euicc := certtest.Must(certify.Issue(t.Context(), p.EUMKey, certify.EUICC{EUM: eum, EID: eid, Key: chip, CommonName: "chip", NotBefore: certtest.Begin.AddDate(1, 0, 0)}))
	for name, content := range map[string][]byte{
		"ci.pem": append(certtest.New(cert.BrainpoolP256r1).Root.MarshalPEM(), certtest.New(cert.P256).Root.MarshalPEM()...),
		"eum":    eum.Raw, "euicc": euicc.Raw, "m2m": m2mCertificate(t, p, eid, chip), "text": []byte("certificate\n"), "damaged": eum.Raw[:len(eum.Raw)-1],
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func m2mCertificate(t *testing.T, p *certtest.PKI, eid id.EID, chip cert.PublicKey) []byte {
	t.Helper()
	digits, ski := eid.Bytes(), p.EUMKey.Public.ID()
	ref := map[cert.Curve]byte{cert.P256: 0, cert.BrainpoolP256r1: 3}[chip.Curve()]
	body := slices.Concat(tlv.Encode(0x93, []byte{1}), tlv.Encode(0x42, []byte{0x89, 4, 0x90, 0x32}), tlv.Encode(0x5F20, digits[:]), tlv.Encode(0x95, []byte{0, 0x80}),
		tlv.Encode(0x5F25, []byte{0x20, 0x27, 1, 1}), tlv.Encode(0x5F24, []byte{0x20, 0x57, 1, 1}), tlv.Encode(0x73, tlv.Encode(0xC9, ski[:])),
		tlv.Encode(0x7F49, tlv.Encode(0xB0, chip.Point()), tlv.Encode(0xF0, []byte{ref})))
	sum := sha256.Sum256(body)
	sig := certtest.Must(p.EUMKey.SignDigest(t.Context(), sum[:]))
	return []byte(hex.EncodeToString(tlv.Encode(0x7F21, body, tlv.Encode(0x5F37, sig))) + "\n")
}

func TestCertShow(t *testing.T) {
	t.Parallel()
	for curve, name := range map[cert.Curve]string{cert.P256: "cert-show.txt", cert.BrainpoolP256r1: "cert-show-brainpool.txt"} {
		golden(t, name, showChain(t, writeChain(t, curve)))
	}
	dir := writeChain(t, cert.P256)
	for name, want := range map[string]string{"text": "not a well-formed certificate", "none": "there is no "} {
		if r := run(t, nil, nil, "cert", "show", filepath.Join(dir, name)); r.code != ExitFailed || !strings.Contains(r.err, want) {
			t.Errorf("%s: exit %d, %s", name, r.code, r.err)
		}
	}
}

// showChain shows each file of a chain, and gives what is the same each time.
func showChain(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	for _, name := range []string{"ci.pem", "eum", "euicc", "m2m"} {
		r := run(t, nil, nil, "cert", "show", filepath.Join(dir, name))
		if r.code != ExitOK || r.err != "" {
			t.Errorf("%s: exit %d, %s", name, r.code, r.err)
		}
		for line := range strings.Lines(r.out) {
			if !strings.HasPrefix(line, "SHA-256") { // a signature is another one each time
				all.WriteString(line)
			}
		}
		all.WriteString("--\n")
		var f struct{ Certificates []struct{ SHA256 string } }
		r = run(t, nil, nil, "cert", "show", "--json", filepath.Join(dir, name))
		if err := json.Unmarshal([]byte(r.out), &f); err != nil || len(f.Certificates) == 0 || len(f.Certificates[0].SHA256) != 64 || strings.Count(r.out, "\n") != 1 {
			t.Errorf("%s: %v\n%s", name, err, r.out)
		}
	}
	return all.String()
}

func TestCertCheck(t *testing.T) {
	t.Parallel()
	for _, curve := range []cert.Curve{cert.P256, cert.BrainpoolP256r1} {
		dir := writeChain(t, curve)
		now := func(env *Env) { env.Now = func() time.Time { return certtest.Begin.AddDate(2, 0, 0) } }
		for _, c := range []struct {
			args string
			code int
			want string // in the result, or else on standard error
		}{
			{"--ci ci.pem --eum eum", ExitOK, "acceptable at 2028-01-02T03:04:05Z: C=ES, O=Maker, CN=EUM\n"},
			{"--ci ci.pem --eum eum --euicc euicc", ExitOK, "and its eUICC C=ES, O=Maker, serialNumber=" + certtest.EID},
			{"--ci ci.pem --eum eum --euicc m2m", ExitOK, "and its eUICC " + certtest.EID},
			{"--ci ci.pem --eum eum --m2m", ExitOK, "acceptable"},
			{"--ci ci.pem --eum eum --euicc euicc --at 2026-06-30", ExitRefuted, "not-yet-valid: euicc certificate C=ES"},
			{"--ci ci.pem --eum eum --euicc m2m --at 2026-06-30", ExitRefuted, "not-yet-valid: euicc certificate " + certtest.EID},
			{"--ci ci.pem --eum eum --at 2056-01-02T03:04:06Z", ExitRefuted, "perso: error: the chain is not acceptable: 2 reasons"},
			{"--ci eum --eum eum", ExitRefuted, "unknown-ci: eum certificate"},
			{"--ci ci.pem --eum euicc --euicc eum", ExitRefuted, "role: eum certificate"},
			{"--ci ci.pem --eum eum --sub-ca eum", ExitRefuted, "role: eum-sub-ca certificate"},
			{"--ci ci.pem --eum damaged", ExitRefuted, "not a well-formed certificate"},
			{"--ci ci.pem --eum text", ExitFailed, "neither PEM nor DER: reading a certificate: not a well-formed certificate"},
			{"--ci ci.pem --eum none", ExitFailed, "there is no "},
			{"--ci ci.pem", ExitUsage, "--eum must be given"},
			{"--ci ci.pem --eum ci.pem", ExitUsage, "holds 2 certificates"},
			{"--ci m2m --eum eum", ExitUsage, "which only an eUICC has"},
			{"--ci ci.pem --eum eum --at tomorrow", ExitUsage, "neither a day"},
			{"--ci ci.pem --eum eum --euicc euicc --m2m", ExitUsage, "of tag 7F21"},
		} {
			args := append([]string{"cert", "check"}, strings.Fields(c.args)...)
			for i, a := range args {
				if i > 2 && strings.HasPrefix(args[i-1], "--") && args[i-1] != "--at" && args[i-1] != "--m2m" {
					args[i] = filepath.Join(dir, a)
				}
			}
			if r := run(t, nil, now, args...); r.code != c.code || !strings.Contains(r.out+r.err, c.want) {
				t.Errorf("%s: %s: exit %d, want %d and %q\n%s%s", curve, c.args, r.code, c.code, c.want, r.out, r.err)
			}
		}
		var j certJudged
		r := run(t, nil, now, "cert", "check", "--ci", filepath.Join(dir, "ci.pem"), "--eum", filepath.Join(dir, "eum"), "--at", "2057-01-01", "--json")
		if err := json.Unmarshal([]byte(r.out), &j); err != nil || r.code != ExitRefuted || j.OK || len(j.Faults) != 2 || j.Faults[1].Reason != "expired" || j.Faults[1].Certificate != "eum" {
			t.Errorf("exit %d, %v, %s", r.code, err, r.out)
		}
	}
}

// The published certificates, with the commands that a person would type.
func TestCertCheckPublished(t *testing.T) {
	t.Parallel()
	set, bad := reftest.Path(t, "data", "sgp26_v1.5"), reftest.Path(t, "data", "sgp26_invalid")
	under := func(curve string) func(want int, euicc string) {
		return func(want int, euicc string) {
			t.Helper()
			r := run(t, nil, nil, "cert", "check", "--at", "2027-01-01", "--ci", filepath.Join(set, "CertificateIssuer", "CERT_CI_ECDSA_"+curve+".pem"),
				"--eum", filepath.Join(set, "EUM", "CERT_EUM_ECDSA_"+curve+".der"), "--euicc", euicc)
			if r.code != want {
				t.Errorf("%s under the EUM of %s: exit %d, want %d\n%s%s", euicc, curve, r.code, want, r.out, r.err)
			}
		}
	}
	check, checkBrainpool := under("NIST"), under("BRP")
	nist, brainpool := filepath.Join(set, "eUICC", "CERT_EUICC_ECDSA_NIST.der"), filepath.Join(set, "eUICC", "CERT_EUICC_ECDSA_BRP.der")
	check(ExitOK, nist)
	check(ExitOK, reftest.Path(t, "data", "synthetic_eis", "cert_ecasd_ecka_synthetic.hex"))
	check(ExitRefuted, brainpool)
	checkBrainpool(ExitOK, brainpool)
	checkBrainpool(ExitRefuted, nist)
	files, err := filepath.Glob(filepath.Join(bad, "CERT_EUICC_*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no invalid certificates: %v", err)
	}
	for _, f := range files {
		check(ExitRefuted, f)
	}
}
