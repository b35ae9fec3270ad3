package bench

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
)

// BenchmarkFactory runs every zone in this process, for profiles that show the whole way of a card:
//
//	go test -run '^$' -bench Factory -benchtime 2000x -cpuprofile cpu.out ./perso/cmd/bench
func BenchmarkFactory(b *testing.B) {
	const heads = 16
	f, err := NewFactory(b.Context(), filepath.Join(b.TempDir(), "site"), filepath.Join("..", "..", "..", "deploy"), heads, b.N+2*heads)
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	log, s := slog.New(slog.DiscardHandler), f.Site
	var zones sync.WaitGroup
	for _, zone := range []func() error{
		func() error { return s.ServeBus(ctx, log) }, func() error { return s.ServeVault(ctx, log) }, func() error { return s.ServeLedger(ctx, log) },
		func() error { return s.ServeFarm(ctx, log) }, func() error { return s.ServeLine(ctx, lineName, log) },
	} {
		zones.Go(func() {
			if err := zone(); err != nil && ctx.Err() == nil {
				b.Error(err)
			}
		})
	}
	defer zones.Wait()
	defer stop()
	if err := f.Connect(ctx); err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.ReportAllocs()
	b.ResetTimer()
	lot, err := f.Release(ctx, b.N)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := f.Wait(ctx, lot); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "cards/s")
}
