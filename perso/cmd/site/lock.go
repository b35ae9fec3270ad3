package site

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// lockFile is held by who runs the whole factory, for as long as he does: two would fight for the site's bus and its chips.
const lockFile = "lock"

// ErrRunning says that a site's factory runs already.
var ErrRunning = errors.New("its factory is running")

// Hold takes a site for the one who runs its whole factory. The kernel lets go when the process ends, however it ends.
func Hold(dir string) (release func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking site %q: %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		err = fmt.Errorf("site %q: %w; end the \"perso up\" or \"perso demo\" that runs it, or choose another folder", dir, ErrRunning)
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}

// CheckIdle refuses a site whose factory runs. A folder that is not there is idle.
func CheckIdle(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	release, err := Hold(dir)
	if err != nil {
		return err
	}
	return release()
}
