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
	"slices"
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

// Fault is what is wrong with a description.
type Fault struct {
	Field string // of the list of bins, "[3].takes[1]"; empty of the list itself
	Text  string
}

// Faults is all that is wrong with a description. It is an error.
type Faults []Fault

// Error is one fault per line.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].Text
	}
	return "describing the bins of a handler: " + strings.Join(lines, "\n")
}

// New checks a description. Its error is Faults: all that is wrong is told at once.
func New(all []Bin) (Plan, error) {
	p := Plan{counts: map[perso.Bin]perso.Verdict{}, takes: map[rule]perso.Bin{}}
	var faults Faults
	if len(all) == 0 || len(all) > MaxBins {
		faults = append(faults, Fault{Text: fmt.Sprintf("%d bins are described, 1 to %d are possible", len(all), MaxBins)})
	}
	for i, b := range all {
		if field, err := p.add(b); err != nil {
			faults = append(faults, Fault{Field: fmt.Sprintf("[%d]%s", i, field), Text: fmt.Sprintf("bin %q: %v", b.Name, err)})
		}
	}
	for _, v := range verdicts {
		if _, there := p.takes[rule{verdict: v.verdict}]; v.must && !there {
			faults = append(faults, Fault{Text: fmt.Sprintf("no bin takes %q: a chip with that verdict could go nowhere", v.verdict)})
		}
	}
	if len(faults) > 0 {
		return Plan{}, faults
	}
	return p, nil
}

// add takes a bin into the plan. With its error comes the field of the bin that is wrong.
func (p *Plan) add(b Bin) (field string, err error) {
	if _, err := perso.ParseName(string(b.Name)); err != nil {
		return ".name", err
	}
	if _, twice := p.counts[b.Name]; twice {
		return ".name", errors.New("it is described twice")
	}
	if len(b.Takes) == 0 {
		return ".takes", errors.New("it takes nothing; leave it out")
	}
	p.names = append(p.names, b.Name)
	for i, text := range b.Takes {
		field := fmt.Sprintf(".takes[%d]", i)
		r, err := mayTake(text, b.Means)
		if err != nil {
			return field, err
		}
		if other, taken := p.takes[r]; taken {
			return field, fmt.Errorf("bin %q takes %q already", other, text)
		}
		p.takes[r] = b.Name
		counts := p.counts[b.Name]
		if (r.verdict == perso.VerdictSample) != (counts == perso.VerdictSample) && counts != "" {
			return field, errors.New("samples are good units, and lie with nothing else")
		}
		p.counts[b.Name] = countsAs(r.verdict, b.Means)
	}
	return "", nil
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
		if specific && !slices.Contains(perso.Reasons(), perso.Reason(reason)) {
			// Such a rule would never be used, and the chips that it was written for would go where all others go.
			return rule{}, fmt.Errorf("no chip is ever given the reason %.40q; the reasons are %s", reason, knownReasons())
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

// knownReasons lists what may stand behind a verdict.
func knownReasons() string {
	var all []string
	for _, r := range perso.Reasons() {
		if r != perso.ReasonNone {
			all = append(all, string(r))
		}
	}
	return strings.Join(all, ", ")
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
