package certify

import (
	"crypto"
	"crypto/ecdsa"
	"fmt"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/perso/cert"
)

// KeyOf is a token's public key (hsm.Token.Public) as certificates know it, on either of the GSMA's curves. The standard
// library has no type for one of them.
func KeyOf(pub crypto.PublicKey) (cert.PublicKey, error) {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		return cert.FromECDSA(k)
	case hsm.BrainpoolKey:
		return cert.NewPublicKey(cert.BrainpoolP256r1, k[:])
	}
	return cert.PublicKey{}, fmt.Errorf("a %T is no key of certificates", pub)
}
