package audit_test

import (
	"maps"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/persoline/persoline/ledger/audit"
	. "github.com/persoline/persoline/ledger/audit/audittest"
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

// TestTellsWhatWasBrokenOff: acts that led nowhere are counted and explained, and every act is one thing or the other.
func TestTellsWhatWasBrokenOff(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		live                       func(w *world)
		never, unplayed, elsewhere uint64
		note                       string
	}{
		"all is well":     {func(w *world) { w.good(0, 1) }, 0, 0, 0, ""},
		"the vault died":  {chipTroubles()["session lost, chip comes again"], 1, 0, 0, "1 acts were never answered, the first is log entry "},
		"the line died":   {func(w *world) { c := w.claim(0, 1); c.Act("identify"); c.Reopen(); c.Run() }, 0, 1, 0, "1 scripts are the last that the log knows of their session"},
		"none was served": {func(w *world) { w.claim(0, 1).Ask("identify") }, 1, 0, 0, "1 acts were never answered"},
		"of another lot": {func(w *world) {
			w.Release("L2", 1, 1, 1).Claim(0, 0, 0, Chip(5)).Ask("identify")
			delete(w.Chains, "L2")
		}, 0, 0, 1, ""},
	} {
		w := newWorld()
		before, err := w.verify()
		if err != nil {
			t.Fatal(err)
		}
		w = newWorld()
		c.live(w)
		r, err := w.verify()
		if err != nil || !r.OK() {
			t.Fatalf("%s: %v, %v", name, err, r.Findings)
		}
		for fact, want := range map[string]uint64{"acts that the vault never answered": c.never, "acts whose script no logged answer followed": c.unplayed,
			"acts of lots whose receipts are not in this bundle": c.elsewhere} {
			if got := count(r, fact) - count(before, fact); got != want {
				t.Errorf("%s: %d %s, want %d", name, got, fact, want)
			}
		}
		if all, parts := count(r, "acts"), count(r, "receipts")-count(r, "receipts of acts that were answered again")-count(r, "receipts newer than the checkpoint")+
			count(r, "acts that the vault never answered")+count(r, "acts of lots whose receipts are not in this bundle"); all != parts {
			t.Errorf("%s: %d acts, of which %d are told", name, all, parts)
		}
		if notes := strings.Join(r.Broken, "\n"); !strings.Contains(notes, c.note) || c.note == "" && notes != strings.Join(before.Broken, "\n") {
			t.Errorf("%s: notes %q", name, notes)
		}
	}
}

func count(r audit.Report, fact string) uint64 {
	for _, f := range r.Facts {
		if f.Name == fact {
			return f.Count
		}
	}
	return 1 << 63
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
			first := w.lot
			w.lot = w.Release("L2", 1, 1, 1)
			w.lot.Finish()
			w.lot = first
			new(forgetting).tell(w, false, func(*forgetting) {})
			spoil := w.bundle
			w.bundle = func(b fstest.MapFS) {
				spoil(b)
				w.Seal(b, "L2")
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
