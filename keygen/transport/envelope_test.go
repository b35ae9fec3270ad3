package transport

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/id"
)

// rsaSigner stands for the maker's key in the HSM.
type rsaSigner struct{ key *rsa.PrivateKey }

func (s rsaSigner) Public() crypto.PublicKey { return s.key.Public() }
func (s rsaSigner) SignSHA512(d [64]byte) ([]byte, error) {
	return rsa.SignPKCS1v15(nil, s.key, crypto.SHA512, d[:])
}

// parties makes the receiver's and the maker's key.
func parties(t testing.TB) (receiver, maker *rsa.PrivateKey) {
	t.Helper()
	for _, k := range []**rsa.PrivateKey{&receiver, &maker} {
		key, err := rsa.GenerateKey(rand.Reader, MinRSABits)
		if err != nil {
			t.Fatal(err)
		}
		*k = key
	}
	return receiver, maker
}

func publicPEM(t testing.TB, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func testSIM(t testing.TB) SIM {
	t.Helper()
	iccid, err := id.ParseICCID("8988001020001000004")
	if err != nil {
		t.Fatal(err)
	}
	imsi, err := id.ParseIMSI("001010200100000", 2)
	if err != nil {
		t.Fatal(err)
	}
	return SIM{Name: "SIM-1", ICCID: iccid, IMSI: imsi, Ki: [16]byte(unhex(t, "465b5ce8b199b49faa5f0a2ee238a6bc")), OPc: [16]byte(unhex(t, "cd63cb71954a9f4e48a5994e37a02baf"))}
}

// seal makes a whole envelope with one subscription.
func seal(t testing.TB, receiver, maker *rsa.PrivateKey) (File, []byte) {
	t.Helper()
	r, err := ParseReceiver(7, publicPEM(t, receiver.Public()))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := DeriveSessionKeys(&[32]byte{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Wipe()
	h, err := SealHeader(keys, r, rsaSigner{maker})
	if err != nil {
		t.Fatal(err)
	}
	sim, err := SealSIM(keys, testSIM(t))
	if err != nil {
		t.Fatal(err)
	}
	f := File{Header: h, SIMs: []SealedSIM{sim}}
	b, err := f.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return f, b
}

func requireTool(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if slices.Contains(strings.Split(os.Getenv("PERSO_TEST_REQUIRE"), ","), name) {
		t.Fatalf("%s is required by PERSO_TEST_REQUIRE and not installed", name)
	}
	t.Skipf("%s is not installed", name)
}

// openssl, which knows nothing of this code, opens the envelope with the receiver's private key, and finds every check in
// order.
func TestOpenSSLOpensEnvelope(t *testing.T) {
	t.Parallel()
	requireTool(t, "openssl")
	receiver, maker := parties(t)
	f, _ := seal(t, receiver, maker)
	dir := t.TempDir()
	file := func(name string, b []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	openssl := func(args ...string) []byte {
		out, err := exec.CommandContext(t.Context(), "openssl", args...).Output()
		if err != nil {
			t.Fatalf("openssl %s: %v", args[0], err)
		}
		return out
	}
	private := file("receiver.pem", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(receiver)}))
	transport := file("transport", unhex(t, f.EncryptedTransportKey))

	both := openssl("pkeyutl", "-decrypt", "-inkey", private, "-in", transport, "-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256")
	if len(both) != 64 {
		t.Fatalf("transport key has %d bytes", len(both))
	}
	openssl("dgst", "-sha512", "-verify", file("maker.pem", publicPEM(t, maker.Public())), "-signature", file("signature", unhex(t, f.SignedTransportKey)), transport)
	credentials := unhex(t, f.SIMs[0].Properties.Credentials)
	mac, rest := credentials[:64], credentials[64:]
	out := openssl("dgst", "-sha512", "-mac", "HMAC", "-macopt", "hexkey:"+hex.EncodeToString(both[32:]), "-r", file("rest", rest))
	if !strings.HasPrefix(string(out), hex.EncodeToString(mac)) {
		t.Errorf("HMAC is %s, the envelope has %x", out, mac)
	}
	plain := openssl("enc", "-d", "-aes-256-cbc", "-K", hex.EncodeToString(both[:32]), "-iv", hex.EncodeToString(rest[:16]), "-in", file("body", rest[16:]))
	if want := "1:8988001020001000004:001010200100000:465B5CE8B199B49FAA5F0A2EE238A6BC:CD63CB71954A9F4E48A5994E37A02BAF"; string(plain) != want {
		t.Errorf("opened %q", plain)
	}
}

// Made again, the envelope is the same file (I8); for another lot or receiver nothing in it is.
func TestEnvelopeIsAFunction(t *testing.T) {
	t.Parallel()
	receiver, maker := parties(t)
	f, first := seal(t, receiver, maker)
	_, second := seal(t, receiver, maker)
	if !bytes.Equal(first, second) {
		t.Error("an envelope made twice differs")
	}
	var back File
	if err := json.Unmarshal(first, &back); err != nil || fmt.Sprint(back) != fmt.Sprint(f) {
		t.Errorf("read back as %+v, %v", back, err)
	}
	for _, secret := range []string{"465B5CE8B199B49FAA5F0A2EE238A6BC", "CD63CB71954A9F4E48A5994E37A02BAF"} {
		if strings.Contains(strings.ToUpper(string(first)), secret) {
			t.Error("a key is in the envelope in clear")
		}
	}
	r, err := ParseReceiver(7, publicPEM(t, receiver.Public()))
	if err != nil {
		t.Fatal(err)
	}
	other, err := ParseReceiver(7, publicPEM(t, maker.Public()))
	if err != nil {
		t.Fatal(err)
	}
	contexts := map[string]bool{}
	for _, c := range [][]byte{EnvelopeContext("L1", r.Fingerprint()), EnvelopeContext("L11", r.Fingerprint()), EnvelopeContext("L1", other.Fingerprint())} {
		contexts[string(c)] = true
	}
	if len(contexts) != 3 {
		t.Error("two contexts are equal")
	}
}

func TestReceiverForms(t *testing.T) {
	t.Parallel()
	key, _ := parties(t)
	good := publicPEM(t, key.Public())
	der, _ := pem.Decode(good)
	a, errA := ParseReceiver(1, good)
	b, errB := ParseReceiver(1, der.Bytes)
	if errA != nil || errB != nil || a.Fingerprint() != b.Fingerprint() {
		t.Errorf("PEM and DER: %v, %v", errA, errB)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string][]byte{
		"nothing": nil, "1024 bits": publicPEM(t, small.Public()), "not RSA": publicPEM(t, curve.Public()), "two blocks": append(bytes.Clone(good), good...),
		"private": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), "text behind DER": append(bytes.Clone(der.Bytes), 0),
		"exponent 3": publicPEM(t, &rsa.PublicKey{N: key.N, E: 3}), "too large": make([]byte, MaxKeyFileBytes+1),
	} {
		if _, err := ParseReceiver(1, file); !errors.Is(err, ErrReceiver) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSIMRefusals(t *testing.T) {
	t.Parallel()
	keys, err := DeriveSessionKeys(&[32]byte{})
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*SIM){
		"no name": func(s *SIM) { s.Name = "" }, "long name": func(s *SIM) { s.Name = strings.Repeat("a", 65) }, "colon": func(s *SIM) { s.Name = "a:b" },
		"no ICCID": func(s *SIM) { s.ICCID = id.ICCID{} }, "no IMSI": func(s *SIM) { s.IMSI = id.IMSI{} },
	} {
		s := testSIM(t)
		spoil(&s)
		if _, err := SealSIM(keys, s); !errors.Is(err, ErrEnvelope) {
			t.Errorf("%s: %v", name, err)
		}
	}
	keys.Wipe()
	if *keys != (SessionKeys{}) {
		t.Error("wiping leaves something")
	}
}

// The vectors of KEYTREE.md, computed by another program.
func TestSessionKeyVectors(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../KEYTREE.md")
	if err != nil {
		t.Fatal(err)
	}
	lotKey, fingerprint := make([]byte, 32), [32]byte(bytes.Repeat([]byte{0x5A}, 32))
	for i := range lotKey {
		lotKey[i] = byte(i)
	}
	h := hmac.New(sha256.New, lotKey)
	h.Write(slices.Concat([]byte{0, 0, 0, 1}, []byte("persoline/1 envelope"), []byte{0}, EnvelopeContext("LOT-2026-0001", fingerprint), []byte{0, 0, 1, 0}))
	envelopeKey := [32]byte(h.Sum(nil))
	if want := vector(t, string(page), "envelope key"); !bytes.Equal(envelopeKey[:], want) {
		t.Errorf("envelope key is %x, the page says %x", envelopeKey, want)
	}
	k, err := DeriveSessionKeys(&envelopeKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][32]byte{"envelope aes": k.aes, "envelope hmac": k.mac, "envelope oaep": k.oaep, "envelope iv": k.iv} {
		if want := vector(t, string(page), name); !bytes.Equal(got[:], want) {
			t.Errorf("%s is %x, the page says %x", name, got, want)
		}
	}
	s := testSIM(t)
	sealed, err := SealSIM(k, s)
	if err != nil {
		t.Fatal(err)
	}
	if want := vector(t, string(page), "envelope credentials"); sealed.Properties.Credentials != strings.ToUpper(hex.EncodeToString(want)) {
		t.Errorf("credentials are %s, the page says %x", sealed.Properties.Credentials, want)
	}
}

// vector is a row "| name | – | hex |" of the page.
func vector(t *testing.T, page, name string) []byte {
	t.Helper()
	_, rest, ok := strings.Cut(page, "| "+name+" | – | ")
	value, _, _ := strings.Cut(rest, " ")
	if !ok {
		t.Fatalf("the page has no row %q", name)
	}
	return unhex(t, value)
}

func FuzzParseReceiver(f *testing.F) {
	key, _ := parties(f)
	f.Add(publicPEM(f, key.Public()))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := ParseReceiver(1, in)
		if err != nil {
			if !errors.Is(err, ErrReceiver) {
				t.Fatal(err)
			}
			return
		}
		again, err := ParseReceiver(1, r.der)
		if err != nil || again.Fingerprint() != r.Fingerprint() {
			t.Fatal("the DER of a key reads otherwise")
		}
	})
}
