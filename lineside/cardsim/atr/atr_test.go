package atr

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// whole puts the check byte behind.
func whole(b []byte) []byte {
	sum := byte(0)
	for _, x := range b[1:] {
		sum ^= x
	}
	return append(b, sum)
}

func TestParse(t *testing.T) {
	t.Parallel()
	usual := Interface{TA1: 0x11, WI: 10, IFSC: 32, BWI: 4, CWI: 13, Protocols: []byte{0}}
	with := func(change func(*Interface)) Interface {
		i := usual
		change(&i)
		return i
	}
	for name, c := range map[string]struct {
		atr  []byte
		want Interface
	}{
		"least":         {unhex(t, "3B00"), usual},
		"inverse":       {unhex(t, "3F02AABB"), usual},
		"a SIM's":       {whole(unhex(t, "3B9F95801F878031E073FE21136753494D31303053")), with(func(i *Interface) { i.TA1 = 0x95 })},
		"guard time":    {unhex(t, "3B70110003AABBCC"[:8]+"00"), with(func(i *Interface) { i.TA1, i.Guard = 0x11, 0x03 })},
		"T=1 alone":     {whole(unhex(t, "3B80"+"81"+"31"+"FE"+"45")), with(func(i *Interface) { i.Protocols, i.IFSC, i.BWI, i.CWI = []byte{1}, 0xFE, 4, 5 })},
		"both":          {whole(unhex(t, "3B80"+"80"+"71"+"40"+"21"+"01")), with(func(i *Interface) { i.Protocols, i.IFSC, i.BWI, i.CWI, i.CRC = []byte{0, 1}, 0x40, 2, 1, true })},
		"specific mode": {unhex(t, "3B901810"), with(func(i *Interface) { i.TA1 = 0x18 })},
		"waiting":       {whole(unhex(t, "3B80"+"40"+"14")), with(func(i *Interface) { i.WI = 0x14 })},
	} {
		if name == "specific mode" {
			c.atr = unhex(t, "3B9018"+"10"+"11")
			c.want.Specific, c.want.Implicit = true, true
		}
		if name == "guard time" {
			c.atr = unhex(t, "3B501103")
		}
		if name == "waiting" {
			c.atr = unhex(t, "3B804014")
		}
		got, err := Parse(c.atr)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %X gives %+v, %v; want %+v", name, c.atr, got, err, c.want)
		}
	}
	if i, err := Parse(unhex(t, "3B9096"+"80"+"0F"+"00")); !errors.Is(err, ErrCheck) || i.TA1 != 0x96 {
		t.Errorf("with a wrong check byte: %+v, %v", i, err)
	}
	for _, bad := range []string{"", "3B", "3C00", "3B01", "3B00AA", "3B10", "3B8081", "3B80810000", "3B800F", "3B8081210001", "3B80812100" + "A1", "3B8081" + "1100" + "91"} {
		if i, err := Parse(unhex(t, bad)); !errors.Is(err, ErrATR) {
			t.Errorf("%s gives %+v, %v", bad, i, err)
		}
	}
}

func TestChoice(t *testing.T) {
	t.Parallel()
	i, err := Parse(whole(unhex(t, "3B90"+"96"+"80"+"31"+"FE"+"45")))
	if err != nil || !i.Offers(0) || !i.Offers(1) || i.Offers(2) || i.Unchosen() != (Choice{Protocol: 0, TA1: 0x11}) {
		t.Fatalf("%+v, %v", i, err)
	}
	for request, want := range map[string]string{
		"FF109679":      "FF109679", // reference vectors: FF 10 97 78, 96 79, 95 7A, 94 7B
		"FF11967" + "8": "FF119678",
		"FF10957A":      "FF10957A", // slower than it can
		"FF109778":      "FF00FF",   // faster: it stays at the first speed
		"FF1011FE":      "FF1011FE",
		"FF00FF":        "FF00FF",
		"FF01FE":        "FF01FE",
		"FF109678":      "", // check byte
		"FF02FD":        "", // protocol
		"FF1096":        "",
		"FE109678":      "",
		"":              "",
	} {
		answer, c, ok := i.Choose(unhex(t, request))
		if ok != (want != "") || !bytes.Equal(answer, unhex(t, want)) {
			t.Errorf("%s is answered %X %v", request, answer, ok)
		}
		if !ok {
			continue
		}
		asked := Choice{Protocol: unhex(t, request)[1] & 0x0F, TA1: 0x11}
		if len(request) == 8 {
			asked.TA1 = unhex(t, request)[2]
			if got, agreed := asked.Settled(answer); !agreed || got != c {
				t.Errorf("%s: reader has %+v %v, chip %+v", request, got, agreed, c)
			}
		}
	}
	asked := Choice{Protocol: 1, TA1: 0x96}
	for _, answer := range []string{"", "FF00FF", "FF11957B", "FF119679", "FE119679"} {
		if c, ok := asked.Settled(unhex(t, answer)); ok {
			t.Errorf("%s settles %+v", answer, c)
		}
	}
	i.Specific = true
	if _, _, ok := i.Choose(unhex(t, "FF109679")); ok || i.Unchosen() != (Choice{Protocol: 0, TA1: 0x96}) {
		t.Error("in specific mode something is chosen")
	}
	if !IsRequest([]byte{0xFF}) || IsRequest(nil) || IsRequest([]byte{0}) {
		t.Error("what is a request")
	}
	if f, d := Speed(0x97); f != 512 || d != 64 {
		t.Errorf("speed %d/%d", f, d)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{0x3B, 0x00}, []byte{0xFF, 0x10, 0x96, 0x79})
	f.Fuzz(func(t *testing.T, raw, request []byte) {
		i, err := Parse(raw)
		if err != nil {
			if !errors.Is(err, ErrATR) {
				t.Fatal(err)
			}
			return
		}
		answer, c, ok := i.Choose(request)
		if ok && (!i.Offers(c.Protocol) || len(answer) < 3) || !i.Offers(i.Unchosen().Protocol) {
			t.Errorf("%X: %X gives %X, %+v", raw, request, answer, c)
		}
	})
}
