package scp

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/persoline/persoline/perso/tlv"
)

func openTLVPair(t testing.TB, keys StaticKeys, i byte) (*Host, *Card) {
	t.Helper()
	c, iu, hostChallenge := openedCard(t, keys, i)
	parsed, err := ParseInitUpdateTLV(tlv.Encode(TagInitUpdate, iu.Append(nil)))
	if err != nil {
		t.Fatal(err)
	}
	h, err := OpenHost(keys, hostChallenge, parsed)
	if err != nil {
		t.Fatal(err)
	}
	ext, err := h.ExternalAuthenticateTLV()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ExternalAuthenticateTLV(ext); err != nil {
		t.Fatal(err)
	}
	if err := AuthenticatedTLV(tlv.Encode(TagExternal, nil)); err != nil {
		t.Fatal(err)
	}
	return h, c
}

// Both ends agree, for each key length and both sizes of MAC, over segments of all lengths around a block and the longest.
func TestSCP03tSession(t *testing.T) {
	t.Parallel()
	for _, n := range []int{16, 24, 32} {
		for _, i := range []byte{OptPseudo | OptRMAC | OptRENC, OptPseudo | OptRMAC | OptRENC | OptS16, OptRMAC | OptRENC} {
			h, c := openTLVPair(t, testKeys(n), i)
			for _, size := range []int{1, 15, 16, 17, 112, 128, 255, MaxTLVData} {
				data := bytes.Repeat([]byte{byte(size)}, size)
				segment, m, err := h.WrapTLV(data)
				if err != nil {
					t.Fatal(err)
				}
				got, err := c.UnwrapTLV(segment)
				if err != nil || !bytes.Equal(got, data) {
					t.Fatalf("keys of %d, i %02X, %d bytes: %v", n, i, size, err)
				}
				back := data[:size/2]
				answer, err := c.WrapTLV(back)
				if err != nil {
					t.Fatal(err)
				}
				if got, err = h.UnwrapTLV(m, answer); err != nil || !bytes.Equal(got, back) {
					t.Fatalf("keys of %d, i %02X, %d bytes: answer %v", n, i, size, err)
				}
			}
		}
	}
}

// One segment computed from the block cipher alone, as SGP.02 §4.1.3.3 tells it: the counter as ICV, the chain, tag and length
// in the MAC.
func TestSCP03tSegmentByHand(t *testing.T) {
	t.Parallel()
	h, _ := openTLVPair(t, testKeys(16), OptPseudo|OptRMAC|OptRENC)
	chain := h.s.at.Chain
	data := []byte("a segment of a profile, 35 bytes...")
	segment, _, err := h.WrapTLV(data)
	if err != nil {
		t.Fatal(err)
	}
	enc, err := aes.NewCipher(h.s.key(0))
	if err != nil {
		t.Fatal(err)
	}
	iv := make([]byte, 16)
	iv[15] = 1
	enc.Encrypt(iv, iv)
	sent := append(slices.Clone(data), 0x80)
	sent = append(sent, make([]byte, 48-len(sent))...)
	cipher.NewCBCEncrypter(enc, iv).CryptBlocks(sent, sent)
	mac := CMAC(h.s.key(1), chain[:], []byte{0x86, 48 + 8}, sent)
	if want := slices.Concat([]byte{0x86, 48 + 8}, sent, mac[:8]); !bytes.Equal(segment, want) {
		t.Errorf("got  %X\nwant %X", segment, want)
	}
	long, _, err := h.WrapTLV(make([]byte, 200))
	if err != nil || !bytes.HasPrefix(long, []byte{0x86, 0x81, 208 + 8}) {
		t.Errorf("a long segment begins with % X, %v", long[:3], err)
	}
}

// Whatever is changed, lost, repeated or out of turn is refused, and ends the card's session.
func TestSCP03tRefuses(t *testing.T) {
	t.Parallel()
	keys, opts := testKeys(16), byte(OptPseudo|OptRMAC|OptRENC)
	h, c := openTLVPair(t, keys, opts)
	first, m, err1 := h.WrapTLV([]byte("first"))
	second, _, err2 := h.WrapTLV([]byte("second"))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	_ = c
	for bit := range 8 * len(first) {
		_, c := openTLVPair(t, keys, opts)
		bad := slices.Clone(first)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := c.UnwrapTLV(bad); err == nil {
			t.Fatalf("bit %d was not missed", bit)
		}
		if _, err := c.UnwrapTLV(first); !errors.Is(err, ErrState) {
			t.Fatalf("the session goes on after a fault: %v", err)
		}
	}
	for name, order := range map[string][][]byte{"second first": {second}, "twice": {first, first}} {
		_, c := openTLVPair(t, keys, opts)
		var err error
		for _, s := range order {
			_, err = c.UnwrapTLV(s)
		}
		if !errors.Is(err, ErrMAC) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, c = openTLVPair(t, keys, opts)
	if _, err := c.WrapTLV(nil); !errors.Is(err, ErrState) {
		t.Errorf("an answer to nothing: %v", err)
	}
	if _, err := c.UnwrapTLV(first); err != nil {
		t.Fatal(err)
	}
	answer, err := c.WrapTLV(nil)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(answer) {
		bad := slices.Clone(answer)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := h.UnwrapTLV(m, bad); err == nil {
			t.Fatalf("bit %d of the answer was not missed", bit)
		}
	}
	var refused *RefusedError
	if _, err := h.UnwrapTLV(m, RefuseTLV(TagData, 3)); !errors.As(err, &refused) || refused.Code != 3 {
		t.Errorf("a refusal: %v", err)
	}
	if _, err := h.UnwrapTLV(m, []byte{0x9F, 0x86, 1, 4}); !errors.As(err, &refused) || refused.Code != 4 {
		t.Errorf("a refusal of the other form: %v", err)
	}
	for name, data := range map[string][]byte{"empty": nil, "too long": make([]byte, MaxTLVData+1)} {
		if _, _, err := h.WrapTLV(data); !errors.Is(err, ErrTooLong) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A host without the keys, a card without R-ENC, and another level open nothing.
func TestSCP03tOpening(t *testing.T) {
	t.Parallel()
	c, iu, challenge := openedCard(t, testKeys(16), OptPseudo|OptRMAC|OptRENC)
	h, err := OpenHost(testKeys(16), challenge, iu)
	if err != nil {
		t.Fatal(err)
	}
	ext, err := h.ExternalAuthenticateTLV()
	if err != nil {
		t.Fatal(err)
	}
	for at := range ext {
		again, _, _ := openedCard(t, testKeys(16), OptPseudo|OptRMAC|OptRENC)
		bad := slices.Clone(ext)
		bad[at] ^= 0x10
		if err := again.ExternalAuthenticateTLV(bad); err == nil {
			t.Fatalf("byte %d was not missed", at)
		}
		if err := again.ExternalAuthenticateTLV(ext); !errors.Is(err, ErrState) {
			t.Fatalf("a second try: %v", err)
		}
	}
	if err := c.ExternalAuthenticateTLV(ext); err != nil {
		t.Error(err)
	}
	if _, err := h.ExternalAuthenticateTLV(); !errors.Is(err, ErrState) {
		t.Errorf("twice: %v", err)
	}
	_, iu, challenge = openedCard(t, testKeys(16), OptPseudo|OptRMAC)
	if h, err = OpenHost(testKeys(16), challenge, iu); err != nil {
		t.Fatal(err)
	}
	if _, err := h.ExternalAuthenticateTLV(); !errors.Is(err, ErrLevel) {
		t.Errorf("without R-ENC: %v", err)
	}
	if got, want := fmt.Sprintf("%X", InitUpdateTLV(0x30, 1, challenge)), "840A3001"+fmt.Sprintf("%X", challenge); got != want {
		t.Errorf("the opening is %s, want %s", got, want)
	}
	var refused *RefusedError
	if _, err := ParseInitUpdateTLV(RefuseTLV(TagInitUpdate, 1)); !errors.As(err, &refused) || refused.Tag != TagInitUpdate {
		t.Errorf("a refused opening: %v", err)
	}
}

func FuzzSCP03tCard(f *testing.F) {
	f.Add([]byte{0x85, 17}, []byte{0x86, 24})
	f.Fuzz(func(t *testing.T, ext, segment []byte) {
		c, _, _ := openedCard(t, testKeys(16), OptPseudo|OptRMAC|OptRENC)
		if err := c.ExternalAuthenticateTLV(ext); err == nil {
			t.Fatal("a host without keys was taken")
		}
		_, c = openTLVPair(t, testKeys(16), OptPseudo|OptRMAC|OptRENC)
		if _, err := c.UnwrapTLV(segment); err == nil {
			t.Fatal("a segment without its MAC was taken")
		}
	})
}
