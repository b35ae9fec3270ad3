package ledger

import (
	"context"
	"sync"
)

// combiner runs calls together that arrive while earlier ones are running: the first caller leads and takes what has
// gathered, then hands the lead on. It needs no goroutine of its own, so the core stays drivable from a single one.
type combiner[Q, A any] struct {
	max     int // most calls in one run
	flights int // most runs at once
	run     func(ctx context.Context, qs []Q) []A

	mu      sync.Mutex
	running int
	waiting []*call[Q, A]
}

type call[Q, A any] struct {
	q     Q
	a     A
	taken bool          // in a batch already; under the combiner's lock
	told  bool          // that it leads; under the combiner's lock, final once taken
	lead  chan struct{} // closed when told
	done  chan struct{} // closed: a is there
}

// do waits for q's answer. The leader's context serves the whole batch; callers of one batch are peers of one process.
func (c *combiner[Q, A]) do(ctx context.Context, q Q) A {
	me := &call[Q, A]{q: q, lead: make(chan struct{}), done: make(chan struct{})}
	c.mu.Lock()
	c.waiting = append(c.waiting, me)
	lead := c.running < c.flights
	if lead {
		c.running++
	}
	c.mu.Unlock()
	if !lead {
		select {
		case <-me.done:
		case <-me.lead:
		}
		c.mu.Lock()
		lead = me.told // it may have been told and then answered by another flight: the lead still wants handing on
		c.mu.Unlock()
	}
	for lead && c.runOne(ctx, me) {
	}
	<-me.done
	return me.a
}

// runOne runs one batch from the front of the queue. It reports false when the caller's own call is out of the queue: then
// the lead has been handed on.
func (c *combiner[Q, A]) runOne(ctx context.Context, me *call[Q, A]) bool {
	c.mu.Lock()
	if me.taken {
		c.handOn()
		c.mu.Unlock()
		return false
	}
	n := min(c.max, len(c.waiting))
	batch := c.waiting[:n:n]
	c.waiting = c.waiting[n:]
	qs := make([]Q, n)
	for i, w := range batch {
		qs[i], w.taken = w.q, true
	}
	c.mu.Unlock()
	for i, a := range c.run(ctx, qs) {
		batch[i].a = a
		close(batch[i].done)
	}
	return true
}

// handOn wakes the front of the queue as the next leader, or ends this flight. The lock is held.
func (c *combiner[Q, A]) handOn() {
	for _, w := range c.waiting {
		if !w.told {
			w.told = true
			close(w.lead)
			return
		}
	}
	c.running--
}
