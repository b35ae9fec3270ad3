package aka

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/reftest"
)

// wideSet is one set of TUAK or of the XOR algorithm.
type wideSet struct {
	Name                               string
	Iterations                         int `json:"keccak_iterations"`
	MAC                                int `json:"maclen_bits"`
	RES                                int `json:"reslen_bits"`
	CK                                 int `json:"cklen_bits"`
	IK                                 int `json:"iklen_bits"`
	K, Rand, SQN, AMF, TOP, TOPc       reftest.Hex
	F1, F1Star, F2, F3, F4, F5, F5Star reftest.Hex
}

// unhex is a constant of this file.
func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func (s wideSet) params() TuakParams {
	return TuakParams{MAC: s.MAC, RES: s.RES, CK: s.CK, IK: s.IK, Iterations: s.Iterations}
}

func TestTuakPublishedSets(t *testing.T) {
	t.Parallel()
	var r struct {
		Sets []wideSet `json:"tuak_sets"`
	}
	reftest.Vectors(t, "tuak.json", &r)
	if len(r.Sets) != 6 {
		t.Fatalf("read %d sets", len(r.Sets))
	}
	for _, s := range r.Sets {
		t.Run(s.Name, func(t *testing.T) { t.Parallel(); checkTuak(t, s) })
	}
}

// Test sets 1 and 6 of 3GPP TS 35.233, the smallest and the largest sizes, so that something is checked without the
// reference data.
func TestTuakKnownAnswers(t *testing.T) {
	t.Parallel()
	checkTuak(t, wideSet{
		Iterations: 1, MAC: 64, RES: 32, CK: 128, IK: 128,
		K: unhex(strings.Repeat("ab", 16)), Rand: unhex(strings.Repeat("42", 16)), SQN: unhex("111111111111"), AMF: unhex("ffff"),
		TOP: unhex(strings.Repeat("55", 32)), TOPc: unhex("bd04d9530e87513c5d837ac2ad954623a8e2330c115305a73eb45d1f40cccbff"),
		F1: unhex("f9a54e6aeaa8618d"), F1Star: unhex("e94b4dc6c7297df3"), F2: unhex("657acd64"),
		F3: unhex("d71a1e5c6caffe986a26f783e5c78be1"), F4: unhex("be849fa2564f869aecee6f62d4337e72"),
		F5: unhex("719f1e9b9054"), F5Star: unhex("e7af6b3d0e38"),
	})
	checkTuak(t, wideSet{
		Iterations: 2, MAC: 256, RES: 256, CK: 256, IK: 256,
		K:    unhex("1574ca56881d05c189c82880f789c9cd4244955f4426aa2b69c29f15770e5aa5"),
		Rand: unhex("c570aac68cde651fb1e3088322498bef"), SQN: unhex("c89bb71f3a41"), AMF: unhex("297d"),
		TOP:    unhex("e59f6eb10ea406813f4991b0b9e02f181edf4c7e17b480f66d34da35ee88c95e"),
		TOPc:   unhex("b04a66f26c62fcd6c82de22a179ab65506ecf47f56245cd149966cfa9cec7a51"),
		F1:     unhex("90d2289ed1ca1c3dbc2247bb480d431ac71d2e4a7677f6e997cfddb0cbad88b7"),
		F1Star: unhex("427355dbac30e825063aba61b556e87583abac638e3ab01c4c884ad9d458dc2f"),
		F2:     unhex("d67e6e64590d22eecba7324afa4af4460c93f01b24506d6e12047d789a94c867"),
		F3:     unhex("ede57edfc57cdffe1aae75066a1b7479bbc3837438e88d37a801cccc9f972b89"),
		F4:     unhex("48ed9299126e5057402fe01f9201cf25249f9c5c0ed2afcf084755daff1d3999"),
		F5:     unhex("6aae8d18c448"), F5Star: unhex("8c5f33b61f4e"),
	})
}

func checkTuak(t *testing.T, s wideSet) {
	t.Helper()
	topc, err := TOPc(s.K, s.TOP, s.Iterations)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "TOPc", topc[:], s.TOPc)
	u, err := NewTuak(s.K, s.TOPc, s.params())
	if err != nil {
		t.Fatal(err)
	}
	fromTOP, err := NewTuakFromTOP(s.K, s.TOP, s.params())
	if err != nil {
		t.Fatal(err)
	}
	rand, sqn, amf := Rand(s.Rand), SQN(s.SQN), AMF(s.AMF)
	same(t, "f1", u.F1(rand, sqn, amf), s.F1)
	same(t, "f1 from TOP", fromTOP.F1(rand, sqn, amf), s.F1)
	same(t, "f1*", u.F1Star(rand, sqn, amf), s.F1Star)
	k, akStar := u.F2345(rand), u.F5Star(rand)
	same(t, "f2", k.RES, s.F2)
	same(t, "f3", k.CK, s.F3)
	same(t, "f4", k.IK, s.F4)
	same(t, "f5", k.AK[:], s.F5)
	same(t, "f5*", akStar[:], s.F5Star)
	checkTokens(t, u, rand, sqn, amf, s.MAC)
}

// protocol is what network and card do with any of the algorithms.
type protocol interface {
	functions
	BuildVector(Rand, SQN, AMF) (WideVector, error)
	Open(Rand, AUTN) (WideOpened, error)
	BuildAUTS(Rand, SQN) (AUTS, error)
	VerifyAUTS(Rand, AUTS) (SQN, error)
	Authenticate(Rand, AUTN, Freshness) (WideAnswer, error)
}

// checkTokens opens what was built, and demands that no other MAC size builds anything.
func checkTokens(t *testing.T, p protocol, rand Rand, sqn SQN, amf AMF, macBits int) {
	t.Helper()
	v, err := p.BuildVector(rand, sqn, amf)
	auts, errAUTS := p.BuildAUTS(rand, sqn)
	if macBits != 64 {
		_, errOpen := p.Open(rand, AUTN{})
		_, errVerify := p.VerifyAUTS(rand, AUTS{})
		for i, err := range []error{err, errAUTS, errOpen, errVerify} {
			if !errors.Is(err, ErrTokenMAC) {
				t.Errorf("token function %d with a MAC of %d bits: %v", i, macBits, err)
			}
		}
		return
	}
	if err != nil || errAUTS != nil {
		t.Fatal(err, errAUTS)
	}
	o, err := p.Open(rand, v.AUTN)
	if err != nil || o.SQN != sqn || o.AMF != amf {
		t.Errorf("opening AUTN: %x %x, %v", o.SQN, o.AMF, err)
	}
	same(t, "RES of the card", o.Keys.RES, v.Keys.RES)
	if got, err := p.VerifyAUTS(rand, auts); err != nil || got != sqn {
		t.Errorf("opening AUTS: %x, %v", got, err)
	}
	for i := range v.AUTN {
		bad := v.AUTN
		bad[i] ^= 4
		if _, err := p.Open(rand, bad); !errors.Is(err, ErrMAC) {
			t.Errorf("AUTN with byte %d changed: %v", i, err)
		}
	}
	for i := range auts {
		bad := auts
		bad[i] ^= 4
		if _, err := p.VerifyAUTS(rand, bad); !errors.Is(err, ErrMAC) {
			t.Errorf("AUTS with byte %d changed: %v", i, err)
		}
	}
}

// The dialogue of network and card: a fresh number, the same again, and a forged one.
func TestWideAuthenticate(t *testing.T) {
	t.Parallel()
	tuak, err := NewTuak(make([]byte, 16), make([]byte, 32), DefaultTuakParams())
	if err != nil {
		t.Fatal(err)
	}
	xor, err := NewXOR(make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]protocol{"tuak": tuak, "xor": xor} {
		arr := NewSQNArray(DefaultSQNPolicy())
		rand, sqn := Rand{1, 2, 3}, SQNOf(7<<5|3)
		v, err := p.BuildVector(rand, sqn, AMF{0x80})
		if err != nil {
			t.Fatal(err)
		}
		bad := v.AUTN
		bad[15] ^= 1
		if _, err := p.Authenticate(rand, bad, arr); !errors.Is(err, ErrMAC) || arr.Highest() != (SQN{}) {
			t.Errorf("%s: wrong MAC: %v, highest %x", name, err, arr.Highest())
		}
		a, err := p.Authenticate(rand, v.AUTN, arr)
		if err != nil || a.Resync {
			t.Errorf("%s: first: %v, resync %v", name, err, a.Resync)
		}
		same(t, name+" RES", a.Keys.RES, v.Keys.RES)
		a, err = p.Authenticate(rand, v.AUTN, arr)
		if err != nil || !a.Resync || a.Keys.RES != nil {
			t.Errorf("%s: second: %v, resync %v", name, err, a.Resync)
		}
		if got, err := p.VerifyAUTS(rand, a.AUTS); err != nil || got != sqn {
			t.Errorf("%s: AUTS says %x, %v", name, got, err)
		}
	}
}

func TestXORVectors(t *testing.T) {
	t.Parallel()
	var r struct {
		XOR2G []struct{ Ki, Rand, SRES, Kc reftest.Hex }
		XOR3G []struct {
			K, Rand, SQN, AMF, RES, CK, IK, AK, AUTN, SRES reftest.Hex
			MAC                                            reftest.Hex `json:"mac_a"`
			AUTS                                           reftest.Hex `json:"auts_for_sqnms_eq_sqn"`
		}
	}
	reftest.Vectors(t, "xor.json", &r)
	if len(r.XOR2G) != 2 || len(r.XOR3G) != 2 {
		t.Fatalf("read %d and %d sets", len(r.XOR2G), len(r.XOR3G))
	}
	for _, s := range r.XOR2G {
		x, err := NewXOR(s.Ki)
		if err != nil {
			t.Fatal(err)
		}
		sres, kc := x.GSM(Rand(s.Rand))
		same(t, "SRES", sres[:], s.SRES)
		same(t, "Kc", kc[:], s.Kc)
	}
	for _, s := range r.XOR3G {
		x, err := NewXOR(s.K)
		if err != nil {
			t.Fatal(err)
		}
		rand, sqn, amf := Rand(s.Rand), SQN(s.SQN), AMF(s.AMF)
		v, err := x.BuildVector(rand, sqn, amf)
		if err != nil {
			t.Fatal(err)
		}
		auts, err := x.BuildAUTS(rand, sqn)
		if err != nil {
			t.Fatal(err)
		}
		sres, err := v.Keys.SRES()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			what      string
			got, want []byte
		}{{"RES", v.Keys.RES, s.RES}, {"CK", v.Keys.CK, s.CK}, {"IK", v.Keys.IK, s.IK}, {"AK", v.Keys.AK[:], s.AK},
			{"MAC", x.F1(rand, sqn, amf), s.MAC}, {"AUTN", v.AUTN[:], s.AUTN}, {"SRES", sres[:], s.SRES}, {"AUTS", auts[:], s.AUTS}} {
			same(t, c.what, c.got, c.want)
		}
		checkTokens(t, x, rand, sqn, amf, 64)
	}
}

// The conversions to GSM are those of Keys, and refuse what they are not defined for.
func TestWideGSM(t *testing.T) {
	t.Parallel()
	k := mustNew(t, unhex("465b5ce8b199b49faa5f0a2ee238a6bc"), unhex("cd63cb71954a9f4e48a5994e37a02baf")).F2345(Rand(unhex("23553cbe9637a89d218ae64dae47bf35")))
	w := WideKeys{RES: k.RES[:], CK: k.CK[:], IK: k.IK[:]}
	sres, err := w.SRES()
	if err != nil || sres != k.SRES() || hex.EncodeToString(sres[:]) != "46f8416a" { // TS 55.205 test set 1
		t.Errorf("SRES %x, %v", sres, err)
	}
	kc, err := w.Kc()
	if err != nil || kc != k.Kc() || hex.EncodeToString(kc[:]) != "eae4be823af9a08b" {
		t.Errorf("Kc %x, %v", kc, err)
	}
	short := WideKeys{RES: []byte{1, 2, 3, 4}}
	if sres, err := short.SRES(); err != nil || sres != [4]byte{1, 2, 3, 4} {
		t.Errorf("SRES of a RES of 4 bytes: %x, %v", sres, err)
	}
	wide := WideKeys{RES: make([]byte, 32), CK: make([]byte, 32), IK: make([]byte, 16)}
	if _, err := wide.SRES(); !errors.Is(err, ErrNoGSM) {
		t.Error(err)
	}
	if _, err := wide.Kc(); !errors.Is(err, ErrNoGSM) {
		t.Error(err)
	}
}

// Operator's own constants: every rotation and constant differs from the default, and the outputs were computed by another
// program from the formulas of TS 35.206 §4.1, with the K, RAND, SQN, AMF and OP of test set 1.
func TestOwnConstantsKnownAnswers(t *testing.T) {
	t.Parallel()
	con := Constants{R: [5]byte{8, 3, 17, 77, 127}, C: [5][16]byte{{15: 3}, {15: 7}, {1: 0x80}, {15: 0x10}, {7: 0xE0}}}
	m, err := NewFromOP(unhex("465b5ce8b199b49faa5f0a2ee238a6bc"), unhex("cdc202d5123e20f62b6d676ac72cb318"), con)
	if err != nil {
		t.Fatal(err)
	}
	rand, sqn, amf := Rand(unhex("23553cbe9637a89d218ae64dae47bf35")), SQN(unhex("ff9bb4d0b607")), AMF{0xb9, 0xb9}
	f1, f1s, k, f5s := m.F1(rand, sqn, amf), m.F1Star(rand, sqn, amf), m.F2345(rand), m.F5Star(rand)
	same(t, "f1", f1[:], unhex("3b5e6ad34803a92e"))
	same(t, "f1*", f1s[:], unhex("7bc93dba7fac3742"))
	same(t, "f2", k.RES[:], unhex("09b448c0cbfa663a"))
	same(t, "f3", k.CK[:], unhex("53e448394a8fefaa794842c3a4ace337"))
	same(t, "f4", k.IK[:], unhex("83ce2f26f5a814b4d43b523d50217a90"))
	same(t, "f5", k.AK[:], unhex("d1ddd1c871ba"))
	same(t, "f5*", f5s[:], unhex("f9a22b697f64"))

	if m, err = NewFromOP(unhex("465b5ce8b199b49faa5f0a2ee238a6bc"), unhex("cdc202d5123e20f62b6d676ac72cb318"), DefaultConstants()); err != nil {
		t.Fatal(err)
	}
	f1 = m.F1(rand, sqn, amf)
	same(t, "f1 of test set 1", f1[:], unhex("4a9ffac354dfafb3"))
	if _, err := NewFromOP(make([]byte, 16), make([]byte, 15), con); !errors.Is(err, ErrKeyLength) {
		t.Errorf("OP of 15 bytes: %v", err)
	}
}

func TestUnsafeConstants(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*Constants){
		"c1 odd":                 func(c *Constants) { c.C[0][15] = 1 },
		"c3 even":                func(c *Constants) { c.C[2][15] = 3 },
		"c5 zero":                func(c *Constants) { c.C[4] = [16]byte{} },
		"two functions the same": func(c *Constants) { c.R[2], c.C[2] = c.R[4], c.C[4] },
	} {
		con := DefaultConstants()
		spoil(&con)
		if _, err := NewWithConstants(make([]byte, 16), make([]byte, 16), con); !errors.Is(err, ErrConstants) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// The two facts that the parity of the constants rests on (Constants): IN1 is even, and no rotation changes a parity.
func TestParityKeepsFunctionsApart(t *testing.T) {
	t.Parallel()
	even := func(b [16]byte) bool { return !odd(b) }
	for half := range 200 {
		var in1 [16]byte
		for i := range 8 {
			in1[i], in1[i+8] = byte(half*(i+3)), byte(half*(i+3))
		}
		if !even(in1) || !even(rotateLeft(in1, byte(half%128))) {
			t.Fatalf("a block of two equal halves has odd parity: %x", in1)
		}
	}
	x := [16]byte{3: 0x77, 9: 0x13}
	for r := range byte(128) {
		if odd(rotateLeft(x, r)) != odd(x) {
			t.Fatalf("rotating by %d changes the parity", r)
		}
	}
}

func TestTuakRefusals(t *testing.T) {
	t.Parallel()
	good := DefaultTuakParams()
	if _, err := NewTuak(make([]byte, 32), make([]byte, 32), good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*TuakParams){
		"MAC of 32": func(p *TuakParams) { p.MAC = 32 }, "RES of 16": func(p *TuakParams) { p.RES = 16 }, "CK of 64": func(p *TuakParams) { p.CK = 64 },
		"IK of 512": func(p *TuakParams) { p.IK = 512 }, "no iteration": func(p *TuakParams) { p.Iterations = 0 },
		"256 iterations": func(p *TuakParams) { p.Iterations = MaxTuakIterations + 1 },
	} {
		p := good
		spoil(&p)
		if _, err := NewTuak(make([]byte, 16), make([]byte, 32), p); !errors.Is(err, ErrTuakParams) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, n := range []int{0, 15, 17, 24, 31, 33} {
		if _, err := NewTuak(make([]byte, n), make([]byte, 32), good); !errors.Is(err, ErrKeyLength) {
			t.Errorf("K of %d bytes: %v", n, err)
		}
		if _, err := TOPc(make([]byte, 16), make([]byte, n), 1); !errors.Is(err, ErrKeyLength) {
			t.Errorf("TOP of %d bytes: %v", n, err)
		}
		if _, err := NewXOR(make([]byte, n)); !errors.Is(err, ErrKeyLength) {
			t.Errorf("XOR with K of %d bytes: %v", n, err)
		}
	}
}

func TestWideKeysDoNotPrint(t *testing.T) {
	t.Parallel()
	u, err := NewTuak(make([]byte, 16), make([]byte, 32), DefaultTuakParams())
	if err != nil {
		t.Fatal(err)
	}
	v, err := u.BuildVector(Rand{}, SQN{}, AMF{})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []any{u, *u, v, v.Keys, WideOpened{Keys: v.Keys}, XOR{k: [16]byte(v.Keys.CK)}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			if got := fmt.Sprintf(verb, x); !strings.Contains(got, redacted) || strings.Contains(got, hex.EncodeToString(v.Keys.CK[:4])) {
				t.Errorf("%s of %T prints %q", verb, x, got)
			}
		}
	}
	ck := v.Keys.CK
	v.Keys.Wipe()
	if string(ck) != strings.Repeat("\x00", 16) || v.Keys.RES != nil {
		t.Error("wiping leaves something")
	}
	u.Wipe()
	if u.topc != [32]byte{} || u.k != [32]byte{} || u.h != nil {
		t.Error("wiping leaves something")
	}
}

// A card and a network with any RAND, K, TOPc and SQN understand one another.
func FuzzTuak(f *testing.F) {
	f.Add([]byte(strings.Repeat("k", 80)), uint64(33), byte(1))
	f.Add(make([]byte, 96), uint64(1)<<47, byte(3))
	f.Fuzz(func(t *testing.T, in []byte, n uint64, iterations byte) {
		if len(in) < 16+32+16 {
			return
		}
		p := DefaultTuakParams()
		p.Iterations = int(iterations%4) + 1
		u, err := NewTuak(in[:16], in[16:48], p)
		if err != nil {
			t.Fatal(err)
		}
		checkTokens(t, u, Rand(in[48:64]), SQNOf(n), AMF{0x80}, 64)
	})
}
