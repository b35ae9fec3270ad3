package ledger

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/persoline/persoline/perso/bus"
)

// maxWaiting bounds the calls that wait for one combiner: all heads of a large factory at once, and their repeats. More
// means that database or vault stand still; callers are told to come again.
const maxWaiting = 4_096

// errUnanswered is what the members of a batch hear that panicked: it is unknown what became of them.
var errUnanswered = errors.New("the batch broke off")

// combiner runs calls together that arrive while earlier ones are running: the first caller leads and takes what has
// gathered, then hands the lead on. It needs no goroutine of its own, so the core stays drivable from a single one.
type combiner[Q any] struct {
	max      int           // most calls in one run
	flights  int           // most runs at once
	patience time.Duration // most time for one run
	run      func(ctx context.Context, qs []Q) []error

	mu      sync.Mutex
	running int
	waiting []*call[Q]
}

type call[Q any] struct {
	q     Q
	err   error
	taken bool          // in a batch already; under the combiner's lock
	told  bool          // that it leads; under the combiner's lock, final once taken
	lead  chan struct{} // closed when told
	done  chan struct{} // closed: err is there
}

// do waits for what became of q. A batch is nobody's own: it runs on when the caller that leads it goes away, because a
// commit must not be cut short for the others, and ends by its own patience.
func (c *combiner[Q]) do(ctx context.Context, q Q) error {
	me := &call[Q]{q: q, lead: make(chan struct{}), done: make(chan struct{})}
	if !c.join(me) {
		return bus.Refuse(bus.FaultBusy, "%d calls are waiting already", maxWaiting)
	}
	select {
	case <-me.done:
	case <-me.lead:
	}
	c.mu.Lock()
	lead := me.told // it may have been told and then answered by another flight: the lead still wants handing on
	c.mu.Unlock()
	if lead {
		c.fly(context.WithoutCancel(ctx), me)
	}
	<-me.done
	return me.err
}

// join queues a call and tells it to lead when a flight is free. It reports false when the queue is full.
func (c *combiner[Q]) join(me *call[Q]) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) >= maxWaiting {
		return false
	}
	c.waiting = append(c.waiting, me)
	if c.running < c.flights {
		c.running++
		me.told = true
		close(me.lead)
	}
	return true
}

// fly runs batches until the leader's own call is in one, then hands the lead on, also when a batch panics.
func (c *combiner[Q]) fly(ctx context.Context, me *call[Q]) {
	defer c.handOn()
	for {
		batch := c.take(me)
		if len(batch) == 0 {
			return
		}
		c.answer(ctx, batch)
	}
}

// take cuts a batch from the front of the queue; it is empty once the leader's own call was in one.
func (c *combiner[Q]) take(me *call[Q]) []*call[Q] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if me.taken {
		return nil
	}
	n := min(c.max, len(c.waiting))
	batch := c.waiting[:n:n]
	c.waiting = c.waiting[n:]
	for _, w := range batch {
		w.taken = true
	}
	return batch
}

// answer runs one batch. Every member hears something, whatever happens: silence would hold its head for ever.
func (c *combiner[Q]) answer(ctx context.Context, batch []*call[Q]) {
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	var errs []error
	defer func() {
		for i, w := range batch {
			if w.err = errUnanswered; i < len(errs) {
				w.err = errs[i]
			}
			close(w.done)
		}
	}()
	qs := make([]Q, len(batch))
	for i, w := range batch {
		qs[i] = w.q
	}
	errs = c.run(ctx, qs)
}

// handOn wakes the first of the queue that does not lead yet, or ends this flight.
func (c *combiner[Q]) handOn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.waiting {
		if !w.told {
			w.told = true
			close(w.lead)
			return
		}
	}
	c.running--
}
