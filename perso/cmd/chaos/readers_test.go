package chaos

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/persoline/persoline/lineside/vpcd"
	"github.com/persoline/persoline/perso/cmd/site"
)

// TestKilledReaders makes a lot of bad chips through PC/SC readers, and kills pcscd, the farm that has it, and the line under way.
func TestKilledReaders(t *testing.T) {
	t.Parallel()
	if err := vpcd.Startable(); err != nil {
		if slices.Contains(strings.Split(os.Getenv("PERSO_TEST_REQUIRE"), ","), "pcscd") {
			t.Fatalf("pcscd is required by PERSO_TEST_REQUIRE: %v", err)
		}
		t.Skipf("SKIP: pcscd: %v", err)
	}
	const heads, units, spares = 5, 150, 30
	f := newFactoryOf(t, 1, site.TransportPCSC, heads, (units+spares)*2, badChips()...)
	sup, stop := f.supervise()
	f.connect()
	l := f.submit("CHAOS-PCSC", units, spares)
	l.release()
	for i, victim := range []string{"pcscd", site.ZoneFarm, "line-1", "pcscd"} {
		s := l.reach(units * uint64(i+1) / 6)
		killed := false
		if victim == "pcscd" {
			killed = killPCSCD(t, sup.Pid(site.ZoneFarm))
		} else {
			killed = sup.Kill(victim)
		}
		t.Logf("%s killed: %t, at %d good, %d in work", victim, killed, s.Good, s.Open)
		if !killed {
			t.Errorf("%s did not run", victim)
		}
	}
	s := l.complete()
	t.Logf("%d good; %v", s.Good, s.Reasons)
	l.close()
	f.judge(l)
	l.audited()
	stop()
	log, err := os.ReadFile(filepath.Join(f.site.Dir, "log", "farm.log"))
	if starts := bytes.Count(log, []byte("under PC/SC readers")); err != nil || starts < 4 {
		t.Errorf("the readers were started %d times, after three kills that took them: %v", starts, err)
	}
}

// killPCSCD kills the pcscd that a farm has started.
func killPCSCD(t *testing.T, farm int) bool {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", farm))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range lists {
		list, err := os.ReadFile(name)
		if err != nil {
			continue // that thread has ended
		}
		for _, text := range strings.Fields(string(list)) {
			pid, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			if command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); strings.TrimSpace(string(command)) == "pcscd" {
				return syscall.Kill(pid, syscall.SIGKILL) == nil
			}
		}
	}
	return false
}
