package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/persoline/persoline/perso/statement"
)

const (
	folderWords = "words"
	// maxWords bounds how often a site may change its officers, freeze something and let it go on.
	maxWords = 1_000_000
)

// RememberWord adds what officers said of the site: a file in the memory's folder words, numbered from 0, made once. A memory from
// before vaults were told gets the folder now.
func (m *Memory) RememberWord(n uint64, word []byte) error {
	dir := filepath.Join(m.dir, folderWords)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("writing vault memory: %w", err)
	}
	if err := SyncDir(m.dir); err != nil {
		return fmt.Errorf("writing vault memory: %w", err)
	}
	path := filepath.Join(dir, wordName(n))
	there, err := os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) && !bytes.Equal(there, word) || n >= maxWords || len(word) > statement.MaxSignedBytes {
		return fmt.Errorf("writing vault memory: word %d of %d bytes is there already, and another one, or too much: %w", n, len(word), errors.Join(ErrCorrupt, err))
	}
	if err := writeSynced(path+tempSuffix, os.O_TRUNC, word); err != nil {
		return fmt.Errorf("writing vault memory: word %d: %w", n, err)
	}
	if err := errors.Join(os.Rename(path+tempSuffix, path), SyncDir(dir)); err != nil {
		return fmt.Errorf("writing vault memory: word %d: %w", n, err)
	}
	return nil
}

// Heard reads them all, in their order. One that is missing before another is an error: what it forbade would be allowed.
func (m *Memory) Heard() (words [][]byte, err error) {
	dir := filepath.Join(m.dir, folderWords)
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading vault memory: %w", err)
	}
	for _, f := range files { // in the order of their names
		if filepath.Ext(f.Name()) == tempSuffix {
			continue // a crash came between its writing and its naming: nobody was told of it
		}
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err == nil && (f.Name() != wordName(uint64(len(words))) || len(b) == 0 || len(b) > statement.MaxSignedBytes) {
			err = ErrCorrupt
		}
		if err != nil {
			return nil, fmt.Errorf("reading vault memory of word %q: %w", f.Name(), err)
		}
		words = append(words, b)
	}
	return words, nil
}

func wordName(n uint64) string { return fmt.Sprintf("%06d", n) }
