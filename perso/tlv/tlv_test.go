package tlv

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEncode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		tag    uint32
		length int
		header string
	}{
		{0x5A, 0, "5A 00"}, {0x5A, 16, "5A 10"}, {0x9F7F, 42, "9F7F 2A"}, {0xBF2D, 127, "BF2D 7F"},
		{0x7F49, 128, "7F49 81 80"}, {0x86, 255, "86 81 FF"}, {0x86, 256, "86 82 0100"}, {0xDF8201, 65535, "DF8201 82 FFFF"},
		{0x30, 65536, "30 83 010000"}, {0xBF0C, 1, "BF0C 01"},
	} {
		value := bytes.Repeat([]byte{0xA5}, c.length)
		want := append(unhex(t, c.header), value...)
		if got := Append(nil, c.tag, value); !bytes.Equal(got, want) {
			t.Errorf("tag %X, %d bytes: header %X", c.tag, c.length, got[:len(got)-c.length])
		}
		if got := Encode(c.tag, value[:c.length/2], nil, value[c.length/2:]); !bytes.Equal(got, want) {
			t.Errorf("tag %X in parts differs", c.tag)
		}
		element, rest, err := Parse(append(want, 0x01))
		if err != nil || element.Tag != c.tag || !bytes.Equal(element.Value, value) || !bytes.Equal(rest, []byte{0x01}) {
			t.Errorf("tag %X, %d bytes read back as %X, %d bytes, rest %X, %v", c.tag, c.length, element.Tag, len(element.Value), rest, err)
		}
	}
	if got := Append([]byte{1, 2}, 0x80, []byte{3}); !bytes.Equal(got, []byte{1, 2, 0x80, 1, 3}) {
		t.Errorf("appended %X", got)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for in, says := range map[string]string{
		"":                     "input ends",
		"5A":                   "input ends",
		"9F":                   "input ends",
		"DF82":                 "input ends",
		"5A 02 01":             "2 bytes announced, 1 there",
		"5A 81":                "input ends",
		"5A 82 01":             "input ends",
		"00 00":                "filler",
		"30 80 00 00":          "indefinite",
		"5A 81 01 FF":          "shortest",
		"5A 81 7F":             "shortest",
		"5A 82 00 80":          "shortest",
		"5A 83 00 FF FF":       "shortest",
		"5A 84 01 00 00 00":    "length in 4 bytes",
		"5A FF":                "length in 127 bytes",
		"9F 80 01 00":          "leading zeros",
		"9F 81 82 03 00":       "longer than 3",
		"5A 83 FF FF FF":       "announced",
		"DF 82 01 05 11 22 33": "announced",
	} {
		_, _, err := Parse(unhex(t, in))
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, expected %q", in, err, says)
		}
		if truncated := says == "input ends" || strings.Contains(says, "announced"); errors.Is(err, ErrTruncated) != truncated {
			t.Errorf("%s: truncated is %v: %v", in, !truncated, err)
		}
	}
}

func TestWritersPanicOnWhatIsNoTag(t *testing.T) {
	t.Parallel()
	calls := map[string]func(){
		"value too long": func() { Append(nil, 0x80, make([]byte, MaxValueBytes+1)) },
		"DGI too long":   func() { AppendDGI(nil, 1, make([]byte, MaxDGIBytes+1)) },
	}
	for _, tag := range []uint32{0, 0x9F, 0x5A01, 0x9F8001, 0x9F8182, 0x9F818203} {
		calls[hex.EncodeToString([]byte{byte(tag >> 24), byte(tag >> 16), byte(tag >> 8), byte(tag)})] = func() { Encode(tag) }
	}
	for name, call := range calls {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			call()
		}()
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	// GET DATA answer with key information, then a second element and a twin.
	b := unhex(t, "E0 08 C0 02 0130 C0 02 0230  66 03 73 01 AA  66 00")
	all, err := ParseAll(b)
	if err != nil || len(all) != 3 {
		t.Fatalf("%d elements, %v", len(all), err)
	}
	keys, err := all[0].Children()
	if err != nil || len(keys) != 2 || keys[1].Tag != 0xC0 || !bytes.Equal(keys[1].Value, []byte{2, 0x30}) {
		t.Errorf("children %v, %v", keys, err)
	}
	if _, err := keys[0].Children(); err == nil {
		t.Error("a primitive element has children")
	}
	for _, c := range []struct {
		path  []uint32
		want  string
		found bool
	}{
		{nil, hex.EncodeToString(b), true}, {[]uint32{0x66, 0x73}, "aa", true}, {[]uint32{0xE0, 0xC0}, "0130", true},
		{[]uint32{0x73}, "", false}, {[]uint32{0xE0, 0x73}, "", false},
	} {
		value, found, err := FindPath(b, c.path...)
		if err != nil || found != c.found || hex.EncodeToString(value) != c.want {
			t.Errorf("path %X: %X, %v, %v", c.path, value, found, err)
		}
	}
	if _, _, err := Find(append(b, 0x5A), 0x66); !errors.Is(err, ErrTruncated) {
		t.Errorf("a broken tail is overlooked: %v", err)
	}
	if _, _, err := FindPath(b, 0xE0, 0xC0, 0x01); err == nil {
		t.Error("a value that is no TLV is overlooked")
	}
}

func TestConstructed(t *testing.T) {
	t.Parallel()
	for tag, want := range map[uint32]bool{0x30: true, 0x5A: false, 0x9F7F: false, 0xBF2D: true, 0x7F49: true, 0xDF8201: false, 0xFF2021: true} {
		if (TLV{Tag: tag}).Constructed() != want {
			t.Errorf("tag %X: %v", tag, !want)
		}
	}
	if _, err := (TLV{Tag: 0x30, Value: []byte{1}}).Children(); err == nil {
		t.Error("broken children are accepted")
	}
}

func TestElementCountIsBounded(t *testing.T) {
	t.Parallel()
	full := bytes.Repeat([]byte{0x80, 0x00}, MaxElements)
	if all, err := ParseAll(full); err != nil || len(all) != MaxElements {
		t.Errorf("%d elements, %v", len(all), err)
	}
	if _, err := ParseAll(append(full, 0x80, 0x00)); err == nil {
		t.Error("one element too many is accepted")
	}
	dgis := bytes.Repeat([]byte{1, 2, 0}, MaxElements+1)
	if _, err := ParseDGIs(dgis); err == nil {
		t.Error("one DGI too many is accepted")
	}
}

func TestValuesDoNotGrowIntoTheirNeighbours(t *testing.T) {
	t.Parallel()
	b := unhex(t, "80 01 AA 81 01 BB")
	first, _, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(first.Value, 0xEE)
	if b[3] != 0x81 {
		t.Errorf("appending to a value changed the input: %X", b)
	}
}

func FuzzParseAll(f *testing.F) {
	for _, s := range []string{"5A 00", "BF2D 03 80 01 AA", "9F7F 01 00 66 03 73 01 AA", "30 80 00 00", "5A 81 01 FF", "DF8201 00", "00"} {
		f.Add(unhex(f, s))
	}
	f.Add(Encode(0x86, make([]byte, 300)))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := ParseAll(b)
		if err != nil {
			return
		}
		var again []byte
		for _, element := range all {
			again = Append(again, element.Tag, element.Value)
			if element.Constructed() {
				_, _ = element.Children()
			}
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%X was read and is written as %X", b, again)
		}
	})
}

func FuzzEncode(f *testing.F) {
	f.Add(byte(0x5A), uint16(0), []byte("x"))
	f.Add(byte(0xBF), uint16(0x2D), make([]byte, 200))
	f.Add(byte(0xDF), uint16(0x123), []byte{})
	f.Fuzz(func(t *testing.T, first byte, number uint16, value []byte) {
		tag := uint32(first)
		switch {
		case first == 0:
			t.Skip("filler, not a tag")
		case first&0x1F == 0x1F && number < 0x80:
			tag = tag<<8 | uint32(number)
		case first&0x1F == 0x1F:
			tag = tag<<16 | uint32(number>>7&0x7F|0x80)<<8 | uint32(number&0x7F)
			if number>>7&0x7F == 0 {
				t.Skip("leading zeros")
			}
		}
		b := Encode(tag, value)
		element, rest, err := Parse(b)
		if err != nil || len(rest) != 0 || element.Tag != tag || !bytes.Equal(element.Value, value) {
			t.Errorf("tag %X, value %X: %X, %v", tag, value, b, err)
		}
	})
}
