package chaos

import (
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/persoline/persoline/ledger/ledgertest/pgtest"
	"github.com/persoline/persoline/perso/cmd/site"
)

// TestFourLedgers makes a lot with four ledger processes on one PostgreSQL, kills one after the other under load, and once the
// database server itself: what was acknowledged is there, counts close, and the auditor finds one log.
func TestFourLedgers(t *testing.T) {
	const ledgers, kills, heads = 4, 8, 16
	units := uint64(400)
	if testing.Short() {
		units = 120
	}
	spares := units/10 + heads
	database := pgtest.Start(t)
	flags := []string{"--database", database.URL(), "--ledgers", "4"}
	f := newFactoryWith(t, flags, 1, site.TransportFarm, heads, uint32((units+spares)*11/10+heads), badChips()...)
	sup, stop := f.supervise()
	f.connect()
	l := f.submit("CHAOS-PG", units, spares)
	l.release()
	draw := rand.New(rand.NewPCG(chosenSeed(t), 4))
	names := []string{"ledger", "ledger-2", "ledger-3", "ledger-4"}
	for k := range uint64(kills) {
		s := l.reach(units*k/kills + draw.Uint64N(units/kills))
		if k == kills/2 {
			if err := database.Signal(syscall.SIGQUIT); err != nil {
				t.Fatal(err)
			}
			if err := database.Run(); err != nil {
				t.Fatal(err)
			}
			t.Logf("kill %d at %d good, %d in work: the database", k, s.Good, s.Open)
			continue
		}
		victim := names[k%ledgers]
		t.Logf("kill %d at %d good, %d in work: %s, running %t", k, s.Good, s.Open, victim, sup.Kill(victim))
	}
	s := l.complete()
	t.Logf("%v", s.Reasons)
	counts := l.close()
	t.Logf("closed: %+v", counts)
	f.judge(l)
	l.audited()
	stop()
}
