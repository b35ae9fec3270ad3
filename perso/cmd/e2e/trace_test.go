package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/cmd/cli"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
)

// life is what trace tells of a unit.
type life struct {
	Lot     perso.Name `json:"lot"`
	Unit    perso.Unit `json:"unit"`
	Entries []lived    `json:"entries"`
}

type lived struct {
	Seq  int64  `json:"seq"`
	Kind string `json:"kind"`
	Body string `json:"body"`
}

func (f *factory) trace(t *testing.T, key string) (l life) {
	t.Helper()
	r := f.at(t, "trace", "--json", key)
	if err := json.Unmarshal([]byte(r.out), &l); err != nil || r.code != 0 {
		t.Fatalf("tracing %s: exit %d, %v: %s%s", key, r.code, err, r.out, r.err)
	}
	return l
}

// parsed gives the entries of one kind, and where they stand.
func parsed[T any](t *testing.T, l life, kind string, parse func([]byte) (T, error)) (all []T, seqs []int64) {
	t.Helper()
	for _, e := range l.Entries {
		if e.Kind != kind {
			continue
		}
		v, err := parse([]byte(e.Body))
		if err != nil {
			t.Fatal(err)
		}
		all, seqs = append(all, v), append(seqs, e.Seq)
	}
	return all, seqs
}

// traces: the life of a unit that was made twice is told whole, by any of its names.
func traces(t *testing.T, f *factory) {
	lost := slices.IndexFunc(f.chips, func(c chip) bool { return c.bin == perso.VerdictRejectLive })
	if lost < 0 {
		t.Fatal("no chip was lost")
	}
	dead := f.chips[lost]
	l := f.trace(t, dead.Chip.String())
	claims, _ := parsed(t, l, entry.KindClaim, entry.ParseClaim)
	outcomes, outcomeSeqs := parsed(t, l, entry.KindOutcome, entry.ParseOutcome)
	if len(claims) != 2 || len(outcomes) != 2 || l.Lot != lotName {
		t.Fatalf("lot %s: %d claims and %d outcomes, want 2 and 2", l.Lot, len(claims), len(outcomes))
	}
	first, second := claims[0], claims[1]
	if first.Gen != 0 || first.Chip != dead.Chip || outcomes[0].Verdict != perso.VerdictRejectLive || outcomes[0].Chip != dead.Chip {
		t.Errorf("generation 0 is %+v, ended %+v", first, outcomes[0])
	}
	if second.Gen != 1 || second.Unit != first.Unit || second.EID == first.EID || int64(second.Loss) != outcomeSeqs[0] || outcomes[1].Verdict != perso.VerdictGood {
		t.Errorf("generation 1 is %+v, ended %+v; the loss stands at %d", second, outcomes[1], outcomeSeqs[0])
	}
	heir := f.chipWith(t, second.EID.String())
	if heir.Chip != second.Chip || dead.eid != "" && dead.eid != first.EID.String() {
		t.Errorf("the log says chip %s after chip %s, the chips with these EIDs are %s and %s", second.Chip, first.Chip, heir.Chip, dead.Chip)
	}
	if !slices.IsSortedFunc(l.Entries, func(a, b lived) int { return int(a.Seq - b.Seq) }) {
		t.Error("the entries are not in order")
	}
	bins, _ := parsed(t, l, entry.KindBin, entry.ParseBin)
	if !slices.ContainsFunc(bins, func(b entry.Bin) bool { return b.Chip == dead.Chip && b.Bin == perso.VerdictRejectLive }) ||
		!slices.ContainsFunc(bins, func(b entry.Bin) bool { return b.Chip == heir.Chip && b.Bin == perso.VerdictGood }) {
		t.Errorf("the bins are %+v", bins)
	}
	iccid, err := id.ParseICCID(heir.iccid)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{first.EID.String(), second.EID.String(), heir.Chip.String(), iccid.String(), iccid.Padded()} {
		if other := f.trace(t, key); other.Unit != l.Unit || len(other.Entries) != len(l.Entries) {
			t.Errorf("by %s it is unit %d with %d entries, by chip %s unit %d with %d", key, other.Unit, len(other.Entries), dead.Chip, l.Unit, len(l.Entries))
		}
	}
	f.traceInWords(t, second)
}

// traceInWords: what people read says the same.
func (f *factory) traceInWords(t *testing.T, c entry.Claim) {
	t.Helper()
	r := f.at(t, "trace", c.EID.String())
	for _, want := range []string{"unit ", "as generation 1 after the loss at", "is reject-live", "with EID " + c.EID.String() + " is good", "lies in the reject-live bin", "lies in the good bin"} {
		if r.code != 0 || !strings.Contains(r.out, want) {
			t.Errorf("exit %d, no %q in\n%s%s", r.code, want, r.out, r.err)
		}
	}
	for eid, code := range map[string]int{"89049099009999999999999999999963": cli.ExitFailed, "89049099009999999999999999999927": cli.ExitUsage} { // the second was mistyped
		if r := f.at(t, "trace", eid); r.code != code || r.err == "" {
			t.Errorf("EID %s, that nobody has: exit %d, want %d, %s", eid, r.code, code, r.err)
		}
	}
}
