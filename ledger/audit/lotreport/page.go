package lotreport

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"github.com/persoline/persoline/ledger/audit"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// Page is what a report shows.
type Page struct {
	Made    time.Time
	Program string // that made it
	Judged  time.Time
	Again   bool // judged by an earlier run, whose result was given; this run only compared the bytes

	Audit    audit.Report
	Lot      perso.Name
	Found    bool // the log releases such a lot
	Rejected bool // quality did not accept it
	State    string
	Release  statement.Release
	Released signedWord
	Closed   statement.Close
	Closing  signedWord
	Ordered  statement.Destroy
	Destroy  signedWord
	Gone     statement.Destroyed
	Deleted  signedWord
	Forgot   statement.Forget
	Forget   signedWord
	Assigned perso.Name
	Words    []otherWord
	Floor    []wordRow
	More     uint64 // words that are not told

	Locked, Missing uint64 // chips of units that were given up, where people say that they are
	Bookings        []booked
	MoreBookings    uint64
	Issued, Back    uint64
	Accounts        []accountRow

	First, Last   time.Time
	Quantities    []row
	Balance       []balanceRow
	Differences   int
	Causes        []causeRow
	Heads         []headRow
	Rejects       []reject
	MoreRejects   uint64
	Remakes       []remake
	MoreRemakes   uint64
	Exports       []exported
	Receipts      []entry.ReceiptHead
	Ours, Others  []audit.Exception
	Forbidden     []audit.Exception // what the office was refused
	MoreForbidden int
	Proofs        []proofRow
	Keys          []keyRow
	Faults        []string
	YieldChart    template.HTML
	ReasonChart   template.HTML
	YieldPercent  string
	OpenException int
}

// Forgotten says that two officers had the words of the release deleted.
func (p Page) Forgotten() bool { return p.Forget.There && !p.Released.There }

type row struct {
	What    string
	Count   uint64
	Note    string
	Unknown bool // the words that said it are not there
}

type balanceRow struct {
	What   string
	Counts [6]uint64 // in, good, reject-blank, reject-live, return, sample
	Known  bool
	Bad    bool

	Explained bool // it differs, and two persons signed why
	Again     bool // it differed, and people counted again
}

type causeRow struct {
	Verdict perso.Verdict
	Reason  perso.Reason
	Step    string
	SW      string
	Count   uint64
	Share   string
}

type headRow struct {
	Line                         perso.Name
	Head                         uint32
	Good, Live, Blank, Recontact uint64
	Yield                        string
}

type keyRow struct{ Role, ID, Note string }

// Options are what the report says about its own making.
type Options struct {
	Now     time.Time
	Program string
	Judged  time.Time // when the audit's result was made; zero means by this run
}

// Page puts together what was collected. result is the audit's, of the same bundle.
func (c *Collector) Page(result audit.Report, receipts []entry.ReceiptHead, o Options) Page {
	s := c.s
	s.acts, s.sessions, s.superseded = s.acts+c.acts.Swap(0), s.sessions+c.sessions.Swap(0), s.superseded+c.superseded.Swap(0)
	p := Page{Made: o.Now, Program: o.Program, Judged: o.Judged, Again: !o.Judged.IsZero(), Audit: result, Lot: s.lot, Found: s.release.Seq > 0, Release: s.released, Released: s.release,
		Closed: s.closed, Closing: s.closing, Ordered: s.ordered, Destroy: s.destroy, Gone: s.gone, Deleted: s.deleted, Forgot: s.words.forgot.Text, Forget: s.words.forgot.signedWord, Assigned: s.assigned, First: s.first, Last: s.last,
		Rejects: s.rejects, MoreRejects: s.moreRejects, Remakes: s.remakes, MoreRemakes: s.moreRemakes, Exports: s.exports, Receipts: receipts, Faults: s.faults, Words: s.others}
	if p.Judged.IsZero() {
		p.Judged = o.Now
	}
	p.State, p.Rejected = s.state(), s.words.rejects(s)
	if p.Rejected {
		p.State += ", NOT ACCEPTED by quality"
	}
	p.quantities(s)
	p.balance(s)
	p.causes(s)
	p.heads(s)
	p.exceptions()
	p.floor(s)
	p.keys()
	p.Proofs = proofsOf(s.released)
	p.YieldChart = yieldChart(s.events)
	p.ReasonChart = reasonChart(p.Causes)
	return p
}

func (s *story) state() string {
	switch {
	case s.release.Seq == 0:
		return "not released in this log"
	case s.words.forgot.Seq > 0:
		return "closed, delivered, its key destroyed, its order and release deleted"
	case s.deleted.Seq > 0:
		return "closed, delivered, its key destroyed"
	case s.destroy.Seq > 0:
		return "closed, its key ordered to be destroyed"
	case s.closing.Seq > 0:
		return "closed"
	case s.claims == 0:
		return "released, nothing made yet"
	case s.release.There && s.good >= s.released.Good:
		return "complete, not closed"
	}
	return "in work"
}

func share(n, of uint64) string {
	if of == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f %%", 100*float64(n)/float64(of))
}

func (p *Page) quantities(s *story) {
	r := s.released
	ended := s.good + s.lost + s.blank()
	p.YieldPercent = share(s.good, ended)
	open := s.claims - s.good - s.lost
	ordered := row{What: "ordered, and released as good", Count: r.Good, Note: "the most that the vault makes"}
	spares := row{What: "spare identities released", Count: r.Spares}
	if !s.release.There {
		const gone = "the release that said it is not there"
		ordered.Note, ordered.Unknown = gone, true
		spares.Note, spares.Unknown = gone, true
		if s.words.forgot.There {
			ordered.Note, ordered.Unknown = "as the word of its deletion says: the release itself is deleted", false
		}
	}
	p.Quantities = []row{
		ordered, spares,
		{What: "claims: an identity bound to a chip", Count: s.claims, Note: "each logged before the chip's first secret byte"},
		{What: "good", Count: s.good, Note: "the vault verified the product's proof"},
		{What: "lost after the claim (reject-live)", Count: s.lost, Note: "locked away; may hold keys; the identity is retired"},
		{What: "rejected before a claim (reject-blank)", Count: s.blank(), Note: "never held a secret"},
		{What: "open", Count: open, Note: "claimed, neither good nor lost"},
		{What: "made again", Count: uint64(len(s.remakes)) + s.moreRemakes, Note: "a unit's next generation, with new keys, after the loss was logged"},
		{What: "sessions", Count: s.sessions, Note: "secure channels opened"},
		{What: "acts served", Count: s.acts, Note: "each with a receipt of the vault, or explained"},
		{What: "certificates that were superseded", Count: s.superseded},
	}
	if used := s.claims; s.release.There && r.Units() >= used {
		p.Quantities = append(p.Quantities, row{What: "identities released and never used", Count: r.Units() - used})
	}
}

func (s *story) blank() (n uint64) {
	for c, k := range s.causes {
		if c.verdict == perso.VerdictRejectBlank {
			n += k
		}
	}
	return n
}

// floor is what people signed on the way, and how the chips were booked.
func (p *Page) floor(s *story) {
	p.Floor = s.words.rows(s)
	p.More = s.words.more // which the rows may add to
	p.Bookings, p.MoreBookings, p.Issued, p.Back = s.stock.bookings, s.stock.more, s.stock.issued, s.stock.back
	p.Accounts = s.accounts(p.Audit.Stock)
	for i, r := range p.Rejects {
		p.Rejects[i].Destroyed = s.words.destroyed[r.Chip]
	}
}

// balance sets the counts of log, handler, hand and officers side by side. People put the chips of units that were given up where they
// say, so the handler's counters have fed them and binned none of them.
func (p *Page) balance(s *story) {
	b := s.bins
	p.Locked, p.Missing = s.words.givenUp()
	in := b[perso.VerdictGood] + b[perso.VerdictRejectBlank] + b[perso.VerdictRejectLive] + b[perso.VerdictReturn] + b[perso.VerdictSample] + p.Locked + p.Missing
	back, kept, failed := s.words.examined(s.released)
	log := [6]uint64{in, b[perso.VerdictGood] + back, b[perso.VerdictRejectBlank], b[perso.VerdictRejectLive] + p.Locked + failed, b[perso.VerdictReturn],
		b[perso.VerdictSample] - min(b[perso.VerdictSample], back+failed)}
	rows := []balanceRow{{What: "log: bins confirmed by the handler", Known: true, Counts: log}}
	if p.Locked+p.Missing > 0 {
		rows[0].What = "log: bins confirmed by the handler, and units given up"
	}
	if back+kept+failed > 0 {
		rows[0].What += ", samples as quality signed"
	}
	for _, source := range []struct{ key, what string }{{entry.SourceHandler, "handler: its own counters"}, {entry.SourceHand, "people: blind count by hand"}} {
		if source.key == entry.SourceHand {
			rows = append(rows, s.miscounts(log)...)
		}
		n, known := s.counts[source.key]
		r := balanceRow{What: source.what, Known: known, Counts: [6]uint64{n.In, n.Good, n.RejectBlank, n.RejectLive, n.Return, n.Sample}}
		want := log
		if source.key == entry.SourceHandler {
			want[1], want[3], want[5] = b[perso.VerdictGood], b[perso.VerdictRejectLive], b[perso.VerdictSample]
		}
		differs := known && r.Counts != want
		r.Explained = differs && source.key == entry.SourceHand && s.words.explained()
		r.Bad = differs && !r.Explained
		rows = append(rows, r)
	}
	n := s.closed.Counts
	signed := balanceRow{What: "officers: signed at closing", Known: s.closing.There, Counts: [6]uint64{n.In, n.Good, n.RejectBlank, n.RejectLive, n.Returned, n.Sample}}
	signed.Bad = signed.Known && signed.Counts != log
	p.Balance = append(rows, signed)
	for _, r := range p.Balance {
		if r.Bad {
			p.Differences++
		}
	}
}

// miscounts are the hand counts that differ from the log, and were replaced by another.
func (s *story) miscounts(log [6]uint64) (rows []balanceRow) {
	for _, n := range s.hands {
		r := balanceRow{What: "people: blind count by hand, " + n.At.UTC().Format(time.DateTime), Known: true, Again: true, Counts: [6]uint64{n.In, n.Good, n.RejectBlank, n.RejectLive, n.Return, n.Sample}}
		if r.Counts != log {
			rows = append(rows, r)
		}
	}
	if more := s.recounted - uint64(len(s.hands)); more > 0 {
		rows = append(rows, balanceRow{What: fmt.Sprintf("people: %d more counts by hand, of which this report does not tell", more), Again: true})
	}
	return rows
}

func (p *Page) causes(s *story) {
	var all uint64
	sorted := s.causesSorted()
	for _, c := range sorted {
		all += c.n
	}
	for _, c := range sorted {
		r := causeRow{Verdict: c.verdict, Reason: c.reason, Step: c.step, Count: c.n, Share: share(c.n, all)}
		if c.sw != 0 {
			r.SW = fmt.Sprintf("%04X", c.sw)
		}
		p.Causes = append(p.Causes, r)
	}
}

func (p *Page) heads(s *story) {
	for at, n := range s.heads {
		p.Heads = append(p.Heads, headRow{Line: at.line, Head: at.head, Good: n.good, Live: n.live, Blank: n.blank, Recontact: n.recontact,
			Yield: share(n.good, n.good+n.live+n.blank)})
	}
	slices.SortFunc(p.Heads, func(a, b headRow) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Head, b.Head)) })
}

// exceptions are the lot's own and those of the site as a whole; other lots' are theirs.
func (p *Page) exceptions() {
	for _, x := range p.Audit.Exceptions {
		switch x.Lot {
		case p.Lot:
			p.Ours = append(p.Ours, x)
		case "":
			switch {
			case x.Kind != entry.KindForbidden:
				p.Others = append(p.Others, x)
			case len(p.Forbidden) < maxWords:
				p.Forbidden = append(p.Forbidden, x)
			default:
				p.MoreForbidden++
			}
		default:
			continue
		}
		if x.Open() {
			p.OpenException++
		}
	}
}

func (p *Page) keys() {
	r := p.Release
	add := func(role, id, note string) {
		if id != "" {
			p.Keys = append(p.Keys, keyRow{role, id, note})
		}
	}
	for _, k := range p.Audit.Keys {
		note := "as pinned by who made this report"
		switch {
		case k.Differs:
			note = "NOT the one pinned by who made this report"
		case !k.Pinned:
			note = "from the bundle itself: compare it with the key ceremony's record"
		}
		add(k.Name, hex.EncodeToString(k.Fingerprint), note)
	}
	if !p.Released.There {
		return
	}
	if r.FactoryKVN != 0 {
		add("chip maker's key (KMC)", string(r.KMC), fmt.Sprintf("KVN %02X, replaced by KVN %02X on the card", r.FactoryKVN, r.CardKVN))
	} else {
		add("chip maker's key", string(r.KMC), "")
	}
	add("operator key (OP or TOP)", string(r.OP), "algorithm "+r.Algorithm)
	add("transport key of the output file", string(r.TransportKey), r.TransportMode)
	add("operator key of the operational profile", string(r.Operational.OP), "algorithm "+r.Operational.Algorithm)
	add("transport key of the operational profile's output file", string(r.Operational.TransportKey), r.Operational.TransportMode)
	add("receiver's public key", r.ReceiverKey, "")
	add("wrap key of the SM-SR", string(r.WrapKey), "")
	add("source of Ki", r.KiSource, map[string]string{"derived": "from the lot's key in the HSM; stored nowhere", "random": "drawn in the HSM, sealed for the one claim",
		"customer": "the operator's own, as received under his key"}[r.KiSource])
	add("origin of the eUICC's key pair", r.KeyOrigin, map[string]string{"card": "made on the chip, which proved possession", "hsm": "made in the HSM for one session, given to the chip"}[r.KeyOrigin])
	for _, k := range p.Gone.Keys {
		add("lot's key", k, "destroyed")
	}
}

// short is the beginning of a hash, enough to compare by eye on paper.
func short(h any) string {
	text := fmt.Sprintf("%x", h)
	return text[:min(len(text), 16)]
}

func when(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

func thousands(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:] // narrow no-break space
	}
	return s
}

func hexOf(b any) string { return fmt.Sprintf("%x", b) }

func signers(w signedWord) string {
	var out []string
	for _, o := range w.Signers {
		out = append(out, fmt.Sprintf("%s (%s, %s)", o.Person, o.Role, o.ID))
	}
	if w.Vault != "" {
		out = append(out, "vault "+string(w.Vault))
	}
	if len(out) == 0 {
		return "words not in this bundle"
	}
	return strings.Join(out, " and ")
}
