package lineside

import (
	"fmt"
	"time"

	"github.com/persoline/persoline/lineside/bins"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// Self addresses the station where a head number is expected.
const Self = -1

// Out is an effect and whose it is: a head's number, or Self.
type Out struct {
	Head   int
	Effect Effect
}

// phase is how far the station is with its work order.
type phase string

const (
	phaseStarting  phase = "starting"  // heads finish what a restart interrupted
	phaseTaking    phase = "taking"    // no work order
	phaseWorking   phase = "working"   // one in hand
	phaseFinishing phase = "finishing" // counters are being reported
)

// Station is all heads of a line, their work order and their stock of host challenges. Like a head it is a pure state
// machine: Start gives the first effects, Step every other.
type Station struct {
	line  perso.Name
	heads []*Head
	bins  bins.Plan

	phase  phase
	job    *Job
	made   uint64 // units of it that were in the good bin when it was taken up
	over   bool
	ticket Ticket // of TakeJob or Finish
	issued Ticket

	stock   []Challenge // without tickets
	waiting []waitingHead
	asking  Ticket // of AskChallenges or of the wait before the next try
	delay   backoff

	now time.Time
	out []Out
}

type waitingHead struct {
	head   int
	ticket Ticket
}

// NewStation makes the heads of a line, numbered from 0.
func NewStation(line perso.Name, heads uint16, plan bins.Plan, trust Trust) (*Station, error) {
	if _, err := perso.ParseName(string(line)); err != nil {
		return nil, fmt.Errorf("making station: %w", err)
	}
	if heads == 0 || heads > MaxHeads {
		return nil, fmt.Errorf("making station %q: %d heads are not within 1 to %d", line, heads, MaxHeads)
	}
	trust.last = &opened{}
	s := &Station{line: line, bins: plan, phase: phaseStarting}
	for i := range heads {
		s.heads = append(s.heads, NewHead(line, i, plan, trust))
	}
	return s, nil
}

// Start begins work. Pending bins come from the journal: they are carried out before a work order is taken.
func (s *Station) Start(now time.Time, pending []bus.BinRequest) ([]Out, error) {
	s.now, s.out = now, nil
	for _, q := range pending {
		if q.Present.Line != s.line || int(q.Present.Head) >= len(s.heads) {
			return nil, fmt.Errorf("starting station %q of %d heads: the journal holds a bin of %s", s.line, len(s.heads), q.Present)
		}
		if _, ok := s.bins.Again(q.Bin); !ok {
			return nil, fmt.Errorf("starting station %q: chip %x at head %d was on its way into a bin for %s, and no bin takes such chips now; describe the bins as they were until it lies there", s.line, q.Chip, q.Present.Head, q.Bin)
		}
		s.step(int(q.Present.Head), Recover{q})
	}
	s.settle()
	return s.out, nil
}

// Step takes an event of a head or of the station itself.
func (s *Station) Step(now time.Time, head int, ev Event) []Out {
	s.now, s.out = now, nil
	if head == Self {
		s.own(ev)
	} else {
		s.step(head, ev)
	}
	s.settle()
	return s.out
}

// step drives one head and serves what it needs of the station.
func (s *Station) step(head int, ev Event) {
	for _, e := range s.heads[head].Step(s.now, ev) {
		if need, ok := e.(NeedChallenge); ok {
			s.waiting = append(s.waiting, waitingHead{head, need.Ticket})
			continue
		}
		s.out = append(s.out, Out{head, e})
	}
}

func (s *Station) own(ev Event) {
	switch ev := ev.(type) {
	case JobTaken:
		if ev.Ticket == s.ticket && s.phase == phaseTaking {
			s.take(ev)
		}
	case Finished:
		if ev.Ticket == s.ticket && s.phase == phaseFinishing {
			s.phase, s.job, s.stock, s.asking = phaseStarting, nil, nil, 0
			s.tell(JobEnded{})
		}
	case Challenges:
		if ev.Ticket == s.asking {
			s.stockUp(ev.Reply)
		}
	case NoAnswer:
		if ev.Ticket == s.asking {
			s.askLater()
		}
	case Waited:
		if ev.Ticket == s.asking {
			s.asking = 0
		}
	}
}

func (s *Station) take(ev JobTaken) {
	s.phase, s.job, s.made, s.over, s.asking = phaseWorking, ev.Job, ev.Good, false, 0
	s.delay.reset()
	s.tell(Begin{ev.Job})
}

// tell says something to every head.
func (s *Station) tell(ev Event) {
	for i := range s.heads {
		s.step(i, ev)
	}
}

// stockUp keeps challenges in the order of their numbers. A reply that makes no sense counts as none.
func (s *Station) stockUp(r bus.ChallengesReply) {
	s.asking = 0
	for _, v := range r.Values {
		if len(v) != challengeBytes {
			s.askLater()
			return
		}
	}
	if len(r.Values) == 0 {
		s.askLater()
		return
	}
	s.delay.reset()
	for i, v := range r.Values {
		s.stock = append(s.stock, Challenge{Serial: r.First + uint64(i), Value: v})
	}
}

func (s *Station) askLater() {
	s.asking = s.newTicket()
	s.out = append(s.out, Out{Self, Wait{s.asking, s.delay.next()}})
}

// settle does what follows from how things stand, after each event.
func (s *Station) settle() {
	s.serve()
	switch s.phase {
	case phaseStarting:
		if s.ready() {
			s.phase, s.ticket = phaseTaking, s.newTicket()
			s.out = append(s.out, Out{Self, TakeJob{s.ticket}})
		}
	case phaseWorking:
		if !s.over && s.enough() {
			s.over = true
			s.tell(LotOver{})
		}
		if s.over && s.vacant() {
			s.phase, s.ticket = phaseFinishing, s.newTicket()
			s.out = append(s.out, Out{Self, Finish{s.ticket, s.job}})
			return
		}
		s.refill()
	}
}

// serve hands challenges to the heads that wait, first come first served. Each leaves the stock once.
func (s *Station) serve() {
	for len(s.waiting) > 0 && len(s.stock) > 0 {
		w, c := s.waiting[0], s.stock[0]
		s.waiting, s.stock = s.waiting[1:], s.stock[1:]
		c.Ticket = w.ticket
		s.step(w.head, c)
	}
}

// refill asks in time, and only for as long as chips will come.
func (s *Station) refill() {
	if s.asking != 0 || len(s.stock) >= challengeLow || s.over && len(s.waiting) == 0 {
		return
	}
	s.asking = s.newTicket()
	q := bus.ChallengesRequest{Lot: s.job.Lot, Line: s.line, Count: ChallengeBatch}
	s.out = append(s.out, Out{Self, AskChallenges{s.asking, q}})
}

// enough says that the share is made, or that the ledger returned a chip because the lot wants no more.
func (s *Station) enough() bool {
	good := s.made
	for _, h := range s.heads {
		if h.sawEnd {
			return true
		}
		good += h.tally.inJob
	}
	return good >= s.job.Quantity
}

// ready says that no head is finishing something from before a restart. One that stopped over it does not keep the others
// from work, but it keeps the lot from ending.
func (s *Station) ready() bool {
	for _, h := range s.heads {
		if !h.Vacant() && h.state != StateStopped {
			return false
		}
	}
	return true
}

// settled says that a little patience would not bring any head further: its place is empty, or its chip waits for somebody
// else and has no session under way.
func (s *Station) settled() bool {
	for _, h := range s.heads {
		switch h.state {
		case StateStopped, StateFaulted, StateHeld, StateWaiting:
		default:
			if !h.Vacant() && !(h.away && h.delay.tries >= hopelessTries) {
				return false
			}
		}
	}
	return true
}

func (s *Station) vacant() bool {
	for _, h := range s.heads {
		if !h.Vacant() {
			return false
		}
	}
	return true
}

func (s *Station) newTicket() Ticket {
	s.issued++
	return s.issued
}

// Snapshot is what operators see of a line.
type Snapshot struct {
	Line       perso.Name   `json:"line"`
	At         time.Time    `json:"at"`
	Phase      string       `json:"phase"`
	Order      string       `json:"order,omitempty"`
	Lot        perso.Name   `json:"lot,omitempty"`
	Product    string       `json:"product,omitempty"`
	Quantity   uint64       `json:"quantity,omitempty"`
	Good       uint64       `json:"good"` // of the work order
	Over       bool         `json:"over,omitempty"`
	Challenges int          `json:"challenges"`
	Heads      []HeadStatus `json:"heads"`
}

// Snapshot describes the line as it is now.
func (s *Station) Snapshot(now time.Time) Snapshot {
	snap := Snapshot{Line: s.line, At: now, Phase: string(s.phase), Over: s.over, Challenges: len(s.stock)}
	if s.job != nil {
		snap.Order, snap.Lot, snap.Product, snap.Quantity, snap.Good = s.job.ID, s.job.Lot, s.job.Product, s.job.Quantity, s.made
	}
	for _, h := range s.heads {
		snap.Heads = append(snap.Heads, h.Status(now))
		if s.job != nil {
			snap.Good += h.tally.inJob
		}
	}
	return snap
}
