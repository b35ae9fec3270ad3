package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/persoline/persoline/perso"
)

// maxSealedBytes bounds a sealed OP: 16 bytes with version, nonce and tag are 45, a TOP has 61.
const maxSealedBytes = 256

// OPFolder is a folder of sealed operator keys, one file <name>.sealed for each.
type OPFolder string

// SealedOP reads one.
func (d OPFolder) SealedOP(op perso.Name) ([]byte, error) {
	path, err := d.path(op)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if err == nil && len(b) > maxSealedBytes {
		err = fmt.Errorf("%d bytes, at most %d", len(b), maxSealedBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("reading sealed OP: %w", err)
	}
	return b, nil
}

// Put stores a new one durably; a name in use is refused. The name comes into use with its whole content: a ceremony that was
// killed here finds nothing, or the key.
func (d OPFolder) Put(op perso.Name, sealed []byte) error {
	path, err := d.path(op)
	if err != nil {
		return err
	}
	// What a crash left is taken away, never written over: it may be the key itself under its other name.
	if err = os.Remove(path + tempSuffix); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = writeSynced(path+tempSuffix, os.O_EXCL, sealed)
	}
	if err == nil {
		err = errors.Join(os.Link(path+tempSuffix, path), os.Remove(path+tempSuffix), SyncDir(string(d)))
	}
	if err != nil {
		return fmt.Errorf("storing sealed OP: %w", err)
	}
	return nil
}

func (d OPFolder) path(op perso.Name) (string, error) {
	if _, err := perso.ParseName(string(op)); err != nil {
		return "", fmt.Errorf("naming sealed OP: %w", err)
	}
	return filepath.Join(string(d), string(op)+".sealed"), nil
}
