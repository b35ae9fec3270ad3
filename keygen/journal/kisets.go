package journal

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/record"
)

const (
	kindKiSet   = "vault-ki-set"
	folderKi    = "ki"
	printSuffix = ".prints"
)

// A set is two files in the memory's folder ki, named by the hash of the order's number: a record, and the prints that it names by
// their hash. The prints are there first; prints without their record are of a set that nobody was told of.

func kiName(o order.ID) string {
	h := sha256.Sum256([]byte(o))
	return hex.EncodeToString(h[:16])
}

// KiSets reads which files the vault holds prints of.
func (m *Memory) KiSets() (sets []keygen.KiSet, err error) {
	files, err := os.ReadDir(filepath.Join(m.dir, folderKi))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading vault memory: %w", err)
	}
	for _, f := range files {
		if filepath.Ext(f.Name()) != "" {
			continue
		}
		s, _, err := m.kiSet(f.Name())
		if err != nil {
			return nil, err
		}
		sets = append(sets, s)
	}
	return sets, nil
}

// kiSet reads a set's record, and the name of the file of its prints.
func (m *Memory) kiSet(name string) (s keygen.KiSet, prints [32]byte, err error) {
	r, err := m.readLot(folderKi, kindKiSet, name)
	if err != nil {
		return s, prints, err
	}
	s.Order, err = order.ParseID(r.Raw("order"))
	r.Check(err)
	s.Root, s.Rows, prints = r.Hash("root"), r.Uint("rows", 32), r.Hash("prints")
	if err := r.Done(); err != nil || kiName(s.Order) != name || s.Rows == 0 {
		return s, prints, fmt.Errorf("reading vault memory of Ki %q: %w", name, errors.Join(ErrCorrupt, err))
	}
	return s, prints, nil
}

// KeepKi writes a set's prints, then its record in the place of the one before.
func (m *Memory) KeepKi(s keygen.KiSet, prints func(emit func(keygen.KiPrint) error) error) error {
	dir := filepath.Join(m.dir, folderKi)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("writing vault memory: %w", err)
	}
	if err := errors.Join(SyncDir(m.dir), m.sweepKi(dir)); err != nil {
		return fmt.Errorf("writing vault memory: %w", err)
	}
	hash, err := writePrints(filepath.Join(dir, kiName(s.Order)+tempSuffix), s.Rows, prints)
	if err != nil {
		return fmt.Errorf("writing prints of Ki: %w", err)
	}
	if err := os.Rename(filepath.Join(dir, kiName(s.Order)+tempSuffix), m.printFile(s.Order, hash)); err != nil {
		return fmt.Errorf("writing prints of Ki: %w", err)
	}
	if err := SyncDir(dir); err != nil {
		return fmt.Errorf("writing prints of Ki: %w", err)
	}
	return m.put(filepath.Join(folderKi, kiName(s.Order)), record.New(kindKiSet).Str("order", string(s.Order)).Hex("root", s.Root[:]).Uint("rows", s.Rows).Hex("prints", hash[:]))
}

// printFile has the beginning of its content's hash in its name, so that a set that takes another's place never writes over it.
func (m *Memory) printFile(o order.ID, hash [32]byte) string {
	return filepath.Join(m.dir, folderKi, kiName(o)+"."+hex.EncodeToString(hash[:8])+printSuffix)
}

// sweepKi removes prints that no record names: a crash came before it, or their set was replaced or dropped.
func (m *Memory) sweepKi(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	named := map[string]bool{}
	for _, f := range files {
		if filepath.Ext(f.Name()) == "" {
			s, hash, err := m.kiSet(f.Name())
			if err != nil {
				return err
			}
			named[filepath.Base(m.printFile(s.Order, hash))] = true
		}
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), printSuffix) && !named[f.Name()] {
			if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func writePrints(path string, rows uint64, prints func(emit func(keygen.KiPrint) error) error) (hash [32]byte, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return hash, err
	}
	h := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(f, h), 1<<16)
	n := uint64(0)
	err = prints(func(p keygen.KiPrint) error {
		n++
		_, err := w.Write(p.Bytes())
		return err
	})
	if err == nil && n != rows {
		err = fmt.Errorf("%d prints of %d rows", n, rows)
	}
	if err = errors.Join(err, w.Flush()); err == nil {
		err = f.Sync()
	}
	h.Sum(hash[:0])
	return hash, errors.Join(err, f.Close())
}

// KiPrints opens a set's prints. Their hash and their order are checked as they are read.
func (m *Memory) KiPrints(o order.ID) (keygen.Prints, error) {
	s, hash, err := m.kiSet(kiName(o))
	if err != nil {
		return nil, err
	}
	f, err := os.Open(m.printFile(o, hash))
	if err != nil {
		return nil, fmt.Errorf("reading prints of Ki: %w", err)
	}
	p := &printReader{f: f, left: s.Rows, want: hash}
	if err := p.check(); err != nil {
		return nil, errors.Join(fmt.Errorf("reading prints of order %q: %w", o, err), f.Close())
	}
	return p, nil
}

type printReader struct {
	f    *os.File
	r    *bufio.Reader
	left uint64
	want [32]byte
}

// check reads the file once through: a print that the disk lost would let a Ki pass.
func (p *printReader) check() error {
	h := sha256.New()
	if _, err := io.Copy(h, p.f); err != nil {
		return err
	}
	if !bytes.Equal(h.Sum(nil), p.want[:]) {
		return ErrCorrupt
	}
	_, err := p.f.Seek(0, io.SeekStart)
	p.r = bufio.NewReaderSize(p.f, 1<<16)
	return err
}

// Next gives the next print, and io.EOF after the last.
func (p *printReader) Next() (keygen.KiPrint, error) {
	if p.left == 0 {
		return keygen.KiPrint{}, io.EOF
	}
	var b [keygen.KiPrintBytes]byte
	if _, err := io.ReadFull(p.r, b[:]); err != nil {
		return keygen.KiPrint{}, errors.Join(ErrCorrupt, fmt.Errorf("reading prints of Ki: %d are missing", p.left))
	}
	p.left--
	return keygen.KiPrintOf(b[:]), nil
}

func (p *printReader) Close() error { return p.f.Close() }

// DropKi takes a set away: its record first, so that no record is without its prints.
func (m *Memory) DropKi(o order.ID) error {
	_, hash, err := m.kiSet(kiName(o))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	dir := filepath.Join(m.dir, folderKi)
	if err := errors.Join(os.Remove(filepath.Join(dir, kiName(o))), SyncDir(dir)); err != nil {
		return fmt.Errorf("dropping prints of Ki: %w", err)
	}
	return os.Remove(m.printFile(o, hash))
}
