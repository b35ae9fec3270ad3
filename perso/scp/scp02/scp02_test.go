package scp02

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/reftest"
	"github.com/persoline/persoline/perso/scp/tdes"
)

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got %x, want %x", what, got, want)
	}
}

func mustParse(t testing.TB, b []byte) apdu.Command {
	t.Helper()
	c, err := apdu.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPublishedSession(t *testing.T) {
	t.Parallel()
	var r struct {
		Set struct {
			ENC, MAC, DEK  reftest.Hex
			HostChallenge  reftest.Hex `json:"host_challenge"`
			InitUpdate     reftest.Hex `json:"init_update_rsp"`
			SENC           reftest.Hex `json:"s_enc"`
			SMAC           reftest.Hex `json:"s_mac"`
			SDEK           reftest.Hex `json:"s_dek"`
			HostCryptogram reftest.Hex `json:"host_cryptogram"`
			ExtAuth        reftest.Hex `json:"ext_auth_cmd"`
			Exchange       []struct{ Plain, Wrapped reftest.Hex }
		}
	}
	reftest.Vectors(t, "scp02.json", &r)
	s := r.Set
	if len(s.Exchange) != 4 {
		t.Fatalf("read %d commands", len(s.Exchange))
	}
	iu, err := ParseInitUpdate(s.InitUpdate)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "answer", iu.Append(nil), s.InitUpdate)
	for _, d := range []struct {
		what         string
		static, want []byte
		constant     uint16
	}{{"S-ENC", s.ENC, s.SENC, deriveENC}, {"S-MAC", s.MAC, s.SMAC, deriveCMAC}, {"S-DEK", s.DEK, s.SDEK, deriveDEK}} {
		got, err := deriveSession(d.static, d.constant, iu.Seq)
		if err != nil {
			t.Fatal(err)
		}
		same(t, d.what, got, d.want)
	}
	h, err := OpenHost(StaticKeys{ENC: s.ENC, MAC: s.MAC, DEK: s.DEK}, [8]byte(s.HostChallenge), iu)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "host cryptogram", h.proof[:], s.HostCryptogram)
	ext, err := h.ExternalAuthenticate(LevelCMAC)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "EXTERNAL AUTHENTICATE", ext, s.ExtAuth)
	for _, x := range s.Exchange {
		got, err := h.Wrap(mustParse(t, x.Plain))
		if err != nil {
			t.Fatal(err)
		}
		same(t, fmt.Sprintf("wrapped %x", []byte(x.Plain)), got, x.Wrapped)
	}
}

func TestPublishedKeyEncryption(t *testing.T) {
	t.Parallel()
	var r struct {
		KeyEncryption []struct {
			Scheme        string
			DEK, Key, Enc reftest.Hex
		} `json:"key_encryption"`
	}
	reftest.Vectors(t, "scp02.json", &r)
	checked := 0
	for _, k := range r.KeyEncryption {
		if !strings.HasPrefix(k.Scheme, "SCP02") {
			continue
		}
		checked++
		dek, err := sessionKey(k.DEK, deriveDEK, 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := (&Host{dek: dek}).EncryptDEK(k.Key)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "key under DEK", got, k.Enc)
	}
	if checked != 1 {
		t.Errorf("%d key encryptions of SCP02", checked)
	}
}

func TestDiversification(t *testing.T) {
	t.Parallel()
	type scheme struct {
		Keys []struct {
			Key reftest.Hex
			KCV reftest.Hex
		}
	}
	var r struct {
		KDD   reftest.Hex
		EMV   scheme `json:"emv_cps_3des"`
		VISA2 scheme `json:"visa2_3des"`
		VISA  scheme `json:"visa_3des"`
	}
	reftest.Vectors(t, "diversification.json", &r)
	for name, want := range map[Scheme]scheme{SchemeEMV: r.EMV, SchemeVISA2: r.VISA2, SchemeVISA: r.VISA} {
		s, err := ParseScheme(string(name))
		if err != nil || len(want.Keys) != 3 {
			t.Fatal(err, len(want.Keys))
		}
		got, err := s.Diversify(reftest.Unhex(t, "404142434445464748494a4b4c4d4e4f"), [10]byte(r.KDD))
		if err != nil {
			t.Fatal(err)
		}
		for i, key := range [][]byte{got.ENC, got.MAC, got.DEK} {
			same(t, fmt.Sprintf("%s key %d", s, i+1), key, want.Keys[i].Key)
			k, err := tdes.New(key)
			if err != nil {
				t.Fatal(err)
			}
			kcv := k.KCV()
			same(t, fmt.Sprintf("%s KCV %d", s, i+1), kcv[:], want.Keys[i].KCV)
		}
	}
	if _, err := ParseScheme("EMV"); err == nil {
		t.Error("an unknown scheme is read")
	}
	if _, err := Scheme("x").ECBInputs([10]byte{}); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
}

// own is a session computed by another program: keys 40.., 50.., 60.., sequence counter 41.
func own(t testing.TB) (StaticKeys, [8]byte, InitUpdate) {
	keys := StaticKeys{ENC: reftest.Unhex(t, "404142434445464748494a4b4c4d4e4f"), MAC: reftest.Unhex(t, "505152535455565758595a5b5c5d5e5f"), DEK: reftest.Unhex(t, "606162636465666768696a6b6c6d6e6f")}
	return keys, [8]byte{1, 2, 3, 4, 5, 6, 7, 8}, InitUpdate{KVN: 0x20, Seq: 41, CardChallenge: [6]byte{0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6},
		CardCryptogram: [8]byte(reftest.Unhex(t, "3ddf24e78d483d7f"))}
}

func TestKnownAnswersWithEncryption(t *testing.T) {
	t.Parallel()
	keys, challenge, iu := own(t)
	h, err := OpenHost(keys, challenge, iu)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Wrap(apdu.Command{CLA: 0x80, INS: 0xF2, Le: apdu.NoLe}); !errors.Is(err, ErrState) {
		t.Errorf("wrapping before the session is open: %v", err)
	}
	if _, err := h.ExternalAuthenticate(0x33); !errors.Is(err, ErrLevel) {
		t.Errorf("level 33: %v", err)
	}
	ext, err := h.ExternalAuthenticate(LevelCMACCENC)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "EXTERNAL AUTHENTICATE", ext, reftest.Unhex(t, "84820300108e3c8cd1cddd078cea91d9929547dc67"))
	if _, err := h.ExternalAuthenticate(LevelCMAC); !errors.Is(err, ErrState) {
		t.Errorf("authenticating twice: %v", err)
	}
	opened := h.Mark()
	first, err := h.Wrap(apdu.Command{CLA: 0x80, INS: 0xE2, P1: 0x80, Data: []byte{1, 2, 3, 4, 5}, Le: apdu.NoLe})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "with data", first, reftest.Unhex(t, "84e28000106a1de27cdb99a04af2d82137be079a73"))
	second, err := h.Wrap(apdu.Command{CLA: 0x80, INS: 0xF2, P1: 0x80, Le: apdu.NoLe})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "without data", second, reftest.Unhex(t, "84f28000087d473492e61e62ea"))

	again, err := OpenHost(keys, challenge, iu)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(again.Resume(LevelCMACCENC, opened)); err != nil {
		t.Fatal(err)
	}
	resumed, err := again.Wrap(apdu.Command{CLA: 0x80, INS: 0xE2, P1: 0x80, Data: []byte{1, 2, 3, 4, 5}, Le: apdu.NoLe})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "resumed", resumed, first)
}

func TestPutKey(t *testing.T) {
	t.Parallel()
	keys, challenge, iu := own(t)
	h, err := OpenHost(keys, challenge, iu)
	if err != nil {
		t.Fatal(err)
	}
	key := reftest.Unhex(t, "00112233445566778899aabbccddeeff")
	cmd, err := h.PutKeyCommand(0, 0x21, [][]byte{key, key, key})
	if err != nil {
		t.Fatal(err)
	}
	one := "801006579449f7f96de8e6efaf1abb38224203fb0975"
	same(t, "PUT KEY", cmd.Bytes(), reftest.Unhex(t, "80d8008143"+"21"+one+one+one+"00"))
	for name, set := range map[string][][]byte{"none": nil, "24 bytes": {append(key, key[:8]...)}, "single DES": {bytes.Repeat(key[:8], 2)}} {
		if _, err := h.PutKeyCommand(0, 0x21, set); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	keys, challenge, iu := own(t)
	bad := iu
	bad.CardCryptogram[7] ^= 1
	if _, err := OpenHost(keys, challenge, bad); !errors.Is(err, ErrCryptogram) {
		t.Errorf("wrong cryptogram: %v", err)
	}
	if _, err := OpenHost(StaticKeys{ENC: keys.ENC, MAC: keys.MAC, DEK: keys.DEK[:8]}, challenge, iu); !errors.Is(err, ErrFormat) {
		t.Errorf("short key: %v", err)
	}
	h, err := OpenHost(keys, challenge, iu)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Resume(0x11, Mark{}); !errors.Is(err, ErrLevel) {
		t.Errorf("resuming at level 11: %v", err)
	}
	if err := h.Resume(LevelCMAC, Mark{1}); err != nil {
		t.Fatal(err)
	}
	for name, cmd := range map[string]apdu.Command{
		"secure messaging": {CLA: 0x84, INS: 0xF2, Le: apdu.NoLe}, "further coding": {CLA: 0xC0, INS: 0xF2, Le: apdu.NoLe}, "channel 1": {CLA: 0x81, INS: 0xF2, Le: apdu.NoLe},
		"too long": {CLA: 0x80, INS: 0xE2, Data: make([]byte, MaxData+1), Le: apdu.NoLe},
	} {
		before := h.Mark()
		if _, err := h.Wrap(cmd); !errors.Is(err, ErrFormat) || h.Mark() != before {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, x := range []any{h, *h, keys, &keys} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%x"} {
			if got := fmt.Sprintf(verb, x); !strings.Contains(got, redacted) {
				t.Errorf("%s of %T prints %q", verb, x, got)
			}
		}
	}
	h.Wipe()
	if _, err := h.Wrap(apdu.Command{CLA: 0x80, Le: apdu.NoLe}); !errors.Is(err, ErrState) {
		t.Errorf("wrapping after wiping: %v", err)
	}
	if _, err := h.EncryptDEK(make([]byte, 16)); !errors.Is(err, ErrState) {
		t.Errorf("encrypting after wiping: %v", err)
	}
	if err := h.Resume(LevelCMAC, Mark{}); !errors.Is(err, ErrState) {
		t.Errorf("resuming after wiping: %v", err)
	}
	keys.Wipe()
	same(t, "wiped key", keys.ENC, make([]byte, 16))
}

func FuzzParseInitUpdate(f *testing.F) {
	_, _, iu := own(f)
	f.Add(iu.Append(nil))
	f.Add(make([]byte, 28))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		iu, err := ParseInitUpdate(in)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		if out := iu.Append(nil); !bytes.Equal(out, in) {
			t.Fatalf("%x came back as %x", in, out)
		}
	})
}

// The key that binds what a vault hands out is of these session keys and this label; a host that was wiped has none.
func TestBindKey(t *testing.T) {
	t.Parallel()
	keys := StaticKeys{ENC: []byte("0123456789abcdef"), MAC: []byte("fedcba9876543210"), DEK: []byte("a0b1c2d3e4f5a6b7")}
	open := func(seq uint16, challenge byte) *Host {
		_, iu, err := OpenCard(CardConfig{Keys: keys, KVN: 0x20, Seq: seq, AID: []byte("isd")}, [8]byte{challenge})
		if err != nil {
			t.Fatal(err)
		}
		h, err := OpenHost(keys, [8]byte{challenge}, iu)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	bound := func(h *Host, label string) [32]byte {
		key, err := h.BindKey(label)
		if err != nil || key == [32]byte{} {
			t.Fatalf("%x, %v", key, err)
		}
		return key
	}
	h := open(1, 1)
	first := bound(h, "a")
	if bound(open(1, 2), "a") != first { // as the package says: of the counter alone
		t.Error("the same session keys give another key")
	}
	if bound(h, "b") == first || bound(open(2, 1), "a") == first {
		t.Error("another label or counter gives the same key")
	}
	h.Wipe()
	if _, err := h.BindKey("a"); !errors.Is(err, ErrState) {
		t.Errorf("wiped: %v", err)
	}
}
