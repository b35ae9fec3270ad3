package filescript_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/saip"
	"github.com/persoline/persoline/perso/saip/design"
	"github.com/persoline/persoline/perso/saip/filescript"
)

const products = "../../../deploy/products"

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(products, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func chipOf(t *testing.T, text string) *saip.Chip {
	t.Helper()
	d, err := design.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p, err := saip.Build(d)
	if err != nil {
		t.Fatal(err)
	}
	chip, faults := p.Expand()
	if bad := append(p.Check().Refusing(), faults.Refusing()...); len(bad) > 0 {
		t.Fatal(bad)
	}
	return chip
}

// TestShipped makes the commands of the shipped description anew and compares.
func TestShipped(t *testing.T) {
	t.Parallel()
	chip := chipOf(t, read(t, "basic-sim.yaml"))
	text, err := filescript.Of(chip, "basic-sim.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, made := range map[string][]byte{"probe": text.Probe, "write": text.Write, "verify": text.Verify} {
		if shipped := read(t, "basic-sim."+name+".inc"); shipped != string(made) {
			t.Errorf("basic-sim.%s.inc is not made of basic-sim.yaml: 'perso profile commands' makes it anew", name)
		}
	}
	for _, f := range chip.Files {
		if !bytes.Contains(text.Write, []byte("; "+f.Name+"\n")) {
			t.Errorf("no command makes %s (%s)", f.Path, f.Name)
		}
	}
}

// TestRefused: what commands cannot make is refused with the file.
func TestRefused(t *testing.T) {
	t.Parallel()
	whole := read(t, "basic-sim.yaml")
	for name, c := range map[string]struct{ from, to, want string }{
		"no place":  {"size: 96, hex: \"FF\"", "size: 96, absent: true", "5gs/ef-suci-calc-info"},
		"too short": {"size: 96, hex: \"FF\"", "size: 95, hex: \"FF\"", "{SUCI} has 96"},
		"a kind":    {"  - {file: usim/ef-ehplmnpi}", "  - {file: usim/ef-ehplmnpi}\n  - {file: usim/ef-acm}", "6F39"},
	} {
		changed := strings.Replace(whole, c.from, c.to, 1)
		_, err := filescript.Of(chipOf(t, changed), "x")
		if !errors.Is(err, filescript.ErrFile) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
