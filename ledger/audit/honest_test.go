package audit_test

import (
	"maps"
	"testing"
	"testing/fstest"

	"github.com/persoline/persoline/ledger/audit"
	. "github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// TestHonestTroubles: what goes wrong in an honest factory is no finding.
func TestHonestTroubles(t *testing.T) {
	t.Parallel()
	stories := chipTroubles()
	maps.Copy(stories, houseTroubles())
	for name, live := range stories {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			live(w)
			if r, err := w.verify(); err != nil || !r.OK() {
				t.Errorf("%v, findings %v", err, r.Findings)
			}
		})
	}
}

func chipTroubles() map[string]func(*world) {
	return map[string]func(*world){
		"nothing made yet": func(*world) {},
		"session lost, chip comes again": func(w *world) {
			c := w.claim(0, 1)
			c.Act("identify")
			c.Ask("key") // the vault was down
			c.Reopen()
			c.Run()
			c.Bin()
		},
		"pair lost, certificate superseded": func(w *world) {
			c := w.claim(0, 1)
			c.Act("identify")
			c.Certify("first")
			c.Reopen()
			c.Act("identify")
			c.Certify("second")
			c.Serve(c.Ask("proof"), "good")
			c.End(perso.VerdictGood, perso.ReasonNone)
		},
		"chip given another key in another session": func(w *world) {
			c := w.injecting().Claim(0, 0, 0, Chip(77))
			c.Act("identify")
			c.Certify("first")
			c.Reopen()
			c.Act("identify")
			c.Certify("second")
			c.Act("written")
			c.Serve(c.Ask("proof"), "good")
			c.End(perso.VerdictGood, perso.ReasonNone)
		},
		"answer lost, served again": func(w *world) {
			c := w.claim(0, 1)
			a := c.Act("identify")
			c.Serve(a, "script")
		},
		"chip fails and is contacted again": func(w *world) {
			c := w.claim(0, 1)
			c.Serve(c.Ask("identify"), string(perso.ReasonRMAC))
			c.Reopen()
			c.Run()
		},
		"good chip comes again": func(w *world) {
			c := w.good(0, 1)
			c.Reopen()
			c.Act("identify")
			w.lot.Put(perso.Presentation{Line: "line-2", Number: 5}, c.Claim.Chip, perso.VerdictGood)
		},
		"loss, re-made": func(w *world) {
			_, loss := w.lost(0, 1)
			w.lot.Claim(0, 1, loss, Chip(2)).Run()
		},
	}
}

func houseTroubles() map[string]func(*world) {
	return map[string]func(*world){
		"mute chips and a twin": func(w *world) {
			w.lot.Contact(perso.VerdictRecontact, perso.ReasonMute)
			w.lot.Contact(perso.VerdictRejectBlank, perso.ReasonMute)
			w.lot.Contact(perso.VerdictStop, perso.ReasonTwin)
			w.Append(entry.Alarm{Lot: "L1", Reason: perso.ReasonTwin, Present: perso.Presentation{Line: "l"}, At: w.Tick()})
			w.Append(entry.Refused{File: Hash("file"), Size: 1, Count: 1, Faults: []string{"eid"}, At: w.Tick()})
		},
		"officers change": func(w *world) {
			w.Enlist("qual", statement.RoleQuality)
			w.Dismiss("prod", statement.RoleProduction, "sec", "qual")
			w.Admit(w.NewRelease("L2", 1, 1, 0), "sec", "qual").Claim(0, 0, 0, Chip(5)).Run()
		},
		"another lot's opening deleted": func(w *world) {
			w.Release("L2", 1, 1, 1).Finish()
			w.bundle = func(b fstest.MapFS) {
				for _, o := range w.Openings[1:] {
					delete(b, layout.Statement(o.Hash()))
				}
			}
		},
		"the line ran on while receipts were fetched": func(w *world) {
			c := w.claim(0, 1)
			c.Act("identify")
			c.Act("key")
			w.Entries = w.Entries[:len(w.Entries)-1]
		},
	}
}

// TestTiles: logs on both sides of full tiles, and two levels of them.
func TestTiles(t *testing.T) {
	t.Parallel()
	for _, size := range []int{255, 256, 257, 511, 512, 1000, 65_536, 65_793} {
		if testing.Short() && size > 1000 {
			continue
		}
		s := finished()
		for len(s.Entries) < size {
			s.Append(entry.Order{Commit: Hash("more"), Good: 1, At: s.Tick()})
		}
		if r, err := audit.Verify(s.Bundle("L1"), pins(s)); err != nil || !r.OK() || r.Size != int64(size) {
			t.Errorf("%d entries: %v, %d, findings %v", size, err, r.Size, r.Findings)
		}
	}
}

// BenchmarkVerify measures a finished lot of ten thousand units; a hundred thousand are ten times that.
func BenchmarkVerify(b *testing.B) {
	s := New()
	s.Release("L1", 0, 10_000, 10).Finish()
	bundle, opt := s.Bundle("L1"), pins(s)
	b.ReportAllocs()
	for b.Loop() {
		if r, err := audit.Verify(bundle, opt); err != nil || !r.OK() {
			b.Fatal(err, r.Findings)
		}
	}
	b.ReportMetric(float64(len(s.Entries)), "entries")
}
