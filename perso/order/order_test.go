package order

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/profile"
)

var update = flag.Bool("update", false, "write the golden files anew")

const deploy = "../../deploy"

// shipped is the catalogue as delivered. Scripts are not read here, so any content stands for one.
func shipped(t testing.TB) Catalogue {
	t.Helper()
	files := fstest.MapFS{}
	scripts, err := filepath.Glob(deploy + "/products/*.script")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range scripts {
		files[filepath.Base(p)] = &fstest.MapFile{}
	}
	paths, err := filepath.Glob(deploy + "/products/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		files[filepath.Base(p)] = &fstest.MapFile{Data: readFile(t, p)}
	}
	products, err := product.LoadDir(files)
	if err != nil {
		t.Fatal(err)
	}
	site, err := LoadSite(os.DirFS(deploy + "/partners"))
	if err != nil {
		t.Fatal(err)
	}
	return Catalogue{Products: products, Site: site, Profiles: profile.Open(os.DirFS(deploy + "/profiles"))}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sample(t testing.TB, name string) string {
	return string(readFile(t, deploy+"/samples/orders/"+name))
}

func mustParse(t testing.TB, text string) Order {
	t.Helper()
	o, err := Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// faultsOf is the list inside an error.
func faultsOf(t testing.TB, err error) FaultList {
	t.Helper()
	var list *FaultList
	if !errors.As(err, &list) {
		t.Fatalf("got %v, want a list of faults", err)
	}
	return *list
}

func TestSamplesAreAccepted(t *testing.T) {
	t.Parallel()
	cat := shipped(t)
	for name, want := range map[string][2]uint64{"bootstrap-1000.json": {1000, 60}, "small-20.json": {20, 4}, "random-ki-20.json": {20, 4}, "customer-ki-20.json": {20, 4}, "injected-key-20.json": {20, 4}} {
		o, err := Intake(strings.NewReader(sample(t, name)), cat)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := [2]uint64{o.Quantity, o.Spares}; got != want {
			t.Errorf("%s: good and spares are %v, want %v", name, got, want)
		}
	}
	o := mustParse(t, sample(t, "bootstrap-1000.json"))
	if o.EID.Count() != 0 || o.ICCID.Count() != 1060 || o.IMSI.Last().String() != "001010200001059" {
		t.Errorf("ranges are %v, %v, %v", o.EID, o.ICCID, o.IMSI)
	}
}

// TestBadSamples compares the whole report of each bad sample, word for word: it is what a customer reads.
func TestBadSamples(t *testing.T) {
	t.Parallel()
	cat := shipped(t)
	paths, err := filepath.Glob(deploy + "/samples/bad/*.json")
	if err != nil || len(paths) < 9 {
		t.Fatalf("found %d bad samples: %v", len(paths), err)
	}
	var got strings.Builder
	for _, path := range paths {
		_, err := Intake(bytes.NewReader(readFile(t, path)), cat)
		if err == nil {
			t.Errorf("%s was accepted", path)
			continue
		}
		fmt.Fprintf(&got, "== %s\n%v\n\n", filepath.Base(path), err)
	}
	compareGolden(t, "testdata/bad.golden", got.String())
}

func compareGolden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := string(readFile(t, path)); got != want {
		t.Errorf("%s differs; got:\n%s", path, got)
	}
}

func TestSameContentIsOneOrder(t *testing.T) {
	t.Parallel()
	text := sample(t, "small-20.json")
	o := mustParse(t, text)
	same := []string{
		strings.NewReplacer("\n", "\r\n\t", `"milenage"`, `"mile\u006eage"`).Replace(text),                         // layout, escapes
		strings.Replace(text, `"first": "8988001020001000004"`, `"count": 24, "first": "8988001020001000004"`, 1),  // a default written out
		strings.Replace(text, `"version": 1,`, `"remake": "same-identity", "key_origin": "card", "version":1,`, 1), // others
		strings.Replace(text, `8988001020001000004`, `8988001020001000004F`, 1),                                    // filler
		string(o.Canonical()),
	}
	for i, s := range same {
		if mustParse(t, s).Hash() != o.Hash() {
			t.Errorf("spelling %d is another order:\n%s\n%s", i, mustParse(t, s).Canonical(), o.Canonical())
		}
	}
	other := []string{
		strings.Replace(text, `"spares": 4`, `"spares": 5`, 1),
		strings.Replace(text, `DEMO-2027-0002`, `DEMO-2027-0003`, 1),
		strings.Replace(text, `"mnc_digits": 2`, `"mnc_digits": 3`, 1),
		strings.Replace(text, `"version": 1,`, `"version": 1, "expires": "2099-01-01T00:00:00Z",`, 1),
		strings.Replace(text, `"version": 1,`, `"version": 1, "remake": "fresh-identity",`, 1),
	}
	for i, s := range other {
		if mustParse(t, s).Hash() == o.Hash() {
			t.Errorf("content %d has the same hash", i)
		}
	}
	east := strings.Replace(text, `"version": 1,`, `"version": 1, "expires": "2099-01-01T02:00:00+02:00",`, 1)
	if mustParse(t, east).Hash() != mustParse(t, other[3]).Hash() {
		t.Error("one moment in two zones makes two orders")
	}
}

// endless is a valid beginning that never ends; it counts what was read of it.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	e.read += len(p)
	return len(p), nil
}

func TestLargeFileIsNotRead(t *testing.T) {
	t.Parallel()
	e := &endless{}
	_, err := Parse(io.MultiReader(strings.NewReader("{"), e))
	if list := faultsOf(t, err); len(list) != 1 || !strings.Contains(list[0].Reason, "larger than 524288 bytes") {
		t.Errorf("got %v", err)
	}
	if e.read > 2*MaxFileBytes {
		t.Errorf("read %d bytes of a file that may have %d", e.read, MaxFileBytes)
	}
}

func TestReaderErrorIsNotAFault(t *testing.T) {
	t.Parallel()
	_, err := Parse(io.MultiReader(strings.NewReader("{"), errReader{}))
	var list *FaultList
	if !errors.Is(err, fs.ErrClosed) || errors.As(err, &list) {
		t.Errorf("got %v, want the reader's own error", err)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, fs.ErrClosed }

func TestParseFaults(t *testing.T) {
	t.Parallel()
	good := sample(t, "small-20.json")
	for _, c := range []struct{ old, new, field, reason string }{
		{`"quantity": 20`, `"quantity": 1000001`, "quantity", "1000001 is not from 1 to 1000000"},
		{`"quantity": 20`, `"quantity": -1`, "quantity", "-1 is not from 1 to 1000000"},
		{`"quantity": 20`, `"quantity": 1000000`, "quantity", "1000000 with 4 spares is more than 1000000"},
		{`"quantity": 20`, `"quantity": 2e1`, "quantity", "not a plain whole number"},
		{`"spares": 4,`, ``, "spares", "missing, expected a number"},
		{`DEMO-2027-0002`, `demo`, "order", `"demo" is not 1 to 32 of`},
		{`DEMO-2027-0002`, `-A`, "order", `is not 1 to 32 of`},
		{`Demonstration Meters`, ` Demo`, "customer", "begins or ends with a blank"},
		{`Demonstration Meters`, `a\u0007b`, "customer", "cannot be printed"},
		{`{"first": "8988001020001000004"}`, `"alocate"`, "iccid", "neither a range nor"},
		{`{"first": "8988001020001000004"}`, `7`, "iccid", "is a number, expected an object"},
		{`8988001020001000004`, `898800102000100000`, "iccid.first", "no check digit"},
		{`8988001020001000004"`, `8988001020001000004", "count": 0`, "iccid.count", "0 is not from 1"},
		{`8988001020001000004`, `8988001999999999998`, "iccid.first", "the first 7 digits would change"},
		{`"mnc_digits": 2`, `"mnc_digits": 4`, "imsi.mnc_digits", "4 is not from 2 to 3"},
		{`001010200100000`, `0010102001000000`, "imsi.first", "16 characters"},
		{`001010200100000`, `001019999999990`, "imsi.first", "the network code would change"},
		{`"version": 1`, `"version": 1, "expires": "2099-02-30T00:00:00Z"`, "expires", "is not a time"},
		{`"version": 1`, `"version": 1, "expires": "2199-01-30T00:00:00Z"`, "expires", "the year 2199"},
		{`"version": 1`, `"version": 1, "remake": "never"`, "remake", "is not one of same-identity, fresh-identity"},
		{`"op_key": "op-demo-1"`, `"op_key": "op/demo"`, "auth.op_key", "must be 1 to 40"},
		{`"op_key"`, `"op"`, "auth.op", "unknown field"},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if text == good {
			t.Fatalf("nothing to replace: %s", c.old)
		}
		_, err := Parse(strings.NewReader(text))
		if err == nil {
			t.Errorf("%s: accepted", c.new)
			continue
		}
		found := false
		for _, f := range faultsOf(t, err) {
			found = found || f.Field == c.field && strings.Contains(f.Reason, c.reason) && f.Line > 0
		}
		if !found {
			t.Errorf("%s: no fault of %s with %q in:\n%v", c.new, c.field, c.reason, err)
		}
		if strings.Contains(err.Error(), "001010200") {
			t.Errorf("%s: the report quotes an IMSI", c.new)
		}
	}
}

func TestCheckRefusesPoolsThatAreTooSmall(t *testing.T) {
	t.Parallel()
	text := strings.NewReplacer(`"first": "8988001020000000005", "count": 1060`, `"first": "8988001020000000005"`,
		`"quantity": 1000,`, `"quantity": 999999,`, `"spares": 60,`, `"spares": 1,`,
		`{"first": "001010200000000", "count": 1060, "mnc_digits": 2}`, `"allocate"`).Replace(sample(t, "bootstrap-1000.json"))
	list := Check(mustParse(t, text), shipped(t))
	if len(list) != 1 || list[0].Field != "imsi" || !strings.Contains(list[0].Reason, "has 500000 numbers, the order needs 1000000") {
		t.Errorf("got %v", list)
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	o := mustParse(t, sample(t, "bootstrap-1000.json"))
	pool := shipped(t).Site.EUM.EIDPool
	r, err := Resolve(o, Allocation{EID: pool}) // longer than the order: only Q+S of it may be used
	if err != nil {
		t.Fatal(err)
	}
	eid, err := r.EID(1059)
	if want, _ := pool.At(1059); err != nil || eid != want {
		t.Errorf("EID 1059 is %v, %v", eid, err)
	}
	if _, err := r.EID(1060); err == nil {
		t.Error("an EID beyond Q+S was given")
	}
	iccid, err := r.ICCID(1)
	if err != nil || iccid.String() != "8988001020000000013" {
		t.Errorf("ICCID 1 is %v, %v", iccid, err)
	}
	imsi, err := r.IMSI(1059)
	if err != nil || imsi.String() != "001010200001059" {
		t.Errorf("IMSI 1059: %v", err)
	}
	if r.Order().EID != pool || r.Order().ID != o.ID {
		t.Error("the resolved order is not the order with its ranges")
	}

	short, err := id.NewEIDRange(pool.First(), 1059)
	if err != nil {
		t.Fatal(err)
	}
	for name, a := range map[string]Allocation{
		"missing": {}, "short": {EID: short}, "unasked": {EID: pool, ICCID: o.ICCID},
	} {
		if _, err := Resolve(o, a); err == nil {
			t.Errorf("%s allocation was accepted", name)
		}
	}
	if _, err := Resolve(Order{}, Allocation{}); err == nil {
		t.Error("an order that was not parsed was resolved")
	}
	if _, err := (Resolved{}).EID(perso.EIDIndex(0)); err == nil {
		t.Error("nothing was numbered")
	}
}

func FuzzParse(f *testing.F) {
	for _, folder := range []string{"orders", "bad"} {
		paths, err := filepath.Glob(deploy + "/samples/" + folder + "/*.json")
		if err != nil || len(paths) == 0 {
			f.Fatalf("found %d samples: %v", len(paths), err)
		}
		for _, p := range paths {
			f.Add(readFile(f, p))
		}
	}
	f.Add([]byte(`{"a":[[[[[[[[[[]]]]]]]]]],"a.b":1,"a":{"b":2}}`))
	f.Add([]byte("\xef\xbb\xbf{}"))
	f.Add([]byte(`{"customer":"\ud800","\u0000":null}`))
	cat := shipped(f)
	f.Fuzz(func(t *testing.T, file []byte) {
		o, err := Parse(bytes.NewReader(file))
		if err != nil {
			if list := faultsOf(t, err); len(list) == 0 || len(list) > 101 {
				t.Fatalf("%d faults", len(list))
			}
			if _, err := Intake(bytes.NewReader(file), cat); err == nil {
				t.Fatal("intake accepts what does not parse")
			}
			return
		}
		again, err := Parse(bytes.NewReader(o.Canonical()))
		if err != nil {
			t.Fatalf("canonical form is refused: %v\n%s", err, o.Canonical())
		}
		if !bytes.Equal(again.Canonical(), o.Canonical()) {
			t.Fatalf("canonical form changes:\n%s\n%s", o.Canonical(), again.Canonical())
		}
		Check(o, cat)
	})
}
