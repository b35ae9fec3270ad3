package audit_test

import (
	"strings"
	"testing"

	. "github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// giving is a lot of which officers gave up one unit; a test bends one part.
type giving struct {
	w       *world
	unit    *Unit
	word    statement.Lost
	signers []perso.Name
	result  string
	receipt func(*entry.Receipt)
	outcome func(*entry.Outcome)
	counts  func(*statement.Close)

	unlogged, unanswered, twice, open, noOutcome bool
	before, after                                func()
}

// tell puts it into the log: one unit is given up, both are made good, one of them in its next generation.
func (g *giving) tell(bend func(*giving)) {
	w := g.w
	g.unit = w.claim(0, 1)
	g.unit.Act("identify")
	c := g.unit.Claim
	g.word = statement.Lost{Env: perso.EnvTest, Site: SiteName, Lot: "L1", Release: w.lot.Hash, Unit: c.Unit, Gen: c.Gen, Index: c.Index, EID: c.EID, Chip: c.Chip,
		Claim: g.unit.Hash, Session: g.unit.Session, Fate: statement.FateMissing, Reason: "gone", At: w.Tick(), Nonce: Hash("lost")}
	g.signers, g.result = []perso.Name{"prod", "sec"}, entry.ResultAbandoned
	nothing := func() {}
	g.before, g.after, g.receipt, g.outcome, g.counts = nothing, nothing, func(*entry.Receipt) {}, func(*entry.Outcome) {}, func(*statement.Close) {}
	bend(g)
	g.before()
	signed := Sign(Must(g.word.Encode()), g.signers...)
	at := w.Tick()
	if !g.unlogged {
		w.Openings = append(w.Openings, signed)
		w.Append(entry.Statement{What: statement.KindLost, Hash: signed.Hash(), Lot: "L1", At: at})
	}
	if !g.unanswered {
		g.unit.Answer(signed.Hash(), at, g.receipt)
	}
	if g.twice {
		g.unit.Answer(signed.Hash(), at, g.receipt)
	}
	g.after()
	if g.noOutcome {
		return
	}
	o := g.unit.Outcome(perso.VerdictRejectLive, perso.ReasonAbandoned)
	o.Receipt = g.unit.Receipt
	g.outcome(&o)
	loss := w.Append(o)
	again := w.lot.Claim(0, 1, loss, Chip(2))
	again.Run()
	again.Bin()
	w.good(1, 3).Bin()
	if g.open {
		return
	}
	for _, source := range []string{entry.SourceHandler, entry.SourceHand} {
		w.lot.CountWith(source, func(c *entry.Count) { c.In++ })
	}
	closing := w.lot.NewClose()
	closing.Counts.In, closing.Counts.Missing = closing.Counts.In+1, 1
	g.counts(&closing)
	w.lot.CloseAs(closing, "prod", "sec")
}

// TestGivenUpInALaterSession: a chip that was called good came again, and was lost before it proved anything more. Officers gave the unit up,
// and the vault's receipt of before answers them.
func TestGivenUpInALaterSession(t *testing.T) {
	t.Parallel()
	for name, given := range map[string]bool{"given up": true, "the ledger's own word": false} {
		w := under(statement.Policy{})
		u, first := w.provenTwice()
		u.Ask("torn off")
		c := u.Claim
		word := Sign(Must(statement.Lost{Env: perso.EnvTest, Site: SiteName, Lot: "L1", Release: w.lot.Hash, Unit: c.Unit, Gen: c.Gen, Index: c.Index, EID: c.EID, Chip: c.Chip,
			Claim: u.Hash, Session: u.Session, Fate: statement.FateMissing, Reason: "gone", At: w.Tick(), Nonce: Hash("lost")}.Encode()), "prod", "sec")
		if given {
			w.Word(word, "L1")
		}
		u.Receipt = first
		u.End(perso.VerdictGood, perso.ReasonNone)
		if r, err := w.verify(); err != nil || r.OK() != given {
			t.Errorf("%s: %v, %v", name, err, r.Findings)
		}
	}
}

// TestGivenUp: a unit that two officers gave up is no finding when all of it holds, and each part that does not is.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bend func(*giving)
		want string
	}{
		"all holds":          {func(*giving) {}, ""},
		"the lot goes on":    {func(g *giving) { g.open = true }, ""},
		"not yet answered":   {func(g *giving) { g.unanswered, g.noOutcome = true, true }, ""},
		"one officer":        {func(g *giving) { g.signers = g.signers[:1] }, "two officers"},
		"another claim":      {func(g *giving) { g.word.Claim = Hash("x") }, "not claimed as the statement says"},
		"another chip":       {func(g *giving) { g.word.Chip = Chip(9) }, "not claimed as the statement says"},
		"another release":    {func(g *giving) { g.word.Release = Hash("x") }, "another release"},
		"another session":    {func(g *giving) { g.word.Session = perso.Session(Hash("x")) }, "is not the last of the chip"},
		"nobody's word":      {func(g *giving) { g.unlogged = true }, "no word of two officers"},
		"no receipt":         {func(g *giving) { g.unanswered = true }, "neither did nor had called it good"},
		"answered twice":     {func(g *giving) { g.twice = true }, "was answered before"},
		"of another unit":    {func(g *giving) { g.receipt = func(r *entry.Receipt) { r.Unit = 1 } }, "is about another unit"},
		"of another claim":   {func(g *giving) { g.receipt = func(r *entry.Receipt) { r.Claim = Hash("x") } }, "is about another unit"},
		"the ledger's word":  {func(g *giving) { g.outcome = func(o *entry.Outcome) { o.Receipt = [32]byte{} } }, "and by nothing less"},
		"another's receipt":  {func(g *giving) { g.outcome = func(o *entry.Outcome) { o.Receipt = Hash("x") } }, "does not give the unit up"},
		"for another reason": {func(g *giving) { g.outcome = func(o *entry.Outcome) { o.Reason = perso.ReasonStatus } }, "and by nothing less"},
		"missing not signed": {func(g *giving) { g.counts = func(c *statement.Close) { c.Counts.Missing, c.Counts.Sample = 0, 1 } }, "0 missing were signed"},
		"more missing": {func(g *giving) {
			g.counts = func(c *statement.Close) { c.Counts.Missing, c.Counts.In = 2, c.Counts.In+1 }
		}, "2 missing were signed"},
		"not in the locked bin": {func(g *giving) { g.word.Fate = statement.FateRejectLive }, "missing were signed"},
		"served afterwards":     {func(g *giving) { g.after = func() { g.unit.Act("late") } }, "two officers gave the unit up"},
		"good afterwards": {func(g *giving) {
			var late entry.Act
			g.before = func() { late = g.unit.Ask("proof") }
			g.after = func() {
				receipt := g.unit.Receipt
				g.unit.Serve(late, "good")
				g.unit.Receipt = receipt
			}
		}, "had been given up, and the vault served it: good"},
		"good before": {func(g *giving) { g.before = func() { g.unit.Serve(g.unit.Ask("proof"), "good") } }, "was called good before"},
		"in the log twice": {func(g *giving) {
			g.after = func() {
				g.w.Append(entry.Statement{What: statement.KindLost, Hash: Sign(Must(g.word.Encode()), g.signers...).Hash(), Lot: "L1", At: g.w.Tick()})
			}
		}, "in the log twice"},
	} {
		g := &giving{w: newWorld()}
		g.tell(c.bend)
		r, err := g.w.verify()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		found := false
		for _, f := range r.Findings {
			found = found || c.want != "" && strings.Contains(f.What, c.want)
		}
		if found != (c.want != "") || c.want == "" && !r.OK() {
			t.Errorf("%s: %v", name, r.Findings)
		}
	}
}
