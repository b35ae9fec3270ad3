package envelope

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/persoline/persoline/perso/secret"
)

// ErrEnvelope says that an envelope was not made as its form says, or not with these keys.
var ErrEnvelope = errors.New("unusable envelope")

// Opener opens the subscriptions of one envelope. Wipe it.
type Opener struct{ aes, mac [SessionKeyBytes]byte }

// Open checks that the maker signed the envelope, and takes its session keys out with the receiver's private key.
func (h Header) Open(receiver *rsa.PrivateKey, maker *rsa.PublicKey) (*Opener, error) {
	der, err := x509.MarshalPKIXPublicKey(maker)
	if err != nil {
		return nil, fmt.Errorf("opening envelope: reading the maker's key: %w", err)
	}
	fingerprint := sha256.Sum256(der)
	if h.VendorKeyFingerprint != upperHex(fingerprint[:]) {
		return nil, fmt.Errorf("opening envelope: it names the maker's key %.16s…, the one given is %X…: %w", h.VendorKeyFingerprint, fingerprint[:8], ErrEnvelope)
	}
	sealed, err := hex.DecodeString(h.EncryptedTransportKey)
	signature, err2 := hex.DecodeString(h.SignedTransportKey)
	if errors.Join(err, err2) != nil {
		return nil, fmt.Errorf("opening envelope: its header is not in hexadecimal: %w", ErrEnvelope)
	}
	digest := sha512.Sum512(sealed)
	if rsa.VerifyPKCS1v15(maker, crypto.SHA512, digest[:], signature) != nil {
		return nil, fmt.Errorf("opening envelope: the maker did not sign its transport key: %w", ErrEnvelope)
	}
	both, err := rsa.DecryptOAEP(sha256.New(), nil, receiver, sealed, nil)
	defer clear(both)
	if err != nil || len(both) != 2*SessionKeyBytes {
		return nil, fmt.Errorf("opening envelope: its transport key (number %d) is not for this private key: %w", h.KeyID, ErrEnvelope)
	}
	return &Opener{aes: [SessionKeyBytes]byte(both[:SessionKeyBytes]), mac: [SessionKeyBytes]byte(both[SessionKeyBytes:])}, nil
}

// Wipe clears the keys.
func (o *Opener) Wipe() { *o = Opener{} }

// Open gives the values of a subscription: text parted by colons, which begins with version, ICCID and IMSI. Those that
// stand beside it in clear must be the same.
func (o *Opener) Open(s SIM) (secret.Bytes, error) {
	fail := func(why string) (secret.Bytes, error) {
		return secret.Bytes{}, fmt.Errorf("opening subscription %.64q: %s: %w", s.Name, why, ErrEnvelope)
	}
	b, err := hex.DecodeString(s.Properties.Credentials)
	if err != nil || len(b) < MACBytes+IVBytes+aes.BlockSize || (len(b)-MACBytes)%aes.BlockSize != 0 {
		return fail("its credentials are malformed")
	}
	mac := hmac.New(sha512.New, o.mac[:])
	mac.Write(b[MACBytes:])
	if !hmac.Equal(mac.Sum(nil), b[:MACBytes]) {
		return fail("its MAC is wrong")
	}
	block, err := aes.NewCipher(o.aes[:])
	if err != nil {
		return fail("its key is malformed")
	}
	plain := b[MACBytes+IVBytes:]
	cipher.NewCBCDecrypter(block, b[MACBytes:MACBytes+IVBytes]).CryptBlocks(plain, plain)
	defer clear(plain)
	n := int(plain[len(plain)-1])
	if n == 0 || n > aes.BlockSize || strings.Trim(string(plain[len(plain)-n:]), string(rune(n))) != "" {
		return fail("its padding is wrong")
	}
	text := plain[:len(plain)-n]
	if !strings.HasPrefix(string(text), fmt.Sprintf("%d:%s:%s:", Version, s.Properties.ICCID, s.Properties.IMSI)) {
		return fail("it is sealed for another ICCID or IMSI than stand beside it")
	}
	return secret.New(append([]byte(nil), text...)), nil
}
