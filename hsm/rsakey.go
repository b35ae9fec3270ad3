package hsm

import (
	"bytes"
	"crypto/rsa"
	"fmt"
	"math/big"

	"github.com/miekg/pkcs11"
)

// rsaExponent is the public exponent of our pairs.
const rsaExponent = 65537

// rsaKey reads the public key of an RSA pair, whose parameters were compared
// with its rule before.
func (s *session) rsaKey(h pkcs11.ObjectHandle) (*rsa.PublicKey, error) {
	v, err := s.read(h, pkcs11.CKA_MODULUS, pkcs11.CKA_PUBLIC_EXPONENT)
	if err != nil {
		return nil, err
	}
	n := new(big.Int).SetBytes(v[0])
	if n.BitLen() != rsaBits || n.Bit(0) == 0 || !bytes.Equal(v[1], []byte{1, 0, 1}) {
		return nil, fmt.Errorf("%w: RSA modulus of %d bits, exponent %x", ErrRefused, n.BitLen(), v[1])
	}
	return &rsa.PublicKey{N: n, E: rsaExponent}, nil
}
