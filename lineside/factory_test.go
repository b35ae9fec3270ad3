package lineside

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/persoline/persoline/lineside/card"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
)

// machine is a handler with a reel of chips that answer by rote. It fails now and then, by count.
type machine struct {
	mu     sync.Mutex
	t      testing.TB
	reel   int
	heads  map[uint16]uint32
	next   uint32
	count  [6]uint64 // in, good, reject-blank, reject-live, return, orders
	sample uint64
	update uint32

	pace     time.Duration // of bringing a chip
	mute     func(chip uint32) bool
	faults   uint64 // every so many orders fail
	breaks   uint64 // every so many windows lose contact after their first command
	windows  uint64
	approved func(chip uint32, bin perso.Verdict) bool
}

var errJam = errors.New("jam")

func (m *machine) order() error {
	m.count[5]++
	if m.faults > 0 && m.count[5]%m.faults == 0 {
		return errJam
	}
	return nil
}

func (m *machine) Load(_ context.Context, head uint16) (bool, error) {
	if m.pace > 0 {
		<-time.After(m.pace)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.order(); err != nil {
		return false, err
	}
	if m.heads[head] == 0 && m.reel > 0 {
		m.reel--
		m.next++
		m.count[0]++
		m.heads[head] = m.next
	}
	return m.heads[head] != 0, nil
}

func (m *machine) Lift(context.Context, uint16) error { return nil }

func (m *machine) Contact(_ context.Context, head uint16) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mute(m.heads[head]) {
		return nil, card.ErrMute
	}
	return unhex(testATR), m.order()
}

func (m *machine) Play(_ context.Context, head uint16, window []bus.Play) (responses [][]byte, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.windows++
	for i, p := range window {
		if i == 1 && m.breaks > 0 && m.windows%m.breaks == 0 {
			return responses, fmt.Errorf("playing: %w", card.ErrMute)
		}
		switch p.APDU[1] {
		case 0x50:
			m.update++
			responses = append(responses, updateAnswer(m.heads[head], m.update))
		default:
			responses = append(responses, ok(byte(i)))
		}
	}
	return responses, nil
}

func (m *machine) Bin(_ context.Context, head uint16, into perso.Bin) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	bin := perso.Verdict(into) // standard bins are named so
	if chip := m.heads[head]; chip != 0 {
		if !m.approved(chip, bin) {
			m.t.Errorf("chip %d goes to bin %q, which nobody decided", chip, bin)
		}
		if bin == perso.VerdictSample {
			m.sample++
		} else {
			m.count[map[perso.Verdict]int{perso.VerdictGood: 1, perso.VerdictRejectBlank: 2, perso.VerdictRejectLive: 3, perso.VerdictReturn: 4}[bin]]++
		}
		m.heads[head] = 0
	}
	return m.order() // a jam after the chip went counts as one: the order is repeated
}

func (m *machine) Counters(context.Context) (in uint64, inBins map[perso.Bin]uint64, err error) {
	in, good, rejectBlank, rejectLive, returned := m.counted()
	return in, map[perso.Bin]uint64{perso.BinGood: good, perso.BinRejectBlank: rejectBlank, perso.BinRejectLive: rejectLive, perso.BinReturn: returned, perso.BinSample: m.samples()}, nil
}

func (m *machine) counted() (in, good, rejectBlank, rejectLive, returned uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.count
	return c[0], c[1], c[2], c[3], c[4]
}

func (m *machine) samples() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sample
}

// book is a ledger without database or vault: it decides like one, and proves its verdicts.
type book struct {
	mu       sync.Mutex
	t        testing.TB
	log      *ledgerLog
	quantity int
	draw     int  // every so many good units are samples; 0 for none
	over     bool // what is said to a line at an empty reel
	serial   uint64
	serials  map[uint64]perso.Session
	claims   map[id.ChipID]*claim
	verdicts map[perso.Presentation]bus.Verdict
	chips    map[perso.Presentation]id.ChipID
	answers  map[string]bus.ActReply
	binned   map[perso.Presentation]perso.Verdict
	counts   []bus.CountRequest
}

type claim struct {
	state    perso.UnitState
	failures int
	outcome  bus.Verdict
}

func newBook(t testing.TB, quantity int) *book {
	return &book{t: t, log: newLog(1), quantity: quantity, serials: map[uint64]perso.Session{}, claims: map[id.ChipID]*claim{},
		verdicts: map[perso.Presentation]bus.Verdict{}, chips: map[perso.Presentation]id.ChipID{}, answers: map[string]bus.ActReply{},
		binned: map[perso.Presentation]perso.Verdict{}}
}

func (b *book) serve(s bus.Server) error {
	var errs []error
	for verb, h := range map[string]bus.Handler{
		bus.LineChallenges: bus.Answer(b.challenges), bus.LineAct: bus.Answer(b.act), bus.LinePresent: bus.Answer(b.present),
		bus.LineBin: bus.Answer(b.bin), bus.LineCount: bus.Answer(b.count),
	} {
		_, err := s.Serve(bus.LineSubject(testLine, verb), bus.QueueLedger, h)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (b *book) challenges(_ context.Context, q bus.ChallengesRequest) (r bus.ChallengesReply, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if q.Over {
		r.Over = b.over
		return r, nil
	}
	r.First = b.serial
	for range q.Count {
		r.Values = append(r.Values, []byte{0, 0, 0, 0, byte(b.serial >> 24), byte(b.serial >> 16), byte(b.serial >> 8), byte(b.serial)})
		b.serial++
	}
	return r, nil
}

func (b *book) act(_ context.Context, q bus.ActRequest) (bus.ActReply, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := fmt.Sprintf("%s/%d", q.Session, q.N)
	hash := entry.ResponsesHash(q.Responses)
	if reply, known := b.answers[key+fmt.Sprintf("%x", hash)]; known {
		return reply, nil
	}
	if _, known := b.answers[key]; known {
		b.t.Errorf("act %s came again with another transcript", key)
	}
	reply := b.decide(q)
	if reply.Verdict == nil || reply.Verdict.Verdict != perso.VerdictHold {
		b.answers[key], b.answers[key+fmt.Sprintf("%x", hash)] = reply, reply
	}
	return reply, nil
}

func (b *book) decide(q bus.ActRequest) bus.ActReply {
	window := bus.ActReply{Window: []bus.Play{{APDU: []byte{0x84, 0xE2, 0, 0}, SW: "9000"}, {APDU: []byte{0x84, 0xE2, 0, 1}, SW: "9000"}}}
	if q.N == 0 {
		if other, used := b.serials[q.Serial]; used && other != q.Session {
			b.t.Errorf("challenge %d serves sessions %s and %s", q.Serial, other, q.Session)
		}
		b.serials[q.Serial] = q.Session
		chip := mustDo(id.ChipIDFromBytes(q.Answer[:10]))
		if before, known := b.chips[q.Present]; known && before != chip {
			b.t.Errorf("presentation %s is of chips %s and %s", q.Present, before, chip)
		}
		b.chips[q.Present] = chip
		c := b.claims[chip]
		switch {
		case c != nil && c.state != perso.UnitOpen:
			return b.final(q.Present, c.outcome)
		case c == nil && b.in(perso.UnitGood) == b.quantity:
			return b.final(q.Present, b.log.present(perso.VerdictReturn, perso.ReasonLotComplete, chip, q.Present))
		case c == nil && b.in(perso.UnitGood)+b.in(perso.UnitOpen) >= b.quantity:
			return bus.ActReply{Verdict: &bus.Verdict{Verdict: perso.VerdictHold, Reason: perso.ReasonLotWaiting}}
		case c == nil:
			b.claims[chip] = &claim{state: perso.UnitOpen}
		}
		return window
	}
	chip := b.chips[q.Present]
	c := b.claims[chip]
	if len(q.Responses) < len(window.Window) {
		return b.failed(c, chip, q.Present)
	}
	if q.N < 3 {
		return window
	}
	c.state, c.outcome = perso.UnitGood, b.log.outcome(perso.VerdictGood, perso.ReasonNone, chip, q.Present)
	if b.draw > 0 && b.in(perso.UnitGood)%b.draw == 0 {
		c.outcome.Verdict = perso.VerdictSample
	}
	return b.final(q.Present, c.outcome)
}

func (b *book) failed(c *claim, chip id.ChipID, p perso.Presentation) bus.ActReply {
	if c.failures++; c.failures < 3 {
		return bus.ActReply{Verdict: &bus.Verdict{Verdict: perso.VerdictRecontact, Reason: perso.ReasonContact}}
	}
	c.state, c.outcome = perso.UnitLost, b.log.outcome(perso.VerdictRejectLive, perso.ReasonContact, chip, p)
	return b.final(p, c.outcome)
}

func (b *book) final(p perso.Presentation, v bus.Verdict) bus.ActReply {
	b.verdicts[p] = v
	return bus.ActReply{Verdict: &v}
}

func (b *book) in(state perso.UnitState) (n int) {
	for _, c := range b.claims {
		if c.state == state {
			n++
		}
	}
	return n
}

func (b *book) present(_ context.Context, q bus.PresentRequest) (bus.ActReply, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if v, known := b.verdicts[q.Present]; known {
		return bus.ActReply{Verdict: &v}, nil
	}
	if q.Tries < 3 {
		return bus.ActReply{Verdict: &bus.Verdict{Verdict: perso.VerdictRecontact, Reason: q.Reason}}, nil
	}
	if chip := b.underHead(q); b.claims[chip] != nil {
		return b.failed(b.claims[chip], chip, q.Present), nil
	}
	return b.final(q.Present, b.log.present(perso.VerdictRejectBlank, q.Reason, id.ChipID{}, q.Present)), nil
}

// underHead is the chip that was read, or else the one read last at this head unless it was binned: a line that restarted does
// not know what lies there.
func (b *book) underHead(q bus.PresentRequest) (chip id.ChipID) {
	if len(q.Chip) > 0 {
		return mustDo(id.ChipIDFromBytes(q.Chip))
	}
	var last perso.Presentation
	for p, read := range b.chips {
		if p.Head == q.Present.Head && p.Number >= last.Number {
			last, chip = p, read
		}
	}
	for p := range b.binned { // it may have been binned by a later contact, in which it was not read
		if p.Head == last.Head && p.Number >= last.Number {
			return id.ChipID{}
		}
	}
	return chip
}

func (b *book) bin(_ context.Context, q bus.BinRequest) (bus.Empty, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.verdicts[q.Present].Verdict != q.Bin || b.binned[q.Present] != "" && b.binned[q.Present] != q.Bin {
		b.t.Errorf("presentation %s binned %q, verdict %q", q.Present, q.Bin, b.verdicts[q.Present].Verdict)
		return bus.Empty{}, bus.Refuse(bus.FaultConflict, "no")
	}
	b.binned[q.Present] = q.Bin
	return bus.Empty{}, nil
}

func (b *book) count(_ context.Context, q bus.CountRequest) (bus.Empty, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.counts); n == 0 || b.counts[n-1] != q { // else the answer was lost, and this is the same count again
		b.counts = append(b.counts, q)
	}
	return bus.Empty{}, nil
}

// approved says whether a verdict on record moves the chip there.
func (b *book) approved(chip uint32, bin perso.Verdict) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.claims[chipNo(chip)]; c != nil {
		return c.state != perso.UnitOpen && c.outcome.Verdict == bin
	}
	return bin == perso.VerdictReturn || bin == perso.VerdictRejectBlank
}
