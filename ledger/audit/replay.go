package audit

import (
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// history is what the entries so far have made true: the ledger's state machine, replayed.
type history struct {
	seq  int64 // of the entry at hand
	kind string
	hash [32]byte  // of a claim at hand
	last time.Time // of the entry before

	chain    []statement.Signed // officer register as bundled
	applied  int                // how many of them the log has named
	register *statement.Register

	lots     map[perso.Name]*lot
	shredded []shredding
	logVault perso.Name // that assigns lots; of a site where none was ever assigned, its only vault
	numbered []*lot     // by their number
	tables
	proven   map[perso.Session]*claim // good by a receipt of an earlier session than that of their outcome, which must have proven the chip again
	losses   map[[32]byte]*loss       // by the statement's hash
	givenUps []*loss                  // those of a claim, which names them by their place here
	// abandoned are losses by the receipt that an outcome names.
	abandoned map[[32]byte]*loss
	contacts  map[headKey]spread[contact] // by their number
	lines     map[perso.Name]uint32       // numbers of lines
	reels     map[perso.Name]bool
	lists     map[[32]byte]bool
	shelves   map[shelf]int64 // the books of the stock
	bookings  map[[32]byte]bool

	frozen       []frozen
	freezes      uint64
	restorations []*restoration

	asks           statement.Policy          // of lots that are released now
	asksUnknown    bool                      // it is not opened
	drawnChips     uint64                    // samples
	cancelled      map[[32]byte]bool         // contents of orders that the order desk cancelled
	cleared        map[perso.Name]perso.Name // lines, for which lot
	destroyedChips uint64
	forbidden      uint64

	openings

	bereft         string     // of the entry at hand: what nobody can sign any more
	rejected       perso.Name // of the entry at hand: the lot that quality did not accept by it
	exceptions     map[int64]*Exception
	signedOff      map[int64][]signedOff
	moreExceptions uint64

	stock, orders, refused, alarms, exports, bins, reviews uint64
	receipts, repeats, newer, superseded                   uint64
	never, unplayed, elsewhere                             broken // acts after which nothing came
}

// tables are what is kept of each unit: about half a KiB.
type tables struct {
	claims   *rows[claim]
	sessions *rows[session]
	acts     *rows[act]

	eids       map[id.EID]bool
	chips      index[id.ChipID, claim] // by the chip claimed last
	goods      index[[32]byte, claim]  // by the receipt that an outcome names
	sessionIDs index[perso.Session, session]
}

func newTables() tables {
	claims, sessions := &rows[claim]{}, &rows[session]{}
	return tables{claims: claims, sessions: sessions, acts: &rows[act]{}, eids: map[id.EID]bool{},
		chips:      newIndex(claims, func(c *claim) id.ChipID { return c.chip }),
		goods:      newIndex(claims, func(c *claim) [32]byte { return c.receipt }),
		sessionIDs: newIndex(sessions, func(s *session) perso.Session { return s.id })}
}

func newHistory() history {
	return history{
		lots: map[perso.Name]*lot{}, tables: newTables(), proven: map[perso.Session]*claim{}, contacts: map[headKey]spread[contact]{}, lines: map[perso.Name]uint32{},
		reels: map[perso.Name]bool{}, lists: map[[32]byte]bool{}, losses: map[[32]byte]*loss{}, abandoned: map[[32]byte]*loss{}, shelves: map[shelf]int64{}, bookings: map[[32]byte]bool{}, cleared: map[perso.Name]perso.Name{}, cancelled: map[[32]byte]bool{},
		exceptions: map[int64]*Exception{}, signedOff: map[int64][]signedOff{}, openings: newOpenings(),
	}
}

// bad is a finding at the entry at hand.
func (a *auditor) bad(invariant, format string, args ...any) {
	a.find(logPlace(a.seq, a.kind), invariant, format, args...)
}

// replay takes one entry: it must be canonical, not earlier than the one before, and a step that the rules allow.
func (a *auditor) replay(seq int64, p parsed) {
	a.seq, a.kind, a.hash = seq, p.kind, p.hash
	if (seq == 0) != (a.kind == entry.KindGenesis) {
		a.bad("I5", "the genesis is entry 0, and no other entry is")
	}
	if p.err != nil {
		a.bad("I5", "%v", p.err)
		return
	}
	a.apply(p.entry)
	a.except(p)
	if p.at.Before(a.last) {
		a.bad("I5", "time goes back from %s to %s", a.last.Format(record.TimeForm), p.at.Format(record.TimeForm))
		return
	}
	a.last = p.at
}

// apply makes an entry true.
func (a *auditor) apply(e any) {
	switch e := e.(type) {
	case entry.Genesis: // read before everything else
	case entry.Order:
		a.orders++
	case entry.Refused:
		a.refused++
	case entry.Statement:
		a.statement(e)
	case entry.Stock:
		a.goodsIn(e)
	case entry.Booking:
		a.booking(e)
	case entry.Claim:
		a.claim(e)
	case entry.Act:
		a.act(e)
	case entry.Certificate:
		a.certificate(e)
	case entry.Outcome:
		a.outcome(e)
	case entry.Present:
		a.present(e)
	case entry.Bin:
		a.bin(e)
	case entry.Count:
		a.count(e)
	case entry.Export:
		a.export(e)
	case entry.Forbidden:
		a.forbidden++
	case entry.Alarm:
		a.alarms++
	default:
		a.bad("I5", "entries of this kind are parsed, and nobody applies them")
	}
}

// goodsIn counts the chips that came in; each reel and list comes once.
func (a *auditor) goodsIn(e entry.Stock) {
	if a.reels[e.Reel] || a.lists[e.File] {
		a.bad("I6", "reel %s or its list came in before", e.Reel)
	}
	a.reels[e.Reel], a.lists[e.File] = true, true
	a.stock += e.Chips
	a.post(e.Reel, perso.AccountSupplier, perso.AccountStore, e.Chips)
}

// checkEnds looks at what the whole history must have come to.
func (a *auditor) checkEnds() {
	a.report.Stock = a.stockRows()
	if a.applied != len(a.chain) {
		a.find("register", "I5", "%d statements are bundled, the log names %d", len(a.chain), a.applied)
	}
	if a.lots[a.seal.Lot] == nil {
		a.find("seal", "", "the log releases no lot %s", a.seal.Lot)
	}
	if n := a.chips.count; uint64(n) > a.stock {
		a.find("log", "I6", "%d chips were claimed, %d came in", n, a.stock)
	}
}

// summarize writes the facts.
func (a *auditor) summarize() {
	var claims, good, lost, open uint64
	for _, l := range a.lots {
		claims, good, lost, open = claims+l.claims, good+l.good, lost+l.lost, open+l.open
	}
	a.report.Facts = []Fact{
		{"orders accepted", a.orders}, {"orders refused", a.refused}, {"chips received", a.stock}, {"bookings of chips", uint64(len(a.bookings))}, {"acts of the office refused", a.forbidden}, {"freezes", a.freezes}, {"freezes in force", uint64(len(a.frozen))},
		{"restorations of a lost ledger, signed for", a.restoredTimes()},
		{"live rejects that wait for their destruction", a.in(perso.AccountRejectLive)}, {"live rejects destroyed", a.destroyedChips}, {"lots released", uint64(len(a.lots))},
		{"claims", claims}, {"units good", good}, {"units lost, their EIDs, if any, retired", lost}, {"units that officers gave up", uint64(len(a.losses))}, {"units open", open},
		{"certificates in place of an earlier one", a.superseded},
		{"sessions", uint64(a.sessions.count)}, {"acts", uint64(a.acts.count)},
		{"acts that the vault never answered", a.never.count}, {"acts whose script no logged answer followed", a.unplayed.count},
		{"acts of lots whose receipts are not in this bundle", a.elsewhere.count}, {"receipts", a.receipts},
		{"receipts of acts that were answered again", a.repeats}, {"receipts newer than the checkpoint", a.newer},
		{"chips in bins", a.bins}, {"good units drawn as samples", a.drawnChips}, {"exports", a.exports}, {"alarms", a.alarms},
		{"exceptions", uint64(len(a.exceptions)) + a.moreExceptions}, {"exceptions that nobody has signed off", a.report.openExceptions() + a.moreExceptions},
		{"reviews of exceptions", a.reviews}, {"openings deleted on two officers' word", uint64(len(a.deleted))},
		{"checkpoints held outside that this log continues", a.heldSame},
	}
}
