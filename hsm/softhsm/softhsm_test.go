package softhsm_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/hsm/softhsm"
	"github.com/persoline/persoline/perso/secret"
)

// Not parallel: a process has the module, and SOFTHSM2_CONF, once.

func TestInit(t *testing.T) {
	module := hsmtest.RequireSoftHSM(t)
	dir := filepath.Join(t.TempDir(), "new")
	pin := secret.New([]byte("12345678"))
	if err := softhsm.Init(dir, "office", secret.New([]byte("87654321")), pin); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"softhsm2.conf", "tokens"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others, or %v", name, err)
		}
	}
	again := hsm.NewToken{Module: module, Label: "office", SOPIN: pin, PIN: pin}
	if err := hsm.InitToken(again); !errors.Is(err, hsm.ErrExists) {
		t.Errorf("a second token of one label: %v", err)
	}
	if err := softhsm.Use(dir); err != nil {
		t.Fatal(err)
	}
	tok, err := hsm.Open(t.Context(), hsm.Config{Module: module, TokenLabel: "office", PIN: pin})
	if err != nil {
		t.Fatal(err)
	}
	if err := hsm.InitToken(again); !errors.Is(err, hsm.ErrBusy) {
		t.Errorf("initializing beside an open token: %v", err)
	}
	if err := tok.Close(); err != nil {
		t.Error(err)
	}
}

func TestInitRefusesNames(t *testing.T) {
	hsmtest.RequireSoftHSM(t)
	pin := secret.New([]byte("12345678"))
	if err := softhsm.Init(filepath.Join(t.TempDir(), "a\nb"), "office", pin, pin); err == nil {
		t.Error("a directory that would add a line to the configuration")
	}
	for _, label := range []string{"", "a label that is longer than a token has room for"} {
		if err := softhsm.Init(t.TempDir(), label, pin, pin); err == nil {
			t.Errorf("token label %q", label)
		}
	}
}
