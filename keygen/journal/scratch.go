package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/persoline/persoline/keygen"
)

const scratchPrefix = ".scratch-" // no perso.Name has a dot

// Scratch gives a file beside the receipts that has no name, so that it is gone with whoever has it open.
func (j *Journal) Scratch() (keygen.Scratch, error) {
	f, err := os.CreateTemp(j.dir, scratchPrefix)
	if err != nil {
		return nil, fmt.Errorf("making a scratch file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("taking the name of a scratch file: %w", err), f.Close())
	}
	return f, nil
}

// dropScratch removes what was killed between the two steps of Scratch.
func dropScratch(dir string) error {
	left, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var all []error
	for _, f := range left {
		if strings.HasPrefix(f.Name(), scratchPrefix) {
			all = append(all, os.Remove(filepath.Join(dir, f.Name())))
		}
	}
	return errors.Join(all...)
}
