package chaos

import (
	"fmt"
	"strings"
	"testing"

	"github.com/persoline/persoline/lineside/chipfarm"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/cmd/site"
)

// onward is how many units must become good after a zone was killed, before it counts as recovered.
const onward = 20

// TestRestartEachZoneMidLot ends each zone once, in the middle of the lot. The others must not even notice beyond a pause:
// they keep their processes, the lot goes on without anybody's word, and no chip is lost: there is no spare identity for one.
func TestRestartEachZoneMidLot(t *testing.T) {
	t.Parallel()
	const units, spares, heads = 240, 0, 8
	f := newFactory(t, heads, units+spares+2*heads)
	sup, stop := f.supervise()
	f.connect()
	l := f.submit("CHAOS-EACH", units, spares)
	l.release()
	for i, c := range []struct {
		zone string
		test func(t *testing.T, before moment)
	}{
		{site.ZoneVault, func(t *testing.T, _ moment) {
			if n := strings.Count(f.zoneLog(site.ZoneVault), `"lot opened"`); n < 2 {
				t.Errorf("the lot was opened %d times at the vault", n)
			}
		}},
		{site.ZoneBus, func(t *testing.T, _ moment) {
			for _, zone := range []string{site.ZoneVault, site.ZoneLedger, line} {
				if !strings.Contains(f.zoneLog(zone), `"bus connected again"`) {
					t.Errorf("%s does not say that it is connected again", zone)
				}
			}
		}},
		{site.ZoneLedger, func(t *testing.T, before moment) {
			if now := l.status(); now.Good < before.good || now.LogSize < before.log {
				t.Errorf("the ledger had %d good and %d entries, now %d and %d", before.good, before.log, now.Good, now.LogSize)
			}
		}},
		{site.ZoneFarm, func(t *testing.T, before moment) {
			now := f.moment(l, sup)
			for bin, n := range before.bins {
				if now.bins[bin] < n {
					t.Errorf("%d chips lay in bin %s, now %d", n, bin, now.bins[bin])
				}
			}
			if now.in < before.in {
				t.Errorf("%d chips had left the reel, now %d", before.in, now.in)
			}
		}},
		{line, func(t *testing.T, _ moment) {
			if n := strings.Count(f.zoneLog(line), `"work order resumed"`); n != 1 {
				t.Errorf("the line resumed its order %d times", n)
			}
		}},
	} {
		if l.reach(uint64(i+1) * units / 6); t.Failed() {
			break
		}
		t.Run(c.zone, func(t *testing.T) {
			g := *f
			g.t = t
			one := *l
			one.factory = &g
			before := g.moment(&one, sup)
			if !sup.Kill(c.zone) {
				t.Fatal("the zone was not running")
			}
			one.reach(before.good + onward)
			c.test(t, before)
			for zone, pid := range g.moment(&one, sup).pids {
				if (zone == c.zone) == (pid == before.pids[zone]) {
					t.Errorf("%s was process %d, is %d", zone, before.pids[zone], pid)
				}
			}
		})
	}
	l.complete()
	if c := l.close(); c.RejectBlank+c.RejectLive > 0 || c.In != c.Good+c.Returned {
		t.Errorf("closed: %+v", c)
	}
	f.judge(l)
	l.audited()
	stop()
}

// moment is how things stand.
type moment struct {
	good, in uint64
	log      int64
	bins     bins
	pids     map[string]int
}

func (f *factory) moment(l *lot, sup *site.Supervisor) (m moment) {
	f.t.Helper()
	s := l.status()
	m.good, m.log, m.bins, m.pids = s.Good, s.LogSize, f.countBins(), map[string]int{}
	f.farm(func(c *chipfarm.Client) (err error) {
		m.in, _, err = c.Counters(f.t.Context())
		return err
	})
	for _, p := range f.site.Processes() {
		f.until(p.Name, comeUp, func() error {
			if m.pids[p.Name] = sup.Pid(p.Name); m.pids[p.Name] == 0 {
				return fmt.Errorf("%s is down", p.Name)
			}
			return nil
		})
	}
	return m
}

// TestTwoLots makes one lot after the other on one site: the handler's counters run on, and each lot closes with its own
// share. The second one is released while the first is being made.
func TestTwoLots(t *testing.T) {
	t.Parallel()
	const units, spares, heads = 60, 20, 4
	f := newFactory(t, heads, 2*(units+spares+2*heads), badChips()...)
	sup, stop := f.supervise()
	f.connect()
	first := f.submit("CHAOS-A", units, spares)
	first.release()
	second := f.submit("CHAOS-B", units, spares)
	second.release()
	first.complete()
	sup.Kill(line) // before it could report what the handler counted for the first one; the next order waits already
	second.complete()
	f.idle()
	// The bins hold chips of both, in no order. Which are whose only the ledger says; but all of them must be somebody's, and
	// the handler's own counters must then agree with each share.
	all, counts := f.countBins(), map[perso.Name]bins{}
	f.until("every chip to be in a bin on record", comeUp, func() error {
		for _, l := range []*lot{first, second} {
			counts[l.name] = l.status().Bins
		}
		for v, n := range all {
			if a, b := counts[first.name][v], counts[second.name][v]; a+b != n {
				return fmt.Errorf("bin %s holds %d chips; the ledger has %d of the first lot and %d of the second", v, n, a, b)
			}
		}
		return nil
	})
	for _, l := range []*lot{first, second} {
		for v, n := range all {
			l.before[v] = n - counts[l.name][v]
		}
		t.Logf("closed: %+v", l.close())
		l.audited()
	}
	f.judge(first, second)
	stop()
}
