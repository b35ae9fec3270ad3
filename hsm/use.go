package hsm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/pkcs11"
)

// Lengths of what the token returns.
const (
	macBytes          = 32          // HMAC-SHA-256
	signatureBytes    = 64          // r‖s on a curve of 256 bits, and Ed25519
	rsaSignatureBytes = rsaBits / 8 // of an envelope
	// signatureRoomBytes leaves room for a module that would return more, so
	// that its answer is refused for its length and not for want of room.
	signatureRoomBytes = 512
	// KCVBytes is the length of a key check value.
	KCVBytes = 3
)

// kcvMessage is what the check value of a MAC key is made of. It begins with a
// letter; the vault's derivations begin with a 32-bit counter, so that a check
// value can never be part of a seed.
const kcvMessage = "persoline key check value v1"

// MAC returns HMAC-SHA-256 of msg (CKM_SHA256_HMAC; classes lot, receipt and life).
// msg is 1..65,536 bytes.
func (t *Token) MAC(ctx context.Context, k Key, msg []byte) (mac [macBytes]byte, err error) {
	err = t.use(ctx, k, VerbMAC, len(msg), func(s *session, o *object) error {
		mac, err = s.mac(o, msg)
		return err
	})
	return mac, err
}

// EncryptECB encrypts whole blocks, at most 4096 bytes: of AES (CKM_AES_ECB;
// classes transport, smsr and kmc) or of 3DES (CKM_DES3_ECB; transport-3des, kmc-emv-cps and kmc-visa2). It is the building block for diversification and
// key wrapping, where the blocks are unique by construction; it is no way to
// encrypt data.
func (t *Token) EncryptECB(ctx context.Context, k Key, blocks []byte) (out []byte, err error) {
	err = t.use(ctx, k, VerbEncryptECB, len(blocks), func(s *session, o *object) error {
		out, err = s.ecb(o, blocks)
		return err
	})
	return out, err
}

// DecryptECB decrypts whole blocks of AES, at most 4096 bytes (CKM_AES_ECB;
// class receive): an operator's Ki as he sent them. What it gives is secret, and
// the caller's to clear.
func (t *Token) DecryptECB(ctx context.Context, k Key, blocks []byte) (out []byte, err error) {
	err = t.use(ctx, k, VerbDecryptECB, len(blocks), func(s *session, o *object) error {
		out, err = s.unecb(o, blocks)
		return err
	})
	return out, err
}

// SignDigest signs a SHA-256 digest of 32 bytes (CKM_ECDSA; classes eum,
// eum-brainpool and eis) and returns r‖s, 64 bytes. Two calls give two signatures: the token
// draws the nonce.
func (t *Token) SignDigest(ctx context.Context, k Key, digest []byte) (sig []byte, err error) {
	err = t.use(ctx, k, VerbSignDigest, len(digest), func(s *session, o *object) error {
		sig, err = s.signature(pkcs11.CKM_ECDSA, o, digest)
		return err
	})
	return sig, err
}

// SignMessage signs a message of 1..65,536 bytes (classes log, statement, eum,
// eum-brainpool, eis and envelope) and returns 64 bytes: Ed25519 (CKM_EDDSA, RFC 8032) where Public
// gives an ed25519.PublicKey, else r‖s of ECDSA over its SHA-256 (CKM_ECDSA). Class
// envelope gives 384 bytes, PKCS#1 v1.5 with SHA-512 (CKM_SHA512_RSA_PKCS, RFC 8017,
// 8.2), the same for the same message each time.
func (t *Token) SignMessage(ctx context.Context, k Key, msg []byte) (sig []byte, err error) {
	err = t.use(ctx, k, VerbSignMessage, len(msg), func(s *session, o *object) error {
		if m := o.rule.mechanisms[0]; m == ckmEdDSA || m == pkcs11.CKM_SHA512_RSA_PKCS {
			sig, err = s.signature(m, o, msg)
			return err
		}
		digest := sha256.Sum256(msg)
		sig, err = s.signature(pkcs11.CKM_ECDSA, o, digest[:])
		return err
	})
	return sig, err
}

// Random returns n = 1..1024 bytes from the token's generator
// (C_GenerateRandom).
func (t *Token) Random(ctx context.Context, n int) (out []byte, err error) {
	if err := AdmitSize(VerbRandom, n); err != nil {
		return nil, err
	}
	t.counter.Add(VerbRandom)
	err = t.do(ctx, again, func(s *session) error {
		out, err = s.random(n)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", VerbRandom, err)
	}
	return out, nil
}

// KCV returns a key check value to read over the telephone or print on a
// ceremony's page. AES classes: the first bytes of the encryption of sixteen
// 01 bytes (CKM_AES_ECB), as GlobalPlatform Amendment D has it in PUT KEY; 3DES:
// of eight zero bytes (CKM_DES3_ECB; GlobalPlatform Card Specification, B.5). A
// receive key cannot encrypt: its value is of the decryption of sixteen 01 bytes. MAC
// classes: the first bytes of the MAC of a fixed text (CKM_SHA256_HMAC). Other
// classes are refused: pairs are checked by their public key, and a seal key
// allows nothing but GCM.
func (t *Token) KCV(ctx context.Context, k Key) (kcv [KCVBytes]byte, err error) {
	err = t.use(ctx, k, VerbKCV, 0, func(s *session, o *object) error {
		if o.rule.form == generic {
			mac, err := s.mac(o, []byte(kcvMessage))
			copy(kcv[:], mac[:])
			clear(mac[:])
			return err
		}
		crypt := s.ecb
		if !k.Class.permits(VerbEncryptECB) {
			crypt = s.unecb
		}
		out, err := crypt(o, o.rule.kcvBlock())
		copy(kcv[:], out)
		clear(out)
		return err
	})
	return kcv, err
}

// use runs a verb with a key: gate, count, session, handle.
func (t *Token) use(ctx context.Context, k Key, v Verb, size int, f func(*session, *object) error) error {
	if err := errors.Join(k.Admit(v, size), t.offers().admit(k, v)); err != nil {
		return fmt.Errorf("%s with %q: %w", v, k, err)
	}
	t.counter.Add(v)
	err := t.do(ctx, again, func(s *session) error {
		o, err := t.object(ctx, s, k)
		if err != nil {
			return err
		}
		return f(s, o)
	})
	if err != nil {
		return fmt.Errorf("%s with %q: %w", v, k, err)
	}
	return nil
}

// mac makes an HMAC.
func (s *session) mac(o *object, msg []byte) (mac [macBytes]byte, err error) {
	err = s.into(macBytes, func(out []byte) (int, error) {
		return s.module.SignInto(s.handle, pkcs11.CKM_SHA256_HMAC, o.handle, msg, out)
	}, func(b []byte) error {
		if len(b) != macBytes || blank(b) {
			return fmt.Errorf("%w: C_Sign: MAC of %d bytes", ErrDevice, len(b))
		}
		copy(mac[:], b)
		return nil
	})
	return mac, err
}

func (s *session) ecb(o *object, blocks []byte) (out []byte, err error) {
	err = s.into(len(blocks), func(out []byte) (int, error) {
		return s.module.EncryptInto(s.handle, o.rule.mechanisms[0], o.handle, blocks, out)
	}, func(b []byte) error {
		if len(b) != len(blocks) || blank(b) {
			return fmt.Errorf("%w: C_Encrypt: %d bytes of %d", ErrDevice, len(b), len(blocks))
		}
		out = bytes.Clone(b)
		return nil
	})
	return out, err
}

// unecb decrypts. A block of zeros is no fault here: somebody else encrypted it.
func (s *session) unecb(o *object, blocks []byte) (out []byte, err error) {
	err = s.into(len(blocks), func(out []byte) (int, error) {
		return s.module.DecryptInto(s.handle, o.rule.mechanisms[0], o.handle, blocks, out)
	}, func(b []byte) error {
		if len(b) != len(blocks) {
			return fmt.Errorf("%w: C_Decrypt: %d bytes of %d", ErrDevice, len(b), len(blocks))
		}
		out = bytes.Clone(b)
		return nil
	})
	return out, err
}

func (s *session) signature(mechanism uint, o *object, data []byte) (sig []byte, err error) {
	err = s.into(signatureRoomBytes, func(out []byte) (int, error) {
		return s.module.SignInto(s.handle, mechanism, o.handle, data, out)
	}, func(b []byte) error {
		if len(b) != o.rule.signatureBytes() || blank(b) {
			return fmt.Errorf("%w: C_Sign: signature of %d bytes", ErrDevice, len(b))
		}
		sig = bytes.Clone(b)
		return nil
	})
	return sig, err
}

// signatureBytes is the length of the pair's signatures.
func (r rule) signatureBytes() int {
	if r.form == rsa3072 {
		return rsaSignatureBytes
	}
	return signatureBytes
}

// blank reports that a module said yes and wrote nothing: the room was cleared
// before, and no MAC, signature or encryption of ours is all zeros but once in
// 2^128.
func blank(b []byte) bool { return !slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) }

// kcvBlock is the block that a key's check value encrypts.
func (r rule) kcvBlock() []byte {
	block := make([]byte, r.blockBytes())
	if r.form == aes {
		for i := range block {
			block[i] = 1
		}
	}
	return block
}
