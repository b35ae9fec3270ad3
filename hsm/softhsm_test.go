package hsm_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"errors"
	"io/fs"
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

// TestAttributesReadBack compares every attribute of every class, as SoftHSM
// keeps it, with policy.go (of which KEYS.md is the page).
func TestAttributesReadBack(t *testing.T) {
	tok := hsmtest.SoftHSM(t)
	for _, c := range hsm.Classes() {
		k := generated(t, tok, c, "attributes")
		err := tok.Raw(t.Context(), k, func(m *pkcs11.Ctx, _ uint, s pkcs11.SessionHandle, h pkcs11.ObjectHandle) {
			yes := []byte{1}
			want := append(hsm.KeyObject(c, true),
				hsm.Expected{Type: pkcs11.CKA_LABEL, Name: "CKA_LABEL", Value: []byte(k.Label)},
				hsm.Expected{Type: pkcs11.CKA_LOCAL, Name: "CKA_LOCAL", Value: yes},
				hsm.Expected{Type: pkcs11.CKA_ALWAYS_SENSITIVE, Name: "CKA_ALWAYS_SENSITIVE", Value: yes},
				hsm.Expected{Type: pkcs11.CKA_NEVER_EXTRACTABLE, Name: "CKA_NEVER_EXTRACTABLE", Value: yes})
			readBack(t, c, m, s, h, want)
			if public := hsm.PublicObject(c, true); public != nil {
				readBack(t, c, m, s, publicHandle(t, m, s, k), public)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
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
// token refuse.
func TestTokenRefuses(t *testing.T) {
	tok := hsmtest.SoftHSM(t)
	mech := func(m uint, p any) []*pkcs11.Mechanism {
		return []*pkcs11.Mechanism{pkcs11.NewMechanism(m, p)}
	}
	softer := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true)}
	for _, c := range hsm.Classes() {
		k := generated(t, tok, c, "refuses")
		err := tok.Raw(t.Context(), k, func(m *pkcs11.Ctx, _ uint, s pkcs11.SessionHandle, h pkcs11.ObjectHandle) {
			attempts := map[string]error{
				"changing it":        m.SetAttributeValue(s, h, softer),
				"HMAC-SHA-512":       m.SignInit(s, mech(pkcs11.CKM_SHA512_HMAC, nil), h),
				"CMAC":               m.SignInit(s, mech(pkcs11.CKM_AES_CMAC, nil), h),
				"ECDSA with SHA-256": m.SignInit(s, mech(pkcs11.CKM_ECDSA_SHA256, nil), h),
				"CBC":                m.EncryptInit(s, mech(pkcs11.CKM_AES_CBC, make([]byte, 16)), h),
				"ECB decryption":     m.DecryptInit(s, mech(pkcs11.CKM_AES_ECB, nil), h),
			}
			value := uint(pkcs11.CKA_VALUE)
			_, attempts["reading the value"] = m.GetAttributeValue(s, h, []*pkcs11.Attribute{pkcs11.NewAttribute(value, nil)})
			_, attempts["copying it"] = m.CopyObject(s, h, softer)
			_, attempts["wrapping with it"] = m.WrapKey(s, mech(pkcs11.CKM_AES_KEY_WRAP, nil), h, h)
			_, attempts["deriving from it"] = m.DeriveKey(s, mech(pkcs11.CKM_AES_ECB_ENCRYPT_DATA, make([]byte, 16)), h, softer)
			for what, err := range attempts {
				if err == nil {
					t.Errorf("%s: %s is possible", c, what)
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestWrapOut: even a wrapping key that somebody put on the token does not get
// a key of ours out.
func TestWrapOut(t *testing.T) {
	tok := hsmtest.SoftHSM(t)
	k := generated(t, tok, hsm.ClassLot, "wrapout")
	err := tok.Raw(t.Context(), k, func(m *pkcs11.Ctx, _ uint, s pkcs11.SessionHandle, h pkcs11.ObjectHandle) {
		wrapper, err := m.GenerateKey(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_KEY_GEN, nil)}, []*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 32), pkcs11.NewAttribute(pkcs11.CKA_WRAP, true)})
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.WrapKey(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_KEY_WRAP, nil)}, wrapper, h)
		if err != pkcs11.Error(pkcs11.CKR_KEY_UNEXTRACTABLE) {
			t.Errorf("wrapping a lot key: %v", err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestForeignKeyRefused: a key under our label that was made with softer
// attributes is listed and can be destroyed, but is never used.
func TestForeignKeyRefused(t *testing.T) {
	tok := hsmtest.SoftHSM(t)
	for name, change := range map[string]*pkcs11.Attribute{
		"extractable":    pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true),
		"not-sensitive":  pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, false),
		"derives":        pkcs11.NewAttribute(pkcs11.CKA_DERIVE, true),
		"two-mechanisms": pkcs11.NewAttribute(pkcs11.CKA_ALLOWED_MECHANISMS, append(allowed(pkcs11.CKM_SHA256_HMAC), allowed(pkcs11.CKM_SHA512_HMAC)...)),
		"short":          pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 16),
	} {
		k := key(t, hsm.ClassLot, name)
		if err := tok.Raw(t.Context(), hsm.Key{}, func(m *pkcs11.Ctx, _ uint, s pkcs11.SessionHandle, _ pkcs11.ObjectHandle) {
			plant(t, m, s, k, change)
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
func plant(t *testing.T, m *pkcs11.Ctx, s pkcs11.SessionHandle, k hsm.Key, change *pkcs11.Attribute) {
	t.Helper()
	list := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_LABEL, k.Label)}
	if change.Type != pkcs11.CKA_VALUE_LEN {
		list = append(list, pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 32))
	}
	for _, a := range hsm.KeyObject(hsm.ClassLot, true) {
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
	if err := hsmtest.NewSoftHSM(t.TempDir()); err != nil {
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
