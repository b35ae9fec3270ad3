package saip

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/reftest"
)

// mustDecode reads a package that the test knows to be good.
func mustDecode(t testing.TB, b []byte) *Package {
	t.Helper()
	p, err := Decode(bytes.Clone(b))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustPoints(t testing.TB, p *Package) []Point {
	t.Helper()
	points, err := p.Points()
	if err != nil {
		t.Fatal(err)
	}
	return points
}

const newest = "TS48v5_SAIP2.3_BERTLV_SUCI.der"

// TestPointsAgree holds the walk against a list of offsets that another walker made.
func TestPointsAgree(t *testing.T) {
	t.Parallel()
	files := published(t)
	var list struct {
		Profiles map[string]struct {
			Points []struct {
				Field          string
				Offset, Length int
				Value          string
			} `json:"patch_points"`
		}
	}
	if reftest.Vectors(t, "saip_patch_points.json", &list); len(list.Profiles) != 2 {
		t.Fatalf("%d profiles", len(list.Profiles))
	}
	for path, want := range list.Profiles {
		file := files[filepath.Base(path)]
		points := mustPoints(t, mustDecode(t, file))
		listed := map[int]bool{}
		for _, w := range want.Points {
			listed[w.Offset] = true
			i := slices.IndexFunc(points, func(p Point) bool { return p.Offset == w.Offset })
			if i < 0 || points[i].Length != w.Length || hex.EncodeToString(file[w.Offset:w.Offset+w.Length]) != w.Value {
				t.Errorf("%s: %s at %d is not found there with %d bytes", path, w.Field, w.Offset, w.Length)
			}
		}
		if len(want.Points) != 35 {
			t.Errorf("%s: the list has %d points", path, len(want.Points))
		}
		for _, p := range points {
			if p.Class == CardValue && !listed[p.Offset] && !strings.HasPrefix(p.Name, "cdma.") {
				t.Errorf("%s: %s at %d is not in the list", path, p.Name, p.Offset)
			}
		}
	}
}

func TestPointNames(t *testing.T) {
	t.Parallel()
	for name, file := range published(t) {
		seen := map[string]bool{}
		for _, p := range mustPoints(t, mustDecode(t, file)) {
			if seen[p.Name] {
				t.Errorf("%s: %s comes twice", name, p.Name)
			}
			seen[p.Name] = true
			if (p.Slot == "") != (p.Class == LotConstant) {
				t.Errorf("%s: %s is of class %s and takes %q", name, p.Name, p.Class, p.Slot)
			}
		}
		for _, want := range []string{"header.iccid", "mf.iccid", "puk.01", "puk.81", "mf.pin.01", "mf.pin.0A", "mf.pin.0B", "telecom.pin.81", "usim.imsi", "usim.acc",
			"usim.pin.81", "csim.pin.81", "isim.pin.81", "usim.key", "usim.opc", "isim.key", "isim.opc", "isim.impi", "isim.impu", "sd.01.01", "sd.02.03", "cdma.key"} {
			if !seen[want] {
				t.Errorf("%s: there is no %s", name, want)
			}
		}
	}
}

// cardValues are values of a card that differ in every byte from the package and from one another.
func cardValues(t testing.TB, tpl *Template) Values {
	t.Helper()
	v := make(Values, len(tpl.Slots()))
	for i, s := range tpl.Slots() {
		v[i] = bytes.Repeat([]byte{0xA0 ^ byte(i)}, s.Length)
	}
	iccid, err := id.ParseICCID("8988211000000430010")
	if err != nil {
		t.Fatal(err)
	}
	imsi, err := id.ParseIMSI("001010800000208", 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := tpl.Identify(v, iccid, imsi); err != nil {
		t.Fatal(err)
	}
	return v
}

func mustCompile(t testing.TB, p *Package) *Template {
	t.Helper()
	tpl, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return tpl
}

// TestRenderChangesNothingElse patches all published packages and compares byte by byte.
func TestRenderChangesNothingElse(t *testing.T) {
	t.Parallel()
	for name, file := range everyPackage(t) {
		p := mustDecode(t, file)
		tpl := mustCompile(t, p)
		v := cardValues(t, tpl)
		out, err := tpl.Render([]byte("before"), v)
		if err != nil {
			t.Fatal(err)
		}
		if out = out[len("before"):]; len(out) != len(file) {
			t.Fatalf("%s: rendered %d bytes", name, len(out))
		}
		may := make([]bool, len(file))
		for _, pt := range mustPoints(t, p) {
			if pt.Class == CardValue {
				i, _ := tpl.Slot(pt.Slot)
				at, length := pt.Offset+pt.InnerOffset, pt.Length
				if pt.InnerLength > 0 {
					length = pt.InnerLength
				}
				if !bytes.Equal(out[at:at+length], v[i]) {
					t.Errorf("%s: %s is not what the card brought", name, pt.Name)
				}
				for j := at; j < at+length; j++ {
					may[j] = true
				}
			}
		}
		for i := range out {
			if !may[i] && out[i] != file[i] {
				t.Fatalf("%s: byte %d was changed", name, i)
			}
		}
		if _, err := Decode(out); err != nil {
			t.Errorf("%s: the rendered package: %v", name, err)
		}
	}
}

func TestRenderedNumbers(t *testing.T) {
	t.Parallel()
	tpl := mustCompile(t, mustDecode(t, published(t)[newest]))
	out, err := tpl.Render(nil, cardValues(t, tpl))
	if err != nil {
		t.Fatal(err)
	}
	chip, _ := mustDecode(t, out).Expand()
	for path, want := range map[Path]string{
		"3F00/2FE2": "988812010000400310f0", "3F00/7FD0/6F07": "080910108000002080", "3F00/7FD0/6F78": "0100",
		"3F00/7FB0/6F02": "801d" + hex.EncodeToString([]byte("001010800000208@test.3gpp.com")) + "ff",
	} {
		if got := hex.EncodeToString(chip.File(path).Content); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if got := hex.EncodeToString(chip.Header.ICCID[:]); got != "8988211000000430010f" {
		t.Errorf("the header's ICCID is %s", got)
	}
	if got := string(chip.File("3F00/7FB0/6F04").Record(1)[2:]); !strings.HasPrefix(got, "sip:001010800000208@ims.mnc001.mcc001.3gppnetwork.org") {
		t.Errorf("the first IMPU is %q", got)
	}
}

// TestTemplateHoldsNoSecret plants other digits at the place of every secret, and looks for them in the template.
func TestTemplateHoldsNoSecret(t *testing.T) {
	t.Parallel()
	for name, file := range everyPackage(t) {
		var planted [][]byte
		for i, pt := range mustPoints(t, mustDecode(t, file)) {
			if pt.Secret {
				value := file[pt.Offset : pt.Offset+pt.Length]
				for j := range value {
					value[j] = '0' + byte(i*31+j*(i+3))%10
				}
				planted = append(planted, bytes.Clone(value))
			}
		}
		tpl := mustCompile(t, mustDecode(t, file))
		for _, value := range planted {
			if !bytes.Contains(file, value) || bytes.Contains(tpl.bytes, value) {
				t.Errorf("%s: %q is in the template", name, value)
			}
		}
		if len(planted) < 14 {
			t.Errorf("%s: %d secrets found", name, len(planted))
		}
	}
}

// TestNothingPrintsSecrets: not by any verb, and not as a part of something else.
func TestNothingPrintsSecrets(t *testing.T) {
	t.Parallel()
	file := shipped(t)
	for _, pt := range mustPoints(t, mustDecode(t, file)) {
		if pt.Secret {
			copy(file[pt.Offset:pt.Offset+pt.Length], "59261483")
		}
	}
	p := mustDecode(t, file)
	chip, _ := p.Expand()
	all := struct {
		P *Package
		C *Chip
		V Values
	}{p, chip, Values{[]byte("59261483")}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		for _, one := range []any{all.P, all.V, all.C.PINs, all.C.PUKs, all.C.AKAs, all.C.Domains} {
			text := fmt.Sprintf(verb, one)
			if strings.Contains(text, "59261483") || strings.Contains(text, "3539323631343833") || strings.Contains(text, "53 57 50 54") || strings.Contains(text, "0x35, 0x39") {
				t.Errorf("%T by %s: %s", one, verb, text)
			}
		}
	}
}

func TestRenderRefuses(t *testing.T) {
	t.Parallel()
	tpl := mustCompile(t, mustDecode(t, shipped(t)))
	v := cardValues(t, tpl)
	i, _ := tpl.Slot("usim.key")
	v[i] = []byte("SECRET-too-short")[:15]
	out, err := tpl.Render(nil, v)
	if err == nil || len(out) > 0 || !strings.Contains(err.Error(), `"usim.key" has 15 bytes`) || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("a short key: %d bytes, %v", len(out), err)
	}
	if _, err := tpl.Render(nil, v[1:]); err == nil {
		t.Error("a value too few was taken")
	}
	short, err := id.ParseIMSI("00101080000020", 2)
	if err != nil {
		t.Fatal(err)
	}
	iccid, _ := id.ParseICCID("8988211000000430010")
	if err := tpl.Identify(v, iccid, short); err == nil {
		t.Error("an IMSI of 14 digits was put into texts of 15")
	}
	for number, mnc := range map[string]int{"001010800000208": 3, "001020800000208": 2} {
		other, err := id.ParseIMSI(number, mnc)
		if err != nil {
			t.Fatal(err)
		}
		if err := tpl.Identify(v, iccid, other); err == nil || strings.Contains(err.Error(), number) {
			t.Errorf("an IMSI of another network: %v", err)
		}
	}
}

func BenchmarkRender(b *testing.B) {
	tpl := mustCompile(b, mustDecode(b, published(b)[newest]))
	v := cardValues(b, tpl)
	out := make([]byte, 0, tpl.Len())
	b.SetBytes(int64(tpl.Len()))
	for b.Loop() {
		var err error
		if out, err = tpl.Render(out[:0], v); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecode is what a card would cost without a template: read, check, and write.
func BenchmarkDecode(b *testing.B) {
	file := published(b)[newest]
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		p, err := Decode(file)
		if err != nil || len(p.Check().Refusing()) > 0 || len(p.Encode()) != len(file) {
			b.Fatal(err)
		}
	}
}
