package lineside

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/persoline/persoline/lineside/journal"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/bus/membus"
)

// unreliable loses every so many requests: one before it was heard, the next after it was carried out.
type unreliable struct {
	bus.Requester
	every uint64
	n     atomic.Uint64
	away  atomic.Bool
}

func (u *unreliable) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	n := u.n.Add(1)
	if u.away.Load() || u.every > 0 && n%(2*u.every) == 0 {
		return nil, bus.ErrNoAnswer
	}
	answer, err := u.Requester.Request(ctx, subject, data)
	if u.every > 0 && n%u.every == 0 {
		return nil, bus.ErrNoAnswer
	}
	return answer, err
}

// factory is a worker's whole world.
type factory struct {
	t       testing.TB
	machine *machine
	book    *book
	bus     *membus.Bus
	way     *unreliable
	store   *diskless
	cfg     Config
}

// diskless is journal storage that survives a worker, and breaks on demand.
type diskless struct {
	mu    sync.Mutex
	data  []byte
	fail  bool
	after bool // fail after writing
}

func (d *diskless) Read() ([]byte, error) { return bytes.Clone(d.data), nil }

func (d *diskless) Append(b []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.fail || d.after {
		d.data = append(d.data, b...)
	}
	if d.fail {
		d.fail = false
		return errors.New("disk fault")
	}
	return nil
}

func (d *diskless) Replace(b []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.data = bytes.Clone(b)
	return nil
}

func newFactory(t testing.TB, quantity, reel int) *factory {
	f := &factory{t: t, book: newBook(t, quantity), bus: membus.New(membus.Config{AckWait: 30 * time.Second, Now: time.Now})}
	f.machine = &machine{t: t, reel: reel, heads: map[uint16]uint32{}, approved: f.book.approved, mute: func(uint32) bool { return false }}
	f.way = &unreliable{Requester: f.bus}
	dir := t.TempDir()
	if err := journal.Create(dir, 100); err != nil {
		t.Fatal(err)
	}
	f.store = &diskless{data: mustDo(os.ReadFile(filepath.Join(dir, "journal")))}
	f.cfg = Config{Line: testLine, Heads: 4, Env: perso.EnvTest, Trust: f.book.log.trust(), Machine: f.machine, Ledger: f.way, Queue: f.bus,
		Scripts: f.bus, Random: rand.NewChaCha8([32]byte{1}), Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	order, compiled := testOrder(uint64(quantity), f.book.log.trust())
	if err := errors.Join(f.book.serve(f.bus), f.bus.PutBlob(t.Context(), order.Script, compiled)); err != nil {
		t.Fatal(err)
	}
	f.putOrder("first", order)
	return f
}

func (f *factory) putOrder(key string, order bus.WorkOrder) {
	f.t.Helper()
	if err := f.bus.Put(f.t.Context(), testLine, key, mustDo(bus.Encode(order))); err != nil {
		f.t.Fatal(err)
	}
}

func (f *factory) start() (*Worker, func() error) {
	f.t.Helper()
	j, err := journal.OpenStorage(f.store)
	if err != nil {
		f.t.Fatal(err)
	}
	f.cfg.Journal = j
	w, err := New(f.cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return w, func() error { cancel(); return <-done }
}

// until lets time pass until the condition holds.
func (f *factory) until(what string, holds func() bool) {
	f.t.Helper()
	for range 20_000 {
		synctest.Wait()
		if holds() {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	f.t.Fatalf("never came: %s", what)
}

func (f *factory) counted() bool {
	f.book.mu.Lock()
	defer f.book.mu.Unlock()
	return len(f.book.counts) > 0
}

// audit compares handler, ledger and reported count: the numbers must close (I6).
func (f *factory) audit(quantity int) {
	f.t.Helper()
	in, good, blank, live, returned := f.machine.counted()
	want := bus.CountRequest{Lot: testLot, Source: "handler", In: in, Good: good, RejectBlank: blank, RejectLive: live, Return: returned}
	if got := f.book.counts[len(f.book.counts)-1]; got != want {
		f.t.Errorf("reported %+v, handler says %+v", got, want)
	}
	if good != uint64(quantity) || in != good+blank+live+returned {
		f.t.Errorf("%d good of %d; in %d = %d + %d + %d + %d", good, quantity, in, good, blank, live, returned)
	}
	binned := map[perso.Verdict]uint64{}
	for p, v := range f.book.verdicts {
		if f.book.binned[p] == v.Verdict {
			binned[v.Verdict]++
		}
	}
	byHandler := map[perso.Verdict]uint64{perso.VerdictGood: good, perso.VerdictRejectBlank: blank, perso.VerdictRejectLive: live, perso.VerdictReturn: returned}
	maps.DeleteFunc(byHandler, func(_ perso.Verdict, n uint64) bool { return n == 0 })
	if !maps.Equal(binned, byHandler) {
		f.t.Errorf("ledger knows bins %v, handler %v", binned, byHandler)
	}
}

func TestWorkerMakesALot(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*factory){
		"smoothly":             func(*factory) {},
		"over a lossy bus":     func(f *factory) { f.way.every = 3 },
		"on a jamming machine": func(f *factory) { f.machine.faults = 7 },
		"with bad contacts":    func(f *factory) { f.machine.breaks = 6 },
		"with mute chips":      func(f *factory) { f.machine.mute = func(chip uint32) bool { return chip%4 == 0 } },
		"with all of that": func(f *factory) {
			f.way.every, f.machine.faults, f.machine.breaks = 5, 11, 9
			f.machine.mute = func(chip uint32) bool { return chip%7 == 0 }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFactory(t, 30, 200)
				set(f)
				w, stop := f.start()
				f.until("the count", f.counted)
				f.until("the next work order is waited for", func() bool { return w.Snapshot().Phase == "taking" })
				if err := stop(); err != nil {
					t.Fatal(err)
				}
				f.audit(30)
			})
		})
	}
}

// TestWorkerFinishesWhatItHolds stops a worker in the middle of a lot: no chip is left half-written. While nobody answers,
// waiting is of no use.
func TestWorkerFinishesWhatItHolds(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]bool{"with a ledger": false, "without": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFactory(t, 30, 200)
				f.cfg.Patience, f.way.every = time.Hour, 7 // a lossy bus, so that time passes; not one that loses hopelessTries of one head in a row
				w, stop := f.start()
				// All heads may be at once where a bin is to be reported; then there is no chip to finish or to leave.
				f.until("some good chips, and one in hand", func() bool {
					in, good, blank, live, returned := f.machine.counted()
					return good >= 10 && in > good+blank+live+returned
				})
				f.way.away.Store(away)
				began := time.Now()
				if err := stop(); err != nil || time.Since(began) > time.Minute {
					t.Fatalf("stopped after %v: %v", time.Since(began), err)
				}
				in, good, blank, live, returned := f.machine.counted()
				if left := in - good - blank - live - returned; (left > 0) != away || good == 30 {
					t.Errorf("%d chips are left under heads, %d are good: %+v", left, good, w.Snapshot().Heads)
				}
				f.way.away.Store(false)
				_, stop = f.start()
				f.until("the count", f.counted)
				if err := stop(); err != nil {
					t.Fatal(err)
				}
				f.audit(30)
			})
		})
	}
}

// TestWorkerResumesFirst kills a worker in the middle of one order while the next waits in the queue, which will not give
// the first one again for a while: the chips under the heads and the handler's count are the first one's.
func TestWorkerResumesFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFactory(t, 30, 200)
		f.way.every = 3
		_, stop := f.start()
		f.until("some good chips", func() bool { _, good, _, _, _ := f.machine.counted(); return good >= 10 })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		next, _ := testOrder(0, f.book.log.trust())
		next.ID = "next"
		f.putOrder("next", next)
		_, stop = f.start()
		f.until("both counts", func() bool { f.book.mu.Lock(); defer f.book.mu.Unlock(); return len(f.book.counts) >= 2 })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		in, _, _, _, _ := f.machine.counted()
		first, second := f.book.counts[0], f.book.counts[1]
		if len(f.book.counts) != 2 || first.Good != 30 || second.Good != 0 || first.In+second.In != in {
			t.Errorf("counted %+v of %d chips", f.book.counts, in)
		}
	})
}

// TestWorkerResumesWithSamples: a worker that was started again tells how many units of its order are good, and those that were drawn as samples
// are among them.
func TestWorkerResumesWithSamples(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFactory(t, 30, 200)
		f.book.draw, f.way.every = 2, 3
		_, stop := f.start()
		f.until("some samples", func() bool { return f.machine.samples() >= 5 })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		_, good, _, _, _ := f.machine.counted()
		made := good + f.machine.samples()
		w, stop := f.start()
		f.until("the order in hand", func() bool { return w.Snapshot().Lot != "" })
		if s := w.Snapshot(); s.Good < made {
			t.Errorf("of %d units that were made, %d of them samples, %d are told", made, f.machine.samples(), s.Good)
		}
		f.until("the count", f.counted)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if c := f.book.counts[0]; c.Good+c.Sample != 30 || c.Sample != 15 {
			t.Errorf("counted %+v", c)
		}
	})
}

// TestWorkerRestarts kills the worker at random moments, the journal's disk now and then, and starts it again.
func TestWorkerRestarts(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 1))
				f := newFactory(t, 40, 400)
				f.way.every, f.machine.faults, f.machine.breaks = 4, 9, 11
				for kills := 0; kills < 60 && !f.counted(); kills++ {
					_, stop := f.start()
					<-time.After(time.Duration(rng.IntN(400)) * time.Millisecond)
					f.store.mu.Lock()
					f.store.fail, f.store.after = rng.IntN(3) == 0, rng.IntN(2) == 0
					f.store.mu.Unlock()
					<-time.After(time.Duration(rng.IntN(60)) * time.Millisecond)
					if err := stop(); err != nil && !errors.Is(err, journal.ErrBroken) {
						t.Fatal(err)
					}
					f.store.fail = false
				}
				_, stop := f.start()
				f.until("the count", f.counted)
				<-time.After(time.Minute)
				if err := stop(); err != nil {
					t.Fatal(err)
				}
				f.audit(40)
			})
		})
	}
}

// TestWorkerWithoutLedger: heads hold their chips, and go on when it is back.
func TestWorkerWithoutLedger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFactory(t, 10, 100)
		f.way.away.Store(true)
		var status atomic.Pointer[[]byte]
		f.cfg.Status = func(b []byte) { status.Store(&b) }
		_, stop := f.start()
		<-time.After(10 * time.Minute)
		var snap Snapshot
		if err := json.Unmarshal(*status.Load(), &snap); err != nil {
			t.Fatal(err)
		}
		if in, _, _, _, _ := f.machine.counted(); in != 4 {
			t.Errorf("%d chips were indexed for 4 heads without a verdict", in)
		}
		for _, h := range snap.Heads {
			if h.State != StateWaiting || h.Equipment != StandbyHost || h.SpentMS[StandbyHost] < 599_000 {
				t.Errorf("head %+v", h)
			}
		}
		if snap.Lot != testLot || snap.Quantity != 10 || time.Since(snap.At) > statusEvery {
			t.Errorf("snapshot %+v", snap)
		}
		f.way.away.Store(false)
		f.until("the count", f.counted)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		f.audit(10)
	})
}

// TestWorkerOrders: orders that are not ours are parked, those without script come again, copies of a done one go.
func TestWorkerOrders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFactory(t, 5, 1000)
		good, compiled := testOrder(5, f.book.log.trust())
		with := func(change func(*bus.WorkOrder)) bus.WorkOrder {
			order := good
			change(&order)
			return order
		}
		f.putOrder("copy", good)
		f.putOrder("production", with(func(o *bus.WorkOrder) { o.ID, o.Env = "p", perso.EnvProduction }))
		f.putOrder("other log", with(func(o *bus.WorkOrder) { o.ID, o.LogKey = "k", newLog(2).trust().Key }))
		f.putOrder("bad", with(func(o *bus.WorkOrder) { o.ID, o.ATR = "a", "00" }))
		junk := sha256.Sum256([]byte("junk"))
		f.putOrder("junk script", with(func(o *bus.WorkOrder) { o.ID, o.Script = "j", junk }))
		f.putOrder("no script yet", with(func(o *bus.WorkOrder) { o.ID, o.Script[0] = "n", o.Script[0]^1 }))
		if err := errors.Join(f.bus.PutBlob(t.Context(), junk, []byte("junk")), f.bus.Put(t.Context(), testLine, "noise", []byte("noise"))); err != nil {
			t.Fatal(err)
		}
		_, stop := f.start()
		f.until("the count", f.counted)
		<-time.After(time.Minute)
		if n := len(f.book.counts); n != 1 {
			t.Errorf("%d counts: a copy of the order was worked on", n)
		}
		parked := map[string]string{}
		err := f.bus.Parked(t.Context(), testLine, func(id, reason string, _ []byte) error {
			parked[id] = reason
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"production", "other log", "bad", "junk script", "noise"} {
			if parked[id] == "" {
				t.Errorf("order %q is not parked: %v", id, parked)
			}
			delete(parked, id)
		}
		if len(parked) > 0 {
			t.Errorf("parked beside: %v", parked)
		}
		again := with(func(o *bus.WorkOrder) { o.ID, o.Quantity = "again", 0 })
		if err := f.bus.PutBlob(t.Context(), again.Script, compiled); err != nil {
			t.Fatal(err)
		}
		f.putOrder("again", again)
		f.until("the count of the next order", func() bool { f.book.mu.Lock(); defer f.book.mu.Unlock(); return len(f.book.counts) == 2 })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if c := f.book.counts[1]; c.Good != 0 || c.In != c.Return || c.In != 4 {
			t.Errorf("the second count is not of the second order alone: %+v", c)
		}
	})
}

// TestOperate leaves one head out and pauses two while each has its first chip on its way: that is finished, and the last head makes the lot.
func TestOperate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFactory(t, 60, 100)
		f.machine.pace = time.Second // or heads might make any number before the first command is given
		w, stop := f.start()
		synctest.Wait()
		if err := errors.Join(w.Operate(0, Disable), w.Operate(1, Pause), w.Operate(2, Pause)); err != nil {
			t.Fatal(err)
		}
		if err := w.Operate(9, Pause); err == nil || !strings.Contains(err.Error(), "heads 0 to 3") {
			t.Errorf("head 9: %v", err)
		}
		if err := w.Operate(0, "abort"); err == nil {
			t.Error("an unknown command was taken")
		}
		f.until("the count", f.counted)
		snap := w.Snapshot()
		if h := snap.Heads; h[0].Good != 1 || h[1].Good != 1 || h[2].Good != 1 || h[3].Good != 57 || h[0].State != StateStopped || !h[1].Paused {
			t.Errorf("heads %+v", h)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		f.audit(60)
	})
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	f := newFactory(t, 1, 1)
	f.cfg.Journal = mustDo(journal.OpenStorage(f.store))
	for name, change := range map[string]func(*Config){
		"no machine": func(c *Config) { c.Machine = nil },
		"no key":     func(c *Config) { c.Trust.Key = nil },
		"no env":     func(c *Config) { c.Env = "" },
		"no heads":   func(c *Config) { c.Heads = 0 },
	} {
		cfg := f.cfg
		change(&cfg)
		if err := Run(t.Context(), cfg); err == nil {
			t.Errorf("%s: it ran", name)
		}
	}
}

// BenchmarkWorker makes b.N chips on 16 heads with a journal on disk; its doubles sign and prove each verdict, too.
func BenchmarkWorker(b *testing.B) {
	f := newFactory(b, b.N, b.N+100)
	dir := b.TempDir()
	if err := journal.Create(dir, 0); err != nil {
		b.Fatal(err)
	}
	j, err := journal.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	f.cfg.Journal, f.cfg.Heads = j, 16
	w, err := New(f.cfg)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	b.ResetTimer()
	go func() { done <- w.Run(ctx) }()
	for !f.counted() {
		<-time.After(time.Millisecond)
	}
	b.StopTimer()
	cancel()
	if err := errors.Join(<-done, j.Close()); err != nil {
		b.Fatal(err)
	}
}

// TestWorkerAtAnEmptyReel: a line whose reel is used up waits for another one, and ends its order without a chip when the lot was ended.
func TestWorkerAtAnEmptyReel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFactory(t, 30, 12)
		w, stop := f.start()
		<-time.After(10 * time.Minute)
		if s := w.Snapshot(); f.counted() || s.Over || s.Heads[0].State != StateEmpty {
			t.Fatalf("with a lot that wants more: %+v", s)
		}
		f.way.away.Store(true)
		f.book.mu.Lock()
		f.book.over = true
		f.book.mu.Unlock()
		<-time.After(10 * time.Minute)
		f.way.away.Store(false)
		f.until("the count", f.counted)
		f.until("the next work order is waited for", func() bool { return w.Snapshot().Phase == "taking" })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		f.audit(12)
	})
}
