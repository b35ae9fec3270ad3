package dryrun

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/reftest"
	"github.com/persoline/persoline/perso/saip"
	"github.com/persoline/persoline/perso/script"
)

const products = "../../../deploy/products/"

func source(t *testing.T) string {
	t.Helper()
	src, err := os.ReadFile(products + "m2m-200s.script")
	if err != nil {
		t.Fatal(err)
	}
	return string(src)
}

func config(t *testing.T) Config {
	t.Helper()
	f, err := os.Open(products + "m2m-200s-mff2.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := product.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	return Config{Product: p, Packages: packages(t)}
}

// packages are the shipped bootstrap profile, as either of the two.
func packages(t *testing.T) map[string]*saip.Template {
	t.Helper()
	b, err := os.ReadFile("../../../deploy/profiles/bootstrap.der")
	if err != nil {
		t.Fatal(err)
	}
	p, err := saip.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	template, err := saip.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*saip.Template{script.PackageBootstrap: template, script.PackageOperational: template}
}

// catalogue is that of a lot with both packages.
func catalogue(t *testing.T) script.Catalogue {
	c := script.StandardCatalogue(40, 235)
	for name, p := range packages(t) {
		c = c.WithPackage(name, p.Len())
	}
	return c
}

func compiled(t *testing.T, src string) *script.Script {
	t.Helper()
	s, err := script.Compile([]byte(src), catalogue(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestProduct: the product goes through, and a second time with nothing left to write; no secret is in the trace.
func TestProduct(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.Again = true
	s := compiled(t, source(t))
	trace, err := Run(s, c)
	if err != nil || trace.Failed != nil {
		t.Fatal(err, trace.Failed)
	}
	skipped, commands := map[int]int{}, map[int]int{}
	for _, e := range trace.Entries {
		switch e.Kind {
		case KindSkipped:
			skipped[e.Contact]++
		case KindCommand:
			commands[e.Contact]++
		}
	}
	if sections := strings.Count(source(t), "\n.SECTION "); skipped[1] != 0 || skipped[2] != sections || commands[1] <= commands[2] || trace.Physical <= 0 {
		t.Errorf("left out %v of %d sections, commands %v, %v", skipped, sections, commands, trace.Physical)
	}
	v, err := newValues(s, c)
	if err != nil {
		t.Fatal(err)
	}
	secrets := 0
	for name, kind := range catalogue(t) {
		value := v.byName[name]
		if !kind.Secret || value == nil {
			continue
		}
		secrets++
		for _, e := range trace.Entries {
			if strings.Contains(e.Command, strings.ToUpper(hex.EncodeToString(value))) || bytes.Contains(e.Answer, value) {
				t.Errorf("step %q shows %s", e.Label, name)
			}
		}
	}
	named := slices.ContainsFunc(trace.Entries, func(e Entry) bool { return strings.Contains(e.Command, "{dek:PROFILE.ENC}") })
	if secrets < 8 || !named {
		t.Errorf("%d secrets, named %v", secrets, named)
	}
}

// TestFailures: each way to be wrong stops the run at its step.
func TestFailures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ old, with, want string }{
		{"cplc:    80CA9F7F 00", "cplc:    80CA9F7E 00", `"cplc": status 6A88`},
		{"v.smsr:  80E29100 <5C <42 45>> 00     [42 <{EID.IIN}>", "v.smsr:  80E29100 <5C <42 45>> 00     [42 <{AD}>", `"v.smsr": unexpected data`},
		{"LEVEL=33", "LEVEL=13", `status 6982`},
		{"LEVEL=33", "LEVEL=33 KVN=31", `initialize-update`},
		{"80E62000 <0000 <{AID.ISD}> 000000> 00                          (9000)\nv.isd", "80E62000 <0000 <{p.card[99+8]}> 000000> 00 (9000)\nv.isd", "shorter"},
	} {
		src := strings.Replace(source(t), c.old, c.with, 1)
		if src == source(t) {
			t.Fatalf("%q is not in the script", c.old)
		}
		trace, err := Run(compiled(t, src), config(t))
		if err != nil || trace.Failed == nil || !strings.Contains(trace.Failed.Error(), c.want) || len(trace.Entries) == 0 {
			t.Errorf("%s: %v, %v", c.with, err, trace.Failed)
		}
	}
}

// TestSecondChannel: the power is cycled, and another channel opens under the keys that the script brought.
func TestSecondChannel(t *testing.T) {
	t.Parallel()
	src := strings.Replace(source(t), ".PHASE verify", ".PHASE verify\n.POWER [3B9F XX*20]\n.PLAIN\nselect: 00A40400 <{AID.ISD}> 00 (9000)\n.CHANNEL SCP03 LEVEL=33 KVN=30\n;", 1)
	trace, err := Run(compiled(t, src), config(t))
	if err != nil || trace.Failed != nil {
		t.Fatal(err, trace.Failed)
	}
	var powered, opened int
	for _, e := range trace.Entries {
		if e.Kind == KindPower {
			powered++
		}
		if e.Label == "initialize-update" {
			opened++
		}
	}
	if powered != 2 || opened != 2 {
		t.Errorf("powered %d times, %d channels", powered, opened)
	}
	src = strings.Replace(src, "[3B9F XX*20]", "[3B9E XX*20]", 1)
	if trace, err = Run(compiled(t, src), config(t)); err != nil || trace.Failed == nil || !strings.Contains(trace.Failed.Error(), "unexpected data from byte") {
		t.Errorf("another answer to reset: %v, %v", err, trace.Failed)
	}
}

// TestInterrupt: the product bears the loss of contact at each command; a script with a wrong REDO or DONE does not.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	s := compiled(t, source(t))
	all, err := Interrupt(s, config(t))
	if err != nil || len(all) < 100 {
		t.Fatalf("%d interruptions, %v", len(all), err)
	}
	for _, i := range all {
		if i.Failed != nil {
			t.Errorf("at %q, executed %v: %v", i.Label, i.Executed, i.Failed)
		}
	}
	// Without DONE a profile that is in use is to be deleted.
	spoilt := strings.Replace(source(t), "REDO=delete-first  DONE=p.isdp[DF28 <{PROFILE.HASH}>]", "REDO=delete-first", 1)
	all, err = Interrupt(compiled(t, spoilt), config(t))
	failed := slices.IndexFunc(all, func(i Interruption) bool { return i.Failed != nil })
	if err != nil || failed < 0 || all[failed].Label != "profile-life#2" || !all[failed].Executed {
		t.Errorf("%v, %+v", err, all[max(failed, 0)])
	}
	if _, err := Interrupt(compiled(t, strings.Replace(source(t), "80CA9F7F", "80CA9F7E", 1)), config(t)); err != nil {
		t.Error(err)
	}
}

func TestCannot(t *testing.T) {
	t.Parallel()
	good := source(t)
	for want, bend := range map[string]func(src *string, c *Config){
		"SCP02":                  func(src *string, _ *Config) { *src = strings.Replace(good, "SCP03 LEVEL=33", "SCP02 LEVEL=13", 1) },
		"16-byte":                func(src *string, _ *Config) { *src = strings.Replace(good, "LEVEL=33", "LEVEL=33 MODE=S16", 1) },
		"no variable \"NOBODY\"": func(_ *string, c *Config) { c.Values = map[string][]byte{"NOBODY": {1}} },
		"giving CIN: 1 bytes":    func(_ *string, c *Config) { c.Values = map[string][]byte{"CIN": {1}} },
		"i = 10":                 func(_ *string, c *Config) { c.Product.Factory.I = 0x10 },
	} {
		src, c := good, config(t)
		bend(&src, &c)
		if _, err := Run(compiled(t, src), c); !errors.Is(err, ErrCannot) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestGiven: values and decisions that are given are used.
func TestGiven(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.Values = map[string][]byte{"CIN": bytes.Repeat([]byte{0x12}, 16)}
	c.When = map[string]bool{"stamp": false}
	trace, err := Run(compiled(t, source(t)), c)
	if err != nil || trace.Failed == nil || !strings.Contains(trace.Failed.Error(), "v.isd") {
		t.Fatalf("without a stamp: %v, %v", err, trace.Failed)
	}
	if !slices.ContainsFunc(trace.Entries, func(e Entry) bool { return strings.Contains(e.Command, "451012121212") }) {
		t.Error("the value was not sent")
	}
}

// Each makeable product is brought to its end wherever power is lost: at every command of its script, before it is executed, after it, and
// in the middle of what it writes into a memory that is not written in one piece.
//
// The one exception is the command that puts the card's key set in the place of its maker's: half of that is no key set, and whoever has such
// a chip loses it. A SIM without a secure channel has none to lose.
func TestEveryProductIsContinued(t *testing.T) {
	t.Parallel()
	cat, err := product.LoadDir(os.DirFS(products))
	if err != nil {
		t.Fatal(err)
	}
	makeable := 0
	for _, sku := range cat.SKUs() {
		p, _ := cat.Get(sku)
		if !p.Makeable {
			continue
		}
		makeable++
		t.Run(string(sku), func(t *testing.T) {
			t.Parallel()
			s, err := script.CompileFile(os.DirFS(products), p.Script, catalogue(t))
			if err != nil {
				t.Fatal(err)
			}
			all, err := Interrupt(s, Config{Product: p, Packages: packages(t), Torn: []uint16{0, 1, 3}})
			if err != nil {
				t.Fatal(err)
			}
			tornEverywhere(t, s, p, all)
		})
	}
	if makeable < 7 {
		t.Errorf("only %d products are makeable", makeable)
	}
}

// kinds of tearing are tried at each command: before it, after it, and three depths of its writing.
const kinds = 5

// tornEverywhere judges the interruptions of a product.
func tornEverywhere(t *testing.T, s *script.Script, p product.Product, all []Interruption) {
	t.Helper()
	whole, err := Run(s, Config{Product: p, Packages: packages(t)})
	if err != nil || whole.Failed != nil {
		t.Fatal(err, whole.Failed)
	}
	sent := 0
	for _, e := range whole.Entries {
		if e.Kind == KindCommand {
			sent++
		}
	}
	if len(all) != kinds*sent {
		t.Errorf("%d interruptions of %d commands, want %d of each", len(all), sent, kinds)
	}
	lost := 0
	for _, i := range all {
		switch {
		case i.Failed == nil:
		case i.Torn && strings.HasPrefix(i.Label, "isd-keys") && strings.Contains(i.Failed.Error(), "6A88"):
			lost++
		default:
			t.Errorf("lost at command %d (%s), executed %v, torn %v: %v", i.Command, i.Label, i.Executed, i.Torn, i.Failed)
		}
	}
	if second := func(i Interruption) bool { return strings.HasPrefix(i.Label, "load2") }; p.Profile.Package && !slices.ContainsFunc(all, second) {
		t.Error("nothing was lost in the second profile's package")
	}
	if keyed := p.Channel() != product.ChannelADM; keyed != (lost > 0) {
		t.Errorf("%d chips were lost by half of a key set; a key set is put: %v", lost, keyed)
	}
	t.Logf("%d commands, %d interruptions, %d chips lost by half of a key set", sent, len(all), lost)
}

// The packages that the GSMA publishes for testing are personalized, loaded through the product's script, and authenticate. Those of
// version 1 demand Java Card: a chip without it says so.
func TestPublishedPackages(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(reftest.Path(t, "data", "ts48_upp", "*.der"))
	if err != nil || len(files) < 18 {
		t.Fatalf("%d packages, %v", len(files), err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			template, err := ReadPackage(path)
			if err != nil {
				t.Fatal(err)
			}
			c, java := config(t), strings.HasPrefix(filepath.Base(path), "TS48v1")
			c.Packages = map[string]*saip.Template{script.PackageBootstrap: template}
			s, err := script.Compile([]byte(source(t)), WithPackages(script.StandardCatalogue(40, 235), c.Packages))
			if err != nil {
				t.Fatal(err)
			}
			trace, err := Run(s, c)
			if java {
				if trace.Failed == nil || !strings.Contains(trace.Failed.Error(), "status 10 (service javacard)") {
					t.Error(err, trace.Failed)
				}
				c.Product.Profile.Services = []product.Service{product.ServiceJavaCard}
				trace, err = Run(s, c)
			}
			if err != nil || trace.Failed != nil {
				t.Fatal(err, trace.Failed)
			}
			if !slices.ContainsFunc(trace.Entries, func(e Entry) bool { return e.Label == "auth" && len(e.Answer) == 16 && e.Answer[0] == 0xDC }) {
				t.Error("the chip did not authenticate")
			}
		})
	}
}
