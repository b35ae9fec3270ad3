package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/cmd/site"
)

// upAlone runs "perso up" as an operator does, until it is stopped or the test ends.
func (f *factory) upAlone() (up *exec.Cmd, words *bytes.Buffer) {
	f.t.Helper()
	up, words = exec.Command(program, "up", "--site", f.site.Dir), &bytes.Buffer{}
	up.Stdout, up.Stderr = words, words
	up.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := up.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if up.ProcessState == nil {
			_ = up.Process.Kill()
			_ = up.Wait()
		}
	})
	return up, words
}

// processes finds every process that works for the site.
func (f *factory) processes() (pids []int) {
	f.t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		f.t.Fatal(err)
	}
	for _, path := range all {
		args, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(args, []byte(f.site.Dir)) {
			continue // it has ended meanwhile, or is somebody else's
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			f.t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// gone waits until nothing works for the site any more.
func (f *factory) gone() {
	f.t.Helper()
	f.until("the end of all zones", comeUp, func() error {
		if left := f.processes(); len(left) > 0 {
			return fmt.Errorf("processes %v are left", left)
		}
		return nil
	})
}

// TestKillSupervisor ends "perso up" with kill -9: no zone stays behind without anybody who watches it, and the next start
// goes on with the lot, and loses no chip of it: there is no spare identity for one.
func TestKillSupervisor(t *testing.T) {
	t.Parallel()
	const units, spares, heads = 150, 0, 8
	f := newFactory(t, heads, units+spares+2*heads)
	up, _ := f.upAlone()
	f.connect()
	l := f.submit("CHAOS-UP", units, spares)
	l.release()
	before := l.reach(units / 3)
	if n, want := len(f.processes()), 1+len(f.site.Processes()); n != want {
		t.Errorf("%d processes run, want %d", n, want)
	}
	if err := up.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = up.Wait() // says that it was killed
	f.gone()

	up, words := f.upAlone()
	if s := l.complete(); s.Good < before.Good {
		t.Errorf("%d units were good, now %d", before.Good, s.Good)
	}
	if c := l.close(); c.RejectBlank+c.RejectLive > 0 {
		t.Errorf("closed: %+v", c)
	}
	f.judge(l)
	l.audited()
	if err := up.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := up.Wait(); err != nil {
		t.Errorf("the supervisor ends with %v: %s", err, words)
	}
	said := words.String()
	for _, word := range []string{" starts on ", " is up, and answers its office\n", " has stopped\n"} {
		_, rest, found := strings.Cut(said, word)
		if said = rest; !found {
			t.Errorf("it does not say %q in its turn: %s", word, words)
		}
	}
	f.gone()
}

// TestStopIsQuiet stops a whole factory in the middle of a lot, as every evening: no zone complains, then or in the
// morning, and no chip is lost to it: there is no spare identity for one.
func TestStopIsQuiet(t *testing.T) {
	t.Parallel()
	const units, spares, heads = 90, 0, 8
	f := newFactory(t, heads, units+spares+4*heads)
	for day := range uint64(3) {
		_, stop := f.supervise()
		if day == 0 {
			f.connect()
			l := f.submit("CHAOS-QUIET", units, spares)
			l.release()
		}
		l := &lot{factory: f, name: "L-CHAOS-QUIET", before: bins{}}
		s := l.reach((day + 1) * units / 3)
		t.Logf("day %d: %v", day, s.Reasons)
		if day == 2 {
			l.complete()
			l.close()
			f.judge(l)
		}
		began := time.Now()
		stop()
		t.Logf("day %d: stopped in %.1f s", day, time.Since(began).Seconds())
	}
	f.quiet()
}

// TestZonesDown hands an order in while vault, farm and line are down, and brings them up one after the other.
func TestZonesDown(t *testing.T) {
	t.Parallel()
	const units, spares, heads = 40, 10, 4
	f := newFactory(t, heads, units+spares+2*heads)
	f.supervise(site.ZoneBus, site.ZoneLedger)
	f.connect()
	l := f.submit("CHAOS-DOWN", units, spares)
	draft := ask[bus.DraftReply](f, bus.OfficeDraft, bus.DraftRequest{Order: l.number})
	release := bus.SignedRequest{Signed: l.sign(draft.Body)}
	ctx, cancel := context.WithTimeout(t.Context(), 4*statusTimeout)
	defer cancel()
	_, err := bus.Call[bus.LotReply](ctx, f.office, bus.OfficeSubject(bus.OfficeRelease), release)
	t.Logf("a release without vault is answered: %v", err)
	if fault := new(bus.Fault); err == nil || errors.As(err, &fault) && fault.Code == bus.FaultRefused {
		t.Errorf("a release without vault: %v, want no yes and no refusal", err)
	}
	f.supervise(site.ZoneVault)
	ask[bus.LotReply](f, bus.OfficeRelease, release)
	if s := l.status(); s.Good != 0 || s.Ordered != units {
		t.Errorf("released: %+v", s)
	}
	f.supervise(line)
	f.until("a line without farm", comeUp, func() error {
		if f.office == nil || len(f.processes()) != 4 {
			return fmt.Errorf("processes %v run", f.processes())
		}
		return nil
	})
	f.supervise(site.ZoneFarm)
	l.complete()
	l.close()
	f.judge(l)
	l.audited()
	if strings.Contains(f.zoneLog(line), "error") {
		t.Errorf("the line says: %s", f.zoneLog(line))
	}
}
