package lineside

import (
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// contact begins a presentation of the chip in place. Each contact is one, with a number of its own.
func (h *Head) contact(lift bool) {
	if h.at.contacts == MaxContacts {
		h.stop(CauseContacts, perso.ReasonTries, "the chip was contacted too often")
		return
	}
	since, chip, contacts := h.at.since, h.at.chip, h.at.contacts+1
	h.at = place{since: since, occupied: true, chip: chip, contacts: contacts}
	h.unsure = false
	h.become(StateContacting)
	h.emit(Contact{h.wait(), lift})
}

// recontact lifts the chip and presents it anew.
func (h *Head) recontact(reason perso.Reason, text string) {
	h.tally.recontacts++
	h.tally.remember(h.now, reason)
	h.emit(Note{Present: h.at.present, Verdict: perso.VerdictRecontact, Reason: reason, Text: text})
	h.contact(true)
}

func (h *Head) contacted(ev Contacted) {
	h.delay.reset()
	h.at.present = perso.Presentation{Line: h.line, Head: h.number, Number: ev.Number}
	h.at.atr = ev.ATR
	switch {
	case len(ev.ATR) == 0:
		h.tell(perso.ReasonMute)
	case !h.job.atr.Match(ev.ATR):
		h.tell(perso.ReasonATR)
	case len(h.job.identify) == 0:
		h.needChallenge()
	default:
		h.become(StateIdentifying)
		h.emit(Play{Ticket: h.wait(), Window: h.job.identify})
	}
}

// played takes the answers to whichever window was under way.
func (h *Head) played(ev Played) {
	switch h.state {
	case StateIdentifying:
		h.identified(ev)
	case StateOpening:
		h.opened(ev)
	case StatePlaying:
		h.answerAct(ev.Responses)
	}
}

func (h *Head) identified(ev Played) {
	switch {
	case ev.Lost:
		h.tell(perso.ReasonContact)
	case !h.job.identified(ev.Responses):
		h.tell(perso.ReasonIdentify)
	default:
		h.at.identify = ev.Responses
		h.needChallenge()
	}
}

func (h *Head) needChallenge() {
	h.become(StateWaiting)
	h.emit(NeedChallenge{h.wait()})
}

// opening sends INITIALIZE UPDATE with a challenge that serves only once, whatever comes of it.
func (h *Head) opening(c Challenge) {
	if h.job.plain != nil {
		h.openingPlain(c)
		return
	}
	h.at.sessions++
	h.at.serial = c.Serial
	window := h.job.opening(c.Value)
	h.at.command = window[len(window)-1].APDU
	h.become(StateOpening)
	h.emit(Play{Ticket: h.wait(), Window: window})
}

// opened begins act 0. A refused INITIALIZE UPDATE is tried again within the presentation, up to the limit that spares
// the chip's sequence counter.
func (h *Head) opened(ev Played) {
	answer, chip, ok := h.job.opened(ev.Responses)
	switch {
	case ev.Lost:
		h.tell(perso.ReasonContact)
	case !ok && h.at.sessions < perso.MaxSessionsPerPresentation:
		h.needChallenge()
	case !ok:
		h.tell(perso.ReasonIdentify)
	default:
		h.beginSession(answer, chip)
	}
}

// tell reports a contact that led to no session; the ledger decides what becomes of the chip.
func (h *Head) tell(reason perso.Reason) {
	h.at.told = &bus.PresentRequest{Lot: h.job.Lot, Present: h.at.present, Reason: reason, ATR: h.at.atr,
		Chip: h.at.chip.Bytes(), Tries: h.at.contacts}
	h.ask()
}
