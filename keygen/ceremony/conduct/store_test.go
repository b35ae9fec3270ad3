package conduct_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/persoline/persoline/keygen/ceremony/conduct"
	"github.com/persoline/persoline/perso"
)

// TestFolder: a name is given once; what a crash left half written is written over.
func TestFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "inventory")
	d := conduct.Folder(dir)
	if err := d.Create(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Get("0001.order"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".new-0001.order"), []byte("half of someth"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Put("0001.order", []byte("one")), d.Put("0001.order", []byte("one"))); err != nil {
		t.Error(err)
	}
	if err := d.Put("0001.order", []byte("two")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("replaced: %v", err)
	}
	if b, err := d.Get("0001.order"); err != nil || !bytes.Equal(b, []byte("one")) {
		t.Errorf("%q, %v", b, err)
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
	s := newSite(t, perso.EnvTest)
	s.store = d
	if err := os.Remove(filepath.Join(dir, "0001.order")); err != nil {
		t.Fatal(err)
	}
	s.mustRun(s.planText("on-disk", "", importStep("import", "kmc", "maker-1", 16)))
	s.consistent()
}
