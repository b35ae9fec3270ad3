package chaos

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// envSeed chooses other moments and zones than the usual ones.
const envSeed = "PERSO_CHAOS_SEED"

func chosenSeed(t *testing.T) uint64 {
	t.Helper()
	text, chosen := os.LookupEnv(envSeed)
	if !chosen {
		text = "20270412"
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("reading %s: %v", envSeed, err)
	}
	t.Logf("%s=%d", envSeed, seed)
	return seed
}

// TestKillNine ends zones at random moments, twenty times in one lot, and then lets everybody judge it. It is not parallel:
// it wants the whole machine.
func TestKillNine(t *testing.T) {
	const kills, heads = 20, 16
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
	draw := rand.New(rand.NewPCG(chosenSeed(t), 0))
	for k := range uint64(kills) {
		at := units*k/kills + draw.Uint64N(units/kills)
		s := l.reach(at)
		zones := f.site.Processes()
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
