package hsm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/subtle"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/miekg/pkcs11"

	"github.com/persoline/persoline/perso/secret"
)

// keyIDBytes is the length of CKA_ID, drawn from the token's generator: enough
// that two vaults never draw the same.
const keyIDBytes = 16

// Generate makes a key inside the token, with the attributes of its class (see
// KEYS.md): CKM_GENERIC_SECRET_KEY_GEN, CKM_AES_KEY_GEN, CKM_DES3_KEY_GEN,
// CKM_EC_KEY_PAIR_GEN, CKM_EC_EDWARDS_KEY_PAIR_GEN or CKM_RSA_PKCS_KEY_PAIR_GEN. It refuses a label in use
// with ErrExists, and with ErrUnsupported what the module has no mechanism or
// curve for. It is not repeated after a lost session: ask Has, and if it is there
// Local. A module whose process was killed meanwhile may have a key without a
// value, of which it does not say that it was made inside (SoftHSM): it is for
// Destroy.
func (t *Token) Generate(ctx context.Context, k Key) error {
	return t.create(ctx, k, VerbGenerate, 0, func(s *session, name []attribute) ([]pkcs11.ObjectHandle, error) {
		r := ruleOf(k.Class).on(t.offers())
		how := []*pkcs11.Mechanism{pkcs11.NewMechanism(r.generator(), nil)}
		key := template(append(r.keyObject(), name...))
		if r.isPair() {
			pub, priv, err := s.module.GenerateKeyPair(s.handle, how, r.pairTemplate(append(r.publicObject(), name...)), key)
			return []pkcs11.ObjectHandle{priv, pub}, fault("C_GenerateKeyPair", err)
		}
		if r.form != des3 { // whose length is its type's
			key = append(key, pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, r.makeBytes))
		}
		h, err := s.module.GenerateKey(s.handle, how, key)
		return []pkcs11.ObjectHandle{h}, fault("C_GenerateKey", err)
	})
}

// Import puts a key from outside into the token by C_CreateObject, with the
// attributes of its class. Signing keys are never imported; the other classes
// take the lengths that KEYS.md states; 3DES keys get odd parity, as PKCS #11
// asks, and may not be single DES in disguise. Local tells an imported key from a
// generated one. ErrExists and lost sessions are as for Generate. The value is
// still the caller's to wipe.
func (t *Token) Import(ctx context.Context, k Key, value secret.Bytes) error {
	return t.create(ctx, k, VerbImport, value.Len(), func(s *session, name []attribute) ([]pkcs11.ObjectHandle, error) {
		r := ruleOf(k.Class).on(t.offers())
		var h pkcs11.ObjectHandle
		err := value.Reveal(func(b []byte) (err error) {
			if r.form == des3 {
				if b, err = desKey(b); err != nil {
					return err
				}
				defer clear(b)
			}
			h, err = s.module.CreateSecret(s.handle, template(append(r.keyObject(), name...)), b)
			return fault("C_CreateObject", err)
		})
		return []pkcs11.ObjectHandle{h}, err
	})
}

// desKey is the CKA_VALUE of a CKK_DES3 key: three DES keys with odd parity.
// Two-key 3DES (16 bytes) uses its first key again as the third. Keys next to
// one another must differ: else two of the three passes cancel out.
func desKey(b []byte) ([]byte, error) {
	key := make([]byte, 3*desBlockBytes)
	copy(key[copy(key, b):], b) // the rest, if any, is K1 again
	for i := range key {
		key[i] = key[i]&^1 | byte(bits.OnesCount8(key[i]>>1)+1)&1
	}
	one, two, three := key[:desBlockBytes], key[desBlockBytes:2*desBlockBytes], key[2*desBlockBytes:]
	if subtle.ConstantTimeCompare(one, two)|subtle.ConstantTimeCompare(two, three) == 1 {
		clear(key)
		return nil, fmt.Errorf("%w: 3DES key is single DES", ErrRefused)
	}
	return key, nil
}

// maker makes the objects of a key under the given name attributes.
type maker func(s *session, name []attribute) ([]pkcs11.ObjectHandle, error)

// create is what Generate and Import share: no label twice, and nothing stays
// on the token that is not as its rule wants it.
func (t *Token) create(ctx context.Context, k Key, v Verb, size int, produce maker) error {
	return t.manage(ctx, k, v, size, once, func(s *session) error {
		there, err := s.labelled(k)
		if err != nil {
			return err
		}
		if len(there) > 0 {
			return ErrExists
		}
		id, err := s.random(keyIDBytes)
		if err != nil {
			return err
		}
		made, err := produce(s, []attribute{
			{typ: pkcs11.CKA_LABEL, value: k.Label},
			{typ: pkcs11.CKA_ID, value: id},
		})
		if err != nil {
			return err
		}
		if err := t.prove(s, k, made); err != nil {
			return errors.Join(err, s.destroy(made...))
		}
		return nil
	})
}

// prove checks what was just made: alone under its label (another process may
// have made the same at the same time: then both give way), and as ordered
// (a module may ignore an attribute).
func (t *Token) prove(s *session, k Key, made []pkcs11.ObjectHandle) error {
	there, err := s.labelled(k)
	if err != nil {
		return err
	}
	if len(there) != len(made) {
		return fmt.Errorf("%w: made twice at the same time", ErrExists)
	}
	_, err = t.lookup(s, k)
	return err
}

// labelled finds every object with the key's label, public keys included.
func (s *session) labelled(k Key) ([]pkcs11.ObjectHandle, error) {
	return s.find(
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, k.Label))
}

// Destroy destroys the key and all that bears its label, the secret part
// first. No key: ErrNotFound. It is not repeated after a lost session: ask Has.
func (t *Token) Destroy(ctx context.Context, k Key) error {
	return t.manage(ctx, k, VerbDestroy, 0, once, func(s *session) error {
		all, err := s.labelled(k)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return ErrNotFound
		}
		var secrets, public []pkcs11.ObjectHandle
		for _, h := range all {
			class, err := s.read(h, pkcs11.CKA_CLASS)
			if err != nil {
				return err
			}
			if bytes.Equal(class[0], ulongs([]uint{pkcs11.CKO_PUBLIC_KEY})) {
				public = append(public, h)
			} else {
				secrets = append(secrets, h)
			}
		}
		t.forget(k)
		return s.destroy(append(secrets, public...)...)
	})
}

// Has asks the token, not the cache, whether the key is there. A key that is
// there but not as its rule wants it is ErrRefused.
func (t *Token) Has(ctx context.Context, k Key) (bool, error) {
	err := t.manage(ctx, k, VerbHas, 0, again, func(s *session) error {
		_, err := t.lookup(s, k)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		t.forget(k)
		return false, nil
	}
	return err == nil, err
}

// List asks the token for every secret or private key whose label is ours, in
// the order of their labels, whether or not it is fit for use.
func (t *Token) List(ctx context.Context) ([]Key, error) {
	t.counter.Add(VerbList)
	var keys []Key
	err := t.do(ctx, again, func(s *session) error {
		if err := t.management.enter(ctx, t.cfg.WaitLimit); err != nil {
			return err
		}
		defer t.management.leave()
		found, err := s.scan()
		keys = make([]Key, 0, len(found))
		for k := range found {
			keys = append(keys, k)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing keys: %w", err)
	}
	slices.SortFunc(keys, func(a, b Key) int { return strings.Compare(a.Label, b.Label) })
	return keys, nil
}

// Local reports whether the key was made inside the token (CKA_LOCAL) and so
// was never anywhere else.
func (t *Token) Local(ctx context.Context, k Key) (local bool, err error) {
	err = t.use(ctx, k, VerbLocal, 0, func(_ *session, o *object) error {
		local = o.local
		return nil
	})
	return local, err
}

// Public returns the public key of a pair: *ecdsa.PublicKey on P-256,
// BrainpoolKey, ed25519.PublicKey or *rsa.PublicKey.
func (t *Token) Public(ctx context.Context, k Key) (pub crypto.PublicKey, err error) {
	err = t.use(ctx, k, VerbPublic, 0, func(_ *session, o *object) error {
		pub = o.public
		return nil
	})
	return pub, err
}

// manage runs a verb that searches or changes objects, one at a time.
func (t *Token) manage(ctx context.Context, k Key, v Verb, size int, may retry, f func(*session) error) error {
	if err := errors.Join(k.Admit(v, size), t.offers().admit(k, v)); err != nil {
		return fmt.Errorf("%s of %q: %w", v, k, err)
	}
	t.counter.Add(v)
	err := t.do(ctx, may, func(s *session) error {
		if err := t.management.enter(ctx, t.cfg.WaitLimit); err != nil {
			return err
		}
		defer t.management.leave()
		return f(s)
	})
	if err != nil {
		return fmt.Errorf("%s of %q: %w", v, k, err)
	}
	return nil
}
