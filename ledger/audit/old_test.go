package audit_test

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/persoline/persoline/ledger/audit"
	. "github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/ledger/audit/lotreport"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
)

// TestOldBundles: bundles that earlier programs wrote, of sites as they were, are read for as long as anybody keeps them. Each format
// that a release ever wrote has one here, and none is ever replaced. Nothing was released so far: the first was made by "perso demo"
// with the order small-20, and is made anew (testdata/remake.sh) when the format changes before the first release.
func TestOldBundles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		lot  perso.Name
		good uint64
		eid  string // of a unit
	}{
		{"bundle-1", "L-DEMO-2027-0002", 20, "89049099002000000000000000000080"},
	} {
		z := os.DirFS("testdata/" + c.name)
		text, err := os.ReadFile("testdata/" + c.name + ".pins")
		if err != nil {
			t.Fatal(err)
		}
		pins := strings.Fields(string(text)) // officer register, log key, statement key
		o := audit.Options{RegisterPin: [32]byte(Must(hex.DecodeString(pins[0]))), LogKey: Must(hex.DecodeString(pins[1])), StatementKey: Must(hex.DecodeString(pins[2]))}
		log, err := audit.OpenLog(z, o.LogKey)
		if err != nil {
			t.Fatal(err)
		}
		collector := lotreport.Collect(c.lot, log)
		o.Watch = collector.Watch
		r, err := audit.Verify(z, o)
		if err != nil || !r.OK() || !r.Pinned() || r.Lot != c.lot || count(r, "units good") != c.good {
			t.Errorf("%s: %v, %d entries, findings %v", c.name, err, r.Size, r.Findings)
		}
		var page strings.Builder
		heads, err := log.ReceiptHeads(c.lot)
		if err == nil {
			err = collector.Page(r, heads, lotreport.Options{Program: "test"}).Write(&page)
		}
		if err != nil || !strings.Contains(page.String(), "Verified: no finding.") {
			t.Errorf("%s: its report: %v", c.name, err)
		}
		p, err := log.Prove(audit.Subject{Kind: audit.SubjectEID, Key: c.eid})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		last := p.Entries[len(p.Entries)-2].Body // the outcome; the bin follows
		if e, err := entry.ParseOutcome(last); err != nil || e.Verdict != perso.VerdictGood {
			t.Errorf("%s: unit %s ends with %q, %v", c.name, c.eid, last, err)
		}
	}
}
