package conduct

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/persoline/persoline/perso/statement"
	"github.com/persoline/persoline/perso/statement/transcript"
)

// Store is where the records of all ceremonies of a site are kept: the inventory's folder, or a double of it. Put makes a
// name once and durably; after an error it may have done so or not.
type Store interface {
	Put(name string, content []byte) error
	// Get gives a file; a missing one is fs.ErrNotExist.
	Get(name string) ([]byte, error)
}

// Names in a Store. They sort by ceremony.
func registerName(n int) string                 { return fmt.Sprintf("register-%04d.signed", n) }
func orderName(number uint64) string            { return fmt.Sprintf("%04d.order", number) }
func stepName(number uint64, step int) string   { return fmt.Sprintf("%04d-%04d.step", number, step) }
func transcriptName(number uint64) string       { return fmt.Sprintf("%04d.transcript", number) }
func publicName(number uint64, s string) string { return fmt.Sprintf("%04d-%s", number, s) }

// Folder is a Store on disk.
type Folder string

// fileMode: nothing in the folder is secret; only its owner writes.
const fileMode = 0o644

// tempPrefix begins the name of a file that is being written. A crash leaves at most one, which the next Put writes over.
const tempPrefix = ".new-"

// Create makes the folder. One that is there is fine.
func (d Folder) Create() error {
	if err := os.MkdirAll(string(d), 0o755); err != nil {
		return fmt.Errorf("making the inventory's folder: %w", err)
	}
	return syncDir(filepath.Dir(filepath.Clean(string(d))))
}

// Put writes beside, syncs, gives the name without replacing one, and syncs the folder. The same content under a name that
// is there is no error: a step may be told twice.
func (d Folder) Put(name string, content []byte) error {
	path, temp := filepath.Join(string(d), name), filepath.Join(string(d), tempPrefix+name)
	if there, err := os.ReadFile(path); err == nil && bytes.Equal(there, content) {
		return syncDir(string(d))
	}
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, fileMode)
	if err != nil {
		return fmt.Errorf("writing %q: %w", name, err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	}
	if err != nil {
		return fmt.Errorf("writing %q: %w", name, errors.Join(err, os.Remove(temp)))
	}
	if err := syncDir(string(d)); err != nil {
		return fmt.Errorf("writing %q: %w", name, err)
	}
	return nil
}

// Get reads a file.
func (d Folder) Get(name string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(string(d), name))
	if err == nil && len(b) > transcript.MaxFileBytes {
		err = fmt.Errorf("%d bytes exceed %d", len(b), transcript.MaxFileBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	return b, nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// maxCeremonies bounds the ceremonies of a site: one a week for a hundred years.
const maxCeremonies = 5200

// Load verifies every finished ceremony of a site, from the first. The error of a transcript that does not hold is a
// *transcript.Fault whose place names the file.
func Load(s Store, pin [32]byte) (*transcript.Chain, error) {
	c := transcript.NewChain(pin)
	for n := uint64(1); n <= maxCeremonies; n++ {
		b, err := s.Get(transcriptName(n))
		if errors.Is(err, fs.ErrNotExist) {
			return c, nil
		}
		if err != nil {
			return nil, err
		}
		f, err := transcript.Decode(b)
		if err == nil {
			_, err = c.Follow(f)
		}
		var fault *transcript.Fault
		if errors.As(err, &fault) {
			return nil, &transcript.Fault{Place: transcriptName(n) + ": " + fault.Place, What: fault.What}
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("more than %d ceremonies", maxCeremonies)
}

// readRegister reads the register's statements that are on disk, however far it has come.
func readRegister(s Store) (chain []statement.Signed, err error) {
	for n := 1; ; n++ {
		b, err := s.Get(registerName(n))
		if errors.Is(err, fs.ErrNotExist) {
			return chain, nil
		}
		if err != nil {
			return nil, err
		}
		signed, err := statement.DecodeSigned(b)
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", registerName(n), err)
		}
		chain = append(chain, signed)
	}
}

// printable keeps a name that people chose out of paths.
func printable(label string) string { return strings.ReplaceAll(label, "/", "-") }
