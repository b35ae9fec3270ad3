package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of times in /proc: Linux gives programs 100 a second on every platform that Go knows (USER_HZ).
const clockTick = 10 * time.Millisecond

// usage is a process's account.
type usage struct {
	cpu     time.Duration
	rss     int64 // bytes in memory now
	peakRSS int64 // the most that ever were
}

// usageOf reads /proc/PID/stat and status (proc(5)).
func usageOf(pid int) (usage, error) {
	if pid == 0 {
		return usage{}, errors.New("it is not running")
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return usage{}, err
	}
	return parseUsage(stat, status)
}

func parseUsage(stat, status []byte) (u usage, err error) {
	// Field 2 is the program's name in parentheses and may hold anything; user and system time are fields 14 and 15.
	const firstAfterName, userTime = 3, 14
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= userTime-firstAfterName+1 {
		return u, fmt.Errorf("stat has %d fields", len(fields))
	}
	for _, f := range fields[userTime-firstAfterName:][:2] {
		ticks, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return u, fmt.Errorf("reading a time: %w", err)
		}
		u.cpu += time.Duration(ticks) * clockTick
	}
	if u.peakRSS, err = sizeIn(status, "VmHWM:"); err != nil {
		return u, err
	}
	u.rss, err = sizeIn(status, "VmRSS:")
	return u, err
}

// sizeIn reads a line of /proc/PID/status that gives a size.
func sizeIn(status []byte, name string) (bytes int64, err error) {
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("status has no %s", name)
}

// sizeOf adds up the files of a folder.
func sizeOf(folder string) (n int64, err error) {
	err = filepath.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // replaced just now
		}
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// load is the machine's load of the last minute: above zero before the run, somebody else was at work.
func load() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), " ")
	n, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return n
}

// ownCPU is what this process has used.
func ownCPU() (time.Duration, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0, fmt.Errorf("reading own account: %w", err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), nil
}

// operations reads how often the vaults used their token, by verb, from the lines that each logs when it stops.
func (b *run) operations() (map[string]float64, error) {
	all := map[string]float64{}
	for _, vault := range b.vaults() {
		if err := addOperations(all, filepath.Join(b.factory.Site.Dir, "log", vault+".log")); err != nil {
			return nil, fmt.Errorf("reading the log of %s: %w", vault, err)
		}
	}
	return all, nil
}

func addOperations(all map[string]float64, path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	found := false
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var l struct {
			Msg   string  `json:"msg"`
			Step  string  `json:"step"`
			Count float64 `json:"seq"`
		}
		if json.Unmarshal(lines.Bytes(), &l) == nil && l.Msg == "token was used" {
			found = true
			all[l.Step] += l.Count
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if !found {
		return errors.New("it does not say how often the token was used")
	}
	return nil
}
