package census

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"

	"github.com/persoline/persoline/hsm"
)

// Object identifiers of a key on brainpoolP256r1, which the standard library does not know: id-ecPublicKey (RFC 5480) with
// the named curve of RFC 5639.
var (
	oidECPublicKey     = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidBrainpoolP256r1 = asn1.ObjectIdentifier{1, 3, 36, 3, 3, 2, 8, 1, 1, 7}
)

// PublicDER is a token's public key as SubjectPublicKeyInfo (RFC 5280).
func PublicDER(pub crypto.PublicKey) ([]byte, error) {
	k, ok := pub.(hsm.BrainpoolKey)
	if !ok {
		der, err := x509.MarshalPKIXPublicKey(pub)
		if err != nil {
			return nil, fmt.Errorf("encoding a public key: %w", err)
		}
		return der, nil
	}
	curve, err := asn1.Marshal(oidBrainpoolP256r1)
	if err != nil {
		return nil, fmt.Errorf("encoding a public key: %w", err)
	}
	return asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}{pkix.AlgorithmIdentifier{Algorithm: oidECPublicKey, Parameters: asn1.RawValue{FullBytes: curve}}, asn1.BitString{Bytes: k[:], BitLength: 8 * len(k)}})
}
