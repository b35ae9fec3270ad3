package audit_test

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/ledger/audit"
	. "github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
)

// copyOf is a site that goes on by itself: another history.
func copyOf(s *Site) *Site {
	c := *s
	c.Entries, c.Chains, c.Exports = slices.Clone(s.Entries), maps.Clone(s.Chains), maps.Clone(s.Exports)
	return &c
}

func order(s *Site, name string) {
	s.Append(entry.Order{Commit: Hash("%s", name), Good: 1, At: s.Tick()})
}

// TestHeld: one checkpoint outside the site is enough to find, by name, a log that was rolled back or forked with the log key
// itself. Without it, neither can be seen.
func TestHeld(t *testing.T) {
	t.Parallel()
	s := finished()
	early := s.Checkpoint()
	order(s, "one")
	short, fork := copyOf(s), copyOf(s)
	order(s, "two")
	late := s.Checkpoint()
	order(fork, "another two")
	forked := copyOf(fork)
	order(fork, "three")
	empty := New()
	empty.Entries = nil
	for name, c := range map[string]struct {
		shown *Site
		held  [][]byte
		want  string // beginning of the finding's text; empty for none
	}{
		"nothing held":               {fork, nil, ""},
		"continues":                  {s, [][]byte{early}, ""},
		"continues both, and itself": {s, [][]byte{late, early, late}, ""},
		"continues the empty log":    {s, [][]byte{empty.Checkpoint()}, ""},
		"rolled back":                {short, [][]byte{early, late}, "ROLLED BACK: the log had "},
		"forked, of the same size":   {forked, [][]byte{late, early}, "FORKED: the first "},
		"forked, and grown":          {fork, [][]byte{late}, "FORKED: the first "},
		"no checkpoint":              {s, [][]byte{[]byte("x")}, "opening checkpoint"},
	} {
		o := pins(s)
		for _, note := range c.held {
			o.Held = append(o.Held, audit.Held{Name: "kept", Note: note})
		}
		r, err := audit.Verify(c.shown.Bundle("L1"), o)
		if err != nil {
			t.Fatal(err)
		}
		if c.want == "" {
			if !r.OK() {
				t.Errorf("%s: %v", name, r.Findings)
			}
			continue
		}
		if len(r.Findings) != 1 || r.Findings[0].Place != "held checkpoint kept" || !strings.HasPrefix(r.Findings[0].What, c.want) {
			t.Errorf("%s: %v, want %q", name, r.Findings, c.want)
		}
	}
}

// TestQuorum: as many of the known witnesses as were asked for, each once, and of this checkpoint.
func TestQuorum(t *testing.T) {
	t.Parallel()
	s := finished()
	now := time.Unix(1_800_000_000, 0)
	var keys []checkpoint.WitnessKey
	o := pins(s)
	for i, name := range []string{"first.example", "second.example", "third.example"} {
		keys = append(keys, Must(checkpoint.NewWitnessKey(name, bytes.Repeat([]byte{byte(i + 1)}, 32))))
		o.Witnesses = append(o.Witnesses, keys[i].Witness)
	}
	old := Must(keys[2].Cosign(s.Checkpoint(), now))
	order(s, "one more")
	note := s.Checkpoint()
	first := Must(keys[0].Cosign(note, now))
	both := Must(keys[1].Cosign(first, now))
	for name, c := range map[string]struct {
		held   [][]byte
		quorum int
		ok     bool
	}{
		"none asked for":             {nil, 0, true},
		"one of one":                 {[][]byte{first}, 1, true},
		"two in one note":            {[][]byte{both}, 2, true},
		"one, told twice":            {[][]byte{first, first}, 2, false},
		"the third's is of an older": {[][]byte{both, old}, 3, false},
		"nobody":                     {nil, 1, false},
	} {
		o := o
		o.Quorum = c.quorum
		for _, h := range c.held {
			o.Held = append(o.Held, audit.Held{Name: "kept", Note: h})
		}
		r, err := audit.Verify(s.Bundle("L1"), o)
		if err != nil || r.OK() != c.ok {
			t.Errorf("%s: %v, %v", name, err, r.Findings)
		}
		if !c.ok && r.Findings[0].Place != "witnesses" {
			t.Errorf("%s: found at %q", name, r.Findings[0].Place)
		}
	}
}

// TestLogProofs: what a bundle's tiles prove, checked by the other side's code: growth from every size, and each entry's place.
func TestLogProofs(t *testing.T) {
	t.Parallel()
	s := New()
	s.Release("L1", 0, 1, 1)
	for len(s.Entries) < 600 {
		order(s, "more")
	}
	log, err := audit.OpenLog(s.Bundle("L1"), Public(s.LogKey))
	if err != nil {
		t.Fatal(err)
	}
	now := log.Checkpoint
	for _, old := range []int64{0, 1, 2, 255, 256, 257, 511, 512, 599, 600} {
		before := checkpoint.Checkpoint{Origin: Origin, Size: old, Root: Must(log.Root(old))}
		proof, err := log.Consistency(old)
		if err == nil {
			err = checkpoint.CheckConsistency(before, now, proof)
		}
		if err != nil {
			t.Errorf("from %d: %v", old, err)
		}
		before.Root[0] ^= 1
		if old > 0 && checkpoint.CheckConsistency(before, now, proof) == nil {
			t.Errorf("from %d: another root is proven", old)
		}
	}
	var seen int64
	if err := log.Each(func(seq int64, body []byte) error {
		seen++
		if seq%37 != 0 {
			return nil
		}
		return checkpoint.CheckInclusion(now, seq, body, Must(log.Inclusion(seq)))
	}); err != nil || seen != 600 {
		t.Errorf("%d entries, %v", seen, err)
	}
	if _, err := log.Consistency(601); err == nil {
		t.Error("grown from more than it has")
	}
	spoilt := s.Bundle("L1")
	spoilt["log/tile/entries/001"].Data[500] ^= 1
	log, err = audit.OpenLog(spoilt, Public(s.LogKey))
	if err == nil {
		err = log.Each(func(int64, []byte) error { return nil })
	}
	if err == nil || !strings.Contains(err.Error(), "is not the one that was signed") {
		t.Errorf("a changed entry: %v", err)
	}
}
