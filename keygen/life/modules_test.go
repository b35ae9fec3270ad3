package life_test

import (
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/keygen/life"
)

// TestLivesOnModules: what the double says of lives, real modules say too. It is not parallel: a process has a module once.
func TestLivesOnModules(t *testing.T) {
	for name, fresh := range map[string]func(t *testing.T) hsm.Config{
		"SoftHSM": func(t *testing.T) hsm.Config {
			module := hsmtest.RequireSoftHSM(t)
			if err := hsmtest.NewSoftHSM(hsmtest.TempDir(t)); err != nil {
				t.Fatal(err)
			}
			return hsmtest.TestConfig(module)
		},
		"NSS": func(t *testing.T) hsm.Config {
			hsmtest.RequireNSS(t)
			cfg, err := hsmtest.NewNSS(hsmtest.TempDir(t))
			if err != nil {
				t.Fatal(err)
			}
			return cfg
		},
	} {
		t.Run(name, func(t *testing.T) {
			token, err := hsm.Open(ctx, fresh(t))
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := token.Close(); err != nil {
					t.Error(err)
				}
			}()
			d, now := newDisk(t), time.Date(2027, 3, 1, 8, 0, 0, 0, time.UTC)
			config := func(s life.Store) life.Config {
				return life.Config{Owner: owner, Token: token, Store: s, Folder: "vault", Now: func() time.Time { return now }, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
			}
			original, err := life.Begin(ctx, config(d))
			if err != nil {
				t.Fatal(err)
			}
			before := d.copied()
			if err := errors.Join(original.Turn(ctx), original.Look(ctx)); err != nil {
				t.Fatal(err)
			}
			if _, err := life.Begin(ctx, config(before)); !errors.Is(err, life.ErrOvertaken) {
				t.Errorf("an older copy: %v", err)
			}
			if _, err := life.Begin(ctx, config(newDisk(t))); !errors.Is(err, life.ErrLost) {
				t.Errorf("an empty state: %v", err)
			}
			if _, err := life.Begin(ctx, config(d.copied())); err != nil {
				t.Fatal(err)
			}
			now = now.Add(life.DefaultCheck)
			if err := original.Present(ctx); !errors.Is(err, life.ErrOvertaken) {
				t.Errorf("the original, which was overtaken: %v", err)
			}
			if keys, err := token.List(ctx); err != nil || len(keys) != 1 {
				t.Errorf("keys left: %v, %v", keys, err)
			}
		})
	}
}
