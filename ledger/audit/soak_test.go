package audit_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/persoline/persoline/ledger/audit"
	. "github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/ledger/audit/lotreport"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
)

// TestManyCards writes a bundle of as many cards as PERSO_AUDIT_CARDS says, in lots of nearly a hundred thousand, and tells how long an
// auditor waits for it: to have it verified, to have a lot's report of what was verified before, to have a unit proven. A million
// cards take some minutes, 8 GB of memory and 4 GB of disk ("make soak-audit"). What it tells depends on the machine; nothing fails
// because of it.
func TestManyCards(t *testing.T) {
	cards, err := strconv.ParseUint(os.Getenv("PERSO_AUDIT_CARDS"), 10, 32)
	if err != nil {
		t.Skip("SKIP: PERSO_AUDIT_CARDS says how many; make soak-audit sets it")
	}
	const perLot, spares = 99_990, 10 // audittest gives lots ranges of 100,000
	s, began := New(), time.Now()
	s.Append(entry.Stock{Reel: "reel-2", File: Hash("reel-2"), Chips: 2 * cards, At: s.Tick()})
	eid := ""
	for n := uint64(0); n*perLot < cards; n++ {
		lot := s.Release(perso.Name("L"+strconv.FormatUint(n+1, 10)), n, min(perLot, cards-n*perLot), spares)
		eid = Must(lot.Release.EIDs.At(5)).String()
		lot.Finish()
	}
	dir := filepath.Join(t.TempDir(), "bundle")
	var writing errgroup.Group
	writing.SetLimit(2 * runtime.GOMAXPROCS(0))
	s.BundleTo("L1", func(path string, data []byte) {
		writing.Go(func() error {
			name := filepath.Join(dir, filepath.FromSlash(path))
			return errors.Join(os.MkdirAll(filepath.Dir(name), 0o750), os.WriteFile(name, data, 0o600))
		})
	})
	if err := writing.Wait(); err != nil {
		t.Fatal(err)
	}
	o, entries := pins(s), len(s.Entries)
	*s = Site{} // so that the auditor has the memory
	t.Logf("%d cards, %d entries, made in %s", cards, entries, time.Since(began).Round(time.Second))
	fsys := os.DirFS(dir)
	measure := func(what string, f func()) {
		before, busy := time.Now(), processorTime(t)
		f()
		took, used := time.Since(before), processorTime(t)-busy
		t.Logf("%s: %s, of which %s of processor time; %.0f entries per second of it", what, took.Round(time.Millisecond), used.Round(time.Millisecond), float64(entries)/used.Seconds())
	}
	var judged audit.Report
	memory := watchMemory(&o, int64(entries))
	measure("verify", func() { judged, err = audit.Verify(fsys, o) })
	o.Watch = nil
	if err != nil || !judged.OK() {
		t.Fatal(err, judged.Findings)
	}
	t.Logf("%d bytes of memory for a card, when all of the log was replayed", *memory/cards)
	log := Must(audit.OpenLog(fsys, o.LogKey))
	measure("report of what was verified before", func() {
		c := lotreport.Collect("L1", log)
		again := o
		again.Unjudged, again.Wants, again.Watch = true, c.Wants, c.Watch
		r, err := audit.Verify(fsys, again)
		if err != nil || r.Seal != judged.Seal {
			t.Fatal(err, r.Findings)
		}
		var page strings.Builder
		if err := c.Page(judged, nil, lotreport.Options{Program: "test"}).Write(&page); err != nil {
			t.Fatal(err)
		}
	})
	measure("prove a unit", func() {
		if _, err := log.Prove(audit.Subject{Kind: audit.SubjectEID, Key: eid}); err != nil {
			t.Fatal(err)
		}
	})
}

// watchMemory measures what a verification keeps when it has replayed this many entries.
func watchMemory(o *audit.Options, entries int64) (kept *uint64) {
	kept = new(uint64)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	o.Watch = func(seq int64, _ time.Time, _ any) {
		if seq == entries-1 {
			*kept = heap() - before
		}
	}
	return kept
}
