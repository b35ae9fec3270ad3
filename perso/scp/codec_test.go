package scp

import (
	"bytes"
	"errors"
	"testing"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/reftest"
	"github.com/persoline/persoline/perso/scp/scp02"
)

// The examples of SP 800-38B (also RFC 4493).
func TestCMACExamples(t *testing.T) {
	t.Parallel()
	key := reftest.Unhex(t, "2b7e151628aed2a6abf7158809cf4f3c")
	msg := reftest.Unhex(t, "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411")
	for n, want := range map[int]string{
		0:  "bb1d6929e95937287fa37d129b756746",
		16: "070a16b46b4d4144f79bdd9dd04a287c",
		40: "dfa66747de9ae63030ca32611497c827",
	} {
		for cut := range n + 1 { // the same for any division into pieces
			got := CMAC(key, msg[:cut], msg[cut:n])
			same(t, "CMAC", got[:], reftest.Unhex(t, want))
		}
	}
	k1 := CMACSubkey1([16]byte(reftest.Unhex(t, "7df76b0c1ab899b33e42f047b91b546f")))
	same(t, "K1", k1[:], reftest.Unhex(t, "fbeed618357133667c85e08f7236a8de"))
}

func TestKeyLengthPanics(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(){
		"CMAC": func() { CMAC(make([]byte, 15)) },
		"KCV":  func() { KCV(nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s takes a key of a wrong length", name)
				}
			}()
			f()
		}()
	}
	if _, err := DiversifyKDF3(make([]byte, 8), [10]byte{}); !errors.Is(err, ErrKeyLength) {
		t.Errorf("master of 8 bytes: %v", err)
	}
}

func TestParseInitUpdateRefuses(t *testing.T) {
	t.Parallel()
	good := "a1a012430585513120853003709ce033fa78e6b10ddc2dbe8974c8b0de00082a"
	if _, err := ParseInitUpdate(reftest.Unhex(t, good)); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func([]byte) []byte{
		"empty":               func([]byte) []byte { return nil },
		"header only":         func(b []byte) []byte { return b[:13] },
		"no counter":          func(b []byte) []byte { return b[:29] },
		"one byte more":       func(b []byte) []byte { return append(b, 0) },
		"SCP02":               func(b []byte) []byte { b[11] = 0x02; return b },
		"S16 option":          func(b []byte) []byte { b[12] = 0x71; return b },
		"random option":       func(b []byte) []byte { b[12] = 0x60; return b },
		"unknown option":      func(b []byte) []byte { b[12] = 0x78; return b },
		"R-ENC without R-MAC": func(b []byte) []byte { b[12] = 0x50; return b },
	} {
		if iu, err := ParseInitUpdate(change(reftest.Unhex(t, good))); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: got %+v, %v", name, iu, err)
		}
	}
}

func FuzzParseInitUpdate(f *testing.F) {
	f.Add(reftest.Unhex(f, "a1a012430585513120853003709ce033fa78e6b10ddc2dbe8974c8b0de00082a"))
	f.Add(reftest.Unhex(f, "a1a012430585513120853003609ce033fa78e6b10ddc2dbe8974c8b0de"))
	f.Add(append(reftest.Unhex(f, "a1a01243058551312085300371"), make([]byte, 35)...))
	f.Fuzz(func(t *testing.T, in []byte) {
		iu, err := ParseInitUpdate(in)
		if err != nil {
			return
		}
		if out := iu.Append(nil); !bytes.Equal(out, in) {
			t.Fatalf("%x came back as %x", in, out)
		}
		_ = VerifyCard(testKeys(16), iu.CardChallenge, iu)
	})
}

// No bytes but the host's own next command get past the card.
// What a chip says of itself is read the same from either protocol.
func TestParsePresented(t *testing.T) {
	t.Parallel()
	kdd := [10]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	three := InitUpdate{KDD: kdd, KVN: 0x30, I: 0x70, CardChallenge: make([]byte, 8), CardCryptogram: make([]byte, 8), Seq: 0x010203, HasSeq: true}
	two := scp02.InitUpdate{KDD: kdd, KVN: 0x20, Seq: 0x0304}
	for _, c := range []struct {
		data []byte
		want Presented
	}{
		{three.Append(nil), Presented{KDD: kdd, KVN: 0x30, Protocol: ProtocolSCP03, Seq: 0x010203, HasSeq: true}},
		{two.Append(nil), Presented{KDD: kdd, KVN: 0x20, Protocol: ProtocolSCP02, Seq: 0x0304, HasSeq: true}},
	} {
		got, err := ParsePresented(c.data)
		if err != nil || got != c.want || got.Raises() != (got.Protocol == ProtocolSCP03) {
			t.Errorf("%+v, %v, want %+v", got, err, c.want)
		}
		for n := range c.data {
			if _, err := ParsePresented(c.data[:n]); !errors.Is(err, ErrFormat) {
				t.Errorf("%d bytes of protocol %02X: %v", n, c.want.Protocol, err)
			}
		}
	}
	one := two.Append(nil)
	one[11] = 1
	if _, err := ParsePresented(one); !errors.Is(err, ErrFormat) {
		t.Errorf("SCP01: %v", err)
	}
}

func FuzzCardUnwrap(f *testing.F) {
	h, _ := openPair(f, testKeys(16), 0x70, LevelAll)
	genuine, _, err := h.Wrap(storeData([]byte{1, 2, 3}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(genuine)
	f.Add(reftest.Unhex(f, "84E2100000"))
	f.Add(reftest.Unhex(f, "80E21000010A"))
	f.Fuzz(func(t *testing.T, in []byte) {
		cmd, err := apdu.Parse(in)
		if err != nil {
			return
		}
		_, c := openPair(t, testKeys(16), 0x70, LevelAll)
		_, err = c.Unwrap(cmd)
		cmd.Le, cmd.CLA = apdu.NoLe, cmd.CLA&^channelBits // neither is under the MAC
		if (err == nil) != bytes.Equal(cmd.Bytes(), genuine) {
			t.Fatalf("%x: %v", in, err)
		}
	})
}

func FuzzUnwrapAt(f *testing.F) {
	h, c := openPair(f, testKeys(16), 0x70, LevelAll)
	cmd, mark := wrap(f, h, storeData(nil))
	if _, err := c.Unwrap(cmd); err != nil {
		f.Fatal(err)
	}
	genuine := c.Wrap([]byte("answer"), apdu.SWOK)
	f.Add(genuine)
	f.Add([]byte{0x6A, 0x82})
	f.Add([]byte{0x90})
	f.Fuzz(func(t *testing.T, in []byte) {
		h, _ := openPair(t, testKeys(16), 0x70, LevelAll)
		if _, _, err := h.UnwrapAt(mark, in); (err == nil) != bytes.Equal(in, genuine) {
			t.Fatalf("%x: %v", in, err)
		}
	})
}

func FuzzUnpad(f *testing.F) {
	f.Add([]byte{1, 2, 3})
	f.Add(append([]byte{0x80}, make([]byte, 15)...))
	f.Add([]byte{15: 0x80})
	f.Fuzz(func(t *testing.T, in []byte) {
		p := make([]byte, padded(len(in)))
		copy(p, in)
		pad(p, len(in))
		if out, err := unpad(p, blockBytes); len(in) > 0 && (err != nil || !bytes.Equal(out, in)) {
			t.Fatalf("%x came back as %x, %v", in, out, err)
		}
		if len(in) == 0 || len(in)%blockBytes != 0 {
			return
		}
		out, err := unpad(in, blockBytes)
		if err != nil {
			return
		}
		again := make([]byte, padded(len(out)))
		copy(again, out)
		pad(again, len(out))
		if !bytes.Equal(again, in) || len(out) == 0 {
			t.Fatalf("%x is a second spelling of %x", in, out)
		}
	})
}

func TestLongPadding(t *testing.T) {
	t.Parallel()
	p := append([]byte{1, 0x80}, make([]byte, 30)...)
	if out, err := unpad(p, len(p)); err != nil || !bytes.Equal(out, p[:1]) {
		t.Errorf("host: %x, %v", out, err)
	}
	if _, err := unpad(p, blockBytes); !errors.Is(err, ErrPadding) {
		t.Errorf("card: %v", err)
	}
}

func TestPutKey(t *testing.T) {
	t.Parallel()
	h, c := openPair(t, testKeys(16), 0x70, LevelAll)
	keys := [][]byte{testKeys(16).MAC, testKeys(24).MAC, testKeys(32).MAC}
	data, err := PutKeyData(h, 0x31, keys)
	if err != nil {
		t.Fatal(err)
	}
	kvn, got, err := ParsePutKey(c, data)
	if err != nil || kvn != 0x31 || len(got) != len(keys) {
		t.Fatal(kvn, len(got), err)
	}
	for i := range keys {
		same(t, "key", got[i], keys[i])
	}
	for name, tc := range map[string]struct {
		at   int
		flip byte
		want error
	}{
		"type": {1, 1, ErrFormat}, "length": {2, 1, ErrFormat}, "key length": {3, 8, ErrFormat}, "odd key length": {3, 1, ErrFormat},
		"key": {4, 1, ErrKCV}, "KCV length": {20, 1, ErrFormat}, "KCV": {23, 1, ErrKCV}, "last KCV": {len(data) - 1, 1, ErrKCV},
	} {
		bad := bytes.Clone(data)
		bad[tc.at] ^= tc.flip
		if _, keys, err := ParsePutKey(c, bad); !errors.Is(err, tc.want) || keys != nil {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
	for n := range data {
		if _, _, err := ParsePutKey(c, data[:n]); n != 24 && n != 24+39 && err == nil { // whole keys
			t.Errorf("cut to %d bytes: accepted", n)
		}
	}
	if _, err := PutKeyData(h, 1, nil); !errors.Is(err, ErrFormat) {
		t.Errorf("no keys: %v", err)
	}
	if _, err := PutKeyData(h, 1, [][]byte{make([]byte, 20)}); !errors.Is(err, ErrKeyLength) {
		t.Errorf("key of 20 bytes: %v", err)
	}
	if _, err := PutKeyData(h, 1, make12Keys()); !errors.Is(err, ErrTooLong) {
		t.Errorf("too many keys: %v", err)
	}
}

func make12Keys() (keys [][]byte) {
	for range 12 {
		keys = append(keys, make([]byte, 16))
	}
	return keys
}

func FuzzParsePutKey(f *testing.F) {
	h, c := openPair(f, testKeys(16), 0x70, LevelAll)
	for _, n := range []int{16, 24, 32} {
		data, err := PutKeyData(h, 0x30, [][]byte{testKeys(n).ENC, testKeys(n).DEK})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		kvn, keys, err := ParsePutKey(c, in)
		if err == nil && (len(keys) == 0 || kvn != in[0]) {
			t.Fatalf("%x: version %02X, %d keys", in, kvn, len(keys))
		}
	})
}

func TestDEK(t *testing.T) {
	t.Parallel()
	h, c := openPair(t, testKeys(32), 0x70, LevelAll)
	for _, n := range []int{1, 16, 24, 240} {
		in := bytes.Repeat([]byte{0x77}, n)
		enc, err := h.EncryptDEK(in)
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.DecryptDEK(enc)
		if err != nil || len(out)%16 != 0 || !bytes.Equal(out[:n], in) || !bytes.Equal(out[n:], make([]byte, len(out)-n)) {
			t.Errorf("%d bytes came back as %x, %v", n, out, err)
		}
	}
	for _, n := range []int{0, 241} {
		if _, err := h.EncryptDEK(make([]byte, n)); !errors.Is(err, ErrTooLong) {
			t.Errorf("encrypting %d bytes: %v", n, err)
		}
	}
	for _, n := range []int{0, 15, 17, 256} {
		if _, err := c.DecryptDEK(make([]byte, n)); !errors.Is(err, ErrFormat) {
			t.Errorf("decrypting %d bytes: %v", n, err)
		}
	}
	c.Wipe()
	if _, err := c.DecryptDEK(make([]byte, 16)); !errors.Is(err, ErrState) {
		t.Errorf("after the session: %v", err)
	}
}

func BenchmarkOpenBothEnds(b *testing.B) {
	keys := testKeys(16)
	b.ReportAllocs()
	for b.Loop() {
		openPair(b, keys, 0x70, LevelAll)
	}
}

func BenchmarkOpenHost(b *testing.B) {
	keys := testKeys(16)
	_, iu, hostChallenge := openedCard(b, keys, 0x70)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := OpenHost(keys, hostChallenge, iu); err != nil {
			b.Fatal(err)
		}
	}
}

// One STORE DATA of full length there and 16 bytes back, at level 33: four passes of the channel.
func BenchmarkExchangeLevel33(b *testing.B) {
	h, c := openPair(b, testKeys(16), 0x70, LevelAll)
	cmd, answer := storeData(make([]byte, MaxDataS8Level33)), make([]byte, 16)
	b.SetBytes(MaxDataS8Level33)
	b.ReportAllocs()
	for b.Loop() {
		h.s.at.Counter, c.s.at.Counter = 1, 1 // stay below MaxCommandsPerSession
		wrapped, mark, err := h.Wrap(cmd)
		if err != nil {
			b.Fatal(err)
		}
		sent, err := apdu.Parse(wrapped)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Unwrap(sent); err != nil {
			b.Fatal(err)
		}
		if _, _, err := h.UnwrapAt(mark, c.Wrap(answer, apdu.SWOK)); err != nil {
			b.Fatal(err)
		}
	}
}
