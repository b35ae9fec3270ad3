package statement

import "testing"

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
