package hsm

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/persoline/persoline/perso/secret"
)

func TestKeyLabels(t *testing.T) {
	t.Parallel()
	for _, c := range Classes() {
		k, err := NewKey("production", c, "LOT-2031_04.b")
		if err != nil {
			t.Fatal(err)
		}
		if want := "persoline/production/" + c.String() + "/LOT-2031_04.b"; k.Label != want || k.Class != c {
			t.Errorf("got %+v, want %q", k, want)
		}
		if again, err := ParseKey(k.Label); err != nil || again != k {
			t.Errorf("ParseKey(%q) = %v, %v", k.Label, again, err)
		}
		if k.Env() != "production" || k.ID() != "LOT-2031_04.b" {
			t.Errorf("parts of %q are %q and %q", k, k.Env(), k.ID())
		}
	}
	for _, bad := range []string{
		"", "persoline", "persoline/test/lot", "persoline/test/lot/", "persoline//lot/1",
		"persoline/test/lot/1/2", "Persoline/test/lot/1", "persoline/Test/lot/1", "persoline/test/LOT/1",
		"persoline/test/none/1", "persoline/test/lot/-1", "persoline/test/lot/a b", "persoline/test/lot/ä",
		"persoline/test/lot/" + strings.Repeat("x", maxKeyIDBytes+1),
		"persoline/" + strings.Repeat("x", maxEnvBytes+1) + "/lot/1", "persoline/te_st/lot/1",
	} {
		if k, err := ParseKey(bad); err == nil {
			t.Errorf("ParseKey(%q) = %v", bad, k)
		}
	}
	if _, err := NewKey("test", 0, "1"); err == nil {
		t.Error("a key of no class")
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("persoline/test/lot/1")
	f.Add("persoline/production/statement/" + strings.Repeat("Z", 64))
	f.Add("persoline/test/lot/../x")
	f.Fuzz(func(t *testing.T, label string) {
		k, err := ParseKey(label)
		if err != nil {
			return
		}
		again, err := NewKey(k.Env(), k.Class, k.ID())
		if err != nil || again != k || again.Label != label || len(label) > 127 {
			t.Errorf("%q has a second spelling: %v, %v", label, again, err)
		}
	})
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	good := Config{Module: "m", TokenLabel: "t", PIN: secret.New([]byte("1234"))}
	if err := good.Validate(); err != nil {
		t.Errorf("defaults refused: %v", err)
	}
	for name, change := range map[string]func(*Config){
		"module":   func(c *Config) { c.Module = "" },
		"label":    func(c *Config) { c.TokenLabel = "" },
		"PIN":      func(c *Config) { c.PIN = secret.Bytes{} },
		"sessions": func(c *Config) { c.MaxSessions = MaxSessions + 1 },
		"negative": func(c *Config) { c.MaxSessions = -1 },
		"wait":     func(c *Config) { c.WaitLimit = maxWait + 1 },
	} {
		bad := good
		change(&bad)
		if bad.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
		if text := fmt.Sprintf("%v %+v", bad, bad); strings.Contains(text, "1234") {
			t.Error("the PIN is printed")
		}
	}
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  Error
		want string
	}{
		{Error{"C_Sign", 0x82}, "C_Sign: 0x82: CKR_OBJECT_HANDLE_INVALID"},
		{Error{"C_DestroyObject", 0x1B}, "C_DestroyObject: 0x1B: CKR_ACTION_PROHIBITED"},
		{Error{"C_Login", 0x80000001}, "C_Login: 0x80000001: defined by the vendor of the module"},
		{Error{"C_GenerateKeyPair", 0x140}, "C_GenerateKeyPair: 0x140: CKR_CURVE_NOT_SUPPORTED"},
		{Error{"C_Sign", 0x7777}, "C_Sign: 0x7777: not in PKCS #11 v2.40"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// TestErrorMeaning goes through the return values of PKCS #11 v2.40 (3.6.3) that
// the functions in use can give: each means something to a caller, or is in the
// last line because nothing can be done about it but to read it.
func TestErrorMeaning(t *testing.T) {
	t.Parallel()
	meanings := []error{ErrSessionLost, ErrTokenGone, ErrBusy, ErrDevice, ErrSealBroken, ErrUnsupported, ErrRefused}
	for _, test := range []struct {
		want  []error
		codes []uint
	}{
		{[]error{ErrSessionLost}, []uint{0x60, 0x82, 0xB0, 0xB3, 0x101, 0x113, 0x190}},
		{[]error{ErrTokenGone}, []uint{0x03, 0x30, 0x32, 0xE0, 0xE1}},
		{[]error{ErrBusy}, []uint{0xB1, 0x191}},
		{[]error{ErrDevice}, []uint{0x02, 0x05, 0x06, 0x0A, 0x31, 0x50, 0x90, 0x91, 0x121, 0x150}},
		{[]error{ErrSealBroken}, []uint{0x40, 0x41}},
		{[]error{ErrUnsupported, ErrRefused}, []uint{0x54, 0x70, 0x71, 0x130, 0x140}},
		{[]error{ErrRefused}, []uint{0x10, 0x11, 0x12, 0x13, 0x1B, 0x20, 0x21, 0x62, 0x63, 0x68, 0x69, 0x6A, 0xA0, 0xA1, 0xA2, 0xA3, 0xA4,
			0xB5, 0xD0, 0xD1, 0xE2, 0x102, 0x104, 0x114, 0x115, 0x200}},
		{nil, []uint{0x07, 0x08, 0x09, 0xB4, 0xB6, 0xB7, 0xB8, 0x100, 0x103, 0x105, 0x80000001}},
	} {
		for _, ckr := range test.codes {
			err := fmt.Errorf("doing it: %w", Error{Op: "C_Any", CKR: ckr})
			for _, meaning := range meanings {
				if errors.Is(err, meaning) != slices.Contains(test.want, meaning) {
					t.Errorf("%v: is %q: %v", err, meaning, errors.Is(err, meaning))
				}
			}
		}
	}
}

func TestPoolWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(2)
		for range 2 {
			if _, err := p.take(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		if _, err := p.take(t.Context(), time.Minute); !errors.Is(err, ErrBusy) || time.Since(start) != time.Minute {
			t.Errorf("third take: %v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.take(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("take with a deadline: %v", err)
		}
		mine := &session{}
		p.put(mine)
		if _, err := p.gather(t.Context(), time.Second); !errors.Is(err, ErrBusy) {
			t.Errorf("gather while one is out: %v", err)
		}
		if s, err := p.take(t.Context(), 0); s != mine || err != nil {
			t.Errorf("gather kept what it had: %v", err)
		}
		time.AfterFunc(time.Second, func() { p.put(nil); p.put(mine) })
		if held, err := p.gather(t.Context(), time.Minute); len(held) != 2 || err != nil {
			t.Errorf("gather: %d, %v", len(held), err)
		}
	})
}

func TestPoolShut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(1)
		if _, err := p.take(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		waited := make(chan error)
		go func() {
			_, err := p.take(context.Background(), time.Hour)
			waited <- err
		}()
		synctest.Wait()
		if !p.shut() || p.shut() {
			t.Error("shut is not true exactly once")
		}
		if err := <-waited; !errors.Is(err, ErrClosed) {
			t.Errorf("waiting take: %v", err)
		}
		if _, err := p.take(t.Context(), 0); !errors.Is(err, ErrClosed) {
			t.Errorf("take after shut: %v", err)
		}
	})
}

// generatorPoint is a point on P-256, uncompressed.
func generatorPoint(t testing.TB) []byte {
	priv, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), append(make([]byte, 31), 1))
	if err != nil {
		t.Fatal(err)
	}
	b, err := priv.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func octetString(t testing.TB, b []byte) []byte {
	der, err := asn1.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestPoints(t *testing.T) {
	t.Parallel()
	point := generatorPoint(t)
	edward := bytes.Repeat([]byte{7}, 32)
	for name, test := range map[string]struct {
		b  []byte
		ok bool
	}{
		"bare":              {point, true},
		"octet string":      {octetString(t, point), true},
		"byte after":        {append(octetString(t, point), 0), false},
		"not on the curve":  {append(bytes.Clone(point[:64]), point[64]^1), false},
		"compressed":        {octetString(t, append([]byte{2}, point[1:33]...)), false},
		"sequence":          {append([]byte{0x30, 65}, point...), false},
		"empty":             {nil, false},
		"string in strings": {octetString(t, octetString(t, point)), false},
	} {
		if pub, err := parseP256Point(test.b); (err == nil) != test.ok {
			t.Errorf("P-256, %s: %v, %v", name, pub, err)
		}
	}
	for name, test := range map[string]struct {
		b  []byte
		ok bool
	}{
		"bare":         {edward, true},
		"octet string": {octetString(t, edward), true},
		"bit string":   {append([]byte{3, 33, 0}, edward...), true},
		"odd bits":     {append([]byte{3, 33, 1}, edward...), false},
		"short":        {octetString(t, edward[1:]), false},
		"empty":        {nil, false},
	} {
		pub, err := parseEd25519Point(test.b)
		if (err == nil) != test.ok || test.ok && !pub.Equal(ed25519.PublicKey(edward)) {
			t.Errorf("Ed25519, %s: %x, %v", name, pub, err)
		}
	}
}

func FuzzPoints(f *testing.F) {
	f.Add(generatorPoint(f))
	f.Add(octetString(f, generatorPoint(f)))
	f.Add(octetString(f, make([]byte, 32)))
	f.Add([]byte{3, 33, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if pub, err := parseP256Point(b); err == nil {
			point, err := pub.Bytes()
			if err != nil || !bytes.HasSuffix(b, point) {
				t.Errorf("%x read as %x, %v", b, point, err)
			}
		}
		if pub, err := parseEd25519Point(b); err == nil && !bytes.HasSuffix(b, pub) {
			t.Errorf("%x read as %x", b, pub)
		}
		if pub, err := parseBrainpoolPoint(b); err == nil && !bytes.HasSuffix(b, pub[:]) {
			t.Errorf("%x read as %x", b, pub)
		}
	})
}

func TestTurnstile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ts := newTurnstile(2)
		for range 2 {
			if err := ts.share(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := ts.enter(t.Context(), time.Second); !errors.Is(err, ErrBusy) {
			t.Errorf("alone among two: %v", err)
		}
		ts.unshare()
		if err := ts.enter(t.Context(), time.Second); !errors.Is(err, ErrBusy) {
			t.Errorf("alone beside one: %v", err)
		}
		if err := ts.share(t.Context(), time.Second); err != nil {
			t.Errorf("a place was not given back: %v", err)
		}
		ts.unshare()
		time.AfterFunc(time.Second, ts.unshare)
		if err := ts.enter(t.Context(), time.Minute); err != nil {
			t.Error(err)
		}
		if err := ts.share(t.Context(), time.Second); !errors.Is(err, ErrBusy) {
			t.Errorf("sharing with one who is alone: %v", err)
		}
		if err := ts.enter(t.Context(), time.Second); !errors.Is(err, ErrBusy) {
			t.Errorf("two alone: %v", err)
		}
		ts.leave()
		if err := ts.share(t.Context(), 0); err != nil {
			t.Error(err)
		}
	})
}

// TestUnwrapKey: the vectors of RFC 5649, section 6 (the first; the second is
// too short for us), and nothing that differs from it.
func TestUnwrapKey(t *testing.T) {
	t.Parallel()
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	kek := unhex("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8")
	wrapped := unhex("138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a")
	want := unhex("c37b7e6492584340bed12207808941155068f738")
	got, err := unwrapKey(kek, bytes.Clone(wrapped), make([]byte, 32))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %x, %v", got, err)
	}
	for i := range wrapped {
		bad := bytes.Clone(wrapped)
		bad[i] ^= 1
		if _, err := unwrapKey(kek, bad, make([]byte, 32)); !errors.Is(err, ErrDevice) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	for _, n := range []int{0, 8, 16, 23, 31} {
		if _, err := unwrapKey(kek, bytes.Clone(wrapped[:n]), make([]byte, 32)); !errors.Is(err, ErrDevice) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func FuzzP256Scalar(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0x30, 2, 4, 0})
	f.Fuzz(func(t *testing.T, der []byte) {
		if s, err := p256Scalar(der); err == nil && (len(s) != scalarBytes || !bytes.Contains(der, s)) {
			t.Errorf("%x of %x", s, der)
		}
	})
}
