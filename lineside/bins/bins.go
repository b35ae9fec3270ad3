// Package bins says which bins a handler has, what goes into each, and what each counts as in a lot's balance.
//
// It exists because handlers differ: one has three bins, one eight, and which chute stands over the locked box is a fact of the
// machine and not of this program. So the bins are data of a line, and the check refuses every description by which a chip with live keys
// could lie anywhere but where it is destroyed, or a chip that no verdict called good could lie among the good ones.
//
// Contract. A Plan never changes; every method is a pure function. A bin is known by the handler's name for it. What a chip in it counts as
// is the verdict that the ledger books it under, and follows from what the bin means.
//
// Callers: lineside (heads, worker), perso/cmd/site, which reads the description from a site's configuration.
package bins

import (
	"errors"
	"fmt"
	"strings"

	"github.com/persoline/persoline/perso"
)

// Meaning is what becomes of the chips in a bin.
type Meaning string

// The meanings.
const (
	Output  Meaning = "output"  // they are what was ordered
	Stock   Meaning = "stock"   // blank, and back into the store
	Destroy Meaning = "destroy" // they may hold live keys: locked up, and destroyed from a list that two officers sign
	Quality Meaning = "quality" // people look at them: blank rejects, or the samples of a lot
)

// Bin describes one bin.
type Bin struct {
	Name perso.Bin `json:"name"`
	// Takes lists verdicts, "reject-blank", or a verdict and a reason, "reject-blank/bad-contact", which goes before the verdict alone.
	Takes []string `json:"takes"`
	Means Meaning  `json:"means"`
}

// MaxBins bounds the bins of a handler.
const MaxBins = 32

// verdicts are those that a chip leaves a head on, with what a bin must mean to take it.
var verdicts = []struct {
	verdict perso.Verdict
	means   []Meaning
	must    bool // a handler without a bin for it cannot work
	why     string
}{
	{perso.VerdictGood, []Meaning{Output}, true, "a good unit is output"},
	{perso.VerdictSample, []Meaning{Quality}, false, "quality examines a sample before its lot is closed"},
	{perso.VerdictRejectLive, []Meaning{Destroy}, true, "it may hold live keys, and is destroyed"},
	{perso.VerdictRejectBlank, []Meaning{Quality}, true, "people decide whether a blank reject is tried again; it has no unit to be destroyed under"},
	{perso.VerdictReturn, []Meaning{Stock, Quality}, false, "it is blank stock"},
}

type rule struct {
	verdict perso.Verdict
	reason  perso.Reason // empty for every other reason
}

// Plan is a description that was checked. The zero plan has no bins.
type Plan struct {
	names  []perso.Bin
	counts map[perso.Bin]perso.Verdict
	takes  map[rule]perso.Bin
}

// IsZero reports that nothing was described.
func (p Plan) IsZero() bool { return len(p.names) == 0 }

// Standard are the bins of a handler that nobody described: one for each verdict, named like it.
func Standard() Plan {
	p, err := New([]Bin{
		{perso.BinGood, []string{string(perso.VerdictGood)}, Output}, {perso.BinSample, []string{string(perso.VerdictSample)}, Quality},
		{perso.BinRejectLive, []string{string(perso.VerdictRejectLive)}, Destroy}, {perso.BinRejectBlank, []string{string(perso.VerdictRejectBlank)}, Quality},
		{perso.BinReturn, []string{string(perso.VerdictReturn)}, Stock},
	})
	if err != nil {
		panic(err) // the description above is constant: a fault in it is a fault in this file
	}
	return p
}

// New checks a description. All that is wrong is told at once.
func New(all []Bin) (Plan, error) {
	p := Plan{counts: map[perso.Bin]perso.Verdict{}, takes: map[rule]perso.Bin{}}
	var errs []error
	if len(all) == 0 || len(all) > MaxBins {
		errs = append(errs, fmt.Errorf("%d bins are described, 1 to %d are possible", len(all), MaxBins))
	}
	for _, b := range all {
		if err := p.add(b); err != nil {
			errs = append(errs, fmt.Errorf("bin %q: %w", b.Name, err))
		}
	}
	for _, v := range verdicts {
		if _, there := p.takes[rule{verdict: v.verdict}]; v.must && !there {
			errs = append(errs, fmt.Errorf("no bin takes %q: a chip with that verdict could go nowhere", v.verdict))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return Plan{}, fmt.Errorf("describing the bins of a handler: %w", err)
	}
	return p, nil
}

func (p *Plan) add(b Bin) error {
	if _, err := perso.ParseName(string(b.Name)); err != nil {
		return err
	}
	if _, twice := p.counts[b.Name]; twice {
		return errors.New("it is described twice")
	}
	if len(b.Takes) == 0 {
		return errors.New("it takes nothing; leave it out")
	}
	p.names = append(p.names, b.Name)
	for _, text := range b.Takes {
		r, err := mayTake(text, b.Means)
		if err != nil {
			return err
		}
		if other, taken := p.takes[r]; taken {
			return fmt.Errorf("bin %q takes %q already", other, text)
		}
		p.takes[r] = b.Name
		counts := p.counts[b.Name]
		if (r.verdict == perso.VerdictSample) != (counts == perso.VerdictSample) && counts != "" {
			return errors.New("samples are good units, and lie with nothing else")
		}
		p.counts[b.Name] = countsAs(r.verdict, b.Means)
	}
	return nil
}

// mayTake reads what a bin takes, and refuses what is not safe there.
func mayTake(text string, means Meaning) (rule, error) {
	verdict, reason, specific := strings.Cut(text, "/")
	for _, v := range verdicts {
		if string(v.verdict) != verdict {
			continue
		}
		if specific && (reason == "" || reason == string(perso.ReasonNone)) {
			return rule{}, fmt.Errorf("%q names no reason", text)
		}
		for _, m := range v.means {
			if m == means {
				return rule{v.verdict, perso.Reason(reason)}, nil
			}
		}
		return rule{}, fmt.Errorf("a chip with the verdict %q goes into no bin that means %q: %s", verdict, means, v.why)
	}
	return rule{}, fmt.Errorf("%q is no verdict on which a chip leaves a head; without one it stays there", text)
}

// countsAs is the verdict that the ledger books a chip in such a bin under.
func countsAs(v perso.Verdict, means Meaning) perso.Verdict {
	if v == perso.VerdictReturn && means == Quality {
		return perso.VerdictRejectBlank
	}
	return v
}

// For says into which bin a chip goes, and what it counts as there; false when the handler has none for it.
func (p Plan) For(v perso.Verdict, reason perso.Reason) (into perso.Bin, counts perso.Verdict, ok bool) {
	into, ok = p.takes[rule{v, reason}]
	if !ok {
		into, ok = p.takes[rule{verdict: v}]
	}
	if !ok && v == perso.VerdictReturn { // a handler without a bin for it
		into, ok = p.takes[rule{verdict: perso.VerdictRejectBlank}]
	}
	return into, p.counts[into], ok
}

// Again is the bin of a chip that was on its way when the line stopped. For what reason is forgotten: it goes where chips go that no reason
// is named for, which counts as the same.
func (p Plan) Again(counts perso.Verdict) (perso.Bin, bool) {
	into, as, ok := p.For(counts, "")
	return into, ok && as == counts
}

// Count sums a handler's counters by what the chips in its bins count as. A bin that is described and not there is an error, and so is one
// that nobody described and that holds chips.
func (p Plan) Count(inBins map[perso.Bin]uint64) (map[perso.Verdict]uint64, error) {
	n := map[perso.Verdict]uint64{}
	for _, name := range p.names {
		chips, there := inBins[name]
		if !there {
			return nil, fmt.Errorf("counting the handler's bins: it has no bin %q, which the line's description names", name)
		}
		n[p.counts[name]] += chips
	}
	for name, chips := range inBins {
		if _, described := p.counts[name]; !described && chips > 0 {
			return nil, fmt.Errorf("counting the handler's bins: %d chips lie in bin %q, which the line does not describe", chips, name)
		}
	}
	return n, nil
}
