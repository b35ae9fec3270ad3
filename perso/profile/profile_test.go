package profile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/saip"
)

const shipped = "../../deploy/profiles"

func bootstrap(t testing.TB) *saip.Package {
	t.Helper()
	p, err := Open(os.DirFS(shipped)).Get("bootstrap")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func algorithm(t testing.TB, s string) auth.Algorithm {
	t.Helper()
	a, err := auth.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A package that is as the order wants it stays as it is, byte by byte.
func TestPrepareLeavesAlone(t *testing.T) {
	t.Parallel()
	p := bootstrap(t)
	none := POL1{}
	for _, pol1 := range []*POL1{nil, &none} {
		out, err := Prepare(p, Terms{Algorithm: auth.Default(), POL1: pol1})
		if err != nil || !bytes.Equal(out.Bytes(), p.Bytes()) {
			t.Errorf("rules %v: %v", pol1, err)
		}
	}
}

// Whatever algorithm an order names, the prepared package has it, and the list of services that goes with it.
func TestPrepareAlgorithms(t *testing.T) {
	t.Parallel()
	rules, err := ParsePOL1([]string{NoDelete})
	if err != nil {
		t.Fatal(err)
	}
	for text, service := range map[string]string{
		"milenage": "milenage", "milenage key=opc": "milenage", "tuak k=128": "tuak128", "tuak k=256 key=topc": "tuak256",
		"tuak k=256 res=128 ck=256 ik=256 iterations=2": "tuak256", "tuak k=128 res=32": "tuak128",
		"milenage r=4001204060 c=" + strings.Repeat("00", 31) + "01" + strings.Repeat("00", 15) + "02" + strings.Repeat("00", 15) + "04" + strings.Repeat("00", 15) + "08": "milenage",
	} {
		a := algorithm(t, text)
		p, err := Prepare(bootstrap(t), Terms{Algorithm: a, POL1: &rules})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		template, err := Ready(p, a)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := POL1Of(template.Policy()); !slices.Equal(got.Rules(), []string{NoDelete}) {
			t.Errorf("%s: rules %v", text, got.Rules())
		}
		if h := p.Header(); !slices.Contains(h.Services, service) || len(h.Services) != 3 {
			t.Errorf("%s: services %v", text, h.Services)
		}
		for _, u := range []int{a.KBytes(), a.OPBytes()} {
			name := map[bool]string{true: "usim.key", false: "usim.opc"}[u == a.KBytes() && u != a.OPBytes() || u == 16]
			if i, ok := template.Slot(name); !ok || a.KBytes() != a.OPBytes() && template.Slots()[i].Length != u {
				t.Errorf("%s: slot %s", text, name)
			}
		}
		if _, err := Ready(p, algorithm(t, "tuak k=128 iterations=7")); err == nil {
			t.Errorf("%s: another algorithm is not found out", text)
		}
	}
}

func TestReadyRefuses(t *testing.T) {
	t.Parallel()
	good := bootstrap(t)
	b := good.Bytes()
	change := func(find, replace string) *saip.Package {
		t.Helper()
		out := bytes.Replace(bytes.Clone(b), []byte(find), []byte(replace), 1)
		if bytes.Equal(out, b) {
			t.Fatalf("%X is not in the package", find)
		}
		p, err := saip.Decode(out)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	chip, _ := good.Expand()
	var pin1 saip.PIN
	for _, p := range chip.PINs {
		if p.Ref == 1 {
			pin1 = p
		}
	}
	if pin1.Attributes&saip.PINEnabled != 0 {
		t.Fatal("the shipped profile asks for PIN1")
	}
	points, err := good.Points()
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for _, pt := range points {
		if pt.Slot == "pin.01" {
			at = pt.Offset + pt.Length
		}
	}
	i := bytes.Index(b[at:], []byte{0x83, 0x01, byte(pin1.Attributes)}) // pinAttributes
	if i < 0 {
		t.Fatal("no attributes behind PIN1")
	}
	out := bytes.Clone(b)
	out[at+i+2] |= saip.PINEnabled
	asked, err := saip.Decode(out)
	if err != nil {
		t.Fatal(err)
	}
	for want, p := range map[string]*saip.Package{"asks for PIN1": asked, "does not authenticate by": change("\x80\x01\x01\x81\x01\x02", "\x80\x01\x01\x81\x01\x07")} {
		if _, err := Ready(p, auth.Default()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// The catalogue is read when it is asked, names what is wrong with its place, and looks nowhere else.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	good, err := os.ReadFile(shipped + "/bootstrap.der")
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{"good.der": {Data: good}, "cut.der": {Data: good[:len(good)-2]}, "long.der": {Data: make([]byte, MaxBytes+1)}, "bad name.der": {}, "note.txt": {}}
	c := Open(files)
	if _, err := c.Get("good"); err != nil {
		t.Error(err)
	}
	if got := c.Names(); !slices.Equal(got, []perso.Name{"cut", "good", "long"}) {
		t.Errorf("names %v", got)
	}
	files["late.der"] = &fstest.MapFile{Data: good}
	if _, err := c.Get("late"); err != nil {
		t.Error(err)
	}
	for name, want := range map[perso.Name]string{"cut": "byte ", "long": "more than"} {
		if _, err := c.Get(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, c := range []Catalogue{c, {}} {
		if _, err := c.Get("none"); !errors.Is(err, ErrUnknown) || errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%v", err)
		}
	}
}

func TestPOL1(t *testing.T) {
	t.Parallel()
	for words, want := range map[string]int{"none": 0, NoDisable: 1, NoDelete: 2, NoDisable + " " + NoDelete: 3, DeleteAfter: 4, NoDelete + " " + DeleteAfter: -1, "none " + NoDelete: -1, "never": -1, NoDelete + " " + NoDelete: -1} {
		p, err := ParsePOL1(strings.Fields(words))
		if (err != nil) != (want < 0) || err == nil && (int(p.Byte()) != want || POL1Of(p.Byte()) != p) {
			t.Errorf("%s: %02X, %v", words, p.Byte(), err)
		}
	}
}

// What was prepared is given again; a package that was replaced meanwhile, other terms and a package that is no good are not mistaken for it.
func TestPrepared(t *testing.T) {
	t.Parallel()
	sent := bootstrap(t).Bytes()
	folder := fstest.MapFS{"sent.der": {Data: sent}}
	c, usual := Open(folder), Terms{Algorithm: auth.Default()}
	first, err := c.Prepared("sent", usual)
	if err != nil || !bytes.Equal(first.Package.Bytes(), sent) {
		t.Fatal(err)
	}
	if again, err := c.Prepared("sent", usual); err != nil || again != first {
		t.Errorf("it was prepared anew: %v", err)
	}
	rules, err := ParsePOL1([]string{NoDelete})
	if err != nil {
		t.Fatal(err)
	}
	tuak := algorithm(t, "tuak k=256")
	for _, terms := range []Terms{{Algorithm: tuak}, {Algorithm: auth.Default(), POL1: &rules}} {
		if other, err := c.Prepared("sent", terms); err != nil || bytes.Equal(other.Package.Bytes(), sent) {
			t.Errorf("on other terms: %v", err)
		}
	}
	folder["sent.der"] = &fstest.MapFile{Data: sent[:len(sent)-1]}
	if _, err := c.Prepared("sent", usual); err == nil {
		t.Error("what is there now is no package, and was prepared")
	}
	delete(folder, "sent.der")
	if _, err := c.Prepared("sent", usual); !errors.Is(err, ErrUnknown) {
		t.Errorf("there is none any more: %v", err)
	}
	if _, err := (Catalogue{}).Prepared("sent", usual); !errors.Is(err, ErrUnknown) {
		t.Errorf("without a folder: %v", err)
	}
	folder["sent.der"] = &fstest.MapFile{Data: sent}
	for i := range 2 * maxPrepared {
		a := algorithm(t, fmt.Sprintf("tuak k=256 iterations=%d", 2+i%maxPrepared))
		if _, err := c.Prepared("sent", Terms{Algorithm: a}); err != nil {
			t.Fatal(err)
		}
		if n := len(c.kept.all); n > maxPrepared {
			t.Fatalf("%d packages are kept", n)
		}
	}
}
