package site

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
)

// TestSpoiltConfig: whoever has a damaged site hears which file it is, where, and what to do.
func TestSpoiltConfig(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                             "site.json is empty or cut off",
		"{\"version\": 1,":             "site.json is empty or cut off",
		"{\n\"version\": 1\n\"site\"}": "site.json, line 3, is no JSON",
		"{\n\"version\": \"one\"}":     `site.json, line 2: "version" is a string`,
		"{\"colour\": \"red\"}":        `site.json: unknown field "colour"`,
		"{\"version\": 99}":            "site.json: version is 99",
		"{} {}":                        "site.json goes on after its end",
		"{\"lines\": [{\"name\": \"a\", \"heads\": 1, \"bins\": [{\"name\": \"1\", \"takes\": [\"good\"], \"means\": \"output\"},\n{\"name\": \"2\", \"takes\": [\"reject-live\"], \"means\": \"destroy\"}," +
			"\n{\"name\": \"3\", \"takes\": [\"reject-blank\",\n\"reject-blank/bad-contct\"], \"means\": \"quality\"}]}]}": `site.json: line 4, column 1: lines[0].bins[2].takes[1]: bin "3": no chip is ever given the reason "bad-contct"; the reasons are mute, bad-contact, `,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "site.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir)
		if err == nil || s != nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "put the rest back from a copy") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestRedoOfSeveralProcesses: none of several ledger processes sees all transactions in order, so a redo log would lack what the others did:
// such a site does not start.
func TestRedoOfSeveralProcesses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		processes int
		redo      string
		want      string
	}{{2, "/mnt/redo", "ledger_processes 2: only one process can keep a redo log"}, {2, "redo", "only one process"}, {2, "", ""}, {1, "/mnt/redo", ""}, {0, "/mnt/redo", ""}} {
		cfg := Config{Version: configVersion, Env: perso.EnvTest, Site: "site-1", Lines: NumberedLines(1, 1, TransportFarm), Redo: c.redo,
			Database: &Database{URL: "postgres://perso@/ledger?host=/run/postgresql", Processes: c.processes}}
		err := cfg.validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d processes, redo %q: %v", c.processes, c.redo, err)
		}
	}
}
