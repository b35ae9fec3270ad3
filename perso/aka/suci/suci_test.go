package suci

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/reftest"
)

// The home network keys of 3GPP TS 33.501 Annex C.4, under the identifiers of the test file of TS 31.121 §4.9.4, and that
// file.
const (
	keyA     = "A:30:5A8D38864820197C3394B92613B20B91633CBD897119273BF8E4A6F4EEC0A650"
	keyB     = "B:27:0272DA71976234CE833A6907425867B82E074D44EF907DFB4B3E21C1C2256EBCD1"
	testFile = "A006020101020000" + "A14B" +
		"80011B" + "81210272DA71976234CE833A6907425867B82E074D44EF907DFB4B3E21C1C2256EBCD1" +
		"80011E" + "81205A8D38864820197C3394B92613B20B91633CBD897119273BF8E4A6F4EEC0A650"
)

func mustParse(t testing.TB, s string) Key {
	t.Helper()
	k, err := Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	if k.String() != s {
		t.Fatalf("%q became %q", s, k)
	}
	return k
}

func TestPublishedFile(t *testing.T) {
	t.Parallel()
	want := reftest.Unhex(t, testFile)
	i, err := NewInfo([]Key{mustParse(t, keyB), mustParse(t, keyA)}, true)
	if err != nil || !bytes.Equal(i.Bytes(), want) {
		t.Errorf("encoded as %x, %v", i.Bytes(), err)
	}
	d, err := Decode(want)
	if err != nil {
		t.Fatal(err)
	}
	if k := d.Keys(); len(k) != 2 || k[0].String() != keyB || k[1].String() != keyA || k[1].ID() != 30 || k[0].Profile() != ProfileB {
		t.Errorf("keys %v", k)
	}
	if s := d.Schemes(); len(s) != 3 || s[0] != (Scheme{ProfileB, 1}) || s[1] != (Scheme{ProfileA, 2}) || s[2] != (Scheme{Null, 0}) {
		t.Errorf("schemes %v", s)
	}
}

// The private keys of the same annex fit the public ones: what is on the card is what the network holds.
func TestPublishedPairs(t *testing.T) {
	t.Parallel()
	a, err := ecdh.X25519().NewPrivateKey(reftest.Unhex(t, "c53c22208b61860b06c62e5406a7b330c2b577aa5558981510d128247d38bd1d"))
	if err != nil || !bytes.Equal(a.PublicKey().Bytes(), mustParse(t, keyA).Bytes()) {
		t.Errorf("profile A: %v", err)
	}
	b, err := ecdh.P256().NewPrivateKey(reftest.Unhex(t, "f1ab1074477ebcc7f554ea1c5fc368b1616730155e0041ac447d6301975fecda"))
	if err != nil {
		t.Fatal(err)
	}
	if p := b.PublicKey().Bytes(); !bytes.Equal(p[1:33], mustParse(t, keyB).Bytes()[1:]) {
		t.Errorf("profile B: %x", p)
	}
}

func TestBadKeys(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]string{
		"empty": "", "no identifier": "A::" + keyA[5:], "identifier 256": "A:256:" + keyA[5:], "identifier 030": "A:030:" + keyA[5:],
		"lower case": strings.ToLower(keyA), "profile C": "C:30:" + keyA[5:], "null": "null:0:", "key of B as A": "A:27:" + keyB[5:], "key of A as B": "B:30:" + keyA[5:],
		"not hexadecimal": "A:30:5G" + keyA[7:], "short": "A:30:" + keyA[7:],
		"zero":        "A:1:" + strings.Repeat("00", 32),
		"order 1":     "A:1:01" + strings.Repeat("00", 31),
		"order 8":     "A:1:E0EB7A7C3B41B8AE1656E3FAF19FC46ADA098DEB9C32B1FD866205165F49B800",
		"p":           "A:1:ED" + strings.Repeat("FF", 30) + "7F",
		"p + 1":       "A:1:EE" + strings.Repeat("FF", 30) + "7F",
		"bit 255":     "A:1:09" + strings.Repeat("00", 30) + "80",
		"off curve":   "B:1:02" + strings.Repeat("FF", 32),
		"no root":     "B:1:02" + strings.Repeat("00", 31) + "01",
		"bad prefix":  "B:1:04" + keyB[7:],
		"one too far": keyA + ":",
	} {
		if k, err := Parse(s); !errors.Is(err, ErrKey) {
			t.Errorf("%s is read as %v, %v", name, k, err)
		}
	}
	if k := mustParse(t, "A:0:09"+strings.Repeat("00", 31)); k.ID() != 0 { // the base point itself is a point like others
		t.Error(k)
	}
}

func TestPEM(t *testing.T) {
	t.Parallel()
	encode := func(key any) []byte {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	a, err := ecdh.X25519().NewPublicKey(mustParse(t, keyA).Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if k, err := ParsePEM(30, encode(a)); err != nil || k.String() != keyA {
		t.Errorf("profile A: %v, %v", k, err)
	}
	x, y := elliptic.UnmarshalCompressed(elliptic.P256(), mustParse(t, keyB).Bytes())
	point, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x.FillBytes(make([]byte, 32))...), y.FillBytes(make([]byte, 32))...))
	if err != nil {
		t.Fatal(err)
	}
	if k, err := ParsePEM(27, encode(point)); err != nil || k.String() != keyB {
		t.Errorf("profile B: %v, %v", k, err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string][]byte{"nothing": nil, "P-384": encode(other.Public()), "two": append(encode(a), encode(a)...), "too long": append(encode(a), make([]byte, MaxPEMBytes)...)} {
		if k, err := ParsePEM(1, file); !errors.Is(err, ErrKey) {
			t.Errorf("%s is read as %v, %v", name, k, err)
		}
	}
}

func TestBadInfo(t *testing.T) {
	t.Parallel()
	a, b := mustParse(t, keyA), mustParse(t, keyB)
	same := mustParse(t, "B:30:"+keyB[5:])
	for name, keys := range map[string][]Key{"same identifier": {a, same}, "no key": {{}}, "nothing at all": nil, "too many": make([]Key, MaxKeys+1)} {
		if i, err := NewInfo(keys, false); !errors.Is(err, ErrInfo) {
			t.Errorf("%s gives %x, %v", name, i.Bytes(), err)
		}
	}
	if i, err := NewInfo(nil, true); err != nil || hex.EncodeToString(i.Bytes()) != "a0020000" {
		t.Errorf("null scheme alone: %x, %v", i.Bytes(), err)
	}
	good, err := NewInfo([]Key{b, a}, false)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]string{
		"empty": "", "filling": testFile + "FF", "odd list": "A003020101", "no schemes": "A000", "key without scheme": "A0020000" + testFile[16:],
		"index beyond": "A0020203", "null with index": "A0020001", "scheme 3": "A0020301", "twice": "A00402010201" + testFile[16:],
		"keys first": testFile[16:] + testFile[:16], "long length": "A08106020101020000" + testFile[16:], "scheme without its key": "A0020201",
		"wrong profile": "A006010102020000" + testFile[16:],
	} {
		if i, err := Decode(reftest.Unhex(t, s)); !errors.Is(err, ErrInfo) {
			t.Errorf("%s is decoded as %x, %v", name, i.Bytes(), err)
		}
	}
	if d, err := Decode(good.Bytes()); err != nil || len(d.Schemes()) != 2 {
		t.Errorf("without null scheme: %v, %v", d, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(reftest.Unhex(f, testFile))
	f.Add(reftest.Unhex(f, "a0020000"))
	f.Fuzz(func(t *testing.T, in []byte) {
		i, err := Decode(in)
		if err != nil {
			if !errors.Is(err, ErrInfo) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(i.Bytes(), in) {
			t.Fatalf("%x became %x", in, i.Bytes())
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(keyA)
	f.Add(keyB)
	f.Fuzz(func(t *testing.T, in string) {
		k, err := Parse(in)
		if err != nil {
			if !errors.Is(err, ErrKey) {
				t.Fatal(err)
			}
			return
		}
		if k.String() != in {
			t.Fatalf("%q became %q", in, k)
		}
		if i, err := NewInfo([]Key{k}, false); err != nil || len(i.Bytes()) == 0 {
			t.Fatal(err)
		}
	})
}
