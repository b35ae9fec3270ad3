package saip

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/id"
)

func TestPrepareAlgorithm(t *testing.T) {
	t.Parallel()
	for name, lot := range map[string]Lot{
		"milenage":            {Algorithm: Milenage},
		"milenage, constants": {Algorithm: Milenage, Rotation: []byte{1, 2, 3, 4, 5}, Xoring: bytes.Repeat([]byte{7}, 80), Options: []byte{1}},
		"tuak128":             {Algorithm: TUAK, Keccak: 2},
		"tuak256":             {Algorithm: TUAK, KeyBytes: 32},
		"usim-test-algorithm": {Algorithm: TestAlgorithm},
	} {
		service, _, _ := strings.Cut(name, ",")
		p := mustDecode(t, shipped(t))
		out, err := Prepare(p, lot)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		chip, _ := out.Expand()
		for _, s := range algorithmServices {
			if has := slices.Contains(chip.Header.Services, s); has != (s == service) {
				t.Errorf("%s: the list demands %s: %v", name, s, has)
			}
		}
		if !slices.Contains(chip.Header.Services, PEISIM) {
			t.Errorf("%s: another service was lost", name)
		}
		for _, a := range chip.AKAs {
			if a.Algorithm != lot.Algorithm || a.Keccak != max(lot.Keccak, 1) || lot.Xoring != nil && !bytes.Equal(a.Xoring, lot.Xoring) {
				t.Errorf("%s: the parameters are %v, %d iterations", name, a.Algorithm, a.Keccak)
			}
		}
		again, err := Prepare(out, Lot{Algorithm: Milenage, Options: []byte{2}})
		if err != nil || !bytes.Equal(again.bytes, p.bytes) {
			t.Errorf("%s: and back it is another package: %v", name, err)
		}
	}
}

// TestAlgorithmAlone shows what Prepare is for: the number alone makes a package that contradicts itself.
func TestAlgorithmAlone(t *testing.T) {
	t.Parallel()
	file := shipped(t)
	for _, pt := range mustPoints(t, mustDecode(t, file)) {
		if strings.HasSuffix(pt.Name, ".algorithm") {
			file[pt.Offset] = byte(TestAlgorithm)
		}
	}
	text := mustDecode(t, file).Check().Refusing().Error()
	for _, want := range []string{`uses "usim-test-algorithm", which the list doesn't demand`, `demands "milenage", which nothing in the package uses`} {
		if !strings.Contains(text, want) {
			t.Errorf("it isn't said that the package %s:\n%s", want, text)
		}
	}
	if _, err := Compile(mustDecode(t, file)); err == nil {
		t.Error("a package that contradicts itself became a template")
	}
}

func TestPrepareFiles(t *testing.T) {
	t.Parallel()
	p := mustDecode(t, published(t)[newest])
	smsc := bytes.Repeat([]byte{0x91}, 28)
	out, err := Prepare(p, Lot{
		ProfileType: "Bootstrap", Home: &Network{MCC: "228", MNC: "06"},
		Files: []Constant{
			{File: "usim/ef-spn", Content: append([]byte{0}, "Persoline"...)},
			{File: "usim/ef-smsp", Record: 2, Content: smsc},
			{File: "3F00/7FD0/6F62", Content: []byte{0x22, 0xF8, 0x60, 0x40, 0x00}},
			{File: "3f00/7f10/5f3a/4f13", Record: 1, Content: []byte("x")}, // made by a GFM
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	before, _ := p.Expand()
	chip, _ := out.Expand()
	if got := chip.Header.ProfileType; got != "Bootstrap" {
		t.Errorf("the profile type is %q", got)
	}
	if got := string(chip.Named("usim/ef-spn").Content[1:11]); got != "Persoline\xFF" && got != "Persoline\x54" {
		t.Errorf("EF.SPN is %q", got)
	}
	smsp := chip.Named("usim/ef-smsp")
	if !bytes.Equal(smsp.Record(2)[:28], smsc) || !bytes.Equal(smsp.Record(1), before.Named("usim/ef-smsp").Record(1)) {
		t.Errorf("EF.SMSP is %x", smsp.Content)
	}
	if got := chip.File("3F00/7FD0/6F62").Content; !bytes.Equal(got[:5], []byte{0x22, 0xF8, 0x60, 0x40, 0x00}) || !bytes.Equal(got[5:], before.File("3F00/7FD0/6F62").Content[5:]) {
		t.Errorf("EF.HPLMNwAcT is %x", got)
	}
	if got := chip.File("3F00/7F10/5F3A/4F13").Record(1); got[0] != 'x' || got[1] != 0xFF {
		t.Errorf("the GFM's file has %x", got)
	}
	if !bytes.Contains(chip.Named("isim/ef-impu").Content, []byte("mnc006.mcc228.")) {
		t.Errorf("the first IMPU is %q", chip.Named("isim/ef-impu").Record(1))
	}
	for i, f := range chip.Files {
		if was := before.Files[i]; was.Path != f.Path || was.Size != f.Size || was.Kind != f.Kind {
			t.Errorf("%s: %d bytes, %s; %s was there before", f.Path, f.Size, f.Kind, was.Path)
		}
	}
	mustCompile(t, out)
}

// TestAnotherProvider makes the shipped profile one of another network: texts, lists, name.
func TestAnotherProvider(t *testing.T) {
	t.Parallel()
	p := mustDecode(t, shipped(t))
	lot, err := ProviderLot(p, Network{MCC: "228", MNC: "062"}, "Other")
	if err != nil {
		t.Fatal(err)
	}
	lot.Connectivity = []byte{0xA0, 0x02, 0x06, 0x00}
	lot.Files = append(lot.Files, Constant{File: "usim/ef-fdn", Record: 3, Content: []byte("three")}, // which only the template has
		Constant{File: "usim/ef-fdn", Record: 5, Content: []byte("five")})
	out, err := Prepare(p, lot)
	if err != nil {
		t.Fatal(err)
	}
	chip, _ := out.Expand()
	if !bytes.Equal(chip.Header.Connectivity, lot.Connectivity) || len(mustPoints(t, out)) <= len(mustPoints(t, p)) {
		t.Errorf("the connectivity parameters are %x", chip.Header.Connectivity)
	}
	for name, want := range map[string]string{
		"usim/ef-spn": "\x00Other\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", "usim/ef-ad": "\x00\x00\x00\x03", "usim/ef-hplmnwact": "\x22\x28\x60\xC8\x80",
		"usim/ef-ehplmn": "\x22\x28\x60\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
	} {
		if got := string(chip.Named(name).Content); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	fdn := chip.Named("usim/ef-fdn")
	if string(fdn.Record(3)[:6]) != "three\xFF" || string(fdn.Record(5)[:5]) != "five\xFF" || len(withoutFiller(fdn.Record(4))) > 0 || fdn.FromTemplate {
		t.Errorf("EF.FDN is %x", fdn.Content)
	}
	for _, name := range []string{"isim/ef-impi", "isim/ef-impu", "isim/ef-domain"} {
		if !bytes.Contains(chip.Named(name).Content, []byte("mnc062.mcc228.")) {
			t.Errorf("%s is %q", name, chip.Named(name).Content)
		}
	}
	tpl := mustCompile(t, out)
	iccid, imsi := must(id.ParseICCID("8988211000000430010")), must(id.ParseIMSI("228062800000208", 3))
	if err := tpl.Identify(make(Values, len(tpl.Slots())), iccid, imsi); err != nil {
		t.Error(err)
	}
	if _, err := ProviderLot(p, Network{MCC: "228", MNC: "6"}, "Other"); err == nil {
		t.Error("a network code of one digit was taken")
	}
	if _, err := ProviderLot(p, Network{MCC: "228", MNC: "06"}, "A name of seventeen"); err == nil {
		t.Error("a long name was taken")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestPrepareRefuses(t *testing.T) {
	t.Parallel()
	p := mustDecode(t, published(t)[newest])
	for name, lot := range map[string]Lot{
		"no such file":    {Files: []Constant{{File: "usim/ef-nothing"}}},
		"no such record":  {Files: []Constant{{File: "usim/ef-smsp", Record: 3, Content: []byte{1}}}},
		"too long":        {Files: []Constant{{File: "usim/ef-spn", Content: make([]byte, 18)}}},
		"a link":          {Files: []Constant{{File: "csim/ef-fdn", Content: []byte{1}}}},
		"a directory":     {Files: []Constant{{File: "3F00/7FD0", Content: []byte{1}}}},
		"rotation":        {Algorithm: Milenage, Rotation: []byte{1}},
		"rotation by 128": {Algorithm: Milenage, Rotation: []byte{128, 0, 0, 0, 0}},
		"key length":      {Algorithm: Milenage, KeyBytes: 32},
		"text":            {ProfileType: strings.Repeat("x", 101)},
	} {
		if _, err := Prepare(p, lot); err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
}
