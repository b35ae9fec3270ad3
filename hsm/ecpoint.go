package hsm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/persoline/persoline/hsm/internal/brainpool"
)

// p256PointBytes is an uncompressed point: 04, X, Y.
const p256PointBytes = 65

// parseP256Point reads the CKA_EC_POINT of a P-256 key. PKCS #11 wants the
// point inside a DER OCTET STRING; some modules give the bare point. The two
// differ in length, so neither can be taken for the other.
func parseP256Point(b []byte) (*ecdsa.PublicKey, error) {
	if len(b) != p256PointBytes {
		inner, err := octets(b)
		if err != nil {
			return nil, fmt.Errorf("parsing CKA_EC_POINT of P-256: %w", err)
		}
		b = inner
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), b)
	if err != nil {
		return nil, fmt.Errorf("parsing CKA_EC_POINT of P-256: %w", err)
	}
	return pub, nil
}

// A BrainpoolKey is a public key on brainpoolP256r1 (RFC 5639, 3.4), a curve
// that the standard library does not have: the uncompressed point 04‖X‖Y, which
// was checked to be on the curve.
type BrainpoolKey [brainpool.PointBytes]byte

// Equal reports whether the other is the same key.
func (k BrainpoolKey) Equal(other crypto.PublicKey) bool { return other == crypto.PublicKey(k) }

// parseBrainpoolPoint reads the CKA_EC_POINT of a key on brainpoolP256r1, as
// parseP256Point does.
func parseBrainpoolPoint(b []byte) (k BrainpoolKey, err error) {
	if len(b) != brainpool.PointBytes {
		if b, err = octets(b); err != nil {
			return k, fmt.Errorf("parsing CKA_EC_POINT of brainpoolP256r1: %w", err)
		}
	}
	if _, err := brainpool.P256r1().Parse(b); err != nil {
		return k, fmt.Errorf("parsing CKA_EC_POINT: %w", err)
	}
	return BrainpoolKey(b), nil
}

// parseEd25519Point reads the CKA_EC_POINT of an Ed25519 key: 32 bytes, bare
// (PKCS #11 v3.0), in an OCTET STRING (SoftHSM) or in a BIT STRING (as the
// first drafts of v3.0 had it).
func parseEd25519Point(b []byte) (ed25519.PublicKey, error) {
	if len(b) != ed25519.PublicKeySize {
		inner, err := octets(b)
		if err != nil {
			return nil, fmt.Errorf("parsing CKA_EC_POINT of Ed25519: %w", err)
		}
		b = inner
	}
	if len(b) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("parsing CKA_EC_POINT of Ed25519: %d bytes", len(b))
	}
	return ed25519.PublicKey(b), nil
}

// octets unwraps one DER OCTET STRING or whole-byte BIT STRING.
func octets(der []byte) ([]byte, error) {
	var value asn1.RawValue
	rest, err := asn1.Unmarshal(der, &value)
	switch {
	case err != nil:
		return nil, err
	case len(rest) > 0:
		return nil, errors.New("bytes after the string")
	case value.Class == asn1.ClassUniversal && value.Tag == asn1.TagOctetString && !value.IsCompound:
		return value.Bytes, nil
	case value.Class == asn1.ClassUniversal && value.Tag == asn1.TagBitString && len(value.Bytes) > 1 && value.Bytes[0] == 0:
		return value.Bytes[1:], nil
	}
	return nil, fmt.Errorf("tag %d is no string of octets", value.Tag)
}
