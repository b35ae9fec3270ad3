package tlv

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"testing"
)

func TestECDSAWithTheStandardLibrary(t *testing.T) {
	t.Parallel()
	for size, curve := range map[int]elliptic.Curve{32: elliptic.P256(), 66: elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 64 { // enough for short and for high r and s on P-256
			digest := sha256.Sum256([]byte{byte(i)})
			der, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
			if err != nil {
				t.Fatal(err)
			}
			raw, err := ECDSASigToRaw(der, size)
			if err != nil || len(raw) != 2*size {
				t.Fatalf("%X: %d bytes, %v", der, len(raw), err)
			}
			if back, err := RawToECDSASig(raw); err != nil || !bytes.Equal(back, der) {
				t.Fatalf("%X became %X, %v", der, back, err)
			}
		}
	}
}

func TestECDSASigToRaw(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		der  string
		size int
		want string // raw in hex, or what the error says
	}{
		{"30 06 0201 01 0201 02", 2, "00010002"},
		{"30 07 0202 0080 0201 7F", 1, "807f"},
		{"30 06 0201 01 0201 02", 0, "curve size 0"},
		{"30 06 0201 01 0201 02", 67, "curve size 67"},
		{"30 07 0202 0101 0201 02", 1, "longer than 1"},
		{"30 06 0201 00 0201 02", 1, "zero"},
		{"30 06 0201 80 0201 02", 1, "negative"},
		{"30 05 0200 0201 02", 1, "empty"},
		{"30 07 0202 0001 0201 02", 1, "shortest"},
		{"30 07 0202 0000 0201 02", 1, "shortest"},
		{"30 06 0301 01 0201 02", 1, "INTEGER"},
		{"30 03 0201 01", 1, "1 elements"},
		{"30 09 0201 01 0201 02 0201 03", 1, "3 elements"},
		{"31 06 0201 01 0201 02", 1, "SEQUENCE"},
		{"30 06 0201 01 0201 02 00", 1, "nothing after"},
		{"30 81 06 0201 01 0201 02", 1, "shortest"},
		{"30 06 0201 01 0202 02", 1, "announced"},
		{"", 1, "input ends"},
	} {
		raw, err := ECDSASigToRaw(unhex(t, c.der), c.size)
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, expected %q", c.der, err, c.want)
			}
			continue
		}
		if want := c.want; strings.ContainsAny(want, " ghijklmnopqrstuvwxyz") || !bytes.Equal(raw, unhex(t, want)) {
			t.Errorf("%s: %x, expected %q", c.der, raw, want)
		}
	}
}

func TestRawToECDSASigRefuses(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"", "01", "010203", "0001" + "0000", "0000" + "0001", strings.Repeat("01", 134)} {
		if der, err := RawToECDSASig(unhex(t, raw)); err == nil {
			t.Errorf("%s became %X", raw, der)
		}
	}
}

func FuzzECDSASigToRaw(f *testing.F) {
	f.Add(unhex(f, "30 06 0201 01 0201 02"))
	f.Add(unhex(f, "30 08 0202 0080 0202 00FF"))
	f.Add(unhex(f, "30 07 0202 0001 0201 02"))
	f.Fuzz(func(t *testing.T, der []byte) {
		raw, err := ECDSASigToRaw(der, 32)
		if err != nil {
			return
		}
		if back, err := RawToECDSASig(raw); err != nil || !bytes.Equal(back, der) {
			t.Errorf("%X has a second spelling %X, %v", der, back, err)
		}
	})
}

func FuzzRawToECDSASig(f *testing.F) {
	f.Add([]byte{1, 2})
	f.Add(bytes.Repeat([]byte{0xFF}, 64))
	f.Add(bytes.Repeat([]byte{0xFF}, 132))
	f.Fuzz(func(t *testing.T, raw []byte) {
		der, err := RawToECDSASig(raw)
		if err != nil {
			return
		}
		if back, err := ECDSASigToRaw(der, len(raw)/2); err != nil || !bytes.Equal(back, raw) {
			t.Errorf("%X became %X, %v", raw, back, err)
		}
	})
}
