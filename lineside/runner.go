package lineside

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/persoline/persoline/lineside/card"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/sealing"
)

// runner carries out the effects of one head, or of the station, in order.
type runner struct {
	w    *Worker
	head int
	log  *slog.Logger

	mu    sync.Mutex
	queue []Effect      // bounded: a head has one effect with a ticket at a time
	ready chan struct{} // holds one token while the queue may not be empty

	timer  *time.Timer // of the latest Wait
	ticket Ticket      // of it

	key sealing.Key // of the presentation in hand, of a chip without a secure channel
}

func newRunner(w *Worker, head int) *runner {
	r := &runner{w: w, head: head, log: w.log, ready: make(chan struct{}, 1), timer: time.NewTimer(0)}
	r.timer.Stop()
	if head != Self {
		r.log = w.log.With("head", head)
	}
	return r
}

func (r *runner) put(e Effect) {
	r.mu.Lock()
	r.queue = append(r.queue, e)
	r.mu.Unlock()
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

func (r *runner) take() (Effect, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return nil, false
	}
	e := r.queue[0]
	r.queue = r.queue[1:]
	return e, true
}

// run ends without error when ctx does, and with one when the journal can't be written.
func (r *runner) run(ctx context.Context) error {
	defer r.timer.Stop()
	defer r.key.Wipe()
	for {
		if e, ok := r.take(); ok {
			ev, err := r.do(ctx, e)
			switch {
			case ctx.Err() != nil:
				return nil
			case err != nil:
				return err
			case ev != nil:
				r.w.step(r.head, ev)
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.ready:
		case <-r.timer.C:
			r.w.step(r.head, Waited{r.ticket})
		}
	}
}

// do carries out one effect and gives its answer, if it has one. An error is the journal's: the worker must start over.
func (r *runner) do(ctx context.Context, e Effect) (Event, error) {
	switch e := e.(type) {
	case Wait:
		r.timer.Reset(e.For)
		r.ticket = e.Ticket
	case Stop:
		r.log.Warn("head stopped", "step", string(e.Cause), "err", because(e.Reason, e.Text))
	case Note:
		if e.Verdict == "" {
			r.log.Warn("machine failed", "seq", e.Present.Number, "err", e.Text)
			return nil, nil
		}
		r.log.Info("chip not good", "seq", e.Present.Number, "step", string(e.Verdict), "err", because(e.Reason, e.Text))
	case MakeKey:
		return r.makeKey(e)
	case Load, Contact, Play, Bin:
		ctx, cancel := context.WithTimeout(ctx, machineTimeout)
		defer cancel()
		return r.order(ctx, e)
	case AskAct, AskPresent, ReportBin, AskChallenges:
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		return r.ask(ctx, e)
	case TakeJob:
		return r.w.takeJob(ctx, e.Ticket)
	case Finish:
		return r.w.finish(ctx, e)
	default:
		return nil, fmt.Errorf("carrying out effect %T: it is not known", e)
	}
	return nil, nil
}

// because joins a reason with the words that came with it.
func because(r perso.Reason, text string) string {
	switch {
	case r == "" || r == perso.ReasonNone:
		return text
	case text == "":
		return string(r)
	}
	return string(r) + ": " + text
}

// order tells the machine.
func (r *runner) order(ctx context.Context, e Effect) (Event, error) {
	m, j, head := r.w.cfg.Machine, r.w.cfg.Journal, uint16(r.head)
	switch e := e.(type) {
	case Load:
		found, err := m.Load(ctx, head)
		if err == nil && !found && r.lotOver(ctx) {
			return NoMore(e), nil
		}
		return orFault(e.Ticket, err, Loaded{e.Ticket, found}), nil
	case Contact:
		r.key.Wipe()
		return r.contact(ctx, e)
	case Play:
		if e.Sealed != nil {
			return r.playSealed(ctx, e), nil
		}
		return r.playWindow(ctx, e.Ticket, e.Window), nil
	case Bin:
		r.key.Wipe()
		// COMMIT POINT: what is about to happen is durable. After a crash the handler is told again, and does nothing
		// when the chip has gone: no other is loaded before the ledger has acknowledged this one.
		if err := j.Bin(e.Request); err != nil {
			return nil, err
		}
		return orFault(e.Ticket, m.Bin(ctx, head, e.Into), Binned{e.Ticket}), nil
	}
	return nil, fmt.Errorf("ordering %T: it is not known", e)
}

// lotOver asks the ledger whether the lot in hand wants no more chips. A head with a chip hears it by its verdict; where the reel is used
// up nothing else would end the order. No answer is none: it is asked again at the next look at the reel.
func (r *runner) lotOver(ctx context.Context) bool {
	inHand, ok := r.w.cfg.Journal.InHand()
	if !ok {
		return false
	}
	line := r.w.cfg.Line
	a, err := bus.Call[bus.ChallengesReply](ctx, r.w.cfg.Ledger, bus.LineSubject(line, bus.LineChallenges), bus.ChallengesRequest{Lot: inHand.Lot, Line: line, Over: true})
	return err == nil && a.Over
}

func (r *runner) playWindow(ctx context.Context, t Ticket, window []bus.Play) Event {
	responses, err := r.w.cfg.Machine.Play(ctx, uint16(r.head), window)
	lost := errors.Is(err, card.ErrMute)
	if lost {
		err = nil
	}
	return orFault(t, err, Played{t, responses, lost})
}

func (r *runner) contact(ctx context.Context, e Contact) (Event, error) {
	m, head := r.w.cfg.Machine, uint16(r.head)
	number, err := r.w.cfg.Journal.Number(head)
	if err != nil {
		return nil, err
	}
	if e.Lift {
		if err := m.Lift(ctx, head); err != nil {
			return Fault{e.Ticket, err.Error()}, nil
		}
	}
	atr, err := m.Contact(ctx, head)
	if errors.Is(err, card.ErrMute) {
		atr, err = nil, nil
	}
	return orFault(e.Ticket, err, Contacted{e.Ticket, number, atr}), nil
}

func orFault(t Ticket, err error, ev Event) Event {
	if err != nil {
		return Fault{t, err.Error()}
	}
	return ev
}

// ask puts a question to the ledger.
func (r *runner) ask(ctx context.Context, e Effect) (Event, error) {
	line := r.w.cfg.Line
	switch e := e.(type) {
	case AskAct:
		reply, err := bus.Call[bus.ActReply](ctx, r.w.cfg.Ledger, bus.LineSubject(line, bus.LineAct), *e.Request)
		return orNoAnswer(e.Ticket, err, Replied{e.Ticket, reply}), nil
	case AskPresent:
		reply, err := bus.Call[bus.ActReply](ctx, r.w.cfg.Ledger, bus.LineSubject(line, bus.LinePresent), *e.Request)
		return orNoAnswer(e.Ticket, err, Replied{e.Ticket, reply}), nil
	case AskChallenges:
		reply, err := bus.Call[bus.ChallengesReply](ctx, r.w.cfg.Ledger, bus.LineSubject(line, bus.LineChallenges), e.Request)
		return orNoAnswer(e.Ticket, err, Challenges{e.Ticket, reply}), nil
	case ReportBin:
		_, err := bus.Call[bus.Empty](ctx, r.w.cfg.Ledger, bus.LineSubject(line, bus.LineBin), e.Request)
		if err != nil {
			return orNoAnswer(e.Ticket, err, nil), nil
		}
		if err := r.w.cfg.Journal.Acknowledged(e.Request.Present.Head); err != nil {
			return nil, err
		}
		r.log.Debug("chip binned", "lot", e.Request.Lot, "seq", e.Request.Present.Number, "step", string(e.Request.Bin))
		return Reported{e.Ticket}, nil
	}
	return nil, fmt.Errorf("asking %T: it is not known", e)
}

func orNoAnswer(t Ticket, err error, ev Event) Event {
	if err != nil {
		return NoAnswer{t, refusalOf(err), err.Error()}
	}
	return ev
}

// refusalOf says what an error of the bus means for the one who asked.
func refusalOf(err error) Refusal {
	var f *bus.Fault
	if !errors.As(err, &f) {
		return Away
	}
	switch f.Code {
	case bus.FaultRefused, bus.FaultNotFound:
		return Ended
	case bus.FaultBadMessage, bus.FaultConflict:
		return Invalid
	}
	return Away
}
