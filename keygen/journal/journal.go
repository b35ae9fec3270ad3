package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/persoline/persoline/perso"
)

// ErrCorrupt says that a file was changed, or its disk failed: it must be restored, not repaired.
var ErrCorrupt = errors.New("journal is corrupt")

// ErrGap says that records were to be appended behind others than those that are there.
var ErrGap = errors.New("journal does not have that many records")

// Journal is an open journal folder. It is safe for concurrent use.
type Journal struct {
	dir  string
	lock *os.File
	open func(path string) (disk, error) // replaced in tests

	mu    sync.Mutex
	files map[perso.Name]*file
}

// disk is what a journal file needs of the operating system.
type disk interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Truncate(size int64) error
	Sync() error
	Size() (int64, error)
	Close() error
}

// Open takes the folder, which must exist, and locks it against other processes.
func Open(dir string) (*Journal, error) {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening journal %q: %w", dir, err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("locking journal %q, which another process has: %w", dir, err), lock.Close())
	}
	if err := dropScratch(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("opening journal %q: %w", dir, err), lock.Close())
	}
	return &Journal{dir: dir, lock: lock, open: openFile, files: map[perso.Name]*file{}}, nil
}

// Close closes all files and unlocks the folder.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []error
	for lot, f := range j.files {
		all = append(all, f.disk.Close())
		delete(j.files, lot)
	}
	return errors.Join(append(all, j.lock.Close())...)
}

// Append adds records behind the count that are there, and returns when they are durable. An error means that they are
// not there, or that the file cannot be used until the journal is opened again.
func (j *Journal) Append(lot perso.Name, count uint64, records [][]byte) error {
	f, err := j.file(lot)
	if err == nil {
		err = f.append(count, records)
	}
	if err != nil {
		return fmt.Errorf("appending to journal of lot %q: %w", lot, err)
	}
	return nil
}

// Read calls each with the records of a lot from a number on, until each returns false or fails.
func (j *Journal) Read(lot perso.Name, from uint64, each func(record []byte) (more bool, err error)) error {
	f, err := j.file(lot)
	if err == nil {
		err = f.read(from, each)
	}
	if err != nil {
		return fmt.Errorf("reading journal of lot %q: %w", lot, err)
	}
	return nil
}

// file opens a lot's file, making it if there is none: a lot without receipts.
func (j *Journal) file(lot perso.Name) (*file, error) {
	if _, err := perso.ParseName(string(lot)); err != nil {
		return nil, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if f := j.files[lot]; f != nil {
		return f, nil
	}
	path := filepath.Join(j.dir, string(lot)+".journal")
	_, err := os.Stat(path)
	isNew := errors.Is(err, fs.ErrNotExist)
	d, err := j.open(path)
	if err != nil {
		return nil, err
	}
	if isNew {
		if err := SyncDir(j.dir); err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	f, err := load(d)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	j.files[lot] = f
	return f, nil
}

// osFile is a disk on the operating system's.
type osFile struct{ *os.File }

func openFile(path string) (disk, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	return osFile{f}, err
}

// Size is the file's length.
func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// SyncDir makes the names in a folder durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
