package site

import (
	"errors"
	"path/filepath"
	"testing"
)

func TestOneFactory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := CheckIdle(filepath.Join(dir, "none")); err != nil {
		t.Errorf("a folder that is not there: %v", err)
	}
	release, err := Hold(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckIdle(dir); !errors.Is(err, ErrRunning) {
		t.Errorf("while it runs: %v", err)
	}
	if _, err := Hold(dir); !errors.Is(err, ErrRunning) {
		t.Errorf("a second one: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if err := CheckIdle(dir); err != nil {
		t.Errorf("after it ended: %v", err)
	}
}
