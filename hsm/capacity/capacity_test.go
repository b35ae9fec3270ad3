package capacity_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/capacity"
	"github.com/persoline/persoline/hsm/hsmtest"
)

// TestMeasure counts on a real module: every verb, every number of sessions, and
// nothing is left. It asserts counts, not rates.
func TestMeasure(t *testing.T) {
	for name, lend := range map[string]func(testing.TB) *hsm.Token{"SoftHSM": hsmtest.SoftHSM, "NSS": hsmtest.NSS} {
		t.Run(name, func(t *testing.T) {
			tok := lend(t)
			before, err := tok.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			per := capacity.DefaultPerCard()
			per[hsm.VerbCardPair], per[hsm.VerbUnseal], per[hsm.VerbRandom] = 1, 0.25, 1
			start := tok.Stats()
			b, err := capacity.Measure(t.Context(), tok, capacity.Options{Sessions: []int{1, 3}, Each: 200 * time.Millisecond, PerCard: per})
			if err != nil {
				t.Fatal(err)
			}
			if len(b.Figures) != 2*(len(per)+1) {
				t.Errorf("%d figures", len(b.Figures))
			}
			macs := tok.Stats()[hsm.VerbMAC] - start[hsm.VerbMAC]
			var counted uint64
			for _, f := range b.Figures {
				switch f.What {
				case capacity.Card:
					counted += 2 * f.Count
				case hsm.VerbMAC.String():
					counted += f.Count
				}
			}
			if counted != macs {
				t.Errorf("%d MACs are in the figures, the token made %d", counted, macs)
			}
			if after, err := tok.List(t.Context()); err != nil || !slices.Equal(before, after) {
				t.Errorf("left behind: %v, %v", after, err)
			}
			text, err := json.Marshal(b)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := capacity.ReadBench(bytes.NewReader(text), time.Now()); err != nil {
				t.Errorf("reading it back: %v", err)
			}
			if p, err := b.PlanFor(1, time.Now()); err != nil || len(p.Warnings) != 1 {
				t.Errorf("plan from a software token: %+v, %v", p, err)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	good := capacity.Options{Sessions: []int{1, 8}, Each: time.Second, PerCard: capacity.DefaultPerCard()}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*capacity.Options){
		"no sessions":     func(o *capacity.Options) { o.Sessions = nil },
		"zero sessions":   func(o *capacity.Options) { o.Sessions = []int{0} },
		"many sessions":   func(o *capacity.Options) { o.Sessions = []int{hsm.MaxSessions + 1} },
		"many counts":     func(o *capacity.Options) { o.Sessions = slices.Repeat([]int{1}, 17) },
		"short":           func(o *capacity.Options) { o.Each = time.Millisecond },
		"long":            func(o *capacity.Options) { o.Each = time.Hour },
		"no calls":        func(o *capacity.Options) { o.PerCard = nil },
		"negative":        func(o *capacity.Options) { o.PerCard = capacity.PerCard{hsm.VerbMAC: -1} },
		"not for a card":  func(o *capacity.Options) { o.PerCard = capacity.PerCard{hsm.VerbDestroy: 1} },
		"only part of it": func(o *capacity.Options) { o.PerCard = capacity.PerCard{hsm.VerbMAC: 0.5} },
	} {
		o := good
		change(&o)
		if o.Validate() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

var measured = time.Date(2031, 4, 5, 6, 7, 8, 0, time.UTC)

// network is what a bench of an HSM in a network looks like.
func network() capacity.Bench {
	return capacity.Bench{Version: 1, MeasuredAt: measured, CPUs: 4, PerCard: map[string]float64{"MAC": 2},
		Module: hsm.ModuleSurvey{Library: "Network HSM", Version: "7.4"}, Token: hsm.TokenSurvey{Label: "vault", Serial: "1234"},
		Figures: []capacity.Figure{
			{What: "MAC", Sessions: 8, Count: 9000, Seconds: 2, PerSecond: 4500, MedianMS: 1, P99MS: 2},
			{What: "card", Sessions: 1, Count: 60, Seconds: 2, PerSecond: 30, MedianMS: 30, P99MS: 40},
			{What: "card", Sessions: 16, Count: 200, Seconds: 2, PerSecond: 100, MedianMS: 150, P99MS: 300},
			{What: "card", Sessions: 32, Count: 190, Seconds: 2, PerSecond: 95, MedianMS: 300, P99MS: 600},
		}}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		rate   float64
		needed int
	}{{1, 1}, {70, 1}, {70.1, 2}, {100, 2}, {140, 2}, {700, 10}} {
		p, err := network().PlanFor(test.rate, measured)
		if err != nil || p.Needed != test.needed || p.HSMs != test.needed+1 || p.PerHSM != 100 || p.Sessions != 16 || p.Warnings != nil {
			t.Errorf("%v cards a second: %+v, %v", test.rate, p, err)
		}
	}
	for _, rate := range []float64{0, -1, capacity.MaxRate + 1} {
		if _, err := network().PlanFor(rate, measured); err == nil {
			t.Errorf("rate %v: no error", rate)
		}
	}
	p, err := network().PlanFor(1, measured.AddDate(2, 0, 0))
	if err != nil || len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], "year") {
		t.Errorf("two years later: %+v, %v", p, err)
	}
}

// TestNotMeasured: figures out of a data sheet, and others that nobody counted.
func TestNotMeasured(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*capacity.Bench){
		"no count":           func(b *capacity.Bench) { b.Figures[2].Count = 0 },
		"too few":            func(b *capacity.Bench) { b.Figures[2].Count, b.Figures[2].PerSecond = 10, 5 },
		"better than counts": func(b *capacity.Bench) { b.Figures[2].PerSecond = 20000 },
		"no time":            func(b *capacity.Bench) { b.Figures[2].Seconds = 0 },
		"no distribution":    func(b *capacity.Bench) { b.Figures[2].MedianMS = 0 },
		"odd distribution":   func(b *capacity.Bench) { b.Figures[2].P99MS = 1 },
		"no cards":           func(b *capacity.Bench) { b.Figures = b.Figures[:1] },
		"no token":           func(b *capacity.Bench) { b.Token.Label = "" },
		"no date":            func(b *capacity.Bench) { b.MeasuredAt = time.Time{} },
		"next year":          func(b *capacity.Bench) { b.MeasuredAt = measured.AddDate(1, 0, 0) },
		"other version":      func(b *capacity.Bench) { b.Version = 2 },
	} {
		b := network()
		change(&b)
		text, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := capacity.ReadBench(bytes.NewReader(text), measured); !errors.Is(err, capacity.ErrNotMeasured) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := b.PlanFor(1, measured); !errors.Is(err, capacity.ErrNotMeasured) {
			t.Errorf("%s: plan: %v", name, err)
		}
	}
	for _, text := range []string{"", "{}", `{"published":"20,000 signatures a second"}`, "[]"} {
		if _, err := capacity.ReadBench(strings.NewReader(text), measured); !errors.Is(err, capacity.ErrNotMeasured) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
