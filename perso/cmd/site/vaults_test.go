package site

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/keygen/ceremony"
	"github.com/persoline/persoline/keygen/journal"
	"github.com/persoline/persoline/perso"
)

func TestVaultNames(t *testing.T) {
	t.Parallel()
	lines := NumberedLines(2, 4, "")
	for name, vaults := range map[string][]perso.Name{
		"a line's": {"vault-1", "line-2"}, "a zone's": {"ledger"}, "twice": {"a", "a"}, "no name": {""}, "a path": {"../a"}, "too many": make([]perso.Name, MaxVaults+1),
	} {
		if err := checkVaults(vaults, lines); err == nil {
			t.Errorf("%s: %q is accepted", name, vaults)
		}
	}
	if err := errors.Join(checkVaults(numberedVaults(MaxVaults), lines), checkVaults(nil, lines)); err != nil {
		t.Error(err)
	}
	if n := numberedVaults(1); n != nil {
		t.Errorf("a site with one vault names it: %q", n)
	}
}

// TestOnlyVaultRemembers: the log vault of a site that names one vault has what it gave away when there were more, and assigns
// nothing; of two it assigns, and the other has no such memory.
func TestOnlyVaultRemembers(t *testing.T) {
	t.Parallel()
	s := &Site{Dir: t.TempDir(), Config: Config{Version: configVersion, Env: perso.EnvTest, Site: "S1", Lines: NumberedLines(1, 1, "")}}
	if err := os.MkdirAll(s.keysPath(""), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := journal.CreateMemory(s.keysPath(ceremony.FolderMemory))
	if err = errors.Join(err, s.makeVaultState("vault-2")); err != nil {
		t.Fatal(err)
	}
	for _, vaults := range [][]perso.Name{nil, {firstVault, "vault-2"}} {
		s.Config.Vaults = vaults
		for i, name := range s.VaultNames() {
			c, _, _ := s.vaultConfig(name, nil) // it lacks what the ceremony makes
			if c.Memory == nil || (c.Assignments != nil) != (i == 0) || c.Sole != (len(vaults) == 0) {
				t.Errorf("%q of %q: assignments %v, sole %t", name, vaults, c.Assignments, c.Sole)
			}
		}
	}
}

// TestAddVaultAfterACrash: whatever a crash left of a vault before site.json named it is made anew; what a vault kept is not.
func TestAddVaultAfterACrash(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		left func(s *Site, memory string) error
		want string
	}{
		"all but site.json": {func(s *Site, _ string) error { return s.makeVaultState("vault-2") }, ""},
		"one folder":        {func(s *Site, memory string) error { return os.MkdirAll(filepath.Dir(memory), 0o700) }, ""},
		"half a memory":     {func(s *Site, memory string) error { return os.MkdirAll(filepath.Join(memory, "lots"), 0o700) }, ""},
		"an empty checkpoint": {func(s *Site, memory string) error {
			return errors.Join(os.MkdirAll(memory, 0o700), os.WriteFile(filepath.Join(memory, "checkpoint"), nil, 0o600))
		}, ""},
		"a vault that followed": {func(s *Site, memory string) error {
			if err := s.makeVaultState("vault-2"); err != nil {
				return err
			}
			m, err := journal.OpenMemory(memory)
			if err != nil {
				return err
			}
			return m.RememberCheckpoint(7, [32]byte{1})
		}, "followed a log to 7 entries"},
		"receipts": {func(s *Site, memory string) error {
			return errors.Join(s.makeVaultState("vault-2"), os.WriteFile(filepath.Join(s.vaultState("vault-2", ceremony.FolderJournal), "L1.journal"), nil, 0o600))
		}, "is what a vault kept"},
		"a torn checkpoint": {func(s *Site, memory string) error {
			return errors.Join(s.makeVaultState("vault-2"), os.WriteFile(filepath.Join(memory, "checkpoint"), []byte("x"), 0o600))
		}, "checkpoint"},
	} {
		s := &Site{Dir: t.TempDir(), Config: Config{Version: configVersion, Env: perso.EnvTest, Site: "S1", Lines: NumberedLines(1, 1, "")}}
		memory := s.vaultState("vault-2", ceremony.FolderMemory)
		if err := errors.Join(os.Mkdir(s.path("vault"), 0o700), s.save("site.json"), c.left(s, memory)); err != nil {
			t.Fatal(err)
		}
		_, err := AddVault(s.Dir, "vault-2")
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if again, openErr := Open(s.Dir); openErr != nil || slices.Contains(again.VaultNames(), "vault-2") != (err == nil) {
			t.Errorf("%s: site.json: %v", name, openErr)
		}
		if _, err := journal.OpenMemory(memory); c.want == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAddVault: the new vault has a memory and receipts of its own, the log vault keeps its, and a running site is refused.
func TestAddVault(t *testing.T) {
	t.Parallel()
	s := &Site{Dir: t.TempDir(), Config: Config{Version: configVersion, Env: perso.EnvTest, Site: "S1", Lines: NumberedLines(1, 1, "")}}
	if err := errors.Join(os.Mkdir(s.path("vault"), 0o700), s.save("site.json")); err != nil {
		t.Fatal(err)
	}
	signed := s.vaultState(s.logVault(), ceremony.FolderMemory)
	release, err := Hold(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := AddVault(s.Dir, "vault-2"); !errors.Is(err, ErrRunning) {
		t.Errorf("added while the site runs: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	for i, name := range []perso.Name{"vault-2", "vault-3"} {
		if s, err = AddVault(s.Dir, name); err != nil {
			t.Fatal(err)
		}
		if _, err := journal.OpenMemory(s.vaultState(name, ceremony.FolderMemory)); err != nil {
			t.Error(err)
		}
		if again, err := Open(s.Dir); err != nil || !slices.Equal(again.VaultNames(), []perso.Name{firstVault, "vault-2", "vault-3"}[:i+2]) {
			t.Errorf("site.json: %v, %v", again, err)
		}
	}
	for _, bad := range []perso.Name{"vault-1", "vault-2", "line-1"} {
		if _, err := AddVault(s.Dir, bad); err == nil {
			t.Errorf("%s is added again", bad)
		}
	}
	if now := s.vaultState(s.logVault(), ceremony.FolderMemory); now != signed || !strings.Contains(now, filepath.Join("vault", "keys")) {
		t.Errorf("the log vault's memory moved from %q to %q", signed, now)
	}
	var names []string
	for _, p := range s.Processes() {
		names = append(names, p.Name)
	}
	if want := []string{"bus", "vault", "vault-2", "vault-3", "ledger", "line-1"}; !slices.Equal(names, want) {
		t.Errorf("processes %q, want %q", names, want)
	}
}
