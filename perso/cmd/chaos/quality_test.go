package chaos

import (
	"crypto/rand"

	"github.com/persoline/persoline/lineside/chipfarm"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/cmd/site"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/statement"
)

// header is what each statement of people begins with.
func (f *factory) header() statement.Header {
	f.t.Helper()
	s := ask[bus.StandingReply](f, bus.OfficeStanding, bus.Empty{})
	h := statement.Header{Env: s.Env, Site: s.Site, At: s.Now}
	if _, err := rand.Read(h.Nonce[:]); err != nil {
		f.t.Fatal(err)
	}
	return h
}

// handIn has people sign a statement and hands it in, again and again while nobody answers.
func (f *factory) handIn(w interface{ Encode() ([]byte, error) }, officers ...statement.Officer) {
	f.t.Helper()
	body, err := w.Encode()
	if err != nil {
		f.t.Fatal(err)
	}
	ask[bus.WordReply](f, bus.OfficeWord, bus.SignedRequest{Signed: f.sign(body, officers...)})
}

// firstArticle waits until the lot stands for its first chips, and has quality sign them; before that is handed in, something happens.
func (l *lot) firstArticle(chips uint64, before func()) {
	l.t.Helper()
	if s := l.reach(chips); s.Good != chips || s.Open != 0 || s.Approved {
		l.t.Errorf("a lot that stands for its first %d chips has %d good, %d in work", chips, s.Good, s.Open)
	}
	word := statement.FirstArticle{Header: l.header(), Lot: l.name, Good: chips, Finding: "read back"}
	before()
	l.handIn(word, site.DemoQuality)
}

// examine has quality sign what it found in the samples: one is bad. Before that is handed in, something happens.
func (l *lot) examine(atLeast uint64, before func()) {
	l.t.Helper()
	l.idle()
	s, samples := l.status(), []chipfarm.Place(nil)
	l.farm(func(c *chipfarm.Client) error {
		all, err := c.Bins(l.t.Context())
		samples = all[perso.BinSample]
		return err
	})
	if s.Samples == nil || s.Samples.InBin != uint64(len(samples)) || s.Samples.Drawn != s.Samples.InBin || s.Samples.InBin < atLeast {
		l.t.Fatalf("of %d samples or more %d lie in their bin, the ledger says %+v", atLeast, len(samples), s.Samples)
	}
	l.bad = 1
	word := statement.Samples{Header: l.header(), Lot: l.name, Examined: uint64(len(samples)), Finding: "one is scratched", Failed: []id.ChipID{samples[0].Chip}}
	before()
	l.handIn(word, site.DemoQuality)
	if s = l.status(); s.Samples.State != "accepted" || s.Samples.Failed != 1 || s.Samples.Back != uint64(len(samples))-1 {
		l.t.Errorf("quality signed for %d samples, one of them bad: %+v", len(samples), s.Samples)
	}
}
