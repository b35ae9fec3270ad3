// Package bench measures the whole factory against floors that it takes in the same run: what the chips, the token and
// the disk would need by themselves. Bare numbers say much about a machine and little about a program; ratios last.
//
// It makes a throw-away site with real processes, lets it program two lots, the second ten times the first, and reads the
// processes' own accounts (proc(5)). With several vaults each makes a lot at the same time. Only perso/cmd calls it.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/cmd/site"
)

// Options say how much is measured.
type Options struct {
	Units     int // of the measured lot, or lots together
	Heads     int
	Vaults    int    // 1: one lot at a time; more: as many lots side by side, each with its line
	Catalogue string // folder with products and partners
	Talk      io.Writer
}

// Limits and shares.
const (
	// MaxUnits keeps the virtual chips' files within a usual disk: some 10 KiB each.
	MaxUnits = 1_000_000
	// warmShare is how many times the first lot fits into the measured one.
	warmShare = 10
	// spareChips are on the reel beyond the units: each head takes one more when a lot is complete.
	spareChips = 3
)

// Check refuses options that make no sense.
func (o Options) Check() error {
	if o.Units < warmShare || o.Units > MaxUnits {
		return fmt.Errorf("--units: %d is not within %d to %d", o.Units, warmShare, MaxUnits)
	}
	if o.Heads < 1 || o.Heads > site.MaxHeads {
		return fmt.Errorf("--heads: %d is not within 1 to %d", o.Heads, site.MaxHeads)
	}
	if o.Vaults < 1 || o.Vaults > site.MaxVaults || o.Heads%o.Vaults != 0 || o.Units%(warmShare*o.Vaults) != 0 {
		return fmt.Errorf("--vaults: %d is not within 1 to %d, or %d heads and a tenth of %d units cannot be shared among them", o.Vaults, site.MaxVaults, o.Heads, o.Units)
	}
	return nil
}

// run is one measurement under way.
type run struct {
	Options
	factory *Factory
	sup     *site.Supervisor
}

// Run measures. Its folder is gone when it returns.
func Run(ctx context.Context, o Options) (r Report, err error) {
	dir, err := os.MkdirTemp("", "perso-bench-")
	if err != nil {
		return r, fmt.Errorf("making a folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &run{Options: o}
	r = Report{Units: o.Units, Heads: o.Heads, Vaults: o.Vaults, CPUs: runtime.NumCPU(), LoadBefore: load()}
	b.say("floor    fsync")
	if r.FsyncMS, err = fsyncFloor(filepath.Join(dir, "fsync")); err != nil {
		return r, fmt.Errorf("measuring the disk: %w", err)
	}
	small := o.Units / warmShare
	heads := o.Heads / o.Vaults
	chips := (small+o.Units)/o.Vaults + 2*spareChips*heads
	b.say("site     %d vaults, a line for each with %d heads and %d chips", o.Vaults, heads, chips)
	if b.factory, err = NewFactory(ctx, filepath.Join(dir, "site"), o.Catalogue, o.Vaults, heads, chips); err != nil {
		return r, fmt.Errorf("making a site: %w", err)
	}
	b.say("floor    chip")
	if r.Chip, err = chipFloor(b.factory); err != nil {
		return r, fmt.Errorf("measuring a chip: %w", err)
	}
	if err := b.produce(ctx, small, &r); err != nil {
		return r, err
	}
	b.say("floor    token")
	if r.Token, err = tokenFloor(ctx, filepath.Join(dir, "token"), b.factory.Site.Config.Module, r.Operations); err != nil {
		return r, fmt.Errorf("measuring the token: %w", err)
	}
	r.conclude(b.vaults())
	return r, nil
}

// produce runs the zones and makes the two lots.
func (b *run) produce(ctx context.Context, small int, r *Report) (err error) {
	zones, stop := context.WithCancel(ctx)
	b.sup = site.NewSupervisor(b.factory.Site, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- b.sup.Run(zones, b.factory.Site.Processes()) }()
	err = b.lots(ctx, small, r)
	stop()
	if err = errors.Join(err, <-done); err != nil {
		return err
	}
	r.Operations, err = b.operations()
	for verb := range r.Operations {
		r.Operations[verb] /= float64(small + b.Units)
	}
	return err
}

func (b *run) lots(ctx context.Context, small int, r *Report) (err error) {
	if err := b.factory.Connect(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.factory.Close()) }()
	b.say("lots     %d units, to warm up", small)
	if _, err := b.makeLots(ctx, small); err != nil {
		return err
	}
	before, err := b.look(ctx)
	if err != nil {
		return err
	}
	b.say("lots     %d units", b.Units)
	took, err := b.makeLots(ctx, b.Units)
	if err != nil {
		return err
	}
	after, err := b.look(ctx)
	if err != nil {
		return err
	}
	r.Seconds = took.Seconds()
	r.compare(before, after)
	return nil
}

// makeLots makes a lot in each vault, so many units together, and gives the time from the first release to the last chip, by
// the ledger's stamps.
func (b *run) makeLots(ctx context.Context, units int) (time.Duration, error) {
	var names []perso.Name
	for range b.Vaults {
		name, err := b.factory.Release(ctx, units/b.Vaults)
		if err != nil {
			return 0, fmt.Errorf("releasing a lot of %d: %w", units/b.Vaults, err)
		}
		names = append(names, name)
	}
	var from, to time.Time
	for _, name := range names {
		s, err := b.factory.Wait(ctx, name)
		if err == nil && s.Good != uint64(units/b.Vaults) {
			err = fmt.Errorf("lot %s ended with %d of %d good", name, s.Good, units/b.Vaults)
		}
		if err != nil {
			return 0, err
		}
		if from.IsZero() || s.Released.Before(from) {
			from = s.Released
		}
		if s.Completed.After(to) {
			to = s.Completed
		}
	}
	return to.Sub(from), nil
}

// vaults are the names of the vaults' processes.
func (b *run) vaults() (names []string) {
	for _, v := range b.factory.Site.VaultNames() {
		names = append(names, b.factory.Site.VaultProcess(v))
	}
	return names
}

// state is what can be read off at one moment.
type state struct {
	used    map[string]usage // by process
	entries int64
	files   map[string]int64 // bytes, by what they are
}

func (b *run) look(ctx context.Context) (state, error) {
	s := state{used: map[string]usage{}, files: map[string]int64{}}
	for _, p := range b.factory.Site.Processes() {
		u, err := usageOf(b.sup.Pid(p.Name))
		if err != nil {
			return s, fmt.Errorf("reading the account of %s: %w", p.Name, err)
		}
		s.used[p.Name] = u
	}
	lots, err := ask[bus.LotsReply](ctx, b.factory, bus.OfficeLots, bus.Empty{})
	if err != nil {
		return s, err
	}
	for _, l := range lots.Lots {
		s.entries = max(s.entries, l.LogSize)
	}
	for what, folder := range map[string]string{"ledger": "ledger", "vault": "vault", "line": "line"} {
		if s.files[what], err = sizeOf(filepath.Join(b.factory.Site.Dir, folder)); err != nil {
			return s, fmt.Errorf("measuring the files of the %s: %w", what, err)
		}
	}
	return s, nil
}

func (b *run) say(format string, a ...any) {
	if b.Talk != nil {
		fmt.Fprintf(b.Talk, format+"\n", a...)
	}
}
