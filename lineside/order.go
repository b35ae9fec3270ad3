package lineside

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/persoline/persoline/lineside/journal"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
)

// scriptRetry is when an order comes back whose script is not in the store yet: the ledger puts it there again.
const scriptRetry = 2 * time.Second

// errDone is logged when a copy of a finished order comes in.
var errDone = errors.New("work order was done before")

// taken is the work order in hand, as the queue sees it.
type taken struct {
	mu    sync.Mutex
	job   bus.Job // nil for none, and for one that was resumed: its copy comes when this is done
	start journal.Counters
}

func (t *taken) set(job bus.Job, start journal.Counters) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.job, t.start = job, start
}

func (t *taken) get() (bus.Job, journal.Counters) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.job, t.start
}

// inProgress keeps the queue from delivering the order again while it is in hand. When the queue is away, a second
// delivery after the end finds the lot complete.
func (t *taken) inProgress(log *slog.Logger) func() {
	return func() {
		if job, _ := t.get(); job != nil {
			if err := job.InProgress(); err != nil {
				log.Warn("work queue does not hear that the order is in hand", "err", err)
			}
		}
	}
}

// takeJob goes on with the work order in hand, or waits for one that can be carried out. An order that never can is parked
// with the reason.
func (w *Worker) takeJob(ctx context.Context, t Ticket) (Event, error) {
	if inHand, ok := w.cfg.Journal.InHand(); ok {
		return w.resume(ctx, t, inHand)
	}
	var delay backoff
	for {
		job, err := w.cfg.Queue.Take(ctx, w.cfg.Line)
		switch {
		case ctx.Err() != nil:
			return nil, nil
		case err != nil:
			w.log.Warn("work queue does not answer", "err", err)
			if !sleep(ctx, delay.next()) {
				return nil, nil
			}
			continue
		}
		delay.reset()
		ev, err := w.accept(ctx, t, job)
		if ev != nil || errors.Is(err, journal.ErrBroken) {
			return ev, err
		}
		w.log.Warn("work order not taken", "err", err) // the next one may be behind it: no wait
	}
}

// accept understands a delivered order, or gives it back.
func (w *Worker) accept(ctx context.Context, t Ticket, delivered bus.Job) (Event, error) {
	order, err := bus.Decode[bus.WorkOrder](delivered.Data())
	if err == nil {
		err = w.ours(order)
	}
	if err != nil {
		return nil, errors.Join(err, delivered.Park(ctx, err.Error()))
	}
	if w.cfg.Journal.Done(order.ID) {
		return nil, errors.Join(errDone, delivered.Ack(ctx)) // a copy that the queue held meanwhile
	}
	compiled, err := w.cfg.Scripts.GetBlob(ctx, order.Script)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("fetching script %x: %w", order.Script[:8], err), delivered.Retry(scriptRetry))
	}
	job, err := NewJob(order, compiled)
	if err != nil {
		return nil, errors.Join(err, delivered.Park(ctx, err.Error()))
	}
	start, err := w.counters(ctx)
	if err != nil {
		return nil, err
	}
	if _, err = w.cfg.Journal.Begin(journal.Job{ID: job.ID, Lot: job.Lot, Start: start, Order: delivered.Data()}); err != nil {
		return nil, err
	}
	w.order.set(delivered, start)
	w.log.Info("work order taken", "order", job.ID, "lot", job.Lot)
	return JobTaken{t, job, 0}, nil
}

// resume goes on with the order of before a restart. The queue is not asked: it might give another one first, and the
// chips under the heads are this one's.
func (w *Worker) resume(ctx context.Context, t Ticket, inHand journal.Job) (Event, error) {
	order, err := bus.Decode[bus.WorkOrder](inHand.Order)
	if err == nil {
		err = w.ours(order)
	}
	if err != nil {
		return nil, fmt.Errorf("resuming work order %q: %w", inHand.ID, err)
	}
	var compiled []byte
	if err := w.insist(ctx, "fetching the script of the order in hand", func(ctx context.Context) (err error) {
		compiled, err = w.cfg.Scripts.GetBlob(ctx, order.Script)
		return err
	}); err != nil {
		return nil, nil
	}
	job, err := NewJob(order, compiled)
	if err != nil {
		return nil, fmt.Errorf("resuming work order %q: %w", inHand.ID, err)
	}
	now, err := w.counters(ctx)
	if err != nil {
		return nil, nil
	}
	w.order.set(nil, inHand.Start)
	w.log.Info("work order resumed", "order", job.ID, "lot", job.Lot)
	made := lotCount(job.Lot, inHand.Start, now)
	return JobTaken{t, job, made.Good + made.Sample}, nil // samples are good units
}

// ours refuses an order of another world: this line believes one log and works in one environment.
func (w *Worker) ours(order bus.WorkOrder) error {
	switch {
	case order.Env != w.cfg.Env:
		return fmt.Errorf("accepting work order %q: %w: it is for environment %q, this line is %q", order.ID, ErrJob, order.Env, w.cfg.Env)
	case order.Origin != w.cfg.Trust.Origin || !w.cfg.Trust.Key.Equal(ed25519.PublicKey(order.LogKey)):
		return fmt.Errorf("accepting work order %q: %w: its log %q is not the one pinned here, %q", order.ID, ErrJob, order.Origin, w.cfg.Trust.Origin)
	}
	return nil
}

// finish reports what the handler counted, then lets go of the order: it is acknowledged after the count is durable.
func (w *Worker) finish(ctx context.Context, e Finish) (Event, error) {
	delivered, start := w.order.get()
	end, err := w.counters(ctx)
	if err != nil {
		return nil, nil
	}
	count := lotCount(e.Job.Lot, start, end)
	err = w.insist(ctx, "reporting the handler's count", func(ctx context.Context) error {
		_, err := bus.Call[bus.Empty](ctx, w.cfg.Ledger, bus.LineSubject(w.cfg.Line, bus.LineCount), count)
		return err
	})
	if err != nil {
		return nil, nil
	}
	// COMMIT POINT: the ledger has the count. A copy of the order that comes from here on is acknowledged and no more.
	if err := w.cfg.Journal.End(e.Job.ID); err != nil {
		return nil, err
	}
	if delivered == nil {
		w.log.Debug("work order was resumed; its copy is acknowledged when it comes", "order", e.Job.ID)
	} else if err := delivered.Ack(ctx); err != nil {
		w.log.Warn("work order not acknowledged; it will come again", "order", e.Job.ID, "err", err)
	}
	w.order.set(nil, journal.Counters{})
	w.log.Info("work order done", "order", e.Job.ID, "lot", e.Job.Lot)
	return Finished{e.Ticket}, nil
}

// counters reads the handler's counters until it answers, and its bins are those that are described.
func (w *Worker) counters(ctx context.Context) (c journal.Counters, err error) {
	err = w.insist(ctx, "reading the handler's counters", func(ctx context.Context) (err error) {
		in, inBins, err := w.cfg.Machine.Counters(ctx)
		if err != nil {
			return err
		}
		n, err := w.cfg.Bins.Count(inBins)
		c = journal.Counters{In: in, Good: n[perso.VerdictGood], RejectBlank: n[perso.VerdictRejectBlank], RejectLive: n[perso.VerdictRejectLive],
			Return: n[perso.VerdictReturn], Sample: n[perso.VerdictSample]}
		return err
	})
	return c, err
}

// insist repeats f, gently, until it succeeds; the error is ctx's.
func (w *Worker) insist(ctx context.Context, what string, f func(context.Context) error) error {
	var delay backoff
	for {
		tryCtx, cancel := context.WithTimeout(ctx, askTimeout)
		err := f(tryCtx)
		cancel()
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		w.log.Warn("trying again", "step", what, "err", err)
		if !sleep(ctx, delay.next()) {
			return ctx.Err()
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// lotCount is what the handler counted for one work order. A counter that went back was reset by somebody: it is
// reported as it stands, and the lot stays open until the difference is explained.
func lotCount(lot perso.Name, start, end journal.Counters) bus.CountRequest {
	since := func(a, b uint64) uint64 {
		if b < a {
			return b
		}
		return b - a
	}
	return bus.CountRequest{Lot: lot, Source: entry.SourceHandler, In: since(start.In, end.In), Good: since(start.Good, end.Good),
		RejectBlank: since(start.RejectBlank, end.RejectBlank), RejectLive: since(start.RejectLive, end.RejectLive), Return: since(start.Return, end.Return), Sample: since(start.Sample, end.Sample)}
}
