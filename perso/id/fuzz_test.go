package id

import (
	"bytes"
	"strings"
	"testing"
)

func FuzzParseEID(f *testing.F) {
	for _, s := range []string{"89049032123451234512345678901235", "12345000000000000000000000000186", "00000000000000000000000000000001", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := ParseEID(s)
		if err != nil {
			return
		}
		b := e.Bytes()
		if again, err := EIDFromBytes(b[:]); err != nil || again != e || e.String() != s || e.IsZero() {
			t.Errorf("%q: %v, %v", s, again, err)
		}
		if s[30:] == "00" || s[30:] == "01" || s[30:] == "99" {
			t.Errorf("%q: second spelling of the check digits", s)
		}
	})
}

func FuzzParseICCID(f *testing.F) {
	for _, s := range []string{"8988211000000430010", "8988211000000430010F", "89601619103100049794", "893107111830421999", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseICCID(s)
		if err != nil {
			return
		}
		ef := c.EFBytes()
		if again, err := ICCIDFromEF(ef[:]); err != nil || again != c || len(c.Padded()) != 20 {
			t.Errorf("%q: %v, %v", s, again, err)
		}
		if c.String() != strings.TrimRight(s, "fF") {
			t.Errorf("%q became %s", s, c)
		}
		var back ICCID
		if err := back.UnmarshalText([]byte(s)); (err == nil) != (s == c.String()) {
			t.Errorf("%q: canonical text: %v", s, err)
		}
	})
}

func FuzzICCIDFromEF(f *testing.F) {
	f.Add([]byte("\x98\x88\x12\x01\x00\x00\x40\x03\x10\xf0"))
	f.Add([]byte("\x98\x13\x70\x11\x81\x03\x24\x91\x99\xff"))
	f.Add(bytes.Repeat([]byte{0xFF}, 10))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ICCIDFromEF(b)
		if err != nil {
			return
		}
		if ef := c.EFBytes(); !bytes.Equal(ef[:], b) {
			t.Errorf("%x became %x", b, ef)
		}
	})
}

func FuzzIMSI(f *testing.F) {
	f.Add("228062800000208", 2)
	f.Add("00101012345678", 3)
	f.Add("001010", 2)
	f.Add("", 0)
	f.Fuzz(func(t *testing.T, s string, mncDigits int) {
		m, err := ParseIMSI(s, mncDigits)
		if err != nil {
			if len(s) > 5 && checkDigitsOnly(s) == nil && strings.Contains(err.Error(), s) {
				t.Errorf("%v quotes the input", err)
			}
			return
		}
		ef := m.EFBytes()
		if again, err := IMSIFromEF(ef[:], mncDigits); err != nil || again != m || m.String() != s {
			t.Errorf("%q: %v, %v", s, again, err)
		}
		text, err := m.MarshalText()
		var back IMSI
		if err != nil || back.UnmarshalText(text) != nil || back != m {
			t.Errorf("%q: text %s gives %v", s, text, back)
		}
	})
}

func FuzzIMSIFromEF(f *testing.F) {
	f.Add([]byte("\x08\x29\x82\x60\x82\x00\x00\x20\x80"))
	f.Add([]byte("\x04\x01\x10\x10\xf0\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := IMSIFromEF(b, 2)
		if err != nil {
			return
		}
		if ef := m.EFBytes(); !bytes.Equal(ef[:], b) {
			t.Errorf("%x became %x", b, ef)
		}
	})
}

func FuzzParseChipID(f *testing.F) {
	f.Add("479000AABBCC")
	f.Add("00000000")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseChipID(s)
		if err != nil {
			return
		}
		if again, err := ChipIDFromBytes(c.Bytes()); err != nil || again != c || c.String() != strings.ToLower(s) {
			t.Errorf("%q: %v, %v", s, again, err)
		}
	})
}
