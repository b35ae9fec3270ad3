package bins

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
)

// sorting is a handler that keeps blank rejects apart by what is wrong with them.
func sorting() []Bin {
	return []Bin{
		{"A", []string{"good"}, Output}, {"B", []string{"sample"}, Quality}, {"locked", []string{"reject-live"}, Destroy},
		{"C", []string{"reject-blank/bad-contact", "reject-blank/mute"}, Quality}, {"D", []string{"reject-blank"}, Quality}, {"E", []string{"return"}, Stock},
	}
}

// three is a handler with as few bins as is safe.
func three() []Bin {
	return []Bin{{"1", []string{"good"}, Output}, {"2", []string{"reject-live"}, Destroy}, {"3", []string{"reject-blank"}, Quality}}
}

func made(t *testing.T, all []Bin) Plan {
	t.Helper()
	p, err := New(all)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWhereChipsGo(t *testing.T) {
	t.Parallel()
	type at struct {
		into   perso.Bin
		counts perso.Verdict
		ok     bool
	}
	for _, c := range []struct {
		name    string
		plan    Plan
		verdict perso.Verdict
		reason  perso.Reason
		want    at
	}{
		{"good", Standard(), perso.VerdictGood, perso.ReasonNone, at{perso.BinGood, perso.VerdictGood, true}},
		{"sample", Standard(), perso.VerdictSample, perso.ReasonNone, at{perso.BinSample, perso.VerdictSample, true}},
		{"return", Standard(), perso.VerdictReturn, perso.ReasonLotComplete, at{perso.BinReturn, perso.VerdictReturn, true}},
		{"bad contact, standard", Standard(), perso.VerdictRejectBlank, perso.ReasonContact, at{perso.BinRejectBlank, perso.VerdictRejectBlank, true}},
		{"bad contact, sorted", made(t, sorting()), perso.VerdictRejectBlank, perso.ReasonContact, at{"C", perso.VerdictRejectBlank, true}},
		{"other reason, sorted", made(t, sorting()), perso.VerdictRejectBlank, perso.ReasonATR, at{"D", perso.VerdictRejectBlank, true}},
		{"live for a sorted reason", made(t, sorting()), perso.VerdictRejectLive, perso.ReasonMute, at{"locked", perso.VerdictRejectLive, true}},
		{"return, three bins", made(t, three()), perso.VerdictReturn, perso.ReasonLotComplete, at{"3", perso.VerdictRejectBlank, true}},
		{"sample, three bins", made(t, three()), perso.VerdictSample, perso.ReasonNone, at{}},
		{"hold", Standard(), perso.VerdictHold, perso.ReasonLotWaiting, at{}},
		{"no verdict", Standard(), "", "", at{}},
	} {
		var got at
		if got.into, got.counts, got.ok = c.plan.For(c.verdict, c.reason); got != c.want {
			t.Errorf("%s goes to %v, want %v", c.name, got, c.want)
		}
	}
}

func TestAgain(t *testing.T) {
	t.Parallel()
	if into, ok := made(t, sorting()).Again(perso.VerdictRejectBlank); into != "D" || !ok {
		t.Errorf("a blank reject of forgotten reason goes to %q (%v)", into, ok)
	}
	if _, ok := made(t, three()).Again(perso.VerdictReturn); ok {
		t.Error("a chip that was booked as returned may lie among blank rejects")
	}
}

func TestUnsafeBins(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func([]Bin) []Bin
		want   string
	}{
		"live among blank":        {func(b []Bin) []Bin { b[4].Takes = append(b[4].Takes, "reject-live/mute"); return b }, "live keys"},
		"live to output":          {func(b []Bin) []Bin { b[0].Takes = append(b[0].Takes, "reject-live/status"); return b }, "live keys"},
		"live to stock":           {func(b []Bin) []Bin { b[5].Takes = append(b[5].Takes, "reject-live/status"); return b }, "live keys"},
		"live box not destroyed":  {func(b []Bin) []Bin { b[2].Means = Quality; return b }, "live keys"},
		"live nowhere":            {func(b []Bin) []Bin { return append(b[:2], b[3:]...) }, `no bin takes "reject-live"`},
		"live for one reason":     {func(b []Bin) []Bin { b[2].Takes = []string{"reject-live/mute"}; return b }, `no bin takes "reject-live"`},
		"blank to good":           {func(b []Bin) []Bin { b[0].Takes = append(b[0].Takes, "reject-blank/mute"); return b }, "no bin that means"},
		"blank to stock":          {func(b []Bin) []Bin { b[4].Means = Stock; return b }, "tried again"},
		"returned to good":        {func(b []Bin) []Bin { b[0].Takes = append(b[0].Takes, "return/lot-complete"); return b }, "blank stock"},
		"returned is output":      {func(b []Bin) []Bin { b[5].Means = Output; return b }, "blank stock"},
		"sample is output":        {func(b []Bin) []Bin { b[1].Means = Output; return b }, "examines"},
		"samples with rejects":    {func(b []Bin) []Bin { b[4].Takes = append(b[4].Takes, "sample/mute"); return b }, "nothing else"},
		"rejects with samples":    {func(b []Bin) []Bin { b[1].Takes = append(b[1].Takes, "reject-blank/status"); return b }, "nothing else"},
		"no verdict to good":      {func(b []Bin) []Bin { b[0].Takes = append(b[0].Takes, ""); return b }, "no verdict"},
		"hold to good":            {func(b []Bin) []Bin { b[0].Takes = append(b[0].Takes, "hold"); return b }, "no verdict"},
		"all the rest to good":    {func(b []Bin) []Bin { b[0].Takes = append(b[0].Takes, "*"); return b }, "no verdict"},
		"one verdict in two bins": {func(b []Bin) []Bin { b[3].Takes = append(b[3].Takes, "reject-blank"); return b }, "already"},
		"one name for two bins":   {func(b []Bin) []Bin { b[3].Name = "D"; return b }, "twice"},
		"a bin for nothing":       {func(b []Bin) []Bin { b[3].Takes = nil; return b }, "takes nothing"},
		"unknown meaning":         {func(b []Bin) []Bin { b[0].Means = "sold"; return b }, "no bin that means"},
		"no reason":               {func(b []Bin) []Bin { b[3].Takes = []string{"reject-blank/"}; return b }, "no reason"},
		"misspelt reason":         {func(b []Bin) []Bin { b[3].Takes[0] = "reject-blank/bad-contct"; return b }, `"bad-contct"; the reasons are mute, bad-contact, wrong-atr,`},
		"reason in capitals":      {func(b []Bin) []Bin { b[3].Takes[1] = "reject-blank/MUTE"; return b }, `"MUTE"; the reasons are`},
		"two reasons in one":      {func(b []Bin) []Bin { b[3].Takes[1] = "reject-blank/mute/status"; return b }, `"mute/status"; the reasons are`},
		"name with a blank":       {func(b []Bin) []Bin { b[0].Name = "good ones"; return b }, "name"},
		"no bins":                 {func([]Bin) []Bin { return nil }, "0 bins"},
	} {
		_, err := New(c.change(sorting()))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestFaultsSayWhere: each fault names its field, so that who reads the description from a file can say the line.
func TestFaultsSayWhere(t *testing.T) {
	t.Parallel()
	all := sorting()
	all[0].Name, all[1].Takes, all[3].Takes[1], all[4].Takes[0] = "good ones", nil, "reject-blank/moot", "reject-live"
	_, err := New(all)
	var faults Faults
	if !errors.As(err, &faults) {
		t.Fatal(err)
	}
	var fields []string
	for _, f := range faults {
		fields = append(fields, f.Field)
	}
	if want := []string{"[0].name", "[1].takes", "[3].takes[1]", "[4].takes[0]", "", ""}; !slices.Equal(fields, want) {
		t.Errorf("faults of %q, want %q: %v", fields, want, err)
	}
}

// TestEveryReasonMayBeNamed: a bin may be for any reason that there is.
func TestEveryReasonMayBeNamed(t *testing.T) {
	t.Parallel()
	for _, r := range perso.Reasons() {
		all := sorting()
		all[3].Takes = []string{"reject-blank/" + string(r)}
		if _, err := New(all); (err == nil) != (r != perso.ReasonNone) {
			t.Errorf("%q: %v", r, err)
		}
	}
}

func TestCount(t *testing.T) {
	t.Parallel()
	p := made(t, sorting())
	n, err := p.Count(map[perso.Bin]uint64{"A": 10, "B": 2, "C": 3, "D": 4, "E": 5, "locked": 6, "spare": 0})
	want := map[perso.Verdict]uint64{perso.VerdictGood: 10, perso.VerdictSample: 2, perso.VerdictRejectBlank: 7, perso.VerdictReturn: 5, perso.VerdictRejectLive: 6}
	if err != nil || !reflect.DeepEqual(n, want) {
		t.Errorf("counted %v (%v), want %v", n, err, want)
	}
	if _, err := p.Count(map[perso.Bin]uint64{"A": 10, "B": 2, "C": 3, "D": 4, "E": 5}); err == nil {
		t.Error("a handler without the locked bin counts")
	}
	if _, err := made(t, three()).Count(map[perso.Bin]uint64{"1": 1, "2": 1, "3": 1, "4": 1}); err == nil {
		t.Error("chips in a bin that nobody described are not counted")
	}
}
