package bench

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkFactory runs every zone in this process, for profiles that show the whole way of a card:
//
//	go test -run '^$' -bench Factory -benchtime 2000x -cpuprofile cpu.out ./perso/cmd/bench
func BenchmarkFactory(b *testing.B) {
	const heads = 16
	f, err := NewFactory(b.Context(), filepath.Join(b.TempDir(), "site"), filepath.Join("..", "..", "..", "deploy"), 1, heads, b.N+2*heads)
	if err != nil {
		b.Fatal(err)
	}
	log, s := slog.New(slog.DiscardHandler), f.Site
	start(b, func(ctx context.Context) error { return s.ServeBus(ctx, log) })
	start(b, func(ctx context.Context) error { return s.ServeVault(ctx, "", log) })
	start(b, func(ctx context.Context) error { return s.ServeLedger(ctx, log) })
	start(b, func(ctx context.Context) error { return s.ServeFarm(ctx, "", 0, log) })
	start(b, func(ctx context.Context) error { return s.ServeLine(ctx, lineName, log) })
	ctx := b.Context()
	if err := f.Connect(ctx); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() }) // before the bus goes
	b.ReportAllocs()
	b.ResetTimer()
	lot, err := f.Release(ctx, b.N)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := f.Wait(ctx, lot); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "cards/s")
}

// start runs a zone until the benchmark ends; zones end in the order opposite to that in which they began, so that each
// can still take its leave of the others.
func start(b *testing.B, zone func(context.Context) error) {
	ctx, stop := context.WithCancel(context.WithoutCancel(b.Context()))
	over := make(chan error, 1)
	go func() { over <- zone(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-over; err != nil {
			b.Error(err)
		}
	})
}

// TestParseUsage takes a program name that looks like fields, as a hostile or careless program may have.
func TestParseUsage(t *testing.T) {
	t.Parallel()
	stat := []byte("4711 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 9 0 100 1000")
	u, err := parseUsage(stat, []byte("Name:\tx\nVmHWM:\t    1536 kB\nVmRSS:\t 12 kB\n"))
	if err != nil || u.cpu != 3*time.Second || u.peakRSS != 1536<<10 || u.rss != 12<<10 {
		t.Errorf("read %v and %d bytes, %v", u.cpu, u.peakRSS, err)
	}
	for _, bad := range [][2]string{{"1 (x) S 1 2", "VmHWM: 1 kB"}, {string(stat), "VmRSS: 1 kB"}, {"1 (x) S 1 2 3 4 5 6 7 8 9 10 one 50 0", "VmHWM: 1 kB"}, {string(stat), "VmHWM: 1 kB"}} {
		if u, err := parseUsage([]byte(bad[0]), []byte(bad[1])); err == nil {
			t.Errorf("%q and %q gave %v", bad[0], bad[1], u)
		}
	}
}
