package audit_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/persoline/persoline/ledger/audit"
	"github.com/persoline/persoline/ledger/audit/audittest"
)

func pins(s *audittest.Site) audit.Options {
	return audit.Options{RegisterPin: s.Register[0].Hash(), LogKey: audittest.Public(s.LogKey), StatementKey: audittest.Public(s.StmtKey)}
}

// finished is a site with one closed lot: one unit good, after one that was lost.
func finished() *audittest.Site {
	s := audittest.New()
	s.Release("L1", 0, 1, 1).Finish()
	return s
}

func TestValidBundle(t *testing.T) {
	t.Parallel()
	s := finished()
	r, err := audit.Verify(s.Bundle("L1"), pins(s))
	if err != nil || !r.OK() || !r.Pinned() {
		t.Fatalf("%v, pinned %v, findings %v", err, r.Pinned(), r.Findings)
	}
	var text strings.Builder
	if err := r.Write(&text); err != nil {
		t.Fatal(err)
	}
	t.Log(text.String())
}

// TestImports: an auditor needs neither database nor bus.
func TestImports(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Skipf("go list: %v", err)
	}
	for _, path := range strings.Fields(string(out)) {
		for _, bad := range []string{"/perso/bus", "/sqldb", "database/sql", "cbor", "nats", "net/http", "/keygen", "/lineside", "/hsm"} {
			if strings.Contains(path, bad) {
				t.Errorf("imports %s", path)
			}
		}
	}
}
