package statement

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
)

func TestSamplingPlans(t *testing.T) {
	t.Parallel()
	plan, err := ParseSampling("kept 50:8/0 500:50/1 3200:125/3")
	if err != nil || !plan.Kept() {
		t.Fatal(plan, err)
	}
	for good, want := range map[uint64]SampleRow{1: {50, 1, 0}, 50: {50, 8, 0}, 51: {500, 50, 1}, 3200: {3200, 125, 3}, 1_000_000: {3200, 125, 3}} {
		if got := plan.For(good); got != want {
			t.Errorf("a lot of %d: %+v, want %+v", good, got, want)
		}
	}
	if none := Sampling("").For(20); none.Size != 0 {
		t.Errorf("no plan asks for %+v", none)
	}
	for _, bad := range []string{"-", "kept", "output ", "sold 50:8/0", "kept 50:8", "kept 50:0/0", "kept 50:8/8", "kept 50:8/0 50:9/0", "kept 050:8/0", "kept 50:8/0 ", "kept 50:3000/0", "kept  50:8/0"} {
		if _, err := ParseSampling(bad); err == nil {
			t.Errorf("%q is a plan", bad)
		}
	}
}

// TestAcceptance: a lot is accepted by what was made and drawn of it, and never with nothing but bad samples.
func TestAcceptance(t *testing.T) {
	t.Parallel()
	plan, err := ParseSampling("output 20:4/1 100:10/3")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		Examined
		want bool
	}{
		{Examined{Good: 100, Made: 100, Drawn: 10, Failed: 3}, true},
		{Examined{Good: 100, Made: 100, Drawn: 10, Failed: 4}, false},
		{Examined{Good: 100, Made: 100, Drawn: 9, Failed: 1}, false}, // one was given up
		{Examined{Good: 100, Made: 100, Drawn: 9}, true},
		{Examined{Good: 100, Made: 40, Drawn: 4, Failed: 1}, false}, // the plan wants ten of forty
		{Examined{Good: 100, Made: 15, Drawn: 4, Failed: 1}, true},
		{Examined{Good: 100, Made: 15, Drawn: 4, Failed: 2}, false},
		{Examined{Good: 100, Made: 15, Drawn: 2, Failed: 1}, false},
		{Examined{Good: 100, Made: 15, Drawn: 2}, true},
		{Examined{Good: 100, Made: 1, Drawn: 1, Failed: 1}, false},
		{Examined{Good: 100, Made: 1}, false},
		{Examined{Good: 100, Made: 100}, false},
		{Examined{Good: 100}, true},
	} {
		if got := plan.Accepts(c.Examined); got != c.want {
			t.Errorf("%+v: %v", c.Examined, got)
		}
	}
	odd, err := ParseSampling("output 20:10/9 100:10/1") // a row for smaller lots that forgives more: a lot is not cut short for it
	if err != nil || odd.Accepts(Examined{Good: 100, Made: 20, Drawn: 10, Failed: 2}) {
		t.Errorf("%v; a lot that ended short is accepted with more bad samples than the whole", err)
	}
}

// TestISOFigures holds the made plans against rows of the standard's tables as others print them.
func TestISOFigures(t *testing.T) {
	t.Parallel()
	for aql, rows := range map[string]string{
		"0.65": "8:20/0 15:20/0 25:20/0 50:20/0 90:20/0 150:20/0 280:20/0 500:80/1 1200:80/1 3200:125/2 10000:200/3 35000:315/5 150000:500/7 500000:800/10 1000000:1250/14",
		"1.0":  "8:13/0 15:13/0 25:13/0 50:13/0 90:13/0 150:13/0 280:50/1 500:50/1 1200:80/2 3200:125/3 10000:200/5 35000:315/7 150000:500/10 500000:800/14 1000000:1250/21",
		"2.5":  "8:5/0 15:5/0 25:5/0 50:5/0 90:20/1 150:20/1 280:32/2 500:50/3 1200:80/5 3200:125/7 10000:200/10 35000:315/14 150000:500/21 500000:500/21 1000000:500/21",
		"4.0":  "8:3/0 15:3/0 25:3/0 50:13/1 90:13/1 150:20/2 280:32/3 500:50/5 1200:80/7 3200:125/10 10000:200/14 35000:315/21 150000:315/21 500000:315/21 1000000:315/21",
		"6.5":  "8:2/0 15:2/0 25:8/1 50:8/1 90:13/2 150:20/3 280:32/5 500:50/7 1200:80/10 3200:125/14 10000:200/21 35000:200/21 150000:200/21 500000:200/21 1000000:200/21",
	} {
		got, err := ISOSampling(aql, SamplesOutput)
		if err != nil || string(got) != "output "+rows {
			t.Errorf("AQL %s: %v\n got %s\nwant output %s", aql, err, got, rows)
		}
	}
	if _, err := ISOSampling("1", SamplesOutput); err == nil || !strings.Contains(err.Error(), "1.0") {
		t.Errorf("AQL 1: %v", err)
	}
}

// drawAll makes a lot whole, and gives the places of its samples.
func drawAll(good, size, seed uint64) (all []uint64) {
	d := Draw{Good: good, Size: size}
	for d.Nth = range good {
		d.Receipt = sha256.Sum256(fmt.Appendf(nil, "%d %d", seed, d.Nth))
		if d.Drawn() {
			all, d.Taken = append(all, d.Nth), d.Taken+1
		}
	}
	return all
}

// TestDraws: when a part of a lot is over, at least as many samples are drawn as there were parts; some more in all, and not many; and
// which ones the receipts decide.
func TestDraws(t *testing.T) {
	t.Parallel()
	const seeds = 200
	for _, c := range []struct {
		good, size uint64
		most       float64 // samples in the mean
	}{{1, 1, 1}, {20, 20, 20}, {20, 3, 4.5}, {20, 0, 0}, {97, 13, 16}, {1000, 80, 90}, {3, 2, 2.6}} {
		places, sum := map[uint64]int{}, 0
		for seed := range uint64(seeds) {
			all := drawAll(c.good, c.size, seed)
			for part := range c.size {
				if before := ceil((part+1)*c.good, c.size); uint64(len(all)) <= part || all[part] >= before {
					t.Fatalf("of %d units %v are drawn, want %d before unit %d", c.good, all, part+1, before)
				}
			}
			sum += len(all)
			for _, nth := range all {
				places[nth]++
			}
		}
		if mean := float64(sum) / seeds; mean > c.most {
			t.Errorf("of %d units %.1f are drawn in the mean, %d were asked for", c.good, mean, c.size)
		}
		if c.size > 0 && c.good < 100 && uint64(len(places)) != c.good {
			t.Errorf("of %d units %d are drawn at some time", c.good, len(places))
		}
	}
	if again := (Draw{Good: 20, Size: 20, Nth: 20, Taken: 20}); again.Drawn() {
		t.Error("a unit beyond the order is drawn")
	}
}

// TestNobodyIsSafe: a line sees which units are drawn. Whatever it saw, the next unit is drawn with no smaller chance than the plan's.
func TestNobodyIsSafe(t *testing.T) {
	t.Parallel()
	const tries, good, size = 4_000, 20, 3
	for nth := range uint64(good) {
		for taken := range nth + 1 {
			d, drawn := Draw{Good: good, Size: size, Nth: nth, Taken: taken}, 0
			for i := range tries {
				d.Receipt = sha256.Sum256(fmt.Appendf(nil, "%d %d %d", nth, taken, i))
				if d.Drawn() {
					drawn++
				}
			}
			if drawn < tries*size/good*85/100 { // four standard deviations
				t.Errorf("unit %d, after %d samples, is drawn %d times of %d", nth, taken, drawn, tries)
			}
		}
	}
}
