package k4

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestLayouts(t *testing.T) {
	t.Parallel()
	for _, l := range Layouts() {
		if got, err := ParseLayout(string(l)); err != nil || got != l {
			t.Errorf("%q reads as %q, %v", l, got, err)
		}
	}
	if _, err := ParseLayout("aes-ecb"); !errors.Is(err, ErrLayout) {
		t.Error(err)
	}
	all := []Kind{AES128, AES192, AES256}
	for l, kinds := range map[Layout][]Kind{AESECB: all, AESCBC: all, TDES2ECB: {TDES2}, TDES2CBC: {TDES2}, TDES3ECB: {TDES3}, TDES3CBC: {TDES3}, Envelope: {RSA}, "x": nil} {
		var got []Kind
		for _, k := range Kinds() {
			if l.Takes(k) {
				got = append(got, k)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(kinds) {
			t.Errorf("%s takes %v, want %v", l, got, kinds)
		}
	}
}

func TestHeld(t *testing.T) {
	t.Parallel()
	lengths := map[Kind]int{AES128: 16, AES192: 24, AES256: 32, TDES2: 16, TDES3: 24, RSA: 0}
	for _, k := range Kinds() {
		want := Held{"tk-1", k}
		if got, err := ParseHeld(want.String()); err != nil || got != want || k.Bytes() != lengths[k] || k.TDES() != strings.HasPrefix(string(k), "3DES") {
			t.Errorf("%q reads as %+v of %d bytes, %v", want, got, k.Bytes(), err)
		}
	}
	for _, s := range []string{"", "tk/", "tk/AES-128", "tk/DES", "tk/RSA/", "tk auc/RSA"} {
		if got, err := ParseHeld(s); err == nil {
			t.Errorf("%q reads as %+v", s, got)
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]Key{
		"tk-auc-demo": {"tk-auc-demo", AESECB}, "tk_1/AES-CBC-0": {"tk_1", AESCBC}, "old/3DES-2KEY-ECB": {"old", TDES2ECB}, "rsa/RSA-OAEP-AES": {"rsa", Envelope},
	} {
		if got, err := ParseKey(s); err != nil || got != want || got.String() != s {
			t.Errorf("%q reads as %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "/AES-CBC-0", "tk/", "tk/AES-ECB", "tk/aes-cbc-0", "tk/AES-CBC-0/", "tk auc"} {
		if got, err := ParseKey(s); err == nil {
			t.Errorf("%q reads as %+v", s, got)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	for _, s := range []string{"tk-auc-demo", "tk/3DES-3KEY-CBC-0", "tk/AES-ECB", "/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		k, err := ParseKey(in)
		if err == nil && k.String() != in {
			t.Fatalf("%q became %q", in, k)
		}
	})
}
