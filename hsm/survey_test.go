package hsm_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/hsm"
)

// TestSurvey: each module's row of the matrix, found by asking and by trying.
func TestSurvey(t *testing.T) {
	onEachModule(t, func(t *testing.T, m under) {
		before, err := m.tok.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, probe := range []bool{false, true} {
			s, err := m.tok.Survey(t.Context(), probe)
			if err != nil {
				t.Fatal(err)
			}
			if problems := s.Problems(); len(problems) > 0 {
				t.Errorf("probe %v: %q", probe, problems)
			}
			if problems := s.Problems("eum-brainpool", "transport-3des", "receive", "envelope", "card-pair"); len(problems) != len(m.lacks) {
				t.Errorf("probe %v: with all that any product needs: %q", probe, problems)
			}
			for _, f := range s.Features {
				if c, err := hsm.ParseClass(f.Name); err == nil && f.Ready == slices.Contains(m.lacks, c) {
					t.Errorf("probe %v: %s is ready: %v (%s)", probe, f.Name, f.Ready, f.Note)
				}
				if f.Name == "log" && (f.Note == "") != m.eddsa {
					t.Errorf("log key: %q", f.Note)
				}
			}
			for _, g := range s.Gaps {
				if g.Declared != slices.Contains(m.gaps, g.Gap) || probe && g.Found != g.Declared {
					t.Errorf("gap %s: declared %v, found %v", g.Gap, g.Declared, g.Found)
				}
			}
		}
		if after, err := m.tok.List(t.Context()); err != nil || !slices.Equal(before, after) {
			t.Errorf("keys before %v, after %v, %v", before, after, err)
		}
	})
}

// TestSurveyOfUndeclaredGaps: what check is for.
func TestSurveyOfUndeclaredGaps(t *testing.T) {
	cfg := freshNSS(t)
	cfg.Gaps = nil
	tok, err := hsm.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s, err := tok.Survey(t.Context(), true)
	if err := errors.Join(err, tok.Close()); err != nil {
		t.Fatal(err)
	}
	problems := s.Problems()
	for _, g := range hsm.Gaps() {
		if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, "gap "+g.String()+" is not declared") }) {
			t.Errorf("gap %s is not told: %q", g, problems)
		}
	}
	if s.Features[0].Ready {
		t.Error("lot keys are said to be ready on a module that cannot keep their policy")
	}
	s.Gaps = []hsm.GapSurvey{{Gap: hsm.GapLocal, Declared: true}}
	if p := s.Problems(); !slices.ContainsFunc(p, func(p string) bool { return strings.Contains(p, "declare it no longer") }) {
		t.Errorf("a gap declared for nothing: %q", p)
	}
}
