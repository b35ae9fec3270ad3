package ledger

import (
	"bytes"
	"context"
	"fmt"
	"math"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/sealing"
)

// act is one ActRequest on its way: admitted, served, settled, answered. admit and settle may run more than once, so each
// begins by forgetting what it decided before.
type act struct {
	l    *Ledger
	lot  *lot
	q    bus.ActRequest
	hash [32]byte // of the responses
	chip id.ChipID
	said scp.Presented // of a chip with a secure channel

	decision // of the last step that ran
	claim    claimRow
	serve    *toServe
	result   bus.ServeResult
}

// decision is what a step made of the request: a refusal, an answer to give at once, or a verdict that rests on a log entry.
type decision struct {
	fault error
	reply *bus.ActReply
	final *finding
	again bool // serve once more, with what is stored now
	// before is an act that must be settled before this one is answered; reply then says to ask again.
	before *bus.ActRequest
}

// finding is a verdict on record: the log entry that says so.
type finding struct {
	verdict perso.Verdict
	reason  perso.Reason
	seq     int64
	body    []byte
}

// toServe is what the vault needs for this act.
type toServe struct {
	serial                       uint64
	claimSeq, lossSeq, actSeq    int64
	claimBody, lossBody, actBody []byte
	command, answer              []byte
	responses                    [][]byte
	state                        []byte
	stored                       bus.Stored
	at                           int64 // microseconds
}

// Act carries out act n of a session: claim, serve, settle. Asked again it gives the same answer (architecture, bus).
func (l *Ledger) Act(ctx context.Context, q bus.ActRequest) (bus.ActReply, error) {
	lt, err := l.lot(ctx, q.Lot)
	if err != nil {
		return bus.ActReply{}, err
	}
	d, err := l.doorOf(ctx, lt)
	if err != nil {
		return bus.ActReply{}, err
	}
	a := &act{l: l, lot: lt, q: q}
	if err := a.read(); err != nil {
		return bus.ActReply{}, bus.Refuse(bus.FaultBadMessage, "act %d of %s: %v", q.N, q.Present, err)
	}
	// COMMIT POINT 1: the claim and the act are durable and logged before the vault makes a secret for them.
	if err := l.commit(ctx, a.admit); err != nil {
		return bus.ActReply{}, fmt.Errorf("admitting act %d of %s: %w", q.N, q.Present, err)
	}
	if a.serve != nil {
		l.bodies.keep(a.serve.claimSeq, a.serve.claimBody)
	}
	for try := 0; a.serve != nil && (try == 0 || a.again); try++ {
		if try == maxServeTries {
			return bus.ActReply{}, bus.Refuse(bus.FaultBusy, "act %d of %s: the stored certificate keeps changing", q.N, q.Present)
		}
		if try > 0 {
			a.serve.stored = a.claim.stored // here, and not in settle, which may run twice and compares with what was served
		}
		if err := d.serves.do(ctx, a); err != nil {
			return bus.ActReply{}, fmt.Errorf("serving act %d of %s: %w", q.N, q.Present, &servingError{l.unserved(ctx, a, err)})
		}
		l.troubles.over(q.Session)
		// COMMIT POINT 2: certificate and outcome are durable before the line hears of them (I4).
		if err := l.commit(ctx, a.settle); err != nil {
			return bus.ActReply{}, fmt.Errorf("settling act %d of %s: %w", q.N, q.Present, err)
		}
		switch {
		case a.result.Refused != "":
			l.troubles.refused(a, l.now().UTC())
		case a.final != nil:
			l.troubles.ended(a.claim.chip.String())
		}
	}
	return l.answer(ctx, a.decision)
}

// answer turns a decision into a reply; a final verdict gets its proof in a signed checkpoint.
func (l *Ledger) answer(ctx context.Context, d decision) (bus.ActReply, error) {
	switch {
	case d.before != nil:
		stop, err := l.finish(ctx, *d.before)
		if err != nil {
			return bus.ActReply{}, fmt.Errorf("settling act %d of %s before: %w", d.before.N, d.before.Present, err)
		}
		if stop != nil {
			return *stop, nil
		}
		return *d.reply, nil
	case d.fault != nil:
		return bus.ActReply{}, d.fault
	case d.reply != nil:
		return *d.reply, nil
	case d.final == nil:
		return bus.ActReply{}, fmt.Errorf("answering: no step decided")
	}
	v, err := l.proven(ctx, *d.final)
	if err != nil {
		return bus.ActReply{}, err
	}
	return bus.ActReply{Verdict: &v}, nil
}

// read checks the message and takes out what decisions rest on; it touches no database.
func (a *act) read() error {
	q := &a.q
	if err := checkPresentation(q.Present); err != nil {
		return err
	}
	if q.N >= perso.MaxActs {
		return fmt.Errorf("a session has at most %d acts", perso.MaxActs)
	}
	if n := size(a.answers()); n > maxAnswerBytes {
		return fmt.Errorf("answers of %d bytes exceed %d", n, maxAnswerBytes)
	}
	if n := len(a.answers()); n > script.MaxWindowCommands {
		return fmt.Errorf("%d answers, a window has at most %d commands", n, script.MaxWindowCommands)
	}
	if len(q.State) > maxStateBytes {
		return fmt.Errorf("state of %d bytes exceeds %d", len(q.State), maxStateBytes)
	}
	if q.N > 0 {
		a.hash = entry.ResponsesHash(q.Responses)
		return nil
	}
	a.hash = entry.ResponsesHash(q.Identify)
	if q.Session != entry.SessionOf(q.Command, q.Answer) {
		return fmt.Errorf("session is not the hash of what opened it")
	}
	if a.lot.plain() {
		return a.readPlain()
	}
	data, sw, err := apdu.SWOf(q.Answer)
	if err != nil || sw != apdu.SWOK {
		return fmt.Errorf("INITIALIZE UPDATE was not answered with 9000")
	}
	if a.said, err = scp.ParsePresented(data); err != nil {
		return err
	}
	if own := fmt.Sprintf("scp%02x", a.said.Protocol); own != a.lot.release.Channel {
		return fmt.Errorf("the chip speaks %s, and the lot's chips %s", own, a.lot.release.Channel)
	}
	a.chip, err = a.lot.chipID(q.Identify, a.said.KDD)
	return err
}

// plain says that the lot's chips have no secure channel (perso/sealing).
func (lt *lot) plain() bool { return lt.release.TrustsLine() }

// readPlain reads what opens a session with a chip without a secure channel: a key for this presentation, and the chip's own word
// who it is.
func (a *act) readPlain() error {
	if _, err := sealing.ParseOpening(a.q.Command); err != nil {
		return err
	}
	value, ok := cplcOf(a.q.Answer)
	if !ok {
		return fmt.Errorf("no CPLC in the answer that opens the session")
	}
	var err error
	a.chip, err = id.ChipIDFromCPLC(value)
	return err
}

// checkPresentation refuses what could not be written down: a batch must not fail on data.
func checkPresentation(p perso.Presentation) error {
	if _, err := perso.ParseName(string(p.Line)); err != nil {
		return fmt.Errorf("line: %w", err)
	}
	if p.Number > math.MaxInt64 {
		return fmt.Errorf("presentation number %d is not within 63 bits", p.Number)
	}
	return nil
}

func size(answers [][]byte) (n int) {
	for _, r := range answers {
		n += len(r)
	}
	return n
}

// chipID takes the chip's identity from where the product says it is. For CPLC it must agree with the key diversification
// data, since that is what binds it to the keys.
func (lt *lot) chipID(identify [][]byte, said [10]byte) (id.ChipID, error) {
	kdd, err := id.ChipIDFromBytes(said[:])
	if err != nil {
		return id.ChipID{}, err
	}
	switch lt.release.ChipID {
	case "kdd":
		return kdd, nil
	case "cplc":
		for _, answer := range identify {
			value, ok := cplcOf(answer)
			if !ok {
				continue
			}
			chip, err := id.ChipIDFromCPLC(value)
			if err != nil {
				return id.ChipID{}, err
			}
			if chip != kdd {
				return id.ChipID{}, fmt.Errorf("CPLC says chip %s, INITIALIZE UPDATE says %s", chip, kdd)
			}
			return chip, nil
		}
		return id.ChipID{}, fmt.Errorf("no CPLC among the identify answers")
	}
	return id.ChipID{}, fmt.Errorf("chip identity %q is not one this ledger reads", lt.release.ChipID)
}

// cplcOf finds the 42-byte CPLC value of a GET DATA 9F7F answer.
func cplcOf(answer []byte) ([]byte, bool) {
	data, sw, err := apdu.SWOf(answer)
	if err != nil || sw != apdu.SWOK {
		return nil, false
	}
	value, ok := bytes.CutPrefix(data, []byte{0x9F, 0x7F, 0x2A})
	return value, ok && len(value) == 0x2A
}

func say(v perso.Verdict, r perso.Reason, text string) *bus.ActReply {
	return &bus.ActReply{Verdict: &bus.Verdict{Verdict: v, Reason: r, Text: text}}
}

func hold(r perso.Reason, text string) *bus.ActReply {
	reply := say(perso.VerdictHold, r, text)
	reply.Verdict.RetryAfter = holdFor
	return reply
}
