package hsmfake

import (
	"context"
	"fmt"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/perso/secret"
)

// The layout and the limit of hsm.Token.Seal.
const (
	sealVersion = 1
	nonceBytes  = 12
	maxAADBytes = 4096
)

// Seal is as hsm.Token.Seal.
func (t *Token) Seal(ctx context.Context, k hsm.Key, plaintext secret.Bytes, aad []byte) (sealed []byte, err error) {
	if len(aad) > maxAADBytes {
		return nil, fmt.Errorf("%s with %q: %w", hsm.VerbSeal, k, hsm.ErrRefused)
	}
	err = t.with(ctx, hsm.VerbSeal, k, plaintext.Len(), func(found *key) error {
		t.counter.Add(hsm.VerbRandom)
		nonce, err := t.draw(nonceBytes)
		if err != nil {
			return err
		}
		gcm, err := found.gcm()
		if err != nil {
			return err
		}
		return plaintext.Reveal(func(b []byte) error {
			sealed = gcm.Seal(append([]byte{sealVersion}, nonce...), nonce, b, aad)
			return nil
		})
	})
	return sealed, err
}

// Unseal is as hsm.Token.Unseal.
func (t *Token) Unseal(ctx context.Context, k hsm.Key, sealed, aad []byte) (plaintext secret.Bytes, err error) {
	if len(aad) > maxAADBytes {
		return secret.Bytes{}, fmt.Errorf("%s with %q: %w", hsm.VerbUnseal, k, hsm.ErrRefused)
	}
	err = t.with(ctx, hsm.VerbUnseal, k, len(sealed), func(found *key) error {
		gcm, err := found.gcm()
		if err != nil {
			return err
		}
		if sealed[0] != sealVersion {
			return hsm.ErrSealBroken
		}
		b, err := gcm.Open(nil, sealed[1:1+nonceBytes], sealed[1+nonceBytes:], aad)
		if err != nil {
			return hsm.ErrSealBroken
		}
		plaintext = secret.New(b)
		return nil
	})
	return plaintext, err
}
