// Package sitetest is what the tests share that make whole factories (perso/cmd/chaos, perso/cmd/e2e). Only tests import this package.
package sitetest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// MaxFactories is how many factories a package makes side by side. Each is a dozen processes, which wait for half of their time: on two
// processors two are done sooner than one after the other, and more processors make no room for more of what tests time out on,
// disk and memory.
const MaxFactories = 2

// Run is a TestMain's work: it builds the program from the repository's folder repo, tells use where it is, and runs the tests, at most
// MaxFactories side by side. The program is gone afterwards. It gives the exit code; what failed before the tests is on standard error.
func Run(m *testing.M, repo string, use func(program string)) (code int) {
	code, err := run(m, repo, use)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

func run(m *testing.M, repo string, use func(program string)) (code int, err error) {
	if err := Bound(); err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "persoline-"+filepath.Base(os.Args[0])+"-")
	if err != nil {
		return 1, fmt.Errorf("making a folder for the program: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	program := filepath.Join(dir, "perso")
	build := exec.Command("go", "build", "-o", program, "./perso/cmd/perso")
	build.Dir = repo
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("building the program: %w\n%s", err, out)
	}
	use(program)
	return m.Run(), nil
}

// Bound keeps parallel tests at MaxFactories where the processors, or who asked, would have more of them. It is asked before
// the tests run.
func Bound() error {
	if !flag.Parsed() {
		flag.Parse()
	}
	const name = "test.parallel"
	asked := flag.Lookup(name)
	if asked == nil {
		return fmt.Errorf("bounding factories: no flag %s", name)
	}
	if n, err := strconv.Atoi(asked.Value.String()); err != nil || n > MaxFactories {
		return flag.Set(name, strconv.Itoa(MaxFactories))
	}
	return nil
}
