package ledger

import (
	"context"
	"sync"
)

// maxBodies bounds the claim entries kept in memory, of some 400 bytes each: those of a factory's chips in work.
const maxBodies = 4_096

// bodies keeps claim entries that are committed, since every act of a session leans on its claim's. They never change.
type bodies struct {
	mu   sync.Mutex
	kept map[int64][]byte
}

func (c *bodies) keep(seq int64, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == nil || len(c.kept) >= maxBodies {
		c.kept = map[int64][]byte{}
	}
	c.kept[seq] = body
}

func (c *bodies) get(seq int64) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept[seq]
}

// claimBody gives a claim's log entry, also one that this batch is about to write.
func (l *Ledger) claimBody(ctx context.Context, b *Batch, seq int64) ([]byte, error) {
	if body := l.bodies.get(seq); body != nil {
		return body, nil
	}
	_, body, err := b.entry(ctx, seq)
	return body, err
}
