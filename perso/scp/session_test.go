package scp

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/apdu"
)

const testSeq = 7

func testKeys(n int) StaticKeys {
	k := StaticKeys{ENC: make([]byte, n), MAC: make([]byte, n), DEK: make([]byte, n)}
	for i := range n {
		k.ENC[i], k.MAC[i], k.DEK[i] = byte(i), 0x40+byte(i), 0x80+byte(i)
	}
	return k
}

// openedCard is a card that has answered INITIALIZE UPDATE, with what the host saw.
func openedCard(t testing.TB, keys StaticKeys, i byte) (*Card, InitUpdate, []byte) {
	t.Helper()
	hostChallenge := bytes.Repeat([]byte{0xA5}, macSize(i))
	cfg := CardConfig{Keys: keys, KVN: 0x30, KDD: [10]byte{1, 2, 3}, I: i, AID: []byte{0xA0, 0, 0, 1, 0x51, 0, 0, 0}}
	if i&OptPseudo != 0 {
		cfg.Seq = testSeq
	} else {
		cfg.Random = bytes.Repeat([]byte{0x3C}, macSize(i))
	}
	c, iu, err := OpenCard(cfg, hostChallenge)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ParseInitUpdate(iu.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	return c, parsed, hostChallenge
}

func openPair(t testing.TB, keys StaticKeys, i byte, level Level) (*Host, *Card) {
	t.Helper()
	c, iu, hostChallenge := openedCard(t, keys, i)
	h, err := OpenHost(keys, hostChallenge, iu)
	if err != nil {
		t.Fatal(err)
	}
	ext, err := h.ExternalAuthenticate(level)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ExternalAuthenticate(mustParse(t, ext)); err != nil {
		t.Fatal(err)
	}
	return h, c
}

func wrap(t testing.TB, h *Host, cmd apdu.Command) (apdu.Command, Mark) {
	t.Helper()
	wrapped, mark, err := h.Wrap(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return mustParse(t, wrapped), mark
}

func storeData(data []byte) apdu.Command {
	return apdu.Command{CLA: 0x80, INS: 0xE2, P1: 0x10, Data: data, Le: apdu.NoLe}
}

func allLevels() []Level {
	return []Level{LevelNone, LevelCMAC, LevelCMACCENC, LevelCMACRMAC, LevelCMACCENCRMAC, LevelAll}
}

// Whatever the host wraps the card reads, and whatever the card answers the host reads, at every
// level, key length and mode, for any lengths.
func TestBothEndsAgree(t *testing.T) {
	t.Parallel()
	for _, level := range allLevels() {
		for _, n := range []int{16, 24, 32} {
			for _, i := range []byte{0x60, 0x61, 0x70, 0x71} {
				t.Run(fmt.Sprintf("%v/%d/%02X", level, n*8, i), func(t *testing.T) {
					t.Parallel()
					h, c := openPair(t, testKeys(n), i, level)
					rng := rand.New(rand.NewPCG(uint64(level), uint64(n)<<8|uint64(i)))
					for range 40 {
						converse(t, h, c, rng)
					}
				})
			}
		}
	}
}

func converse(t *testing.T, h *Host, c *Card, rng *rand.Rand) {
	t.Helper()
	fill := func(n int) []byte {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		return p
	}
	limit := c.Level().MaxData(c.i&OptS16 != 0)
	cmd := apdu.Command{CLA: []byte{0x00, 0x80, 0x83, 0x90}[rng.IntN(4)], INS: byte(rng.Uint32()), P1: 1, P2: 2, Data: fill(rng.IntN(limit + 1)), Le: rng.IntN(257)}
	if cmd.Le == 0 {
		cmd.Le = apdu.NoLe
	}
	sent, mark := wrap(t, h, cmd)
	got, err := c.Unwrap(sent)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "command", got.Bytes(), cmd.Bytes())
	answer, sw := fill(rng.IntN(239)), []apdu.SW{0x9000, 0x6283, 0x6310}[rng.IntN(3)]
	data, gotSW, err := h.UnwrapAt(mark, c.Wrap(answer, sw))
	if err != nil || gotSW != sw {
		t.Fatal(gotSW, err)
	}
	same(t, "answer", data, answer)
}

// A changed, repeated, skipped or unprotected command is refused and ends the session.
func TestCardRefusesAndEnds(t *testing.T) {
	t.Parallel()
	first, second := storeData([]byte{1, 2, 3}), storeData([]byte{4})
	type steps func(t *testing.T, h *Host, c *Card) apdu.Command
	changed := func(change func(*apdu.Command)) steps {
		return func(t *testing.T, h *Host, _ *Card) apdu.Command {
			cmd, _ := wrap(t, h, first)
			change(&cmd)
			return cmd
		}
	}
	for name, tc := range map[string]struct {
		steps steps
		want  error
	}{
		"INS":              {changed(func(c *apdu.Command) { c.INS++ }), ErrMAC},
		"P1":               {changed(func(c *apdu.Command) { c.P1++ }), ErrMAC},
		"P2":               {changed(func(c *apdu.Command) { c.P2++ }), ErrMAC},
		"CLA":              {changed(func(c *apdu.Command) { c.CLA ^= 0x10 }), ErrMAC},
		"data":             {changed(func(c *apdu.Command) { c.Data[0] ^= 1 }), ErrMAC},
		"MAC":              {changed(func(c *apdu.Command) { c.Data[len(c.Data)-1] ^= 0x80 }), ErrMAC},
		"cut":              {changed(func(c *apdu.Command) { c.Data = c.Data[:len(c.Data)-1] }), ErrMAC},
		"shorter than MAC": {changed(func(c *apdu.Command) { c.Data = c.Data[:7] }), ErrFormat},
		"no SM bit":        {changed(func(c *apdu.Command) { c.CLA &^= claSM }), ErrFormat},
		"other SM":         {changed(func(c *apdu.Command) { c.CLA |= 0x08 }), ErrFormat},
		"further channel":  {changed(func(c *apdu.Command) { c.CLA |= 0x40 }), ErrFormat},
		"repeated": {func(t *testing.T, h *Host, c *Card) apdu.Command {
			cmd, _ := wrap(t, h, first)
			if _, err := c.Unwrap(cmd); err != nil {
				t.Fatal(err)
			}
			return cmd
		}, ErrMAC},
		"skipped": {func(t *testing.T, h *Host, _ *Card) apdu.Command {
			wrap(t, h, first)
			cmd, _ := wrap(t, h, second)
			return cmd
		}, ErrMAC},
		"bad padding": {func(t *testing.T, h *Host, _ *Card) apdu.Command {
			sent := make([]byte, 16) // decrypts to anything, rightly MACed
			mac := h.s.nextMAC(0x80, first, sent)
			return apdu.Command{CLA: 0x84, INS: first.INS, P1: first.P1, P2: first.P2, Data: append(sent, mac[:8]...), Le: apdu.NoLe}
		}, ErrPadding},
		"second EXTERNAL AUTHENTICATE": {nil, ErrState},
	} {
		h, c := openPair(t, testKeys(16), 0x70, LevelAll)
		var err error
		if tc.steps == nil {
			err = c.ExternalAuthenticate(storeData(nil))
		} else {
			_, err = c.Unwrap(tc.steps(t, h, c))
		}
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
		if _, err := c.Unwrap(storeData(nil)); !errors.Is(err, ErrState) || c.Open() || c.s.keys != [3][32]byte{} || c.dek != [32]byte{} {
			t.Errorf("%s: the session goes on: %v", name, err)
		}
	}
}

func TestLogicalChannelIsOutsideTheMAC(t *testing.T) {
	t.Parallel()
	h, c := openPair(t, testKeys(16), 0x70, LevelAll)
	cmd, _ := wrap(t, h, storeData([]byte{1}))
	cmd.CLA |= 0x02
	if got, err := c.Unwrap(cmd); err != nil || got.CLA != 0x82 {
		t.Errorf("got class %02X, %v", got.CLA, err)
	}
}

func TestExternalAuthenticateRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*apdu.Command)
		want   error
	}{
		"undefined level": {func(c *apdu.Command) { c.P1 = 0x21 }, ErrLevel},
		"other level":     {func(c *apdu.Command) { c.P1 = 0x01 }, ErrMAC},
		"P2":              {func(c *apdu.Command) { c.P2 = 1 }, ErrFormat},
		"INS":             {func(c *apdu.Command) { c.INS = 0x83 }, ErrFormat},
		"no SM bit":       {func(c *apdu.Command) { c.CLA = 0x80 }, ErrFormat},
		"short":           {func(c *apdu.Command) { c.Data = c.Data[:15] }, ErrFormat},
		"cryptogram":      {func(c *apdu.Command) { c.Data[0] ^= 1 }, ErrMAC},
		"MAC":             {func(c *apdu.Command) { c.Data[8] ^= 1 }, ErrMAC},
	} {
		c, iu, hostChallenge := openedCard(t, testKeys(16), 0x70)
		h, err := OpenHost(testKeys(16), hostChallenge, iu)
		if err != nil {
			t.Fatal(err)
		}
		ext, err := h.ExternalAuthenticate(LevelAll)
		if err != nil {
			t.Fatal(err)
		}
		cmd := mustParse(t, ext)
		tc.change(&cmd)
		if err := c.ExternalAuthenticate(cmd); !errors.Is(err, tc.want) || c.Open() {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
	c, _, _ := openedCard(t, testKeys(16), 0x70)
	forged := apdu.Command{CLA: 0x84, INS: 0x82, P1: 0x33, Data: make([]byte, 8), Le: apdu.NoLe}
	mac := c.s.nextMAC(0x84, forged, forged.Data)
	forged.Data = append(forged.Data, mac[:8]...)
	if err := c.ExternalAuthenticate(forged); !errors.Is(err, ErrCryptogram) {
		t.Errorf("right MAC, wrong cryptogram: %v", err)
	}
	c, _, _ = openedCard(t, testKeys(16), 0x70)
	if _, err := c.Unwrap(storeData(nil)); !errors.Is(err, ErrState) {
		t.Errorf("command before EXTERNAL AUTHENTICATE: %v", err)
	}
}

func TestUnwrapAtRefuses(t *testing.T) {
	t.Parallel()
	h, c := openPair(t, testKeys(16), 0x70, LevelAll)
	cmd, mark := wrap(t, h, storeData([]byte{1}))
	if _, err := c.Unwrap(cmd); err != nil {
		t.Fatal(err)
	}
	good := c.Wrap([]byte("answer"), 0x9000)
	_, later := wrap(t, h, storeData(nil))
	if _, _, err := h.UnwrapAt(later, good); !errors.Is(err, ErrRMAC) {
		t.Errorf("answer taken for another command's: %v", err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		want := ErrRMAC
		if i >= len(good)-2 {
			want = ErrUnprotected // 9100 or 9001 instead of 9000
		}
		if data, _, err := h.UnwrapAt(mark, bad); !errors.Is(err, want) || data != nil {
			t.Errorf("byte %d changed: %x, %v", i, data, err)
		}
	}
	for _, s := range []string{"9000", "00000000000000009000", "62839000"} {
		in, _ := hex.DecodeString(s)
		if _, sw, err := h.UnwrapAt(mark, in); !errors.Is(err, ErrRMAC) || sw != 0x9000 {
			t.Errorf("%s: %v, %v", s, sw, err)
		}
	}
	if _, _, err := h.UnwrapAt(mark, []byte{0x90}); !errors.Is(err, apdu.ErrMalformed) {
		t.Errorf("one byte: %v", err)
	}
	if _, _, err := h.UnwrapAt(mark, make([]byte, MaxAnswerBytes+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("too long: %v", err)
	}
	if data, sw, err := h.UnwrapAt(mark, good); err != nil || sw != 0x9000 || string(data) != "answer" {
		t.Errorf("afterwards: %q, %v, %v", data, sw, err)
	}
}

func TestErrorAnswerIsUnprotected(t *testing.T) {
	t.Parallel()
	h, c := openPair(t, testKeys(16), 0x70, LevelAll)
	cmd, mark := wrap(t, h, storeData([]byte{1}))
	if _, err := c.Unwrap(cmd); err != nil {
		t.Fatal(err)
	}
	resp := c.Wrap([]byte("dropped"), apdu.SWWrongData)
	same(t, "error answer", resp, []byte{0x6A, 0x80})
	if data, sw, err := h.UnwrapAt(mark, resp); !errors.Is(err, ErrUnprotected) || sw != apdu.SWWrongData || data != nil {
		t.Errorf("got %x, %v, %v", data, sw, err)
	}
	// The session survives a command that the card refused for its content.
	cmd, mark = wrap(t, h, storeData([]byte{2}))
	if _, err := c.Unwrap(cmd); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.UnwrapAt(mark, c.Wrap(nil, 0x9000)); err != nil {
		t.Error(err)
	}
}

func TestMaxData(t *testing.T) {
	t.Parallel()
	want := map[byte][]int{ // by i parameter, in the order of allLevels
		0x70: {255, 247, 239, 247, 239, 239},
		0x71: {255, 239, 223, 239, 223, 223},
	}
	for i, limits := range want {
		for j, level := range allLevels() {
			if got := level.MaxData(i&OptS16 != 0); got != limits[j] {
				t.Errorf("level %v, i %02X: limit %d, want %d", level, i, got, limits[j])
			}
			h, _ := openPair(t, testKeys(16), i, level)
			before := h.Mark()
			if _, _, err := h.Wrap(storeData(make([]byte, limits[j]+1))); err == nil || h.Mark() != before {
				t.Errorf("level %v, i %02X: %d bytes are wrapped", level, i, limits[j]+1)
			}
			wrap(t, h, storeData(make([]byte, limits[j])))
		}
	}
}

func TestHostStates(t *testing.T) {
	t.Parallel()
	keys := testKeys(16)
	_, iu, hostChallenge := openedCard(t, keys, 0x70)
	h, err := OpenHost(keys, hostChallenge, iu)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.Wrap(storeData(nil)); !errors.Is(err, ErrState) {
		t.Errorf("wrapping before EXTERNAL AUTHENTICATE: %v", err)
	}
	if _, _, err := h.UnwrapAt(Mark{}, []byte{0x90, 0}); !errors.Is(err, ErrState) {
		t.Errorf("unwrapping before EXTERNAL AUTHENTICATE: %v", err)
	}
	if _, err := h.ExternalAuthenticate(0x30); !errors.Is(err, ErrLevel) {
		t.Errorf("undefined level: %v", err)
	}
	if _, err := h.ExternalAuthenticate(LevelAll); err != nil {
		t.Error(err)
	}
	if _, err := h.ExternalAuthenticate(LevelAll); !errors.Is(err, ErrState) {
		t.Errorf("authenticating twice: %v", err)
	}
	for _, cla := range []byte{0x84, 0x0C, 0x40, 0xC0} {
		if _, _, err := h.Wrap(apdu.Command{CLA: cla, Le: apdu.NoLe}); !errors.Is(err, ErrFormat) {
			t.Errorf("class %02X: %v", cla, err)
		}
	}
	if err := h.Resume(LevelAll, Mark{Counter: MaxCommandsPerSession}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.Wrap(storeData(nil)); !errors.Is(err, ErrState) {
		t.Errorf("beyond the command limit: %v", err)
	}
	h.Wipe()
	_, _, errWrap := h.Wrap(storeData(nil))
	_, _, errUnwrap := h.UnwrapAt(Mark{}, []byte{0x90, 0})
	_, errDEK := h.EncryptDEK(make([]byte, 16))
	_, errBind := h.BindKey("x")
	_, errExt := h.ExternalAuthenticate(LevelAll)
	for i, err := range []error{errWrap, errUnwrap, errDEK, errBind, errExt, h.Resume(LevelAll, Mark{})} {
		if !errors.Is(err, ErrState) {
			t.Errorf("call %d after wiping: %v", i, err)
		}
	}
}

func TestOpenHostRefuses(t *testing.T) {
	t.Parallel()
	keys := testKeys(16)
	_, iu, hostChallenge := openedCard(t, keys, 0x70)
	other := testKeys(16)
	other.MAC[0] ^= 1
	badProof := iu
	badProof.CardCryptogram = bytes.Clone(iu.CardCryptogram)
	badProof.CardCryptogram[7] ^= 1
	short := iu
	short.CardCryptogram = nil
	uneven := StaticKeys{ENC: keys.ENC, MAC: keys.MAC, DEK: make([]byte, 24)}
	for name, tc := range map[string]struct {
		keys StaticKeys
		hc   []byte
		iu   InitUpdate
		want error
	}{
		"other keys":       {other, hostChallenge, iu, ErrCryptogram},
		"other challenge":  {keys, make([]byte, 8), iu, ErrCryptogram},
		"other cryptogram": {keys, hostChallenge, badProof, ErrCryptogram},
		"no cryptogram":    {keys, hostChallenge, short, ErrFormat},
		"S16 challenge":    {keys, make([]byte, 16), iu, ErrFormat},
		"uneven keys":      {uneven, hostChallenge, iu, ErrKeyLength},
		"no keys":          {StaticKeys{}, hostChallenge, iu, ErrKeyLength},
	} {
		if h, err := OpenHost(tc.keys, tc.hc, tc.iu); !errors.Is(err, tc.want) || h != nil {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
		if err := VerifyCard(tc.keys, tc.hc, tc.iu); !errors.Is(err, tc.want) {
			t.Errorf("%s, verifying only: got %v, want %v", name, err, tc.want)
		}
	}
	if err := VerifyCard(keys, hostChallenge, iu); err != nil {
		t.Error(err)
	}
}

func TestLevelMustBeOffered(t *testing.T) {
	t.Parallel()
	for i, want := range map[byte][]Level{
		0x00: {LevelNone, LevelCMAC, LevelCMACCENC},
		0x20: {LevelNone, LevelCMAC, LevelCMACCENC, LevelCMACRMAC, LevelCMACCENCRMAC},
		0x60: allLevels(),
	} {
		for b := range 256 {
			if ok := Level(b).supported(i) == nil; ok != slices.Contains(want, Level(b)) {
				t.Errorf("level %02X with i %02X: offered %v", b, i, ok)
			}
		}
	}
}

func TestOpenCardRefuses(t *testing.T) {
	t.Parallel()
	good := CardConfig{Keys: testKeys(16), I: 0x70, Seq: 1}
	for name, tc := range map[string]struct {
		change func(*CardConfig)
		hc     int
	}{
		"host challenge":      {func(*CardConfig) {}, 16},
		"unknown option":      {func(c *CardConfig) { c.I = 0x72 }, 8},
		"R-ENC without R-MAC": {func(c *CardConfig) { c.I = 0x50 }, 8},
		"no counter":          {func(c *CardConfig) { c.Seq = 0 }, 8},
		"counter too large":   {func(c *CardConfig) { c.Seq = 1 << 24 }, 8},
		"no random":           {func(c *CardConfig) { c.I = 0x60 }, 8},
		"no keys":             {func(c *CardConfig) { c.Keys = StaticKeys{} }, 8},
	} {
		cfg := good
		tc.change(&cfg)
		if _, _, err := OpenCard(cfg, make([]byte, tc.hc)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestBindKey(t *testing.T) {
	t.Parallel()
	bind := func(keys StaticKeys, label string) [32]byte {
		h, _ := openPair(t, keys, 0x70, LevelAll)
		k, err := h.BindKey(label)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	one := bind(testKeys(16), "state")
	if one != bind(testKeys(16), "state") {
		t.Error("a rebuilt host derives another key")
	}
	if one == bind(testKeys(16), "other") || one == bind(testKeys(24), "state") || one == [32]byte{} {
		t.Error("label and session do not matter")
	}
}

func TestNothingPrintsKeys(t *testing.T) {
	t.Parallel()
	keys := testKeys(16)
	h, c := openPair(t, keys, 0x70, LevelAll)
	for _, x := range []any{keys, &keys, h, *h, c, *c, CardConfig{Keys: keys}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			if got := fmt.Sprintf(verb, x); !strings.Contains(got, redacted) || len(got) > 200 {
				t.Errorf("%s of %T prints %q", verb, x, got)
			}
		}
	}
	if b, err := json.Marshal(struct{ K StaticKeys }{keys}); err != nil || string(b) != `{"K":"[redacted]"}` {
		t.Errorf("marshals as %s, %v", b, err)
	}
	keys.Wipe()
	if !bytes.Equal(keys.ENC, make([]byte, 16)) || !bytes.Equal(keys.MAC, make([]byte, 16)) || !bytes.Equal(keys.DEK, make([]byte, 16)) {
		t.Error("wiping leaves key bytes")
	}
}
