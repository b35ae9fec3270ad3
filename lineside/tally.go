package lineside

import (
	"math/bits"
	"time"

	"github.com/persoline/persoline/perso"
)

const (
	// maxReasons bounds the last reasons that a head shows.
	maxReasons = 8
	// yieldWindow is over how many chips the present yield is taken: enough to see a worn contact, few enough to see it soon.
	yieldWindow = 50
)

// tally counts what a head did since the worker began.
type tally struct {
	good, rejectBlank, rejectLive, returned uint64
	recontacts, faults                      uint64
	inJob                                   uint64 // good ones of the work order in hand

	equal   uint8 // rejects in a row with the same reason
	failure perso.Reason

	reasons []ReasonAt
	cycle   time.Duration // of the last chip
	total   time.Duration // of all chips
	recent  uint64        // bit per good or rejected chip, 1 for good, the latest lowest
	known   uint8         // bits of it that mean something
}

// ReasonAt is one reason that a chip did not go straight to the good bin.
type ReasonAt struct {
	At     time.Time    `json:"at"`
	Reason perso.Reason `json:"reason"`
}

// count takes a binned chip into account.
func (t *tally) count(now time.Time, at place) {
	t.cycle = now.Sub(at.since)
	t.total += t.cycle
	switch at.verdict {
	case perso.VerdictGood, perso.VerdictSample:
		t.good++
		t.inJob++
		t.equal, t.failure = 0, perso.ReasonNone
		t.outcome(1)
	case perso.VerdictReturn: // says nothing about chip or head
		t.returned++
	case perso.VerdictRejectBlank:
		t.rejectBlank++
		t.rejected(now, at.reason)
	case perso.VerdictRejectLive:
		t.rejectLive++
		t.rejected(now, at.reason)
	}
}

func (t *tally) rejected(now time.Time, reason perso.Reason) {
	if reason != t.failure {
		t.equal, t.failure = 0, reason
	}
	t.equal++
	t.outcome(0)
	t.remember(now, reason)
}

func (t *tally) outcome(good uint64) {
	t.recent = (t.recent<<1 | good) & (1<<yieldWindow - 1)
	t.known = min(t.known+1, yieldWindow)
}

func (t *tally) remember(now time.Time, reason perso.Reason) {
	if len(t.reasons) == maxReasons {
		t.reasons = t.reasons[1:]
	}
	t.reasons = append(t.reasons, ReasonAt{At: now, Reason: reason})
}

func (t *tally) chips() uint64 { return t.good + t.rejectBlank + t.rejectLive + t.returned }

// HeadStatus is what an operator sees of one head. Durations are in milliseconds.
type HeadStatus struct {
	Head         uint16        `json:"head"`
	State        State         `json:"state"`
	Act          uint8         `json:"act,omitempty"`
	Equipment    E10           `json:"e10"`
	Since        time.Time     `json:"since"` // of the equipment state
	SpentMS      map[E10]int64 `json:"spent_ms"`
	Paused       bool          `json:"paused,omitempty"`
	Disabled     bool          `json:"disabled,omitempty"`
	Stopped      *Stopped      `json:"stopped,omitempty"`
	Presentation uint64        `json:"presentation,omitempty"`
	Chip         string        `json:"chip,omitempty"`
	Contacts     uint8         `json:"contacts,omitempty"`

	Good        uint64       `json:"good"`
	RejectBlank uint64       `json:"reject_blank"`
	RejectLive  uint64       `json:"reject_live"`
	Returned    uint64       `json:"returned"`
	Recontacts  uint64       `json:"recontacts"`
	Faults      uint64       `json:"faults"`
	Equal       uint8        `json:"equal_failures"`
	Failure     perso.Reason `json:"failure,omitempty"`
	Reasons     []ReasonAt   `json:"reasons,omitempty"`
	CycleMS     int64        `json:"cycle_ms"`
	MeanMS      int64        `json:"mean_cycle_ms"`
	YieldGood   int          `json:"yield_good"` // of the last YieldOf chips
	YieldOf     int          `json:"yield_of"`
}

// Status describes the head as it is now.
func (h *Head) Status(now time.Time) HeadStatus {
	t := &h.tally
	s := HeadStatus{Head: h.number, State: h.state, Equipment: h.equipment(), Since: h.clock.since, SpentMS: map[E10]int64{},
		Paused: h.paused, Disabled: h.disabled, Presentation: h.at.present.Number, Chip: h.at.chip.String(), Contacts: h.at.contacts,
		Good: t.good, RejectBlank: t.rejectBlank, RejectLive: t.rejectLive, Returned: t.returned, Recontacts: t.recontacts, Faults: t.faults,
		Equal: t.equal, Failure: t.failure, Reasons: append([]ReasonAt(nil), t.reasons...), CycleMS: t.cycle.Milliseconds(),
		YieldGood: bits.OnesCount64(t.recent), YieldOf: int(t.known)}
	if n := t.chips(); n > 0 {
		s.MeanMS = (t.total / time.Duration(n)).Milliseconds()
	}
	for state, d := range h.clock.durations(now) {
		s.SpentMS[state] = d.Milliseconds()
	}
	if h.state == StateAsking || h.state == StatePlaying || h.state == StateHeld {
		s.Act = h.at.act
	}
	if h.state == StateStopped {
		stopped := h.stopped
		s.Stopped = &stopped
	}
	return s
}
