package hsm

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/miekg/pkcs11"
)

// An object is a key of ours as found on the token and checked against its
// rule. It does not change.
type object struct {
	key    Key
	rule   rule // as the token keeps it: form says Ed25519 or P-256
	handle pkcs11.ObjectHandle
	local  bool             // CKA_LOCAL: made inside the token
	public crypto.PublicKey // of a pair
}

// object returns the key's object, from the cache or by the one search that
// its first use costs.
func (t *Token) object(ctx context.Context, s *session, k Key) (*object, error) {
	if o := t.cached(k); o != nil {
		return o, nil
	}
	if err := t.management.enter(ctx, t.cfg.WaitLimit); err != nil {
		return nil, err
	}
	defer t.management.leave()
	if o := t.cached(k); o != nil { // found by another while we waited
		return o, nil
	}
	return t.lookup(s, k)
}

func (t *Token) cached(k Key) *object {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.handles[k.Label]
}

func (t *Token) forget(k Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.handles, k.Label)
}

// lookup searches for a key, checks it and puts it into the cache. The caller
// has entered management.
func (t *Token) lookup(s *session, k Key) (*object, error) {
	found, err := s.find(
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, ruleOf(k.Class).objectClass()),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, k.Label))
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, ErrNotFound
	case len(found) > 1:
		return nil, fmt.Errorf("%w: %d objects with one label", ErrRefused, len(found))
	}
	o, err := t.inspect(s, k, found[0])
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.handles[k.Label] = o
	return o, nil
}

// preload fills the cache with every key of ours that stands up to its rule.
// The caller has the token for itself.
func (t *Token) preload(s *session) error {
	found, err := s.scan()
	if err != nil {
		return err
	}
	handles := make(map[string]*object, len(found))
	for k, hs := range found {
		if len(hs) > 1 {
			t.cfg.Log.Warn("hsm key passed over", slog.Any("err", fmt.Errorf("%d objects labelled %q", len(hs), k)))
			continue
		}
		o, err := t.inspect(s, k, hs[0])
		switch {
		case err == nil:
			handles[k.Label] = o
		case errors.Is(err, ErrRefused) || errors.Is(err, ErrNotFound):
			t.cfg.Log.Warn("hsm key passed over", slog.Any("err", fmt.Errorf("inspecting %q: %w", k, err)))
		default:
			return fmt.Errorf("inspecting %q: %w", k, err)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.handles = handles
	return nil
}

// scan returns the secret and private keys whose labels are ours.
func (s *session) scan() (map[Key][]pkcs11.ObjectHandle, error) {
	found := map[Key][]pkcs11.ObjectHandle{}
	for _, class := range []uint{pkcs11.CKO_SECRET_KEY, pkcs11.CKO_PRIVATE_KEY} {
		handles, err := s.find(
			pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
			pkcs11.NewAttribute(pkcs11.CKA_CLASS, class))
		if err != nil {
			return nil, err
		}
		for _, h := range handles {
			v, err := s.read(h, pkcs11.CKA_LABEL)
			if err != nil {
				return nil, err
			}
			k, err := ParseKey(string(v[0]))
			if err == nil && ruleOf(k.Class).objectClass() == class {
				found[k] = append(found[k], h)
			}
		}
	}
	return found, nil
}

// inspect reads a key back and compares it with its rule: a key that could do
// more than its class may, or could ever have been seen outside, is refused.
func (t *Token) inspect(s *session, k Key, h pkcs11.ObjectHandle) (*object, error) {
	kind, err := s.read(h, pkcs11.CKA_KEY_TYPE)
	if err != nil {
		return nil, err
	}
	o := &object{key: k, handle: h}
	o.rule = ruleOf(k.Class).on(support{eddsa: bytes.Equal(kind[0], ulongs([]uint{ckkECEdwards})), gaps: t.offers().gaps})
	if err := s.compare(h, o.rule.keyObject()); err != nil {
		return nil, err
	}
	if err := s.inspectOrigin(o, t.offers()); err != nil {
		return nil, err
	}
	if o.rule.form == des3 {
		return o, nil // always 24 bytes; DES keys have no CKA_VALUE_LEN
	}
	if !o.rule.isPair() {
		size, err := s.read(h, pkcs11.CKA_VALUE_LEN)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(o.rule.importBytes, func(n int) bool {
			return bytes.Equal(size[0], ulongs([]uint{uint(n)}))
		}) {
			return nil, fmt.Errorf("%w: CKA_VALUE_LEN is %x", ErrRefused, size[0])
		}
		return o, nil
	}
	o.public, err = s.publicKey(o)
	return o, err
}

// inspectOrigin learns whether the key was made inside. If so, it must never
// have been extractable; a signing key must have been made inside.
func (s *session) inspectOrigin(o *object, on support) error {
	v, err := s.read(o.handle, pkcs11.CKA_LOCAL, pkcs11.CKA_ALWAYS_SENSITIVE, pkcs11.CKA_NEVER_EXTRACTABLE)
	if err != nil {
		return err
	}
	yes := []byte{1} // CK_TRUE
	neverSeen := bytes.Equal(v[1], yes) && bytes.Equal(v[2], yes)
	o.local = bytes.Equal(v[0], yes)
	if on.lacks(GapLocal) {
		o.local = neverSeen // C_CreateObject sets both false (v2.40, 4.9 and 4.10)
	}
	if o.local && !neverSeen {
		return fmt.Errorf("%w: key was readable once", ErrRefused)
	}
	if !o.local && !o.key.Class.permits(VerbImport) {
		return fmt.Errorf("%w: key of class %q was made outside", ErrRefused, o.key.Class)
	}
	return nil
}

// publicKey finds, checks and decodes the public half of a pair.
func (s *session) publicKey(o *object) (crypto.PublicKey, error) {
	found, err := s.find(
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, uint(pkcs11.CKO_PUBLIC_KEY)),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, o.key.Label))
	if err != nil {
		return nil, err
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("%w: %d public keys, want 1", ErrRefused, len(found))
	}
	if err := s.compare(found[0], o.rule.publicObject()); err != nil {
		return nil, err
	}
	if o.rule.form == rsa3072 {
		return s.rsaKey(found[0])
	}
	point, err := s.read(found[0], pkcs11.CKA_EC_POINT)
	if err != nil {
		return nil, err
	}
	switch o.rule.form {
	case edwards:
		return parseEd25519Point(point[0])
	case brain:
		return parseBrainpoolPoint(point[0])
	default:
		return parseP256Point(point[0])
	}
}

// compare refuses an object that differs from the attributes of its rule.
func (s *session) compare(h pkcs11.ObjectHandle, want []attribute) error {
	types := make([]uint, len(want))
	for i, a := range want {
		types[i] = a.typ
	}
	got, err := s.read(h, types...)
	if err != nil {
		return err
	}
	var wrong []string
	for i, a := range template(want) {
		if !bytes.Equal(got[i], a.Value) {
			wrong = append(wrong, fmt.Sprintf("%s is %x, not %x", want[i].name, got[i], a.Value))
		}
	}
	if wrong != nil {
		return fmt.Errorf("%w: %s", ErrRefused, strings.Join(wrong, ", "))
	}
	return nil
}
