// Package folder writes a folder that appears whole or not at all: beside its target under a passing name, every file and
// name on disk before it is renamed. Audit bundles and exports are such folders.
//
// It notes the hash of each file as it is written, for the manifest. A Folder is used by one goroutine.
package folder

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

// Modes: what is in such folders concerns one customer, which another must not read.
const (
	folderMode fs.FileMode = 0o750
	fileMode   fs.FileMode = 0o640
)

// Folder is one before it has its name.
type Folder struct {
	path   string
	parent string
	files  []layout.File
	dirs   map[string]bool // made in it
	open   map[*File]bool
}

// New begins a folder in the one that is to hold it.
func New(parent string) (*Folder, error) {
	path, err := os.MkdirTemp(parent, ".making-*")
	if err != nil {
		return nil, err
	}
	return &Folder{path: path, parent: parent, dirs: map[string]bool{path: true}, open: map[*File]bool{}}, os.Chmod(path, folderMode)
}

// Files are those that are on disk, for a manifest.
func (d *Folder) Files() []layout.File { return d.files }

// Add writes one file; path has slashes.
func (d *Folder) Add(path string, data []byte) error {
	f, err := d.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// Create begins a file that is written piece by piece. It must be closed before Publish.
func (d *Folder) Create(path string) (*File, error) {
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
	out := &File{f: f, buf: bufio.NewWriter(f), sum: sha256.New(), dir: d, path: path}
	d.open[out] = true
	return out, nil
}

// File is one on its way to disk.
type File struct {
	f    *os.File
	buf  *bufio.Writer
	sum  hash.Hash
	size int64
	dir  *Folder
	path string
}

// Write implements io.Writer.
func (f *File) Write(p []byte) (int, error) {
	f.sum.Write(p)
	f.size += int64(len(p))
	return f.buf.Write(p)
}

// Close returns when the file is on disk, and lists it.
func (f *File) Close() error {
	delete(f.dir.open, f)
	if err := errors.Join(f.buf.Flush(), f.f.Sync(), f.f.Close()); err != nil {
		return fmt.Errorf("writing %q: %w", f.path, err)
	}
	f.dir.files = append(f.dir.files, layout.File{Hash: [32]byte(f.sum.Sum(nil)), Size: f.size, Path: f.path})
	return nil
}

// Publish gives the folder its name once every name in it is on disk. A target that is there and not empty is refused.
func (d *Folder) Publish(target string) error {
	for dir := range d.dirs {
		if err := sync(dir); err != nil {
			return err
		}
	}
	if err := os.Rename(d.path, target); err != nil {
		return err
	}
	return sync(d.parent)
}

// Remove gives the folder up, with whatever is still being written.
func (d *Folder) Remove() error {
	for f := range d.open {
		_ = f.f.Close() // it is not wanted
	}
	return os.RemoveAll(d.path)
}

func sync(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
