package ledger

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/persoline/persoline/perso/bus"
)

var errOdd = errors.New("odd")

func TestCombinerAnswersEveryCallOnce(t *testing.T) {
	t.Parallel()
	for _, flights := range []int{1, 2} {
		const callers, calls, most = 16, 200, 7
		var running, over, batches atomic.Int64
		seen := make([]atomic.Int64, callers*calls)
		c := combiner[int]{max: most, flights: flights, patience: time.Minute, run: func(_ context.Context, qs []int) []error {
			if running.Add(1) > int64(flights) || len(qs) == 0 || len(qs) > most {
				over.Add(1)
			}
			defer running.Add(-1)
			batches.Add(1)
			errs := make([]error, len(qs))
			for i, q := range qs {
				seen[q].Add(1)
				if q%2 == 1 {
					errs[i] = errOdd
				}
			}
			return errs
		}}
		var wg sync.WaitGroup
		for k := range callers {
			wg.Go(func() {
				for i := range calls {
					q := k*calls + i
					if err := c.do(t.Context(), q); (err != nil) != (q%2 == 1) {
						t.Errorf("flights %d: call %d got another's answer: %v", flights, q, err)
					}
				}
			})
		}
		wg.Wait()
		for q := range seen {
			if n := seen[q].Load(); n != 1 {
				t.Fatalf("flights %d: call %d ran %d times", flights, q, n)
			}
		}
		if over.Load() != 0 || c.running != 0 || len(c.waiting) != 0 {
			t.Errorf("flights %d: %d runs beyond the limits, then %d running and %d waiting", flights, over.Load(), c.running, len(c.waiting))
		}
		t.Logf("flights %d: %d calls in %d batches", flights, callers*calls, batches.Load())
	}
}

// gate holds a combiner's first run until it is opened, so that a test decides who gathers behind it.
type gate struct {
	c       combiner[int]
	entered chan struct{}
	open    chan struct{}
	mu      sync.Mutex
	batches [][]int
}

func newGate(flights int) *gate {
	g := &gate{entered: make(chan struct{}, 8), open: make(chan struct{})}
	g.c = combiner[int]{max: 2, flights: flights, patience: time.Minute, run: func(ctx context.Context, qs []int) []error {
		g.mu.Lock()
		g.batches = append(g.batches, slices.Clone(qs))
		first := len(g.batches) == 1
		g.mu.Unlock()
		if first {
			g.entered <- struct{}{}
			<-g.open
		}
		if qs[0] < 0 {
			panic("step broke")
		}
		return slices.Repeat([]error{ctx.Err()}, len(qs))
	}}
	return g
}

// waitFor waits until n calls are queued.
func (g *gate) waitFor(n int) {
	for {
		g.c.mu.Lock()
		got := len(g.c.waiting)
		g.c.mu.Unlock()
		if got == n {
			return
		}
		runtime.Gosched()
	}
}

func TestCombinerGathersAndHandsOn(t *testing.T) {
	t.Parallel()
	g := newGate(1)
	var wg sync.WaitGroup
	wg.Go(func() { _ = g.c.do(t.Context(), 1) })
	<-g.entered
	for q := 2; q <= 6; q++ {
		wg.Go(func() { _ = g.c.do(t.Context(), q) })
		g.waitFor(q - 1)
	}
	close(g.open)
	wg.Wait()
	want := [][]int{{1}, {2, 3}, {4, 5}, {6}}
	if !slices.EqualFunc(g.batches, want, slices.Equal) || g.c.running != 0 {
		t.Errorf("batches %v, want %v; %d still running", g.batches, want, g.c.running)
	}
}

func TestCombinerOutlivesItsLeader(t *testing.T) {
	t.Parallel()
	g := newGate(1)
	ctx, cancel := context.WithCancel(t.Context())
	errs := make([]error, 3)
	var wg sync.WaitGroup
	wg.Go(func() { errs[0] = g.c.do(ctx, 1) })
	<-g.entered
	wg.Go(func() { errs[1] = g.c.do(ctx, 2) }) // leads the second batch
	g.waitFor(1)
	wg.Go(func() { errs[2] = g.c.do(t.Context(), 3) })
	g.waitFor(2)
	cancel()
	close(g.open)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Errorf("a caller that went away spoilt the batch: %v", err)
	}
}

func TestCombinerSurvivesAPanic(t *testing.T) {
	t.Parallel()
	for _, flights := range []int{1, 2} {
		g := newGate(flights)
		var wg sync.WaitGroup
		broke := make(chan any, 1)
		wg.Go(func() {
			defer func() { broke <- recover() }()
			_ = g.c.do(t.Context(), -1)
		})
		<-g.entered
		var second error
		if flights == 1 {
			wg.Go(func() { second = g.c.do(t.Context(), 2) })
			g.waitFor(1)
		}
		close(g.open)
		wg.Wait()
		if <-broke == nil || second != nil {
			t.Errorf("flights %d: the panic was swallowed, or the next batch got %v", flights, second)
		}
		if err := g.c.do(t.Context(), 3); err != nil || g.c.running != 0 {
			t.Errorf("flights %d: after the panic: %v, %d running", flights, err, g.c.running)
		}
	}
}

func TestCombinerAnswersAMemberWhoseLeaderPanics(t *testing.T) {
	t.Parallel()
	g := newGate(1)
	var wg sync.WaitGroup
	wg.Go(func() { _ = g.c.do(t.Context(), 1) })
	<-g.entered
	wg.Go(func() {
		defer func() { _ = recover() }()
		_ = g.c.do(t.Context(), -2)
	})
	g.waitFor(1)
	var member error
	wg.Go(func() { member = g.c.do(t.Context(), 3) })
	g.waitFor(2)
	close(g.open)
	wg.Wait()
	if !errors.Is(member, errUnanswered) {
		t.Errorf("the other member heard %v", member)
	}
}

func TestCombinerRefusesWhenFull(t *testing.T) {
	t.Parallel()
	c := combiner[int]{max: 1, flights: 0, patience: time.Minute}
	c.waiting = make([]*call[int], maxWaiting)
	var fault *bus.Fault
	if err := c.do(t.Context(), 1); !errors.As(err, &fault) || fault.Code != bus.FaultBusy {
		t.Errorf("full queue: %v", err)
	}
}
