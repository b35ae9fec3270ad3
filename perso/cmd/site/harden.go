package site

import (
	"fmt"
	"log/slog"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/persoline/persoline/perso"
)

// harden keeps the vault's memory in memory (I2): no core dump, no debugger or /proc/<pid>/mem for other processes of the
// same user, no page on the swap device. What a machine does not allow is refused in production and told in a test.
func harden(env perso.Env, log *slog.Logger) error {
	if err := closeMemory(); err != nil {
		return err
	}
	err := lockMemory()
	if err == nil {
		return nil
	}
	if env != perso.EnvTest {
		return fmt.Errorf("%w; give the vault's service LimitMEMLOCK=infinity, or the capability CAP_IPC_LOCK", err)
	}
	log.Warn("the vault's memory may be swapped out", "err", err)
	return nil
}

// closeMemory switches off core dumps, and closes the process to debuggers.
func closeMemory() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("switching core dumps off: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("closing the process to debuggers: %w", err)
	}
	return nil
}

// hardenLine does the same for a line, which reads what it plays to chips without a secure channel. A machine that does not let it
// lock memory is told so, and works: most products show a line nothing.
func hardenLine(log *slog.Logger) error {
	if err := closeMemory(); err != nil {
		return err
	}
	if err := lockMemory(); err != nil {
		log.Warn("the line's memory may be swapped out", "err", err)
	}
	return nil
}

// lockMemory locks what the process has and will have, page by page as it is used: Go reserves far more than it touches.
// A limit that is not infinite would be reached some day, in the middle of a card, so it counts as a refusal.
func lockMemory() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return fmt.Errorf("reading the limit of locked memory: %w", err)
	}
	if limit.Max == unix.RLIM_INFINITY && limit.Cur != limit.Max {
		limit.Cur = limit.Max
		if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
			return fmt.Errorf("raising the limit of locked memory: %w", err)
		}
	}
	if limit.Cur != unix.RLIM_INFINITY && !mayLock() {
		return fmt.Errorf("locking memory: the limit is %d bytes, and more may be needed", limit.Cur)
	}
	err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT)
	if err != nil {
		return fmt.Errorf("locking memory: %w", err)
	}
	return nil
}

// mayLock says whether limits do not count for this process.
func mayLock() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_IPC_LOCK) != 0
}
