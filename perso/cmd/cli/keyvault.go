package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/persoline/persoline/keygen/ceremony"
	"github.com/persoline/persoline/keygen/journal"
)

// Folders of the vault, as a test ceremony makes them too.
const (
	folderOPs    = ceremony.FolderOPs
	folderMemory = ceremony.FolderMemory
)

// makeVault makes the vault's folders in the first ceremony: beside, then named, so that there is a whole one or none. A
// folder that is there is left alone.
func (r *ceremonyRoom) makeVault() error {
	if r.plan.Vault.Folder == "" {
		return nil
	}
	dir := filepath.Clean(r.path(r.plan.Vault.Folder))
	if _, err := os.Stat(dir); err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if r.plan.Number > 1 {
		return Hint(fmt.Errorf("the vault's folder %q is not there", dir), "the first ceremony makes it: is the path right?")
	}
	beside := dir + ".new" // left by a run that was cut off: nothing uses it under this name
	if err := os.RemoveAll(beside); err != nil {
		return fmt.Errorf("making the vault's folders: %w", err)
	}
	err := os.MkdirAll(filepath.Dir(dir), 0o755)
	for _, d := range []string{"", ceremony.FolderJournal, folderOPs} {
		err = errors.Join(err, os.Mkdir(filepath.Join(beside, d), 0o700))
	}
	if err == nil {
		_, err = journal.CreateMemory(filepath.Join(beside, folderMemory))
	}
	if err == nil {
		err = os.Rename(beside, dir)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(dir))
	}
	if err != nil {
		return fmt.Errorf("making the vault's folders: %w", err)
	}
	return nil
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
