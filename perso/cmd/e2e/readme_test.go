package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/persoline/persoline/hsm/hsmtest"
)

// TestReadmeByHand runs the blocks of deploy/BY_HAND.md as they are printed, with the shell. TestOwnPackage and TestStrictLot run one more
// each.
func TestReadmeByHand(t *testing.T) {
	t.Parallel()
	hsmtest.RequireSoftHSM(t)
	f := newFactory(t)
	const byHand = 5
	blocks := byHandBlocks(t, f.repo)
	if len(blocks) != byHand {
		t.Fatalf("%d blocks in brackets, want %d", len(blocks), byHand)
	}
	for _, block := range blocks {
		if strings.Contains(block, importPackage) || strings.Contains(block, draftPolicy) {
			continue
		}
		name, _, _ := strings.Cut(strings.SplitN(block, "\n", 3)[1], " #")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.Contains(block, "opensc-tool") {
				requirePCSCD(t)
				requireTool(t, "opensc-tool")
			}
			f.typed(t, block)
		})
	}
}

// importPackage stands in the block that takes a customer's package in.
const importPackage = "bin/perso profile import"

// draftPolicy stands in the block whose lot is made under a policy.
const draftPolicy = "bin/perso policy draft"

// byHandBlocks are the blocks in brackets of deploy/BY_HAND.md.
func byHandBlocks(t *testing.T, repo string) (blocks []string) {
	t.Helper()
	text := readFile(t, filepath.Join(repo, "deploy", "BY_HAND.md"))
	for _, b := range regexp.MustCompile("(?s)\n```\n(\\(set -e\n.*?)```\n").FindAllSubmatch(text, -1) {
		blocks = append(blocks, string(b[1]))
	}
	return blocks
}

// typed runs a block in a folder of its own with what the README's reader has in his, and gives the folder.
func (f *factory) typed(t *testing.T, block string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"deploy": filepath.Join(f.repo, "deploy"), "bin/perso": f.bin} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	const patience, farewell = 2 * time.Minute, 20 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", block)
	cmd.Dir, cmd.WaitDelay = dir, farewell
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) } // the site that it started, too
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return dir
}
