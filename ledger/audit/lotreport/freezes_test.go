package lotreport_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	. "github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/statement"
)

// frost is a site whose people freeze things, and let them go on again.
type frost struct{ *Site }

func (s frost) word(kind string, what statement.Frozen, name, reason string, lifts [32]byte, signers ...perso.Name) [32]byte {
	f := statement.Freeze{Kind: kind, Env: perso.EnvTest, Site: SiteName, What: what, Name: name, Lifts: lifts, Reason: reason, At: s.Tick(), Nonce: Hash("frost %d", len(s.Entries))}
	return s.Word(Sign(Must(f.Encode()), signers...), "")
}

func (s frost) freeze(what statement.Frozen, name, reason string) [32]byte {
	return s.word(statement.KindFreeze, what, name, reason, [32]byte{}, "sec")
}

func (s frost) thaw(what statement.Frozen, name string, frozen [32]byte) {
	s.word(statement.KindUnfreeze, what, name, "it was a drill", frozen, "prod", "sec")
}

// drill freezes something and lifts it, so many times.
func (s frost) drill(times int, what statement.Frozen, name, reason string) {
	for range times {
		s.thaw(what, name, s.freeze(what, name, reason))
	}
}

// freezesOf are the report's rows that tell of freezes.
func freezesOf(t *testing.T, s frost) (rows []string) {
	t.Helper()
	p := pageOf(t, s.Site, s.Bundle("L1"), "L1", false)
	if !p.Audit.OK() {
		t.Fatal(p.Audit.Findings)
	}
	wellFormed(t, write(t, p))
	for _, w := range p.Floor {
		if strings.HasPrefix(w.What, "Frozen") {
			rows = append(rows, fmt.Sprintf("%s: %s (%d)", w.What, w.Says, len(w.Words)))
		}
	}
	return rows
}

// TestFreezesOfABusySite: however often others were frozen, before the lot and while it was made, its report tells each freeze of it, its
// order, its keys and its lines, and no other.
func TestFreezesOfABusySite(t *testing.T) {
	t.Parallel()
	const others = 250
	s := frost{New()}
	s.drill(others, statement.FrozenLine, "line-9", "another line")
	s.drill(1, statement.FrozenLine, "line-1", "before the lot")
	s.drill(1, statement.FrozenKey, "kmc", "before the lot")
	s.drill(1, statement.FrozenOrder, "DEMO-L1", "the order, before its release")
	lot := s.Release("L1", 0, 2, 1)
	s.drill(1, statement.FrozenLine, "line-1", "the line, before a chip came")
	s.drill(others, statement.FrozenLot, "L2", "another lot")
	c := lot.Claim(0, 0, 0, Chip(1))
	c.Run()
	c.Bin()
	s.drill(1, statement.FrozenLine, "line-1", "the line")
	s.drill(1, statement.FrozenKey, "kmc", "a key")
	s.drill(others, statement.FrozenOrder, "DEMO-L2", "another order")
	s.drill(1, statement.FrozenLot, "L1", "the lot")
	s.freeze(statement.FrozenOrder, "DEMO-L1", "the order")
	var want []string
	for _, is := range []string{"order DEMO-L1: the order, before its release", "line line-1: the line, before a chip came", "line line-1: the line", "key kmc: a key", "lot L1: the lot"} {
		want = append(want, "Frozen, and lifted: "+is+"; lifted: it was a drill (2)")
	}
	want = append(want, "Frozen: order DEMO-L1: the order; not lifted (1)")
	if told := freezesOf(t, s); !slices.Equal(told, want) {
		t.Errorf("told is\n%s\nand not\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
}

// TestFreezesOfOneLot: of a lot that was frozen very often the report says how often more than it tells.
func TestFreezesOfOneLot(t *testing.T) {
	t.Parallel()
	s := frost{New()}
	s.Release("L1", 0, 2, 1)
	s.drill(203, statement.FrozenLot, "L1", "again")
	s.freeze(statement.FrozenLot, "L1", "for good")
	told := freezesOf(t, s)
	if last := told[len(told)-1]; len(told) != 201 || last != "Frozen: 4 times more than is told here, of which 1 are not lifted: perso log search freeze (0)" {
		t.Errorf("%d rows, the last is %q", len(told), last)
	}
}

// TestFreezesWithoutRelease: of a lot whose release was deleted its own freezes and its lines' are told, and how many others may have been
// about its order or a key of it.
func TestFreezesWithoutRelease(t *testing.T) {
	t.Parallel()
	s := frost{New()}
	s.drill(1, statement.FrozenKey, "kmc", "before the lot")
	r := s.NewRelease("L1", 0, 2, 1)
	lot := s.Admit(r, "prod", "sec")
	s.drill(1, statement.FrozenKey, "kmc", "a key")
	s.drill(1, statement.FrozenOrder, "DEMO-L1", "the order")
	s.drill(1, statement.FrozenLot, "L1", "the lot")
	lot.Finish()
	s.drill(1, statement.FrozenLine, "line-1", "after its closing")
	f := statement.Forget{Header: statement.Header{Env: perso.EnvTest, Site: SiteName, At: s.Tick(), Nonce: Hash("forget")}, Lot: "L1", Release: lot.Hash,
		Certificate: Hash("certificate"), Good: r.Good, Proof: r.Proof}
	s.Word(Sign(Must(f.Encode()), "prod", "sec"), "L1")
	s.Openings = slices.DeleteFunc(s.Openings, func(o statement.Signed) bool { return o.Hash() == lot.Hash })
	s.drill(1, statement.FrozenKey, "kmc", "when nothing of it was left")
	p := pageOf(t, s.Site, s.Bundle("L1"), "L1", false)
	var rows []string
	for _, w := range p.Floor {
		if strings.HasPrefix(w.What, "Frozen") {
			rows = append(rows, w.What+": "+w.Says)
		}
	}
	want := []string{"Frozen, and lifted: lot L1: the lot; lifted: it was a drill",
		"Frozen: 2 freezes of the site may concern the lot or not: their words, or those of its release, are not in the bundle"}
	if !slices.Equal(rows, want) {
		t.Errorf("told is %q", rows)
	}
}
