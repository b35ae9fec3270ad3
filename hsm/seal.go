package hsm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/pkcs11"

	"github.com/persoline/persoline/perso/secret"
)

// The layout of sealed bytes: version (1) ‖ nonce (12) ‖ ciphertext ‖ tag (16).
const (
	sealVersion       = 1
	sealNonceBytes    = 12
	sealTagBytes      = 16
	sealHeaderBytes   = 1 + sealNonceBytes
	sealOverheadBytes = sealHeaderBytes + sealTagBytes
	// maxAADBytes bounds what is bound to a sealed value: names and numbers of
	// a claim, not documents.
	maxAADBytes = 4096
)

// Seal encrypts 1..65,536 bytes with AES-256-GCM (CKM_AES_GCM, 128-bit tag;
// class seal) under a fresh nonce from C_GenerateRandom. aad, at most 4096
// bytes, must be given again to Unseal; put into it what the plaintext belongs
// to. The result is version ‖ nonce ‖ ciphertext ‖ tag, 29 bytes longer than
// the plaintext. Random nonces allow 2^32 seals per key (SP 800-38D, 8.3): a
// factory's lifetime, at one key per lot.
func (t *Token) Seal(ctx context.Context, k Key, plaintext secret.Bytes, aad []byte) (sealed []byte, err error) {
	if err := admitAAD(aad); err != nil {
		return nil, fmt.Errorf("%s with %q: %w", VerbSeal, k, err)
	}
	err = t.use(ctx, k, VerbSeal, plaintext.Len(), func(s *session, o *object) error {
		t.counter.Add(VerbRandom)
		nonce, err := s.random(sealNonceBytes)
		if err != nil {
			return err
		}
		return plaintext.Reveal(func(b []byte) error {
			sealed, err = s.gcmSeal(o, nonce, b, aad)
			return err
		})
	})
	return sealed, err
}

// Unseal opens what Seal made (CKM_AES_GCM). ErrSealBroken means that bytes,
// aad and key do not belong together; SoftHSM says so with CKR_GENERAL_ERROR,
// which therefore counts as broken here.
func (t *Token) Unseal(ctx context.Context, k Key, sealed, aad []byte) (plaintext secret.Bytes, err error) {
	if err := admitAAD(aad); err != nil {
		return secret.Bytes{}, fmt.Errorf("%s with %q: %w", VerbUnseal, k, err)
	}
	err = t.use(ctx, k, VerbUnseal, len(sealed), func(s *session, o *object) error {
		if sealed[0] != sealVersion {
			return fmt.Errorf("%w: version %d", ErrSealBroken, sealed[0])
		}
		plaintext, err = s.gcmOpen(o, sealed[1:sealHeaderBytes], sealed[sealHeaderBytes:], aad)
		return err
	})
	return plaintext, err
}

func admitAAD(aad []byte) error {
	if len(aad) > maxAADBytes {
		return fmt.Errorf("%w: additional data of %d bytes, at most %d", ErrRefused, len(aad), maxAADBytes)
	}
	return nil
}

// gcmSeal encrypts. The ciphertext is no secret, and the plaintext goes to the
// module from where it lies.
func (s *session) gcmSeal(o *object, nonce, b, aad []byte) (sealed []byte, err error) {
	used := bytes.Clone(nonce) // some network HSMs put in a nonce of their own
	err = s.into(len(b)+sealTagBytes, func(out []byte) (int, error) {
		return s.module.GCMInto(s.handle, o.handle, gcm{nonce: used, aad: aad, in: b}, out)
	}, func(out []byte) error {
		if len(out) != len(b)+sealTagBytes {
			return fmt.Errorf("%w: C_Encrypt: %d bytes of %d with tag", ErrDevice, len(out), len(b))
		}
		sealed = slices.Concat([]byte{sealVersion}, used, out)
		return nil
	})
	return sealed, err
}

// gcmOpen decrypts into locked memory, and takes the plaintext from there.
func (s *session) gcmOpen(o *object, nonce, ct, aad []byte) (plaintext secret.Bytes, err error) {
	// Some modules ask for room for the tag too.
	err = s.into(len(ct), func(out []byte) (int, error) {
		return s.module.GCMInto(s.handle, o.handle, gcm{open: true, nonce: bytes.Clone(nonce), aad: aad, in: ct}, out)
	}, func(b []byte) error {
		if len(b) != len(ct)-sealTagBytes {
			return fmt.Errorf("%w: C_Decrypt: %d bytes of %d with tag", ErrDevice, len(b), len(ct))
		}
		plaintext = secret.New(b)
		return nil
	})
	var device Error
	if errors.As(err, &device) && device.CKR == pkcs11.CKR_GENERAL_ERROR && device.Op == "C_Decrypt" {
		return secret.Bytes{}, fmt.Errorf("%w: %w", ErrSealBroken, err)
	}
	return plaintext, err
}
