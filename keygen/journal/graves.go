package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/record"
)

const (
	kindDestroyed   = "vault-lot-destroyed"
	folderDestroyed = "destroyed"
)

// RememberDestroyed notes that a lot's key may never be used again: a file in the memory's folder destroyed, made once. A
// memory from before there were such notes gets the folder now.
func (m *Memory) RememberDestroyed(lot perso.Name, g keygen.Grave) error {
	dir := filepath.Join(m.dir, folderDestroyed)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("writing vault memory: %w", err)
	}
	if err := SyncDir(m.dir); err != nil {
		return fmt.Errorf("writing vault memory: %w", err)
	}
	if _, found, err := m.Destroyed(lot); err != nil || found {
		return errors.Join(err, fmt.Errorf("writing vault memory: lot %q is noted as destroyed already, or its note cannot be read", lot))
	}
	return m.put(filepath.Join(folderDestroyed, string(lot)), record.New(kindDestroyed).Str("lot", string(lot)).Hex("statement", g.Statement[:]).
		Uint("copies", g.Copies).Time("at", g.At))
}

// Destroyed reads such a note.
func (m *Memory) Destroyed(lot perso.Name) (g keygen.Grave, found bool, err error) {
	if _, err := perso.ParseName(string(lot)); err != nil {
		return g, false, err
	}
	b, err := os.ReadFile(filepath.Join(m.dir, folderDestroyed, string(lot)))
	if errors.Is(err, fs.ErrNotExist) {
		return g, false, nil
	}
	if err == nil && len(b) > maxMemoryBytes {
		err = ErrCorrupt
	}
	if err != nil {
		return g, false, fmt.Errorf("reading vault memory: %w", err)
	}
	r, err := record.Parse(b, kindDestroyed)
	if err != nil {
		return g, false, fmt.Errorf("reading vault memory of destroyed lot %q: %w", lot, err)
	}
	name := r.Raw("lot")
	g.Statement, g.Copies, g.At = r.Hash("statement"), r.Uint("copies", 16), r.Time("at")
	if err := r.Done(); err != nil || name != string(lot) {
		return g, false, fmt.Errorf("reading vault memory of destroyed lot %q: %w", lot, errors.Join(ErrCorrupt, err))
	}
	return g, true, nil
}
