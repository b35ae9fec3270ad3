// Package lotreport makes the report of one lot: a page that explains itself, prints well, and is drawn from the audit bundle
// alone. What it says was verified is what ledger/audit verified; this package only counts, names and draws.
//
// Collect is told the log's entries as they are verified; Page puts together what the report shows; Write writes it as one HTML
// file without anything from elsewhere, no script, no font, no picture. The auditor's commands (perso/cmd/auditor) call it.
package lotreport

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// Limits of what is listed one by one; the rest is counted. A page of A4 holds about 50 lines.
const (
	maxRejectsListed = 1_000
	maxRemakesListed = 500
	maxHands         = 20
)

// Words are the statements of a bundle, which the log names by hash.
type Words interface {
	Statement(hash [32]byte) ([]byte, error)
	Register(i int) ([]byte, error)
}

// story is what the log tells about the lot, in the order of the log.
type story struct {
	lot     perso.Name
	genesis entry.Genesis
	size    int64

	chain    []statement.Signed // the officer register so far
	register *statement.Register

	release  signedWord
	released statement.Release
	assigned perso.Name
	closing  signedWord
	closed   statement.Close
	destroy  signedWord
	ordered  statement.Destroy
	deleted  signedWord
	gone     statement.Destroyed

	claims, good, lost  uint64
	superseded          uint64
	sessions, acts      uint64
	first, last         time.Time // of claims and outcomes
	bins                map[perso.Verdict]uint64
	counts              map[string]entry.Count
	hands               []entry.Count // by hand, after which people counted again
	recounted           uint64        // of these, also those that are not kept
	causes              map[cause]uint64
	heads               map[place]*headCount
	rejects             []reject
	moreRejects         uint64
	remakes             []remake
	moreRemakes         uint64
	exports             []exported
	events              []event
	presented, returned uint64
	others              []otherWord
	words               words
	stock               stock
	faults              []string // words that could not be read
}

// signedWord is a statement with who signed it.
type signedWord struct {
	Seq     int64
	Logged  time.Time
	Hash    [32]byte
	Signers []statement.Officer
	Vault   perso.Name // that signed it, of the vault's own
	There   bool       // its words are in the bundle
}

type cause struct {
	verdict perso.Verdict
	reason  perso.Reason
	step    string
	sw      uint16
}

type place struct {
	line perso.Name
	head uint32
}

type headCount struct{ good, live, blank, recontact uint64 }

type reject struct {
	At      time.Time
	Chip    string
	EID     string
	Verdict perso.Verdict
	Reason  perso.Reason
	Step    string
	SW      uint16
	Place   string
	Seq     int64

	Destroyed int64 // the entry of the list by which it was; 0 while it lies in the locked bin
}

type remake struct {
	Unit perso.Unit
	Gen  perso.Generation
	Loss uint64
	Chip string
	At   time.Time
	Seq  int64
}

type exported struct {
	entry.Export
	Seq int64
}

// event is a chip that came to its end: good or not.
type event struct {
	at   time.Time
	good bool
}

func newStory(lot perso.Name) *story {
	return &story{lot: lot, bins: map[perso.Verdict]uint64{}, counts: map[string]entry.Count{}, causes: map[cause]uint64{}, heads: map[place]*headCount{},
		words: words{freezes: freezes{by: map[[32]byte]int{}}, binned: map[id.ChipID]bool{}, destroyed: map[string]int64{}}}
}

// Collector takes the log in.
type Collector struct {
	words Words
	s     *story
	ours  []byte // how the lot's entries begin, after their kind
	books []byte // how a booking names the lot's account

	// What Wants counted of entries that need not be parsed for it.
	acts, sessions, superseded atomic.Uint64
}

// Collect begins a report of a lot.
func Collect(lot perso.Name, words Words) *Collector {
	return &Collector{words: words, s: newStory(lot), ours: []byte("\nlot " + string(lot) + "\n"), books: []byte(" " + string(perso.LotAccount(lot)) + "\n")}
}

// Wants asks for the entries that the report is made of, by what they are and how they begin (audit.Options.Wants). Acts and
// certificates, which are half of a log, are only counted. It may be asked by many at once.
func (c *Collector) Wants(kind string, body []byte) bool {
	switch kind {
	case entry.KindGenesis, entry.KindStatement:
		return true
	case entry.KindBooking:
		return bytes.Contains(body, c.books)
	case entry.KindClaim, entry.KindOutcome, entry.KindPresent, entry.KindBin, entry.KindCount, entry.KindExport, entry.KindAct, entry.KindCertificate:
	default:
		return false
	}
	if first := len(record.Magic) + len(kind); !bytes.HasPrefix(body[min(first, len(body)):], c.ours) {
		return false
	}
	switch kind {
	case entry.KindAct:
		c.acts.Add(1)
		if bytes.Contains(body, []byte("\nn 0\n")) {
			c.sessions.Add(1)
		}
		return false
	case entry.KindCertificate:
		if !bytes.Contains(body, []byte("\nsupersedes "+record.None+"\n")) {
			c.superseded.Add(1)
		}
		return false
	}
	return true
}

// Watch is told every entry in order (audit.Options.Watch).
func (c *Collector) Watch(seq int64, at time.Time, e any) {
	s := c.s
	s.size = seq + 1
	switch e := e.(type) {
	case entry.Genesis:
		s.genesis = e
	case entry.Statement:
		c.statement(seq, e)
	case entry.Claim:
		if e.Lot == s.lot {
			s.claim(seq, e)
		}
	case entry.Act:
		if e.Lot == s.lot {
			if s.acts++; e.N == 0 {
				s.sessions++
			}
		}
	case entry.Certificate:
		if e.Lot == s.lot && e.Supersedes != [32]byte{} {
			s.superseded++
		}
	case entry.Outcome:
		if e.Lot == s.lot {
			s.outcome(seq, e)
		}
	case entry.Present:
		if e.Lot == s.lot {
			s.present(seq, e)
		}
	case entry.Bin:
		if e.Lot == s.lot {
			s.bins[e.Bin]++
			s.words.found(e.Chip)
		}
	case entry.Count:
		if e.Lot == s.lot {
			s.counted(e)
		}
	case entry.Booking:
		s.booking(seq, e)
	case entry.Export:
		if e.Lot == s.lot {
			s.exports = append(s.exports, exported{e, seq})
		}
	}
}

// counted keeps the last count of a source, and of the hand's by which hash an explanation names it.
func (s *story) counted(e entry.Count) {
	before, again := s.counts[e.Source]
	s.counts[e.Source] = e
	if e.Source != entry.SourceHand {
		return
	}
	if again {
		s.recounted++
		if len(s.hands) < maxHands {
			s.hands = append(s.hands, before)
		}
	}
	body, err := e.Encode()
	if err != nil {
		s.faults = append(s.faults, err.Error())
		return
	}
	s.words.handCount = entry.Hash(body)
}

func (s *story) when(at time.Time) {
	if s.first.IsZero() {
		s.first = at
	}
	s.last = at
}

func (s *story) claim(seq int64, e entry.Claim) {
	s.claims++
	s.when(e.At)
	if e.Gen == 0 {
		return
	}
	if len(s.remakes) == maxRemakesListed {
		s.moreRemakes++
		return
	}
	s.remakes = append(s.remakes, remake{Unit: e.Unit, Gen: e.Gen, Loss: e.Loss, Chip: e.Chip.String(), At: e.At, Seq: seq})
}

func (s *story) headOf(p perso.Presentation) *headCount {
	at := place{p.Line, uint32(p.Head)}
	h := s.heads[at]
	if h == nil {
		h = &headCount{}
		s.heads[at] = h
	}
	return h
}

func (s *story) outcome(seq int64, e entry.Outcome) {
	s.when(e.At)
	h := s.headOf(e.Present)
	s.events = append(s.events, event{e.At, e.Verdict == perso.VerdictGood})
	if e.Verdict == perso.VerdictGood {
		s.good++
		h.good++
		return
	}
	s.lost++
	h.live++
	s.causes[cause{e.Verdict, e.Reason, e.Step, uint16(e.SW)}]++
	s.reject(reject{At: e.At, Chip: e.Chip.String(), EID: e.EID.String(), Verdict: e.Verdict, Reason: e.Reason, Step: e.Step, SW: uint16(e.SW), Place: e.Present.String(), Seq: seq})
}

func (s *story) present(seq int64, e entry.Present) {
	s.presented++
	h := s.headOf(e.Present)
	switch e.Verdict {
	case perso.VerdictRejectBlank:
		h.blank++
		s.when(e.At)
		s.events = append(s.events, event{e.At, false})
		s.causes[cause{verdict: e.Verdict, reason: e.Reason}]++
		s.reject(reject{At: e.At, Chip: e.Chip.String(), Verdict: e.Verdict, Reason: e.Reason, Place: e.Present.String(), Seq: seq})
	case perso.VerdictReturn:
		s.returned++
	default:
		h.recontact++
		s.causes[cause{verdict: e.Verdict, reason: e.Reason}]++
	}
}

func (s *story) reject(r reject) {
	if len(s.rejects) == maxRejectsListed {
		s.moreRejects++
		return
	}
	s.rejects = append(s.rejects, r)
}

// statement follows the officer register, and reads what is about the lot.
func (c *Collector) statement(seq int64, e entry.Statement) {
	s := c.s
	switch e.What {
	case statement.KindGenesis, statement.KindAdd, statement.KindRevoke:
		c.registered()
		return
	}
	if e.Lot != s.lot && !siteWide(e.What) {
		return
	}
	word := signedWord{Seq: seq, Logged: e.At, Hash: e.Hash}
	signed, there := c.read(e)
	if there {
		word.There = true
		if s.register != nil {
			word.Signers, _ = s.register.Signers(signed) // the vault's own are signed by no officer; the auditor has judged both
		}
		if len(word.Signers) == 0 && len(signed.Signatures) == 1 {
			word.Vault = signed.Signatures[0].Officer
		}
	}
	if s.ofSite(e.What, word, signed, there) || s.ofLot(e.What, word, signed, there) {
		return
	}
	switch e.What {
	case statement.KindRelease:
		s.release, s.words.policy = word, s.words.asks
		parseWord(s, signed, there, statement.ParseRelease, &s.released)
	case statement.KindAssigned:
		var a statement.Assigned
		parseWord(s, signed, there, statement.ParseAssigned, &a)
		s.assigned = a.Vault
	case statement.KindClose:
		s.closing = word
		parseWord(s, signed, there, statement.ParseClose, &s.closed)
	case statement.KindDestroy:
		if s.destroy.Seq > 0 { // the vault refused it
			s.other(e.What, s.destroy)
		}
		s.destroy, s.ordered = word, statement.Destroy{}
		parseWord(s, signed, there, statement.ParseDestroy, &s.ordered)
	case statement.KindDestroyed:
		s.deleted = word
		parseWord(s, signed, there, statement.ParseDestroyed, &s.gone)
	default:
		s.other(e.What, word)
	}
}

// siteWide reports whether words of a kind are about the whole site, or about an order, and the log names no lot beside them.
func siteWide(what string) bool {
	switch what {
	case statement.KindPolicy, statement.KindFreeze, statement.KindUnfreeze, statement.KindTaken, statement.KindCancelled:
		return true
	}
	return false
}

// otherWord is a statement about the lot of which the report tells no more than its kind.
type otherWord struct {
	What string
	Word signedWord
}

// maxOthers bounds those that are told one by one.
const maxOthers = 200

func (s *story) other(what string, w signedWord) {
	if len(s.others) < maxOthers {
		s.others = append(s.others, otherWord{what, w})
	}
}

func parseWord[T any](s *story, signed statement.Signed, there bool, parse func([]byte) (T, error), to *T) {
	if !there {
		return
	}
	v, err := parse(signed.Body)
	if err != nil {
		s.faults = append(s.faults, err.Error())
		return
	}
	*to = v
}

func (c *Collector) read(e entry.Statement) (statement.Signed, bool) {
	raw, err := c.words.Statement(e.Hash)
	if err == nil && raw == nil {
		return statement.Signed{}, false // deleted after delivery
	}
	var s statement.Signed
	if err == nil {
		s, err = statement.DecodeSigned(raw)
	}
	if err != nil {
		c.s.faults = append(c.s.faults, fmt.Sprintf("reading the %s: %v", e.What, err))
		return statement.Signed{}, false
	}
	return s, true
}

// registered puts the chain's next statement in force.
func (c *Collector) registered() {
	s := c.s
	raw, err := c.words.Register(len(s.chain))
	var next statement.Signed
	if err == nil {
		next, err = statement.DecodeSigned(raw)
	}
	if err == nil {
		s.chain = append(s.chain, next)
		s.register, err = statement.NewRegister([32]byte{}, s.chain)
	}
	if err != nil {
		s.faults = append(s.faults, fmt.Sprintf("reading the officer register: %v", err))
	}
}

// causesSorted are the reasons why chips were not good at once, the most frequent first.
func (s *story) causesSorted() []causeCount {
	var out []causeCount
	for c, n := range s.causes {
		out = append(out, causeCount{c, n})
	}
	slices.SortFunc(out, func(a, b causeCount) int {
		return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.verdict, b.verdict), cmp.Compare(a.reason, b.reason), cmp.Compare(a.step, b.step), cmp.Compare(a.sw, b.sw))
	})
	return out
}

type causeCount struct {
	cause
	n uint64
}
