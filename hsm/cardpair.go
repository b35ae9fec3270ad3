package hsm

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/pkcs11"

	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/tlv"
)

// Sizes of a card's key pair and of the key that carries it out.
const (
	scalarBytes     = 32
	carrierBytes    = 32  // AES-256
	wrappedMaxBytes = 512 // PKCS #8 of P-256 is some 140 bytes, 8 more when wrapped
)

// A CardPair is a key pair for one chip, made in the token because the chip
// makes none (key_origin "hsm").
type CardPair struct {
	Public *ecdsa.PublicKey
	// Private is the scalar, 32 bytes, big-endian. Wipe it once it is in the
	// script for the chip.
	Private secret.Bytes
}

// CardPair makes a P-256 pair with the token's randomness, takes the private key
// out, and leaves nothing in the token.
//
// The pair is a session object and EXTRACTABLE, which no other key of ours is.
// It leaves wrapped (RFC 5649, CKM_AES_KEY_WRAP_PAD) under a carrier: an AES-256
// key of 32 bytes from C_GenerateRandom that is made for this one pair, may do
// nothing but wrap, and is destroyed with it. Here, and not in the token, the
// wrapping is undone: a token key that could both wrap and decrypt would be the
// classic way to read any key out. Carrier, wrapped key and clear key lie in
// locked memory that is cleared; the copy in the result is the caller's. The
// public key is computed again from the scalar, so that a module that gave out
// another key is found before a certificate is made for it.
//
// A module that does not wrap this way: ErrUnsupported.
func (t *Token) CardPair(ctx context.Context) (pair CardPair, err error) {
	t.counter.Add(VerbCardPair)
	err = t.do(ctx, again, func(s *session) error {
		if t.offers().wrap == 0 {
			return fmt.Errorf("%w: no key wrapping by RFC 5649 (CKM_AES_KEY_WRAP_PAD)", ErrUnsupported)
		}
		if err := t.management.share(ctx, t.cfg.WaitLimit); err != nil {
			return err
		}
		defer t.management.unshare()
		pair, err = s.cardPair(t.offers())
		return err
	})
	if err != nil {
		pair.Private.Wipe()
		return CardPair{}, fmt.Errorf("%s: %w", VerbCardPair, err)
	}
	return pair, nil
}

func (s *session) cardPair(on support) (pair CardPair, err error) {
	room, err := newLocked(carrierBytes + wrappedMaxBytes + 2*aesBlockBytes)
	if err != nil {
		return pair, err
	}
	defer room.free()
	how := []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_EC_KEY_PAIR_GEN, nil)}
	pub, priv, err := s.module.GenerateKeyPair(s.handle, how, template(cardPublicObject(on)), template(cardKeyObject(on)))
	if err != nil {
		return pair, fault("C_GenerateKeyPair", err)
	}
	defer func() { err = errors.Join(err, s.destroy(priv, pub)) }()
	point, err := s.read(pub, pkcs11.CKA_EC_POINT)
	if err != nil {
		return pair, err
	}
	if pair.Public, err = parseP256Point(point[0]); err != nil {
		return pair, err
	}
	scalar, err := s.takeOut(priv, on, room)
	if err != nil {
		return pair, err
	}
	if !belongs(pair.Public, scalar) {
		return pair, fmt.Errorf("%w: C_WrapKey: the private key is not that of the public key", ErrDevice)
	}
	pair.Private = secret.New(scalar)
	return pair, nil
}

// takeOut wraps a private key out and gives its scalar, which lies in room.
func (s *session) takeOut(priv pkcs11.ObjectHandle, on support, room locked) (scalar []byte, err error) {
	carrier, rest := room[:carrierBytes], room[carrierBytes:]
	if err := s.module.RandomInto(s.handle, carrier); err != nil {
		return nil, fault("C_GenerateRandom", err)
	}
	if blank(carrier) {
		return nil, fmt.Errorf("%w: C_GenerateRandom: %d zeros", ErrDevice, len(carrier))
	}
	wrapping, err := s.module.CreateSecret(s.handle, template(carrierObject(on)), carrier)
	if err != nil {
		return nil, fault("C_CreateObject", err)
	}
	defer func() { err = errors.Join(err, s.destroy(wrapping)) }()
	n, err := s.module.WrapInto(s.handle, on.wrap, wrapping, priv, rest[:wrappedMaxBytes])
	if err != nil {
		return nil, fault("C_WrapKey", err)
	}
	if n > wrappedMaxBytes {
		return nil, fmt.Errorf("%w: C_WrapKey: %d bytes", ErrDevice, n)
	}
	key, err := unwrapKey(carrier, rest[:n], rest[wrappedMaxBytes:])
	if err != nil {
		return nil, err
	}
	return p256Scalar(key)
}

// p256Scalar finds the private key in a PKCS #8 PrivateKeyInfo (RFC 5958) with
// an ECPrivateKey (RFC 5915), without copying it. SoftHSM leaves up to seven
// zeros after it, which it wraps along.
func p256Scalar(der []byte) ([]byte, error) {
	const sequence, octetString = 0x30, 0x04
	var scalar []byte
	var found bool
	info, rest, err := tlv.Parse(der)
	if err == nil && info.Tag == sequence && len(rest) < semiblockBytes && blank(rest) {
		scalar, found, err = tlv.FindPath(info.Value, octetString)
	}
	if err == nil && found {
		scalar, found, err = tlv.FindPath(scalar, sequence, octetString)
	}
	if err != nil || !found || len(scalar) != scalarBytes {
		return nil, fmt.Errorf("%w: C_WrapKey: no PKCS #8 of a P-256 key", ErrDevice) // whatever it is, it is secret
	}
	return scalar, nil
}

// belongs reports whether the scalar is the private key of pub. The newer ways
// to ask keep copies of the scalar in Go's memory.
func belongs(pub *ecdsa.PublicKey, scalar []byte) bool {
	if blank(scalar) {
		return false
	}
	//lint:ignore SA1019 crypto/ecdh and crypto/ecdsa copy the private key; this does not
	x, y := elliptic.P256().ScalarBaseMult(scalar)
	point := make([]byte, p256PointBytes)
	point[0] = 4 // uncompressed
	x.FillBytes(point[1 : 1+scalarBytes])
	y.FillBytes(point[1+scalarBytes:])
	want, err := pub.Bytes()
	return err == nil && bytes.Equal(point, want)
}

// cardKeyObject is the template of a card's private key while it is in the
// token: of all our keys the only one that may leave.
func cardKeyObject(on support) []attribute {
	why := map[uint]string{
		pkcs11.CKA_TOKEN:       "goes with its session, whatever happens",
		pkcs11.CKA_EXTRACTABLE: "it is made for a chip, and leaves at once",
	}
	return changed(ruleOf(ClassEUM).on(on).keyObject(), why, map[uint]any{
		pkcs11.CKA_TOKEN: false, pkcs11.CKA_EXTRACTABLE: true, pkcs11.CKA_WRAP_WITH_TRUSTED: false})
}

// cardPublicObject is the template of its public half.
func cardPublicObject(on support) []attribute {
	return changed(ruleOf(ClassEUM).on(on).publicObject(), nil, map[uint]any{pkcs11.CKA_TOKEN: false})
}

// carrierObject is the template of the key that carries it out.
func carrierObject(on support) []attribute {
	r := rule{form: aes, uses: []uint{pkcs11.CKA_WRAP}, mechanisms: []uint{on.wrap}}.on(on)
	why := map[uint]string{pkcs11.CKA_WRAP: "one key, once", pkcs11.CKA_TOKEN: "goes with its session, whatever happens"}
	return changed(r.keyObject(), why, map[uint]any{pkcs11.CKA_TOKEN: false})
}

// changed is a template with other values, and other reasons where they need
// one.
func changed(list []attribute, why map[uint]string, values map[uint]any) []attribute {
	list = slices.Clone(list)
	for i, a := range list {
		if v, ok := values[a.typ]; ok {
			list[i].value = v
		}
		if w, ok := why[a.typ]; ok {
			list[i].why = w
		}
	}
	return list
}
