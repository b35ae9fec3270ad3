package backup

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/persoline/persoline/perso/checkpoint"
)

// Limits of the small files.
const (
	maxManifestBytes = 64 << 10
	maxNoteBytes     = 16 << 10
)

// Verify reads a whole backup and holds it against its manifest, the log against its root, its tiles and its checkpoint, and its
// folder's name against the manifest. held are checkpoints that somebody keeps outside: one of more entries than the backup has
// is younger, and says nothing about it. It needs no ledger, no database and no network.
func Verify(dir string, held [][]byte, told func(rows uint64)) (Manifest, error) {
	m, err := verify(dir, told, held...)
	if err == nil && strings.HasPrefix(filepath.Base(dir), folderPrefix) {
		raw, rerr := os.ReadFile(filepath.Join(dir, ManifestFile))
		if err = rerr; err == nil && filepath.Base(dir) != folderName(m.Size, raw) {
			err = damaged("its manifest is not the one that the folder is named after")
		}
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("verifying backup %q: %w", dir, err)
	}
	return m, nil
}

// Newest finds the backup under a folder that was made last: what the redo log leads on from, for as long as it is kept.
func Newest(under string) (dir string, err error) {
	all, err := filepath.Glob(filepath.Join(under, folderPrefix+"*"))
	if err != nil {
		return "", err
	}
	var newest Manifest
	for _, d := range all {
		o, err := open(d)
		if err != nil {
			return "", fmt.Errorf("looking for the newest backup: %q: %w", d, err)
		}
		if dir == "" || later(o.m, newest) {
			dir, newest = d, o.m
		}
		if err := o.Close(); err != nil {
			return "", err
		}
	}
	if dir == "" {
		return "", fmt.Errorf("there is no backup in %q: name the folder of one", under)
	}
	return dir, nil
}

// later says whether a backup was made after another: by what it holds, and by its clock where both hold as much.
func later(m, than Manifest) bool {
	return cmp.Or(cmp.Compare(m.Size, than.Size), cmp.Compare(m.Redo.Seq, than.Redo.Seq), m.At.Compare(than.At)) > 0
}

// opened is a backup whose small files were read.
type opened struct {
	m      Manifest
	raw    []byte
	note   []byte // nil: it has none
	tables *os.File
}

func (o opened) Close() error { return o.tables.Close() }

func open(dir string) (o opened, err error) {
	if err := holdsBackup(dir); err != nil {
		return o, err
	}
	if o.raw, err = small(filepath.Join(dir, ManifestFile), maxManifestBytes); err != nil {
		return o, err
	}
	if o.m, err = ParseManifest(o.raw); err != nil {
		return o, damaged("%v", err)
	}
	if o.m.Signed > 0 {
		if o.note, err = small(filepath.Join(dir, noteFile), maxNoteBytes); err != nil {
			return o, err
		}
	}
	if o.tables, err = os.Open(filepath.Join(dir, tablesFile)); errors.Is(err, fs.ErrNotExist) {
		err = damaged("file %s is missing", tablesFile)
	}
	return o, err
}

// holdsBackup tells a folder that is none, or has no backup in it, from a backup that lacks a file: only that is damaged.
func holdsBackup(dir string) error {
	if _, err := os.ReadDir(dir); err != nil {
		return err
	}
	for _, name := range []string{ManifestFile, tablesFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("%w in %q", ErrNoBackup, dir)
}

func small(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, damaged("file %s is missing", filepath.Base(path))
	}
	if err != nil {
		return nil, err
	}
	if info.Size() > most {
		return nil, damaged("file %s has %d bytes", filepath.Base(path), info.Size())
	}
	return os.ReadFile(path)
}

func verify(dir string, told func(uint64), held ...[]byte) (Manifest, error) {
	o, err := open(dir)
	if err != nil {
		return o.m, err
	}
	c, err := o.check(held)
	if err == nil {
		err = readTables(o.tables, o.m, told, c)
	}
	if err == nil {
		err = o.holds(c, held)
	}
	return o.m, errors.Join(err, o.Close())
}

// check makes the log's check, which computes the root at each size that is asked about.
func (o opened) check(held [][]byte) (*logCheck, error) {
	at := []int64{o.m.Size, o.m.Signed}
	for _, note := range held {
		cp, err := sizeOf(note)
		if err != nil {
			return nil, err
		}
		at = append(at, cp)
	}
	return newLogCheck(at...), nil
}

// sizeOf reads of how many entries a checkpoint is, before the key is known that its signature is held against.
func sizeOf(note []byte) (int64, error) {
	text, _, _ := strings.Cut(string(note), "\n\n")
	cp, err := checkpoint.ParseText(text + "\n")
	if err != nil {
		return 0, fmt.Errorf("reading a checkpoint: %w", err)
	}
	return cp.Size, nil
}

// holds judges the log when it was read.
func (o opened) holds(c *logCheck, held [][]byte) error {
	m := o.m
	if c.log.Size() != m.Size || c.roots[m.Size] != m.Root {
		return damaged("its log has %d entries, and another root than the manifest's of %d", c.log.Size(), m.Size)
	}
	g := c.genesis
	if g.Env != m.Env || g.Site != m.Site || g.Origin != m.Origin {
		return damaged("its log is of site %s (%s)", g.Site, g.Env)
	}
	if m.Signed > 0 {
		if n, err := sizeOf(o.note); err != nil || n != m.Signed {
			return damaged("its checkpoint is of %d entries, not of %d: %v", n, m.Signed, err)
		}
		if err := c.holds(o.note); err != nil {
			return damaged("its checkpoint: %v", err)
		}
	}
	for _, note := range held {
		if err := c.holdsOutside(note); err != nil && !errors.Is(err, ErrRolledBack) {
			return err
		}
	}
	return nil
}

// holdsOutside checks a checkpoint that somebody keeps, cosigned or not.
func (c *logCheck) holdsOutside(note []byte) error {
	cp, _, err := checkpoint.OpenCosigned(note, c.genesis.Origin, c.genesis.LogKey, nil)
	if err != nil {
		return fmt.Errorf("reading the checkpoint that was kept: %w", err)
	}
	return c.continues(cp)
}
