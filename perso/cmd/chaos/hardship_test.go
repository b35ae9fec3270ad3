package chaos

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/persoline/persoline/perso/cmd/site"
)

// onSmallDisk moves a folder of the site to a disk of its own, with room for what is there and a little more, and gives the
// function that makes room.
func (f *factory) onSmallDisk(folder string, more int64) (grow func()) {
	f.t.Helper()
	path, old := filepath.Join(f.site.Dir, folder), filepath.Join(f.site.Dir, folder+".old")
	used := int64(0)
	if err := errors.Join(os.Rename(path, old), os.Mkdir(path, 0o700)); err != nil {
		f.t.Fatal(err)
	}
	err := filepath.Walk(old, func(_ string, info os.FileInfo, err error) error {
		if err == nil {
			used += info.Size()
		}
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	err = syscall.Mount("tmpfs", path, "tmpfs", 0, fmt.Sprintf("mode=0700,size=%d", used+more))
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		f.t.Skipf("SKIP: a small disk cannot be mounted here: %v", err)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if err := syscall.Unmount(path, 0); err != nil {
			f.t.Error(err)
		}
	})
	if err := os.CopyFS(path, os.DirFS(old)); err != nil {
		f.t.Fatal(err)
	}
	return func() {
		if err := syscall.Mount("tmpfs", path, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
			f.t.Fatal(err)
		}
	}
}

// TestDiskFull lets the disk of one zone become full in the middle of a lot. The lot stands still and says why; as soon as
// there is room it goes on, and no chip was lost: there is no spare identity for one.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		folder string
		more   int64
		log    string // the zone that must complain
		words  string
	}{
		{"ledger", 5 << 20, site.ZoneLedger, "disk is full"},
		{"farm", 100 << 10, line, "no space left on device"}, // a chip takes some 1.2 kB
	} {
		t.Run(c.folder, func(t *testing.T) {
			t.Parallel()
			const units, heads = 150, 8
			f := newFactory(t, heads, units+2*heads)
			grow := f.onSmallDisk(c.folder, c.more)
			_, stop := f.supervise()
			f.connect()
			l := f.submit("CHAOS-FULL", units, 0)
			l.release()
			f.until("the disk to be full", stallPatience, func() error {
				if !strings.Contains(f.zoneLog(c.log), c.words) {
					return fmt.Errorf("%s does not complain; %d are good", c.log, l.status().Good)
				}
				return nil
			})
			if s := l.status(); s.Good == 0 || s.Good == units {
				t.Errorf("%d of %d are good: the disk was too small or too large to show anything", s.Good, units)
			}
			grow()
			l.complete()
			l.close()
			f.judge(l)
			l.audited()
			stop() // before its disk goes
		})
	}
}

// TestStoppedVault halts the vault for longer than one question to it may take: it is there and does not answer. No chip is
// lost to it.
func TestStoppedVault(t *testing.T) {
	t.Parallel()
	const units, heads, halt = 120, 8, 8 * time.Second
	f := newFactory(t, heads, units+2*heads)
	sup, _ := f.supervise()
	f.connect()
	l := f.submit("CHAOS-HALT", units, 0)
	l.release()
	l.reach(units / 3)
	pid := sup.Pid(site.ZoneVault)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(halt, func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	l.complete()
	if now := sup.Pid(site.ZoneVault); now != pid {
		t.Errorf("the vault was process %d, is %d", pid, now)
	}
	l.close()
	f.judge(l)
	l.audited()
}
