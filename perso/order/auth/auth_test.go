package auth

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/aka"
)

// own are constants of an operator: those of the standard with other rotations, and c2 to c5 with an odd number of bits.
var (
	ownC = strings.Repeat("0", 32) + strings.Repeat("0", 31) + "7" + strings.Repeat("0", 30) + "13" + strings.Repeat("f", 31) + "7" + "8" + strings.Repeat("0", 31)
	own  = "milenage r=4001204060 c=" + ownC
)

func spellings() []string {
	return []string{"milenage", "milenage key=opc", own, "milenage key=opc r=4001204060 c=" + ownC, "tuak k=128", "tuak k=256", "tuak k=128 key=topc",
		"tuak k=256 res=32", "tuak k=256 res=256 ck=256 ik=256 iterations=255", "tuak k=128 ik=256 iterations=2"}
}

func mustParse(t testing.TB, s string) Algorithm {
	t.Helper()
	a, err := Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestSpelling(t *testing.T) {
	t.Parallel()
	seen := map[Algorithm]string{}
	for _, s := range spellings() {
		a := mustParse(t, s)
		if a.String() != s || a.IsZero() || seen[a] != "" {
			t.Errorf("%q is %q, as %q", s, a, seen[a])
		}
		seen[a] = s
	}
	if mustParse(t, "milenage") != Default() {
		t.Error("milenage is not the default")
	}
	for _, s := range []string{"", "xor", "Milenage", "milenage ", " milenage", "milenage  key=opc", "milenage key=op", "milenage key=topc", "milenage k=128", "milenage res=64",
		"milenage r=4000204060", "milenage r=4000204060 c=" + strings.Repeat("0", 160), "milenage r=80", "milenage r=ff00204060", "milenage key=opc key=opc",
		"tuak", "tuak k=64", "tuak k=128 key=opc", "tuak k=128 res=64", "tuak k=128 res=65", "tuak k=128 ck=64", "tuak k=128 iterations=1", "tuak k=128 iterations=0",
		"tuak k=128 iterations=256", "tuak k=128 iterations=02", "tuak k=128 mac=128", "tuak res=32 k=128", "tuak k=128 r=4000204060", "tuak k=+128"} {
		if a, err := Parse(s); !errors.Is(err, ErrAlgorithm) || !a.IsZero() {
			t.Errorf("%q reads as %v, %v", s, a, err)
		}
	}
}

func TestKindsAndLengths(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{"milenage": "OP 16 16 OPC 1", "milenage key=opc": "OPC 16 16 OPC 1", own: "OP 16 16 OPC 86",
		"tuak k=128": "TOP 32 16 TOPC 6", "tuak k=256 key=topc": "TOPC 32 32 TOPC 6"} {
		a := mustParse(t, s)
		if got := fmt.Sprintf("%s %d %d %s %d", a.OPKind(), a.OPBytes(), a.KBytes(), a.Column(), len(a.Parameters())); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
	for _, s := range []string{"op-1", "opc-1/OPC", "top-1/TOP", "topc-1/TOPC"} {
		if h, err := ParseHeld(s); err != nil || h.String() != s {
			t.Errorf("%q reads as %v, %v", s, h, err)
		}
	}
	for _, s := range []string{"", "op-1/OP", "op-1/", "op-1/opc", "op 1"} {
		if h, err := ParseHeld(s); err == nil {
			t.Errorf("%q reads as %v", s, h)
		}
	}
}

// A chip that is told the parameters, and the network, agree on all keys; with any other algorithm they do not.
func TestBothSides(t *testing.T) {
	t.Parallel()
	rand, amf := aka.Rand{1, 2, 3}, aka.AMF{0x80}
	answers := map[string]string{}
	for _, s := range spellings() {
		a := mustParse(t, s)
		k, op := bytes.Repeat([]byte{0x4B}, a.KBytes()), bytes.Repeat([]byte{0x4F}, a.OPBytes())
		opc, err := a.Bind(k, op)
		if err != nil || bytes.Equal(opc, op) != a.Direct {
			t.Fatalf("%q: OPc is %x, %v", s, opc, err)
		}
		told, rest, err := ParseParameters(append(a.Parameters(), 0xAA))
		if err != nil || !bytes.Equal(rest, []byte{0xAA}) || !bytes.Equal(told.Parameters(), a.Parameters()) {
			t.Fatalf("%q: the chip understands %v, %x, %v", s, told, rest, err)
		}
		n, err := a.Network(k, opc)
		if err != nil {
			t.Fatal(err)
		}
		chip, err := told.Card(k, opc)
		if err != nil {
			t.Fatal(err)
		}
		fresh := aka.NewSQNArray(aka.DefaultSQNPolicy())
		autn, err := n.AUTN(rand, aka.SQN{5: 32}, amf)
		if err != nil {
			t.Fatal(err)
		}
		got, err := chip.Authenticate(rand, autn, fresh)
		if err != nil || got.Resync || len(got.Keys.RES) == 0 {
			t.Fatalf("%q: %v", s, err)
		}
		if wide := strings.Contains(s, "ck=256") || strings.Contains(s, "ik=256"); wide == (got.Kc != nil) {
			t.Errorf("%q: Kc has %d bytes", s, len(got.Kc))
		}
		again, err := chip.Authenticate(rand, autn, fresh)
		if sqn, err2 := n.VerifyAUTS(rand, again.AUTS); err != nil || err2 != nil || !again.Resync || sqn != (aka.SQN{5: 32}) {
			t.Errorf("%q: the same token again: %v, %v, %x", s, err, err2, sqn)
		}
		autn[15] ^= 1
		if _, err := chip.Authenticate(rand, autn, fresh); !errors.Is(err, aka.ErrMAC) {
			t.Errorf("%q: a forged token: %v", s, err)
		}
		answers[fmt.Sprintf("%x %x %x", got.Keys.RES, got.Keys.CK, got.Keys.IK)] = s
		n.Wipe()
		chip.Wipe()
	}
	if len(answers) != len(spellings()) {
		t.Errorf("%d algorithms give %d answers", len(spellings()), len(answers))
	}
}

func TestKeysOfAnotherLength(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"milenage", "milenage key=opc", "tuak k=128", "tuak k=256"} {
		a := mustParse(t, s)
		for _, n := range [][2]int{{a.KBytes() + 16, a.OPBytes()}, {a.KBytes(), a.OPBytes() - 1}, {0, 0}} {
			if _, err := a.Bind(make([]byte, n[0]), make([]byte, n[1])); err == nil {
				t.Errorf("%s binds %v", s, n)
			}
			if _, err := a.Network(make([]byte, n[0]), make([]byte, n[1])); err == nil {
				t.Errorf("%s takes %v", s, n)
			}
		}
	}
	if _, err := (Algorithm{}).Card(make([]byte, 16), make([]byte, 16)); !errors.Is(err, ErrAlgorithm) {
		t.Errorf("no algorithm: %v", err)
	}
}

func TestParametersRefused(t *testing.T) {
	t.Parallel()
	for _, b := range [][]byte{nil, {0}, {3}, {0x11}, make([]byte, 90), append([]byte{0x11}, make([]byte, 85)...), {2, 16, 8, 16, 16}, {2, 24, 8, 16, 16, 1},
		{2, 16, 5, 16, 16, 1}, {2, 16, 8, 16, 16, 0}, append([]byte{0x11, 64, 0, 32, 64, 96}, Default().constants()...)} {
		if a, _, err := ParseParameters(b); !errors.Is(err, ErrAlgorithm) {
			t.Errorf("%x reads as %v, %v", b, a, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range spellings() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(s)
		if err == nil && a.String() != s {
			t.Fatalf("%q became %q", s, a)
		}
	})
}

func FuzzParameters(f *testing.F) {
	for _, s := range spellings() {
		f.Add(mustParse(f, s).Parameters())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, rest, err := ParseParameters(b)
		if err == nil && !bytes.Equal(append(a.Parameters(), rest...), b) {
			t.Fatalf("%x became %v", b, a)
		}
	})
}
