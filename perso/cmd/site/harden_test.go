package site

import (
	"bytes"
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/persoline/persoline/perso"
)

const hardenChild = "PERSO_TEST_HARDEN_CHILD"

// TestHarden looks at a process of its own from the inside: what harden does can't be undone.
func TestHarden(t *testing.T) {
	if env := os.Getenv(hardenChild); env != "" {
		hardened(t, perso.Env(env))
		return
	}
	t.Parallel()
	for _, env := range []perso.Env{perso.EnvTest, perso.EnvProduction} {
		c := exec.Command(os.Args[0], "-test.run=^TestHarden$", "-test.v")
		c.Env = append(os.Environ(), hardenChild+"="+string(env))
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", env, err, out)
		}
	}
}

func hardened(t *testing.T, env perso.Env) {
	var log bytes.Buffer
	err := harden(env, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil && (env == perso.EnvTest || !strings.Contains(err.Error(), "LimitMEMLOCK")) {
		t.Fatal(err)
	}
	if dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || dumpable != 0 {
		t.Errorf("dumpable is %d, %v", dumpable, err)
	}
	var core unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &core); err != nil || core.Cur != 0 || core.Max != 0 {
		t.Errorf("core files may have %d bytes, %v", core.Max, err)
	}
	status, rerr := os.ReadFile("/proc/self/status")
	if rerr != nil {
		t.Fatal(rerr)
	}
	locked := regexp.MustCompile(`VmLck:\s+[1-9]`).Match(status)
	if told := err != nil || strings.Contains(log.String(), "swapped"); locked == told {
		t.Errorf("memory locked: %v, told that it is not: %v (%v)", locked, told, err)
	}
}
