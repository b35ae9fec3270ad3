package keygen_test

import (
	"context"
	"fmt"
	mrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/secret"
)

// farToken is a token at the end of a network. It does farEngines operations at once, each takes latency, and what comes
// meanwhile waits in the device; farSessions callers can be at it. An engine goes on with what waits whenever it is done,
// however late the caller is woken to whom it answered: that the machine of the bench is busy does not slow the device.
type farToken struct {
	*hsmfake.Token
	far      atomic.Bool
	sessions chan struct{}

	mu   sync.Mutex
	free [farEngines]time.Time // when each engine is done with what it has
}

const (
	latency     = 2 * time.Millisecond
	farEngines  = 4
	farSessions = 8
)

func (t *farToken) travel() {
	if t.far.Load() {
		t.sessions <- struct{}{}
		defer func() { <-t.sessions }()
		time.Sleep(time.Until(t.queue(time.Now())))
	}
}

// queue gives an operation to the engine that is free first, and says when it is done.
func (t *farToken) queue(now time.Time) (done time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := &t.free[0]
	for i := range t.free {
		if t.free[i].Before(*first) {
			first = &t.free[i]
		}
	}
	if first.Before(now) {
		*first = now
	}
	*first = first.Add(latency)
	return *first
}

func (t *farToken) MAC(ctx context.Context, k hsm.Key, msg []byte) ([32]byte, error) {
	t.travel()
	return t.Token.MAC(ctx, k, msg)
}

func (t *farToken) EncryptECB(ctx context.Context, k hsm.Key, blocks []byte) ([]byte, error) {
	t.travel()
	return t.Token.EncryptECB(ctx, k, blocks)
}

func (t *farToken) SignDigest(ctx context.Context, k hsm.Key, digest []byte) ([]byte, error) {
	t.travel()
	return t.Token.SignDigest(ctx, k, digest)
}

func (t *farToken) SignMessage(ctx context.Context, k hsm.Key, msg []byte) ([]byte, error) {
	t.travel()
	return t.Token.SignMessage(ctx, k, msg)
}

func (t *farToken) Unseal(ctx context.Context, k hsm.Key, sealed, aad []byte) (secret.Bytes, error) {
	t.travel()
	return t.Token.Unseal(ctx, k, sealed, aad)
}

// BenchmarkLotsAtLatency serves batches side by side in one vault whose HSM takes 2 ms for each operation, and compares its
// operations with those that bare callers, one for each session, get from the same token in the same run. A lot with one batch
// leaves the HSM idle while its chips answer; with more heads than a batch has, or more lots, others are served meanwhile.
func BenchmarkLotsAtLatency(b *testing.B) {
	for _, c := range []struct{ lots, batches int }{{1, 1}, {1, 2}, {1, 4}, {2, 1}, {8, 1}} {
		b.Run(fmt.Sprintf("lots-%d/batches-%d", c.lots, c.batches), func(b *testing.B) {
			token := &farToken{Token: hsmfake.New(mrand.NewChaCha8([32]byte{1})), sessions: make(chan struct{}, farSessions)}
			r := newRigOn(b, token, "S1")
			r.enlarge(uint64(c.batches * b.N * batchAtLatency))
			var all []group
			for i := range c.lots {
				one := *r
				one.lot, one.release = perso.Name(fmt.Sprintf("LOT-%d", i)), r.later(uint64(i))
				one.release.Lot = one.lot
				one.signed = one.sign(one.release, "ann", "bob")
				one.openLot()
				for k := range c.batches {
					all = append(all, group{rig: one, lot: i, first: k * b.N * batchAtLatency})
				}
			}
			token.far.Store(true)
			bare := bareRate(b, token, r.made.Keys.Receipt)
			wall, operations := served(all, token, b.N)
			bare = (bare + bareRate(b, token, r.made.Keys.Receipt)) / 2
			b.ReportMetric(float64(operations)/wall.Seconds()/bare, "of-bare")
			b.ReportMetric(float64(len(all)*b.N*batchAtLatency)/wall.Seconds(), "cards/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// batchAtLatency are the cards of a lot that come together.
const batchAtLatency = 32

// group is heads of a lot whose chips are in step.
type group struct {
	rig   rig
	lot   int
	first int // number of its first unit
}

// served takes batches of each group to their verdicts, each group at its own pace as in a factory, and gives the time and the
// operations that all took. What the chips and the ledger do, one at a time, is in the time, and others are served meanwhile.
func served(all []group, token *farToken, rounds int) (wall time.Duration, operations uint64) {
	before, began := token.Stats().Total(), time.Now()
	var wg sync.WaitGroup
	var outside sync.Mutex
	for _, g := range all {
		r := &g.rig
		began := r.now
		wg.Go(func() {
			for round := range rounds {
				r.now = began // the rig's clock goes on by a second an act, the vault's stands
				units, items := make([]*unit, batchAtLatency), make([]bus.ServeItem, batchAtLatency)
				outside.Lock()
				for i := range units {
					n := g.first + round*batchAtLatency + i
					c := newCardAs(r.t, testKMC, [10]byte{0x47, 0x90, 0x6D, 0x20, 0, 1, byte(g.lot), byte(n >> 16), byte(n >> 8), byte(n)})
					units[i] = r.claimUnit(c, perso.Unit(n), perso.EIDIndex(n))
					units[i].serial = uint64(n)
					items[i] = units[i].begin()
				}
				outside.Unlock()
				r.toVerdicts(&outside, units, items)
			}
		})
	}
	wg.Wait()
	return time.Since(began), token.Stats().Total() - before
}

// toVerdicts has a batch served to its end. Chips and log are used by one lot at a time.
func (r *rig) toVerdicts(outside *sync.Mutex, units []*unit, items []bus.ServeItem) {
	last := len(r.script.Acts)
	for act := 0; act <= last; act++ {
		outside.Lock()
		note := r.note()
		r.prove(units, items)
		outside.Unlock()
		reply, err := r.vault.Serve(ctx, bus.ServeRequest{Lot: r.lot, Checkpoint: note, Items: items})
		if err != nil {
			r.t.Error(err)
			return
		}
		outside.Lock()
		for i, u := range units {
			result := reply.Results[i]
			if act == last && !result.Good {
				u.t.Errorf("ended with %+v", result)
			}
			if act < last {
				u.keep(result.Stored)
				items[i] = u.next(items[i], result)
			}
		}
		outside.Unlock()
	}
}

// bareRate is how many operations a second callers get who do nothing else, one for each session.
func bareRate(b *testing.B, token *farToken, k hsm.Key) float64 {
	b.Helper()
	const each = 100
	began := time.Now()
	var wg sync.WaitGroup
	for range farSessions {
		wg.Go(func() {
			for range each {
				if _, err := token.MAC(ctx, k, make([]byte, 64)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return float64(farSessions*each) / time.Since(began).Seconds()
}
