package lineside

import (
	"time"

	"github.com/persoline/persoline/lineside/bins"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/sealing"
)

// State is what a head is doing. STATES.md shows how one leads to another.
type State string

// The states.
const (
	StateIdle        State = "idle"                  // nothing to do: no work order, or paused; the place is empty
	StateLoading     State = "loading"               // the handler brings the next chip
	StateEmpty       State = "reel-empty"            // it has none
	StateContacting  State = "contacting"            // power and answer to reset
	StateIdentifying State = "identifying"           // the script's identify phase
	StateWaiting     State = "waiting-for-challenge" // the stock of host challenges is empty
	StateOpening     State = "opening"               // INITIALIZE UPDATE
	StateAsking      State = "asking"                // the ledger decides
	StatePlaying     State = "playing"               // a window is on its way through the chip
	StateHeld        State = "held"                  // the ledger said: leave it in place and ask again
	StateBinning     State = "binning"               // a proven verdict is being carried out
	StateReporting   State = "reporting"             // the chip lies in its bin, the ledger must hear it
	StateFaulted     State = "faulted"               // the machine does not do what it is told; tried again by itself
	StateStopped     State = "stopped"               // a person must come
	StateDone        State = "done"                  // the lot wants no more chips; the place is empty
)

// Cause says why a head stopped.
type Cause string

// The causes.
const (
	CauseVerdict       Cause = "verdict"        // the ledger said stop: see the reason
	CauseUnproven      Cause = "unproven"       // a final verdict came without proof: an alarm
	CauseEqualFailures Cause = "equal-failures" // the head failed the same way too often
	CauseContacts      Cause = "contacts"       // one chip was contacted too often
	CauseChanged       Cause = "chip-changed"   // another chip answers in the same place
	CauseReply         Cause = "reply"          // the ledger's answer makes no sense, or it refuses our question
	CauseDisabled      Cause = "disabled"       // an operator left the head out
)

// Stopped is why a head stands.
type Stopped struct {
	Cause  Cause        `json:"cause"`
	Reason perso.Reason `json:"reason,omitempty"`
	Text   string       `json:"text,omitempty"`
}

// Head is one place where chips are contacted. Make it with NewHead; Step is the only thing that changes it.
type Head struct {
	line   perso.Name
	number uint16
	bins   bins.Plan
	trust  Trust

	state    State
	ticket   Ticket // of the answer waited for; 0 for none
	issued   Ticket
	job      *Job
	sawEnd   bool // a proven return said that the lot wants no more, or the ledger at an empty reel
	over     bool
	paused   bool
	disabled bool
	away     bool  // the ledger did not answer the question in hand
	unsure   bool  // power may still be on from before a restart, a fault or a stop: lift first
	redo     State // where to go on after a fault or stop: binning, reporting, or else loading
	stopped  Stopped
	delay    backoff // of questions
	jammed   backoff // of the machine's faults, until a chip gets through

	at    place
	tally tally
	clock equipmentClock

	now time.Time // of the step in hand
	out []Effect  // of the step in hand
}

// place is what lies under the head.
type place struct {
	since    time.Time // when loading began
	occupied bool
	contacts uint8
	chip     id.ChipID // zero until INITIALIZE UPDATE was answered here

	present   perso.Presentation // the contact in hand
	read      bool               // the chip was read in it
	atr       []byte
	identify  [][]byte
	sessions  uint8 // INITIALIZE UPDATE commands in it
	serial    uint64
	command   []byte
	challenge [sealing.ChallengeBytes]byte // of a chip without a secure channel
	session   perso.Session
	act       uint8  // the act last asked
	state     []byte // that came with the window, and goes back with its answers

	asked   *bus.ActRequest     // the question in hand, one of the two
	told    *bus.PresentRequest //
	bin     bus.BinRequest      // the proven verdict, once there is one
	verdict perso.Verdict       // it
	reason  perso.Reason        // of it
	into    perso.Bin           // the handler's bin for it
	resumed bool                // it comes from the journal
}

// NewHead makes an idle head.
func NewHead(line perso.Name, number uint16, plan bins.Plan, trust Trust) *Head {
	return &Head{line: line, number: number, bins: plan, trust: trust, state: StateIdle, redo: StateLoading, unsure: true}
}

// Step takes an event and says what to do. It is deterministic: the same events at the same times give the same effects.
func (h *Head) Step(now time.Time, ev Event) []Effect {
	h.now, h.out = now, nil
	h.clock.enter(h.equipment(), now) // closes the time before the event
	switch ev := ev.(type) {
	case Answer:
		if h.ticket != 0 && ev.For() == h.ticket {
			h.ticket = 0
			h.answered(ev)
		}
	case Begin:
		h.begin(ev.Job)
	case LotOver:
		h.over = true
		h.reconsider()
	case JobEnded:
		h.job, h.over, h.sawEnd = nil, false, false
		h.reconsider()
	case Recover:
		h.recover(ev.Bin)
	case Command:
		h.command(ev)
	}
	h.clock.enter(h.equipment(), now)
	return h.out
}

// Vacant says that nothing lies under the head and that nothing is on its way there.
func (h *Head) Vacant() bool {
	switch h.state {
	case StateIdle, StateDone:
		return true
	case StateStopped:
		return !h.at.occupied
	}
	return false
}

func (h *Head) answered(ev Answer) {
	switch ev := ev.(type) {
	case Loaded:
		h.loaded(ev.Found)
	case NoMore:
		h.sawEnd = h.job != nil
		h.loaded(false)
	case Contacted:
		h.contacted(ev)
	case Played:
		h.played(ev)
	case Challenge:
		h.opening(ev)
	case KeyMade:
		h.keyMade(ev)
	case Replied:
		h.replied(ev.Reply)
	case Binned:
		h.binned()
	case Reported:
		h.reported()
	case Waited:
		h.waited()
	case NoAnswer:
		h.noAnswer(ev)
	case Fault:
		h.fault(ev.Text)
	}
}

func (h *Head) begin(job *Job) {
	h.job, h.over, h.sawEnd, h.tally.inJob = job, false, false, 0
	h.reconsider()
}

// recover goes on with a bin from before a restart. The handler does nothing when the chip has left already, and none
// was loaded since: that waits for the acknowledgement.
func (h *Head) recover(q bus.BinRequest) {
	into, _ := h.bins.Again(q.Bin) // the station has looked
	h.at = place{since: h.now, occupied: true, present: q.Present, bin: q, into: into, resumed: true}
	h.startBin()
}

func (h *Head) command(c Command) {
	switch c {
	case Pause:
		h.paused = true
		h.reconsider()
	case Disable:
		h.disabled = true
		h.reconsider()
	case Resume:
		h.paused, h.disabled = false, false
		if h.state == StateStopped {
			h.tally.equal = 0
			h.goOn(h.at.occupied)
			return
		}
		h.reconsider()
	}
}

// reconsider chooses anew what to do when the place is empty and nothing is under way. Elsewhere the word that led here
// takes effect when the chip has left.
func (h *Head) reconsider() {
	switch h.state {
	case StateIdle, StateEmpty, StateDone:
		h.next()
	case StateStopped:
		if !h.at.occupied && h.disabled && h.stopped.Cause != CauseDisabled {
			h.next()
		}
	}
}

// next is the choice at an empty place.
func (h *Head) next() {
	h.at, h.redo = place{}, StateLoading
	switch {
	case h.disabled:
		h.stop(CauseDisabled, "", "left out by an operator")
	case h.job == nil:
		h.become(StateIdle)
	case h.over:
		h.become(StateDone)
	case h.paused:
		h.become(StateIdle)
	default:
		h.load()
	}
}

// load asks for the next chip. One that lies there already, after a restart or a fault, is taken for a new one.
func (h *Head) load() {
	h.at = place{since: h.now}
	h.become(StateLoading)
	h.emit(Load{h.wait()})
}

func (h *Head) loaded(found bool) {
	switch {
	case found:
		h.at.occupied = true
		h.contact(h.unsure)
	case h.over || h.paused || h.disabled:
		h.next()
	default:
		h.become(StateEmpty)
		h.emit(Wait{h.wait(), reelWait})
	}
}

// fault waits and goes on from what is certain: a verdict that is being carried out, or else the chip itself.
func (h *Head) fault(text string) {
	h.redo = StateLoading
	if h.state == StateBinning {
		h.redo = StateBinning
	}
	h.tally.faults++
	h.become(StateFaulted)
	h.emit(Note{Present: h.at.present, Text: text})
	h.emit(Wait{h.wait(), h.jammed.next()})
}

// goOn continues after a fault or a stop.
func (h *Head) goOn(occupied bool) {
	h.unsure = true
	switch {
	case h.redo == StateBinning:
		h.startBin()
	case h.redo == StateReporting:
		h.report()
	case occupied:
		h.load()
	default:
		h.next()
	}
}

// waited ends a wait: what it was for follows from the state.
func (h *Head) waited() {
	switch h.state {
	case StateEmpty:
		h.next()
	case StateFaulted:
		h.goOn(true) // whether a chip lies there is for the handler to say
	case StateHeld, StateAsking:
		h.ask()
	case StateReporting:
		h.report()
	}
}

// noAnswer keeps the question, unless the ledger says that asking it again is of no use.
func (h *Head) noAnswer(ev NoAnswer) {
	switch {
	case ev.Kind == Away:
		h.away = true
		h.emit(Wait{h.wait(), h.delay.next()})
	case h.state == StateReporting:
		h.redo = StateReporting
		h.stop(CauseReply, perso.ReasonNone, ev.Text)
	case ev.Kind == Ended:
		h.recontact(perso.ReasonNone, ev.Text)
	default:
		h.stop(CauseReply, perso.ReasonNone, ev.Text)
	}
}

// stop calls the operator. The chip, if any, stays where it is.
func (h *Head) stop(cause Cause, reason perso.Reason, text string) {
	h.stopped = Stopped{Cause: cause, Reason: reason, Text: text}
	h.become(StateStopped)
	h.emit(Stop{h.stopped})
}

func (h *Head) become(s State) {
	if s != h.state {
		h.away = false
	}
	h.state, h.ticket = s, 0
}

func (h *Head) emit(e Effect) { h.out = append(h.out, e) }

// wait makes the ticket of the one answer that the head now waits for.
func (h *Head) wait() Ticket {
	h.issued++
	h.ticket = h.issued
	return h.ticket
}
