package script

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/tlv"
)

// fakeBinder gives each variable and form bytes of its own, and remembers what it was asked.
type fakeBinder struct {
	sizes map[string]int
	asked []string
	err   error
}

func newFakeBinder(vars Catalogue) *fakeBinder {
	b := &fakeBinder{sizes: map[string]int{}}
	for name, v := range vars {
		b.sizes[name] = v.Len
	}
	return b
}

func (b *fakeBinder) Bind(dst []byte, form Form, name string) ([]byte, error) {
	b.asked = append(b.asked, string(form)+":"+name)
	if b.err != nil {
		return nil, b.err
	}
	return append(dst, b.value(form, name)...), nil
}

func (b *fakeBinder) value(form Form, name string) []byte {
	n := b.sizes[name]
	if form == KCV {
		n = kcvBytes
	}
	sum := sha256.Sum256([]byte(string(form) + ":" + name))
	return bytes.Repeat(sum[:], n/len(sum)+1)[:n]
}

func productBinder() *fakeBinder { return newFakeBinder(StandardCatalogue(smsrAddrLen, certLen)) }

func none(s *Script, act int) []bool { return make([]bool, len(s.Acts[act])) }

func rendered(t *testing.T, s *Script, act int, b Binder) map[string]apdu.Command {
	t.Helper()
	commands, err := s.Render(act, none(s, act), b)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]apdu.Command{}
	for _, c := range commands {
		all[c.Step.Label] = c.APDU
	}
	return all
}

func TestRenderPutKey(t *testing.T) {
	t.Parallel()
	b := productBinder()
	c := rendered(t, product(t), 1, b)["isd-keys#1"]
	want := []byte{0x80, 0xD8, 0x00, 0x81, 0x46, 0x30}
	for _, key := range []string{"ISD.ENC", "ISD.MAC", "ISD.DEK"} {
		want = append(want, 0x88, 0x11, 0x10)
		want = append(want, b.value(DEK, key)...)
		want = append(want, 0x03)
		want = append(want, b.value(KCV, key)...)
	}
	want = append(want, 0x00)
	if got := c.Bytes(); !bytes.Equal(got, want) {
		t.Errorf("PUT KEY\n got %X\nwant %X", got, want)
	}
}

// TestRenderDGIs reads rendered STORE DATA with the project's own reader of data groupings and TLVs.
func TestRenderDGIs(t *testing.T) {
	t.Parallel()
	b := productBinder()
	all := rendered(t, product(t), 1, b)
	groupings, err := tlv.ParseDGIs(all["isdr-keys#2"].Data)
	if err != nil {
		t.Fatal(err)
	}
	if len(groupings) != 6 {
		t.Fatalf("%d data groupings, want 6", len(groupings))
	}
	for i, key := range []string{"OTA.KIC", "OTA.KID", "OTA.KIK"} {
		crt, value := groupings[2*i], groupings[2*i+1]
		if crt.ID != 0x00B9 || value.ID != 0x8113 || !bytes.Equal(value.Value, b.value(DEK, key)) {
			t.Errorf("key %d: %04X, %04X %X", i, crt.ID, value.ID, value.Value)
		}
		for tag, want := range map[uint32][]byte{0x80: {0x88}, 0x81: {0x10}, 0x82: {byte(i + 1)}, 0x83: {0x01}, 0x84: b.value(KCV, key)} {
			if got, found, err := tlv.Find(crt.Value, tag); err != nil || !found || !bytes.Equal(got, want) {
				t.Errorf("key %d tag %X: %X %v %v, want %X", i, tag, got, found, err, want)
			}
		}
	}
	cert, err := tlv.ParseDGIs(rendered(t, product(t), 2, b)["ecasd-cert#2"].Data)
	if err != nil || len(cert) != 1 {
		t.Fatalf("certificate: %v %v", cert, err)
	}
	if got, found, err := tlv.Find(cert[0].Value, 0x7F21); err != nil || !found || !bytes.Equal(got, b.value(Public, "CERT")) {
		t.Errorf("certificate %X %v %v", got, found, err)
	}
}

// TestStoreIsCut: a certificate too long for one block, and the blocks put together again.
func TestStoreIsCut(t *testing.T) {
	t.Parallel()
	const long = 700
	vars := Catalogue{"AID": {Len: 16}, "BIG": {Len: long}}
	src := with(10, `big: .STORE MODE=dgi <0070 <d 7F21 <{BIG}>>> (9000)`)
	s, b := mustCompile(t, src, vars), newFakeBinder(vars)
	commands, err := s.Render(1, none(s, 1), b)
	if err != nil {
		t.Fatal(err)
	}
	var joined []byte
	for i, want := range []struct {
		label string
		p1    byte
		size  int
	}{{"big", 0x08, 239}, {"big/2", 0x08, 239}, {"big/3", 0x88, long + 10 - 2*239}} {
		c := commands[1+i]
		if c.Step.Label != want.label || c.APDU.P1 != want.p1 || c.APDU.P2 != byte(i) || len(c.APDU.Data) != want.size {
			t.Errorf("block %d: %s %X %d bytes, want %+v", i, c.Step.Label, c.Step.Header, len(c.APDU.Data), want)
		}
		joined = append(joined, c.APDU.Data...)
	}
	dgis, err := tlv.ParseDGIs(joined)
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := tlv.Find(dgis[0].Value, 0x7F21); err != nil || !bytes.Equal(got, b.value(Public, "BIG")) {
		t.Errorf("blocks do not join: %v", err)
	}
	Wipe(commands)
	for _, c := range commands {
		if !bytes.Equal(c.APDU.Data, make([]byte, len(c.APDU.Data))) {
			t.Errorf("%s is not wiped", c.Step.Label)
		}
	}
}

func TestRenderRefusals(t *testing.T) {
	t.Parallel()
	s := product(t)
	if _, err := s.Render(3, nil, nil); !errors.Is(err, ErrAct) {
		t.Errorf("act 3: %v", err)
	}
	if _, err := s.Render(1, nil, nil); !errors.Is(err, ErrAct) {
		t.Errorf("no decisions: %v", err)
	}
	b := productBinder()
	b.sizes["KI"] = 15
	if _, err := s.Render(1, none(s, 1), b); !errors.Is(err, ErrVariable) {
		t.Errorf("short variable: %v", err)
	}
	b.err = errors.New("token gone")
	if _, err := s.Render(1, none(s, 1), b); !errors.Is(err, b.err) {
		t.Errorf("binder error: %v", err)
	}
}

func TestSkipSectionsAreNotBound(t *testing.T) {
	t.Parallel()
	s, b := product(t), productBinder()
	skip := none(s, 0)
	for i := range skip {
		skip[i] = s.Acts[0][i].Name != "stamp"
	}
	commands, err := s.Render(0, skip, b)
	if err != nil {
		t.Fatal(err)
	}
	if len(commands) != 2 || !slices.Equal(b.asked, []string{"public:AID.ISD", "public:STAMP"}) {
		t.Errorf("%d commands, bound %v", len(commands), b.asked)
	}
}

func TestIdentifyWindow(t *testing.T) {
	t.Parallel()
	w := product(t).IdentifyWindow()
	if len(w) != 2 || fmt.Sprintf("%X %s", w[0].APDU, w[0].SW) != "00A4040008A00000015100000000 9000" || fmt.Sprintf("%X", w[1].APDU) != "80CA9F7F00" {
		t.Errorf("window %X", w)
	}
	if err := w.Check(); err != nil {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	s, b := product(t), productBinder()
	steps := map[string]*Step{}
	s.walk(func(_ int, _ *Section, st *Step) { steps[st.Label] = st })
	keys := steps["v.keys"]
	good := slices.Concat([]byte{0xDF, 0x26, 7}, b.value(Public, "AKA"), b.value(KCV, "KI"), b.value(KCV, "OPC"), []byte{0xDF, 0x27, 8}, b.value(Public, "PINCHECK"))
	spoilt := func(i int) []byte {
		c := bytes.Clone(good)
		c[i] ^= 1
		return c
	}
	for _, c := range []struct {
		name  string
		data  []byte
		sw    apdu.SW
		why   Why
		at    int
		asked int
	}{
		{"right", good, 0x9000, "", 0, 4},
		{"status", good, 0x6A88, WhyStatus, 0, 0},
		{"short", good[:5], 0x9000, WhyLength, 5, 0},
		{"tag", spoilt(1), 0x9000, WhyData, 0, 0},
		{"algorithm", spoilt(3), 0x9000, WhyData, 3, 1},
		{"Ki", spoilt(5), 0x9000, WhyData, 4, 2},
		{"OPc", spoilt(9), 0x9000, WhyData, 7, 3},
		{"PINs", spoilt(len(good) - 1), 0x9000, WhyData, 13, 4},
	} {
		b.asked = nil
		err := keys.Check(c.data, c.sw, b)
		var wrong *StepError
		switch {
		case c.why == "" && err != nil, c.why != "" && !errors.As(err, &wrong):
			t.Errorf("%s: %v", c.name, err)
		case wrong != nil && (wrong.Why != c.why || wrong.At != c.at || wrong.Label != "v.keys" || wrong.Index != keys.Index || wrong.SW != c.sw):
			t.Errorf("%s: %+v", c.name, wrong)
		}
		if err != nil && !strings.HasPrefix(err.Error(), `checking step "v.keys": `) {
			t.Errorf("%s: error text %q", c.name, err)
		}
		if len(b.asked) != c.asked {
			t.Errorf("%s: bound %v, want %d variables", c.name, b.asked, c.asked)
		}
	}
	auts := append([]byte{0xDC, 0x0E}, bytes.Repeat([]byte{7}, 14)...)
	if err := steps["auth"].Check(auts, 0x9000, nil); err != nil {
		t.Errorf("AUTS: %v", err)
	}
	auts[0] = 0xDB
	if err := steps["auth"].Check(auts, 0x9000, nil); err == nil {
		t.Error("RES passed for AUTS")
	}
}

func BenchmarkRender(bench *testing.B) {
	s, b := product(bench), constantBinder(productBinder().sizes)
	for act := 1; act < len(s.Acts); act++ {
		skip := none(s, act)
		bench.Run(fmt.Sprintf("act%d", act), func(bench *testing.B) {
			bench.ReportAllocs()
			for bench.Loop() {
				commands, err := s.Render(act, skip, b)
				if err != nil {
					bench.Fatal(err)
				}
				Wipe(commands)
			}
		})
	}
}

// constantBinder has the sizes of the catalogue and costs next to nothing, so that the benchmark measures Render.
type constantBinder map[string]int

func (c constantBinder) Bind(dst []byte, form Form, name string) ([]byte, error) {
	n := c[name]
	if form == KCV {
		n = kcvBytes
	}
	return append(dst, zeros[:n]...), nil
}

var zeros [1024]byte
