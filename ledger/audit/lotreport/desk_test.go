package lotreport_test

import (
	"slices"
	"strings"
	"testing"

	. "github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/ledger/audit/lotreport"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/statement"
)

// TestOrderDeskIsTold: the report says who took the lot's order in, when, and that an order was cancelled; what the desk said of another
// order is not told.
func TestOrderDeskIsTold(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind   string
		about  perso.Name // the lot whose order it is
		delete bool
		want   []string
	}{
		"taken":      {statement.KindTaken, "L1", false, []string{`<td class="w">Order taken in</td><td>order DEMO-L1, signed 2027-03-01 08:00:00 UTC: read back to the buyer</td><td>Person dee (order-desk, dee)`, "entry 4<"}},
		"cancelled":  {statement.KindCancelled, "L1", false, []string{`<td class="w">Order cancelled</td><td class="warn">order DEMO-L1, signed 2027-03-01 08:00:00 UTC: read back to the buyer</td><td>Person dee (order-desk, dee)`}},
		"of another": {statement.KindTaken, "L2", false, []string{"the order desk signed nothing about the order"}},
		"deleted":    {statement.KindTaken, "L1", true, []string{"the words were deleted with the release", "entry 4<"}},
	} {
		s := New()
		s.Enlist("dee", statement.RoleOrderDesk)
		head := func(what string) statement.Header {
			return statement.Header{Env: perso.EnvTest, Site: SiteName, At: s.Tick(), Nonce: Hash("%s", what)}
		}
		r := s.NewRelease("L1", 0, 1, 1)
		about := r
		if c.about != r.Lot {
			about = s.NewRelease(c.about, 1, 1, 1)
		}
		desk := s.Word(Sign(Must(statement.Desk{Kind: c.kind, Header: head("desk"), Order: about.Order, OrderHash: about.OrderHash, Reason: "read back to the buyer"}.Encode()), "dee"), "")
		lot := s.Admit(r, "prod", "sec")
		if c.delete {
			f := statement.Forget{Header: head("forget"), Lot: "L1", Release: lot.Hash, Certificate: Hash("certificate"), Good: r.Good, Proof: r.Proof, Taken: [][32]byte{desk}}
			s.Word(Sign(Must(f.Encode()), "prod", "sec"), "L1")
			s.Openings = slices.DeleteFunc(s.Openings, func(o statement.Signed) bool { return o.Hash() == desk || o.Hash() == lot.Hash })
		}
		p := pageOf(t, s, s.Bundle("L1"), "L1", false)
		text := write(t, p)
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is not in the report: %+v", name, want, told(p))
			}
		}
		if told := strings.Contains(text, "read back to the buyer"); told != (c.about == "L1" && !c.delete) {
			t.Errorf("%s: the desk's reason is told: %v", name, told)
		}
		wellFormed(t, text)
	}
}

func told(p lotreport.Page) (all []string) {
	for _, w := range p.Floor {
		all = append(all, w.What+": "+w.Says)
	}
	return all
}
