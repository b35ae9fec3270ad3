package sim

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
)

// checker watches the borders: what is committed, what the ledger says to the line, what the vault serves, what is
// written to a chip, what is put into a bin.
type checker struct {
	w     *World
	m     *model
	lot   lotRow
	dirty bool // something may have been committed

	signed    map[int64]checkpoint.Hash
	largest   int64            // of signed
	material  map[string]*chip // key material by its bytes
	eids      map[string]*chip
	iccids    map[string][]*chip
	delivered map[perso.Presentation]perso.Verdict
	seconds   map[*chip]bool // chips with the secrets of a second profile
}

func newChecker(w *World) *checker {
	return &checker{w: w, m: newModel(), signed: map[int64]checkpoint.Hash{}, material: map[string]*chip{}, eids: map[string]*chip{},
		iccids: map[string][]*chip{}, delivered: map[perso.Presentation]perso.Verdict{}, seconds: map[*chip]bool{}}
}

// after looks at what an event left.
func (c *checker) after() {
	if c.dirty {
		c.readLog()
	}
}

// now is the model as of this moment, also in the middle of an event.
func (c *checker) now() *model {
	c.after()
	return c.m
}

func (c *checker) complete() bool {
	return c.lot.state == perso.LotComplete || c.lot.state == perso.LotClosed
}

func nodeHash(l, r checkpoint.Hash) checkpoint.Hash {
	b := append([]byte{1}, l[:]...)
	return sha256.Sum256(append(b, r[:]...))
}

// replied looks at what the ledger is about to tell the line: nothing may be told before it is committed (I4).
func (c *checker) replied(subject string, request, raw []byte) {
	if !strings.HasSuffix(subject, "."+bus.LineAct) && !strings.HasSuffix(subject, "."+bus.LinePresent) {
		return
	}
	a, err := unwrap[bus.ActReply](raw)
	if err != nil {
		c.w.note("ledger", "answers: %v", err)
		return
	}
	v := a.Verdict
	if v == nil {
		c.w.note("ledger", "answers: window of %d", len(a.Window))
		return // servedOne has looked at it
	}
	c.w.note("ledger", "answers: %s %s %s", v.Verdict, v.Reason, v.Text)
	c.w.stats.Verdicts[string(v.Verdict)+" "+string(v.Reason)]++
	if v.Verdict.Final() {
		c.told(request, v)
	}
}

// told demands that a final verdict is in the database: its entry, and when it ends a claim, the claim's end.
func (c *checker) told(request []byte, v *bus.Verdict) {
	m := c.now()
	if q, err := bus.Decode[bus.ActRequest](request); err == nil && (v.Verdict == perso.VerdictGood || v.Verdict == perso.VerdictSample) {
		act := m.acts[sessionAct{q.Session, 0}]
		switch cl := m.claims[unitGen{act.Unit, act.Gen}]; {
		case cl == nil || cl.state != perso.UnitGood:
			c.w.fail("I4", "session %s is told that its chip is good, and no such outcome is committed", q.Session)
			return
		case v.Verdict != cl.put():
			c.w.fail("I6", "session %s is told %q, its chip was drawn as a sample: %v", q.Session, v.Verdict, cl.sample)
			return
		}
	}
	if len(v.Entry) == 0 || v.Seq >= int64(len(m.bodies)) || !bytes.Equal(m.bodies[v.Seq], v.Entry) {
		c.w.fail("I4", "verdict %q is told, and its entry %d is not committed", v.Verdict, v.Seq)
		return
	}
	if e, err := entry.ParseOutcome(v.Entry); err == nil && (m.claims[unitGen{e.Unit, e.Gen}].outcome != v.Seq || m.claims[unitGen{e.Unit, e.Gen}].put() != v.Verdict) {
		c.w.fail("I4", "verdict %q is told, the database has another outcome", v.Verdict)
	}
}

// served looks at what the vault answers.
func (c *checker) served(q question, raw []byte) {
	switch verbOf(q.subject) {
	case bus.VaultCheckpoint:
		a, err := unwrap[bus.CheckpointReply](raw)
		if err == nil && len(a.Note) > 0 {
			c.checkpointed(a.Note)
		}
	case bus.VaultServe:
		a, err := unwrap[bus.ServeReply](raw)
		if err != nil {
			return
		}
		request, err := bus.Decode[bus.ServeRequest](q.data)
		if err != nil {
			c.w.fail("I5", "the vault served what cannot be read: %v", err)
			return
		}
		for i := range a.Results {
			c.servedOne(&request.Items[i], &a.Results[i])
		}
	}
}

// checkpointed holds a signed checkpoint against the log as it is on the disk.
func (c *checker) checkpointed(note []byte) {
	m := c.now()
	cp, err := checkpoint.Open(note, logOrigin, c.w.site.made.LogKey)
	if err != nil {
		c.w.fail("I5", "the vault's checkpoint cannot be opened: %v", err)
		return
	}
	known, again := c.signed[cp.Size]
	switch {
	case again && known != cp.Root:
		c.w.fail("I5", "two roots are signed for %d entries", cp.Size)
	case again:
	case cp.Size > int64(len(m.bodies)):
		c.w.fail("I5", "a checkpoint of %d entries is signed, %d are committed", cp.Size, len(m.bodies))
	case m.root(0, int(cp.Size)) != cp.Root:
		c.w.fail("I5", "the root signed for %d entries is not that of the log", cp.Size)
	}
	c.signed[cp.Size] = cp.Root
	c.largest = max(c.largest, cp.Size)
}

// servedOne demands that claim and act were committed, and in a signed checkpoint, before anything with a secret in it
// leaves the vault, and that the receipt is on its disk.
func (c *checker) servedOne(item *bus.ServeItem, r *bus.ServeResult) {
	m := c.now()
	switch {
	case r.Refused != "":
		c.w.note("vault", "REFUSES: %s", r.Refused)
		return
	case r.Failed != nil:
		c.w.note("vault", "failed: %s at %s, again: %v", r.Failed.Reason, r.Failed.Step, r.Failed.Again)
	}
	for _, p := range []*bus.Proven{&item.Claim, &item.Act} {
		if p.Seq >= int64(len(m.bodies)) || !bytes.Equal(m.bodies[p.Seq], p.Entry) {
			c.w.fail("I1", "the vault serves against entry %d, which is not committed", p.Seq)
			return
		}
		if p.Seq >= c.largest {
			c.w.fail("I5", "the vault serves against entry %d, the largest signed checkpoint has %d", p.Seq, c.largest)
			return
		}
	}
	for _, stored := range c.w.vault.disk.receipts[c.w.site.lot] {
		if bytes.Contains(stored, r.Receipt) {
			return
		}
	}
	c.w.fail("I5", "the vault serves without a durable receipt")
}

// Cells of a chip's journal (lineside/cardsim: the numbers never change).
const (
	cellBench = 0x00
	cellData  = 0x03
	cellKey   = 0x04
	cellSeq   = 0x05
	cellPair  = 0x06
	cellPIN   = 0x07
	cellTries = 0x08
	cellSQN   = 0x09
	cellAKA   = 0x0C // of a profile that came in a package, as the next two
	cellPUK   = 0x0E
	cellSD    = 0x10

	domainECASD = 2
	domainISDP2 = 4
	numberEID   = 0x5A
	numberICCID = 0x2FE2
	numberKi    = 0x8F20
	numberOPc   = 0x8F21
)

// written looks at every change of a chip's memory: nothing of a personalization reaches a chip that no committed claim
// names, and no key material and no EID two chips (I1).
func (c *checker) written(ch *chip, record []byte) {
	for b := record[1:]; len(b) >= 6; {
		cell, n := binary.BigEndian.Uint32(b), int(binary.BigEndian.Uint16(b[4:]))
		b = b[6:]
		if n == 0xFFFF {
			continue
		}
		c.writtenCell(ch, byte(cell>>24), byte(cell>>16), uint16(cell), b[:n])
		b = b[n:]
	}
}

func (c *checker) writtenCell(ch *chip, domain, kind byte, number uint16, value []byte) {
	switch kind {
	case cellBench, cellSeq, cellTries, cellSQN:
		return
	}
	cl := c.claimOf(ch)
	if cl == nil {
		c.w.fail("I1", "%s is written to, and no committed claim names it", ch.name)
		return
	}
	switch {
	case kind == cellKey: // type, key
		c.once(c.material, string(value[1:]), ch, "a key")
	case kind == cellPair: // private scalar, public point
		c.once(c.material, string(value[:32]), ch, "a private key")
	case kind == cellData && (number == numberKi || number == numberOPc) && c.w.customer():
		c.customerKi(ch, cl, number, value)
	case kind == cellAKA:
		if domain == domainISDP2 {
			c.seconds[ch] = true
		}
		c.authentication(ch, cl, domain, value)
	case kind == cellPUK, kind == cellSD:
		c.once(c.material, string(value), ch, "key material")
	case kind == cellPIN, kind == cellData && (number == numberKi || number == numberOPc):
		c.once(c.material, string(value), ch, "key material")
	case kind == cellData && domain == domainECASD && number == numberEID:
		c.once(c.eids, string(value), ch, "EID")
		if eid := cl.EID.Bytes(); !bytes.Equal(value, eid[:]) {
			c.w.fail("I1", "%s gets an EID that is not its claim's", ch.name)
		}
	}
}

// authentication looks at the Ki and OPc of a profile that came in a package: behind its kind, checks and two limits of SQN come
// algorithm, Ki and OPc, each with its length. Another application of the profile may share them.
func (c *checker) authentication(ch *chip, cl *claim, domain byte, value []byte) {
	const own, head, parts = 0x01, 2 + 2*6, 3
	if len(value) < head || value[0] != own {
		return
	}
	var all [parts][]byte
	rest := value[head:]
	for i := range all {
		all[i], rest = rest[1:1+rest[0]], rest[1+rest[0]:]
	}
	for number, key := range map[uint16][]byte{numberKi: all[1], numberOPc: all[2]} {
		if c.w.customer() && domain != domainISDP2 { // whose Ki are always derived
			c.customerKi(ch, cl, number, key)
			continue
		}
		c.once(c.material, string(key), ch, "key material")
	}
}

func (c *checker) once(seen map[string]*chip, value string, ch *chip, what string) {
	if other := seen[value]; other != nil && other != ch {
		c.w.fail("I1", "%s of %s reaches %s", what, other.name, ch.name)
	}
	seen[value] = ch
}

// claimOf is the committed claim that names a chip.
func (c *checker) claimOf(ch *chip) *claim {
	chipID, err := id.ChipIDFromBytes(ch.id[:])
	if err != nil {
		return nil
	}
	return c.now().byChip[chipID]
}

// binned looks at a chip on its way into a bin: good only on a committed outcome, and what is in there is not a guess (I4).
func (c *checker) binned(ch *chip, where perso.Verdict) {
	cl := c.claimOf(ch)
	s := &c.w.stats
	if c.w.cfg.Binned != nil {
		c.w.cfg.Binned(ch.name, string(where))
	}
	switch where {
	case perso.VerdictGood, perso.VerdictSample:
		s.Good++
		switch {
		case cl == nil || cl.state != perso.UnitGood:
			c.w.fail("I4", "%s is put into bin %q without a committed outcome", ch.name, where)
		case where != cl.put():
			c.w.fail("I6", "%s is put into bin %q, and was drawn as a sample: %v", ch.name, where, cl.sample)
		case cl.sample:
			s.Samples++
		}
	case perso.VerdictRejectLive:
		s.RejectLive++
	case perso.VerdictRejectBlank:
		s.RejectBlank++
	case perso.VerdictReturn:
		s.Returned++
	}
	if (where == perso.VerdictReturn || where == perso.VerdictRejectBlank) && cl != nil && c.holds(ch) {
		c.w.fail("I4", "%s holds key material and is put into bin %q", ch.name, where)
	}
}

// holds reports whether key material of an order ever reached the chip.
func (c *checker) holds(ch *chip) bool {
	for _, other := range c.material {
		if other == ch {
			return true
		}
	}
	return false
}
