package bundle

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/persoline/persoline/ledger/bundle/layout"
)

// Modes: the log tells which units one customer ordered, which another must not read.
const (
	folderMode fs.FileMode = 0o750
	fileMode   fs.FileMode = 0o640
)

// folder is a bundle before it has its name. It notes the hash of each file as it is written.
type folder struct {
	path   string
	parent string
	files  []layout.File
	dirs   map[string]bool // made in it
}

func newFolder(parent string) (*folder, error) {
	path, err := os.MkdirTemp(parent, ".bundle-*")
	if err != nil {
		return nil, err
	}
	return &folder{path: path, parent: parent, dirs: map[string]bool{path: true}}, os.Chmod(path, folderMode)
}

// add writes one file.
func (d *folder) add(path string, data []byte) error {
	f, err := d.create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.close())
}

// create begins a file that is written piece by piece.
func (d *folder) create(path string) (*file, error) {
	name := filepath.Join(d.path, filepath.FromSlash(path))
	for dir := filepath.Dir(name); !d.dirs[dir]; dir = filepath.Dir(dir) {
		if err := os.MkdirAll(dir, folderMode); err != nil {
			return nil, err
		}
		d.dirs[dir] = true
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, err
	}
	return &file{f: f, buf: bufio.NewWriterSize(f, 1<<16), sum: sha256.New(), dir: d, path: path}, nil
}

// file is one file of the bundle on its way to disk.
type file struct {
	f    *os.File
	buf  *bufio.Writer
	sum  hash.Hash
	size int64
	dir  *folder
	path string
}

func (f *file) Write(p []byte) (int, error) {
	f.sum.Write(p)
	f.size += int64(len(p))
	return f.buf.Write(p)
}

// close returns when the file is on disk, and lists it.
func (f *file) close() error {
	if err := errors.Join(f.buf.Flush(), f.f.Sync(), f.f.Close()); err != nil {
		return fmt.Errorf("writing %q: %w", f.path, err)
	}
	f.dir.files = append(f.dir.files, layout.File{Hash: [32]byte(f.sum.Sum(nil)), Size: f.size, Path: f.path})
	return nil
}

// publish gives the folder its name once every name in it is on disk. Rename refuses a target that is not empty.
func (d *folder) publish(target string) error {
	for dir := range d.dirs {
		if err := syncFolder(dir); err != nil {
			return err
		}
	}
	if err := os.Rename(d.path, target); err != nil {
		return err
	}
	return syncFolder(d.parent)
}

func (d *folder) remove() error { return os.RemoveAll(d.path) }

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
