package scp80

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/reftest"
)

func TestPublishedPacket(t *testing.T) {
	t.Parallel()
	var r struct {
		KIc         reftest.Hex `json:"kic_key"`
		KID         reftest.Hex `json:"kid_key"`
		SPI, TAR    reftest.Hex
		KIcByte     reftest.Hex `json:"kic"`
		SecuredData reftest.Hex `json:"secured_data"`
		Packet      reftest.Hex
	}
	reftest.Vectors(t, "ota_scp80.json", &r)
	keys := KeySet{KVN: r.KIcByte[0] >> 4, KIc: Key{AES, r.KIc}, KID: Key{AES, r.KID}}
	want := Header{SPI: SPI(r.SPI), TAR: [3]byte(r.TAR)}
	got, err := Seal(keys, want, r.SecuredData)
	if err != nil || !bytes.Equal(got, r.Packet) {
		t.Errorf("sealed as %x, %v, want %x", got, err, []byte(r.Packet))
	}
	h, data, err := Open(keys, r.Packet)
	if err != nil || h != want || !bytes.Equal(data, r.SecuredData) {
		t.Errorf("opened as %+v %x, %v", h, data, err)
	}
}

// packets that another program computed from the formulas of TS 102 225.
func known(t testing.TB) []struct {
	name   string
	keys   KeySet
	header Header
	data   []byte
	packet []byte
} {
	data := reftest.Unhex(t, "00a40004026f07")
	aes := reftest.Unhex(t, "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf")
	return []struct {
		name   string
		keys   KeySet
		header Header
		data   []byte
		packet []byte
	}{
		{"3DES, ciphered", KeySet{KVN: 3, KIc: Key{TDES2, reftest.Unhex(t, "0123456789abcdef1032547698badcfe")},
			KID: Key{TDES3, reftest.Unhex(t, "a0a1a2a3a4a5a6a7b0b1b2b3b4b5b6b7c0c1c2c3c4c5c6c7")}},
			Header{SPI: SPI{0x16}, TAR: [3]byte{0xb0, 0, 0x10}, Counter: 0x0102030405}, data,
			reftest.Unhex(t, "00201516003539b00010ccab81b807c22a135f27ae2c558d07639f42edf41b641ea5")},
		{"AES, checksum only", KeySet{KVN: 1, KIc: Key{AES, aes}, KID: Key{AES, aes}},
			Header{SPI: SPI{0x12}, TAR: [3]byte{0xb0, 0, 0x10}, Counter: 7}, data,
			reftest.Unhex(t, "001d1512001212b0001000000000070040e9bfd63616158600a40004026f07")},
	}
}

func TestKnownAnswers(t *testing.T) {
	t.Parallel()
	for _, k := range known(t) {
		got, err := Seal(k.keys, k.header, k.data)
		if err != nil || !bytes.Equal(got, k.packet) {
			t.Errorf("%s: sealed as %x, %v", k.name, got, err)
		}
		h, data, err := Open(k.keys, k.packet)
		if err != nil || h != k.header || !bytes.Equal(data, k.data) {
			t.Errorf("%s: opened as %+v %x, %v", k.name, h, data, err)
		}
		for i := range k.packet {
			bad := bytes.Clone(k.packet)
			bad[i] ^= 1
			if _, _, err := Open(k.keys, bad); err == nil {
				t.Errorf("%s: byte %d changed, and it opens", k.name, i)
			}
		}
		bad := bytes.Clone(k.packet)
		bad[len(bad)-1] ^= 1
		if _, _, err := Open(k.keys, bad); !errors.Is(err, ErrCC) {
			t.Errorf("%s: data changed: %v", k.name, err)
		}
		other := k.keys
		other.KVN++
		if _, _, err := Open(other, k.packet); !errors.Is(err, ErrKeys) {
			t.Errorf("%s: other version: %v", k.name, err)
		}
	}
}

func TestEveryLength(t *testing.T) {
	t.Parallel()
	keys := known(t)[0].keys
	for _, spi := range []SPI{{0x12}, {0x16}, {0x0E, 0x3A}} {
		for n := range 40 {
			p, err := Seal(keys, Header{SPI: spi, Counter: MaxCounter}, make([]byte, n))
			if err != nil {
				t.Fatal(err)
			}
			if h, data, err := Open(keys, p); err != nil || len(data) != n || h.Counter != MaxCounter || h.SPI != spi {
				t.Errorf("SPI %x, %d bytes: %+v, %d bytes, %v", spi, n, h, len(data), err)
			}
		}
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	keys := known(t)[1].keys
	for name, spi := range map[string]SPI{
		"no check": {0x00}, "redundancy check": {0x01}, "signature": {0x03}, "reserved bit": {0x22}, "reserved answer": {0x12, 0x03}, "reserved bit of the answer": {0x12, 0x40},
	} {
		if _, err := Seal(keys, Header{SPI: spi}, nil); !errors.Is(err, ErrPolicy) {
			t.Errorf("%s: sealing: %v", name, err)
		}
		p := bytes.Clone(known(t)[1].packet)
		p[3], p[4] = spi[0], spi[1]
		if _, _, err := Open(keys, p); !errors.Is(err, ErrPolicy) {
			t.Errorf("%s: opening: %v", name, err)
		}
	}
	if _, err := Seal(keys, Header{SPI: SPI{0x12}, Counter: MaxCounter + 1}, nil); !errors.Is(err, ErrFormat) {
		t.Errorf("counter of 41 bits: %v", err)
	}
	if _, err := Seal(keys, Header{SPI: SPI{0x12}}, make([]byte, MaxDataBytes+1)); !errors.Is(err, ErrFormat) {
		t.Errorf("too much: %v", err)
	}
}

func TestFresh(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule          CounterRule
		counter, last uint64
		fresh         bool
	}{
		{CounterNone, 0, 9, true}, {CounterPresent, 1, 9, true}, {CounterHigher, 9, 9, false}, {CounterHigher, 11, 9, true}, {CounterHigher, 8, 9, false},
		{CounterNext, 10, 9, true}, {CounterNext, 11, 9, false}, {CounterNext, 9, 9, false},
	} {
		h := Header{SPI: SPI{spiCC | byte(c.rule)}, Counter: c.counter}
		if err := h.Fresh(c.last); (err == nil) != c.fresh || err != nil && !errors.Is(err, ErrCounter) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestKeySets(t *testing.T) {
	t.Parallel()
	good := known(t)[0].keys
	for name, spoil := range map[string]func(*KeySet){
		"version 0": func(k *KeySet) { k.KVN = 0 }, "version 16": func(k *KeySet) { k.KVN = 16 }, "no KIc": func(k *KeySet) { k.KIc = Key{} },
		"AES of 20":  func(k *KeySet) { k.KID = Key{AES, make([]byte, 20)} },
		"single DES": func(k *KeySet) { k.KID = Key{Algorithm(1), make([]byte, 8)} },
		"KIK of 8":   func(k *KeySet) { k.KIK = Key{TDES2, make([]byte, 8)} },
	} {
		k := good
		spoil(&k)
		if err := k.Valid(); !errors.Is(err, ErrKeys) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if kcv, err := (Key{AES, reftest.Unhex(t, "404142434445464748494a4b4c4d4e4f")}).KCV(); err != nil || hex.EncodeToString(kcv[:]) != "504a77" {
		t.Errorf("AES KCV %x, %v", kcv, err)
	}
	if kcv, err := (Key{TDES2, reftest.Unhex(t, "404142434445464748494a4b4c4d4e4f")}).KCV(); err != nil || hex.EncodeToString(kcv[:]) != "8baf47" {
		t.Errorf("Triple DES KCV %x, %v", kcv, err)
	}
	for _, a := range []Algorithm{AES, TDES2, TDES3} {
		if got, err := ParseAlgorithm(a.String()); err != nil || got != a {
			t.Errorf("%v reads as %v, %v", a, got, err)
		}
	}
	if _, err := ParseAlgorithm("des"); err == nil {
		t.Error("single DES is read")
	}
	for _, x := range []any{good, &good, good.KIc} {
		if got := fmt.Sprintf("%v %+v", x, x); strings.Contains(got, "18 52 86") || !strings.Contains(got, redacted) {
			t.Errorf("%T prints %q", x, got)
		}
	}
	kept := good.KIc.Value
	good.Wipe()
	if !bytes.Equal(kept, make([]byte, 16)) {
		t.Error("wiping leaves a key")
	}
}

// Whatever opens is sealed to the same bytes again.
func FuzzOpen(f *testing.F) {
	for _, k := range known(f) {
		f.Add(k.packet)
	}
	f.Add([]byte{})
	all := known(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, k := range all {
			h, data, err := Open(k.keys, in)
			if err != nil {
				continue
			}
			if out, err := Seal(k.keys, h, data); err != nil || !bytes.Equal(out, in) {
				t.Fatalf("%x came back as %x, %v", in, out, err)
			}
		}
	})
}
