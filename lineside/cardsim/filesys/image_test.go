package filesys

import (
	"bytes"
	"errors"
	"testing"

	"github.com/persoline/persoline/perso/apdu"
)

// made is a file system of a list: an open rule, a file of 600 bytes of which the first 3 are no FF, and are no UTF-8, and a link to it from a DF.
func made() []File {
	open := append([]byte("\x80\x01\x7F\x90\x00"), bytes.Repeat([]byte{0xFF}, 5)...)
	content := append([]byte("ab\x80"), bytes.Repeat([]byte{0xFF}, 597)...)
	return []File{
		{Kind: DF, ID: MF, State: Activated, ARR: 0x2F06, Rule: 1},
		{Kind: LinearFixed, ID: 0x2F06, State: Activated, Record: 10, ARR: 0x2F06, Rule: 1, Content: open},
		{Kind: Transparent, ID: 0x2F10, State: Activated, ARR: 0x2F06, Rule: 1, Content: content},
		{Kind: DF, ID: 0x7F10, State: Activated, ARR: 0x2F06, Rule: 1},
		{Kind: Transparent, ID: 0x6F01, Parent: 3, State: Activated, ARR: 0x2F06, Rule: 1, Link: 2},
		{Kind: BERTLV, ID: 0x6F02, Parent: 3, State: Activated, ARR: 0x2F06, Rule: 1, Content: blank(300)},
		{Kind: Transparent, ID: 0x6F03, Parent: 3, State: Activated, ARR: 0x2F06, Content: blank(1)},
	}
}

func TestImage(t *testing.T) {
	t.Parallel()
	all, err := Image(made())
	if err != nil {
		t.Fatal(err)
	}
	if want := len(made()) + 2; len(all) != want { // all headers, EF.ARR, and one piece without its FF
		t.Errorf("%d changes, want %d", len(all), want)
	}
	c := newCard(t)
	c.keep(all)
	c.do("00A40804 04 7F10 6F01 00", apdu.SWOK)
	if got := c.do("00B00000 05", apdu.SWOK); got != "616280FFFF" {
		t.Errorf("through the link %s", got)
	}
	c.do("00D60101 02 3132", apdu.SWOK)
	c.do("00A40804 02 2F10 00", apdu.SWOK)
	if got := c.do("00B00100 04", apdu.SWOK); got != "FF3132FF" {
		t.Errorf("what was written through the link reads %s", got)
	}
	c.do("00E40000 02 2F10", apdu.SWConditions) // a link would show nothing
	c.do("00D60100 03 FFFFFF", apdu.SWOK)       // the piece is as a new one again
	c.do("00A40804 04 7F10 6F02 00", apdu.SWOK)
	c.do("00B00000 00", apdu.SWCommandIncompatible)
	c.do("00A40804 04 7F10 6F03 00", apdu.SWOK)
	c.do("00B00000 01", apdu.SWSecurity) // no rule: nobody
	c.do("00A40004 02 7F10 00", apdu.SWOK)
	c.do("00E40000 02 6F01", apdu.SWOK)
	c.do("00A40004 02 3F00 00", apdu.SWOK)
	c.do("00E40000 02 2F10", apdu.SWOK)
}

func TestImageOfNonsense(t *testing.T) {
	t.Parallel()
	for name, breaks := range map[string]func(f []File) []File{
		"no MF":              func(f []File) []File { return f[1:] },
		"MF twice":           func(f []File) []File { return append(f, f[0]) },
		"in itself":          func(f []File) []File { f[3].Parent = 3; return f },
		"in what is no DF":   func(f []File) []File { f[4].Parent = 2; return f },
		"in a later one":     func(f []File) []File { f[1].Parent = 3; return f },
		"link of a link":     func(f []File) []File { f[2].Content, f[2].Link = nil, 4; return f },
		"link to nothing":    func(f []File) []File { f[4].Link = 99; return f },
		"half a record":      func(f []File) []File { f[1].Content = blank(11); return f },
		"too large":          func(f []File) []File { f[2].Content = blank(MaxFileBytes + 1); return f },
		"DF with content":    func(f []File) []File { f[3].Content = blank(1); return f },
		"more than a chip":   func(f []File) []File { return slicesOf(f, 9, MaxFileBytes) },
		"more files":         func(f []File) []File { return slicesOf(f, MaxFiles, 1) },
		"unknown kind":       func(f []File) []File { f[2].Kind = 7; return f },
		"records of nothing": func(f []File) []File { f[1].Record = 0; return f },
	} {
		if _, err := Image(breaks(made())); !errors.Is(err, ErrImage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func slicesOf(f []File, more, size int) []File {
	for range more {
		f = append(f, File{Kind: Transparent, ID: 0x2F20, State: Activated, Content: blank(size)})
	}
	return f
}
