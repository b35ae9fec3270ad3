package tdes

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/bits"
	"testing"

	"github.com/persoline/persoline/perso/reftest"
)

func mustNew(t testing.TB, key string) *Key {
	t.Helper()
	k, err := New(reftest.Unhex(t, key))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Key check values of the published GlobalPlatform default key, and of NIST SP 800-67's example (appendix B): three
// blocks of text under a three-key value.
func TestKnownAnswers(t *testing.T) {
	t.Parallel()
	if got := mustNew(t, "404142434445464748494a4b4c4d4e4f").KCV(); hex.EncodeToString(got[:]) != "8baf47" {
		t.Errorf("KCV is %x", got)
	}
	k := mustNew(t, "0123456789abcdef23456789abcdef01456789abcdef0123")
	plain := []byte("The qufck brown fox jump")
	got, err := k.ECB(plain)
	if err != nil || hex.EncodeToString(got) != "a826fd8ce53b855fcce21c8112256fe668d5c05dd9b6b900" {
		t.Errorf("ECB is %x, %v", got, err)
	}
	if back, err := k.OpenECB(got); err != nil || !bytes.Equal(back, plain) {
		t.Errorf("opened ECB is %q, %v", back, err)
	}
}

// The transport key modes of the reference data.
func TestReferenceModes(t *testing.T) {
	t.Parallel()
	var r struct {
		Modes []struct{ Mode, K4, Ki, EKI string } `json:"computed_other_modes"`
	}
	reftest.Vectors(t, "transport_key.json", &r)
	seen := 0
	for _, m := range r.Modes {
		var f func(*Key, []byte) ([]byte, error)
		switch m.Mode {
		case "3DES-EDE2 ECB, 2 blocks":
			f = (*Key).ECB
		case "3DES-EDE2 CBC zero IV":
			f = (*Key).CBC
		default:
			continue // single DES is not made
		}
		seen++
		if got, err := f(mustNew(t, m.K4), reftest.Unhex(t, m.Ki)); err != nil || hex.EncodeToString(got) != m.EKI {
			t.Errorf("%s: got %x, %v, want %s", m.Mode, got, err, m.EKI)
		}
	}
	if seen != 2 {
		t.Errorf("saw %d modes", seen)
	}
}

func TestCBC(t *testing.T) {
	t.Parallel()
	k := mustNew(t, "0123456789abcdeffedcba9876543210")
	plain := reftest.Unhex(t, "465b5ce8b199b49faa5f0a2ee238a6bc")
	got, err := k.CBC(plain)
	if err != nil || hex.EncodeToString(got) != "d0ebfcebde43c80b1189a213cb2451c7" {
		t.Errorf("CBC is %x, %v", got, err)
	}
	if back, err := k.OpenCBC(got); err != nil || !bytes.Equal(back, plain) {
		t.Errorf("opened CBC is %x, %v", back, err)
	}
	if mac, err := k.MAC(plain); err != nil || !bytes.Equal(mac[:], got[8:]) {
		t.Errorf("MAC is %x, %v", mac, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]string{
		"single DES": "0123456789abcdef", "15 bytes": "0123456789abcdeffedcba98765432", "32 bytes": "0123456789abcdeffedcba9876543210fedcba98765432100123456789abcdef",
		"two equal parts": "0123456789abcdef0123456789abcdef", "equal but for parity": "0123456789abcdef0022446688aaccee",
		"K2 = K3": "0123456789abcdeffedcba9876543210fedcba9876543210",
	} {
		if _, err := New(reftest.Unhex(t, key)); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	k := mustNew(t, "0123456789abcdeffedcba9876543210")
	for name, f := range map[string]func([]byte) error{
		"ECB":      func(p []byte) error { _, err := k.ECB(p); return err },
		"open ECB": func(p []byte) error { _, err := k.OpenECB(p); return err },
		"CBC":      func(p []byte) error { _, err := k.CBC(p); return err },
		"open CBC": func(p []byte) error { _, err := k.OpenCBC(p); return err },
		"MAC":      func(p []byte) error { _, err := k.MAC(p); return err },
		"retail":   func(p []byte) error { _, err := k.RetailMAC([8]byte{}, p); return err },
	} {
		if err := f(make([]byte, 9)); !errors.Is(err, ErrBlocks) {
			t.Errorf("%s of 9 bytes: %v", name, err)
		}
	}
	if _, err := k.MAC(nil); !errors.Is(err, ErrBlocks) {
		t.Errorf("MAC of nothing: %v", err)
	}
	if _, err := k.RetailMAC([8]byte{}, nil); !errors.Is(err, ErrBlocks) {
		t.Errorf("retail MAC of nothing: %v", err)
	}
}

func TestSetParity(t *testing.T) {
	t.Parallel()
	key := make([]byte, 256)
	for i := range key {
		key[i] = byte(i)
	}
	SetParity(key)
	for i, b := range key {
		if bits.OnesCount8(b)%2 != 1 || b&^1 != byte(i)&^1 {
			t.Errorf("%02X became %02X", i, b)
		}
	}
	before := mustNew(t, "0123456789abcdeffedcba9876543210").KCV()
	if after := mustNew(t, "0022446688aacceefedcba9876543210").KCV(); before != after {
		t.Error("parity changes a key check value")
	}
}
