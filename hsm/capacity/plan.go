package capacity

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// utilization is how busy an HSM may be in a plan: nearer to all of it, the wait
// for a session grows past the time of the operation itself.
const utilization = 0.7

// Limits of what is taken for measured.
const (
	maxBenchBytes = 1 << 20
	leastCount    = 20 // fewer cards are an anecdote
	tolerance     = 0.01
	// MaxRate is more than all SIM makers of the world together.
	MaxRate = 1_000_000
	// staleAfter: firmware, network and neighbours change.
	staleAfter = 365 * 24 * time.Hour
)

// ErrNotMeasured: figures that nobody counted, as a data sheet's. They prove
// nothing about the HSM that will be used.
var ErrNotMeasured = errors.New("not a measurement")

// A Plan is how many HSMs a rate needs.
type Plan struct {
	Rate float64 `json:"cards_per_second"`
	// PerHSM is what one allows, in Sessions sessions, by the best measurement.
	PerHSM      float64 `json:"cards_per_second_of_one"`
	Sessions    int     `json:"sessions"`
	Utilization float64 `json:"utilization"`
	// Needed carry the rate; Spare more may fail or be serviced.
	Needed   int      `json:"needed"`
	Spare    int      `json:"spare"`
	HSMs     int      `json:"hsms"`
	Warnings []string `json:"warnings,omitempty"`
}

// ReadBench reads what "perso hsm bench --json" wrote, and refuses with
// ErrNotMeasured what cannot have been counted.
func ReadBench(r io.Reader, now time.Time) (b Bench, err error) {
	d := json.NewDecoder(io.LimitReader(r, maxBenchBytes))
	d.DisallowUnknownFields()
	if err := d.Decode(&b); err != nil {
		return Bench{}, fmt.Errorf("%w: %w", ErrNotMeasured, err)
	}
	if err := b.check(now); err != nil {
		return Bench{}, err
	}
	return b, nil
}

// check refuses figures that do not follow from counts.
func (b Bench) check(now time.Time) error {
	no := func(format string, a ...any) error {
		return fmt.Errorf("%w: %s", ErrNotMeasured, fmt.Sprintf(format, a...))
	}
	switch {
	case b.Version != benchVersion:
		return no("version %d, want %d", b.Version, benchVersion)
	case b.MeasuredAt.IsZero() || b.MeasuredAt.After(now.Add(time.Hour)):
		return no("time of measurement %v", b.MeasuredAt)
	case b.Module.Library == "" || b.Token.Label == "" || b.CPUs < 1 || len(b.PerCard) == 0:
		return no("it does not say which token was measured, from where and for what")
	}
	cards := 0
	for _, f := range b.Figures {
		if f.What != Card {
			continue
		}
		cards++
		rate := float64(f.Count) / f.Seconds
		switch {
		case f.Sessions < 1 || f.Count < leastCount || !(f.Seconds > 0):
			return no("%d cards in %v s and %d sessions", f.Count, f.Seconds, f.Sessions)
		case !(math.Abs(f.PerSecond-rate) <= tolerance*rate):
			return no("%v cards a second are not %d in %v s", f.PerSecond, f.Count, f.Seconds)
		case !(f.MedianMS > 0) || f.MedianMS > f.P99MS:
			return no("half of the cards in %v ms, and 99 in 100 in %v ms", f.MedianMS, f.P99MS)
		}
	}
	if cards == 0 {
		return no("no cards were counted")
	}
	return nil
}

// best is the card figure with the highest rate.
func (b Bench) best() (best Figure) {
	for _, f := range b.Figures {
		if f.What == Card && f.PerSecond > best.PerSecond {
			best = f
		}
	}
	return best
}

// PlanFor says how many HSMs of the measured kind the rate needs, in cards a
// second, with one more than that (N+1).
func (b Bench) PlanFor(rate float64, now time.Time) (Plan, error) {
	if !(rate > 0) || rate > MaxRate {
		return Plan{}, fmt.Errorf("planning for %v cards a second: want more than 0 and at most %d", rate, MaxRate)
	}
	if err := b.check(now); err != nil {
		return Plan{}, err
	}
	one := b.best()
	p := Plan{Rate: rate, PerHSM: one.PerSecond, Sessions: one.Sessions, Utilization: utilization, Spare: 1}
	p.Needed = int(math.Ceil(rate / (one.PerSecond * utilization)))
	p.HSMs = p.Needed + p.Spare
	if b.software() {
		p.Warnings = append(p.Warnings, "measured on a token in software, which is no HSM: measure the one that you will use")
	}
	if now.Sub(b.MeasuredAt) > staleAfter {
		p.Warnings = append(p.Warnings, "measured more than a year ago: firmware, network and neighbours change")
	}
	return p, nil
}

// software reports whether the module keeps its keys in files.
func (b Bench) software() bool {
	for _, name := range []string{"SoftHSM", "NSS", "Mozilla", "Soft"} {
		if strings.Contains(b.Module.Library, name) || strings.Contains(b.Module.Manufacturer, name) {
			return true
		}
	}
	return false
}
