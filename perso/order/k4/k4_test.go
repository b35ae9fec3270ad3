package k4

import (
	"errors"
	"fmt"
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
	for l, lengths := range map[Layout][]int{AESECB: {16, 24, 32}, AESCBC: {16, 24, 32}, TDES2ECB: {16}, TDES2CBC: {16}, TDES3ECB: {24}, TDES3CBC: {24}, Envelope: nil} {
		var got []int
		for n := range 64 {
			if l.KeyBytes(n) {
				got = append(got, n)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(lengths) {
			t.Errorf("keys of %s have %v bytes, want %v", l, got, lengths)
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
