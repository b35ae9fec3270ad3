package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// TestOrderList: every order with its quantities and state, however many answers that takes, and which of them nobody has released.
func TestOrderList(t *testing.T) {
	t.Parallel()
	all := []bus.OrderTold{
		{Order: "A-1", State: perso.OrderReleased, TakenIn: epoch, Customer: "Meters", Product: "m2m-200s-mff2", Quantity: 20, Spares: 4, Lot: "L-A-1", LotState: perso.LotRunning, Good: 3},
		{Order: "A-2", State: perso.OrderAccepted, TakenIn: epoch, Customer: "Meters", Product: "m2m-200s-mff2", Quantity: 30, Spares: 5},
		{Order: "A-3", State: perso.OrderRejected, TakenIn: epoch, Customer: "Meters", Product: "m2m-200s-mff2", Quantity: 40},
		{Order: "A-4", State: perso.OrderReleased, TakenIn: epoch, Quantity: 1, Lot: "L-A-4", LotState: perso.LotClosed, Good: 1, Deleted: true},
	}
	asked := 0
	office := ledger{bus.OfficeOrders: answer(func(q bus.OrdersRequest) (bus.OrdersReply, error) {
		asked++
		rest := all[q.Skip:]
		return bus.OrdersReply{Orders: rest[:min(3, len(rest))], More: len(rest) > 3}, nil
	})}
	r := run(t, office, nil, "order", "list")
	if r.code != ExitOK || asked != 2 || !strings.Contains(r.err, "accepted, and not released: A-2; next: perso order draft A-2 -o FILE") {
		t.Errorf("exit %d, asked %d times: %s", r.code, asked, r.err)
	}
	lines := strings.Split(r.out, "\n")
	for i, want := range []string{"ORDER STATE QUANTITY SPARES PRODUCT TAKEN IN LOT LOT STATE GOOD CUSTOMER", "A-1 released 20 4 m2m-200s-mff2 " + clock(epoch) + " L-A-1 running 3 Meters",
		"A-2 accepted, not released 30 5 m2m-200s-mff2 " + clock(epoch) + " - - - Meters", "A-3 cancelled 40 0 m2m-200s-mff2 " + clock(epoch) + " - - - Meters",
		"A-4 released 1 0 (deleted) " + clock(epoch) + " L-A-4 closed 1 (deleted)", ""} {
		if i >= len(lines) || strings.Join(strings.Fields(lines[i]), " ") != want {
			t.Fatalf("line %d is not %q:\n%s", i, want, r.out)
		}
	}
	var listed struct{ Orders []bus.OrderTold }
	r = run(t, office, nil, "--json", "order", "list")
	if err := json.Unmarshal([]byte(r.out), &listed); err != nil || len(listed.Orders) != 4 || listed.Orders[1] != all[1] {
		t.Errorf("%v: %s", err, r.out)
	}
	all = nil
	if r = run(t, office, nil, "--json", "order", "list"); r.code != ExitOK || r.out != "{\"orders\":[]}\n" || strings.Contains(r.err, "not released") {
		t.Errorf("without orders: %s%s", r.out, r.err)
	}
}

// TestOrdersBesideLots: whoever looks at the lots sees which orders became none yet.
func TestOrdersBesideLots(t *testing.T) {
	t.Parallel()
	var a bus.LotsReply
	office := ledger{bus.OfficeLots: answer(func(bus.Empty) (bus.LotsReply, error) { return a, nil })}
	if r := run(t, office, nil, "lot", "list"); r.code != ExitOK || strings.Contains(r.err, "not released") {
		t.Errorf("without orders: %s", r.err)
	}
	for i := range 20 {
		a.Accepted = append(a.Accepted, fmt.Sprintf("A-%d", i))
	}
	a.Waiting = 33
	if r := run(t, office, nil, "lot", "list"); r.code != ExitOK || !strings.Contains(r.err, "accepted, and not released: A-0, A-1, A-2, A-3, A-4 and 28 more ('perso order list')") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	if r := run(t, office, nil, "lot", "list", "--json"); !strings.Contains(r.out, `"A-19"],"orders_not_released_count":33`) {
		t.Error(r.out)
	}
}

// TestUnknownOrder: who names an order that is not there hears where they stand.
func TestUnknownOrder(t *testing.T) {
	t.Parallel()
	none := bus.Refuse(bus.FaultNotFound, "no order %q", "NONE")
	office := ledger{
		bus.OfficeDraft: answer(func(bus.DraftRequest) (bus.DraftReply, error) { return bus.DraftReply{}, none }),
		bus.OfficeOrder: answer(func(bus.OrderRequest) (bus.OrderReply, error) { return bus.OrderReply{}, none }),
		bus.OfficeStanding: answer(func(bus.Empty) (bus.StandingReply, error) {
			return bus.StandingReply{Env: perso.EnvTest, Site: "site-1", Now: epoch}, nil
		}),
	}
	for _, command := range []string{"order draft NONE", "order draft-taken NONE --reason x", "order draft-cancel NONE --reason x"} {
		if r := run(t, office, nil, strings.Fields(command)...); r.code != ExitFailed || !strings.Contains(r.err, `no order "NONE"`) || !strings.Contains(r.err, "'perso order list' lists them") {
			t.Errorf("%s: exit %d: %s", command, r.code, r.err)
		}
	}
}

// TestKeptSamplesHint: samples that quality keeps come out of what was ordered, and who orders and who drafts the release hears it.
func TestKeptSamplesHint(t *testing.T) {
	t.Parallel()
	kept := uint64(0)
	body, good := encoded(t, audittest.New().NewRelease("L1", 0, 20, 4)), 20
	order := filepath.Join(t.TempDir(), "order.json")
	if err := create(order, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	office := ledger{
		bus.OfficeSubmit: answer(func(bus.SubmitRequest) (bus.SubmitReply, error) {
			return bus.SubmitReply{Order: "A-1", Lot: "L-A-1", Kept: kept}, nil
		}),
		bus.OfficeDraft: answer(func(bus.DraftRequest) (bus.DraftReply, error) { return bus.DraftReply{Body: body, Kept: kept}, nil }),
	}
	for _, kept = range []uint64{0, 3} {
		submitted, drafted := run(t, office, nil, "order", "submit", order), run(t, office, nil, "order", "draft", "A-1")
		if submitted.code != ExitOK || drafted.code != ExitOK {
			t.Fatalf("%s%s", submitted.err, drafted.err)
		}
		if got := strings.Contains(submitted.err, keptHint+": 3 or a few more. Order as many more"); got != (kept > 0) {
			t.Errorf("%d kept: submitted: %s", kept, submitted.err)
		}
		if got := strings.Contains(drafted.err, fmt.Sprintf("%s: of %d good units at most %d are delivered", keptHint, good, good-3)); got != (kept > 0) {
			t.Errorf("%d kept: drafted: %s", kept, drafted.err)
		}
	}
	if r := run(t, office, nil, "--json", "order", "submit", order); !strings.Contains(r.out, `"kept_samples":3`) {
		t.Error(r.out)
	}
}

// TestKeptSamplesOfAFile: an order that asks for it by itself is told of before there is a site.
func TestKeptSamplesOfAFile(t *testing.T) {
	t.Parallel()
	deploy := filepath.Join("..", "..", "..", "deploy")
	sample, err := os.ReadFile(filepath.Join(deploy, "samples", "orders", "small-20.json"))
	if err != nil {
		t.Fatal(err)
	}
	for plan, want := range map[string]bool{"kept": true, "output": false} {
		file := filepath.Join(t.TempDir(), "order.json")
		if err := create(file, bytes.Replace(sample, []byte(`"version": 1,`), fmt.Appendf(nil, `"version": 1, "asks": "samples %s 50:4/0",`, plan), 1)); err != nil {
			t.Fatal(err)
		}
		r := run(t, nil, nil, "order", "check", file, "--products", filepath.Join(deploy, "products"), "--partners", filepath.Join(deploy, "partners"))
		if told := strings.Contains(r.err, keptHint+": of 20 good units at most 16 are delivered"); r.code != ExitOK || told != want {
			t.Errorf("%s: exit %d: %s", plan, r.code, r.err)
		}
	}
}

// TestNobodyCanSign: what stands without whom the register has no more is said loudly: at the revocation, and by those who ask how the site stands.
func TestNobodyCanSign(t *testing.T) {
	t.Parallel()
	stands := []string{"no lot can be released under the site's policy: 1 of quality must sign", "lot L1: nobody can sign"}
	signed := filepath.Join(t.TempDir(), "revoked.signed")
	change := statement.Signed{Body: encoded(t, statement.Change{Kind: statement.KindRevoke, Prev: [32]byte{1}, At: epoch, Nonce: [32]byte{2}, Officer: statement.Officer{ID: "qua", Person: "Qua", Role: statement.RoleQuality, Key: make([]byte, 32)}})}
	if err := create(signed, change.Encode()); err != nil {
		t.Fatal(err)
	}
	office := ledger{
		bus.OfficeStanding: answer(func(bus.Empty) (bus.StandingReply, error) {
			return bus.StandingReply{Env: perso.EnvTest, Site: "site-1", Now: epoch, Unmanned: stands}, nil
		}),
		bus.OfficeWord: answer(func(bus.SignedRequest) (bus.WordReply, error) {
			return bus.WordReply{Kind: statement.KindRevoke, Unmanned: stands}, nil
		}),
	}
	for _, command := range []string{"hand-in " + signed, "policy show", "frozen"} {
		r := run(t, office, nil, strings.Fields(command)...)
		if r.code != ExitOK || strings.Count(r.err, "NOBODY CAN SIGN: ") != 2 || !strings.Contains(r.err, stands[1]) {
			t.Errorf("%s: exit %d: %s", command, r.code, r.err)
		}
		if r := run(t, office, nil, strings.Fields("--json "+command)...); !strings.Contains(r.out, `"nobody_can_sign":["no lot`) {
			t.Errorf("%s: %s", command, r.out)
		}
	}
}

// TestLongReasons: a reason that nobody reads is neither drafted nor signed.
func TestLongReasons(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := filepath.Join(dir, "sec.key")
	if r := run(t, nil, nil, "officer", "new", "sec", "--person", "Second Person", "--role", "security", "-o", key); r.code != ExitOK {
		t.Fatal(r.err)
	}
	office := ledger{
		bus.OfficeStanding: answer(func(bus.Empty) (bus.StandingReply, error) {
			return bus.StandingReply{Env: perso.EnvTest, Site: "site-1", Now: epoch, Frozen: []bus.FrozenThing{{What: "lot", Name: "L1", Hash: [32]byte{1}}}}, nil
		}),
		bus.OfficeOrder: answer(func(bus.OrderRequest) (bus.OrderReply, error) {
			return bus.OrderReply{Order: "A-1", Hash: [32]byte{1}, State: perso.OrderAccepted}, nil
		}),
	}
	long := strings.Repeat("x", statement.MaxReasonBytes+1)
	draft := filepath.Join(dir, "draft")
	for _, args := range [][]string{{"freeze", "line", "line-1", "--key", key, "--yes"}, {"draft-unfreeze", "lot", "L1", "-o", draft}, {"order", "draft-cancel", "A-1", "-o", draft}} {
		if r := run(t, office, nil, append(args, "--reason", long)...); r.code != ExitUsage || !strings.Contains(r.err, "say it shortly") {
			t.Errorf("%s: exit %d: %s", args[0], r.code, r.err)
		}
	}
	f := statement.Freeze{Kind: statement.KindFreeze, Env: perso.EnvTest, Site: "site-1", What: statement.FrozenLine, Name: "line-1", Reason: long, At: epoch, Nonce: [32]byte{1}}
	if err := create(draft, encoded(t, f)); err != nil { // another program's
		t.Fatal(err)
	}
	if r := run(t, nil, nil, "officer", "sign", draft, "--key", key, "--yes"); r.code != ExitFailed || !strings.Contains(r.err, "say it shortly") {
		t.Errorf("signing it: exit %d: %s", r.code, r.err)
	}
}

func encoded(t *testing.T, s interface{ Encode() ([]byte, error) }) []byte {
	t.Helper()
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}
