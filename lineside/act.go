package lineside

import (
	"fmt"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// ask puts the question in hand to the ledger. Asked again it is the same question, and the chip is not touched.
func (h *Head) ask() {
	h.become(StateAsking)
	if h.at.asked != nil {
		h.emit(AskAct{h.wait(), h.at.asked})
		return
	}
	h.emit(AskPresent{h.wait(), h.at.told})
}

// replied takes the ledger's word: one window to play, or one verdict.
func (h *Head) replied(r bus.ActReply) {
	h.delay.reset()
	switch {
	case r.Verdict != nil && len(r.Window) == 0 && r.Sealed == nil:
		h.decide(*r.Verdict)
	case r.Verdict != nil || (len(r.Window) == 0) == (r.Sealed == nil) || (r.Sealed != nil) != (h.job.plain != nil):
		h.stop(CauseReply, perso.ReasonNone, "the answer holds not one of window and verdict")
	case h.at.asked == nil || h.at.act+1 >= perso.MaxActs:
		h.stop(CauseReply, perso.ReasonNone, fmt.Sprintf("a window came where act %d allows none", h.at.act))
	case r.Sealed != nil:
		h.at.state = r.State
		h.playSealed(*r.Sealed)
	default:
		if err := playable(r.Window); err != nil {
			h.stop(CauseReply, perso.ReasonNone, err.Error())
			return
		}
		h.at.state = r.State
		h.become(StatePlaying)
		h.emit(Play{Ticket: h.wait(), Window: r.Window})
	}
}

// answerAct sends what the chip answered, to the first refusal or to the end of contact: the ledger tells which.
func (h *Head) answerAct(responses [][]byte) {
	h.at.act++
	h.at.asked = &bus.ActRequest{Lot: h.job.Lot, Present: h.at.present, N: h.at.act, Session: h.at.session, Responses: responses, State: h.at.state}
	h.ask()
}

func (h *Head) decide(v bus.Verdict) {
	switch v.Verdict {
	case perso.VerdictGood, perso.VerdictSample, perso.VerdictRejectLive, perso.VerdictRejectBlank, perso.VerdictReturn:
		h.final(v)
	case perso.VerdictRecontact:
		h.recontact(v.Reason, v.Text)
	case perso.VerdictHold:
		h.become(StateHeld)
		h.emit(Wait{h.wait(), min(max(v.RetryAfter, minHold), maxHold)})
	case perso.VerdictStop:
		h.stop(CauseVerdict, v.Reason, v.Text)
	default:
		h.stop(CauseReply, perso.ReasonNone, fmt.Sprintf("unknown verdict %q", v.Verdict))
	}
}

// final bins on the log and on nothing else.
func (h *Head) final(v bus.Verdict) {
	about := subject{lot: h.job.Lot, present: h.at.present, chip: h.at.chip, read: h.at.read}
	if err := h.trust.check(v, about); err != nil {
		h.stop(CauseUnproven, perso.ReasonNone, err.Error())
		return
	}
	into, counts, ok := h.bins.For(v.Verdict, v.Reason)
	if !ok {
		h.stop(CauseReply, v.Reason, fmt.Sprintf("this line has no bin for the verdict %q", v.Verdict))
		return
	}
	h.at.verdict, h.at.reason, h.at.into = v.Verdict, v.Reason, into
	h.at.bin = bus.BinRequest{Lot: h.job.Lot, Present: h.at.present, Bin: counts, Chip: h.at.chip.Bytes()}
	if v.Verdict == perso.VerdictReturn && (v.Reason == perso.ReasonLotComplete || v.Reason == perso.ReasonNoIdentity) {
		h.sawEnd = true
	}
	if v.Verdict != perso.VerdictGood && v.Verdict != perso.VerdictSample {
		h.emit(Note{Present: h.at.present, Verdict: v.Verdict, Reason: v.Reason, Text: v.Text})
	}
	h.startBin()
}

func (h *Head) startBin() {
	h.become(StateBinning)
	h.emit(Bin{h.wait(), h.at.bin, h.at.into})
}

func (h *Head) binned() {
	h.delay.reset()
	if !h.at.resumed { // a resumed one may have been counted before the restart
		h.tally.count(h.now, h.at)
	}
	h.report()
}

func (h *Head) report() {
	h.become(StateReporting)
	h.emit(ReportBin{h.wait(), h.at.bin})
}

// reported ends a chip's stay.
func (h *Head) reported() {
	h.delay.reset()
	h.jammed.reset()
	if h.tally.equal < MaxEqualFailures {
		h.next()
		return
	}
	h.at, h.redo = place{}, StateLoading
	h.stop(CauseEqualFailures, perso.ReasonEqualFailures, fmt.Sprintf("%d chips in a row ended %s", h.tally.equal, h.tally.failure))
}
