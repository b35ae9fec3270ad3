package ledger

import (
	"testing"
	"time"

	"github.com/persoline/persoline/ledger/ledgertest/pgtest"
	"github.com/persoline/persoline/perso"
)

// peers opens ledgers as processes on hosts of their own would: each with its own connections, and a clock that is off.
func (b *bench) peers(at string, n int) (out []*Ledger) {
	b.t.Helper()
	mine, db := b.l, b.db
	for i := range n {
		other := pgtest.Open(b.t, at)
		b.t.Cleanup(func() { _ = other.Close() })
		b.open(other)
		skew := time.Duration(i-n/2) * time.Second
		b.l.now = func() time.Time { return b.clock().Add(skew) }
		out = append(out, b.l)
	}
	b.l, b.db = mine, db
	return out
}

// TestProcesses has four ledger processes make one lot, where each question of a head goes to another one of them and is asked
// more than once: nothing is made twice (I1), the log is one (I5), its times do not go back, and counts close.
func TestProcesses(t *testing.T) {
	t.Parallel()
	const processes, heads, good, spares = 4, 16, 100, 80
	at := pgtest.URL(t)
	b := newSiteOn(t, pgtest.Open(t, at))
	b.makeLot(spec{good: good, spares: spares})
	chips := b.stock(good + spares + 2*heads)
	peers := b.peers(at, processes)
	b.storm(chips, heads, peers)
	s := b.status()
	if s.State != perso.LotComplete || s.Good != good || s.Open != 0 || s.Bins[perso.VerdictGood] != good {
		t.Errorf("status %+v", s)
	}
	b.check()
	b.vault.fail = nil
	var last int64
	for i, l := range peers { // each signs what all wrote
		log, note, err := l.Signed(t.Context())
		if err != nil || len(note) == 0 || i > 0 && log.Size() != last {
			t.Errorf("process %d signs %d entries, %v; the one before %d", i, log.Size(), err, last)
		}
		last = log.Size()
	}
}
