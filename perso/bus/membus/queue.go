package membus

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// job is a stored work order, and at the same time every delivery of it.
type job struct {
	bus        *Bus
	line       perso.Name
	id         string
	data       []byte
	deliveries uint64
	visible    time.Time // not delivered before
	done       bool
}

// Put stores a job; an id that was ever put before is dropped.
func (b *Bus) Put(_ context.Context, line perso.Name, id string, data []byte) error {
	if len(data) > bus.MaxMessageBytes {
		return bus.Refuse(bus.FaultBadMessage, "job of %d bytes exceeds %d", len(data), bus.MaxMessageBytes)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, again := b.seen[id]; again {
		return nil
	}
	b.seen[id] = struct{}{}
	b.jobs[line] = append(b.jobs[line], &job{bus: b, line: line, id: id, data: bytes.Clone(data), visible: b.cfg.Now()})
	b.announce()
	return nil
}

// Take waits for the line's next job. A job that is ready is returned even when ctx is done.
func (b *Bus) Take(ctx context.Context, line perso.Name) (bus.Job, error) {
	for {
		j, changed, wait := b.next(line)
		if j != nil {
			return j, nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("taking a job of %q: %w", line, ctx.Err())
		case <-changed:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// next gives the first job that is due, or else when to look again.
func (b *Bus) next(line perso.Name) (*delivery, <-chan struct{}, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, wait := b.cfg.Now(), b.cfg.AckWait
	for _, j := range b.jobs[line] {
		if due := j.visible.Sub(now); due > 0 {
			wait = min(wait, due)
			continue
		}
		j.visible = now.Add(b.cfg.AckWait)
		j.deliveries++
		return &delivery{j, j.deliveries}, nil, 0
	}
	return nil, b.changed, wait
}

func (b *Bus) announce() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// delivery implements bus.Job.
type delivery struct {
	*job
	number uint64
}

func (d *delivery) Data() []byte { return bytes.Clone(d.data) }

func (d *delivery) Deliveries() uint64 { return d.number }

func (d *delivery) InProgress() error { return d.postpone(d.bus.cfg.AckWait) }

func (d *delivery) Retry(after time.Duration) error { return d.postpone(after) }

func (d *delivery) postpone(by time.Duration) error {
	b := d.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	if d.done {
		return errDone
	}
	d.visible = b.cfg.Now().Add(by)
	b.announce()
	return nil
}

func (d *delivery) Ack(context.Context) error {
	d.bus.mu.Lock()
	defer d.bus.mu.Unlock()
	return d.remove()
}

func (d *delivery) Park(_ context.Context, reason string) error {
	b := d.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := d.remove(); err != nil {
		return err
	}
	b.parked[d.line] = append(b.parked[d.line], parked{d.id, reason, d.data})
	return nil
}

func (d *delivery) remove() error {
	if d.done {
		return errDone
	}
	d.done = true
	d.bus.jobs[d.line] = slices.DeleteFunc(d.bus.jobs[d.line], func(j *job) bool { return j == d.job })
	return nil
}
