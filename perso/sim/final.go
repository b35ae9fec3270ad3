package sim

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/statement"
)

// lateness is how long the run goes on after the lot is complete, so that every late message arrives and changes nothing.
const lateness = 3 * askTimeout

// done says that the lot is complete, the line knows it, and nothing is under way any more.
func (w *World) done() bool {
	if !w.check.complete() || !w.check.m.counted || w.line.orders > 0 || w.line.taking == 0 || !w.quality.over() {
		w.quiet = 0
		return false
	}
	if w.quiet == 0 {
		w.quiet = w.now
		w.note("world", "the lot is complete and the line is done")
		w.after(max(lateness, w.cfg.Faults.Until-w.now)+time.Second, "world", "", func() {})
	}
	return w.now > w.quiet+lateness && w.now > w.cfg.Faults.Until && w.ledger.core != nil && w.vault.core != nil
}

// standing tells how things stand when they should be done.
func (w *World) standing() string {
	var b strings.Builder
	l := &w.check.lot
	fmt.Fprintf(&b, "lot %s with %d good, %d open, %d lost, %d EIDs used; ledger up: %v, vault up: %v", l.state, l.good, l.open, l.lost, l.eids, w.ledger.core != nil, w.vault.core != nil)
	if w.line.station == nil {
		return b.String() + ", line down"
	}
	for _, h := range w.line.station.Snapshot(w.clock()).Heads {
		fmt.Fprintf(&b, "; head %d %s", h.Head, h.State)
		if h.Stopped != nil {
			fmt.Fprintf(&b, " (%s %s %s)", h.Stopped.Cause, h.Stopped.Reason, h.Stopped.Text)
		}
	}
	fmt.Fprintf(&b, "; %d chips on the reel, %d set aside; quality is done: %v", len(w.line.machine.reel), len(w.line.machine.aside), w.quality.over())
	return b.String()
}

// finish looks at everything once more, when nothing moves.
func (w *World) finish() {
	c := w.check
	c.readLog()
	w.stats.Entries = len(c.m.bodies)
	for _, look := range []func(){c.rows, c.ending, c.receipts, c.places, c.askChips, c.close, c.echo, c.shred, c.handOver, c.secrets} {
		if w.broken == nil {
			look()
		}
	}
}

// rows compares the claims with the log.
func (c *checker) rows() {
	ctx, n := context.Background(), 0
	err := c.w.ledger.disk.View(ctx, func(tx ledgertest.Tx) error {
		n = 0
		return tx.Each(ctx, func(r ledgertest.Row) error {
			var unit, gen, seq, outcome int64
			var state string
			if err := r.Scan(&unit, &gen, &state, &seq, &outcome); err != nil {
				return err
			}
			n++
			cl := c.m.claims[unitGen{perso.Unit(unit), perso.Generation(gen)}]
			if cl == nil || cl.seq != seq || string(cl.state) != state || cl.outcome != outcome {
				c.w.fail("I5", "claim of unit %d generation %d is not what the log says", unit, gen)
			}
			return nil
		}, `SELECT unit, gen, state, seq, outcome_seq FROM claim`)
	})
	if err != nil || n != len(c.m.claims) {
		c.w.fail("I5", "%d claims in the table, %d in the log: %v", n, len(c.m.claims), err)
	}
}

// ending says that a lot that ended short had no identity left.
func (c *checker) ending() {
	m, l, cfg := c.m, &c.lot, &c.w.cfg
	switch {
	case m.good == cfg.Units && m.open == 0:
	case m.open > 0:
		c.w.fail("liveness", "the lot is complete with %d units in work", m.open)
	case l.eids == cfg.Units+cfg.Spares:
		c.w.stats.Short = true
	default:
		c.w.fail("liveness", "the lot ended with %d of %d good and %d of %d EIDs used", m.good, cfg.Units, l.eids, cfg.Units+cfg.Spares)
	}
}

// receipts matches the vault's receipts with the log, one to one.
func (c *checker) receipts() {
	w := c.w
	q := bus.ReceiptsRequest{Lot: w.site.lot}
	if _, err := w.vault.core.Receipts(context.Background(), q); err != nil { // the lot may not be open after a restart
		w.openLot()
	}
	var chain [][]byte
	for {
		a, err := w.vault.core.Receipts(context.Background(), q)
		if err != nil {
			w.fail("I5", "reading receipts: %v", err)
			return
		}
		chain = append(chain, a.Receipts...)
		q.From = uint64(len(chain))
		if len(a.Head) > 0 {
			break
		}
	}
	served, good := map[sessionAct]bool{}, map[unitGen]bool{}
	for i, b := range chain {
		r, err := entry.ParseReceipt(b)
		if err != nil || r.Seq != uint64(i) {
			w.fail("I5", "receipt %d cannot be read: %v", i, err)
			return
		}
		act, ok := c.m.acts[sessionAct{r.Session, r.N}]
		cl := c.m.claims[unitGen{r.Unit, r.Gen}]
		if !ok || act.Responses != r.Responses || act.Unit != r.Unit || act.Gen != r.Gen || cl == nil || cl.stamp != r.Claim {
			w.fail("I5", "receipt %d matches no logged act and claim", i)
		}
		served[sessionAct{r.Session, r.N}] = true
		if unit := (unitGen{r.Unit, r.Gen}); r.Result == entry.ResultGood {
			if good[unit] {
				w.fail("I5", "receipt %d calls unit %d good, and an earlier one does", i, r.Unit)
			}
			good[unit] = true
		}
	}
	for key, act := range c.m.acts {
		if act.N > 0 && !served[sessionAct{key.session, key.n - 1}] {
			w.fail("I5", "act %d of session %s follows one without receipt", key.n, key.session)
		}
	}
}

// openLot hands the vault the officers' words, as the ledger does.
func (w *World) openLot() {
	q := bus.OpenLotRequest{Register: [][]byte{w.site.register.Encode()}, Release: w.site.signed, Script: w.site.work.Script, Packages: w.site.packages}
	if _, err := w.vault.core.OpenLot(context.Background(), q); err != nil {
		w.fail("I5", "opening the lot: %v", err)
	}
}

// places counts the chips: each lies in one place, and the ledger's bins are the handler's (I6).
func (c *checker) places() {
	m := c.w.line.machine
	total := len(m.reel) + len(m.aside)
	for _, ch := range m.heads {
		if ch != nil {
			c.w.fail("I6", "%s still lies under a head", ch.name)
		}
	}
	ours := map[perso.Verdict]int{}
	for _, v := range c.m.bins {
		ours[v]++
	}
	for _, v := range []perso.Verdict{perso.VerdictGood, perso.VerdictSample, perso.VerdictRejectBlank, perso.VerdictRejectLive, perso.VerdictReturn} {
		total += len(m.bins[v])
		if ours[v] != len(m.bins[v]) {
			c.w.fail("I6", "%d chips lie in bin %q, the ledger says %d", len(m.bins[v]), v, ours[v])
		}
	}
	if total != len(m.all) {
		c.w.fail("I6", "%d chips were delivered, %d are accounted for", len(m.all), total)
	}
	if good, samples := len(m.bins[perso.VerdictGood]), len(m.bins[perso.VerdictSample]); uint64(good+samples) != c.m.good || uint64(samples) != c.m.samples {
		c.w.fail("I6", "%d units are good on record, %d of them drawn; %d chips lie in the good bin, %d among the samples", c.m.good, c.m.samples, good, samples)
	}
}

// askChips has each chip say who it is, by APDU.
func (c *checker) askChips() {
	where := map[*chip]perso.Verdict{}
	for v, bin := range c.w.line.machine.bins {
		for _, ch := range bin {
			where[ch] = v
		}
	}
	eids, iccids := map[string]*chip{}, map[string]*chip{}
	for _, ch := range c.w.line.machine.all {
		word, err := ch.interview()
		if err != nil {
			c.w.fail("I1", "asking %s: %v", ch.name, err)
			return
		}
		if word.mute {
			if v := where[ch]; v == perso.VerdictGood || v == perso.VerdictSample {
				c.w.fail("I4", "%s lies in bin %q and is mute", ch.name, v)
			}
			continue
		}
		if len(word.eid) > 0 {
			c.once(eids, string(word.eid), ch, "EID")
		}
		if v := where[ch]; v == perso.VerdictGood || v == perso.VerdictSample {
			c.once(iccids, string(word.iccid), ch, "ICCID")
			c.askGood(ch, word)
		}
	}
}

// askGood holds a good chip's own word against its claim.
func (c *checker) askGood(ch *chip, word word) {
	cl := c.claimOf(ch)
	if cl == nil {
		c.w.fail("I4", "%s lies in the good bin without a claim", ch.name)
		return
	}
	var eid []byte
	if b := cl.EID.Bytes(); c.w.euicc() {
		eid = b[:]
	}
	channel := c.w.site.product.Channel() != product.ChannelADM // else it has no ISD, and so no keys of one
	iccid, err := c.w.site.release.ICCIDs.At(uint64(cl.Unit))
	ef := iccid.EFBytes()
	switch {
	case err != nil:
		c.w.fail("I7", "unit %d: %v", cl.Unit, err)
	case !bytes.Equal(word.eid, eid):
		c.w.fail("I1", "%s says EID %x, its claim %s", ch.name, word.eid, cl.EID)
	case !bytes.Equal(word.iccid, ef[:]):
		c.w.fail("I1", "%s says ICCID %x, its claim %s", ch.name, word.iccid, iccid)
	case c.seconds[ch] != c.w.operational():
		c.w.fail("I4", "%s is good, and it has a second profile: %v", ch.name, c.seconds[ch])
	case !c.stamped(word.stamp, cl):
		c.w.fail("I1", "%s does not carry the stamp of its claim and one of its sessions", ch.name)
	case !channel && !word.finished:
		c.w.fail("I4", "%s is good, and its maker's code may still open it", ch.name)
	case channel && (!bytes.Contains(word.keys, []byte{0xC0, 0x04, 0x01, c.w.site.product.ISDKVN}) || bytes.Contains(word.keys, []byte{0x01, 0xFF})):
		c.w.fail("I4", "%s is good and has not (only) its own keys: %x", ch.name, word.keys)
	}
}

// stamped says whether a stamp names the claim (24 bytes of its hash) and a session of it (its challenge, 8 bytes).
func (c *checker) stamped(stamp []byte, cl *claim) bool {
	serial, names := bytes.CutPrefix(stamp, cl.stamp[:24])
	if !names || len(serial) != 8 {
		return false
	}
	for _, a := range c.m.acts {
		if a.Unit == cl.Unit && a.Gen == cl.Gen && a.Serial == binary.BigEndian.Uint64(serial) {
			return true
		}
	}
	return false
}

// word is what a chip says about itself in clear.
type word struct {
	mute                    bool
	eid, stamp, keys, iccid []byte
	finished                bool // its master file is activated
}

// interview asks a copy of the chip, so that its own counters stay.
func (c *chip) interview() (word, error) {
	copied := &cardsim.Memory{}
	for _, r := range c.records {
		if err := copied.Append(r); err != nil {
			return word{}, err
		}
	}
	card, err := cardsim.New(c.blank.Personality, copied, c.w.stream())
	if err != nil {
		return word{}, err
	}
	card.OnTestReader()
	if len(card.PowerOn()) == 0 {
		return word{mute: true}, nil
	}
	get := func(skip int, apdus ...string) []byte {
		var answer []byte
		for _, a := range apdus {
			if answer, _ = card.Process(mustHex(a)); len(answer) < 2 || answer[len(answer)-2] != 0x90 {
				return nil
			}
		}
		return answer[min(skip, len(answer)-2) : len(answer)-2]
	}
	isd := []string{"00A4040008A00000015100000000"}
	if c.blank.Options.NoDomain {
		isd = nil
	}
	mf := get(0, "00A40004023F0000")
	return word{
		finished: bytes.Contains(mf, []byte{0x8A, 0x01, 0x05}),
		eid:      get(2, "00A4040010A0000005591010FFFFFFFF890000020000", "80CA005A00"),
		stamp:    get(3, append(isd, "80CADF2000")...),
		keys:     get(2, append(isd, "80CA00E000")...),
		iccid:    get(0, "00A4040410A0000000871002FF86FF0389FFFFFFFF00", "00A40004023F0000", "00A40004022FE200", "00B000000A"),
	}, nil
}

// byHand is what people count: they have put the samples where quality said.
func (c *checker) byHand() bus.CountRequest {
	n := c.w.line.machine.counters()
	back, kept, failed := c.w.quality.findings()
	return bus.CountRequest{Lot: c.w.site.lot, Source: entry.SourceHand, In: n.Good + n.RejectBlank + n.RejectLive + n.Return + n.Sample,
		Good: n.Good + back, RejectBlank: n.RejectBlank, RejectLive: n.RejectLive + failed, Return: n.Return, Sample: kept}
}

// close has the bins counted by hand and the lot closed by two officers. With a chip set aside the counts do not close,
// and the ledger must say so.
func (c *checker) close() {
	w, ctx := c.w, context.Background()
	core := w.ledger.core
	hand := c.byHand()
	if _, err := core.Count(ctx, hand); err != nil {
		w.fail("I6", "counting by hand: %v", err)
		return
	}
	s, err := core.Status(ctx, bus.LotRequest{Lot: w.site.lot})
	if err != nil || s.Balance == nil {
		w.fail("I6", "reading the balance: %v", err)
		return
	}
	if c := s.Balance; len(w.line.machine.aside) == 0 && *c != (statement.Counts{In: hand.In, Good: hand.Good, RejectBlank: hand.RejectBlank, RejectLive: hand.RejectLive, Sample: hand.Sample, Returned: hand.Return}) {
		w.fail("I6", "people counted %+v, the balance is %+v", hand, *c)
	}
	body, err := statement.Close{Env: perso.EnvTest, Lot: w.site.lot, At: w.clock().UTC().Truncate(time.Microsecond), Nonce: [32]byte(w.draw(32)), Counts: *s.Balance}.Encode()
	if err != nil {
		w.fail("I6", "drafting the closing: %v", err)
		return
	}
	_, err = core.Close(ctx, bus.SignedRequest{Signed: w.sign(body).Encode()})
	aside := len(w.line.machine.aside)
	switch {
	case aside == 0 && err != nil:
		w.fail("I6", "the counts are right and the lot does not close: %v; blocks: %q", err, s.Blocks)
	case aside > 0 && err == nil:
		w.fail("I6", "%d chips are missing and the lot closed", aside)
	}
	w.stats.Closed = err == nil
}
