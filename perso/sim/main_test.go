package sim

import (
	"os"
	"runtime/debug"
	"syscall"
	"testing"
)

// envTemp is where temporary folders are.
const envTemp = "TMPDIR"

// ordinaryTemp is what it was, for processes that are not worlds.
var ordinaryTemp = os.Getenv(envTemp)

// TestMain gives the worlds a fast disk, where there is one: theirs is no part of what is simulated, and each has fifty files and folders
// that are synced one by one. A world lives for some hundred milliseconds; its garbage may wait that long.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(inMemory(m))
}

const (
	memoryDisk = "/dev/shm" // of Linux
	// memoryBytes is what must be free there: worlds of all processors take less than a tenth of it.
	memoryBytes = 256 << 20
)

func inMemory(m *testing.M) int {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(memoryDisk, &disk); err != nil || disk.Bavail*uint64(disk.Bsize) < memoryBytes {
		return m.Run()
	}
	dir, err := os.MkdirTemp(memoryDisk, "persoline-sim")
	if err != nil {
		return m.Run()
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Setenv(envTemp, dir); err != nil {
		return m.Run()
	}
	return m.Run()
}
