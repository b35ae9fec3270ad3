package statement

import (
	"strconv"
	"strings"
	"testing"
)

func TestDemands(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"", "first-article 5", "clearance", "first-article 5; clearance; issue; blind-count; samples kept 50:8/0 500:50/1"} {
		if d, err := ParseDemands(good); err != nil || string(d) != good {
			t.Errorf("%q: %q, %v", good, d, err)
		}
	}
	for _, bad := range []string{"-", "first-article", "first-article 0", "first-article 05", "clearance; first-article 5", "clearance;issue", "clearance; clearance", "samples", "samples sold 5:1/0", "clearance 1", "no-clearance"} {
		if _, err := ParseDemands(bad); err == nil {
			t.Errorf("%q may be asked for", bad)
		}
	}
}

// TestFaultsOfDemandsAreShort: a fault goes over the bus and to a person's screen, whatever was asked for.
func TestFaultsOfDemandsAreShort(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 500_000)
	for _, bad := range []string{long, "first-article " + long, "samples " + long, "samples kept " + long, "samples kept 50:" + long, strings.Repeat("issue; ", 70_000) + "issue",
		strings.Repeat("x", MaxDemandsBytes), "first-article " + strings.Repeat("1", 900), "samples " + strings.Repeat("x", 900), "samples kept " + strings.Repeat("x", 900),
		"samples kept 50:8/0 " + strings.Repeat("x", 900), "samples kept 50:8/0 40:8/0" + strings.Repeat(" 4:5/0", 22)} {
		if _, err := ParseDemands(bad); err == nil || len(err.Error()) > 350 {
			t.Errorf("%.40q of %d bytes: %v", bad, len(bad), err)
		}
	}
	if _, err := ParseDemands(strings.Repeat("x", MaxDemandsBytes+1)); err == nil || !strings.Contains(err.Error(), "fits into 1024") {
		t.Errorf("one byte too much: %v", err)
	}
	for _, bad := range []string{long, "kept " + long, "kept 50:8/0 50:" + long} {
		if _, err := ParseSampling(bad); err == nil || len(err.Error()) > 350 {
			t.Errorf("the plan %.40q of %d bytes: %v", bad, len(bad), err)
		}
	}
	longest := "first-article 1048575; clearance; issue; blind-count; samples output"
	for row := range MaxSampleRows {
		longest += " " + strconv.FormatUint(4_294_967_000+uint64(row), 10) + ":2000/1999"
	}
	if _, err := ParseDemands(longest); err != nil || len(longest) >= 600 {
		t.Errorf("the longest has %d bytes: %v", len(longest), err)
	}
}

// TestWith: a lot goes through what site and order ask for, never through less than either.
func TestWith(t *testing.T) {
	t.Parallel()
	site := Policy{FirstArticle: 5, Clearance: true, Sampling: "output 100:20/1 1000:80/2"}
	for demands, want := range map[Demands]Policy{
		"":                             site,
		"first-article 2; blind-count": {FirstArticle: 2, Clearance: true, Blind: true, Sampling: site.Sampling},
		"first-article 9; issue":       {FirstArticle: 5, Clearance: true, Issue: true, Sampling: site.Sampling},
		"samples kept 1000:10/0":       {FirstArticle: 5, Clearance: true, Sampling: "kept 500:80/0"},
		"samples output 1000:200/5":    {FirstArticle: 5, Clearance: true, Sampling: "output 500:200/2"},
	} {
		if got := site.With(demands, 500); got != want {
			t.Errorf("%q: %+v, want %+v", demands, got, want)
		}
	}
	if got := (Policy{}).With("first-article 3; samples kept 9:1/0", 500); got.FirstArticle != 3 || got.Sampling != "kept 9:1/0" {
		t.Errorf("of a site that asks for nothing: %+v", got)
	}
}
