package transport

import (
	"bytes"
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
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

	"github.com/persoline/persoline/perso/envelope"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/order/k4"
	"github.com/persoline/persoline/perso/reftest"
	"github.com/persoline/persoline/perso/secret"
)

// rsaSigner stands for the maker's key in the HSM.
type rsaSigner struct{ key *rsa.PrivateKey }

func (s rsaSigner) Public(context.Context) (crypto.PublicKey, error) { return s.key.Public(), nil }
func (s rsaSigner) SignMessage(_ context.Context, msg []byte) ([]byte, error) {
	digest := sha512.Sum512(msg)
	return rsa.SignPKCS1v15(nil, s.key, crypto.SHA512, digest[:])
}

// parties makes the receiver's and the maker's key.
func parties(t testing.TB) (receiver, maker *rsa.PrivateKey) {
	t.Helper()
	for _, k := range []**rsa.PrivateKey{&receiver, &maker} {
		key, err := rsa.GenerateKey(rand.Reader, k4.MinRSABits)
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

// Ki and OPc are those of test set 1 of TS 35.208.
const (
	testKi  = "465B5CE8B199B49FAA5F0A2EE238A6BC"
	testOPc = "CD63CB71954A9F4E48A5994E37A02BAF"
)

func testSIM(t testing.TB) Subscription {
	t.Helper()
	iccid, err := id.ParseICCID("8988001020001000004")
	if err != nil {
		t.Fatal(err)
	}
	imsi, err := id.ParseIMSI("001010200100000", 2)
	if err != nil {
		t.Fatal(err)
	}
	return Subscription{Name: "SIM-1", ICCID: iccid, IMSI: imsi}
}

var testCodes = [5][8]byte{{'1', '2', '3', '4', 0xFF, 0xFF, 0xFF, 0xFF}, {'1', '7', '0', '8', '5', '0', '0', '5'},
	{'8', '5', '9', '6', 0xFF, 0xFF, 0xFF, 0xFF}, {'4', '8', '4', '3', '0', '9', '7', '8'}, {1, 0x94, 0x9B, 0x64, 0x99, 0x6D, 0xCD, 0x25}}

// seal makes a whole envelope with one subscription, twice in it: keys, and codes.
func seal(t testing.TB, receiver, maker *rsa.PrivateKey) (envelope.File, []byte) {
	t.Helper()
	r, err := k4.ParseReceiver(7, publicPEM(t, receiver.Public()))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := DeriveSessionKeys(&[32]byte{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Wipe()
	h, err := SealHead(t.Context(), keys, r, rsaSigner{maker})
	if err != nil {
		t.Fatal(err)
	}
	sim, ki, opc := testSIM(t), [16]byte(reftest.Unhex(t, testKi)), [16]byte(reftest.Unhex(t, testOPc))
	credentials, err := keys.SealKeys(sim, ki[:], opc[:])
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := keys.SealCodes(sim, &testCodes)
	if err != nil {
		t.Fatal(err)
	}
	f := envelope.File{Header: envelope.NewHeader(r.KeyID, h.Vendor, h.Sealed, h.Signature)}
	var b bytes.Buffer
	w, err := envelope.NewWriter(&b, f.Header)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]byte{credentials, sealed} {
		f.SIMs = append(f.SIMs, envelope.NewSIM(sim.Name, sim.ICCID.String(), sim.IMSI.String(), c))
		if err := w.Add(f.SIMs[len(f.SIMs)-1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return f, b.Bytes()
}

// openssl, which knows nothing of this code, opens the envelope with the receiver's private key, and finds every check in
// order.
func TestOpenSSLOpensEnvelope(t *testing.T) {
	t.Parallel()
	reftest.RequireTool(t, "openssl")
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
	transport := file("transport", reftest.Unhex(t, f.EncryptedTransportKey))

	both := openssl("pkeyutl", "-decrypt", "-inkey", private, "-in", transport, "-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256")
	if len(both) != 64 {
		t.Fatalf("transport key has %d bytes", len(both))
	}
	openssl("dgst", "-sha512", "-verify", file("maker.pem", publicPEM(t, maker.Public())), "-signature", file("signature", reftest.Unhex(t, f.SignedTransportKey)), transport)
	credentials := reftest.Unhex(t, f.SIMs[0].Properties.Credentials)
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
	back, err := envelope.Read(bytes.NewReader(first), int64(len(first)))
	whole, _ := json.MarshalIndent(f, "", "  ")
	if err != nil || fmt.Sprint(back) != fmt.Sprint(f) || string(first) != string(whole)+"\n" {
		t.Errorf("read back as %+v, %v", back, err)
	}
	if _, err := envelope.Read(bytes.NewReader(first), int64(len(first))-1); !errors.Is(err, envelope.ErrEnvelope) {
		t.Errorf("cut short it reads: %v", err)
	}
	for _, secret := range []string{testKi, testOPc} {
		if strings.Contains(strings.ToUpper(string(first)), secret) {
			t.Error("a key is in the envelope in clear")
		}
	}
	r, err := k4.ParseReceiver(7, publicPEM(t, receiver.Public()))
	if err != nil {
		t.Fatal(err)
	}
	other, err := k4.ParseReceiver(7, publicPEM(t, maker.Public()))
	if err != nil {
		t.Fatal(err)
	}
	contexts := map[string]bool{}
	for _, c := range [][]byte{EnvelopeContext("L1", r.Ref().Fingerprint), EnvelopeContext("L11", r.Ref().Fingerprint), EnvelopeContext("L1", other.Ref().Fingerprint)} {
		contexts[string(c)] = true
	}
	if len(contexts) != 3 {
		t.Error("two contexts are equal")
	}
}

func TestSubscriptionRefusals(t *testing.T) {
	t.Parallel()
	keys, err := DeriveSessionKeys(&[32]byte{})
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Subscription){
		"no name": func(s *Subscription) { s.Name = "" }, "colon": func(s *Subscription) { s.Name = "a:b" },
		"no ICCID": func(s *Subscription) { s.ICCID = id.ICCID{} }, "no IMSI": func(s *Subscription) { s.IMSI = id.IMSI{} },
	} {
		s := testSIM(t)
		spoil(&s)
		if _, err := keys.SealCodes(s, &testCodes); !errors.Is(err, ErrSubscription) {
			t.Errorf("%s: %v", name, err)
		}
	}
	keys.Wipe()
	if *keys != (SessionKeys{}) {
		t.Error("wiping leaves something")
	}
}

// The receiver opens what is his and whole, and nothing else.
func TestOpening(t *testing.T) {
	t.Parallel()
	receiver, maker := parties(t)
	f, _ := seal(t, receiver, maker)
	o, err := f.Open(receiver, &maker.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Wipe()
	for i, want := range []string{":" + testKi + ":" + testOPc, ":31323334FFFFFFFF:3137303835303035:38353936FFFFFFFF:3438343330393738:01949B64996DCD25"} {
		open, err := o.Open(f.SIMs[i])
		if err != nil || !open.Equal(secret.New([]byte("1:8988001020001000004:001010200100000"+want))) {
			t.Errorf("value %d opens as something else, %v", i, err)
		}
	}
	flip := func(s string) string { return map[byte]string{'0': "1"}[s[0]] + s[1:] }
	for name, spoil := range map[string]func(*envelope.SIM){
		"MAC": func(s *envelope.SIM) {
			s.Properties.Credentials = strings.Repeat("0", 128) + s.Properties.Credentials[128:]
		},
		"cut": func(s *envelope.SIM) {
			s.Properties.Credentials = s.Properties.Credentials[:len(s.Properties.Credentials)-32]
		},
		"no hex":        func(s *envelope.SIM) { s.Properties.Credentials = "x" + s.Properties.Credentials[1:] },
		"empty":         func(s *envelope.SIM) { s.Properties.Credentials = "" },
		"another IMSI":  func(s *envelope.SIM) { s.Properties.IMSI = flip(s.Properties.IMSI) },
		"another ICCID": func(s *envelope.SIM) { s.Properties.ICCID += "0" },
	} {
		s := f.SIMs[0]
		spoil(&s)
		if _, err := o.Open(s); !errors.Is(err, envelope.ErrEnvelope) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h := f.Header
	h.EncryptedTransportKey = f.SignedTransportKey
	for name, err := range map[string]error{
		"of another maker": second(f.Open(receiver, &receiver.PublicKey)), "for another receiver": second(f.Open(maker, &maker.PublicKey)),
		"not signed": second(h.Open(receiver, &maker.PublicKey)),
	} {
		if !errors.Is(err, envelope.ErrEnvelope) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second(_ *envelope.Opener, err error) error { return err }

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
	ki, opc := [16]byte(reftest.Unhex(t, testKi)), [16]byte(reftest.Unhex(t, testOPc))
	credentials, err := k.SealKeys(s, ki[:], opc[:])
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := k.SealCodes(s, &testCodes)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]byte{"envelope credentials": credentials, "envelope codes": sealed} {
		if want := vector(t, string(page), name); !bytes.Equal(got, want) {
			t.Errorf("%s are %x, the page says %x", name, got, want)
		}
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
	return reftest.Unhex(t, value)
}
