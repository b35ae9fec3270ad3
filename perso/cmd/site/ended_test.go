package site

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestZoneEnds runs zones that die in different ways, and wants to hear why: in words, and under keys that programs know.
func TestZoneEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ script, how, words string }{
		"refuses":       {"echo 'perso: error: opening the token: no such label\nperso: hint: look' >&2; exit 1", "exit status 1", "opening the token: no such label"},
		"panics":        {"echo 'panic: no such thing\n\ngoroutine 1 [running]:' >&2; exit 2", "exit status 2", "panic: no such thing"},
		"logs":          {`echo '{"level":"ERROR","msg":"request failed","err":"disk full"}'; echo '{"level":"INFO","msg":"stopping"}'; exit 1`, "exit status 1", "request failed: disk full"},
		"is killed":     {"kill -9 $$", "killed by signal 9 (killed)", ""},
		"says nothing":  {"echo all is well", "exit status 0", ""},
		"moves cursors": {"printf 'perso: error: \\033[2Jx\\n' >&2; exit 1", "exit status 1", "_[2Jx"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := errors.Join(os.Mkdir(filepath.Join(dir, "log"), 0o700),
				os.WriteFile(filepath.Join(dir, "log", "z.log"), []byte("perso: error: of yesterday\n"), 0o600)); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			v := NewSupervisor(&Site{Dir: dir}, slog.New(slog.DiscardHandler))
			v.Program = "/bin/sh"
			var first Ended
			v.Told = func(e Ended) {
				if first.Zone == "" {
					first = e
				}
				cancel()
			}
			if err := v.Run(ctx, []Process{{Name: "z", Args: []string{"-c", c.script}}}); err != nil {
				t.Fatal(err)
			}
			if first.Zone != "z" || first.How != c.how || first.Words != c.words || first.Again != restartPause {
				t.Errorf("%+v, want %q and %q", first, c.how, c.words)
			}
			if s := first.String(); !strings.Contains(s, c.how) || !strings.Contains(s, c.words) || !strings.Contains(s, first.Log) {
				t.Errorf("people hear %q", s)
			}
		})
	}
	if e := howEnded(os.ErrNotExist); !strings.HasPrefix(e, "it could not be started: ") {
		t.Error(e)
	}
}

// TestZoneEndsForPrograms: whoever collects logs finds the same keys each time.
func TestZoneEndsForPrograms(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	v := NewSupervisor(&Site{}, slog.New(slog.NewJSONHandler(&out, nil)))
	v.tell(t.Context(), Ended{Zone: "vault", How: "exit status 1", Words: "no token", Log: "log/vault.log", Again: restartPause})
	var r map[string]any
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	delete(r, "time")
	want := map[string]any{"level": "WARN", "msg": "zone ended", "zone": "vault", "how": "exit status 1", "err": "no token", "log": "log/vault.log", "again_in": float64(restartPause)}
	if len(r) != len(want) {
		t.Errorf("%v", r)
	}
	for k, v := range want {
		if r[k] != v {
			t.Errorf("%s is %v, want %v", k, r[k], v)
		}
	}
}

// TestCatalogueOfASite: a site takes products, partners and profiles, and nothing else that lies beside them; without them nothing is made.
func TestCatalogueOfASite(t *testing.T) {
	t.Parallel()
	const deploy = "../../../deploy"
	dir := t.TempDir()
	s := &Site{Dir: dir}
	if err := s.copyCatalogue(deploy); err != nil {
		t.Fatal(err)
	}
	found, err := os.ReadDir(filepath.Join(dir, "catalogue"))
	if err != nil || len(found) != 3 || found[0].Name() != cataloguePartners || found[1].Name() != catalogueProducts || found[2].Name() != catalogueProfiles {
		t.Errorf("%v, %v", found, err)
	}
	if _, err := s.OrderCatalogue(); err != nil {
		t.Error(err)
	}
	lost := filepath.Join(dir, "lost")
	plan := InitPlan{Dir: lost, Name: "s", Lines: []Line{{Name: "line-1", Heads: 1}}, Catalogue: filepath.Join(dir, "nothing")}
	if _, err := Init(t.Context(), plan, slog.New(slog.DiscardHandler)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a catalogue: %v", err)
	}
	if _, err := os.Stat(lost); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("half a site was left behind: %v", err)
	}
}
