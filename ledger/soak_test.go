package ledger

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/statement"
)

// TestLedgerGrows makes as many cards as PERSO_LEDGER_CARDS says on one ledger file, in lots of a hundred thousand, and tells what
// a card costs as the ledger grows: from contact to bin, with the acts of the real script and a vault that costs little, in processor
// time and in bytes; and at the end what it costs to trace an EID. A million cards take an hour of two processors ("make
// soak-ledger"). What it tells depends on the machine; nothing fails because of it.
func TestLedgerGrows(t *testing.T) {
	cards, err := strconv.Atoi(os.Getenv("PERSO_LEDGER_CARDS"))
	if err != nil {
		t.Skip("SKIP: PERSO_LEDGER_CARDS says how many; make soak-ledger sets it")
	}
	const perLot, perBlock, heads, acts = 100_000, 10_000, 64, 4
	path := filepath.Join(t.TempDir(), "ledger.db")
	db, err := ledgertest.Create(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	s := newSiteOn(t, db)
	s.vault.acts = acts
	size := int64(0)
	var releases []statement.Release
	for made := 0; made < cards; {
		if made%perLot == 0 {
			s.makeLot(afterThose(t, spec{good: min(perLot, cards-made)}, releases))
			s.vault.forget()
			releases = append(releases, must(statement.ParseRelease(s.release.Body)))
		}
		block := min(perBlock, cards-made)
		chips := s.stock(block)
		began, busy := time.Now(), processorTime(t)
		var wg sync.WaitGroup
		for head := range heads {
			wg.Go(func() {
				for i := head; i < len(chips); i += heads {
					s.makeIn(chips[i], uint16(head), acts)
				}
			})
		}
		wg.Wait()
		took, used := time.Since(began), processorTime(t)-busy
		made += block
		now := fileSize(t, path)
		t.Logf("%d cards: of the last %d each %s of processor time, %d bytes; %.0f cards/s", made, block, used/time.Duration(block),
			(now-size)/int64(block), float64(block)/took.Seconds())
		size = now
	}
	traces(t, s, releases)
}

// afterThose gives an order ranges behind those of the order before: the test's pools are smaller than a million.
func afterThose(t *testing.T, s spec, before []statement.Release) spec {
	t.Helper()
	if len(before) == 0 {
		return s
	}
	r := before[len(before)-1]
	s.iccid, s.imsi = firstBehind(t, r.ICCIDs), firstBehind(t, r.IMSIs)
	return s
}

func firstBehind[T id.Number[T]](t *testing.T, r id.Range[T]) string {
	t.Helper()
	longer, err := id.NewRange(r.First(), r.Count()+1)
	if err != nil {
		t.Fatal(err)
	}
	first, err := longer.At(r.Count())
	if err != nil {
		t.Fatal(err)
	}
	return first.String()
}

// traces asks for EIDs of all lots, the first and the last of each among them.
func traces(t *testing.T, s *bench, releases []statement.Release) {
	t.Helper()
	const asked = 20
	var worst, all time.Duration
	n := 0
	for _, r := range releases {
		for i := range uint64(asked) {
			eid, err := r.EIDs.At(i * (r.Good - 1) / (asked - 1))
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if a, err := s.l.Trace(t.Context(), bus.TraceRequest{Key: eid.String()}); err != nil || len(a.Entries) == 0 {
				t.Fatalf("trace of %s: %+v, %v", eid, a, err)
			}
			took := time.Since(began)
			worst, all, n = max(worst, took), all+took, n+1
		}
	}
	t.Logf("%d traces: %s each, the slowest %s", n, all/time.Duration(n), worst)
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	i, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return i.Size()
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
