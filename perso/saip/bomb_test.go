package saip

import (
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/tlv"
)

// inserted is the shipped package with an element before its end.
func inserted(t *testing.T, element []byte) []byte {
	t.Helper()
	good := shipped(t)
	end := offsetOf(t, mustDecode(t, good), PEEnd, 1)
	return slices.Concat(good[:end], element, good[end:])
}

// gfmOf is a genericFileManagement element of these commands.
func gfmOf(commands ...[]byte) []byte {
	return tlv.Encode(0xA1, tlv.Encode(0xA0, tlv.Encode(0x81, []byte{0x7D})), tlv.Encode(0xA1, tlv.Encode(0x30, commands...)))
}

func directoryCommand(fid ...byte) []byte {
	return tlv.Encode(0x62, tlv.Encode(0x82, []byte{0x78, 0x21}), tlv.Encode(0x83, fid))
}

// TestBombs: a small package that asks for much is refused, or bears it, soon.
func TestBombs(t *testing.T) {
	t.Parallel()
	var nested, keys, links, large [][]byte
	for i := range 3000 {
		fid := []byte{0x5F, 0x01}
		if i > 0 {
			fid = []byte{0x5F, byte(i)}
		}
		nested = append(nested, directoryCommand(fid...))
		keys = append(keys, tlv.Encode(0x30, tlv.Encode(0x95, []byte{0x18}), tlv.Encode(0x82, []byte{1}), tlv.Encode(0x83, []byte{1}),
			tlv.Encode(0x30, tlv.Encode(0x30, tlv.Encode(0x80, []byte{0x88}), tlv.Encode(0x86, make([]byte, 16))))))
		links = append(links, tlv.Encode(0x62, tlv.Encode(0x82, []byte{0x41, 0x21}), tlv.Encode(0x83, []byte{0x40 | byte(i>>8), byte(i)}), tlv.Encode(0xC7, []byte{0x2F, 0x06})))
		large = append(large, tlv.Encode(0x62, tlv.Encode(0x82, []byte{0x41, 0x21}), tlv.Encode(0x83, []byte{0x40 | byte(i>>8), byte(i)}), tlv.Encode(0x80, []byte{0xFF, 0xFF})))
	}
	instance := tlv.Encode(0xA1, tlv.Encode(0x4F, make([]byte, 5)), tlv.Encode(0x4F, make([]byte, 5)), tlv.Encode(0x4F, make([]byte, 5)), tlv.Encode(0x82), tlv.Encode(0xC9))
	for name, c := range map[string]struct {
		element []byte
		want    string
	}{
		"directories in directories": {gfmOf(nested...), "and 4 is the limit"},
		"files without end":          {gfmOf(large...), "is more than a chip holds"},
		"links without end":          {gfmOf(links...), ""},
		"the same key":               {tlv.Encode(0xA6, tlv.Encode(0xA0, tlv.Encode(0x81, []byte{0x7D})), instance, tlv.Encode(0xA2, keys...)), "no key 03"},
	} {
		p := mustDecode(t, inserted(t, c.element))
		text := p.Check().Error()
		_, _ = p.Points()
		if !strings.Contains(text, c.want) {
			t.Errorf("%s: it isn't said that %q", name, c.want)
		}
	}
}

// TestRenderAllocatesNothing: at thousands of cards a second, memory per card would be what counts.
func TestRenderAllocatesNothing(t *testing.T) {
	tpl := mustCompile(t, mustDecode(t, shipped(t)))
	v := cardValues(t, tpl)
	out := make([]byte, 0, tpl.Len())
	if n := testing.AllocsPerRun(100, func() { out, _ = tpl.Render(out[:0], v) }); n != 0 {
		t.Errorf("%v allocations for a card", n)
	}
}
