package folder_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/persoline/persoline/ledger/bundle/folder"
)

func TestWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	target := filepath.Join(parent, "done")
	d, err := folder.New(parent)
	if err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("0123456789"), 20_000)
	f, err := d.Create("a/b/big")
	if err != nil {
		t.Fatal(err)
	}
	for part := range bytes.Lines(big) {
		if _, err := f.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Close(), d.Add("a/small", nil)); err != nil {
		t.Fatal(err)
	}
	if err := d.Add("a/small", nil); err == nil {
		t.Error("a file was written over")
	}
	if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there before it is published: %v", err)
	}
	if err := d.Publish(target); err != nil {
		t.Fatal(err)
	}
	for _, f := range d.Files() {
		got, err := os.ReadFile(filepath.Join(target, f.Path))
		if err != nil || int64(len(got)) != f.Size || sha256.Sum256(got) != f.Hash {
			t.Errorf("%s: %v, %d bytes, listed %d", f.Path, err, len(got), f.Size)
		}
	}
	second, err := folder.New(parent)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(second.Add("x", nil)); err != nil {
		t.Fatal(err)
	}
	if err := second.Publish(target); err == nil {
		t.Error("published over another")
	}
	if err := second.Remove(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) != 1 {
		t.Errorf("%v, left %v", err, left)
	}
}
