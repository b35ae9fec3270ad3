package audit_test

import (
	"strings"
	"testing"

	. "github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/statement"
)

// TestOrderDesk: the order desk's word is its own, and what it cancelled is not released.
func TestOrderDesk(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind   string
		signer perso.Name
		want   string
	}{
		"taken":           {statement.KindTaken, "dee", ""},
		"taken by others": {statement.KindTaken, "prod", "order-desk must sign the order-taken"},
		"cancelled":       {statement.KindCancelled, "dee", "the order desk had cancelled order DEMO-L1"},
	} {
		s := New()
		s.Enlist("dee", statement.RoleOrderDesk)
		w := &world{Site: s}
		r := s.NewRelease("L1", 0, 2, 1)
		d := statement.Desk{Kind: c.kind, Header: w.head(), Order: r.Order, OrderHash: r.OrderHash, Reason: "read back"}
		w.Word(Sign(Must(d.Encode()), c.signer), "")
		w.lot = s.Admit(r, "prod", "sec")
		got, err := w.verify()
		if err != nil || (c.want == "") != got.OK() || c.want != "" && !strings.Contains(got.Findings[0].What, c.want) {
			t.Errorf("%s: %v, %v", name, err, got.Findings)
		}
	}
}
