package hsm

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/pkcs11"

	"github.com/persoline/persoline/perso/secret"
)

// probeEnv is the environment in the labels of keys that Survey makes.
const probeEnv = "check"

// surveyGaps lists the gaps, and looks for them if the survey probes.
func (t *Token) surveyGaps(ctx context.Context, s *Survey) error {
	for _, g := range Gaps() {
		one := GapSurvey{Gap: g, Declared: t.offers().lacks(g), Cost: g.Cost()}
		if s.Probed {
			err := t.do(ctx, once, func(*session) error {
				if err := t.management.enter(ctx, t.cfg.WaitLimit); err != nil {
					return err
				}
				defer t.management.leave()
				var err error
				one.Found, err = t.hasGap(g)
				return err
			})
			if err != nil {
				return fmt.Errorf("looking for gap %s: %w", g, err)
			}
		}
		s.Gaps = append(s.Gaps, one)
	}
	return nil
}

// hasGap makes a key with all that the gap is about, and none of the other
// gaps' matters, and sees what becomes of it. It works in a session of its own,
// since a refusal may spoil it.
func (t *Token) hasGap(g Gap) (found bool, err error) {
	s, err := t.freshSession()
	if err != nil {
		return false, err
	}
	defer s.close()
	others := slices.DeleteFunc(Gaps(), func(o Gap) bool { return o == g })
	on := support{eddsa: t.offers().eddsa, wrap: t.offers().wrap, gaps: others}
	label, err := s.probeLabel(ClassEIS)
	if err != nil {
		return false, err
	}
	name := attribute{typ: pkcs11.CKA_LABEL, value: label.Label}
	r := ruleOf(ClassEIS).on(on)
	how := []*pkcs11.Mechanism{pkcs11.NewMechanism(r.generator(), nil)}
	pub, priv, err := s.module.GenerateKeyPair(s.handle, how, template(append(r.publicObject(), name)), template(append(r.keyObject(), name)))
	if err != nil {
		return true, nil // with the attribute the key cannot be made
	}
	defer func() { err = errors.Join(err, s.destroy(priv, pub)) }()
	switch g {
	case GapLocal:
		v, err := s.read(priv, pkcs11.CKA_LOCAL)
		return err == nil && !bytes.Equal(v[0], []byte{1}), err
	case GapPrivatePublic: // alone: softoken, asked for many at once, repeats what it was told
		v, err := s.read(pub, pkcs11.CKA_PRIVATE)
		return err == nil && !bytes.Equal(v[0], []byte{1}), err
	case GapUnextractable:
		return t.wrapsOut(s, priv)
	}
	err = errors.Join(s.compare(priv, r.keyObject()), s.compare(pub, r.publicObject()))
	return err != nil, nil
}

// wrapsOut tries to wrap a key that is not extractable.
func (t *Token) wrapsOut(s *session, priv pkcs11.ObjectHandle) (out bool, err error) {
	if t.offers().wrap == 0 {
		return false, nil // not by this way
	}
	carrier, err := s.module.CreateSecret(s.handle, template(carrierObject(support{gaps: Gaps(), wrap: t.offers().wrap})), make([]byte, carrierBytes))
	if err != nil {
		return false, fault("C_CreateObject", err)
	}
	err = s.into(wrappedMaxBytes, func(b []byte) (int, error) {
		return s.module.WrapInto(s.handle, t.offers().wrap, carrier, priv, b)
	}, func([]byte) error { return nil })
	return err == nil, s.destroy(carrier)
}

// probeLabel names a key that nobody else has.
func (s *session) probeLabel(c Class) (Key, error) {
	id, err := s.random(keyIDBytes)
	if err != nil {
		return Key{}, err
	}
	return NewKey(probeEnv, c, hex.EncodeToString(id))
}

// probeClasses makes, uses and destroys a key of each class that seems ready,
// and a card's pair.
func (t *Token) probeClasses(ctx context.Context, s *Survey) error {
	for i := range s.Features {
		f := &s.Features[i]
		if !f.Ready {
			continue
		}
		err := t.probeFeature(ctx, f.Name)
		switch {
		case err == nil:
		case errors.Is(err, ErrRefused) || errors.Is(err, ErrDevice):
			f.Ready, f.Note = false, err.Error()
		default:
			return err
		}
	}
	return nil
}

func (t *Token) probeFeature(ctx context.Context, feature string) (err error) {
	if feature == FeatureCardPair {
		pair, err := t.CardPair(ctx)
		pair.Private.Wipe()
		return err
	}
	class, err := ParseClass(feature)
	if err != nil {
		return err
	}
	id, err := t.Random(ctx, keyIDBytes)
	if err != nil {
		return err
	}
	k, err := NewKey(probeEnv, class, hex.EncodeToString(id))
	if err != nil {
		return err
	}
	if err := t.Generate(ctx, k); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Destroy(ctx, k)) }()
	return t.useOnce(ctx, k)
}

// useOnce does with a key what its class is for.
func (t *Token) useOnce(ctx context.Context, k Key) (err error) {
	switch {
	case k.Class.permits(VerbMAC):
		_, err = t.MAC(ctx, k, []byte(kcvMessage))
	case k.Class.permits(VerbEncryptECB):
		_, err = t.EncryptECB(ctx, k, make([]byte, aesBlockBytes))
	case k.Class.permits(VerbDecryptECB):
		var plain []byte
		plain, err = t.DecryptECB(ctx, k, make([]byte, aesBlockBytes))
		clear(plain)
	case k.Class.permits(VerbSignMessage):
		_, err = t.SignMessage(ctx, k, []byte(kcvMessage))
	default:
		var sealed []byte
		if sealed, err = t.Seal(ctx, k, secret.New([]byte(kcvMessage)), nil); err == nil {
			_, err = t.Unseal(ctx, k, sealed, nil)
		}
	}
	return err
}
