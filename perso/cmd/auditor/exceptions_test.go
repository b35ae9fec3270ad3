package auditor

import (
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/ledger/audit"
	"github.com/persoline/persoline/perso/cmd/console"
	"github.com/persoline/persoline/perso/entry"
)

// TestMiscountsAreListed: a hand count that differed is listed beside the exceptions, with time, figures and what was signed.
func TestMiscountsAreListed(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	r := audit.Report{Miscounts: []audit.Miscount{{Seq: 17, Count: entry.Count{Lot: "L1", In: 24, Good: 20, RejectLive: 3, At: time.Date(2027, 3, 1, 8, 0, 0, 0, time.UTC)},
		Signed: entry.Count{Lot: "L1", In: 24, Good: 21, RejectLive: 3}}}}
	_ = listExceptions(&console.Console{Out: &out}, "bundle", r, false)
	const want = "17  hand count of lot L1: 24 in, 20 good, 0 reject-blank, 3 reject-live, 0 return, 0 sample; signed were 24 in, 21 good,"
	if !strings.Contains(out.String(), want) || !strings.Contains(out.String(), "2027-03-01") || !strings.Contains(out.String(), "0 exceptions are not signed off") {
		t.Error(out.String())
	}
}
