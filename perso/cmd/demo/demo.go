// Package demo does the main job once, from nothing: it makes a test site with throw-away officers and a chip farm,
// takes an order, releases it, lets the lines program the chips, closes the lot, hands out what was ordered, and has the
// audit verify it all.
//
// Everything it drives is the product, in the processes that "perso up" would run; only the people are missing, and it
// says so on every page: environment "test". Only perso/cmd/cli calls it.
package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/cmd/site"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/product"
)

// Options say what to run.
type Options struct {
	Dir       string // the site's folder; an earlier demo there is replaced
	Order     string // order file; of a product's sample if empty
	Product   string // whose sample order is made when no file is named
	Catalogue string // folder with products and partners
	Heads     int    // of the one line
	Transport site.Transport
	Scale     float64 // of chip time: 1 is as slow as real chips, 0 takes none
	Seed      uint64  // of the chips and their faults
	Out       io.Writer
	Progress  func(chipTime string) Progress
}

// Progress shows a lot being made.
type Progress interface {
	Update(s bus.StatusReply)
	Done()
}

// Limits of waiting.
const (
	// readyPatience is how long the zones may take to come up together.
	readyPatience = 60 * time.Second
	// pollEvery is how often progress is read: five times a second looks alive.
	pollEvery = 200 * time.Millisecond
	// closePatience is how long the line may take to report its counters after the last chip.
	closePatience = 30 * time.Second
	// stepPatience bounds one question that takes a step forward. Most are answered in a second, but an export signs each unit in the
	// HSM, and the machine may be busy with other things: as long as the command of the step waits.
	stepPatience = 30 * time.Minute
)

// lotPatience is how long the lot may go without any change before the demo gives up.
const lotPatience = 60 * time.Second

// marker is a file that says that a folder is a demo's, and may be replaced by the next one.
const marker = "DEMO-SITE"

type demo struct {
	Options
	site    *site.Site
	ordered order.Order // as it was read
	office  site.Office
	lot     perso.Name
	began   time.Time
	made    result
}

// Run does the whole job. The error says at which step it ended; the site's folder stays for a look.
func Run(ctx context.Context, o Options) (err error) {
	d := &demo{Options: o, began: time.Now()}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if err := d.prepare(ctx); err != nil {
		return fmt.Errorf("preparing the demo site: %w", err)
	}
	release, err := site.Hold(o.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	sup := site.NewSupervisor(d.site, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- sup.Run(ctx, d.site.Processes()) }()
	defer func() {
		stop()
		err = errors.Join(err, <-done)
	}()
	if err := d.connect(ctx); err != nil {
		return fmt.Errorf("starting the zones (their logs are in %s): %w", filepath.Join(o.Dir, "log"), err)
	}
	defer func() { err = errors.Join(err, d.office.Close()) }()
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"receiving chips", d.receive}, {"taking the order", d.submit}, {"releasing the lot", d.release}, {"programming chips", d.watch},
		{"closing the lot", d.close}, {"handing out", d.export}, {"verifying", d.verify},
	} {
		if err := step.do(ctx); errors.Is(err, context.Canceled) && ctx.Err() != nil {
			return fmt.Errorf("%s: stopped; start again with the same command", step.what)
		} else if err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	d.table()
	return nil
}

func (d *demo) say(format string, a ...any) { fmt.Fprintf(d.Out, format+"\n", a...) }

// prepare makes a new site; it replaces an earlier demo's folder and no other, and that only for an order that can be made.
func (d *demo) prepare(ctx context.Context) error {
	o, err := d.read()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(d.Dir, marker)); err == nil {
		if err := site.CheckIdle(d.Dir); err != nil {
			return err
		}
		if err := os.RemoveAll(d.Dir); err != nil {
			return err
		}
	} else if _, err := os.Stat(d.Dir); err == nil {
		return fmt.Errorf("the folder %q exists and is not a demo's; choose another with --dir", d.Dir)
	}
	s, err := site.Init(ctx, site.InitPlan{Dir: d.Dir, Name: "demo", Lines: []site.Line{{Name: "line-1", Heads: d.Heads, Transport: d.Transport}}, Catalogue: d.Catalogue}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	d.site, d.ordered = s, o
	if err := os.WriteFile(filepath.Join(d.Dir, marker), []byte("made by \"perso demo\"; it will be replaced by the next one\n"), 0o644); err != nil {
		return err
	}
	d.say("site     %s  environment TEST: throw-away keys and officers, virtual chips", d.Dir)
	return d.makeChips(o)
}

// read takes in everything that was asked for, and changes nothing.
func (d *demo) read() (order.Order, error) {
	switch {
	case d.Heads < 1 || d.Heads > site.MaxHeads:
		return order.Order{}, fmt.Errorf("--heads: %d is not within 1 to %d", d.Heads, site.MaxHeads)
	case d.Scale < 0 || d.Scale > 100:
		return order.Order{}, fmt.Errorf("--scale: %v is not within 0 to 100", d.Scale)
	}
	cat, err := site.OrderCatalogue(d.Catalogue)
	if err != nil {
		return order.Order{}, fmt.Errorf("reading the catalogue %q: %w", d.Catalogue, err)
	}
	if d.Order == "" {
		if d.Order, err = sampleOf(d.Catalogue, product.SKU(d.Product), cat); err != nil {
			return order.Order{}, err
		}
	}
	raw, err := os.ReadFile(d.Order)
	if err != nil {
		return order.Order{}, fmt.Errorf("reading the order: %w", err)
	}
	o, err := order.Intake(bytes.NewReader(raw), cat)
	if err != nil {
		return o, fmt.Errorf("the order has faults:\n%w", err)
	}
	return o, nil
}

// connect waits for the bus, then for the ledger to answer.
func (d *demo) connect(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	d.office, err = d.site.Ready(ctx)
	return err
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// ask takes a step, with time for the longest.
func ask[A, Q any](ctx context.Context, d *demo, verb string, q Q) (A, error) {
	ctx, cancel := context.WithTimeout(ctx, stepPatience)
	defer cancel()
	return bus.Call[A](ctx, d.office, bus.OfficeSubject(verb), q)
}
