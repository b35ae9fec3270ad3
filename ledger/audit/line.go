package audit

import (
	"crypto/sha256"
	"io/fs"
	"slices"

	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// contact is one presentation: what was decided last, and where its chip lies.
type contact struct {
	lot     uint32 // its number
	known   bool
	verdict verdictCode
	bin     verdictCode
}

// contactKey is a presentation with a number for its line.
type contactKey struct {
	headKey
	number uint64
}

// headKey is a head of a line.
type headKey struct {
	line uint32
	head uint16
}

// verdictCode stands for a verdict, by its place in verdicts; 0 for none.
type verdictCode uint8

var verdicts = []perso.Verdict{"", perso.VerdictGood, perso.VerdictRejectLive, perso.VerdictRejectBlank, perso.VerdictRecontact, perso.VerdictHold, perso.VerdictStop, perso.VerdictReturn, perso.VerdictSample}

func codeOf(v perso.Verdict) verdictCode { return verdictCode(max(0, slices.Index(verdicts, v))) }

func (c verdictCode) name() perso.Verdict { return verdicts[c] }

func (a *auditor) contactKey(p perso.Presentation) contactKey {
	line, known := a.lines[p.Line]
	if !known {
		line = uint32(len(a.lines))
		a.lines[p.Line] = line
	}
	return contactKey{headKey{line: line, head: p.Head}, p.Number}
}

// contact is what is known of a presentation.
func (a *auditor) contact(p perso.Presentation) *contact {
	k := a.contactKey(p)
	head, known := a.contacts[k.headKey]
	if !known {
		head = newSpread[contact]()
		a.contacts[k.headKey] = head
	}
	return head.at(k.number)
}

func (a *auditor) judged(p perso.Presentation, l *lot, v perso.Verdict) {
	c := a.contact(p)
	switch {
	case !c.known:
		*c = contact{lot: l.number, known: true, verdict: codeOf(v)}
	case c.lot != l.number || c.bin != 0:
		a.bad("I6", "presentation %s is of lot %s, or was binned before", p, a.nameOf(c.lot))
	default:
		c.verdict = codeOf(v)
	}
}

// nameOf is the name of a lot by its number.
func (a *auditor) nameOf(number uint32) perso.Name {
	for name, l := range a.lots {
		if l.number == number {
			return name
		}
	}
	return ""
}

// present is a contact that ended no claim.
func (a *auditor) present(e entry.Present) {
	l := a.lotOf(e.Lot)
	if l == nil {
		return
	}
	a.standsStill(l, e.Present.Line)
	a.cleanLine(l, e.Lot, e.Present.Line)
	if e.Verdict == perso.VerdictGood || e.Verdict == perso.VerdictSample || e.Verdict == perso.VerdictRejectLive {
		a.bad("I4", "verdict %s without an outcome", e.Verdict)
	}
	a.judged(e.Present, l, e.Verdict)
}

// bin is where the handler put a chip: where the verdict on its presentation said, or, when a finished chip came again,
// where its own outcome says.
func (a *auditor) bin(e entry.Bin) {
	l := a.lotOf(e.Lot)
	if l == nil {
		return
	}
	a.bins++
	l.bins[e.Bin]++
	known := a.chips.row(e.Chip)
	c := a.contact(e.Present)
	if !c.known {
		c.lot, c.known = l.number, true
	}
	switch {
	case c.lot != l.number || c.bin != 0:
		a.bad("I6", "presentation %s is of lot %s, or was binned before", e.Present, a.nameOf(c.lot))
	case !e.Bin.Final():
		a.bad("I6", "there is no bin %q", e.Bin)
	case e.Bin == perso.VerdictSample && len(l.exported) > 0:
		a.bad("I6", "chip %s was put among the samples of lot %s, which had been handed out", e.Chip, e.Lot)
	case c.verdict.name().MayLieAs(e.Bin), l.mayDiffer(c.verdict.name(), e.Bin):
	case known == nil || known.lot != l.number || known.put.name() != e.Bin && !l.mayDiffer(known.put.name(), e.Bin):
		a.bad("I6", "chip %s of presentation %s was put into %s, the verdict was %q", e.Chip, e.Present, e.Bin, c.verdict.name())
	}
	c.bin = codeOf(e.Bin)
	if known != nil {
		known.binned = true
	}
	if known != nil && (e.Bin == perso.VerdictGood || e.Bin == perso.VerdictSample) {
		known.inGood++
	}
	if known != nil && known.lot == l.number && e.Bin == perso.VerdictRejectLive {
		known.inLive++
	}
}

// count keeps the last word of a source.
func (a *auditor) count(e entry.Count) {
	l := a.lotOf(e.Lot)
	if l == nil {
		return
	}
	if e.Source != entry.SourceHandler && e.Source != entry.SourceHand {
		a.bad("I6", "nobody called %q counts", e.Source)
	}
	if e.Source == entry.SourceHand {
		l.handCount = a.hash
		l.handTimes++
		if len(l.hands) < MaxMiscounts {
			l.hands = append(l.hands, Miscount{Seq: a.seq, Count: e})
		}
	}
	l.counts[e.Source] = e
}

// close is the officers' word that a lot's counts hold: theirs, the handler's, the hand count and the log's own (I6).
func (a *auditor) close(e entry.Statement) {
	l := a.lotOf(e.Lot)
	if l == nil {
		return
	}
	a.standsStill(l, "")
	l.closed, l.closing = true, e.Hash
	body, found := a.opening(e)
	if !found {
		return
	}
	c, err := statement.ParseClose(body)
	if err != nil {
		a.bad("I6", "%v", err)
		return
	}
	l.closedAt = c.At
	n := c.Counts
	if c.Lot != e.Lot || c.Env != a.genesis.Env {
		a.bad("I6", "the statement closes lot %s (%s)", c.Lot, c.Env)
	}
	if d := n.Difference(); d != 0 || n.InWork != 0 || l.open != 0 {
		a.bad("I6", "difference %d, %d in work, %d claims open", d, n.InWork, l.open)
	}
	given := l.accounted()
	d := l.drawn
	if n.Good+n.Sample+d.failed+given.good != l.good {
		a.bad("I6", "%d good were signed, %d are on record", n.Good+n.Sample+d.failed, l.good)
	}
	a.examined(l, "it was closed")
	if n.Missing != given.missing {
		a.bad("I6", "%d missing were signed, officers gave up %d that nobody finds", n.Missing, given.missing)
	}
	counts := entry.Count{Lot: e.Lot, In: n.In, Good: n.Good, RejectBlank: n.RejectBlank, RejectLive: n.RejectLive, Return: n.Returned, Sample: n.Sample}
	a.sameCount(counts, "log", entry.Count{Lot: e.Lot, In: n.In, Good: l.bins[perso.VerdictGood] + d.back, RejectBlank: l.bins[perso.VerdictRejectBlank],
		RejectLive: l.bins[perso.VerdictRejectLive] + given.rejectLive + d.failed, Return: l.bins[perso.VerdictReturn], Sample: d.kept})
	for _, source := range []string{entry.SourceHandler, entry.SourceHand} {
		theirs := l.counts[source]
		theirs.Source, theirs.At = "", counts.At
		if source == entry.SourceHandler {
			theirs.RejectLive += given.rejectLive + d.failed // people put these into the locked bin
			theirs.Good += d.back
			if theirs.Sample != l.bins[perso.VerdictSample] {
				a.bad("I6", "the handler counts %d samples, the log %d", theirs.Sample, l.bins[perso.VerdictSample])
			}
			theirs.Sample = d.kept
		}
		if source == entry.SourceHand && l.explained != [32]byte{} && l.explained == l.handCount {
			a.note("the hand count of lot %s differs from the log; two persons signed why", e.Lot)
			continue
		}
		a.sameCount(counts, source, theirs)
	}
	if l.policy.FirstArticle > 0 && !l.approved {
		a.bad("I6", "nobody of quality had signed the first article")
	}
	a.miscounts(l, counts)
	a.bookClosing(e.Lot, l, n)
	for u, p := range l.units.all() {
		if c := a.claims.get(p); c != nil && c.verdict.name() == perso.VerdictGood && c.inGood != 1 && (c.loss == 0 || c.binned) {
			a.bad("I6", "unit %d is good and its chip was put %d times into the good bin", u, c.inGood)
		}
	}
}

func (a *auditor) sameCount(signed entry.Count, source string, other entry.Count) {
	if signed != other {
		a.bad("I6", "signed is %d = %d good + %d reject-blank + %d reject-live + %d return + %d sample; the %s says %d = %d + %d + %d + %d + %d", signed.In, signed.Good,
			signed.RejectBlank, signed.RejectLive, signed.Return, signed.Sample, source, other.In, other.Good, other.RejectBlank, other.RejectLive, other.Return, other.Sample)
	}
}

// exportFile holds a bundled export manifest against the hash on record.
func (a *auditor) exportFile(e entry.Export) {
	path := layout.Export(e.Lot, e.What)
	if !a.files.has(path) {
		a.note("the manifest of the %s export of lot %s is not bundled", e.What, e.Lot)
		return
	}
	a.files.used[path] = true
	data, err := fs.ReadFile(a.files.fsys, path)
	if err != nil {
		a.find(path, "I8", "%v", err)
		return
	}
	if sha256.Sum256(data) != e.Hash {
		a.find(path, "I8", "its hash is %x, log entry %d says %x", sha256.Sum256(data), a.seq, e.Hash)
	}
	if _, err := layout.ParseManifest(data); err != nil {
		a.find(path, "I8", "%v", err)
	}
}
