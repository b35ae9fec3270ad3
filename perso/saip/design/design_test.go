package design

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/saip"
)

const profiles = "../../../deploy/profiles"

// TestShipped makes every description that is shipped anew, twice, and compares with the package beside it.
func TestShipped(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob(filepath.Join(profiles, "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%d descriptions: %v", len(paths), err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var made [2][]byte
		for i := range made {
			d, err := Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			p, err := saip.Build(d)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if notes := p.Check(); len(notes) > 0 {
				t.Errorf("%s: %v", path, notes)
			}
			made[i] = p.Bytes()
		}
		shipped, err := os.ReadFile(strings.TrimSuffix(path, ".yaml") + ".der")
		if err != nil {
			t.Error(err)
		}
		if !bytes.Equal(made[0], made[1]) || !bytes.Equal(made[0], shipped) {
			t.Errorf("%s: the package beside it is another: 'perso profile build' makes it anew", path)
		}
	}
}
