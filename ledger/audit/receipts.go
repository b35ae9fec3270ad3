package audit

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
)

// checkReceipts matches what the vault served with what the log says it was asked: each receipt has its act, each act
// from which something follows has its receipt, and every good outcome the receipt that it names.
func (a *auditor) checkReceipts() {
	for _, f := range a.files.listed {
		if vault, lot, ok := layout.ParseReceipts(f.Path); ok {
			c := &chain{a: a, path: f.Path, vault: vault, lot: lot}
			if err := c.read(); err != nil {
				a.find(c.place(), "I5", "%v", err)
			}
		}
	}
	a.unserved()
	a.unanswered()
	for _, c := range a.unproven() {
		a.find(logPlace(int64(c.ended), entry.KindOutcome), "I4", "the receipt of session %s that it names is in no chain", a.sessionName(c.endedIn))
	}
	for _, c := range slices.SortedFunc(maps.Values(a.proven), byOutcome) {
		a.find(logPlace(int64(c.ended), entry.KindOutcome), "I4", "it names the receipt of another session than %s, whose last act the vault did not call good again", a.sessionName(c.endedIn))
	}
	a.checkDropped()
}

// checkDropped tells of units of lots with a sampling plan that the vault called good and the log has as live rejects. The chip died before
// anybody heard the vault, or somebody wanted it not to be drawn; nothing in the log tells the two apart.
func (a *auditor) checkDropped() {
	var b broken
	for p := place(1); p <= a.claims.count; p++ {
		if c := a.claims.at(p); c.saidGood && c.verdict.name() == perso.VerdictRejectLive && a.lotOfClaim(c).policy.Sampling != "" {
			b.add(int64(c.ended))
		}
	}
	if b.count > 0 {
		a.note("%d units of lots with a sampling plan are live rejects, and the vault had called them good, the first ended with log entry %d: their chips died before anybody heard it, or somebody chose that they be no samples. Many of them are no accident",
			b.count, b.first)
	}
}

// unserved finds acts that something followed although the vault never served them.
func (a *auditor) unserved() {
	told := map[*lot]bool{}
	for x := range a.acts.all() {
		if !x.needed || x.served {
			continue
		}
		lot := a.lotOfClaim(a.claims.at(x.claim))
		if !told[lot] || lot.chained {
			a.find(logPlace(int64(x.seq), entry.KindAct), "I5", "something follows from it, but the vault has no receipt for it (lot has receipts: %v)", lot.chained)
		}
		told[lot] = true
	}
}

// broken counts acts that led nowhere, and keeps the first of them.
type broken struct {
	count uint64
	first int64
}

func (b *broken) add(seq int64) {
	if b.count++; b.count == 1 || seq < b.first {
		b.first = seq
	}
}

// unanswered explains the acts after which the log is silent: in an honest factory they are what a killed process, a power cut
// or a chip that was torn off leave behind. Nothing rests on them, else unserved has said so.
func (a *auditor) unanswered() {
	for x := range a.acts.all() {
		switch seq := int64(x.seq); {
		case x.needed:
		case !x.served && a.lotOfClaim(a.claims.at(x.claim)).chained:
			a.never.add(seq)
		case !x.served:
			a.elsewhere.add(seq)
		case x.script:
			a.unplayed.add(seq)
		}
	}
	if b := a.never; b.count > 0 {
		a.report.Broken = append(a.report.Broken, fmt.Sprintf("%d acts were never answered, the first is log entry %d: they were logged, and then ledger, vault or bus ended before the vault served them, as when a process is killed. No script left for them, and nothing rests on them",
			b.count, b.first))
	}
	if b := a.unplayed; b.count > 0 {
		a.report.Broken = append(a.report.Broken, fmt.Sprintf("%d scripts are the last that the log knows of their session, the first answers log entry %d: line or chip was lost then, or the session is under way. A chip that came again went on in a later session, with the same keys",
			b.count, b.first))
	}
}

// unproven are the claims whose outcomes name a receipt that no chain has, in the order of the outcomes.
func (a *auditor) unproven() (all []*claim) {
	for c := range a.claims.all() {
		if c.endedIn != 0 && !c.receiptFound {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, byOutcome)
	return all
}

func byOutcome(x, y *claim) int { return cmp.Compare(x.ended, y.ended) }

// chain is one vault's receipts of one lot.
type chain struct {
	a          *auditor
	path       string
	vault, lot perso.Name
	count      uint64
	head       [32]byte
	text       []byte // links that wait to be parsed, one behind the other
	ends       []int
	links      []receipt // those that are parsed, room for the next ones
}

func (c *chain) place() string { return fmt.Sprintf("%s receipt %d", c.path, c.count) }

// read verifies the chain's signed head, then walks the chain to it.
func (c *chain) read() error {
	if err := c.ownChain(); err != nil {
		return err
	}
	want, err := c.signedHead()
	if err != nil {
		return fmt.Errorf("reading the head: %w", err)
	}
	f, err := c.a.files.open(c.path)
	if err != nil {
		return err
	}
	if l := c.a.lots[c.lot]; l != nil {
		l.chained = true // also by a chain without a link
	}
	err = layout.ReadRecords(f, c.gather)
	if err == nil {
		err = c.flush()
	}
	if err == nil && (c.count != want.Count || c.head != want.Head) {
		err = fmt.Errorf("the chain ends with %x, the signed head says %d receipts and %x", c.head, want.Count, want.Head)
	}
	return errors.Join(err, f.Close())
}

func (c *chain) signedHead() (entry.ReceiptHead, error) {
	body, err := c.a.files.read(layout.ReceiptHead(c.vault, c.lot))
	if err != nil {
		return entry.ReceiptHead{}, err
	}
	text, err := c.a.files.read(layout.ReceiptHeadSig(c.vault, c.lot))
	if err != nil {
		return entry.ReceiptHead{}, err
	}
	sig, err := layout.ParseSignature(text)
	if err != nil {
		return entry.ReceiptHead{}, err
	}
	if !c.a.verify(body, sig) {
		return entry.ReceiptHead{}, errors.New("its signature is not of the statement key")
	}
	h, err := entry.ParseReceiptHead(body)
	if err == nil && (h.Env != c.a.genesis.Env || h.Vault != c.vault || h.Lot != c.lot) {
		err = fmt.Errorf("it is of vault %s, lot %s (%s)", h.Vault, h.Lot, h.Env)
	}
	return h, err
}

// receiptsAtOnce is how many receipts are parsed side by side: about 2 MB of them.
const receiptsAtOnce = 4_096

// receipt is one link, parsed.
type receipt struct {
	entry.Receipt
	hash [32]byte
	err  error
}

// gather keeps a link until there are many.
func (c *chain) gather(b []byte) error {
	c.text = append(c.text, b...)
	c.ends = append(c.ends, len(c.text))
	if len(c.ends) < receiptsAtOnce {
		return nil
	}
	return c.flush()
}

// gathered is link i of those that wait.
func (c *chain) gathered(i int) []byte {
	from := 0
	if i > 0 {
		from = c.ends[i-1]
	}
	return c.text[from:c.ends[i]]
}

// flush parses what was gathered, and takes it in order.
func (c *chain) flush() error {
	c.links = slices.Grow(c.links[:0], len(c.ends))[:len(c.ends)]
	links := c.links
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	const share = 256
	for from := 0; from < len(links); from += share {
		g.Go(func() error {
			for i := from; i < min(from+share, len(links)); i++ {
				links[i].parse(c.gathered(i))
			}
			return nil
		})
	}
	_ = g.Wait() // the functions return no error
	c.text, c.ends = c.text[:0], c.ends[:0]
	for i := range links {
		if err := c.receipt(&links[i]); err != nil {
			return err
		}
	}
	return nil
}

func (r *receipt) parse(b []byte) {
	r.Receipt, r.err = entry.ParseReceipt(b)
	r.hash = entry.Hash(b)
}

// receipt takes the chain's next link. An error ends the walk: what follows hangs on nothing.
func (c *chain) receipt(e *receipt) error {
	if e.err != nil {
		return e.err
	}
	if e.Vault != c.vault || e.Lot != c.lot || e.Seq != c.count || e.Prev != c.head {
		return fmt.Errorf("number %d of vault %s, lot %s does not continue the chain", e.Seq, e.Vault, e.Lot)
	}
	c.match(e)
	c.head, c.count = e.hash, c.count+1
	c.a.passes(c.vault, c.lot, c.count, c.head)
	return nil
}

// match finds the act that a receipt is for.
func (c *chain) match(e *receipt) {
	a := c.a
	a.receipts++
	if e.Result == entry.ResultAbandoned {
		c.answer(e)
		return
	}
	l := a.lots[e.Lot]
	x := a.actFor(e, l)
	if x == nil {
		c.unlogged(l, e)
		return
	}
	if x.served {
		a.repeats++
	}
	x.served, x.script = true, x.script || e.Result == entry.ResultScript
	u := a.unit(l, e.Unit)
	if u == nil || u.gen < e.Gen {
		a.find(c.place(), "I5", "unit %d generation %d was never claimed", e.Unit, e.Gen)
	}
	c.afterwards(l, e)
	c.calledGood(u, e)
	if r := l.release; r != nil && e.N == 0 && !e.At.Before(r.Expires) {
		a.find(c.place(), "I7", "session %s began after the release had expired", e.Session)
	}
	c.named(u, e)
}

// actFor is the act that a receipt is for: it says again what the log says. nil if the log holds none of its lot.
func (a *auditor) actFor(e *receipt, l *lot) *act {
	s := a.sessionIDs.row(e.Session)
	if s == nil {
		return nil
	}
	x := a.actOf(s, e.N)
	if x == nil {
		return nil
	}
	if c := a.claims.at(x.claim); a.lotOfClaim(c) != l || c.hash != e.Claim || x.responses != e.Responses || x.at != e.At.UnixMicro() {
		return nil
	}
	return x
}

// calledGood finds a unit that the vault called good by two receipts: whoever could have another one made could have it made until the sampling
// plan's draw, which follows from it, suits him. A vault that is asked again answers with the first.
func (c *chain) calledGood(u *claim, e *receipt) {
	if u == nil || u.hash != e.Claim {
		return
	}
	switch {
	case e.Result == entry.ResultGood && u.saidGood:
		c.a.find(c.place(), "I5", "the vault had called unit %d good before: another receipt that does so lets somebody choose whether the unit is a sample", e.Unit)
	case e.Result == entry.ResultGood:
		u.saidGood = true
	case e.Result == entry.ResultGoodAgain && !u.saidGood:
		c.a.find(c.place(), "I5", "the vault called unit %d good again, and never had before", e.Unit)
	}
}

// named finds the outcome that names a receipt. A chip that was called good, and came again because nobody heard of it, opened another session;
// the last act of that must have proven it too.
func (c *chain) named(u *claim, e *receipt) {
	a := c.a
	if g := a.proven[e.Session]; g != nil && e.Result == entry.ResultGoodAgain && e.N == g.endedBy {
		delete(a.proven, e.Session)
	}
	g := a.goods.row(e.hash)
	if g == nil {
		return
	}
	g.receiptFound = true
	in, o := a.sessionName(g.endedIn), a.lossOf(g)
	switch {
	case e.Result != entry.ResultGood || u != g || u.hash != e.Claim:
		a.find(c.place(), "I4", "log entry %d calls session %s good, the vault said %q for act %d of session %s", g.ended, in, e.Result, e.N, e.Session)
	case o != nil && o.seq < int64(g.ended): // two officers had given it up before
	case e.Session != in || e.N != g.endedBy:
		a.proven[in] = g
	}
}

// unlogged is a receipt without an act. It is none to worry about only if the act can be younger than the checkpoint.
func (c *chain) unlogged(l *lot, e *receipt) {
	s := c.a.sessionIDs.row(e.Session)
	younger := !e.At.Before(c.a.last) && (s == nil || e.N > s.n)
	if younger && (l == nil || !l.closed) {
		c.a.newer++
		return
	}
	c.a.find(c.place(), "I5", "the vault served act %d of session %s, which the log does not hold as it was served", e.N, e.Session)
}
