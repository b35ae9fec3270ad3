package apdu

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/reftest"
)

func TestParse(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("5A", 255)
	for _, tc := range []struct {
		name, in, data string
		le             int
	}{
		{"case 1", "80F22002", "", NoLe},
		{"case 2", "80CA006600", "", 256},
		{"case 2 exact", "00B0000017", "", 23},
		{"case 3", "00A4040C023F00", "3F00", NoLe},
		{"case 4", "80E2910006BF3E035C015A00", "BF3E035C015A", 256},
		{"case 4 exact", "0088000001FF0A", "FF", 10},
		{"full case 3", "80E20000FF" + long, long, NoLe},
		{"full case 4", "80E20000FF" + long + "00", long, 256},
	} {
		c, err := Parse(reftest.Unhex(t, tc.in))
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if c.Le != tc.le || !bytes.Equal(c.Data, reftest.Unhex(t, tc.data)) {
			t.Errorf("%s: read %X, Le %d", tc.name, c.Data, c.Le)
		}
		if got := c.Bytes(); !bytes.Equal(got, reftest.Unhex(t, tc.in)) || len(got) != c.Size() {
			t.Errorf("%s: wrote %X", tc.name, got)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", "80", "80F220", // no whole header
		"80F220020000", "80F22002000102", "80E2000000000101", // Lc 00, extended length
		"00A40400030102", "00A4040001020304", // data too short, too long
	} {
		if c, err := Parse(reftest.Unhex(t, in)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %+v, %v", in, c, err)
		}
	}
}

func TestCommandLimits(t *testing.T) {
	t.Parallel()
	if got := (Command{CLA: 0x80, INS: 0xCA}).Bytes(); !bytes.Equal(got, reftest.Unhex(t, "80CA000000")) {
		t.Errorf("Le 0 written as %X, want 00 for everything", got)
	}
	for _, c := range []Command{{Le: -2}, {Le: 257}, {Data: make([]byte, 256)}} {
		if err := c.Valid(); !errors.Is(err, ErrMalformed) {
			t.Errorf("Le %d, %d bytes: got %v", c.Le, len(c.Data), err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Le %d, %d bytes: encoded", c.Le, len(c.Data))
				}
			}()
			c.Bytes()
		}()
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"80F22002", "80CA006600", "00A4040C023F00", "80E2910006BF3E035C015A00", "80F220020000"} {
		f.Add(reftest.Unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := Parse(in)
		if err != nil {
			return
		}
		if got := c.Append([]byte{0xEE}); !bytes.Equal(got[1:], in) || got[0] != 0xEE {
			t.Fatalf("%X came back as %X", in, got)
		}
	})
}

func TestSW(t *testing.T) {
	t.Parallel()
	data, sw, err := SWOf(reftest.Unhex(t, "01026A82"))
	if err != nil || sw != SWFileNotFound || !bytes.Equal(data, []byte{1, 2}) {
		t.Errorf("got %X %v %v", data, sw, err)
	}
	if _, _, err := SWOf([]byte{0x90}); !errors.Is(err, ErrMalformed) {
		t.Errorf("one byte: got %v", err)
	}
	if got := SW(0x63C2).String(); got != "63C2" {
		t.Errorf("got %q", got)
	}
	if got := SW(0x63C2).Append(nil); !bytes.Equal(got, []byte{0x63, 0xC2}) {
		t.Errorf("got %X", got)
	}
	for sw, want := range map[SW]string{
		0x9000: "done", 0x63C2: "wrong, 2 tries left", 0x6130: "answer data waiting", 0x6C10: "wrong Le",
		0x9110: "done, proactive command waiting", 0x6982: "security status not satisfied", 0x1234: "",
	} {
		if got := sw.Meaning(); got != want {
			t.Errorf("%v: got %q, want %q", sw, got, want)
		}
	}
}

func TestSWClasses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		sw             SW
		ok, warning    bool
		more, le, left int // -1 for "says nothing"
	}{
		{0x9000, true, false, -1, -1, -1},
		{0x6283, false, true, -1, -1, -1},
		{0x6300, false, true, -1, -1, -1},
		{0x63C0, false, true, -1, -1, 0},
		{0x6100, false, false, 256, -1, -1},
		{0x6117, false, false, 23, -1, -1},
		{0x6C00, false, false, -1, 256, -1},
		{0x6982, false, false, -1, -1, -1},
		{0x9110, false, false, -1, -1, -1},
	} {
		optional := func(n int, ok bool) int {
			if !ok {
				return -1
			}
			return n
		}
		if tc.sw.OK() != tc.ok || tc.sw.Warning() != tc.warning {
			t.Errorf("%v: OK %v, warning %v", tc.sw, tc.sw.OK(), tc.sw.Warning())
		}
		if more, le, left := optional(tc.sw.More()), optional(tc.sw.RightLe()), optional(tc.sw.TriesLeft()); more != tc.more || le != tc.le || left != tc.left {
			t.Errorf("%v: more %d, Le %d, tries %d", tc.sw, more, le, left)
		}
	}
}

func TestMask(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text, canonical string
		yes, no         []SW
	}{
		{"9000", "9000", []SW{0x9000}, []SW{0x9001, 0x6100, 0}},
		{"61xx|9000", "61XX|9000", []SW{0x9000, 0x6100, 0x61FF}, []SW{0x6200}},
		{"63Cx|63cX", "63CX", []SW{0x63C0, 0x63CF}, []SW{0x6300}},
		{"XXXX", "XXXX", []SW{0, 0xFFFF}, nil},
		{"9XX0", "9XX0", []SW{0x9120, 0x9FF0}, []SW{0x9121}},
	} {
		m, err := ParseMask(tc.text)
		if err != nil {
			t.Errorf("%s: %v", tc.text, err)
			continue
		}
		if m.String() != tc.canonical {
			t.Errorf("%s: written as %s", tc.text, m)
		}
		for _, sw := range tc.yes {
			if !m.Match(sw) {
				t.Errorf("%s does not accept %v", m, sw)
			}
		}
		for _, sw := range tc.no {
			if m.Match(sw) {
				t.Errorf("%s accepts %v", m, sw)
			}
		}
	}
	for _, text := range []string{"", "900", "90000", "90G0", "9000|", "|9000", "9000 ", strings.Repeat("9000|", 8) + "9000"} {
		if m, err := ParseMask(text); !errors.Is(err, ErrPattern) {
			t.Errorf("%q: got %v, %v", text, m, err)
		}
	}
	if (Mask{}).Match(0) || (Mask{}).Match(0x9000) {
		t.Error("the zero mask accepts something")
	}
	if want, _ := ParseMask("6985"); ExactMask(0x6985) != want {
		t.Error("ExactMask differs from its text")
	}
}

func TestDataMask(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text, canonical string
		yes, no         []string
	}{
		{"", "", []string{""}, []string{"00"}},
		{"*", "*", []string{"", "00", "FFFF"}, nil},
		{"9fXX0a", "9FXX0A", []string{"9F000A", "9FFF0A"}, []string{"9F00", "9F000B", "9F000A00"}},
		{"E0x4*", "E0X4*", []string{"E0F4", "E00400"}, []string{"E0", "E005", ""}},
	} {
		d, err := ParseDataMask(tc.text)
		if err != nil {
			t.Errorf("%q: %v", tc.text, err)
			continue
		}
		if d.String() != tc.canonical {
			t.Errorf("%q: written as %q", tc.text, d)
		}
		for _, s := range tc.yes {
			if !d.Match(reftest.Unhex(t, s)) {
				t.Errorf("%q does not accept %q", d, s)
			}
		}
		for _, s := range tc.no {
			if d.Match(reftest.Unhex(t, s)) {
				t.Errorf("%q accepts %q", d, s)
			}
		}
	}
	for _, text := range []string{"9", "9F0", "**", "*00", "9G", strings.Repeat("00", MaxDataMaskBytes+1)} {
		if d, err := ParseDataMask(text); !errors.Is(err, ErrPattern) {
			t.Errorf("%q: got %v, %v", text, d, err)
		}
	}
}

func TestMaskJSON(t *testing.T) {
	t.Parallel()
	type step struct {
		SW   Mask
		Data DataMask
	}
	var s step
	if err := json.Unmarshal([]byte(`{"SW":"61xx|9000","Data":"6Fxx*"}`), &s); err != nil {
		t.Fatal(err)
	}
	if b, err := json.Marshal(s); err != nil || string(b) != `{"SW":"61XX|9000","Data":"6FXX*"}` {
		t.Errorf("got %s, %v", b, err)
	}
	if err := json.Unmarshal([]byte(`{"SW":"9"}`), &s); !errors.Is(err, ErrPattern) {
		t.Errorf("got %v", err)
	}
}

func FuzzParseMask(f *testing.F) {
	for _, s := range []string{"9000", "61XX|9000", "63cx", "XXXX", "9000|9000"} {
		f.Add(s, uint16(0x9000))
	}
	f.Fuzz(func(t *testing.T, text string, sw uint16) {
		m, err := ParseMask(text)
		if err != nil {
			return
		}
		again, err := ParseMask(m.String())
		if err != nil || again != m {
			t.Fatalf("%q became %q, then %q (%v)", text, m, again, err)
		}
		if strings.Contains(strings.ToUpper(text), SW(sw).String()) != m.Match(SW(sw)) && !strings.ContainsAny(text, "xX") {
			t.Fatalf("%q on %v: %v", text, SW(sw), m.Match(SW(sw)))
		}
	})
}

func FuzzParseDataMask(f *testing.F) {
	for _, s := range []string{"", "*", "9FXX*", "00112233"} {
		f.Add(s, []byte{0x9F, 0x01})
	}
	f.Fuzz(func(t *testing.T, text string, data []byte) {
		d, err := ParseDataMask(text)
		if err != nil {
			return
		}
		again, err := ParseDataMask(d.String())
		if err != nil || !again.Equal(d) || d.String() != strings.ToUpper(text) {
			t.Fatalf("%q became %q, then %q (%v)", text, d, again, err)
		}
		if d.Match(data) != again.Match(data) {
			t.Fatalf("%q and its canonical text disagree", text)
		}
	})
}

func BenchmarkParseAppend(b *testing.B) {
	in := reftest.Unhex(b, "80E2910006BF3E035C015A00")
	buf := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		c, err := Parse(in)
		if err != nil {
			b.Fatal(err)
		}
		buf = c.Append(buf[:0])
	}
}
