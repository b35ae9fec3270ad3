package transport

import (
	"bytes"
	"context"
	"crypto/aes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/order/k4"
	"github.com/persoline/persoline/perso/reftest"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/scp/tdes"
)

// software is a transport key outside an HSM, and counts its calls.
type software struct {
	ecb   func([]byte) ([]byte, error)
	calls int
}

func (s *software) EncryptECB(_ context.Context, blocks []byte) ([]byte, error) {
	if s.calls++; len(blocks) > MaxCallBytes {
		return nil, errors.New("too much for one call")
	}
	return s.ecb(blocks)
}

func aesKey(t testing.TB, key []byte) *software {
	t.Helper()
	b, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	return &software{ecb: func(p []byte) ([]byte, error) {
		out := make([]byte, len(p))
		for i := 0; i < len(p); i += aes.BlockSize {
			b.Encrypt(out[i:], p[i:])
		}
		return out, nil
	}}
}

func tdesKey(t testing.TB, key []byte) *software {
	t.Helper()
	k, err := tdes.New(key)
	if err != nil {
		t.Fatal(err)
	}
	return &software{ecb: k.ECB}
}

func TestReferenceVectors(t *testing.T) {
	t.Parallel()
	type set struct{ Ki, OP, K4, OPc, EKI string }
	var r struct {
		AES128, AES256 []set
		Others         []struct{ Mode, K4, Ki, EKI string } `json:"computed_other_modes"`
	}
	reftest.Vectors(t, "transport_key.json", &r)
	if len(r.AES128) != 10 || len(r.AES256) != 10 || len(r.Others) != 3 {
		t.Fatalf("read %d, %d and %d sets", len(r.AES128), len(r.AES256), len(r.Others))
	}
	for _, s := range append(r.AES128, r.AES256...) {
		opc, err := aka.OPc(reftest.Unhex(t, s.Ki), reftest.Unhex(t, s.OP))
		if err != nil || hex.EncodeToString(opc[:]) != s.OPc {
			t.Errorf("OPc is %x, %v, want %s", opc, err, s.OPc)
		}
		for _, l := range []k4.Layout{k4.AESECB, k4.AESCBC} {
			got, err := Wrap(t.Context(), l, aesKey(t, reftest.Unhex(t, s.K4)), []Value{{Name: "KI", Plain: reftest.Unhex(t, s.Ki), Check: CheckAES}})
			if err != nil || hex.EncodeToString(got[0].Cipher) != s.EKI {
				t.Errorf("%s: EKI is %x, %v, want %s", l, got, err, s.EKI)
			}
		}
	}
	byMode := map[string]k4.Layout{"3DES-EDE2 ECB, 2 blocks": k4.TDES2ECB, "3DES-EDE2 CBC zero IV": k4.TDES2CBC}
	for _, s := range r.Others {
		l, ok := byMode[s.Mode]
		if !ok {
			continue // single DES: refused, see tdes
		}
		got, err := Wrap(t.Context(), l, tdesKey(t, reftest.Unhex(t, s.K4)), []Value{{Name: "KI", Plain: reftest.Unhex(t, s.Ki)}})
		if err != nil || hex.EncodeToString(got[0].Cipher) != s.EKI {
			t.Errorf("%s: EKI is %x, %v, want %s", l, got, err, s.EKI)
		}
	}
}

// Values of different length in CBC, beside the library's own CBC; and the fewest calls that the mode allows.
func TestChains(t *testing.T) {
	t.Parallel()
	key := reftest.Unhex(t, "0123456789abcdeffedcba98765432100011223344556677")
	k, err := tdes.New(key)
	if err != nil {
		t.Fatal(err)
	}
	values := []Value{{Name: "PIN1", Plain: bytes.Repeat([]byte{1}, 8)}, {Name: "KI", Plain: bytes.Repeat([]byte{2}, 32)}, {Name: "OPC", Plain: bytes.Repeat([]byte{2}, 16)}}
	for l, f := range map[k4.Layout]func([]byte) ([]byte, error){k4.TDES3ECB: k.ECB, k4.TDES3CBC: k.CBC} {
		e := tdesKey(t, key)
		got, err := Wrap(t.Context(), l, e, values)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range values {
			want, err := f(v.Plain)
			if err != nil || !bytes.Equal(got[i].Cipher, want) || got[i].Name != v.Name || got[i].KCV != nil {
				t.Errorf("%s of %s: %x, want %x, %v", l, v.Name, got[i].Cipher, want, err)
			}
		}
		if want := map[k4.Layout]int{k4.TDES3ECB: 1, k4.TDES3CBC: 4}[l]; e.calls != want {
			t.Errorf("%s takes %d calls, want %d", l, e.calls, want)
		}
	}
}

func TestManyValuesAreSplit(t *testing.T) {
	t.Parallel()
	values := make([]Value, 600)
	for i := range values {
		values[i] = Value{Name: fmt.Sprint(i), Plain: bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 8)}
	}
	for _, l := range []k4.Layout{k4.AESECB, k4.AESCBC} {
		e := aesKey(t, make([]byte, 16))
		got, err := Wrap(t.Context(), l, e, values)
		if err != nil || e.calls != 3 {
			t.Fatalf("%s: %d calls, %v", l, e.calls, err)
		}
		for i, w := range got {
			one, err := aesKey(t, make([]byte, 16)).EncryptECB(t.Context(), values[i].Plain)
			if err != nil || !bytes.Equal(w.Cipher, one) {
				t.Fatalf("%s: value %d differs", l, i)
			}
		}
	}
}

func TestCheckValues(t *testing.T) {
	t.Parallel()
	key := reftest.Unhex(t, "404142434445464748494a4b4c4d4e4f")
	got, err := Wrap(t.Context(), k4.AESECB, aesKey(t, key), []Value{{Name: "A", Plain: key, Check: CheckAES}, {Name: "T", Plain: key, Check: CheckTDES}, {Name: "P", Plain: key}})
	if err != nil || hex.EncodeToString(got[0].KCV) != "504a77" || hex.EncodeToString(got[1].KCV) != "8baf47" || got[2].KCV != nil {
		t.Errorf("check values %x, %v", got, err)
	}
	for name, v := range map[string]Value{
		"AES of 48": {Plain: make([]byte, 48), Check: CheckAES}, "3DES with equal parts": {Plain: make([]byte, 16), Check: CheckTDES},
		"unknown check": {Plain: key, Check: 9}, "nothing": {}, "half a block": {Plain: make([]byte, 8)}, "too long": {Plain: make([]byte, MaxCallBytes+16)},
	} {
		if got, err := Wrap(t.Context(), k4.AESECB, aesKey(t, key), []Value{v}); err == nil {
			t.Errorf("%s is wrapped as %x", name, got)
		}
	}
	if _, err := Wrap(t.Context(), k4.Envelope, aesKey(t, key), nil); !errors.Is(err, k4.ErrLayout) {
		t.Errorf("wrapping by envelope: %v", err)
	}
}

// A broken HSM is not believed: neither one that shortens nor one that does not encrypt.
func TestBrokenKey(t *testing.T) {
	t.Parallel()
	v := []Value{{Name: "KI", Plain: bytes.Repeat([]byte{7}, 16)}}
	for name, f := range map[string]func([]byte) ([]byte, error){
		"short": func(p []byte) ([]byte, error) { return p[:8], nil },
		"plain": func(p []byte) ([]byte, error) { return bytes.Clone(p), nil },
		"fails": func([]byte) ([]byte, error) { return nil, ErrAnswer },
	} {
		for _, l := range []k4.Layout{k4.AESECB, k4.AESCBC} {
			if _, err := Wrap(t.Context(), l, &software{ecb: f}, v); !errors.Is(err, ErrAnswer) {
				t.Errorf("%s, %s: %v", name, l, err)
			}
		}
	}
}

func TestCodeValue(t *testing.T) {
	t.Parallel()
	field := [8]byte{'1', '2', '3', '4', 0xFF, 0xFF, 0xFF, 0xFF}
	if v := CodeValue(k4.AESECB, "PIN1", field); hex.EncodeToString(v.Plain) != "31323334"+strings.Repeat("ff", 12) {
		t.Errorf("code for AES: %x", v.Plain)
	}
	if v := CodeValue(k4.TDES2CBC, "PIN1", field); hex.EncodeToString(v.Plain) != "31323334ffffffff" {
		t.Errorf("code for Triple DES: %x", v.Plain)
	}
}

// A value that is no whole number of blocks is filled up, and its check value is of itself.
func TestFilledValue(t *testing.T) {
	t.Parallel()
	key := make([]byte, 24)
	for i := range key {
		key[i] = byte(i + 1)
	}
	aes, err := FilledValue(k4.AESECB, "K", key, CheckAES).kcv()
	if err != nil {
		t.Fatal(err)
	}
	tdes, err := FilledValue(k4.AESECB, "K", key, CheckTDES).kcv()
	if want := scp.KCV(key); err != nil || !bytes.Equal(aes, want[:]) || bytes.Equal(aes, tdes) {
		t.Errorf("check values %X and %X, %v", aes, tdes, err)
	}
	for _, c := range []struct {
		layout k4.Layout
		bytes  int
		want   int
	}{{k4.AESECB, 24, 32}, {k4.AESECB, 16, 16}, {k4.AESECB, 8, 16}, {k4.TDES2ECB, 24, 24}, {k4.TDES2ECB, 8, 8}} {
		v := FilledValue(c.layout, "K", key[:c.bytes], CheckNone)
		if len(v.Plain) != c.want || !bytes.Equal(v.Plain[:c.bytes], key[:c.bytes]) || len(bytes.Trim(v.Plain[c.bytes:], "\xff")) != 0 {
			t.Errorf("%s, %d bytes: %X", c.layout, c.bytes, v.Plain)
		}
	}
}
