package certify

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	mrand "math/rand/v2"
	"strings"
	"testing"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/perso/cert"
)

type keyMaker interface {
	Token
	Generate(ctx context.Context, k hsm.Key) error
	Has(ctx context.Context, k hsm.Key) (bool, error)
	Public(ctx context.Context, k hsm.Key) (crypto.PublicKey, error)
}

// classOf is the key class of an EUM on a curve.
var classOf = map[cert.Curve]hsm.Class{cert.P256: hsm.ClassEUM, cert.BrainpoolP256r1: hsm.ClassEUMBrainpool}

// The way of an EUM, with its key in a token, on both curves.
func TestWithKeyInToken(t *testing.T) {
	t.Parallel()
	token := hsmfake.New(mrand.NewChaCha8([32]byte{1}))
	for _, curve := range curves {
		waysOfAnEUM(t, token, curve)
	}
}

func TestWithKeyInSoftHSM(t *testing.T) {
	t.Parallel()
	token := hsmtest.SoftHSM(t)
	for _, curve := range curves {
		waysOfAnEUM(t, token, curve)
	}
}

// NSS softoken goes the way on P-256, and says of the other curve that it has it not, before it makes anything.
func TestWithKeyInNSS(t *testing.T) {
	t.Parallel()
	token := hsmtest.NSS(t)
	waysOfAnEUM(t, token, cert.P256)
	key := must(hsm.NewKey("test", hsm.ClassEUMBrainpool, "certify-way"))
	if err := token.Generate(t.Context(), key); !errors.Is(err, hsm.ErrUnsupported) {
		t.Errorf("making a key on %s: %v", cert.BrainpoolP256r1, err)
	}
	if has, err := token.Has(t.Context(), key); has || err != nil {
		t.Errorf("the key is there: %v, %v", has, err)
	}
	if _, err := SignRequest(t.Context(), SignerOf(token, key), newSite(cert.BrainpoolP256r1).request); !errors.Is(err, hsm.ErrNotFound) {
		t.Errorf("signing with it: %v", err)
	}
}

func waysOfAnEUM(t *testing.T, token keyMaker, curve cert.Curve) {
	t.Helper()
	key := must(hsm.NewKey("test", classOf[curve], "certify-way"))
	if err := token.Generate(t.Context(), key); err != nil {
		t.Fatalf("%s: %v", curve, err)
	}
	own := must(KeyOf(must(token.Public(t.Context(), key))))
	if own.Curve() != curve {
		t.Fatalf("the key is on %s, not on %s", own.Curve(), curve)
	}
	for scheme, name := range map[cert.Scheme]string{cert.SGP22: "SGP.22", cert.SGP02: "SGP.02"} {
		s := newSite(curve)
		s.request.Key, s.request.Scheme = own, scheme
		if scheme == cert.SGP02 {
			s.request.IssuerNumbers = nil
		}
		wayOfAnEUM(t, name+" on "+curve.String(), SignerOf(token, key), s)
	}
}

// wayOfAnEUM is request, the CI's answer, its check, and under SGP.22 the certificate of an eUICC and its chain.
func wayOfAnEUM(t *testing.T, name string, signer Signer, s *site) {
	t.Helper()
	csr, err := SignRequest(t.Context(), signer, s.request)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	chain := cert.Chain{Roots: []*cert.Certificate{s.root}, EUM: s.answer().Sign(s.ci, &softKey{Public: s.request.Key})}
	if err := CheckAnswer(s.request, chain, cert.Rules{At: now}); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	another := s.request
	another.Key = testKey(s.ci.Public.Curve(), 9).Public
	if err := CheckAnswer(another, chain, cert.Rules{At: now}); !errors.Is(err, cert.ReasonOtherKey) {
		t.Errorf("%s: answer for another key: %v", name, err)
	}
	dir := t.TempDir()
	write(t, dir, "eum.csr", csr)
	if text := openssl(t, dir, "req", "-inform", "DER", "-in", "eum.csr", "-noout", "-text", "-verify"); !strings.Contains(text, "self-signature verify OK") {
		t.Errorf("%s: openssl of the request:\n%s", name, text)
	}
	if s.request.Scheme == cert.SGP02 {
		return // its eUICC certificates are those of tag 7F21
	}
	e := s.euicc()
	e.EUM = chain.EUM
	if chain.EUICC, err = Issue(t.Context(), signer, e); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := cert.Check(chain, cert.Rules{At: now}); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	write(t, dir, "eum.pem", e.EUM.MarshalPEM())
	write(t, dir, "pub.pem", []byte(openssl(t, dir, "x509", "-in", "eum.pem", "-noout", "-pubkey")))
	write(t, dir, "tbs", chain.EUICC.RawTBS)
	write(t, dir, "sig", signatureOf(chain.EUICC.Raw, chain.EUICC.RawTBS))
	if out := openssl(t, dir, "dgst", "-sha256", "-verify", "pub.pem", "-signature", "sig", "tbs"); !strings.Contains(out, "Verified OK") {
		t.Errorf("%s: openssl of the certificate: %s", name, out)
	}
}

func TestKeyOf(t *testing.T) {
	t.Parallel()
	for name, pub := range map[string]crypto.PublicKey{
		"Ed25519": ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)), "P-384": &ecdsa.PublicKey{Curve: elliptic.P384()},
		"no point": hsm.BrainpoolKey{}, "nothing": nil,
	} {
		if k, err := KeyOf(pub); err == nil || !k.IsZero() {
			t.Errorf("%s: %v, %v", name, k, err)
		}
	}
	p256 := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	if k := must(KeyOf(&p256.PublicKey)); k.Curve() != cert.P256 {
		t.Errorf("P-256 is %s", k.Curve())
	}
	want := testKey(cert.BrainpoolP256r1, 3).Public
	if k := must(KeyOf(hsm.BrainpoolKey(want.Point()))); k != want {
		t.Errorf("brainpoolP256r1 is %v", k)
	}
}
