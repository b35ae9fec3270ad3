package saip

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/persoline/persoline/perso/reftest"
)

// published are the profile packages that the GSMA publishes for tests (TS.48), which are not in the repository.
func published(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(reftest.Path(t, "data", "ts48_upp", "*.der"))
	if err != nil || len(paths) < 18 {
		t.Fatalf("%d published packages are there: %v", len(paths), err)
	}
	all := map[string][]byte{}
	for _, path := range paths {
		if all[filepath.Base(path)], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// everyPackage is what is shipped, and what is published where that is there.
func everyPackage(t testing.TB) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	if reftest.Has() {
		all = published(t)
	}
	all["bootstrap.der"] = shipped(t)
	return all
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for name, file := range everyPackage(t) {
		p, err := Decode(bytes.Clone(file))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !bytes.Equal(p.Encode(), file) {
			t.Errorf("%s: encoded again it is another", name)
		}
	}
}
