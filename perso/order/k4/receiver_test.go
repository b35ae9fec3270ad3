package k4

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
)

func newKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, MinRSABits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicPEM(t testing.TB, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func TestReceiverRef(t *testing.T) {
	t.Parallel()
	r, err := ParseReceiver(7, publicPEM(t, newKey(t).Public()))
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ParseReceiverRef(r.Ref().String()); err != nil || back != r.Ref() || back.KeyID != 7 {
		t.Errorf("%s reads as %+v, %v", r.Ref(), back, err)
	}
	hash := strings.Repeat("5a", 32)
	for _, s := range []string{"", "7", "7/", "/" + hash, "07/" + hash, "7/" + strings.ToUpper(hash), "4294967296/" + hash, "7/" + hash + "00", "-1/" + hash} {
		if got, err := ParseReceiverRef(s); !errors.Is(err, ErrReceiver) {
			t.Errorf("%q reads as %+v, %v", s, got, err)
		}
	}
}

func TestReceiverForms(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	good := publicPEM(t, key.Public())
	der, _ := pem.Decode(good)
	a, errA := ParseReceiver(1, good)
	b, errB := ParseReceiver(1, der.Bytes)
	if errA != nil || errB != nil || a.Ref() != b.Ref() {
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

func FuzzParseReceiver(f *testing.F) {
	key := newKey(f)
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
		if err != nil || again.Ref() != r.Ref() {
			t.Fatal("the DER of a key reads otherwise")
		}
	})
}
