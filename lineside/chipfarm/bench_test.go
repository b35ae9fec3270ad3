package chipfarm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// order is what a line sends to the farm between contact and bin: a window, or one command.
type order struct {
	window []bus.Play
	apdu   []byte
}

// orderBook is a line that notes what it sends.
type orderBook struct {
	*Client
	orders []order
}

func (b *orderBook) Play(ctx context.Context, head uint16, window []bus.Play) ([][]byte, error) {
	b.orders = append(b.orders, order{window: window})
	return b.Client.Play(ctx, head, window)
}

func (b *orderBook) Transmit(ctx context.Context, head uint16, apdu []byte) ([]byte, error) {
	b.orders = append(b.orders, order{apdu: apdu})
	return b.Client.Transmit(ctx, head, apdu)
}

// sameRandom gives all chips the same random numbers, and each the same ones whenever it asks.
type sameRandom struct{}

func (sameRandom) Read(b []byte) (int, error) { return rand.NewChaCha8([32]byte{1}).Read(b) }

// twins is a served farm whose chips are all the same chip, so that what one was sent can be sent to the next.
func twins(b *testing.B) (*Farm, *Client) {
	b.Helper()
	dir := b.TempDir()
	if _, err := Create(dir, testSpec(MaxChips)); err != nil {
		b.Fatal(err)
	}
	f, err := Open(dir, sameRandom{})
	if err != nil {
		b.Fatal(err)
	}
	f.maker.share = []FaultSpec{{Kind: FaultTwin, Permille: wholePermille}}
	address := "unix:" + filepath.Join(dir, "s")
	l, err := Listen(address)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- f.Serve(ctx, l, slog.New(slog.DiscardHandler)) }()
	b.Cleanup(func() {
		cancel()
		if err := <-over; err != nil {
			b.Error(err)
		}
		if err := f.Close(); err != nil {
			b.Error(err)
		}
	})
	c, err := Dial(b.Context(), address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	return f, c
}

// BenchmarkFarm is whole chips under 64 heads through the socket, without the host's cryptography: load, contact, the
// shipped script's commands, bin. It reports the CPU time of farm and client together against that of the chip alone,
// which answers the same commands with its memory in the program's.
func BenchmarkFarm(b *testing.B) {
	const heads = 64
	f, c := twins(b)
	book := &orderBook{Client: c}
	if loaded, err := c.Load(b.Context(), 0); err != nil || !loaded {
		b.Fatal(loaded, err)
	}
	if err := newClaim(b, productScript(b), 0).present(b.Context(), book, 0); err != nil {
		b.Fatal(err)
	}
	if err := c.Bin(b.Context(), 0, perso.BinGood); err != nil {
		b.Fatal(err)
	}
	floor := chipFloor(b, f, book.orders)
	b.SetParallelism(max(1, heads/runtime.GOMAXPROCS(0)))
	var last atomic.Uint32
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime(b)
	b.RunParallel(func(pb *testing.PB) {
		head := uint16(last.Add(1))
		for pb.Next() {
			if err := present(b.Context(), c, head, book.orders); err != nil {
				b.Error(err)
				return
			}
		}
	})
	perCard := float64(cpuTime(b)-before) / float64(b.N)
	b.ReportMetric(perCard, "cpu-ns/card")
	b.ReportMetric(floor, "chip-cpu-ns/card")
	b.ReportMetric(perCard/floor, "x-chip")
}

// present takes the next chip through orders.
func present(ctx context.Context, c *Client, head uint16, orders []order) error {
	loaded, err := c.Load(ctx, head)
	if err == nil && !loaded {
		err = errors.New("the reel is empty")
	}
	if err == nil {
		_, err = c.Contact(ctx, head)
	}
	for _, o := range orders {
		if err != nil {
			return err
		}
		if o.window == nil {
			_, err = c.Transmit(ctx, head, o.apdu)
			continue
		}
		var responses [][]byte
		if responses, err = c.Play(ctx, head, o.window); err == nil && len(responses) != len(o.window) {
			err = fmt.Errorf("%d of %d commands were answered", len(responses), len(o.window))
		}
	}
	return errors.Join(err, c.Bin(ctx, head, perso.BinGood))
}

// chipFloor is the CPU time of a chip without a farm, in nanoseconds.
func chipFloor(b *testing.B, f *Farm, orders []order) float64 {
	b.Helper()
	const rounds = 500
	p, err := f.maker.personality(0)
	if err != nil {
		b.Fatal(err)
	}
	runtime.GC() // of what making the farm left
	before := cpuTime(b)
	for range rounds {
		chip, err := cardsim.New(p, &cardsim.Memory{}, sameRandom{})
		if err != nil {
			b.Fatal(err)
		}
		chip.PowerOn()
		for _, o := range orders {
			for _, play := range append(o.window, bus.Play{APDU: o.apdu})[:max(1, len(o.window))] {
				if resp, _ := chip.Process(play.APDU); resp == nil {
					b.Fatal("the chip does not answer")
				}
			}
		}
	}
	return float64(cpuTime(b)-before) / rounds
}

// cpuTime is what the process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
