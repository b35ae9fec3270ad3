package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

const (
	fileName = "journal"
	lockName = "journal.lock"

	// maxFileBytes bounds what is read: the file is written anew long before.
	maxFileBytes = compactBytes + 2*maxFrameBytes
)

// Create makes the journal of a line that never had one, in a folder that exists. Heads count from first: for a line
// whose journal was lost it must lie above every number in the ledger.
func Create(dir string, first uint64) error {
	path := filepath.Join(dir, fileName)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("creating journal %q: %w", path, ErrExists))
	}
	d := &disk{dir: dir}
	if err := d.hold(); err != nil {
		return fmt.Errorf("creating journal: %w", err)
	}
	data, err := encodeFrame(frame{Seq: 1, Records: []record{{Kind: kindFirst, Upto: first}}})
	if err == nil {
		err = d.Replace(append([]byte(header), data...))
	}
	if err := errors.Join(err, d.release()); err != nil {
		return fmt.Errorf("creating journal: %w", err)
	}
	return nil
}

// Open opens the journal in dir and keeps other processes out until Close.
func Open(dir string) (*Journal, error) {
	d := &disk{dir: dir}
	if err := d.hold(); err != nil {
		return nil, fmt.Errorf("opening journal: %w", err)
	}
	j, err := OpenStorage(d)
	if err != nil {
		return nil, errors.Join(err, d.release())
	}
	j.close = d.release
	return j, nil
}

// disk is a Storage in a folder.
type disk struct {
	dir  string
	lock *os.File
	file *os.File // open for appending after the first Replace
}

// hold takes the lock, which lives in a file of its own because Replace gives the journal a new one.
func (d *disk) hold() error {
	f, err := os.OpenFile(filepath.Join(d.dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("locking %q: %w: %w", f.Name(), ErrLocked, err), f.Close())
	}
	d.lock = f
	return nil
}

func (d *disk) release() error {
	var err error
	if d.file != nil {
		err = d.file.Close()
		d.file = nil
	}
	if d.lock != nil {
		err = errors.Join(err, d.lock.Close())
		d.lock = nil
	}
	return err
}

// Read gives the whole file.
func (d *disk) Read() ([]byte, error) {
	path := filepath.Join(d.dir, fileName)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("reading %q: %w", path, ErrMissing)
	case err != nil:
		return nil, err
	case info.Size() > maxFileBytes:
		return nil, fmt.Errorf("reading %q: %w: %d bytes exceed %d", path, ErrCorrupt, info.Size(), maxFileBytes)
	}
	return os.ReadFile(path)
}

// Append writes and syncs.
func (d *disk) Append(b []byte) error {
	if _, err := d.file.Write(b); err != nil {
		return err
	}
	return d.file.Sync()
}

// Replace puts a new file in the old one's place: a crash leaves one or the other.
func (d *disk) Replace(b []byte) error {
	path := filepath.Join(d.dir, fileName)
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(b); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := syncDir(d.dir); err != nil {
		return errors.Join(err, f.Close())
	}
	old := d.file
	d.file = f
	if old != nil {
		return old.Close()
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
