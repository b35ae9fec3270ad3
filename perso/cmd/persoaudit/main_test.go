package main_test

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/persoline/persoline/ledger/audit/audittest"
)

// TestStatic builds the auditor's program without cgo, wants one file that no loader has to complete, and has it judge a bundle.
func TestStatic(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "persoaudit")
	build := exec.Command("go", "build", "-o", program, ".") // not -trimpath: it would compile the standard library anew
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	if runtime.GOOS == "linux" {
		f, err := elf.Open(program)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		libraries, err := f.ImportedLibraries()
		if err != nil || len(libraries) > 0 || f.Section(".interp") != nil {
			t.Errorf("it is not static: %v, %v", libraries, err)
		}
	}
	s := audittest.New()
	s.Release("L1", 0, 2, 1).Finish()
	bundle := filepath.Join(dir, "bundle")
	if err := os.CopyFS(bundle, s.Bundle("L1")); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, int) {
		cmd := exec.Command(program, args...)
		out, err := cmd.CombinedOutput()
		if _, failed := err.(*exec.ExitError); err != nil && !failed {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, code := run("verify", bundle); code != 0 || !strings.Contains(out, "verified: no finding") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if err := os.Remove(filepath.Join(bundle, "certs", "eum.der")); err != nil {
		t.Fatal(err)
	}
	if out, code := run("verify", bundle); code != 3 || !strings.Contains(out, "FINDING certs/eum.der") {
		t.Errorf("a file is gone: exit %d\n%s", code, out)
	}
	if out, code := run("help", "verify"); code != 0 || strings.Contains(out, "perso audit") || !strings.Contains(out, "persoaudit verify") {
		t.Errorf("its help is of another program: exit %d\n%s", code, out)
	}
}
