package lineside

import (
	"fmt"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/sealing"
)

// Ticket pairs an effect with its one answer. An answer with another ticket than the one waited for is late or doubled,
// and changes nothing.
type Ticket uint64

// For gives the ticket of an answer.
func (t Ticket) For() Ticket { return t }

// Event is something that happened to a head: an answer to one of its effects, or somebody's word.
type Event interface{ event() }

// Answer is what an effect with a ticket brings back, exactly once.
type Answer interface {
	Event
	For() Ticket
}

// Words of the station and of people.
type (
	// Begin hands the head a work order.
	Begin struct{ Job *Job }
	// LotOver says that no further chip is wanted.
	LotOver struct{}
	// JobEnded says that the work order is closed.
	JobEnded struct{}
	// Recover hands the head, at start-up, a bin that was begun and not acknowledged.
	Recover struct{ Bin bus.BinRequest }
	// Command is an operator's.
	Command string
)

// The operator's commands.
const (
	Pause   Command = "pause"   // finish the chip in place, take no new one
	Resume  Command = "resume"  // go on, also after a stop
	Disable Command = "disable" // finish the chip in place, then leave this head out
)

// ParseCommand accepts the closed set.
func ParseCommand(s string) (Command, error) {
	switch c := Command(s); c {
	case Pause, Resume, Disable:
		return c, nil
	}
	return "", fmt.Errorf("parsing command %q: it is none of %q, %q, %q", s, Pause, Resume, Disable)
}

// Answers.
type (
	// Loaded says whether a chip lies under the head.
	Loaded struct {
		Ticket
		Found bool
	}
	// NoMore says that no chip lies under the head, and by the ledger's word that the lot wants none.
	NoMore struct{ Ticket }
	// Contacted gives the presentation's number and the answer to reset, empty when the chip is mute.
	Contacted struct {
		Ticket
		Number uint64
		ATR    []byte
	}
	// Played gives the answers to a window. Lost says that contact broke off after them.
	Played struct {
		Ticket
		Responses [][]byte
		Lost      bool
	}
	// Challenge is a host challenge, for one INITIALIZE UPDATE.
	Challenge struct {
		Ticket
		Serial uint64
		Value  []byte
	}
	// KeyMade gives the public key of the pair that the shell made for this presentation.
	KeyMade struct {
		Ticket
		Public [sealing.PublicBytes]byte
	}
	// Replied is the ledger's answer to AskAct or AskPresent.
	Replied struct {
		Ticket
		Reply bus.ActReply
	}
	// Binned is the handler's confirmation.
	Binned struct{ Ticket }
	// Reported says that the ledger knows the bin, and that the journal knows that it does.
	Reported struct{ Ticket }
	// Waited ends a Wait.
	Waited struct{ Ticket }
	// NoAnswer says that the ledger gave no answer, or refused to.
	NoAnswer struct {
		Ticket
		Kind Refusal
		Text string
	}
	// Fault says that the machine did not do what it was told; whether the chip is still in contact is unknown.
	Fault struct {
		Ticket
		Text string
	}
)

// Refusal says what a missing answer means for the head.
type Refusal uint8

// The refusals.
const (
	Away    Refusal = iota // nobody answered, or "later": ask the same again
	Ended                  // the session is over for the ledger: contact the chip again
	Invalid                // the message itself is refused: a person must look
)

func (Begin) event()     {}
func (LotOver) event()   {}
func (JobEnded) event()  {}
func (Recover) event()   {}
func (Command) event()   {}
func (Loaded) event()    {}
func (NoMore) event()    {}
func (Contacted) event() {}
func (Played) event()    {}
func (Challenge) event() {}
func (KeyMade) event()   {}
func (Replied) event()   {}
func (Binned) event()    {}
func (Reported) event()  {}
func (Waited) event()    {}
func (NoAnswer) event()  {}
func (Fault) event()     {}

// Effect is something that the shell must do. Those with a ticket are answered once, by the event named, or by Fault or
// NoAnswer; the shell carries out a head's effects in order.
type Effect interface{ effect() }

// Effects on the machine.
type (
	// Load indexes the next chip, unless one lies there. Answer: Loaded or NoMore.
	Load struct{ Ticket }
	// Contact takes a durable presentation number, then powers the chip; Lift takes the power away first. Answer: Contacted.
	Contact struct {
		Ticket
		Lift bool
	}
	// MakeKey makes the key pair of this presentation, for a chip without a secure channel. Answer: KeyMade.
	MakeKey struct{ Ticket }
	// Play sends a window; one that comes sealed is opened, played and wiped. Answer: Played, or NoAnswer when it does not open.
	Play struct {
		Ticket
		Window []bus.Play
		Sealed *Sealed // in the place of Window
	}
	// Bin records the request durably, then moves the chip. Answer: Binned.
	Bin struct {
		Ticket
		Request bus.BinRequest
		Into    perso.Bin // the handler's name for the bin
	}
)

// Effects on the ledger.
type (
	// NeedChallenge asks the station for a host challenge. Answer: Challenge, as soon as there is one.
	NeedChallenge struct{ Ticket }
	// AskAct asks the ledger. Answer: Replied.
	AskAct struct {
		Ticket
		Request *bus.ActRequest
	}
	// AskPresent asks the ledger about a contact without a session. Answer: Replied.
	AskPresent struct {
		Ticket
		Request *bus.PresentRequest
	}
	// ReportBin tells the ledger, then the journal that the ledger knows. Answer: Reported.
	ReportBin struct {
		Ticket
		Request bus.BinRequest
	}
)

// Effects on nobody else.
type (
	// Wait passes time; a head's newer Wait replaces it. Answer: Waited.
	Wait struct {
		Ticket
		For time.Duration
	}
	// Stop calls the operator. No answer.
	Stop struct{ Stopped }
	// Note tells the operator something that needs no action. No answer.
	Note struct {
		Present perso.Presentation
		Verdict perso.Verdict
		Reason  perso.Reason
		Text    string
	}
)

// Effects of the station itself.
type (
	// TakeJob waits for a work order. Answer: JobTaken.
	TakeJob struct{ Ticket }
	// AskChallenges asks the ledger for a batch. Answer: Challenges.
	AskChallenges struct {
		Ticket
		Request bus.ChallengesRequest
	}
	// Finish reports the handler's counters and acknowledges the work order. Answer: Finished.
	Finish struct {
		Ticket
		Job *Job
	}
)

// Answers to the station.
type (
	// JobTaken brings a work order and how many of its units are already in the good bin.
	JobTaken struct {
		Ticket
		Job  *Job
		Good uint64
	}
	// Challenges brings host challenges.
	Challenges struct {
		Ticket
		Reply bus.ChallengesReply
	}
	// Finished says that the work order is gone.
	Finished struct{ Ticket }
)

func (Load) effect()          {}
func (Contact) effect()       {}
func (MakeKey) effect()       {}
func (Play) effect()          {}
func (Bin) effect()           {}
func (NeedChallenge) effect() {}
func (AskAct) effect()        {}
func (AskPresent) effect()    {}
func (ReportBin) effect()     {}
func (Wait) effect()          {}
func (Stop) effect()          {}
func (Note) effect()          {}
func (TakeJob) effect()       {}
func (AskChallenges) effect() {}
func (Finish) effect()        {}

func (JobTaken) event()   {}
func (Challenges) event() {}
func (Finished) event()   {}
