package attack

import (
	"crypto/rand"
	"testing"

	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/sealing"
)

func newChip(t *testing.T, n uint32) *cardsim.Chip {
	t.Helper()
	chip, err := cardsim.New(personality(t, n), &cardsim.Memory{}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return chip
}

// head is one contact of one chip by a line that does its work, but for what bend and edit make of it.
type head struct {
	*site
	chip *cardsim.Chip
	at   perso.Presentation

	bend func(command int, answer []byte) []byte // of what the chip says; nil takes the chip away
	edit func(*bus.ActRequest)                   // of what the ledger is told

	key    sealing.Key        // of this contact, of a chip without a secure channel
	named  id.ChipID          // as the chip says
	swap   *cardsim.Chip      // takes the chip's place when the session is open
	sealed []bus.SealedWindow // that came for it

	said int // answers so far
	sent []bus.ActRequest
}

func (s *site) head(chip *cardsim.Chip) *head {
	s.contacts++
	chip.PowerOn()
	return &head{site: s, chip: chip, at: perso.Presentation{Line: "line-1", Head: 0, Number: s.contacts}}
}

// transmit is the wire to the chip.
func (h *head) transmit(command []byte) []byte {
	answer, _ := h.chip.Process(command)
	h.said++
	if h.bend != nil {
		answer = h.bend(h.said, answer)
	}
	return answer
}

// play stops at the first status that the window does not accept, as a line does.
func (h *head) play(window []bus.Play) (answers [][]byte) {
	h.Helper()
	for _, p := range window {
		answer := h.transmit(p.APDU)
		_, sw, err := apdu.SWOf(answer)
		if err != nil {
			return answers
		}
		answers = append(answers, answer)
		mask, err := apdu.ParseMask(p.SW)
		h.must(err)
		if !mask.Match(sw) {
			return answers
		}
	}
	return answers
}

// begin reads the chip and opens a channel with a host challenge.
func (h *head) begin(challenge []byte) (identify [][]byte, command, answer []byte) {
	h.Helper()
	compiled, err := script.Decode(h.script)
	h.must(err)
	for _, p := range compiled.IdentifyWindow() {
		identify = append(identify, h.transmit(p.APDU))
	}
	if h.plain {
		command, answer = h.beginPlain(compiled, identify, challenge)
		return identify, command, answer
	}
	command = scp.InitUpdateCommand(0, challenge).Bytes()
	return identify, command, h.transmit(command)
}

// open makes the request of act 0.
func (h *head) open() (bus.ActRequest, error) {
	h.Helper()
	c, err := h.ledger.Challenges(h.ctx, bus.ChallengesRequest{Lot: h.lot, Line: "line-1", Count: 1})
	if err != nil {
		return bus.ActRequest{}, err
	}
	q := bus.ActRequest{Lot: h.lot, Present: h.at, Serial: c.First}
	q.Identify, q.Command, q.Answer = h.begin(c.Values[0])
	q.Session = entry.SessionOf(q.Command, q.Answer)
	return q, nil
}

// ask sends an act.
func (h *head) ask(q bus.ActRequest) (bus.ActReply, error) {
	if h.edit != nil {
		h.edit(&q)
	}
	h.sent = append(h.sent, q)
	return h.ledger.Act(h.ctx, q)
}

// run takes the chip as far as it goes.
func (h *head) run() (bus.Verdict, error) {
	h.Helper()
	q, err := h.open()
	for err == nil {
		var a bus.ActReply
		if a, err = h.ask(q); err != nil {
			break
		}
		if a.Verdict != nil {
			return *a.Verdict, nil
		}
		window := a.Window
		if h.swap != nil {
			h.chip, h.swap = h.swap, nil
			h.chip.PowerOn()
		}
		if a.Sealed != nil {
			window = h.unsealed(q, *a.Sealed)
		}
		q = bus.ActRequest{Lot: h.lot, Present: h.at, N: q.N + 1, Session: q.Session, Responses: h.play(window), State: a.State}
	}
	return bus.Verdict{}, err
}

// makeGood takes a chip to good, or the test is worth nothing.
func (s *site) makeGood(chip *cardsim.Chip) *head {
	s.Helper()
	h := s.head(chip)
	if v, err := h.run(); err != nil || v.Verdict != perso.VerdictGood {
		s.Fatalf("an honest contact ended with %q %q %s, %v", v.Verdict, v.Reason, v.Text, err)
	}
	return h
}

// tear takes the chip away after some commands. The chip keeps what it has.
func (h *head) tear(after int) *head {
	h.bend = func(n int, answer []byte) []byte {
		if n > after {
			return nil
		}
		return answer
	}
	return h
}
