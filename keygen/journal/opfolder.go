package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/persoline/persoline/perso"
)

// maxSealedBytes bounds a sealed OP: 16 bytes with nonce and tag are 45.
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

// Put stores a new one durably; a name in use is refused.
func (d OPFolder) Put(op perso.Name, sealed []byte) error {
	path, err := d.path(op)
	if err != nil {
		return err
	}
	if err := errors.Join(writeSynced(path, os.O_EXCL, sealed), syncDir(string(d))); err != nil {
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
