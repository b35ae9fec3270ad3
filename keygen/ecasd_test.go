package keygen

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/persoline/persoline/perso/cert"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/tlv"
)

// The reader that reads the published certificates of tag 7F21 reads the vault's, field by field, and their signature.
func TestCertificateIsReadAsPublishedOnesAre(t *testing.T) {
	t.Parallel()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	eum, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	chip, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	point, err := chip.PublicKey.Bytes()
	must(err)
	eid, err := id.ParseEID("89049032123451234512345678901235")
	must(err)
	caID, ski := [CAIDBytes]byte{0x89, 0x04, 0x90, 0x32}, [skiBytes]byte{1, 2, 3}
	body := certificateBody(eid, point, caID, ski, time.Date(2026, 11, 22, 23, 59, 59, 0, time.FixedZone("", -3600)))
	digest := sha256.Sum256(body)
	der, err := ecdsa.SignASN1(rand.Reader, eum, digest[:])
	must(err)
	sig, err := tlv.ECDSASigToRaw(der, signatureBytes/2)
	must(err)
	c, err := cert.ParseECASD(tlv.Encode(0x7F21, body, tlv.Encode(0x5F37, sig)))
	must(err)
	issuer, err := cert.FromECDSA(&eum.PublicKey)
	must(err)
	if !c.SignedBy(issuer) || !bytes.Equal(c.Body, body) {
		t.Error("its signature does not verify")
	}
	digits := eid.Bytes()
	if !bytes.Equal(c.Subject, digits[:]) || !bytes.Equal(c.Image, digits[:]) || !bytes.Equal(c.CA, caID[:]) || !bytes.Equal(c.AuthorityKeyID, ski[:]) {
		t.Errorf("read %+v", c)
	}
	if c.Usage != cert.UsageKeyAgreement || len(c.Serial) != certSerialBytes || !bytes.Equal(c.Key.Point(), point) || c.Key.Curve() != cert.P256 {
		t.Errorf("read %+v", c)
	}
	if from, to := c.Effective.Format(time.DateOnly), c.Expires.Format(time.DateOnly); from != "2026-11-23" || to != "2056-11-23" {
		t.Errorf("valid from %s to %s", from, to)
	}
}
