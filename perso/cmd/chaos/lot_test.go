package chaos

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/persoline/persoline/ledger/audit"
	"github.com/persoline/persoline/lineside/chipfarm"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/cmd/cli/keyfile"
	"github.com/persoline/persoline/perso/cmd/site"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// lot is one order on its way.
type lot struct {
	*factory
	number string
	name   perso.Name
	before bins   // what lay in the bins when it began
	bad    uint64 // samples of it, by quality's word
}

// bins is how many chips lie in each bin.
type bins map[perso.Verdict]uint64

// submit hands an order in.
func (f *factory) submit(number string, quantity, spares uint64) *lot {
	f.t.Helper()
	a := ask[bus.SubmitReply](f, bus.OfficeSubmit, bus.SubmitRequest{File: f.order(number, quantity, spares)})
	if len(a.Faults) > 0 {
		f.t.Fatalf("order refused: %+v", a.Faults)
	}
	return &lot{factory: f, number: number, name: a.Lot, before: bins{}}
}

// release has two officers release the lot.
func (l *lot) release() {
	l.t.Helper()
	draft := ask[bus.DraftReply](l.factory, bus.OfficeDraft, bus.DraftRequest{Order: l.number})
	ask[bus.LotReply](l.factory, bus.OfficeRelease, bus.SignedRequest{Signed: l.sign(draft.Body)})
}

// sign has those sign who release, or others.
func (f *factory) sign(body []byte, officers ...statement.Officer) []byte {
	f.t.Helper()
	s := statement.Signed{Body: body}
	if len(officers) == 0 {
		officers = site.DemoOfficers
	}
	for _, o := range officers {
		key, err := keyfile.Load(f.site.OfficerKey(o.ID))
		if err != nil {
			f.t.Fatal(err)
		}
		key.Sign(&s)
		key.Wipe()
	}
	return s.Encode()
}

func (l *lot) status() bus.StatusReply {
	l.t.Helper()
	return ask[bus.StatusReply](l.factory, bus.OfficeStatus, bus.LotRequest{Lot: l.name})
}

// reach waits until so many units are good. It fails when nothing moves for too long, or a head waits for a person.
func (l *lot) reach(good uint64) bus.StatusReply {
	l.t.Helper()
	var last bus.StatusReply
	moved := time.Now()
	for {
		s := l.status()
		if s.LogSize != last.LogSize {
			moved = time.Now()
		}
		last = s
		done := s.State == perso.LotComplete || s.State == perso.LotClosed
		if s.Good >= good || done {
			return s
		}
		if time.Since(moved) > stallPatience {
			l.t.Fatalf("lot %s stands still: %d of %d good, %d in work", l.name, s.Good, s.Ordered, s.Open)
		}
		l.rest()
	}
}

// complete waits for the end of the lot, which must be all that was ordered.
func (l *lot) complete() bus.StatusReply {
	l.t.Helper()
	s := l.reach(^uint64(0))
	if s.Good != s.Ordered {
		l.t.Fatalf("lot %s is %s with %d of %d good, %d EIDs used of %d", l.name, s.State, s.Good, s.Ordered, s.EIDsUsed, s.Ordered+s.Spares)
	}
	for _, r := range s.Reasons {
		if r.Verdict == perso.VerdictStop {
			l.t.Errorf("%d heads were stopped: %s", r.Count, r.Reason)
		}
	}
	return s
}

func (f *factory) rest() {
	f.t.Helper()
	select {
	case <-f.t.Context().Done():
		f.t.Fatal("out of time")
	case <-time.After(look):
	}
}

// farm opens a connection of the test's own to the chip farm.
func (f *factory) farm(use func(*chipfarm.Client) error) {
	f.t.Helper()
	f.until("chip farm", comeUp, func() error {
		c, err := chipfarm.Dial(f.t.Context(), f.site.FarmAddressOf(cmp.Or(f.at, line)))
		if err != nil {
			return err
		}
		return errors.Join(use(c), c.Close())
	})
}

func (f *factory) countBins() (n bins) {
	f.t.Helper()
	f.farm(func(c *chipfarm.Client) error {
		all, err := c.Bins(f.t.Context())
		n = bins{}
		for bin, places := range all {
			n[perso.Verdict(bin)] = uint64(len(places))
		}
		return err
	})
	return n
}

// close counts by hand what came into the bins since the lot began, good samples among the good again and bad ones with the live rejects, and has
// two officers close it.
func (l *lot) close() statement.Counts {
	l.t.Helper()
	var s bus.StatusReply
	l.until("counts that close", comeUp, func() error {
		now := l.countBins()
		since := func(v perso.Verdict) uint64 { return now[v] - l.before[v] }
		q := bus.CountRequest{Lot: l.name, Source: entry.SourceHand, Good: since(perso.VerdictGood) + since(perso.VerdictSample) - l.bad,
			RejectBlank: since(perso.VerdictRejectBlank), RejectLive: since(perso.VerdictRejectLive) + l.bad, Return: since(perso.VerdictReturn)}
		q.In = q.Good + q.RejectBlank + q.RejectLive + q.Return
		ask[bus.Empty](l.factory, bus.OfficeCount, q)
		if s = l.status(); s.Balance == nil || len(s.Blocks) > 0 {
			return fmt.Errorf("the lot cannot close: %s", strings.Join(s.Blocks, "; "))
		}
		return nil
	})
	c := statement.Close{Env: s.Env, Lot: l.name, At: time.Now().UTC(), Counts: *s.Balance}
	if _, err := rand.Read(c.Nonce[:]); err != nil {
		l.t.Fatal(err)
	}
	body, err := c.Encode()
	if err != nil {
		l.t.Fatal(err)
	}
	ask[bus.LotReply](l.factory, bus.OfficeClose, bus.SignedRequest{Signed: l.sign(body)})
	if c.Counts.Difference() != 0 {
		l.t.Errorf("closed with a difference: %+v", c.Counts)
	}
	return c.Counts
}

// audited hands out the lot, and has the audit verify its bundle with the site's pins.
func (l *lot) audited() {
	l.t.Helper()
	ask[bus.PathReply](l.factory, bus.OfficeExport, bus.LotRequest{Lot: l.name})
	bundle := ask[bus.PathReply](l.factory, bus.OfficeBundle, bus.LotRequest{Lot: l.name})
	pins, err := l.site.AuditPins()
	if err != nil {
		l.t.Fatal(err)
	}
	r, err := audit.Verify(os.DirFS(bundle.Paths[0]), pins)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, finding := range r.Findings {
		l.t.Errorf("the audit finds: %s", finding)
	}
}
