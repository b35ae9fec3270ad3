package transport

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
)

const (
	envelopeVersion = 1
	sessionKeyBytes = 32 // AES-256, and the HMAC key behind it
	// MinRSABits and MaxRSABits bound a receiver's key: NIST SP 800-131A, and what is still quick.
	MinRSABits, MaxRSABits = 2048, 8192
	// MaxKeyFileBytes bounds a public key in a file.
	MaxKeyFileBytes = 16 << 10
	maxNameChars    = 64

	// Labels under the envelope's own key (keygen/KEYTREE.md).
	labelAES  = "persoline/1 envelope aes"
	labelHMAC = "persoline/1 envelope hmac"
	labelOAEP = "persoline/1 envelope oaep"
	labelIV   = "persoline/1 envelope iv"
)

var (
	// ErrReceiver says that a receiver's public key cannot be used.
	ErrReceiver = errors.New("unusable public key of a receiver")
	// ErrEnvelope says that an envelope was not made as its form says, or not with these keys.
	ErrEnvelope = errors.New("unusable envelope")
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

// Fingerprint is SHA-256 of the key as SubjectPublicKeyInfo. It is what a release names.
func (r Receiver) Fingerprint() [32]byte { return sha256.Sum256(r.der) }

// Signer signs a digest as PKCS#1 v1.5 with the maker's RSA key, which stays where it is: in the vault, in the HSM.
type Signer interface {
	Public() crypto.PublicKey
	SignSHA512(digest [64]byte) ([]byte, error)
}

// SessionKeys are the keys of one envelope. They follow from one key of the lot for this receiver, so that an envelope made
// twice is the same file (I8): AES key, HMAC key, the seed of OAEP, and the parent of each SIM's IV. Wipe them.
type SessionKeys struct{ aes, mac, oaep, iv [sessionKeyBytes]byte }

// EnvelopeContext is the context of the key that DeriveSessionKeys takes, which the HSM derives from the lot key with
// label "persoline/1 envelope": the length of the lot's name (1 byte) ‖ name ‖ fingerprint of the receiver's key.
func EnvelopeContext(lot perso.Name, fingerprint [32]byte) []byte {
	return append(append([]byte{byte(len(lot))}, lot...), fingerprint[:]...)
}

// DeriveSessionKeys expands the lot's envelope key (HKDF-Expand-SHA-256).
func DeriveSessionKeys(envelopeKey *[32]byte) (*SessionKeys, error) {
	k := new(SessionKeys)
	for _, d := range []struct {
		label string
		to    *[sessionKeyBytes]byte
	}{{labelAES, &k.aes}, {labelHMAC, &k.mac}, {labelOAEP, &k.oaep}, {labelIV, &k.iv}} {
		b, err := hkdf.Expand(sha256.New, envelopeKey[:], d.label, sessionKeyBytes)
		if err != nil {
			k.Wipe()
			return nil, fmt.Errorf("deriving keys of an envelope: %w", err)
		}
		copy(d.to[:], b)
		clear(b)
	}
	return k, nil
}

// Wipe clears the keys.
func (k *SessionKeys) Wipe() { *k = SessionKeys{} }

// SIM is one subscription in clear. The caller clears Ki and OPc.
type SIM struct {
	Name  string // 1 to 64 of letters, digits, '-' and '_'
	ICCID id.ICCID
	IMSI  id.IMSI
	Ki    [16]byte
	OPc   [16]byte
}

// SealedSIM is one subscription in an envelope.
type SealedSIM struct {
	Name       string        `json:"name"`
	Properties SealedDetails `json:"properties"`
}

// SealedDetails names the subscription in clear, and its credentials: HMAC-SHA-512 (64 bytes) over IV and ciphertext, IV
// (16), AES-256-CBC with PKCS#7 padding of "version:iccid:imsi:ki:opc", all in hexadecimal.
type SealedDetails struct {
	ICCID       string `json:"integratedCircuitCardIdentifier"`
	IMSI        string `json:"internationalMobileSubscriberIdentity"`
	Credentials string `json:"encryptedCredentials"`
}

// Header is what all subscriptions of an envelope share.
type Header struct {
	Version               int    `json:"version"`
	KeyID                 uint32 `json:"azureKeyIdentifier"`
	VendorKeyFingerprint  string `json:"vendorKeyFingerprint"`
	EncryptedTransportKey string `json:"encryptedTransportKey"`
	SignedTransportKey    string `json:"signedTransportKey"`
}

// File is an envelope as it is written.
type File struct {
	Header
	SIMs []SealedSIM `json:"sims"`
}

// SealHeader encrypts the session keys for the receiver (RSA-OAEP, SHA-256: AES key ‖ HMAC key) and has the result signed
// (PKCS#1 v1.5, SHA-512).
func SealHeader(k *SessionKeys, r Receiver, signer Signer) (Header, error) {
	vendor, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return Header{}, fmt.Errorf("sealing envelope: reading the maker's public key: %w", err)
	}
	both := append(append(make([]byte, 0, 2*sessionKeyBytes), k.aes[:]...), k.mac[:]...)
	defer clear(both)
	sealed, err := rsa.EncryptOAEP(sha256.New(), bytes.NewReader(k.oaep[:]), r.key, both, nil)
	if err != nil {
		return Header{}, fmt.Errorf("sealing envelope for key %d: %w", r.KeyID, err)
	}
	signature, err := signer.SignSHA512(sha512.Sum512(sealed))
	if err != nil {
		return Header{}, fmt.Errorf("signing envelope for key %d: %w", r.KeyID, err)
	}
	fingerprint := sha256.Sum256(vendor)
	return Header{Version: envelopeVersion, KeyID: r.KeyID, VendorKeyFingerprint: upperHex(fingerprint[:]),
		EncryptedTransportKey: upperHex(sealed), SignedTransportKey: upperHex(signature)}, nil
}

// SealSIM encrypts one subscription. Its IV follows from the IV key, name, ICCID and IMSI: another subscription has
// another one.
func SealSIM(k *SessionKeys, s SIM) (SealedSIM, error) {
	if len(s.Name) == 0 || len(s.Name) > maxNameChars || strings.Trim(s.Name, nameChars) != "" || s.ICCID.IsZero() || s.IMSI.IsZero() {
		return SealedSIM{}, fmt.Errorf("sealing subscription %.20q: its name, ICCID or IMSI is missing or malformed: %w", s.Name, ErrEnvelope)
	}
	plain := fmt.Appendf(nil, "%d:%s:%s:%X:%X", envelopeVersion, s.ICCID.String(), s.IMSI.String(), s.Ki, s.OPc)
	n := aes.BlockSize - len(plain)%aes.BlockSize
	plain = append(plain, bytes.Repeat([]byte{byte(n)}, n)...)
	defer clear(plain)
	block, err := aes.NewCipher(k.aes[:])
	if err != nil {
		return SealedSIM{}, fmt.Errorf("sealing subscription: %w", err)
	}
	iv := hmac.New(sha256.New, k.iv[:])
	fmt.Fprintf(iv, "%s:%s:%s", s.Name, s.ICCID.String(), s.IMSI.String())
	sealed := append(iv.Sum(nil)[:aes.BlockSize:aes.BlockSize], plain...)
	cipher.NewCBCEncrypter(block, sealed[:aes.BlockSize]).CryptBlocks(sealed[aes.BlockSize:], plain)
	mac := hmac.New(sha512.New, k.mac[:])
	mac.Write(sealed)
	return SealedSIM{Name: s.Name, Properties: SealedDetails{ICCID: s.ICCID.String(), IMSI: s.IMSI.String(),
		Credentials: upperHex(append(mac.Sum(nil), sealed...))}}, nil
}

const nameChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// Encode is the file: JSON, two blanks of indentation, one line feed at the end.
func (f File) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding envelope: %w", err)
	}
	return append(b, '\n'), nil
}

func upperHex(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }
