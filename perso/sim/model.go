package sim

import (
	"context"
	"fmt"

	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/statement"
)

// model is what the log says, replayed by other code than the ledger's. It is read from the database itself.
type model struct {
	kinds    []string
	bodies   [][]byte
	leaves   []checkpoint.Hash
	claims   map[unitGen]*claim
	byChip   map[id.ChipID]*claim
	byEID    map[id.EID]*claim
	acts     map[sessionAct]entry.Act
	verdicts map[perso.Presentation]perso.Verdict
	bins     map[perso.Presentation]perso.Verdict

	good, open, lost uint64
	samples          uint64 // of the good ones
	approved         bool   // quality signed the first article
	alarms           map[perso.Reason]int
	counted          bool // the handler's counters are on record
}

type unitGen struct {
	unit perso.Unit
	gen  perso.Generation
}

type sessionAct struct {
	session perso.Session
	n       uint8
}

// claim is one unit on one chip.
type claim struct {
	entry.Claim
	seq     int64
	stamp   [32]byte
	state   perso.UnitState
	outcome int64
	sample  bool // drawn: its chip goes into the bin of samples
}

// put is the verdict by which the chip of a claim that has ended is put away.
func (cl *claim) put() perso.Verdict {
	switch {
	case cl.sample:
		return perso.VerdictSample
	case cl.state == perso.UnitGood:
		return perso.VerdictGood
	}
	return perso.VerdictRejectLive
}

func newModel() *model {
	return &model{claims: map[unitGen]*claim{}, byChip: map[id.ChipID]*claim{}, byEID: map[id.EID]*claim{}, acts: map[sessionAct]entry.Act{},
		verdicts: map[perso.Presentation]perso.Verdict{}, bins: map[perso.Presentation]perso.Verdict{}, alarms: map[perso.Reason]int{}}
}

// lotRow is the lot as the database counts it.
type lotRow struct {
	state                            perso.LotState
	open, good, lost, nextUnit, eids uint64
	alsoSize                         int64
}

// readLog takes in what was committed since the last look.
func (c *checker) readLog() {
	c.dirty = false
	from := len(c.m.bodies)
	type fresh struct {
		kind string
		body []byte
	}
	var entries []fresh
	err := c.w.ledger.disk.View(context.Background(), func(tx ledgertest.Tx) error {
		ctx := context.Background()
		entries = nil
		next := int64(from)
		if err := tx.Each(ctx, func(r ledgertest.Row) error {
			var seq int64
			var f fresh
			if err := r.Scan(&seq, &f.kind, &f.body); err != nil {
				return err
			}
			if seq != next {
				return fmt.Errorf("entry %d follows entry %d", seq, next-1)
			}
			next++
			entries = append(entries, f)
			return nil
		}, `SELECT seq, kind, body FROM log_entry WHERE seq >= $1 ORDER BY seq`, int64(from)); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `SELECT size FROM log_head WHERE id = 1`).Scan(&c.lot.alsoSize); err != nil {
			return err
		}
		if c.w.site.lot == "" {
			return nil
		}
		return tx.QueryRow(ctx, `SELECT state, open_count, good_count, lost_count, next_unit, next_eid FROM lot WHERE lot = $1`, string(c.w.site.lot)).
			Scan((*string)(&c.lot.state), &c.lot.open, &c.lot.good, &c.lot.lost, &c.lot.nextUnit, &c.lot.eids)
	})
	if err != nil {
		c.w.fail("I5", "reading the log: %v", err)
		return
	}
	for _, f := range entries {
		if err := c.m.take(f.kind, f.body, c); err != nil {
			c.w.fail("I5", "entry %d: %v", len(c.m.bodies)-1, err)
			return
		}
	}
	c.counts()
	c.ahead()
}

// take replays one entry.
func (m *model) take(kind string, body []byte, c *checker) error {
	seq := int64(len(m.bodies))
	m.kinds, m.bodies, m.leaves = append(m.kinds, kind), append(m.bodies, body), append(m.leaves, checkpoint.Leaf(body))
	switch kind {
	case entry.KindClaim:
		e, err := entry.ParseClaim(body)
		if err == nil {
			c.claimed(e, seq, body)
		}
		return err
	case entry.KindAct:
		e, err := entry.ParseAct(body)
		if err == nil {
			c.acted(e)
		}
		return err
	case entry.KindOutcome:
		e, err := entry.ParseOutcome(body)
		if err == nil {
			c.ended(e, seq)
		}
		return err
	case entry.KindStatement:
		e, err := entry.ParseStatement(body)
		m.approved = m.approved || e.What == statement.KindFirstArticle
		return err
	case entry.KindPresent:
		e, err := entry.ParsePresent(body)
		m.verdicts[e.Present] = e.Verdict
		return err
	case entry.KindBin:
		e, err := entry.ParseBin(body)
		if _, twice := m.bins[e.Present]; twice && err == nil {
			c.w.fail("I6", "presentation %s was binned twice", e.Present)
		}
		m.bins[e.Present] = e.Bin
		return err
	case entry.KindCount:
		e, err := entry.ParseCount(body)
		m.counted = m.counted || e.Source == entry.SourceHandler
		return err
	case entry.KindAlarm:
		e, err := entry.ParseAlarm(body)
		m.alarms[e.Reason]++
		c.w.note("ledger", "ALARM %s: %s", e.Reason, e.Detail)
		return err
	}
	return nil
}

// claimed holds a new claim against I1 and I7.
func (c *checker) claimed(e entry.Claim, seq int64, body []byte) {
	m, cfg := c.m, &c.w.cfg
	key := unitGen{e.Unit, e.Gen}
	cl := &claim{Claim: e, seq: seq, stamp: entry.Hash(body), state: perso.UnitOpen}
	before := m.claims[unitGen{e.Unit, e.Gen - 1}]
	switch {
	case m.claims[key] != nil:
		c.w.fail("I1", "unit %d generation %d is claimed twice", e.Unit, e.Gen)
	case m.byChip[e.Chip] != nil:
		c.w.fail("I1", "chip %s is claimed twice", e.Chip)
	case e.EID.IsZero() == c.w.euicc():
		c.w.fail("I1", "unit %d is claimed with the EID %q", e.Unit, e.EID)
	case !e.EID.IsZero() && m.byEID[e.EID] != nil:
		c.w.fail("I1", "EID %s is claimed twice", e.EID)
	case uint64(e.Index) >= cfg.Units+cfg.Spares || uint64(e.Unit) >= cfg.Units+cfg.Spares:
		c.w.fail("I7", "unit %d with EID index %d: %d were released", e.Unit, e.Index, cfg.Units+cfg.Spares)
	case e.Gen > 0 && (before == nil || before.state != perso.UnitLost || uint64(before.outcome) != e.Loss):
		c.w.fail("I1", "unit %d generation %d follows one that is not lost", e.Unit, e.Gen)
	case cfg.FirstArticle > 0 && !m.approved && m.good+m.open >= cfg.FirstArticle:
		c.w.fail("I6", "%d units are good, %d in work, one more is claimed, and quality has not signed the first article", m.good, m.open)
	case m.good+m.open >= cfg.Units:
		c.w.fail("I7", "%d units are good, %d in work, and one more is claimed", m.good, m.open)
	}
	m.claims[key], m.byChip[e.Chip] = cl, cl
	if !e.EID.IsZero() {
		m.byEID[e.EID] = cl
	}
	m.open++
}

func (c *checker) acted(e entry.Act) {
	key := sessionAct{e.Session, e.N}
	cl := c.m.claims[unitGen{e.Unit, e.Gen}]
	_, twice := c.m.acts[key]
	switch {
	case twice:
		c.w.fail("I5", "act %d of session %s is logged twice", e.N, e.Session)
	case cl == nil:
		c.w.fail("I5", "act %d of session %s has no claim", e.N, e.Session)
	case cl.state == perso.UnitLost:
		c.w.fail("I1", "act %d of session %s is for a claim that is lost", e.N, e.Session)
	}
	c.m.acts[key] = e
	c.w.stats.Acts++
}

// ended holds an outcome against what it may end: only what is open, and GOOD is terminal.
func (c *checker) ended(e entry.Outcome, seq int64) {
	cl := c.m.claims[unitGen{e.Unit, e.Gen}]
	switch {
	case cl == nil:
		c.w.fail("I5", "outcome %s of unit %d has no claim", e.Verdict, e.Unit)
		return
	case cl.state != perso.UnitOpen:
		c.w.fail("I1", "unit %d generation %d was %s and became %s", e.Unit, e.Gen, cl.state, e.Verdict)
	case cl.EID != e.EID || cl.Chip != e.Chip:
		c.w.fail("I1", "outcome of unit %d names another chip or EID than its claim", e.Unit)
	}
	cl.state, cl.outcome = perso.UnitLost, seq
	c.m.open--
	if e.Verdict == perso.VerdictGood {
		cl.state = perso.UnitGood
		if cl.sample = c.draw(e); cl.sample {
			c.m.samples++
		}
		c.m.good++
	} else {
		c.m.lost++
	}
	c.m.verdicts[e.Present] = e.Verdict
	if c.m.good > c.w.cfg.Units {
		c.w.fail("I7", "%d units are good, %d were ordered", c.m.good, c.w.cfg.Units)
	}
}

// counts compares the lot's counters with the log.
func (c *checker) counts() {
	m, l := c.m, &c.lot
	if l.alsoSize != int64(len(m.bodies)) {
		c.w.fail("I5", "the log's head says %d entries, there are %d", l.alsoSize, len(m.bodies))
	}
	if l.state != "" && (l.open != m.open || l.good != m.good || l.lost != m.lost) {
		c.w.fail("I6", "the lot counts %d open, %d good, %d lost; the log says %d, %d, %d", l.open, l.good, l.lost, m.open, m.good, m.lost)
	}
}

// ahead compares the bins of the log with the machine's: the ledger hears of a chip when it lies there, not before (I6).
func (c *checker) ahead() {
	if c.w.line == nil {
		return
	}
	logged := map[perso.Verdict]int{}
	for _, v := range c.m.bins {
		logged[v]++
	}
	for v, n := range logged {
		if have := len(c.w.line.machine.bins[v]); n > have {
			c.w.fail("I6", "the ledger says %d chips lie in bin %q, there are %d", n, v, have)
		}
	}
}

// root hashes the first n leaves (RFC 6962 §2.1), by recursion: neither the ledger's way nor the vault's.
func (m *model) root(lo, hi int) checkpoint.Hash {
	if hi-lo == 1 {
		return m.leaves[lo]
	}
	k := 1
	for 2*k < hi-lo {
		k *= 2
	}
	return nodeHash(m.root(lo, lo+k), m.root(lo+k, hi))
}
