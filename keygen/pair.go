package keygen

import (
	"context"
	"crypto/cipher"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/secret"
)

// A chip that makes no key pair is given one (key_origin hsm).
//
// Act 0 of a session makes the pair in the HSM, with the certificate for it, and both go into the claim before the window
// leaves: the private key sealed, under a key that only this session of this claim has. So an act that is asked again finds
// the same pair, also after a restart, and another session can't use it. A session that finds the chip with the maker's keys makes
// another pair, and its certificate supersedes the one before; the chip never had both. Once the chip has keys of its own it
// also has its pair, since those are its last key command (keyWay): it keeps that pair, and the certificate on record.
//
// The sealed key is erased at the verdict, by the ledger. What a copy of the database still has opens only with the lot key.

const (
	varPairKey   = "ECASD.KEY"
	varPairPoint = "ECASD.PUB"

	scalarBytes   = 32
	sealedVersion = 1
	// sealedPairBytes is version, ciphertext and tag of AES-256-GCM.
	sealedPairBytes = 1 + scalarBytes + 16
	// pairAAD begins the additional data; the public point follows.
	pairAAD = "persoline/1 pair\x00"
)

// injectsKey says whether the lot's chips are given their key pairs.
func (l *lot) injectsKey() bool { return l.release.KeyOrigin == string(order.KeyHSM) }

// injects says whether this session gives its chip a new pair. By its keys the chip says whether it has one.
func (r *run) injects() bool { return r.l.injectsKey() && !r.onCard }

// canInject makes a pair and throws it away: a module that can't must be found before a lot is begun.
func (v *Vault) canInject(ctx context.Context, l *lot) error {
	if !l.injectsKey() {
		return nil
	}
	pair, err := v.cfg.Token.CardPair(ctx)
	pair.Private.Wipe()
	if errors.Is(err, hsm.ErrUnsupported) {
		return bus.Refuse(bus.FaultRefused, "lot %q: its chips get their key pairs, and this vault's HSM gives none out (%v); order key_origin %q", l.release.Lot, err, order.KeyCard)
	}
	if err != nil {
		return fmt.Errorf("trying key pairs for lot %q: %w", l.release.Lot, err)
	}
	return nil
}

// openPairing derives the key that the keys of sealed pairs come from.
func (v *Vault) openPairing(ctx context.Context, l *lot) error {
	if !l.injectsKey() {
		return nil
	}
	key, err := v.cfg.Token.MAC(ctx, l.key, kdfInput(labelPairing, []byte(l.release.Lot)))
	defer clear(key[:])
	if err != nil {
		return fmt.Errorf("deriving keys of lot %q: %w", l.release.Lot, err)
	}
	l.pairing = secret.New(key[:])
	return nil
}

// takePair gives the session its pair and certificate: those on record when they are this session's, else new ones, which the
// ledger must store before the window leaves.
func (r *run) takePair() error {
	if r.state.Key = r.item.Stored.Key; len(r.item.Stored.Pair) > 0 {
		if key, err := r.pairKey(); err == nil {
			key.Wipe()
			_, err = r.certificate()
			return err
		} // of the session before
	}
	pair, err := r.v.cfg.Token.CardPair(r.ctx)
	defer pair.Private.Wipe()
	if err != nil {
		return fmt.Errorf("making key pair of unit %d: %w", r.claim.Unit, err)
	}
	if r.state.Key, err = pair.Public.Bytes(); err != nil {
		return fmt.Errorf("making key pair of unit %d: %w", r.claim.Unit, err)
	}
	if r.cert, err = r.v.certify(r.ctx, r.claim.EID, r.state.Key, r.v.cfg.Now().UTC()); err != nil {
		return err
	}
	sealed, err := r.sealPair(pair.Private)
	if err != nil {
		return fmt.Errorf("sealing key pair of unit %d: %w", r.claim.Unit, err)
	}
	k := r.keep()
	k.Cert, k.Key, k.Pair = r.cert, r.state.Key, sealed
	return nil
}

// givenKey is the public key that the chip must have by now: this session's, or the one on record of a chip that had its
// keys before.
func (r *run) givenKey() []byte {
	if r.injects() {
		return r.state.Key
	}
	return r.item.Stored.Key
}

// pairNonce is a function of the public key: one key of the cipher never seals two pairs under one nonce.
func pairNonce(aead cipher.AEAD, point []byte) []byte {
	sum := sha256.Sum256(point)
	return sum[:aead.NonceSize()]
}

func (r *run) sealPair(private secret.Bytes) (sealed []byte, err error) {
	aead, err := r.sessionCipher(r.l.pairing)
	if err != nil {
		return nil, err
	}
	err = private.Reveal(func(scalar []byte) error {
		sealed = aead.Seal([]byte{sealedVersion}, pairNonce(aead, r.state.Key), scalar, append([]byte(pairAAD), r.state.Key...))
		return nil
	})
	return sealed, err
}

// pairKey opens the private key on record, for the public one that the state names. The caller wipes it.
func (r *run) pairKey() (secret.Bytes, error) {
	sealed, point := r.item.Stored.Pair, r.state.Key
	if r.stored != nil && len(r.stored.Pair) > 0 {
		sealed = r.stored.Pair
	}
	if len(sealed) != sealedPairBytes || sealed[0] != sealedVersion || len(point) != pointBytes {
		return secret.Bytes{}, refuse("no key pair is on record for session %s", r.act.Session)
	}
	aead, err := r.sessionCipher(r.l.pairing)
	if err != nil {
		return secret.Bytes{}, err
	}
	scalar, err := aead.Open(make([]byte, 0, scalarBytes), pairNonce(aead, point), sealed[1:], append([]byte(pairAAD), point...))
	if err != nil {
		return secret.Bytes{}, refuse("key pair on record is not of session %s", r.act.Session)
	}
	return secret.New(scalar), nil
}

// pairKey binds the private key that the chip is given.
func (x *variables) pairKey(dst []byte, form script.Form) ([]byte, error) {
	key, err := x.pair()
	if err != nil {
		return dst, err
	}
	defer key.Wipe()
	err = key.Reveal(func(scalar []byte) error {
		switch form {
		case script.DEK:
			enc, err := x.host.EncryptDEK(scalar)
			dst = append(dst, enc...)
			return err
		case script.Secret:
			dst = append(dst, scalar...)
			return nil
		}
		return fmt.Errorf("variable %q has no form %q", varPairKey, form)
	})
	return dst, err
}

// keyWay demands of a script that the chip comes to its key as the order says. A pair from the HSM is written before the
// ISD's keys, which tell the next session that the chip has it, and each session proves anew that it does.
func keyWay(s *script.Script, origin order.KeyOrigin) error {
	given, replaced, proven := false, false, false
	for _, act := range s.Acts {
		for i := range act {
			sec := &act[i]
			for j := range sec.Steps {
				st := &sec.Steps[j]
				switch gives := sends(st, varPairKey); {
				case gives && (origin != order.KeyHSM || sec.When != whenInject):
					return fmt.Errorf("step %q sends {%s}, which needs key_origin %q and a section WHEN=%s", st.Label, varPairKey, order.KeyHSM, whenInject)
				case gives && replaced:
					return fmt.Errorf("step %q sends {%s} after the ISD's keys", st.Label, varPairKey)
				case gives:
					given = true
				}
				replaced = replaced || sends(st, "ISD.ENC") || sends(st, "ISD.MAC") || sends(st, "ISD.DEK")
				proven = proven || st.Purpose == script.PurposeECKA && sec.Name == ""
			}
		}
	}
	if origin == order.KeyHSM && (!given || !proven) {
		return fmt.Errorf("with key_origin %q a section WHEN=%s sends {%s}, and a command outside all sections gives the proof %q",
			order.KeyHSM, whenInject, varPairKey, script.PurposeECKA)
	}
	return nil
}

func sends(st *script.Step, name string) bool {
	for _, g := range st.Body {
		if g.Var != nil && g.Var.Name == name && (g.Var.Form == script.DEK || g.Var.Form == script.Secret) {
			return true
		}
	}
	return false
}
