package auditor

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/ledger/audit"
	"github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/cmd/console"
	"github.com/persoline/persoline/perso/statement/transcript/transcripttest"
)

// TestEvidenceOfTwoSites: a bundle and an inventory that each hold by themselves fail the check of ceremonies when they are of two sites,
// also without a pin; the same inventory without the bundle passes.
func TestEvidenceOfTwoSites(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := audittest.New()
	s.Release("L1", 0, 2, 1).Finish()
	bundle, inventory := filepath.Join(dir, "bundle"), filepath.Join(dir, "inventory")
	if err := os.CopyFS(bundle, s.Bundle("L1")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(inventory, 0o700); err != nil {
		t.Fatal(err)
	}
	other := transcripttest.New()
	if err := os.WriteFile(filepath.Join(inventory, "0001.transcript"), other.Hold(other.Order(transcripttest.Generate("log/S1"))).Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		with []string
		says string
	}{
		"together": {[]string{"--bundle", bundle}, "FAILED       check ceremony: the inventory is of site S1 (test), the bundle of site site-1 (test)"},
		"alone":    {nil, "passed       check ceremony"},
	} {
		env := console.New(strings.NewReader(""), new(bytes.Buffer), new(bytes.Buffer))
		cmd := newEvidenceCmd(&env)
		out := filepath.Join(dir, name)
		cmd.SetArgs(append(c.with, "--map", "../../../deploy/sas_map.yaml", "--inventory", inventory, "-o", out))
		if err := cmd.Execute(); (err != nil) != (c.with != nil) {
			t.Errorf("%s: %v", name, err)
		}
		text, err := os.ReadFile(filepath.Join(out, "evidence.txt"))
		if err != nil || !strings.Contains(string(text), c.says) {
			t.Errorf("%s: %v, %q is not in\n%s", name, err, c.says, text)
		}
	}
}

// TestOneSite: environment, site and register of bundle and inventory are compared.
func TestOneSite(t *testing.T) {
	t.Parallel()
	s := transcripttest.New()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "0001.transcript"), s.Hold(s.Order(transcripttest.Generate("log/S1"))).Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := audit.VerifyCeremonies(os.DirFS(dir), [32]byte{})
	if err != nil {
		t.Fatal(err)
	}
	pin := s.Register[0].Hash()
	for name, r := range map[string]audit.Report{
		"":                            {Env: perso.EnvTest, Site: "S1", Keys: []audit.Key{{Name: "log key", Fingerprint: []byte{1}}, {Name: audit.KeyRegister, Fingerprint: pin[:]}}},
		"of site":                     {Env: perso.EnvTest, Site: "S2", Keys: []audit.Key{{Name: audit.KeyRegister, Fingerprint: pin[:]}}},
		"production":                  {Env: perso.EnvProduction, Site: "S1", Keys: []audit.Key{{Name: audit.KeyRegister, Fingerprint: pin[:]}}},
		"of another officer register": {Env: perso.EnvTest, Site: "S1", Keys: []audit.Key{{Name: audit.KeyRegister, Fingerprint: make([]byte, 32)}}},
	} {
		if err := ofOneSite(r, c); (err == nil) != (name == "") || err != nil && !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
