package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// stormHead drives one head through chips as a line does: it asks every question once, twice or three times at once, and
// again until it is answered.
type stormHead struct {
	b      *bench
	number uint16
	rand   *rand.Rand
	good   *atomic.Int64
	turn   *atomic.Int64 // whose turn it is to be asked
	peers  []*Ledger
}

// ledger gives each question to the next process, as a queue group does.
func (h *stormHead) ledger() *Ledger { return h.peers[h.turn.Add(1)%int64(len(h.peers))] }

// maxAsked is far more than any question, or any hold, needs in a storm.
const maxAsked = 10_000

var errStorm = errors.New("storm")

// ask repeats a question, also beside itself. Whoever is answered must be answered alike.
func (h *stormHead) ask(do func() (bus.ActReply, error)) (bus.ActReply, error) {
	for tries := 0; ; tries++ {
		n := 1 + h.rand.IntN(3)
		replies, errs := make([]bus.ActReply, n), make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { replies[i], errs[i] = do() })
		}
		wg.Wait()
		var got *bus.ActReply
		for i := range n {
			switch {
			case isRefusal(errs[i]):
				return bus.ActReply{}, errs[i]
			case errs[i] != nil && !errors.Is(errs[i], errStorm) && !errors.Is(errs[i], ledgertest.ErrInjected):
				return bus.ActReply{}, errs[i]
			case errs[i] == nil && got != nil && !alike(*got, replies[i]):
				return bus.ActReply{}, fmt.Errorf("two answers to one question: %s, %s", told(*got), told(replies[i]))
			case errs[i] == nil:
				got = &replies[i]
			}
		}
		switch {
		case got != nil:
			return *got, nil
		case tries == maxAsked:
			return bus.ActReply{}, fmt.Errorf("never answered: %w", errs[0])
		}
	}
}

func told(a bus.ActReply) string {
	if a.Verdict == nil {
		return fmt.Sprintf("%d commands", len(a.Window))
	}
	return fmt.Sprintf("%s for %s (%s)", a.Verdict.Verdict, a.Verdict.Reason, a.Verdict.Text)
}

// alike compares what two who asked the same were told. A hold is no answer yet: what stood in the way may be gone for the
// other one.
func alike(x, y bus.ActReply) bool {
	switch {
	case held(x) || held(y):
		return true
	case x.Verdict == nil || y.Verdict == nil:
		return reflect.DeepEqual(x, y)
	}
	return x.Verdict.Verdict == y.Verdict.Verdict && bytes.Equal(x.Verdict.Entry, y.Verdict.Entry)
}

func held(a bus.ActReply) bool { return a.Verdict != nil && a.Verdict.Verdict == perso.VerdictHold }

// chip leads one chip to its bin; over says that the lot wants no more.
func (h *stormHead) chip(c *chip) (over bool, err error) {
	for contact := uint8(1); contact < 20; contact++ {
		p := h.b.at(h.number)
		v, err := h.contact(c, p, contact)
		if err != nil {
			return false, err
		}
		switch v.Verdict {
		case perso.VerdictRecontact:
			continue
		case perso.VerdictGood, perso.VerdictRejectLive, perso.VerdictRejectBlank, perso.VerdictReturn:
			if v.Verdict == perso.VerdictGood {
				h.good.Add(1)
			}
			_, err := h.ask(func() (bus.ActReply, error) {
				_, err := h.ledger().Bin(context.Background(), bus.BinRequest{Lot: h.b.lot, Present: p, Bin: v.Verdict})
				return bus.ActReply{}, err
			})
			return v.Verdict == perso.VerdictReturn, err
		default:
			return false, fmt.Errorf("chip %s: %+v", c.id(), v)
		}
	}
	return false, fmt.Errorf("chip %s: contacted without end", c.id())
}

// contact is one presentation: a session, or a mute chip.
func (h *stormHead) contact(c *chip, p perso.Presentation, tries uint8) (bus.Verdict, error) {
	if h.rand.IntN(20) == 0 {
		q := bus.PresentRequest{Lot: h.b.lot, Present: p, Reason: perso.ReasonMute, Tries: tries}
		a, err := h.ask(func() (bus.ActReply, error) { return h.ledger().Present(context.Background(), q) })
		if err != nil {
			return bus.Verdict{}, err
		}
		return *a.Verdict, nil
	}
	q := h.b.begin(c, p)
	for range maxAsked {
		a, err := h.ask(func() (bus.ActReply, error) { return h.ledger().Act(context.Background(), q) })
		switch {
		case err != nil:
			return bus.Verdict{}, err
		case a.Verdict == nil:
			q = next(q, fmt.Sprint("answer ", h.rand.IntN(1000)))
		case a.Verdict.Verdict != perso.VerdictHold:
			return *a.Verdict, nil
		}
	}
	return bus.Verdict{}, fmt.Errorf("held without end at act %d: session %+v", q.N, q.Session)
}

// TestStorm makes a lot at many heads at once while the vault is lost, restarted and contradicted by chips, and the
// database fails now and then: nothing is made twice, nothing is made beyond the release, and all of it is told once.
func TestStorm(t *testing.T) {
	t.Parallel()
	const heads, good, spares = 16, 120, 90
	b := newBench(t, spec{good: good, spares: spares})
	chips := b.stock(good + spares + 2*heads)
	b.open(ledgertest.WithFaults(b.db, func(op ledgertest.Op) ledgertest.Fault {
		switch {
		case op.Write && op.N%37 == 0:
			return ledgertest.AmbiguousWritten
		case op.Write && op.N%53 == 0:
			return ledgertest.Lost
		case op.Write && op.N%11 == 0:
			return ledgertest.Twice
		}
		return ledgertest.None
	}))
	b.storm(chips, heads, []*Ledger{b.l})
	b.open(b.db)
	s := b.status()
	if s.State != perso.LotComplete || s.Good != good || s.Open != 0 || s.Bins[perso.VerdictGood] != good {
		t.Errorf("status %+v", s)
	}
	b.check()
}

// storm leads chips through heads that ask any of the ledgers, while the vault misbehaves, and demands that as many are good on
// record as were told.
func (b *bench) storm(chips []*chip, heads int, peers []*Ledger) {
	t := b.t
	var calls, made, turn atomic.Int64
	b.vault.acts = 3
	b.vault.fail = func(verb string) error {
		switch n := calls.Add(1); {
		case verb != "challenges" && n%13 == 0:
			return fmt.Errorf("%s: %w", verb, errStorm)
		case n%101 == 0:
			b.vault.restart()
		}
		return nil
	}
	for i, c := range chips {
		switch {
		case i%7 == 0:
			b.vault.say(c, bus.ServeResult{Failed: &bus.Failed{Reason: perso.ReasonStatus}})
		case i%5 == 0:
			b.vault.say(c, bus.ServeResult{Failed: &bus.Failed{Reason: perso.ReasonRMAC, Again: true}})
		}
	}
	var wg sync.WaitGroup
	for k := range heads {
		h := &stormHead{b: b, number: uint16(k), rand: rand.New(rand.NewPCG(uint64(k), 1)), good: &made, turn: &turn, peers: peers}
		wg.Go(func() {
			for i := k; i < len(chips) && !t.Failed(); i += heads {
				over, err := h.chip(chips[i])
				if err != nil {
					t.Errorf("head %d: %v", k, err)
					return
				}
				if over {
					return
				}
			}
		})
	}
	wg.Wait()
	s := b.status()
	if s.Bins[perso.VerdictGood] != uint64(made.Load()) {
		t.Errorf("%d told good; status %+v", made.Load(), s)
	}
	t.Logf("%d EIDs used, %d lost, bins %v, %d acts served, log of %d", s.EIDsUsed, s.Lost, s.Bins, b.vault.served, s.LogSize)
}
