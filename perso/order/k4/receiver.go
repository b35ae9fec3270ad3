package k4

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strconv"
	"strings"
)

// MinRSABits and MaxRSABits bound a receiver's key: NIST SP 800-131A, and what is still quick. GoodRSABits is what a new
// one should have: 2048 bits are of the strength of Triple DES, 3072 of AES-128.
const (
	MinRSABits, GoodRSABits, MaxRSABits = 2048, 3072, 8192
	// MaxKeyFileBytes bounds a public key in a file.
	MaxKeyFileBytes = 16 << 10
)

// Receiver is the RSA public key of a receiver, and the number under which he keeps the private one. Parse it.
type Receiver struct {
	KeyID uint32
	key   *rsa.PublicKey
	der   []byte
}

// ParseReceiver reads a public key as PEM ("PUBLIC KEY") or DER (SubjectPublicKeyInfo): RSA of 2048 to 8192 bits, odd
// exponent from 65537. ErrReceiver otherwise.
func ParseReceiver(keyID uint32, file []byte) (Receiver, error) {
	fail := func(why string) (Receiver, error) {
		return Receiver{}, fmt.Errorf("reading public key %d of a receiver: %s: %w", keyID, why, ErrReceiver)
	}
	if len(file) > MaxKeyFileBytes {
		return fail("the file is too large")
	}
	der := file
	if bytes.HasPrefix(bytes.TrimSpace(file), []byte("-----BEGIN")) {
		block, rest := pem.Decode(bytes.TrimSpace(file))
		if block == nil || block.Type != "PUBLIC KEY" || len(rest) > 0 || len(block.Headers) > 0 {
			return fail("it is not one PEM block PUBLIC KEY")
		}
		der = block.Bytes
	}
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return fail("it is not a SubjectPublicKeyInfo")
	}
	key, ok := public.(*rsa.PublicKey)
	if !ok {
		return fail("it is not an RSA key")
	}
	if n := key.N.BitLen(); n < MinRSABits || n > MaxRSABits || key.E < 65537 || key.E%2 == 0 || key.N.Bit(0) == 0 {
		return fail(fmt.Sprintf("its modulus has %d bits, from %d to %d and odd, its exponent must be odd and 65537 or more", key.N.BitLen(), MinRSABits, MaxRSABits))
	}
	again, err := x509.MarshalPKIXPublicKey(key)
	if err != nil || !bytes.Equal(again, der) {
		return fail("it is not in canonical DER")
	}
	return Receiver{KeyID: keyID, key: key, der: again}, nil
}

// Public is the key, nil of a Receiver that was not parsed. It is read only.
func (r Receiver) Public() *rsa.PublicKey { return r.key }

// DER is the key as SubjectPublicKeyInfo.
func (r Receiver) DER() []byte { return bytes.Clone(r.der) }

// Ref is what a release names: number and fingerprint, which officers can compare with what the receiver tells them.
func (r Receiver) Ref() ReceiverRef {
	return ReceiverRef{KeyID: r.KeyID, Fingerprint: sha256.Sum256(r.der)}
}

// ReceiverRef names a receiver's key by its number and by SHA-256 of its SubjectPublicKeyInfo.
type ReceiverRef struct {
	KeyID       uint32
	Fingerprint [32]byte
}

// String is "<number>/<fingerprint in hexadecimal>".
func (r ReceiverRef) String() string {
	return strconv.FormatUint(uint64(r.KeyID), 10) + "/" + hex.EncodeToString(r.Fingerprint[:])
}

// ParseReceiverRef reads what String prints. ErrReceiver otherwise.
func ParseReceiverRef(s string) (r ReceiverRef, err error) {
	number, fingerprint, _ := strings.Cut(s, "/")
	n, err := strconv.ParseUint(number, 10, 32)
	b, hexErr := hex.DecodeString(fingerprint)
	if err != nil || hexErr != nil || len(b) != len(r.Fingerprint) {
		return ReceiverRef{}, fmt.Errorf("reading reference of a receiver's key %.90q, want <number>/<64 hexadecimal digits>: %w", s, ErrReceiver)
	}
	r = ReceiverRef{KeyID: uint32(n), Fingerprint: [32]byte(b)}
	if r.String() != s {
		return ReceiverRef{}, fmt.Errorf("reading reference of a receiver's key: %.90q has another spelling: %w", s, ErrReceiver)
	}
	return r, nil
}
