package site

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/persoline/persoline/keygen/ceremony"
	"github.com/persoline/persoline/keygen/journal"
	"github.com/persoline/persoline/perso"
)

// MaxVaults bounds the vaults of one site: more processes than a machine has cores for, or a network HSM connections.
const MaxVaults = 16

// firstVault is the one vault of a site that names none.
const firstVault perso.Name = "vault-1"

// VaultNames are the site's vaults, the log vault first.
func (s *Site) VaultNames() []perso.Name {
	if len(s.Config.Vaults) == 0 {
		return []perso.Name{firstVault}
	}
	return s.Config.Vaults
}

// logVault is the one that signs the log.
func (s *Site) logVault() perso.Name { return s.VaultNames()[0] }

// VaultProcess names a vault's process and log: the log vault is "vault", as the only one of most sites, others go by
// their own names.
func (s *Site) VaultProcess(vault perso.Name) string {
	if vault == s.logVault() {
		return ZoneVault
	}
	return string(vault)
}

func checkVaults(vaults []perso.Name, lines []Line) error {
	if len(vaults) > MaxVaults {
		return fmt.Errorf("%d vaults; at most %d are possible", len(vaults), MaxVaults)
	}
	taken := map[perso.Name]bool{ZoneBus: true, ZoneVault: true, ZoneLedger: true, ZoneFarm: true}
	for i := 2; i <= MaxLedgers; i++ {
		taken[perso.Name(fmt.Sprintf("%s-%d", ZoneLedger, i))] = true
	}
	for _, l := range lines {
		taken[l.Name] = true
	}
	for _, v := range vaults {
		if _, err := perso.ParseName(string(v)); err != nil {
			return fmt.Errorf("vault %q: %w", v, err)
		}
		if taken[v] {
			return fmt.Errorf("vault %q: the name is taken", v)
		}
		taken[v] = true
	}
	return nil
}

// numberedVaults are the names of a new site's vaults; one vault needs none.
func numberedVaults(n int) (names []perso.Name) {
	for i := 1; n > 1 && i <= n; i++ {
		names = append(names, perso.Name(fmt.Sprintf("vault-%d", i)))
	}
	return names
}

// vaultState is where a vault keeps its receipts and its memory. The log vault's are where the ceremony made them, whatever
// its name: no other folder says what was signed last.
func (s *Site) vaultState(vault perso.Name, folder string) string {
	if vault == s.logVault() {
		return s.keysPath(folder)
	}
	return s.path("vault", "state", string(vault), folder)
}

// makeVaultState makes the folders of a vault beside the log vault. What is there is left alone, and refused, but for what a
// crash left of an attempt before.
func (s *Site) makeVaultState(vault perso.Name) error {
	if err := s.clearUnused(vault); err != nil {
		return fmt.Errorf("making the folders of vault %q: %w", vault, err)
	}
	if err := os.MkdirAll(s.path("vault", "state"), 0o700); err != nil {
		return fmt.Errorf("making the folders of vault %q: %w", vault, err)
	}
	err := errors.Join(os.Mkdir(s.path("vault", "state", string(vault)), 0o700), os.Mkdir(s.vaultState(vault, ceremony.FolderJournal), 0o700))
	if err == nil {
		_, err = journal.CreateMemory(s.vaultState(vault, ceremony.FolderMemory))
	}
	if err == nil {
		err = errors.Join(journal.SyncDir(s.path("vault", "state")), journal.SyncDir(s.path("vault")))
	}
	if err != nil {
		return fmt.Errorf("making the folders of vault %q: %w", vault, err)
	}
	return nil
}

// clearUnused removes the folders of a vault that never kept anything: a crash came before site.json named it. What a vault kept
// is refused, also of one that is not named any more: who needs it again names it there.
func (s *Site) clearUnused(vault perso.Name) error {
	folder := s.path("vault", "state", string(vault))
	memory := s.vaultState(vault, ceremony.FolderMemory)
	begun := false // whether CreateMemory came so far
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if filepath.Dir(path) != memory {
			return fmt.Errorf("%q is what a vault kept", path)
		}
		begun = begun || info.Size() > 0
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && begun {
		err = signedNothing(memory)
	}
	if err != nil {
		return fmt.Errorf("its folder %q is there, and in use: %w", folder, err)
	}
	return os.RemoveAll(folder)
}

// signedNothing refuses the memory of a vault that followed a log.
func signedNothing(memory string) error {
	m, err := journal.OpenMemory(memory)
	if err != nil {
		return err
	}
	if _, began, err := m.Life(); err != nil || began {
		return errors.Join(err, fmt.Errorf("%q says that the vault was started", memory))
	}
	r, err := m.Recall()
	if err == nil && r.Size != 0 {
		err = fmt.Errorf("%q says that the vault followed a log to %d entries", memory, r.Size)
	}
	return err
}

// AddVault gives an existing site one more vault. Its zones must be stopped: each reads site.json when it starts.
func AddVault(dir string, name perso.Name) (*Site, error) {
	if err := CheckIdle(dir); err != nil {
		return nil, err
	}
	s, err := Open(dir)
	if err != nil {
		return nil, err
	}
	s.Config.Vaults = append(slices.Clone(s.VaultNames()), name)
	if err := s.Config.validate(); err != nil {
		return nil, fmt.Errorf("adding a vault: %w", err)
	}
	if err := s.makeVaultState(name); err != nil {
		return nil, err
	}
	// COMMIT POINT: from here on the site has the vault.
	if err := s.replace(); err != nil {
		return nil, fmt.Errorf("adding a vault: %w", err)
	}
	return s, nil
}

// replace puts the configuration into the place of the one on the disk: whole, or not at all.
func (s *Site) replace() error {
	const next = "site.json.new"
	if err := os.Remove(s.path(next)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := s.save(next); err != nil {
		return err
	}
	return errors.Join(os.Rename(s.path(next), s.path("site.json")), journal.SyncDir(s.Dir))
}
