package scp02

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/reftest"
)

func pair(t testing.TB, level Level) (*Host, *Card) {
	t.Helper()
	keys := StaticKeys{ENC: reftest.Unhex(t, "404142434445464748494a4b4c4d4e4f"), MAC: reftest.Unhex(t, "505152535455565758595a5b5c5d5e5f"), DEK: reftest.Unhex(t, "606162636465666768696a6b6c6d6e6f")}
	challenge := [8]byte{1, 2, 3, 4, 5, 6, 7, 8}
	c, iu, err := OpenCard(CardConfig{Keys: keys, KVN: 0x20, KDD: [10]byte{9}, Seq: 41, AID: []byte{0xA0, 0, 0, 1, 0x51, 0, 0, 0}}, challenge)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ParseInitUpdate(iu.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	h, err := OpenHost(keys, challenge, parsed)
	if err != nil {
		t.Fatal(err)
	}
	ext, err := h.ExternalAuthenticate(level)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ExternalAuthenticate(mustParse(t, ext)); err != nil || !c.Open() || c.Level() != level {
		t.Fatal(err)
	}
	return h, c
}

// The published exchange, seen from the card. Its challenge is not made from an AID, so the card's state is put in place.
func TestPublishedSessionOnTheCard(t *testing.T) {
	t.Parallel()
	var r struct {
		Set struct {
			ENC, MAC, DEK  reftest.Hex
			HostCryptogram reftest.Hex `json:"host_cryptogram"`
			ExtAuth        reftest.Hex `json:"ext_auth_cmd"`
			Exchange       []struct{ Plain, Wrapped reftest.Hex }
		}
	}
	reftest.Vectors(t, "scp02.json", &r)
	s := r.Set
	c, _, err := OpenCard(CardConfig{Keys: StaticKeys{ENC: s.ENC, MAC: s.MAC, DEK: s.DEK}, Seq: 1}, [8]byte{})
	if err != nil {
		t.Fatal(err)
	}
	c.proof = [8]byte(s.HostCryptogram)
	if err := c.ExternalAuthenticate(mustParse(t, s.ExtAuth)); err != nil {
		t.Fatal(err)
	}
	for _, x := range s.Exchange {
		got, err := c.Unwrap(mustParse(t, x.Wrapped))
		if err != nil {
			t.Fatal(err)
		}
		same(t, "plain", got.Bytes(), x.Plain)
	}
}

func TestBothEnds(t *testing.T) {
	t.Parallel()
	for _, level := range []Level{LevelCMAC, LevelCMACCENC} {
		h, c := pair(t, level)
		for _, n := range []int{0, 1, 7, 8, 9, 100, MaxData} {
			cmd := apdu.Command{CLA: 0x80, INS: 0xE2, P1: 1, P2: 2, Data: bytes.Repeat([]byte{byte(n)}, n), Le: apdu.NoLe}
			wrapped, err := h.Wrap(cmd)
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Unwrap(mustParse(t, wrapped))
			if err != nil || !bytes.Equal(got.Bytes(), cmd.Bytes()) {
				t.Fatalf("level %02X, %d bytes: % X, %v", byte(level), n, got.Bytes(), err)
			}
		}
		key := bytes.Repeat([]byte{0x5C}, 16)
		enc, err := h.EncryptDEK(key)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.DecryptDEK(enc); err != nil || !bytes.Equal(got, key) {
			t.Errorf("key under DEK: % X, %v", got, err)
		}
	}
}

func TestCardRefuses(t *testing.T) {
	t.Parallel()
	for _, level := range []Level{LevelCMAC, LevelCMACCENC} {
		h, _ := pair(t, level)
		wrapped, err := h.Wrap(apdu.Command{CLA: 0x80, INS: 0xE2, Data: []byte("some data of a command"), Le: apdu.NoLe})
		if err != nil {
			t.Fatal(err)
		}
		for bit := range 8 * len(wrapped) {
			bad := slices.Clone(wrapped)
			bad[bit/8] ^= 1 << (bit % 8)
			cmd, err := apdu.Parse(bad)
			if err != nil {
				continue
			}
			_, c := pair(t, level)
			if _, err := c.Unwrap(cmd); err == nil {
				t.Fatalf("level %02X: bit %d was not missed", byte(level), bit)
			}
			if _, err := c.Unwrap(mustParse(t, wrapped)); !errors.Is(err, ErrState) {
				t.Fatalf("the session goes on: %v", err)
			}
		}
		_, c := pair(t, level)
		if _, err := c.Unwrap(mustParse(t, wrapped)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Unwrap(mustParse(t, wrapped)); !errors.Is(err, ErrMAC) {
			t.Errorf("a repeated command: %v", err)
		}
	}
	_, c := pair(t, LevelCMAC)
	if err := c.ExternalAuthenticate(apdu.Command{}); !errors.Is(err, ErrState) {
		t.Errorf("twice: %v", err)
	}
	if _, err := c.DecryptDEK(make([]byte, 8)); !errors.Is(err, ErrState) {
		t.Errorf("after the end: %v", err)
	}
}
