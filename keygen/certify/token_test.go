package certify

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	mrand "math/rand/v2"
	"testing"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/perso/cert"
)

type keyMaker interface {
	Token
	Generate(ctx context.Context, k hsm.Key) error
	Public(ctx context.Context, k hsm.Key) (crypto.PublicKey, error)
}

// The way of an EUM, with its key in a token: request, the CI's answer, its check, the certificate of an eUICC, its chain.
func TestWithKeyInToken(t *testing.T) {
	t.Parallel()
	wayOfAnEUM(t, hsmfake.New(mrand.NewChaCha8([32]byte{1})))
}

func TestWithKeyInSoftHSM(t *testing.T) {
	t.Parallel()
	wayOfAnEUM(t, hsmtest.SoftHSM(t))
}

func wayOfAnEUM(t *testing.T, token keyMaker) {
	key := must(hsm.NewKey("test", hsm.ClassEUM, "certify-way"))
	if err := token.Generate(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	own, err := token.Public(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(cert.P256)
	s.request.Key = must(cert.FromECDSA(own.(*ecdsa.PublicKey)))
	signer := SignerOf(token, key)
	if _, err := SignRequest(t.Context(), signer, s.request); err != nil {
		t.Fatal(err)
	}
	chain := cert.Chain{Roots: []*cert.Certificate{s.root}, EUM: s.answer().Sign(s.ci, &softKey{Public: s.request.Key})}
	if err := CheckAnswer(s.request, chain, cert.Rules{At: now}); err != nil {
		t.Fatal(err)
	}
	e := s.euicc()
	e.EUM = chain.EUM
	if chain.EUICC, err = Issue(t.Context(), signer, e); err != nil {
		t.Fatal(err)
	}
	if err := cert.Check(chain, cert.Rules{At: now}); err != nil {
		t.Error(err)
	}
}
