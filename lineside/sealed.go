package lineside

import (
	"context"
	"fmt"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/sealing"
	"github.com/persoline/persoline/perso/tlv"
)

// A chip without a secure channel is the one case in which a line reads what it plays. The shell makes a key pair for the
// presentation, the ledger's windows come sealed to it, and they are in clear in the shell's memory while they are played: not in
// the state machine, nor in the journal, nor in a log line. The key is wiped when the chip is contacted anew or binned.

// Sealed is a window that only the shell's key of this presentation opens.
type Sealed struct {
	Data []byte
	For  sealing.Binding
}

// plainJob is what the heads need to know of a work order for such chips.
type plainJob struct {
	chip int // place of the identify answer that says which chip it is
}

// newPlainJob finds the answer in the script's identify phase.
func newPlainJob(s *script.Script) (*plainJob, error) {
	for i := range s.Identify {
		if s.Identify[i].Purpose == script.PurposeChip {
			return &plainJob{chip: i}, nil
		}
	}
	return nil, fmt.Errorf("script %q reads no chip id", s.Name)
}

// read gives the answer that opens the session, and the chip that it names.
func (p *plainJob) read(identify [][]byte) (answer []byte, chip id.ChipID, ok bool) {
	if p.chip >= len(identify) {
		return nil, id.ChipID{}, false
	}
	answer = identify[p.chip]
	data, sw, err := apdu.SWOf(answer)
	if err != nil || !sw.OK() {
		return nil, id.ChipID{}, false
	}
	cplc, found, err := tlv.Find(data, 0x9F7F)
	if err != nil || !found {
		return nil, id.ChipID{}, false
	}
	chip, err = id.ChipIDFromCPLC(cplc)
	return answer, chip, err == nil
}

// openingPlain has a key made for the session of a challenge that serves only once.
func (h *Head) openingPlain(c Challenge) {
	h.at.sessions++
	h.at.serial, h.at.challenge = c.Serial, [sealing.ChallengeBytes]byte(c.Value)
	h.become(StateOpening)
	h.emit(MakeKey{h.wait()})
}

// keyMade begins act 0.
func (h *Head) keyMade(ev KeyMade) {
	answer, chip, ok := h.job.plain.read(h.at.identify)
	if !ok {
		h.tell(perso.ReasonIdentify)
		return
	}
	h.at.command = sealing.Opening{Challenge: h.at.challenge, Public: ev.Public}.Bytes()
	h.beginSession(answer, chip)
}

// beginSession asks act 0 of a session that was opened with the chip under the head.
func (h *Head) beginSession(answer []byte, chip id.ChipID) {
	if !h.at.chip.IsZero() && chip != h.at.chip {
		h.stop(CauseChanged, perso.ReasonTwin, "chip "+chip.String()+" answers where chip "+h.at.chip.String()+" lay")
		return
	}
	h.at.chip, h.at.read, h.at.act = chip, true, 0
	h.at.session = entry.SessionOf(h.at.command, answer)
	h.at.asked = &bus.ActRequest{Lot: h.job.Lot, Present: h.at.present, Session: h.at.session, Serial: h.at.serial,
		ATR: h.at.atr, Identify: h.at.identify, Command: h.at.command, Answer: answer}
	h.ask()
}

// playSealed hands a sealed window to the shell.
func (h *Head) playSealed(w bus.SealedWindow) {
	h.become(StatePlaying)
	h.emit(Play{Ticket: h.wait(), Sealed: &Sealed{Data: w.Data, For: sealing.Binding{Lot: h.job.Lot, Unit: w.Unit, Gen: w.Gen,
		Chip: h.at.chip, Present: h.at.present, Session: h.at.session, N: h.at.act, Script: h.job.script}}})
}

// Open decrypts a sealed window, which must be one that a player takes. The caller wipes it (sealing.Wipe).
func (s *Sealed) Open(key sealing.Key) ([]bus.Play, error) {
	window, err := key.Open(s.For, s.Data)
	if err != nil {
		return nil, err
	}
	if err := playable(window); err != nil {
		sealing.Wipe(window)
		return nil, err
	}
	return window, nil
}

// makeKey makes the key pair of the presentation in hand; one of before is gone.
func (r *runner) makeKey(e MakeKey) (Event, error) {
	r.key.Wipe()
	var err error
	if r.key, err = sealing.NewKey(r.w.cfg.Random); err != nil {
		return Fault{e.Ticket, err.Error()}, nil
	}
	return KeyMade{e.Ticket, r.key.Public()}, nil
}

// playSealed opens a window, plays it and wipes it. One that does not open was not sealed for this presentation: nothing was played.
func (r *runner) playSealed(ctx context.Context, e Play) Event {
	window, err := e.Sealed.Open(r.key)
	if err != nil {
		return NoAnswer{e.Ticket, Invalid, err.Error()}
	}
	defer sealing.Wipe(window)
	return r.playWindow(ctx, e.Ticket, window)
}
