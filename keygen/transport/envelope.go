package transport

import (
	"bytes"
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/envelope"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/order/k4"
)

// Labels under the envelope's own key (keygen/KEYTREE.md).
const (
	labelAES  = "persoline/1 envelope aes"
	labelHMAC = "persoline/1 envelope hmac"
	labelOAEP = "persoline/1 envelope oaep"
	labelIV   = "persoline/1 envelope iv"
)

// milenageBytes is the length of Ki and of OPc, all that the form has a place for.
const milenageBytes = 16

// ErrSubscription says that what is to be sealed is of no subscription.
var ErrSubscription = errors.New("subscription without ICCID, IMSI or usable name")

// Signer signs with the maker's RSA key, which stays where it is: in the HSM. The signature is PKCS#1 v1.5 with SHA-512 over
// the message.
type Signer interface {
	Public(ctx context.Context) (crypto.PublicKey, error)
	SignMessage(ctx context.Context, msg []byte) ([]byte, error)
}

// SessionKeys are the keys of one envelope. They follow from one key of the lot for this receiver, so that an envelope made
// twice is the same file (I8): AES key, HMAC key, the seed of OAEP, and the parent of each subscription's IV. Wipe them.
type SessionKeys struct {
	aes, mac, oaep, iv [envelope.SessionKeyBytes]byte
}

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
		to    *[envelope.SessionKeyBytes]byte
	}{{labelAES, &k.aes}, {labelHMAC, &k.mac}, {labelOAEP, &k.oaep}, {labelIV, &k.iv}} {
		b, err := hkdf.Expand(sha256.New, envelopeKey[:], d.label, envelope.SessionKeyBytes)
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

// Head is what an envelope begins with, in bytes.
type Head struct {
	Vendor    [32]byte // SHA-256 of the maker's SubjectPublicKeyInfo
	Sealed    []byte   // session keys under the receiver's key
	Signature []byte   // the maker's, over Sealed
}

// SealHead encrypts the session keys for the receiver (RSA-OAEP, SHA-256: AES key ‖ HMAC key) and has the result signed.
func SealHead(ctx context.Context, k *SessionKeys, r k4.Receiver, signer Signer) (h Head, err error) {
	public, err := signer.Public(ctx)
	if err != nil {
		return Head{}, fmt.Errorf("sealing envelope: reading the maker's public key: %w", err)
	}
	vendor, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return Head{}, fmt.Errorf("sealing envelope: reading the maker's public key: %w", err)
	}
	h.Vendor = sha256.Sum256(vendor)
	both := append(append(make([]byte, 0, 2*envelope.SessionKeyBytes), k.aes[:]...), k.mac[:]...)
	defer clear(both)
	if h.Sealed, err = rsa.EncryptOAEP(sha256.New(), bytes.NewReader(k.oaep[:]), r.Public(), both, nil); err != nil {
		return Head{}, fmt.Errorf("sealing envelope for key %d: %w", r.KeyID, err)
	}
	if h.Signature, err = signer.SignMessage(ctx, h.Sealed); err != nil {
		return Head{}, fmt.Errorf("signing envelope for key %d: %w", r.KeyID, err)
	}
	return h, nil
}

// Subscription is whose values are sealed. Name is under what it stands in the file; the form has no colon in it.
type Subscription struct {
	Name  string
	ICCID id.ICCID
	IMSI  id.IMSI
}

// SealKeys encrypts "1:ICCID:IMSI:Ki:OPc".
func (k *SessionKeys) SealKeys(s Subscription, ki, opc []byte) ([]byte, error) {
	if len(ki) != milenageBytes || len(opc) != milenageBytes {
		return nil, fmt.Errorf("sealing subscription %.20q: its keys have %d and %d bytes: %w", s.Name, len(ki), len(opc), ErrValue)
	}
	return k.seal(s, "", ki, opc)
}

// SealCodes encrypts "1:ICCID:IMSI:PIN1:PUK1:PIN2:PUK2:ADM1", each code's field of 8 bytes in hexadecimal.
func (k *SessionKeys) SealCodes(s Subscription, codes *[5][8]byte) ([]byte, error) {
	return k.seal(s, ":codes", codes[0][:], codes[1][:], codes[2][:], codes[3][:], codes[4][:])
}

// SealOTA encrypts "1:ICCID:IMSI:KIC:KID:KIK", the keys of the one SCP80 key set.
func (k *SessionKeys) SealOTA(s Subscription, kic, kid, kik []byte) ([]byte, error) {
	return k.seal(s, ":ota", kic, kid, kik)
}

// Named is a value that says what it is.
type Named struct {
	Name  string // without a colon
	Value []byte
}

// SealProfile encrypts "1:ICCID:IMSI:<name>=<value>…": what a profile package took beside Ki, OPc and the five codes, if anything.
func (k *SessionKeys) SealProfile(s Subscription, values []Named) ([]byte, error) {
	fields := make([]field, len(values))
	for i, v := range values {
		if v.Name == "" || strings.ContainsAny(v.Name, ":=") {
			return nil, fmt.Errorf("sealing subscription %.20q: a value named %.30q: %w", s.Name, v.Name, ErrValue)
		}
		fields[i] = field{v.Name + "=", v.Value}
	}
	return k.sealFields(s, ":profile", fields)
}

// seal is sealFields of values without names.
func (k *SessionKeys) seal(s Subscription, what string, values ...[]byte) ([]byte, error) {
	fields := make([]field, len(values))
	for i, v := range values {
		fields[i].value = v
	}
	return k.sealFields(s, what, fields)
}

// field is one value between colons.
type field struct {
	name  string // with what parts it from the value
	value []byte
}

// sealFields gives MAC ‖ IV ‖ ciphertext. The IV follows from the IV key, name, ICCID, IMSI and what is sealed: no two are alike.
func (k *SessionKeys) sealFields(s Subscription, what string, fields []field) ([]byte, error) {
	if s.Name == "" || strings.Contains(s.Name, ":") || s.ICCID.IsZero() || s.IMSI.IsZero() {
		return nil, fmt.Errorf("sealing subscription %.20q: %w", s.Name, ErrSubscription)
	}
	room := 64 + aes.BlockSize // version, numbers, padding
	for _, f := range fields {
		room += 1 + len(f.name) + 2*len(f.value)
	}
	plain := make([]byte, 0, room) // never grows, so that no copy stays behind
	defer func() { clear(plain[:cap(plain)]) }()
	plain = fmt.Appendf(plain, "%d:%s:%s", envelope.Version, s.ICCID.String(), s.IMSI.String())
	for _, f := range fields {
		plain = fmt.Appendf(plain, ":%s%X", f.name, f.value)
	}
	n := aes.BlockSize - len(plain)%aes.BlockSize
	plain = append(plain, bytes.Repeat([]byte{byte(n)}, n)...)
	block, err := aes.NewCipher(k.aes[:])
	if err != nil {
		return nil, fmt.Errorf("sealing subscription: %w", err)
	}
	iv := hmac.New(sha256.New, k.iv[:])
	fmt.Fprintf(iv, "%s:%s:%s%s", s.Name, s.ICCID.String(), s.IMSI.String(), what)
	sealed := append(iv.Sum(nil)[:envelope.IVBytes:envelope.IVBytes], plain...)
	cipher.NewCBCEncrypter(block, sealed[:envelope.IVBytes]).CryptBlocks(sealed[envelope.IVBytes:], plain)
	mac := hmac.New(sha512.New, k.mac[:])
	mac.Write(sealed)
	return append(mac.Sum(nil), sealed...), nil
}
