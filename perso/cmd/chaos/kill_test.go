package chaos

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/persoline/persoline/perso/cmd/site"
	"github.com/persoline/persoline/perso/statement"
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

// TestKillNineSIMs ends a zone of each kind in a lot of SIMs whose secrets are sealed to a line that reads them: what a line, a vault or a
// ledger knew of a contact is gone with it, and the chips under the heads, half written under their maker's code, are made good all
// the same. The site's policy asks for a first article and for samples: the ledger is killed before quality's words, too, and the audit draws the
// same samples.
func TestKillNineSIMs(t *testing.T) {
	t.Parallel()
	const units, spares, heads = 100, 20, 8
	f := newSIMFactory(t, heads, units+spares+2*heads, badChips()...)
	sup, stop := f.supervise()
	f.connect()
	const article, samples = 10, 13
	f.handIn(statement.Policy{Header: f.header(), FirstArticle: article, Sampling: "output 200:13/1"}, site.DemoOfficers...)
	l := f.submit("CHAOS-SIM", units, spares)
	l.release()
	killLedger := func() { sup.Kill(site.ZoneLedger) }
	l.firstArticle(article, killLedger)
	victims := []string{line, site.ZoneVault, site.ZoneLedger}
	draw := rand.New(rand.NewPCG(chosenSeed(t), 1))
	draw.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	for k, victim := range victims {
		const part = units / 4
		s := l.reach(uint64(k*part) + draw.Uint64N(part))
		t.Logf("kill %d at %d good, %d in work: %s", k, s.Good, s.Open, victim)
		if s.Good == units || !sup.Kill(victim) {
			t.Errorf("%s was not killed in the middle of the lot", victim)
		}
	}
	s := l.complete()
	l.examine(samples, killLedger)
	t.Logf("%d good; %v; %+v", s.Good, s.Reasons, l.status().Samples)
	l.close()
	f.judge(l)
	l.audited()
	stop()
}
