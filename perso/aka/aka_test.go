package aka

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/reftest"
)

type vectorSet struct {
	Set                                int
	K, Rand, SQN, AMF, OP, OPc         reftest.Hex
	F1, F1Star, F2, F3, F4, F5, F5Star reftest.Hex
	Computed                           struct {
		AUTN reftest.Hex
		AUTS reftest.Hex `json:"auts_for_sqnms_eq_sqn"`
		Kc   reftest.Hex `json:"kc_3g"`
		SRES reftest.Hex `json:"sres_3g"`
	}
}

type reference struct {
	TS35208 []vectorSet `json:"ts35_208_sets"`
	TS35207 []vectorSet `json:"ts35_207_sets"`
	TS55205 []struct {
		Set                             int
		Ki, Rand, OPc, SRES1, SRES2, Kc reftest.Hex
	} `json:"ts55_205_gsm_milenage_sets"`
	Card struct {
		K, OP, OPc, Rand, AUTN, SQN, RES, CK, IK, Kc reftest.Hex
	} `json:"card_authenticate"`
	AUTS struct {
		K, OPc, Rand, AUTS reftest.Hex
		SQN                reftest.Hex `json:"sqn_ms"`
	} `json:"auts_sample"`
}

func loadReference(t *testing.T) reference {
	t.Helper()
	var r reference
	reftest.Vectors(t, "milenage.json", &r)
	if len(r.TS35208) != 20 || len(r.TS35207) != 6 || len(r.TS55205) != 19 {
		t.Fatalf("read %d, %d and %d sets", len(r.TS35208), len(r.TS35207), len(r.TS55205))
	}
	return r
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %x, want %x", what, got, want)
	}
}

func mustNew(t testing.TB, k, opc []byte) *Milenage {
	t.Helper()
	m, err := New(k, opc)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestPublishedSets(t *testing.T) {
	t.Parallel()
	r := loadReference(t)
	for name, sets := range map[string][]vectorSet{"35.208": r.TS35208, "35.207": r.TS35207} {
		for _, s := range sets {
			t.Run(fmt.Sprintf("%s/%d", name, s.Set), func(t *testing.T) {
				t.Parallel()
				checkSet(t, s)
			})
		}
	}
}

func checkSet(t *testing.T, s vectorSet) {
	opc, err := OPc(s.K, s.OP)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "OPc", opc[:], s.OPc)
	m := mustNew(t, s.K, opc[:])
	rand, sqn, amf := Rand(s.Rand), SQN(s.SQN), AMF(s.AMF)
	f1, f1s, k, f5s := m.F1(rand, sqn, amf), m.F1Star(rand, sqn, amf), m.F2345(rand), m.F5Star(rand)
	same(t, "f1", f1[:], s.F1)
	same(t, "f1*", f1s[:], s.F1Star)
	same(t, "f2", k.RES[:], s.F2)
	same(t, "f3", k.CK[:], s.F3)
	same(t, "f4", k.IK[:], s.F4)
	same(t, "f5", k.AK[:], s.F5)
	same(t, "f5*", f5s[:], s.F5Star)
	kc, sres := k.Kc(), k.SRES()
	same(t, "Kc", kc[:], s.Computed.Kc)
	same(t, "SRES", sres[:], s.Computed.SRES)
	autn, auts := m.BuildAUTN(rand, sqn, amf), m.BuildAUTS(rand, sqn)
	same(t, "AUTN", autn[:], s.Computed.AUTN)
	same(t, "AUTS", auts[:], s.Computed.AUTS)

	o, err := m.Open(rand, autn)
	if err != nil || o.SQN != sqn || o.AMF != amf || o.Keys != k {
		t.Errorf("opening AUTN: %x, %v", o.SQN, err)
	}
	if got, err := m.VerifyAUTS(rand, auts); err != nil || got != sqn {
		t.Errorf("opening AUTS: %x, %v", got, err)
	}
}

func TestGSMSets(t *testing.T) {
	t.Parallel()
	for _, s := range loadReference(t).TS55205 {
		k := mustNew(t, s.Ki, s.OPc).F2345(Rand(s.Rand))
		kc, sres1, sres2 := k.Kc(), k.SRES(), k.SRES2()
		same(t, fmt.Sprintf("set %d SRES#1", s.Set), sres1[:], s.SRES1)
		same(t, fmt.Sprintf("set %d SRES#2", s.Set), sres2[:], s.SRES2)
		same(t, fmt.Sprintf("set %d Kc", s.Set), kc[:], s.Kc)
	}
}

// The answer of a real card, and a resynchronisation token of another implementation.
func TestForeignAnswers(t *testing.T) {
	t.Parallel()
	r := loadReference(t)
	c := r.Card
	opc, err := OPc(c.K, c.OP)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "OPc", opc[:], c.OPc)
	m := mustNew(t, c.K, opc[:])
	arr := NewSQNArray(DefaultSQNPolicy())
	a, err := m.Authenticate(Rand(c.Rand), AUTN(c.AUTN), arr)
	if err != nil || a.Resync {
		t.Fatalf("authenticating: resync %v, %v", a.Resync, err)
	}
	kc := a.Keys.Kc()
	same(t, "RES", a.Keys.RES[:], c.RES)
	same(t, "CK", a.Keys.CK[:], c.CK)
	same(t, "IK", a.Keys.IK[:], c.IK)
	same(t, "Kc", kc[:], c.Kc)
	if arr.Highest() != SQN(c.SQN) {
		t.Errorf("highest is %x", arr.Highest())
	}

	s := r.AUTS
	m = mustNew(t, s.K, s.OPc)
	if got, err := m.VerifyAUTS(Rand(s.Rand), AUTS(s.AUTS)); err != nil || got != SQN(s.SQN) {
		t.Errorf("opening AUTS: %x, %v", got, err)
	}
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	m := mustNew(t, make([]byte, 16), make([]byte, 16))
	arr := NewSQNArray(DefaultSQNPolicy())
	rand, sqn := Rand{1, 2, 3}, SQNOf(7<<5|3)
	autn := m.BuildAUTN(rand, sqn, AMF{0x80, 0})

	bad := autn
	bad[15] ^= 1
	if _, err := m.Authenticate(rand, bad, arr); !errors.Is(err, ErrMAC) || arr.Highest() != (SQN{}) {
		t.Fatalf("wrong MAC: %v, highest %x", err, arr.Highest())
	}
	if a, err := m.Authenticate(rand, autn, arr); err != nil || a.Resync || a.Keys != m.F2345(rand) {
		t.Fatalf("first: %v, resync %v", err, a.Resync)
	}
	a, err := m.Authenticate(rand, autn, arr)
	if err != nil || !a.Resync || a.Keys != (Keys{}) {
		t.Fatalf("second: %v, resync %v", err, a.Resync)
	}
	if got, err := m.VerifyAUTS(rand, a.AUTS); err != nil || got != sqn {
		t.Errorf("AUTS says %x, %v", got, err)
	}
	for i := range a.AUTS {
		forged := a.AUTS
		forged[i] ^= 0x10
		if _, err := m.VerifyAUTS(rand, forged); !errors.Is(err, ErrMAC) {
			t.Errorf("AUTS with byte %d changed: %v", i, err)
		}
	}
}

func TestConstants(t *testing.T) {
	t.Parallel()
	k, rand := make([]byte, 16), Rand{9}
	con := DefaultConstants()
	con.R[2] = 33 // not a whole number of bytes
	own, err := NewWithConstants(k, k, con)
	if err != nil {
		t.Fatal(err)
	}
	got, usual := own.F2345(rand), mustNew(t, k, k).F2345(rand)
	if got.CK == usual.CK || got.RES != usual.RES || got.IK != usual.IK {
		t.Error("r3 does not change f3 and only f3")
	}
	for name, spoil := range map[string]func(*Constants){
		"rotation too far": func(c *Constants) { c.R[4] = 128 },
		"two alike":        func(c *Constants) { c.R[1], c.C[1] = c.R[3], c.C[3] },
	} {
		con := DefaultConstants()
		spoil(&con)
		if _, err := NewWithConstants(k, k, con); !errors.Is(err, ErrConstants) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	in := [16]byte{0: 0x80, 15: 0x01}
	if out := rotateLeft(in, 1); out != [16]byte{15: 0x03} {
		t.Errorf("rotating by 1 bit gave %x", out)
	}
	if out := rotateLeft(in, 127); out != [16]byte{0: 0xC0} {
		t.Errorf("rotating by 127 bits gave %x", out)
	}
}

func TestKeyLength(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 15, 24, 32} {
		if _, err := New(make([]byte, n), make([]byte, 16)); !errors.Is(err, ErrKeyLength) {
			t.Errorf("K of %d bytes: %v", n, err)
		}
		if _, err := New(make([]byte, 16), make([]byte, n)); !errors.Is(err, ErrKeyLength) {
			t.Errorf("OPc of %d bytes: %v", n, err)
		}
		if _, err := OPc(make([]byte, 16), make([]byte, n)); !errors.Is(err, ErrKeyLength) {
			t.Errorf("OP of %d bytes: %v", n, err)
		}
	}
}

func TestNothingPrintsKeys(t *testing.T) {
	t.Parallel()
	k := []byte("0123456789abcdef")
	m := mustNew(t, k, k)
	v := m.BuildVector(Rand{}, SQN{}, AMF{})
	for _, x := range []any{m, *m, v, &v, v.Keys, &v.Keys, Opened{Keys: v.Keys}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			got := fmt.Sprintf(verb, x)
			if !strings.Contains(got, redacted) || strings.Contains(got, fmt.Sprintf("%x", v.Keys.CK[:4])) {
				t.Errorf("%s of %T prints %q", verb, x, got)
			}
		}
	}
	if b, err := json.Marshal(v); err != nil || !strings.Contains(string(b), `"Keys":"[redacted]"`) {
		t.Errorf("marshals as %s, %v", b, err)
	}
	m.Wipe()
	if m.opc != [16]byte{} || m.temp != [16]byte{} || m.x != [16]byte{} || m.block != nil {
		t.Error("wiping leaves something")
	}
}

// An independent implementation agrees on vectors nobody published, and reads our AUTS.
func TestAgainstOsmoAucGen(t *testing.T) {
	t.Parallel()
	const tool = "osmo-auc-gen"
	reftest.RequireTool(t, tool)
	for i := range byte(8) {
		k, opc, rand := make([]byte, 16), make([]byte, 16), Rand{}
		for j := range k {
			k[j], opc[j], rand[j] = i*31+byte(j), i*17^byte(j*5), i*7+byte(j*j)
		}
		ask := func(more ...string) string {
			args := append([]string{"-3", "-a", "MILENAGE", "-k", hex.EncodeToString(k), "-o", hex.EncodeToString(opc), "-r", hex.EncodeToString(rand[:])}, more...)
			out, err := exec.CommandContext(t.Context(), tool, args...).Output()
			if err != nil {
				t.Fatal(err)
			}
			return string(out)
		}
		sqn := uint64(i)*0x1234567 + 32
		m := mustNew(t, k, opc)
		v := m.BuildVector(rand, SQNOf(sqn), AMF{0x80})
		kc, sres := v.Keys.Kc(), v.Keys.SRES()
		out := ask("-f", "8000", "-s", fmt.Sprint(sqn))
		for name, b := range map[string][]byte{"AUTN": v.AUTN[:], "RES": v.Keys.RES[:], "CK": v.Keys.CK[:], "IK": v.Keys.IK[:], "Kc": kc[:], "SRES": sres[:]} {
			if !strings.Contains(out, "\n"+name+":\t"+hex.EncodeToString(b)+"\n") {
				t.Errorf("set %d: %s is not %x in %s", i, name, b, out)
			}
		}
		auts := m.BuildAUTS(rand, SQNOf(sqn))
		if out := ask("-f", "8000", "-A", hex.EncodeToString(auts[:])); !strings.Contains(out, fmt.Sprintf("\nSQN.MS:\t%d\n", sqn)) {
			t.Errorf("set %d: AUTS %x for %d is read as %s", i, auts, sqn, out)
		}
	}
}

func BenchmarkBuildVector(b *testing.B) {
	m := mustNew(b, make([]byte, 16), make([]byte, 16))
	b.ReportAllocs()
	for b.Loop() {
		m.BuildVector(Rand{1}, SQN{2}, AMF{})
	}
}

func BenchmarkNewAndVerifyAUTS(b *testing.B) {
	k := make([]byte, 16)
	auts := mustNew(b, k, k).BuildAUTS(Rand{1}, SQN{2})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := mustNew(b, k, k).VerifyAUTS(Rand{1}, auts); err != nil {
			b.Fatal(err)
		}
	}
}
