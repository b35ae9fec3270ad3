package certify

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/perso/cert"
	"github.com/persoline/persoline/perso/tlv"
)

// Signer is a private key in the HSM. It signs a SHA-256 digest and gives r and s, 32 bytes each.
type Signer interface {
	SignDigest(ctx context.Context, digest []byte) ([]byte, error)
}

// Token signs with the key that it is told.
type Token interface {
	SignDigest(ctx context.Context, k hsm.Key, digest []byte) ([]byte, error)
}

// SignerOf is one key of a token.
func SignerOf(t Token, k hsm.Key) Signer { return tokenKey{t, k} }

type tokenKey struct {
	token Token
	key   hsm.Key
}

func (k tokenKey) SignDigest(ctx context.Context, digest []byte) ([]byte, error) {
	return k.token.SignDigest(ctx, k.key, digest)
}

var oidECDSAWithSHA256 = cert.OID{1, 2, 840, 10045, 4, 3, 2}

// ErrSignature says that the token's signature does not verify under the key it should be of.
var ErrSignature = errors.New("the token signed with another key, or wrongly")

// seal signs a body and puts body, algorithm and signature into one SEQUENCE: the outer form of certificates and requests.
func seal(ctx context.Context, s Signer, key cert.PublicKey, body []byte) ([]byte, error) {
	digest := sha256.Sum256(body)
	rs, err := s.SignDigest(ctx, digest[:])
	if err != nil {
		return nil, fmt.Errorf("signing with the HSM: %w", err)
	}
	if !key.Verify(body, rs) { // a wrong handle or a broken token must not reach a chip
		return nil, ErrSignature
	}
	signature, err := tlv.RawToECDSASig(rs)
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(body)
		addAlgorithm(b)
		b.AddASN1BitString(signature)
	})
	return b.Bytes()
}

// addAlgorithm writes ecdsa-with-SHA256, which has no parameters (RFC 5758 §3.2).
func addAlgorithm(b *cryptobyte.Builder) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidECDSAWithSHA256) })
}
