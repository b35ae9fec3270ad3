package audit_test

import (
	"archive/zip"
	"encoding/hex"
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
// with the order small-20, and may be made anew when the format changes before the first release.
func TestOldBundles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file               string
		lot                perso.Name
		register, log, stm string
		size               int64
		good               uint64
		eid                string // of a unit
	}{
		{"bundle-1.zip", "L-DEMO-2027-0002", "44683502334e59d7d9996bd843cdabaca243535c8e1f12a0de92a1f8ff01d103",
			"b20e98ab5c305a1d692faed6084f1d9e7622730b1ccbb332859e7dc8f37d548b", "ce1326a8a88c7a9358812cd62f3588c2fa9b7bc16b70ff367835d5211bedc5bb",
			200, 20, "89049099002000000000000000000080"},
	} {
		z, err := zip.OpenReader("testdata/" + c.file)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		o := audit.Options{RegisterPin: [32]byte(Must(hex.DecodeString(c.register))), LogKey: Must(hex.DecodeString(c.log)), StatementKey: Must(hex.DecodeString(c.stm))}
		log, err := audit.OpenLog(z, o.LogKey)
		if err != nil {
			t.Fatal(err)
		}
		collector := lotreport.Collect(c.lot, log)
		o.Watch = collector.Watch
		r, err := audit.Verify(z, o)
		if err != nil || !r.OK() || !r.Pinned() || r.Size != c.size || r.Lot != c.lot || count(r, "units good") != c.good {
			t.Errorf("%s: %v, %d entries, findings %v", c.file, err, r.Size, r.Findings)
		}
		var page strings.Builder
		heads, err := log.ReceiptHeads(c.lot)
		if err == nil {
			err = collector.Page(r, heads, lotreport.Options{Program: "test"}).Write(&page)
		}
		if err != nil || !strings.Contains(page.String(), "Verified: no finding.") {
			t.Errorf("%s: its report: %v", c.file, err)
		}
		p, err := log.Prove(audit.Subject{Kind: audit.SubjectEID, Key: c.eid})
		if err != nil {
			t.Fatalf("%s: %v", c.file, err)
		}
		last := p.Entries[len(p.Entries)-2].Body // the outcome; the bin follows
		if e, err := entry.ParseOutcome(last); err != nil || e.Verdict != perso.VerdictGood {
			t.Errorf("%s: unit %s ends with %q, %v", c.file, c.eid, last, err)
		}
	}
}
