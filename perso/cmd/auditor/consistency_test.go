package auditor

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/perso/cmd/console"
)

// TestSwappedLogs: who names the newer log first is told of a rollback, and that it may be the order of the two; in the right order they agree.
func TestSwappedLogs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := audittest.New()
	s.Release("L1", 0, 2, 1).Finish()
	earlier, later := filepath.Join(dir, "earlier"), filepath.Join(dir, "later")
	if err := os.CopyFS(earlier, s.Bundle("L1")); err != nil {
		t.Fatal(err)
	}
	s.Release("L2", 5, 2, 1).Finish()
	if err := os.CopyFS(later, s.Bundle("L2")); err != nil {
		t.Fatal(err)
	}
	compare := func(first, second string) error {
		env := console.New(strings.NewReader(""), new(bytes.Buffer), new(bytes.Buffer))
		cmd := newConsistencyCmd(&env)
		cmd.SetArgs([]string{first, second})
		return cmd.Execute()
	}
	if err := compare(earlier, later); err != nil {
		t.Error(err)
	}
	if err := compare(later, earlier); err == nil || !strings.Contains(err.Error(), "ROLLED BACK") || !strings.Contains(err.Error(), "in the wrong order") {
		t.Errorf("swapped: %v", err)
	}
}
