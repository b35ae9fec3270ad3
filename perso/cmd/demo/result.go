package demo

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"sort"
	"time"

	"github.com/persoline/persoline/ledger/audit"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// result is what the closing table tells.
type result struct {
	goodsIn []string
	order   string
	status  bus.StatusReply
	paths   []string
	bundle  string
	report  audit.Report
	audited time.Duration
}

func nonce(to *[32]byte) error {
	if _, err := rand.Read(to[:]); err != nil {
		return fmt.Errorf("drawing a nonce: %w", err)
	}
	return nil
}

// verify has the offline audit judge the bundle with the pins of the site.
func (d *demo) verify(_ context.Context) error {
	began := time.Now()
	pins, err := d.site.AuditPins()
	if err != nil {
		return err
	}
	r, err := audit.Verify(os.DirFS(d.made.bundle), pins)
	if err != nil {
		return err
	}
	d.made.report, d.made.audited = r, time.Since(began)
	if !r.OK() {
		f := r.Findings[0]
		return fmt.Errorf("the audit has %d findings, the first at %s: %s", len(r.Findings), f.Place, f.What)
	}
	d.say("audit    OK: %d log entries and every receipt, statement and count agree; %.1f s, with nothing but public keys", r.Size, d.made.audited.Seconds())
	for _, t := range r.Trusts {
		d.say("         %s", t)
	}
	return nil
}

// table closes the demo: what was made, where it is, what to try.
func (d *demo) table() {
	s := d.made.status
	made := s.Completed.Sub(s.Released)
	d.say("")
	d.say("Made in environment TEST, %s", d.chipTime())
	d.say("  lot            %s of order %s", s.Lot, s.Order)
	d.say("  good           %d of %d ordered, %d identities used of %d released", s.Good, s.Ordered, s.EIDsUsed, s.Ordered+s.Spares)
	d.say("  proof          %s", s.Proof)
	sort.Slice(s.Reasons, func(i, j int) bool { return s.Reasons[i].Count > s.Reasons[j].Count })
	for _, r := range s.Reasons {
		if r.Verdict != perso.VerdictGood {
			d.say("  %-14s %d × %s", r.Verdict, r.Count, r.Reason)
		}
	}
	d.say("  time           %.1f s from release to the last chip (%.0f units per hour), %.1f s in all",
		made.Seconds(), float64(s.Good)/made.Hours(), time.Since(d.began).Seconds())
	d.say("Files")
	for _, p := range d.made.paths {
		d.say("  %s", p)
	}
	d.say("Try next")
	d.say("  bin/perso up --site %s &                     # keep this factory running", d.Dir)
	d.say("  bin/perso trace --site %s EID|ICCID|CHIP     # the whole life of one unit", d.Dir)
	d.say("  bin/perso audit verify %s", d.made.bundle)
}
