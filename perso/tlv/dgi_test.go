package tlv

import (
	"bytes"
	"errors"
	"testing"
)

func TestDGIs(t *testing.T) {
	t.Parallel()
	for length, header := range map[int]string{0: "8010 00", 1: "8010 01", 254: "8010 FE", 255: "8010 FF 00FF", 65535: "8010 FF FFFF"} {
		value := bytes.Repeat([]byte{0xA5}, length)
		b := AppendDGI(nil, 0x8010, value)
		if want := append(unhex(t, header), value...); !bytes.Equal(b, want) {
			t.Errorf("%d bytes: header %X", length, b[:len(b)-length])
		}
		all, err := ParseDGIs(AppendDGI(b, 0x0070, []byte{7}))
		if err != nil || len(all) != 2 || all[0].ID != 0x8010 || !bytes.Equal(all[0].Value, value) || all[1].ID != 0x0070 || all[1].Value[0] != 7 {
			t.Errorf("%d bytes read back as %v, %v", length, all, err)
		}
	}
}

func TestParseDGIsRefuses(t *testing.T) {
	t.Parallel()
	for in, truncated := range map[string]bool{
		"80": true, "8010": true, "8010 01": true, "8010 FF": true, "8010 FF 01": true, "8010 FF 0100 AA": true,
		"8010 FF 0001 AA": false, "8010 FF 00FE": false, "8010 00 80": true,
	} {
		if all, err := ParseDGIs(unhex(t, in)); err == nil || errors.Is(err, ErrTruncated) != truncated {
			t.Errorf("%s: %v, %v", in, all, err)
		}
	}
}

func FuzzParseDGIs(f *testing.F) {
	f.Add([]byte{0x80, 0x10, 0x01, 0xAA})
	f.Add([]byte{0x80, 0x10, 0xFF, 0x00, 0x01, 0xAA})
	f.Add(AppendDGI(nil, 0x70, make([]byte, 300)))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := ParseDGIs(b)
		if err != nil {
			return
		}
		var again []byte
		for _, grouping := range all {
			again = AppendDGI(again, grouping.ID, grouping.Value)
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%X was read and is written as %X", b, again)
		}
	})
}
