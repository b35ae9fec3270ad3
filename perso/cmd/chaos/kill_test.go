package chaos

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestKillNine ends zones at random moments, twenty times in one lot, and then lets everybody judge it.
func TestKillNine(t *testing.T) {
	const kills, heads, seed = 20, 16, 20270412
	units := uint64(2000)
	if testing.Short() {
		units = 200
	}
	spares := units/10 + heads
	f := newFactory(t, heads, uint32((units+spares)*11/10+heads), badChips()...)
	sup, stop := f.supervise()
	f.connect()
	l := f.submit("CHAOS-9", units, spares)
	l.release()
	began := time.Now()
	draw := rand.New(rand.NewPCG(seed, 0))
	for k := range uint64(kills) {
		at := units*k/kills + draw.Uint64N(units/kills)
		s := l.reach(at)
		zones := f.site.Processes(true)
		victim := zones[draw.IntN(len(zones))].Name
		t.Logf("kill %d at %d good, %d in work: %s, running %t", k, s.Good, s.Open, victim, sup.Kill(victim))
	}
	s := l.complete()
	t.Logf("%d units in %.1f s with %d kills: %.0f per hour; %v", units, time.Since(began).Seconds(), kills, float64(units)/time.Since(began).Hours(), s.Reasons)
	counts := l.close()
	t.Logf("closed: %+v", counts)
	f.judge(l)
	l.audited()
	stop()
}
