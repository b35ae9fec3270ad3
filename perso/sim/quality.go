package sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/statement"
)

// quality is the officer who signs first articles, and what he found in samples. He knows what anybody is told over the bus, and what lies in the
// bin of samples.
type quality struct {
	w    *World
	self officer
	bad  map[*chip]bool // the samples that he examined: whether they were bad

	signed bool // nothing waits for him any more
}

// badSample is how often a good chip does not please him: he looks at more than a vault can see.
const badSample = 0.25

// policed says whether the factory has a policy.
func (w *World) policed() bool { return w.cfg.FirstArticle > 0 || w.cfg.Sampling != "" }

// policy hands the site's policy in, before there is a lot.
func (w *World) policy(ctx context.Context) error {
	if !w.policed() {
		return nil
	}
	body, err := statement.Policy{Header: w.header(w.clock()), FirstArticle: w.cfg.FirstArticle, Sampling: w.cfg.Sampling}.Encode()
	if err != nil {
		return err
	}
	_, err = w.ledger.core.Word(ctx, bus.SignedRequest{Signed: w.sign(body).Encode()})
	return err
}

// header is what each statement of people begins with.
func (w *World) header(at time.Time) statement.Header {
	return statement.Header{Env: perso.EnvTest, Site: siteName, At: at.UTC().Truncate(time.Microsecond), Nonce: [32]byte(w.draw(32))}
}

// over says that quality's work is done.
func (q *quality) over() bool { return q == nil || q.signed }

// comes plans his next look at the lot.
func (q *quality) comes() {
	q.w.after(q.w.between(5*time.Second, 30*time.Second), "quality", "", func() {
		send(q.w, bus.OfficeSubject(bus.OfficeStatus), bus.LotRequest{Lot: q.w.site.lot}, q.sees)
	})
}

// sees decides by a lot's status what is to be signed. What the ledger did not take, or did not answer, he looks at again.
func (q *quality) sees(s bus.StatusReply, err error) {
	over := s.State == perso.LotComplete
	switch {
	case err != nil:
	case s.Policy.FirstArticle > 0 && !s.Approved && (over || s.Good >= s.Policy.FirstArticle):
		q.says(func(h statement.Header) ([]byte, error) {
			return statement.FirstArticle{Header: h, Lot: s.Lot, Good: s.Good, Finding: "read back"}.Encode()
		}, s.Now)
		return
	case over && s.Samples != nil && s.Samples.State == "due":
		q.says(q.examines, s.Now)
		return
	case over:
		q.signed = true
		q.w.note("quality", "has signed all")
		return
	}
	q.comes()
}

// examines looks at each chip in the bin of samples.
func (q *quality) examines(h statement.Header) ([]byte, error) {
	w := q.w
	word := statement.Samples{Header: h, Lot: w.site.lot, Finding: "examined"}
	for _, ch := range w.line.machine.bins[perso.VerdictSample] {
		if _, known := q.bad[ch]; !known {
			q.bad[ch] = w.rng.Float64() < badSample
		}
		word.Examined++
		if q.bad[ch] {
			chip, err := id.ChipIDFromBytes(ch.id[:])
			if err != nil {
				return nil, err
			}
			word.Failed = append(word.Failed, chip)
		}
	}
	word.Failed = statement.InOrder(word.Failed)
	return word.Encode()
}

// says signs a statement and hands it in, and looks again whatever becomes of it.
func (q *quality) says(what func(statement.Header) ([]byte, error), now time.Time) {
	w := q.w
	body, err := what(w.header(now))
	if err != nil {
		w.fail("quality", "writing a statement: %v", err)
		return
	}
	signed := statement.Signed{Body: body}
	signed.Sign(q.self.id, q.self.key)
	send(w, bus.OfficeSubject(bus.OfficeWord), bus.SignedRequest{Signed: signed.Encode()}, func(r bus.WordReply, err error) {
		w.note("quality", "hands in a %s: %v", r.Kind, err)
		if err == nil {
			w.stats.Words++
		}
		q.comes()
	})
}

// findings is what became of the samples: of those that lie in their bin.
func (q *quality) findings() (back, kept, failed uint64) {
	if q == nil {
		return 0, 0, 0
	}
	for _, ch := range q.w.line.machine.bins[perso.VerdictSample] {
		switch {
		case q.bad[ch]:
			failed++
		case q.w.cfg.Sampling.Kept():
			kept++
		default:
			back++
		}
	}
	return back, kept, failed
}

// refused says whether the plan does not accept what quality found.
func (q *quality) refused(good uint64) bool {
	if q == nil || q.w.cfg.Sampling == "" {
		return false
	}
	back, kept, failed := q.findings()
	return !q.w.cfg.Sampling.Accepts(statement.Examined{Good: q.w.cfg.Units, Made: good, Drawn: back + kept + failed, Failed: failed})
}

// draw says whether the unit that becomes good now is a sample, as ledger/FORMAT.md has it, by other code than the ledger's.
func (c *checker) draw(e entry.Outcome) bool {
	units := c.w.cfg.Units
	n := c.w.cfg.Sampling.For(units).Size
	if n == 0 {
		return false
	}
	part, rest := c.m.good*n/units, uint64(0)
	for u := c.m.good; u < units && u*n/units == part; u++ {
		rest++
	}
	sum := sha256.Sum256(append([]byte("persoline/1 sample\n"), e.Receipt[:]...))
	h := binary.BigEndian.Uint64(sum[:]) % units
	return h < n || c.m.samples <= part && h*rest < units
}

// pieces are the chips of an id that lie in a bin: more than one if their maker gave it to several.
func (m *machine) pieces(chip id.ChipID, bin perso.Verdict) (n int) {
	for _, ch := range m.bins[bin] {
		if bytes.Equal(ch.id[:], chip.Bytes()) {
			n++
		}
	}
	return n
}

// shred has two officers see the live rejects destroyed, the bad samples and those that are kept, and all of a lot that quality refused. The
// ledger's own list has all of them but the kept ones, which quality may want longer.
func (c *checker) shred() {
	w, ctx := c.w, context.Background()
	if !w.policed() || !w.stats.Closed {
		return
	}
	refused, bad := w.quality.refused(c.m.good), map[id.ChipID]bool{}
	for ch, is := range w.quality.bad {
		if cl := c.claimOf(ch); cl != nil {
			bad[cl.Chip] = is
		}
	}
	var due, listed []id.ChipID
	for chip, cl := range c.m.byChip {
		if cl.state == perso.UnitLost {
			listed = append(listed, slices.Repeat([]id.ChipID{chip}, w.line.machine.pieces(chip, perso.VerdictRejectLive))...)
		} else if bad[chip] || refused {
			listed = append(listed, chip)
		} else if cl.sample && w.cfg.Sampling.Kept() {
			due = append(due, chip)
		}
	}
	due, listed = statement.Pieces(append(due, listed...)), statement.Pieces(listed)
	r, err := w.ledger.core.Rejects(ctx, bus.LotRequest{Lot: w.site.lot})
	if err != nil || fmt.Sprint(r.Chips) != fmt.Sprint(listed) {
		w.fail("I6", "chips %v are to be destroyed, the ledger lists %v: %v", listed, r.Chips, err)
		return
	}
	if len(due) == 0 {
		c.booked(perso.AccountRejectLive, 0)
		return
	}
	body, err := statement.Rejects{Header: w.header(w.ledger.clock()), Lot: w.site.lot, Place: "cellar", How: "shredded", Chips: due}.Encode()
	if err == nil {
		_, err = w.ledger.core.Word(ctx, bus.SignedRequest{Signed: w.sign(body).Encode()})
	}
	if err != nil {
		w.fail("I6", "destroying chips %v: %v", due, err)
	}
	w.stats.Destroyed += len(due)
	c.booked(perso.AccountDestroyed, len(due))
	c.booked(perso.AccountRejectLive, 0)
}

// booked holds an account of the books, of all reels, against what it must have in the end.
func (c *checker) booked(account perso.Account, want int) {
	r, err := c.w.ledger.core.Stock(context.Background(), bus.Empty{})
	var n int64
	for _, x := range r.Rows {
		if x.Account == account {
			n += x.Chips
		}
	}
	if err != nil || n != int64(want) {
		c.w.fail("I6", "account %s holds %d chips in the end, and not %d: %v", account, n, want, err)
	}
}
