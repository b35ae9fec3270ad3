package share

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement/transcript"
)

func ofHex(t *testing.T, s string) secret.Bytes {
	t.Helper()
	b, err := ParseHex([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCheckIsTheTokens: a custodian's check value is made as the token makes the key's, for every class that is imported.
func TestCheckIsTheTokens(t *testing.T) {
	t.Parallel()
	token := hsmfake.New(rand.NewChaCha8([32]byte{}))
	for _, c := range hsm.Classes() {
		for n := 8; n <= 32; n += 8 {
			k, err := hsm.NewKey("test", c, "k"+string(rune('0'+n/8)))
			if err != nil {
				t.Fatal(err)
			}
			if k.Admit(hsm.VerbImport, n) != nil || k.Admit(hsm.VerbKCV, 0) != nil {
				continue
			}
			value := make([]byte, n)
			for i := range value {
				value[i] = byte(i*7 + n)
			}
			got, err := TokenCheck(c.String(), secret.New(bytes.Clone(value)))
			if err != nil {
				t.Fatal(err)
			}
			if err := token.Import(t.Context(), k, secret.New(value)); err != nil {
				t.Fatal(err)
			}
			if want, err := token.KCV(t.Context(), k); err != nil || got != want {
				t.Errorf("class %s of %d bytes: %x, the token says %x, %v", c, n, got, want, err)
			}
		}
	}
}

// TestKnownChecks: AES of sixteen 01 and 3DES of zeros, both computed with OpenSSL.
func TestKnownChecks(t *testing.T) {
	t.Parallel()
	for class, c := range map[string]struct{ key, kcv string }{
		"kmc":              {"000102030405060708090a0b0c0d0e0f", "c35280"},
		"receive":          {"000102030405060708090a0b0c0d0e0f", "c35280"},
		transcript.ClassOP: {"000102030405060708090A0B 0C0D0E0F", "c35280"},
		"transport-3des":   {"0123456789ABCDEF FEDCBA9876543210", "08d7b4"},
	} {
		got, err := Check(class, ofHex(t, c.key))
		if err != nil || hex.EncodeToString(got[:]) != c.kcv {
			t.Errorf("class %s: %x, want %s, %v", class, got, c.kcv, err)
		}
	}
}

func TestJoin(t *testing.T) {
	t.Parallel()
	a, b, c := ofHex(t, "00ff00ff"), ofHex(t, "0f0f0f0f"), ofHex(t, "00-00-00-01")
	whole, err := Join([]secret.Bytes{a, b, c})
	if err != nil || !whole.Equal(ofHex(t, "0ff00ff1")) {
		t.Errorf("joined to something else, %v", err)
	}
	for name, list := range map[string][]secret.Bytes{
		"none": {}, "one": {a}, "the same twice": {a, b, a}, "zeros": {a, ofHex(t, "00000000")}, "other length": {a, ofHex(t, "0102")},
		"sum of zeros": {a, b, ofHex(t, "0ff00ff0")}, "wiped": {a, {}},
	} {
		if whole, err := Join(list); err == nil || !whole.IsZero() {
			t.Errorf("%s: joined", name)
		}
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	key := "000102030405060708090a0b0c0d0e0f"
	if err := Verify("kmc", ofHex(t, key), "c35280", 16); err != nil {
		t.Error(err)
	}
	if err := Verify("kmc", ofHex(t, key), "c35281", 16); !errors.Is(err, ErrKCV) {
		t.Errorf("other check value: %v", err)
	}
	if err := Verify("kmc", ofHex(t, key), "c35280", 32); !errors.Is(err, ErrComponent) {
		t.Errorf("other length: %v", err)
	}
	for _, text := range []string{"", "0", "0g", "0x00"} {
		if _, err := ParseHex([]byte(text)); !errors.Is(err, ErrComponent) {
			t.Errorf("%q: %v", text, err)
		}
	}
	typed := []byte("0102")
	if _, err := ParseHex(typed); err != nil || !bytes.Equal(typed, make([]byte, 4)) {
		t.Errorf("what was typed is still %q, %v", typed, err)
	}
	err := Format(ofHex(t, "0102030405"), func(text []byte) error {
		if string(text) != "0102 0304 05" {
			t.Errorf("%q", text)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestJoinPIN(t *testing.T) {
	t.Parallel()
	half := func(s string) secret.Bytes { return secret.New([]byte(s)) }
	if pin, err := JoinPIN(perso.EnvProduction, half("12345678"), half("abcdefgh")); err != nil || !pin.Equal(half("12345678abcdefgh")) {
		t.Errorf("joined to something else, %v", err)
	}
	for name, c := range map[string]struct {
		env  perso.Env
		a, b string
	}{
		"short in production": {perso.EnvProduction, "1234", "abcdefgh"}, "equal": {perso.EnvTest, "1234", "1234"}, "one alone": {perso.EnvTest, "1234", ""},
		"too long": {perso.EnvTest, "1234", "123456789012345678901234567890123"},
	} {
		if pin, err := JoinPIN(c.env, half(c.a), half(c.b)); err == nil || !pin.IsZero() {
			t.Errorf("%s: joined", name)
		}
	}
	if _, err := JoinPIN(perso.EnvTest, half("1234"), half("5678")); err != nil {
		t.Error(err)
	}
}
