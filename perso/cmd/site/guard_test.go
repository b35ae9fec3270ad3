package site

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/keygen/journal"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/statement/transcript/transcripttest"
)

// TestGuarded: the vault starts with the pinned inventory and no other, and refuses a key that is another than it says.
func TestGuarded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, d := range []string{"vault", "vault/keys", "inventory"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := journal.CreateMemory(filepath.Join(dir, "vault", "keys", "memory")); err != nil {
		t.Fatal(err)
	}
	held := transcripttest.New()
	pin := held.Register[0].Hash()
	file := held.Hold(held.Order(transcripttest.Generate("log/S1"))).Encode()
	path := filepath.Join(dir, "inventory", "0001.transcript")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	token := hsmfake.New(rand.NewChaCha8([32]byte{}))
	key, err := hsm.ParseKey("persoline/test/log/S1")
	if err != nil {
		t.Fatal(err)
	}
	if err := token.Generate(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	good := Config{Env: perso.EnvTest, Site: "S1", Pin: hex.EncodeToString(pin[:]), Inventory: "inventory", Head: hex.EncodeToString(held.Head[:])}
	start := func(c Config) (keygen.Token, string, error) {
		var log bytes.Buffer
		g, err := (&Site{Dir: dir, Config: c}).guarded(context.Background(), token, slog.New(slog.NewTextHandler(&log, nil)))
		return g, log.String(), err
	}
	g, log, err := start(good)
	if err != nil || !strings.Contains(log, "key refused") || !strings.Contains(log, "persoline/test/log/S1") {
		t.Fatalf("%v, log %q", err, log)
	}
	if _, err := g.SignMessage(t.Context(), key, []byte{1}); !errors.Is(err, hsm.ErrRefused) {
		t.Errorf("a key that is another than the ceremony's was used: %v", err)
	}
	for name, bend := range map[string]func(c *Config){
		"another head": func(c *Config) { c.Head = strings.Repeat("ab", 32) }, "no head": func(c *Config) { c.Head = "" }, "another pin": func(c *Config) { c.Pin = strings.Repeat("ab", 32) },
		"another site": func(c *Config) { c.Site = "S2" }, "production without inventory": func(c *Config) { c.Env, c.Inventory = perso.EnvProduction, "" },
	} {
		c := good
		bend(&c)
		if g, _, err := start(c); err == nil {
			t.Errorf("%s: started with %v", name, g)
		}
	}
	plain := good
	plain.Inventory = ""
	if g, _, err := start(plain); err != nil || g != keygen.Token(token) {
		t.Errorf("a test site without ceremonies: %v", err)
	}
	if err := os.WriteFile(path, bytes.Replace(file, []byte("tok"), []byte("kot"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := start(good); !errors.Is(err, ErrInventory) {
		t.Errorf("an altered transcript: %v", err)
	}
}

// TestPIN: a production vault takes the PIN as a credential only, and nobody takes one that others can read.
func TestPIN(t *testing.T) {
	dir, credentials := t.TempDir(), t.TempDir()
	write := func(path string, mode os.FileMode) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("1234\n"), mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	pin := func(env perso.Env) error {
		p, err := (&Site{Dir: dir, Config: Config{Env: env}}).readPIN()
		if err == nil && p.Len() != 4 {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	own := filepath.Join(dir, "vault", "pin")
	write(own, 0o600)
	if err := pin(perso.EnvTest); err != nil {
		t.Error(err)
	}
	if err := pin(perso.EnvProduction); err == nil {
		t.Error("production read the site's file")
	}
	write(own, 0o644)
	if err := pin(perso.EnvTest); err == nil {
		t.Error("a PIN that others can read was taken")
	}
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	write(filepath.Join(credentials, "hsm-pin"), 0o400)
	if err := pin(perso.EnvProduction); err != nil {
		t.Error(err)
	}
}
