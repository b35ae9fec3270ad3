package keygen

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/tlv"
)

// A certificate is verified once; one that was not signed here is refused, however often it comes, and also when it has
// the place of a good one.
func TestRemembersWhatItVerified(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	v := &Vault{eum: &key.PublicKey}
	eid, err := id.ParseEID("89049032123451234512345678901235")
	if err != nil {
		t.Fatal(err)
	}
	good, point := certificateBy(t, key, eid)
	if v.certs.has(good) {
		t.Error("it knows a certificate that it never saw")
	}
	for range 2 {
		if err := v.checkCertificate(good, eid, point); err != nil || !v.certs.has(good) {
			t.Errorf("its own: %v", err)
		}
	}
	forged, point := certificateBy(t, newKey(t), eid)
	hash := sha256.Sum256(forged)
	*v.certs.place(hash) = sha256.Sum256(good)
	for range 2 {
		if err := v.checkCertificate(forged, eid, point); err == nil || v.certs.has(forged) {
			t.Error("a forged one was taken")
		}
	}
	other, err := id.ParseEID("89049099001000000000000000000034")
	if err != nil {
		t.Fatal(err)
	}
	if err := v.checkCertificate(good, other, point); err == nil {
		t.Error("a good one was taken for another EID")
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// certificateBy is a certificate for a new key, signed by another.
func certificateBy(t *testing.T, by *ecdsa.PrivateKey, eid id.EID) (cert, point []byte) {
	t.Helper()
	point, err := newKey(t).PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	body := certificateBody(eid, point, [CAIDBytes]byte{1}, [skiBytes]byte{2}, time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC))
	digest := sha256.Sum256(body)
	r, s, err := ecdsa.Sign(rand.Reader, by, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	sig := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return tlv.Encode(0x7F21, body, tlv.Encode(0x5F37, sig)), point
}
