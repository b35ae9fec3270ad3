package nss_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/hsm/nss"
	"github.com/persoline/persoline/perso/secret"
)

// Not parallel: a process has the module once.

func TestInit(t *testing.T) {
	hsmtest.RequireNSS(t)
	dir := filepath.Join(t.TempDir(), "new")
	pin := secret.New([]byte("12345678"))
	if err := nss.Init(dir, "office", pin); err != nil {
		t.Fatal(err)
	}
	if err := nss.Init(dir, "office", pin); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a token over a token: %v", err)
	}
	cfg, err := nss.Config(dir, "office", pin)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		tok, err := hsm.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := hsm.Open(t.Context(), cfg); !errors.Is(err, hsm.ErrBusy) {
			t.Errorf("second token in the process: %v", err)
		}
		if err := tok.Close(); err != nil {
			t.Error(err)
		}
	}
	cfg.PIN = secret.New([]byte("87654321"))
	if _, err := hsm.Open(t.Context(), cfg); !errors.Is(err, hsm.ErrRefused) {
		t.Errorf("wrong PIN: %v", err)
	}
}

func TestInitRefusesNames(t *testing.T) {
	hsmtest.RequireNSS(t)
	pin := secret.New([]byte("12345678"))
	for _, name := range []string{"a'b", "a\"b", "a\nb", "a\\b", "<a>"} {
		if err := nss.Init(filepath.Join(t.TempDir(), name), "office", pin); err == nil {
			t.Errorf("directory %q", name)
		}
		if err := nss.Init(t.TempDir(), name, pin); err == nil {
			t.Errorf("label %q", name)
		}
	}
}
