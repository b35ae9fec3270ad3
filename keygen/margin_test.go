package keygen_test

import (
	"bytes"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/cert"
)

// A release that the EUM's certificate does not outlive by the margin is refused, unless the lot was opened before: what was
// made must still be exported.
func TestCertificateOutlivesRelease(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	eum, err := x509.ParseCertificate(r.made.EUMCert)
	if err != nil {
		t.Fatal(err)
	}
	spare := eum.NotAfter.Sub(r.release.Expires)
	reopen := func(margin time.Duration) error {
		t.Helper()
		r.cfg.CertMargin = margin
		r.reopenVault()
		_, err := r.vault.OpenLot(ctx, r.openRequest())
		return err
	}
	err = reopen(spare + time.Second)
	if code(err) != bus.FaultRefused || !strings.Contains(err.Error(), "ends on "+eum.NotAfter.UTC().Format(time.DateOnly)) {
		t.Errorf("one second too long: %v", err)
	}
	if err := reopen(spare); err != nil {
		t.Errorf("to the second: %v", err)
	}
	if err := reopen(spare + time.Second); err != nil {
		t.Errorf("a lot that was opened before: %v", err)
	}
	cfg := r.cfg
	cfg.CertMargin = -time.Second
	if _, err := keygen.New(ctx, cfg); err == nil {
		t.Error("a negative margin was taken")
	}
}

// Without configuration there is a margin all the same.
func TestDefaultCertificateMargin(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	eum, err := x509.ParseCertificate(r.made.EUMCert)
	if err != nil {
		t.Fatal(err)
	}
	r.release.Expires = eum.NotAfter.Add(-keygen.DefaultCertMargin + time.Second)
	r.signed = r.sign(r.release, "ann", "bob")
	if _, err := r.vault.OpenLot(ctx, r.openRequest()); code(err) != bus.FaultRefused {
		t.Errorf("one second too long: %v", err)
	}
	r.release.Expires = r.release.Expires.Add(-time.Second)
	r.signed = r.sign(r.release, "ann", "bob")
	if _, err := r.vault.OpenLot(ctx, r.openRequest()); err != nil {
		t.Errorf("to the second: %v", err)
	}
}

// What the vault signs for a chip is a chain that the checker accepts: the test CI, the EUM in the token, the certificate that
// the chip took.
func TestChainOfAMadeUnit(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	if result := u.session(); !result.Good {
		t.Fatalf("ended with %+v", result)
	}
	root, err := cert.Parse(r.made.CICert)
	if err != nil {
		t.Fatal(err)
	}
	eum, err := cert.Parse(r.made.EUMCert)
	if err != nil {
		t.Fatal(err)
	}
	if err := cert.Check(cert.Chain{Roots: []*cert.Certificate{root}, EUM: eum}, cert.Rules{At: start, Scheme: cert.SGP02}); err != nil {
		t.Error(err)
	}
	chip, err := cert.ParseECASD(u.stored.Cert)
	if err != nil {
		t.Fatal(err)
	}
	if err := cert.CheckECASD(eum, chip, start); err != nil {
		t.Error(err)
	}
	eid := u.claim.EID.Bytes()
	if !bytes.Equal(chip.Subject, eid[:]) {
		t.Errorf("it is of EID %X", chip.Subject)
	}
}
