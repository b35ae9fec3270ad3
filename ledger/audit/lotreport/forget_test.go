package lotreport_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/ledger/audit"
	. "github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// without is a finished lot of two whose release is not in the bundle: deleted on two officers' word, or gone.
func without(signed bool) (s *Site, release [32]byte) {
	s = New()
	r := s.NewRelease("L1", 0, 2, 1)
	r.Proof = "scp-reopen, authenticate"
	lot := s.Admit(r, "prod", "sec")
	lot.Finish()
	if signed {
		f := statement.Forget{Header: statement.Header{Env: perso.EnvTest, Site: SiteName, At: s.Tick(), Nonce: Hash("forget")}, Lot: "L1", Release: lot.Hash,
			Certificate: Hash("certificate"), Good: r.Good, Proof: r.Proof}
		s.Word(Sign(Must(f.Encode()), "prod", "sec"), "L1")
	}
	s.Openings = slices.DeleteFunc(s.Openings, func(o statement.Signed) bool { return o.Hash() == lot.Hash })
	return s, lot.Hash
}

// TestForgotten: a report on a lot whose release was deleted tells on whose word, and what that word repeats of it; of one that is merely gone
// it says that nobody signed for it, and makes up no number.
func TestForgotten(t *testing.T) {
	t.Parallel()
	for signed, want := range map[bool][]string{
		true: {"its order and release deleted", "<td>Deletion of order and release</td><td>Person prod (production, prod) and Person sec", "were deleted on the word of Person prod",
			"That 2 units were ordered", "<b>2</b><span>ordered</span>", `<td>spare identities released</td><td class="n">–</td>`, "What “good” means <small>scp-reopen, authenticate</small>"},
		false: {"not in this bundle, and nobody signed that they be deleted", "<b>–</b><span>ordered</span>", `<td>ordered, and released as good</td><td class="n">–</td>`},
	} {
		s, _ := without(signed)
		text := write(t, pageOf(t, s, s.Bundle("L1"), "L1", false))
		wellFormed(t, text)
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("signed %v: %q is not in the report", signed, w)
			}
		}
		for _, word := range []string{"deleted on the word of", "as the word of its deletion says"} {
			if told := strings.Contains(text, word); told != signed {
				t.Errorf("signed %v: %q is told: %v", signed, word, told)
			}
		}
	}
}

// TestProofWithoutWords: a proof of a lot names the release whose words are deleted, and says which word had them deleted.
func TestProofWithoutWords(t *testing.T) {
	t.Parallel()
	for _, signed := range []bool{true, false} {
		s, release := without(signed)
		l := Must(audit.OpenLog(s.Bundle("L1"), Public(s.LogKey)))
		c := Must(Must(l.Prove(audit.Subject{Kind: audit.SubjectLot, Key: "L1"})).Check(Public(s.LogKey)))
		all := c.Wordless()
		if len(all) != 1 || all[0].Hash != release || all[0].What != statement.KindRelease || all[0].Deleted != signed || !named(c, all[0].Seq, release) {
			t.Errorf("signed %v: %+v", signed, all)
		}
	}
	s := New()
	s.Release("L1", 0, 2, 1).Finish()
	l := Must(audit.OpenLog(s.Bundle("L1"), Public(s.LogKey)))
	if all := Must(Must(l.Prove(audit.Subject{Kind: audit.SubjectLot, Key: "L1"})).Check(Public(s.LogKey))).Wordless(); len(all) != 0 {
		t.Errorf("of a whole lot: %+v", all)
	}
}

func named(c audit.Checked, seq int64, hash [32]byte) bool {
	return slices.ContainsFunc(c.Entries, func(p audit.Proven) bool {
		e, err := entry.ParseStatement(p.Body)
		return err == nil && p.Seq == seq && e.Hash == hash
	})
}
