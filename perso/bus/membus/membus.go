// Package membus carries the bus inside one process, for unit tests and the simulation: no server, no goroutine, and with a
// clock that the caller passes in. Requests are answered in the caller's goroutine; the work queue redelivers like the real
// one. It passes bus/bustest like natsbus does, and nothing durable may rest on it.
package membus

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// Config says how time passes.
type Config struct {
	AckWait time.Duration    // after this a job that was not acknowledged is delivered again
	Now     func() time.Time // time.Now outside the simulation
}

// Bus implements bus.Requester, bus.Server, bus.Queue and bus.Store.
type Bus struct {
	cfg Config

	mu      sync.Mutex
	groups  []*group
	jobs    map[perso.Name][]*job
	seen    map[string]struct{}
	changed chan struct{} // closed when a queue changes, then replaced
	parked  map[perso.Name][]parked
	blobs   map[[sha256.Size]byte][]byte
}

type parked struct {
	id, reason string
	data       []byte
}

// New makes an empty bus.
func New(cfg Config) *Bus {
	return &Bus{
		cfg: cfg, jobs: map[perso.Name][]*job{}, seen: map[string]struct{}{}, changed: make(chan struct{}),
		parked: map[perso.Name][]parked{}, blobs: map[[sha256.Size]byte][]byte{},
	}
}

// group is one queue group on one subject: its members take turns.
type group struct {
	pattern, queue string
	members        []*bus.Handler
	turn           int
}

// Serve offers h until stop.
func (b *Bus) Serve(subject, queue string, h bus.Handler) (stop func() error, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.groups, func(g *group) bool { return g.pattern == subject && g.queue == queue })
	if i < 0 {
		i = len(b.groups)
		b.groups = append(b.groups, &group{pattern: subject, queue: queue})
	}
	g, member := b.groups[i], &h
	g.members = append(g.members, member)
	return func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		g.members = slices.DeleteFunc(g.members, func(m *bus.Handler) bool { return m == member })
		return nil
	}, nil
}

// Request calls one member of each matching group and returns the answer of the first.
func (b *Bus) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	if len(data) > bus.MaxMessageBytes {
		return nil, bus.Refuse(bus.FaultBadMessage, "request of %d bytes exceeds %d", len(data), bus.MaxMessageBytes)
	}
	handlers := b.pick(subject)
	if len(handlers) == 0 {
		return nil, fmt.Errorf("requesting %q: %w: nobody serves it", subject, bus.ErrNoAnswer)
	}
	var first []byte
	for i, h := range handlers {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("requesting %q: %w: %w", subject, bus.ErrNoAnswer, err)
		}
		answer, err := reply(h(bus.WithSubject(ctx, subject), bytes.Clone(data)))
		if err != nil {
			return nil, err
		}
		if i == 0 {
			first = bytes.Clone(answer)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("requesting %q: %w: %w", subject, bus.ErrNoAnswer, err)
	}
	return first, nil
}

func (b *Bus) pick(subject string) []bus.Handler {
	b.mu.Lock()
	defer b.mu.Unlock()
	var picked []bus.Handler
	for _, g := range b.groups {
		if len(g.members) > 0 && matches(g.pattern, subject) {
			picked = append(picked, *g.members[g.turn%len(g.members)])
			g.turn++
		}
	}
	return picked
}

func reply(answer []byte, err error) ([]byte, error) {
	if err == nil && len(answer) > bus.MaxMessageBytes {
		err = bus.Refuse(bus.FaultInternal, "answer of %d bytes exceeds %d", len(answer), bus.MaxMessageBytes)
	}
	if err != nil {
		return bus.FaultReply(err)
	}
	return answer, nil
}

// matches knows the wildcards of subjects: * is one token, a final > one or more.
func matches(pattern, subject string) bool {
	want, have := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, w := range want {
		switch {
		case i >= len(have):
			return false
		case w == ">":
			return true
		case w != "*" && w != have[i]:
			return false
		}
	}
	return len(want) == len(have)
}

// PutBlob stores data under its hash.
func (b *Bus) PutBlob(_ context.Context, hash [sha256.Size]byte, data []byte) error {
	if sha256.Sum256(data) != hash {
		return bus.Refuse(bus.FaultConflict, "putting blob %x: the content has another hash", hash)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.blobs[hash] = bytes.Clone(data)
	return nil
}

// GetBlob returns what was put; the error is a Fault not-found otherwise.
func (b *Bus) GetBlob(_ context.Context, hash [sha256.Size]byte) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	data, ok := b.blobs[hash]
	if !ok {
		return nil, bus.Refuse(bus.FaultNotFound, "no blob %x", hash)
	}
	return bytes.Clone(data), nil
}

// Parked visits the jobs that were parked for a line, oldest first.
func (b *Bus) Parked(_ context.Context, line perso.Name, visit func(id, reason string, data []byte) error) error {
	b.mu.Lock()
	list := slices.Clone(b.parked[line])
	b.mu.Unlock()
	for _, p := range list {
		if err := visit(p.id, p.reason, bytes.Clone(p.data)); err != nil {
			return err
		}
	}
	return nil
}

var errDone = errors.New("the job is acknowledged already")
