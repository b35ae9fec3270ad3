package hsm

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// answerBytes is the answer that each session has room for without asking for
// memory: the largest of EncryptECB, and one page where pages are usual.
const answerBytes = maxBlocksBytes

// locked is memory for what a token returns: outside Go's heap, so that no
// collector copies or keeps it; never swapped; in no core dump; cleared after
// each use.
type locked []byte

// newLocked maps and locks at least n bytes. It fails where the process may not
// lock them: a secret that can reach a disk is not served.
func newLocked(n int) (locked, error) {
	page := os.Getpagesize()
	n = (n + page - 1) / page * page
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("mapping %d bytes for answers of the token: %w", n, err)
	}
	if err := unix.Mlock(b); err != nil {
		_ = unix.Munmap(b) // the first error is the one to tell
		return nil, fmt.Errorf("locking %d bytes of memory: %w (raise the limit of locked memory, RLIMIT_MEMLOCK)", n, err)
	}
	if err := unix.Madvise(b, unix.MADV_DONTDUMP); err != nil {
		locked(b).free()
		return nil, fmt.Errorf("keeping %d bytes out of core dumps: %w", n, err)
	}
	return b, nil
}

// free clears the memory and gives it back. Unmapping what was mapped here does
// not fail.
func (l locked) free() {
	if l == nil {
		return
	}
	clear(l)
	_ = unix.Munmap(l)
}
