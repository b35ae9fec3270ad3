package keygen

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"github.com/persoline/persoline/perso/secret"
)

// A Ki that rests with the ledger is opened by the HSM once in a session, in act 0, and the session carries it in its state:
// each later act would else pay for it again, and an act waits for its HSM operations.
//
// What goes with a state goes to the line, and a state is closed by keys that follow from the chip's. In act 0 a chip has not
// yet shown that it is the claim's own (stamp.go), and the maker of a chip knows its keys. So Ki is sealed inside the state once
// more, under a key that only vaults have, and only while the lot key exists: the state alone is worth nothing to anybody.

// carriedAAD begins the additional data; the hash of the Ki at rest follows.
const carriedAAD = "persoline/1 carried\x00"

// openCarrying derives the key that the keys of carried Ki come from.
func (v *Vault) openCarrying(ctx context.Context, l *lot) error {
	if !l.storedKi() {
		return nil
	}
	key, err := v.cfg.Token.MAC(ctx, l.key, kdfInput(labelCarrying, []byte(l.release.Lot)))
	defer clear(key[:])
	if err != nil {
		return fmt.Errorf("deriving keys of lot %q: %w", l.release.Lot, err)
	}
	l.carrying = secret.New(key[:])
	return nil
}

// sessionCipher is AES-256-GCM under a key that only this session of this claim has, from one of the lot.
func (r *run) sessionCipher(of secret.Bytes) (aead cipher.AEAD, err error) {
	err = of.Reveal(func(parent []byte) error {
		h := hmac.New(sha256.New, parent)
		h.Write(r.act.Session[:])
		h.Write(r.vars.hash[:])
		key := h.Sum(nil)
		defer clear(key)
		block, err := aes.NewCipher(key)
		if err == nil {
			aead, err = cipher.NewGCM(block)
		}
		return err
	})
	return aead, err
}

// sealCarried seals the session's Ki. The nonce is a function of the Ki at rest, which the state names: one key of the cipher
// never seals two under one nonce, and an act that is asked again has the same state.
func (r *run) sealCarried(ki secret.Bytes) (sealed []byte, err error) {
	aead, err := r.sessionCipher(r.l.carrying)
	if err != nil {
		return nil, err
	}
	err = ki.Reveal(func(b []byte) error {
		sealed = aead.Seal(nil, r.state.Ki[:aead.NonceSize()], b, append([]byte(carriedAAD), r.state.Ki...))
		return nil
	})
	return sealed, err
}

// carriedKi opens the Ki that the session carries. The caller wipes it. No HSM operation.
func (r *run) carriedKi() (secret.Bytes, error) {
	if len(r.state.Ki) != sha256.Size {
		return secret.Bytes{}, fmt.Errorf("session %s carries no Ki", r.act.Session)
	}
	aead, err := r.sessionCipher(r.l.carrying)
	if err != nil {
		return secret.Bytes{}, err
	}
	ki, err := aead.Open(make([]byte, 0, r.l.auth.KBytes()), r.state.Ki[:aead.NonceSize()], r.state.Carry, append([]byte(carriedAAD), r.state.Ki...))
	if err != nil {
		return secret.Bytes{}, refuse("the Ki that session %s carries is not its own", r.act.Session)
	}
	return secret.New(ki), nil
}
