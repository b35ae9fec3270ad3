package saip

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/tlv"
)

// shipped is our own bootstrap package, for tests that need no published one.
func shipped(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("../../deploy/profiles/bootstrap.der")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// survives decodes what may be anything: no panic, a fault with a place, or a package that is written as it was read.
func survives(t testing.TB, b []byte) *Package {
	p, err := Decode(bytes.Clone(b))
	if err != nil {
		var f *Fault
		if !errors.As(err, &f) || f.Offset < 0 || f.Offset > len(b) || f.Reason == "" {
			t.Errorf("%x: the error has no place: %v", b, err)
		}
		return nil
	}
	if !bytes.Equal(p.Encode(), b) {
		t.Errorf("%x: encoded again it is another", b)
	}
	p.Check()
	_, _ = p.Points()
	return p
}

func TestTruncated(t *testing.T) {
	t.Parallel()
	b := shipped(t)
	for n := range b {
		if survives(t, b[:n]) != nil {
			t.Errorf("the first %d bytes are taken for a package", n)
		}
	}
}

func TestEveryByteChanged(t *testing.T) {
	t.Parallel()
	b := shipped(t)
	taken := 0
	flips := []byte{0x01, 0x20, 0x80, 0xFF}
	for i := range b {
		flip := flips[i%len(flips)]
		b[i] ^= flip
		if survives(t, b) != nil {
			taken++
		}
		b[i] ^= flip
	}
	if taken == 0 || taken == len(b) {
		t.Errorf("%d of %d changes were taken", taken, len(b))
	}
}

// offsetOf is where the n-th element of a kind begins, from 1.
func offsetOf(t testing.TB, p *Package, kind string, n int) int {
	t.Helper()
	all := p.of(kind)
	if len(all) < n {
		t.Fatalf("there are %d of %s", len(all), kind)
	}
	return all[n-1].Offset
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	good := shipped(t)
	p := mustDecode(t, good)
	end, mf, usim, aka := offsetOf(t, p, PEEnd, 1), offsetOf(t, p, PEMF, 1), offsetOf(t, p, PEUSIM, 1), offsetOf(t, p, PEAKA, 1)
	changed := func(at int, to ...byte) []byte { return slices.Concat(good[:at], to, good[at+len(to):]) }
	many := slices.Clone(good[:mf])
	for i := range MaxElements + 1 { // of kind nonStandard
		many = append(many, tlv.Encode(0xA9, tlv.Encode(0xA0, tlv.Encode(0x81, integerBytes(i))), []byte{0x81, 0x01, 0x2A, 0x82, 0x00})...)
	}
	twice := slices.Clone(good)
	twice[len(twice)-1] = 2 // the identification of the end
	last := len(p.elements)
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"nothing":              {nil, "byte 0: the package stops after 0 profile elements without its end"},
		"too long":             {make([]byte, MaxPackageBytes+1), "1048577 bytes, and 1048576 are the limit"},
		"no end":               {good[:end], "without its end"},
		"trailing filler":      {append(slices.Clone(good), 0), "tag 00 is filler"},
		"element after end":    {append(slices.Clone(good), good[end:]...), fmt.Sprintf("PE %d end: 9 bytes follow the end of the package", last+1)},
		"second header":        {append(slices.Clone(good[:end]), good[:mf]...), "one header and has no other"},
		"no header":            {good[mf:], "byte 0: PE 1 mf: a package begins with one header"},
		"unknown element":      {changed(mf, 0xAB), "PE 2: tag AB begins no profile element"},
		"wrong tag":            {changed(usim+4+7, 0x82), "PE 7 usim: tag 82 where \"templateID\" (tag 81) must be"},
		"tag twice":            {changed(mf+4+7+8, 0x81), "tag 81"},
		"long length":          {changed(mf+1, 0x83, 0x00), "not in its shortest form"},
		"indefinite length":    {changed(mf+1, 0x80), "indefinite length"},
		"length beyond":        {changed(mf+2, 0xFF), "the value goes beyond the"},
		"duplicate number":     {twice, fmt.Sprintf("PE %d end: end-header: identification 2 is that of PE 3 pukCodes already", last)},
		"algorithm 9":          {bytes.Replace(slices.Clone(good), []byte{0x80, 0x01, 0x01, 0x81, 0x01, 0x02, 0x82, 0x10}, []byte{0x80, 0x01, 0x09, 0x81, 0x01, 0x02, 0x82, 0x10}, 1), "algoConfiguration.algoParameter.algorithmID: the number 9 is not in 1..3"},
		"NULL with a value":    {bytes.Replace(slices.Clone(good), []byte{0xAA, 0x07, 0xA0, 0x05, 0x80, 0x00, 0x81, 0x01}, []byte{0xAA, 0x07, 0xA0, 0x05, 0x80, 0x01, 0x81, 0x01}, 1), "PE 19 end"},
		"deep":                 {slices.Concat(good[:aka], bytes.Repeat([]byte{0xA4, 0x82, 0x01, 0x00}, 100)), "PE 10 akaParameter"},
		"elements without end": {many, "more than 512 profile elements"},
	} {
		_, err := Decode(c.b)
		var f *Fault
		if !errors.As(err, &f) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// TestValuesWithoutEnd: many small values cost a hundred times their bytes in memory, so their number has a limit as well.
func TestValuesWithoutEnd(t *testing.T) {
	t.Parallel()
	good := shipped(t)
	p := mustDecode(t, good)
	mf := p.elements[1]
	list := bytes.Repeat(tlv.Encode(0x30, bytes.Repeat(tlv.Encode(0x81), 4000)), 20)
	gfm := tlv.Encode(0xA1, tlv.Encode(0xA0, tlv.Encode(0x81, []byte{99})), tlv.Encode(0xA1, list))
	_, err := Decode(slices.Concat(good[:mf.Offset], gfm, good[mf.Offset:]))
	if err == nil || !strings.Contains(err.Error(), "more than 65536 values") {
		t.Errorf("80,000 values: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	good := shipped(f)
	f.Add(good)
	p := mustDecode(f, good)
	header, end := good[:p.elements[1].Offset], good[p.elements[len(p.elements)-1].Offset:]
	for _, e := range p.elements[1 : len(p.elements)-1] {
		f.Add(slices.Concat(header, good[e.Offset:e.Offset+e.Length], end))
	}
	f.Fuzz(func(t *testing.T, b []byte) { survives(t, b) })
}

func FuzzOID(f *testing.F) {
	f.Add([]byte{0x67, 0x81, 0x0F, 0x01, 0x02, 0x01})
	f.Add([]byte{0x88, 0x37})
	f.Fuzz(func(t *testing.T, b []byte) {
		text, err := oidFromBytes(b)
		if err != nil {
			return
		}
		if back, err := oidToBytes(text); err != nil || !bytes.Equal(back, b) {
			t.Errorf("%x is %s is %x: %v", b, text, back, err)
		}
	})
}
