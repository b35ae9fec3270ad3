package bustest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

func put(t *testing.T, ctx context.Context, c Carrier, id string) {
	t.Helper()
	if err := c.Put(ctx, line, id, []byte("order "+id)); err != nil {
		t.Fatal(err)
	}
}

// take wants the job with this id as its nth delivery.
func take(t *testing.T, ctx context.Context, c Carrier, id string, deliveries uint64) bus.Job {
	t.Helper()
	j, err := c.Take(ctx, line)
	if err != nil {
		t.Fatal(err)
	}
	if string(j.Data()) != "order "+id || j.Deliveries() != deliveries {
		t.Fatalf("took %q, delivery %d; want %q, delivery %d", j.Data(), j.Deliveries(), "order "+id, deliveries)
	}
	return j
}

// nothing wants no job for some redelivery times.
func nothing(t *testing.T, ctx context.Context, c Carrier, of perso.Name) {
	t.Helper()
	short, cancel := context.WithTimeout(ctx, 2*AckWait)
	defer cancel()
	if j, err := c.Take(short, of); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("took %v, %v; want nothing", j, err)
	}
}

func ack(t *testing.T, ctx context.Context, j bus.Job) {
	t.Helper()
	if err := j.Ack(ctx); err != nil {
		t.Fatal(err)
	}
}

func job(t *testing.T, ctx context.Context, c Carrier) {
	taken := make(chan bus.Job, 1)
	go func() { // waits before there is anything, even before the line was ever heard of
		j, err := c.Take(ctx, line)
		if err != nil {
			t.Errorf("taking early: %v", err)
		}
		taken <- j
	}()
	put(t, ctx, c, "a")
	j := <-taken
	if j == nil {
		return
	}
	ack(t, ctx, j)
	if err := j.Ack(ctx); err == nil {
		t.Error("acknowledged twice")
	}
	put(t, ctx, c, "b")
	put(t, ctx, c, "c")
	ack(t, ctx, take(t, ctx, c, "b", 1))
	ack(t, ctx, take(t, ctx, c, "c", 1))
	nothing(t, ctx, c, line)
}

func redelivery(t *testing.T, ctx context.Context, c Carrier) {
	put(t, ctx, c, "a")
	take(t, ctx, c, "a", 1) // and dies
	take(t, ctx, c, "a", 2)
	ack(t, ctx, take(t, ctx, c, "a", 3))
	nothing(t, ctx, c, line)
}

func inProgress(t *testing.T, ctx context.Context, c Carrier) {
	put(t, ctx, c, "a")
	j := take(t, ctx, c, "a", 1)
	stop, stopped := context.WithCancel(ctx)
	beat := make(chan error, 1)
	go func() {
		tick := time.NewTicker(AckWait / 10)
		defer tick.Stop()
		for {
			select {
			case <-stop.Done():
				beat <- nil
				return
			case <-tick.C:
				if err := j.InProgress(); err != nil {
					beat <- err
					return
				}
			}
		}
	}()
	nothing(t, ctx, c, line)
	stopped()
	if err := <-beat; err != nil {
		t.Errorf("in progress: %v", err)
	}
	ack(t, ctx, j)
	nothing(t, ctx, c, line)
}

func retry(t *testing.T, ctx context.Context, c Carrier) {
	const after = AckWait / 2
	put(t, ctx, c, "a")
	if err := take(t, ctx, c, "a", 1).Retry(after); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	j := take(t, ctx, c, "a", 2)
	if waited := time.Since(begin); waited < after/2 {
		t.Errorf("came again after %v, want %v", waited, after)
	}
	if err := j.Retry(0); err != nil {
		t.Fatal(err)
	}
	ack(t, ctx, take(t, ctx, c, "a", 3))
}

func park(t *testing.T, ctx context.Context, c Carrier) {
	put(t, ctx, c, "a")
	if err := take(t, ctx, c, "a", 1).Park(ctx, "script does not parse"); err != nil {
		t.Fatal(err)
	}
	nothing(t, ctx, c, line)
	visits := 0
	err := c.Parked(ctx, line, func(id, reason string, data []byte) error {
		visits++
		if id != "a" || reason != "script does not parse" || string(data) != "order a" {
			t.Errorf("parked %q, %q, %q", id, reason, data)
		}
		return nil
	})
	if err != nil || visits != 1 {
		t.Errorf("%d parked, %v", visits, err)
	}
	if err := c.Parked(ctx, "line-2", func(string, string, []byte) error { return errors.New("parked elsewhere") }); err != nil {
		t.Error(err)
	}
}

func dedupe(t *testing.T, ctx context.Context, c Carrier) {
	put(t, ctx, c, "a")
	put(t, ctx, c, "a")
	ack(t, ctx, take(t, ctx, c, "a", 1))
	put(t, ctx, c, "a") // also after it was done, within the window
	nothing(t, ctx, c, line)
}

func ownJobs(t *testing.T, ctx context.Context, c Carrier) {
	put(t, ctx, c, "a")
	nothing(t, ctx, c, "line-2")
	ack(t, ctx, take(t, ctx, c, "a", 1))
}
