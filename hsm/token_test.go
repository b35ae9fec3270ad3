package hsm_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/hsm/softhsm"
	"github.com/persoline/persoline/perso/secret"
)

// Tests on SoftHSM are not parallel: a process has the module once.

func TestConformanceSoftHSM(t *testing.T) {
	hsmtest.RequireSoftHSM(t)
	hsmtest.Run(t, func(t *testing.T) hsmtest.Device { return hsmtest.SoftHSM(t) })
}

func TestConformanceNSS(t *testing.T) {
	hsmtest.RequireNSS(t)
	hsmtest.RunWithout(t, []hsm.Class{hsm.ClassEUMBrainpool}, func(t *testing.T) hsmtest.Device { return hsmtest.NSS(t) })
}

func TestConformanceWithoutEdDSA(t *testing.T) {
	tok := hsmtest.SoftHSM(t)
	tok.NoEdDSA()
	k := generated(t, tok, hsm.ClassLog, "p256")
	if pub, err := tok.Public(t.Context(), k); err != nil {
		t.Error(err)
	} else if _, ok := pub.(*ecdsa.PublicKey); !ok {
		t.Errorf("log key without EdDSA is a %T", pub)
	}
	hsmtest.Run(t, func(*testing.T) hsmtest.Device { return tok })
}

func key(t testing.TB, c hsm.Class, id string) hsm.Key {
	t.Helper()
	k, err := hsm.NewKey("test", c, id)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// secretFrom takes bytes over.
func secretFrom(b []byte) secret.Bytes { return secret.New(b) }

// secretOf is n known bytes.
func secretOf(n int) secret.Bytes {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(3*i + 1)
	}
	return secret.New(b)
}

func generated(t testing.TB, tok *hsm.Token, c hsm.Class, id string) hsm.Key {
	t.Helper()
	k := key(t, c, id)
	if err := tok.Generate(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tok.Destroy(context.Background(), k); err != nil {
			t.Error(err)
		}
	})
	return k
}

// TestAttributesReadBack compares every attribute of every class, as each
// module keeps it, with policy.go (of which KEYS.md is the page).
func TestAttributesReadBack(t *testing.T) {
	onEachModule(t, func(t *testing.T, m under) {
		for _, c := range m.classes() {
			k := generated(t, m.tok, c, "attributes")
			err := m.tok.Raw(t.Context(), k, func(p *pkcs11.Ctx, _ uint, s pkcs11.SessionHandle, h pkcs11.ObjectHandle) {
				yes := []byte{1}
				want := append(hsm.KeyObject(c, m.eddsa, m.gaps...),
					hsm.Expected{Type: pkcs11.CKA_LABEL, Name: "CKA_LABEL", Value: []byte(k.Label)},
					hsm.Expected{Type: pkcs11.CKA_ALWAYS_SENSITIVE, Name: "CKA_ALWAYS_SENSITIVE", Value: yes},
					hsm.Expected{Type: pkcs11.CKA_NEVER_EXTRACTABLE, Name: "CKA_NEVER_EXTRACTABLE", Value: yes})
				if !slices.Contains(m.gaps, hsm.GapLocal) {
					want = append(want, hsm.Expected{Type: pkcs11.CKA_LOCAL, Name: "CKA_LOCAL", Value: yes})
				}
				readBack(t, c, p, s, h, want)
				if public := hsm.PublicObject(c, m.eddsa, m.gaps...); public != nil {
					readBack(t, c, p, s, publicHandle(t, p, s, k), public)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestGapsAreThere: what a module is said not to keep, it does not keep. A gap
// that a later version has closed must not be left open here.
func TestGapsAreThere(t *testing.T) {
	onEachModule(t, func(t *testing.T, m under) {
		k := generated(t, m.tok, hsm.ClassEUM, "gaps")
		whole, public := hsm.KeyObject(hsm.ClassEUM, m.eddsa), hsm.PublicObject(hsm.ClassEUM, m.eddsa)
		whole = append(whole, hsm.Expected{Type: pkcs11.CKA_LOCAL, Name: "CKA_LOCAL", Value: []byte{1}})
		missing := map[hsm.Gap]bool{}
		err := m.tok.Raw(t.Context(), k, func(p *pkcs11.Ctx, _ uint, s pkcs11.SessionHandle, h pkcs11.ObjectHandle) {
			for typ, gap := range map[uint]hsm.Gap{pkcs11.CKA_ALLOWED_MECHANISMS: hsm.GapAllowedMechanisms,
				pkcs11.CKA_COPYABLE: hsm.GapCopyable, pkcs11.CKA_DESTROYABLE: hsm.GapDestroyable, pkcs11.CKA_LOCAL: hsm.GapLocal} {
				missing[gap] = !keeps(p, s, h, whole, typ)
			}
			missing[hsm.GapPrivatePublic] = !keeps(p, s, publicHandle(t, p, s, k), public, pkcs11.CKA_PRIVATE)
		})
		if err != nil {
			t.Fatal(err)
		}
		for gap, is := range missing {
			if is != slices.Contains(m.gaps, gap) {
				t.Errorf("gap %s: found %v, declared %v", gap, is, !is)
			}
		}
	})
}

func keeps(p *pkcs11.Ctx, s pkcs11.SessionHandle, h pkcs11.ObjectHandle, list []hsm.Expected, typ uint) bool {
	i := slices.IndexFunc(list, func(e hsm.Expected) bool { return e.Type == typ })
	got, err := p.GetAttributeValue(s, h, []*pkcs11.Attribute{pkcs11.NewAttribute(typ, nil)})
	return err == nil && bytes.Equal(got[0].Value, list[i].Value)
}

// TestUndeclaredGap: the same module without its gaps declared makes no key,
// and uses none that was made with them.
func TestUndeclaredGap(t *testing.T) {
	hsmtest.RequireNSS(t)
	cfg, err := hsmtest.NewNSS(hsmtest.TempDir(t))
	if err != nil {
		t.Fatal(err)
	}
	k := key(t, hsm.ClassLot, "gap")
	for _, gaps := range [][]hsm.Gap{hsm.Gaps(), nil} {
		cfg.Gaps = gaps
		tok, err := hsm.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if gaps != nil {
			err = tok.Generate(t.Context(), k)
		} else {
			_, err = tok.MAC(t.Context(), k, []byte("x"))
			if !errors.Is(err, hsm.ErrRefused) {
				t.Errorf("MAC with a key that was made with gaps: %v", err)
			}
			if err = tok.Generate(t.Context(), key(t, hsm.ClassLot, "new")); err == nil {
				t.Error("a key was made without the whole policy")
			}
			err = nil
		}
		if err := errors.Join(err, tok.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNoLiveKeysWithGaps: where keys can be taken out, none for live cards is
// made or used.
func TestNoLiveKeysWithGaps(t *testing.T) {
	onEachModule(t, func(t *testing.T, m under) {
		k, err := hsm.NewKey("production", hsm.ClassLot, "live")
		if err != nil {
			t.Fatal(err)
		}
		refused := slices.ContainsFunc(m.gaps, hsm.Gap.TestOnly)
		for what, call := range map[string]func() error{
			"Generate": func() error { return m.tok.Generate(t.Context(), k) },
			"MAC":      func() error { _, err := m.tok.MAC(t.Context(), k, []byte("x")); return err },
			"Has":      func() error { _, err := m.tok.Has(t.Context(), k); return err },
		} {
			if err := call(); errors.Is(err, hsm.ErrRefused) != refused {
				t.Errorf("%s: %v", what, err)
			}
		}
		if err := m.tok.Destroy(t.Context(), k); err != nil && !errors.Is(err, hsm.ErrNotFound) {
			t.Error(err)
		}
	})
}

func readBack(t *testing.T, c hsm.Class, m *pkcs11.Ctx, s pkcs11.SessionHandle, h pkcs11.ObjectHandle, want []hsm.Expected) {
	t.Helper()
	for _, a := range want {
		got, err := m.GetAttributeValue(s, h, []*pkcs11.Attribute{pkcs11.NewAttribute(a.Type, nil)})
		if err != nil {
			t.Errorf("%s: %s: %v", c, a.Name, err)
		} else if !bytes.Equal(got[0].Value, a.Value) {
			t.Errorf("%s: %s is %x, want %x", c, a.Name, got[0].Value, a.Value)
		}
	}
}

func publicHandle(t *testing.T, m *pkcs11.Ctx, s pkcs11.SessionHandle, k hsm.Key) pkcs11.ObjectHandle {
	t.Helper()
	err := m.FindObjectsInit(s, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, uint(pkcs11.CKO_PUBLIC_KEY)),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, k.Label)})
	if err != nil {
		t.Fatal(err)
	}
	found, _, err := m.FindObjects(s, 2)
	if err := errors.Join(err, m.FindObjectsFinal(s)); err != nil || len(found) != 1 {
		t.Fatalf("%d public keys, %v", len(found), err)
	}
	return found[0]
}

// TestTokenRefuses goes past our own gate: the attributes alone must make the
// token refuse. What a gap lets through is written down here, and must be let
// through: a gap is a fact, not a guess.
func TestTokenRefuses(t *testing.T) {
	onEachModule(t, func(t *testing.T, m under) {
		for _, c := range m.classes() {
			k := generated(t, m.tok, c, "refuses")
			var open []string
			err := m.tok.Raw(t.Context(), k, func(p *pkcs11.Ctx, slot uint, _ pkcs11.SessionHandle, h pkcs11.ObjectHandle) {
				for _, what := range slices.Sorted(maps.Keys(refused(p, 0, h, c))) {
					if m.crashes && c == hsm.ClassEnvelope && (what == "CMAC" || what == "HMAC-SHA-512") {
						t.Log("softoken takes an RSA key for a MAC key, and now and then crashes; nobody tries")
						continue
					}
					if onOwnSession(t, p, slot, func(s pkcs11.SessionHandle) error { return refused(p, s, h, c)[what]() }) == nil {
						open = append(open, what)
					}
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if want := m.open[ruleKind(c)]; !slices.Equal(open, want) {
				t.Errorf("%s: possible are %q, want %q", c, open, want)
			}
		}
	})
}

// onOwnSession makes an attempt on a session that nothing was begun on before, so that it tells of itself alone.
func onOwnSession(t *testing.T, p *pkcs11.Ctx, slot uint, attempt func(pkcs11.SessionHandle) error) error {
	t.Helper()
	s, err := p.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.CloseSession(s); err != nil {
			t.Error(err)
		}
	}()
	return attempt(s)
}

// refused are the misuses of a class.
func refused(p *pkcs11.Ctx, s pkcs11.SessionHandle, h pkcs11.ObjectHandle, c hsm.Class) map[string]func() error {
	all := misuses(p, s, h)
	if c == hsm.ClassReceive { // the other way round: it decrypts, and never encrypts
		all["ECB encryption"] = ecbEncryption(p, s, h)
		delete(all, "ECB decryption")
	}
	return all
}

// ruleKind is the kind of object that a class lives in.
func ruleKind(c hsm.Class) string {
	switch c {
	case hsm.ClassLot, hsm.ClassReceipt, hsm.ClassLife, hsm.ClassKiPrint:
		return "mac"
	case hsm.ClassTransport, hsm.ClassSMSR, hsm.ClassKMC:
		return "ecb"
	case hsm.ClassReceive:
		return "receive"
	case hsm.ClassSeal:
		return "seal"
	case hsm.ClassTransport3DES, hsm.ClassKMCEMV, hsm.ClassKMCVISA2:
		return "3des"
	case hsm.ClassEnvelope:
		return "rsa"
	}
	return "pair"
}

// misuses are what the verbs never do with a key; each fails on a session of
// the caller's, which it may spoil.
func misuses(p *pkcs11.Ctx, s pkcs11.SessionHandle, h pkcs11.ObjectHandle) map[string]func() error {
	softer := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true), pkcs11.NewAttribute(pkcs11.CKA_TOKEN, false)}
	mech := func(m uint, par any) []*pkcs11.Mechanism { return []*pkcs11.Mechanism{pkcs11.NewMechanism(m, par)} }
	sign := func(m uint) func() error {
		return func() error {
			err := p.SignInit(s, mech(m, nil), h)
			if err == nil {
				_, err = p.Sign(s, make([]byte, 32))
			}
			return err
		}
	}
	return map[string]func() error{
		"changing it":        func() error { return p.SetAttributeValue(s, h, softer[:1]) },
		"HMAC-SHA-512":       sign(pkcs11.CKM_SHA512_HMAC),
		"CMAC":               sign(pkcs11.CKM_AES_CMAC),
		"ECDSA with SHA-256": sign(pkcs11.CKM_ECDSA_SHA256),
		"RSA with SHA-256":   sign(pkcs11.CKM_SHA256_RSA_PKCS),
		"RSA of any block":   sign(pkcs11.CKM_RSA_PKCS),
		"CBC": func() error {
			err := p.EncryptInit(s, mech(pkcs11.CKM_AES_CBC, make([]byte, 16)), h)
			if err == nil {
				_, err = p.Encrypt(s, make([]byte, 16))
			}
			return err
		},
		"ECB decryption": func() error {
			err := p.DecryptInit(s, mech(pkcs11.CKM_AES_ECB, nil), h)
			if err == nil {
				_, err = p.Decrypt(s, make([]byte, 16))
			}
			return err
		},
		"reading the value": func() error {
			_, err := p.GetAttributeValue(s, h, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_VALUE, nil)})
			return err
		},
		"copying it": func() error { _, err := p.CopyObject(s, h, softer); return err },
		"wrapping with it": func() error {
			_, err := p.WrapKey(s, mech(pkcs11.CKM_AES_KEY_WRAP_PAD, nil), h, h)
			return err
		},
		"deriving from it": func() error {
			_, err := p.DeriveKey(s, mech(pkcs11.CKM_AES_ECB_ENCRYPT_DATA, make([]byte, 16)), h, softer)
			return err
		},
	}
}

func ecbEncryption(p *pkcs11.Ctx, s pkcs11.SessionHandle, h pkcs11.ObjectHandle) func() error {
	return func() error {
		err := p.EncryptInit(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_ECB, nil)}, h)
		if err == nil {
			_, err = p.Encrypt(s, make([]byte, 16))
		}
		return err
	}
}

// TestWrapOut: even a wrapping key that somebody put on the token does not get
// a key of ours out.
func TestWrapOut(t *testing.T) { onEachModule(t, wrapOut) }

func wrapOut(t *testing.T, on under) {
	k := generated(t, on.tok, hsm.ClassLot, "wrapout")
	err := on.tok.Raw(t.Context(), k, func(m *pkcs11.Ctx, _ uint, s pkcs11.SessionHandle, h pkcs11.ObjectHandle) {
		wrapper, err := m.GenerateKey(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_KEY_GEN, nil)}, []*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 32), pkcs11.NewAttribute(pkcs11.CKA_WRAP, true)})
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.WrapKey(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_KEY_WRAP_PAD, nil)}, wrapper, h)
		switch gap := slices.Contains(on.gaps, hsm.GapUnextractable); {
		case gap && err != nil:
			t.Errorf("the gap %s is closed: %v", hsm.GapUnextractable, err)
		case !gap && err != pkcs11.Error(pkcs11.CKR_KEY_UNEXTRACTABLE):
			t.Errorf("wrapping a lot key: %v", err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestForeignKeyRefused: a key under our label that was made with softer
// attributes is listed and can be destroyed, but is never used.
func TestForeignKeyRefused(t *testing.T) { onEachModule(t, foreignKeyRefused) }

func foreignKeyRefused(t *testing.T, on under) {
	tok := on.tok
	for name, change := range map[string]*pkcs11.Attribute{
		"extractable":    pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true),
		"not-sensitive":  pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, false),
		"derives":        pkcs11.NewAttribute(pkcs11.CKA_DERIVE, true),
		"two-mechanisms": pkcs11.NewAttribute(pkcs11.CKA_ALLOWED_MECHANISMS, append(allowed(pkcs11.CKM_SHA256_HMAC), allowed(pkcs11.CKM_SHA512_HMAC)...)),
		"short":          pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 16),
	} {
		if change.Type == pkcs11.CKA_ALLOWED_MECHANISMS && slices.Contains(on.gaps, hsm.GapAllowedMechanisms) {
			continue // cannot be planted: TestGapsAreThere
		}
		k := key(t, hsm.ClassLot, name)
		if err := tok.Raw(t.Context(), hsm.Key{}, func(m *pkcs11.Ctx, _ uint, s pkcs11.SessionHandle, _ pkcs11.ObjectHandle) {
			plant(t, m, s, k, change, on.gaps)
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := tok.MAC(t.Context(), k, []byte("x")); !errors.Is(err, hsm.ErrRefused) {
			t.Errorf("%s: MAC: %v", name, err)
		}
		if _, err := tok.Has(t.Context(), k); !errors.Is(err, hsm.ErrRefused) {
			t.Errorf("%s: Has: %v", name, err)
		}
		if list, err := tok.List(t.Context()); err != nil || !slices.Contains(list, k) {
			t.Errorf("%s: not listed (%v)", name, err)
		}
		if err := tok.Destroy(t.Context(), k); err != nil {
			t.Errorf("%s: Destroy: %v", name, err)
		}
	}
}

func allowed(mechanism uint) []byte { return pkcs11.NewAttribute(0, mechanism).Value }

// plant makes a lot key with one attribute changed.
func plant(t *testing.T, m *pkcs11.Ctx, s pkcs11.SessionHandle, k hsm.Key, change *pkcs11.Attribute, gaps []hsm.Gap) {
	t.Helper()
	list := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_LABEL, k.Label)}
	if change.Type != pkcs11.CKA_VALUE_LEN {
		list = append(list, pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 32))
	}
	for _, a := range hsm.KeyObject(hsm.ClassLot, true, gaps...) {
		if a.Type != change.Type && a.Type != pkcs11.CKA_CLASS {
			list = append(list, pkcs11.NewAttribute(a.Type, a.Value))
		}
	}
	how := []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_GENERIC_SECRET_KEY_GEN, nil)}
	if _, err := m.GenerateKey(s, how, append(list, change)); err != nil {
		t.Fatalf("planting a key: %v", err)
	}
}

func TestKeysSurviveReopening(t *testing.T) {
	module := hsmtest.RequireSoftHSM(t)
	if err := hsmtest.NewSoftHSM(hsmtest.TempDir(t)); err != nil {
		t.Fatal(err)
	}
	k := key(t, hsm.ClassLot, "stays")
	var macs [2][32]byte
	for i := range macs {
		tok, err := hsm.Open(t.Context(), hsmtest.TestConfig(module))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			err = tok.Generate(t.Context(), k)
		}
		if err == nil {
			macs[i], err = tok.MAC(t.Context(), k, []byte("x"))
		}
		if err := errors.Join(err, tok.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := tok.MAC(t.Context(), k, []byte("x")); !errors.Is(err, hsm.ErrClosed) {
			t.Errorf("MAC after Close: %v", err)
		}
		if err := tok.Close(); !errors.Is(err, hsm.ErrClosed) {
			t.Errorf("Close again: %v", err)
		}
	}
	if macs[0] != macs[1] {
		t.Error("another key after reopening")
	}
}

func TestOpenRefuses(t *testing.T) {
	module := hsmtest.RequireSoftHSM(t)
	dir := t.TempDir()
	if err := hsmtest.NewSoftHSM(dir); err != nil {
		t.Fatal(err)
	}
	if err := hsmtest.NewSoftHSM(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("making a token over a token: %v", err)
	}
	if err := softhsm.Use(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("using no token: %v", err)
	}
	good := hsmtest.TestConfig(module)
	for _, test := range []struct {
		name   string
		change func(*hsm.Config)
		want   error
	}{
		{"wrong PIN", func(c *hsm.Config) { c.PIN = secret.New([]byte("wrong")) }, hsm.ErrRefused},
		{"no such token", func(c *hsm.Config) { c.TokenLabel = "none" }, hsm.ErrTokenGone},
		{"no such module", func(c *hsm.Config) { c.Module = "/nonexistent.so" }, hsm.ErrTokenGone},
	} {
		cfg := good
		test.change(&cfg)
		if _, err := hsm.Open(t.Context(), cfg); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	tok, err := hsm.Open(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hsm.Open(t.Context(), good); !errors.Is(err, hsm.ErrBusy) {
		t.Errorf("second token in the process: %v", err)
	}
	if err := tok.Close(); err != nil {
		t.Error(err)
	}
}

// TestCardPairObjects reads back what CardPair makes for a moment.
func TestCardPairObjects(t *testing.T) {
	onEachModule(t, func(t *testing.T, m under) {
		err := m.tok.CardObjects(t.Context(), func(p *pkcs11.Ctx, s pkcs11.SessionHandle, h pkcs11.ObjectHandle, want []hsm.Expected) {
			readBack(t, hsm.ClassEUM, p, s, h, want)
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// TestCardPairLeavesNothing: neither when it succeeds nor when any of its calls
// fails, before or after the device did it.
func TestCardPairLeavesNothing(t *testing.T) {
	onFaulty(t, func(c *hsm.Config) { c.MaxSessions = 1 }, func(t *testing.T, tok *hsm.Token, f *hsm.Faulty) {
		for _, op := range []string{"", "C_GenerateKeyPair", "C_GetAttributeValue", "C_GenerateRandom", "C_CreateObject", "C_WrapKey", "C_DestroyObject"} {
			for _, hook := range []func(func(string) error){f.Before, f.After} {
				left := 1
				hook(func(at string) error {
					if at != op || left == 0 {
						return nil
					}
					left--
					return hsm.Error{Op: at, CKR: 0x05}
				})
				pair, err := tok.CardPair(t.Context())
				if (err != nil) != (op != "") || err != nil && (pair.Public != nil || !pair.Private.IsZero()) {
					t.Errorf("%s fails: %v", op, err)
				}
				f.Before(nil)
				f.After(nil)
				if n := objects(t, tok); n != 0 {
					t.Errorf("%s fails: %d objects are left", op, n)
				}
			}
		}
	})
}

// objects counts all that is on the token or in a session of this process.
func objects(t *testing.T, tok *hsm.Token) (n int) {
	t.Helper()
	err := tok.Apart(func(m *pkcs11.Ctx, s pkcs11.SessionHandle) error {
		if err := m.FindObjectsInit(s, nil); err != nil {
			return err
		}
		found, _, err := m.FindObjects(s, 100)
		n = len(found)
		return errors.Join(err, m.FindObjectsFinal(s))
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
