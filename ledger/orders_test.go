package ledger

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// TestOrders: the desk sees each order with its quantities, and whether it is released, whatever became of it.
func TestOrders(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	if r := must(b.l.Orders(t.Context(), bus.OrdersRequest{})); len(r.Orders) != 0 || r.More {
		t.Errorf("of none: %+v", r)
	}
	b.secretive()
	b.destroyed()
	gone := b.lot
	b.pass(1)
	waits := b.draft(spec{good: 4, spares: 2})
	b.pass(1)
	b.makeLot(spec{good: 3, spares: 1})
	made := b.lot
	b.makeGood(b.one(), 0)
	b.pass(1)
	off := b.draft(spec{good: 7})
	if err := b.say(statement.Desk{Kind: statement.KindCancelled, Header: b.header(), Order: off.Order, OrderHash: off.OrderHash, Reason: "not wanted"}, "dee"); err != nil {
		t.Fatal(err)
	}
	r := must(b.l.Orders(t.Context(), bus.OrdersRequest{}))
	product := "m2m-200s-mff2"
	want := []bus.OrderTold{
		{Order: "SECRET-1", State: perso.OrderReleased, Customer: "Secret Meters", Product: product, Quantity: 1, Lot: gone, LotState: perso.LotClosed, Good: 1},
		{Order: waits.Order, State: perso.OrderAccepted, Customer: "Test Meters", Product: product, Quantity: 4, Spares: 2},
		{Order: string(must(b.l.lot(t.Context(), made)).order), State: perso.OrderReleased, Customer: "Test Meters", Product: product, Quantity: 3, Spares: 1, Lot: made, LotState: perso.LotRunning, Good: 1},
		{Order: off.Order, State: perso.OrderRejected, Customer: "Test Meters", Product: product, Quantity: 7},
	}
	b.ordersAre(r.Orders, want)
	if n := must(b.l.Orders(t.Context(), bus.OrdersRequest{Skip: 3})); len(n.Orders) != 1 || n.Orders[0].Order != off.Order || n.More {
		t.Errorf("the last: %+v", n)
	}
	if n := must(b.l.Orders(t.Context(), bus.OrdersRequest{Skip: 99})); len(n.Orders) != 0 || n.More {
		t.Errorf("beyond the last: %+v", n)
	}
	if lots := must(b.l.Lots(t.Context(), bus.Empty{})); fmt.Sprint(lots.Accepted) != fmt.Sprint([]string{waits.Order}) || lots.Waiting != 1 {
		t.Errorf("beside the lots: %v, %d", lots.Accepted, lots.Waiting)
	}
	b.in(gone)
	if err := b.say(b.forget(nil), "ann", "bob"); err != nil {
		t.Fatal(err)
	}
	want[0].Customer, want[0].Product, want[0].Deleted = "", "", true
	b.ordersAre(must(b.l.Orders(t.Context(), bus.OrdersRequest{})).Orders, want)
}

func (b *bench) ordersAre(got, want []bus.OrderTold) {
	b.t.Helper()
	if len(got) != len(want) {
		b.t.Fatalf("%d orders, want %d: %+v", len(got), len(want), got)
	}
	for i, w := range want {
		if got[i].TakenIn.IsZero() || i > 0 && got[i].TakenIn.Before(got[i-1].TakenIn) {
			b.t.Errorf("order %d was taken in %s", i, got[i].TakenIn)
		}
		if w.TakenIn = got[i].TakenIn; got[i] != w {
			b.t.Errorf("order %d is %+v, want %+v", i, got[i], w)
		}
	}
}

// TestManyOrders: more than an answer holds come one answer after the other, each once, also those that were taken in together.
func TestManyOrders(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	first := b.draft(spec{good: 1}).Order
	const more = 2*bus.MaxOrdersTold + 1
	if err := b.db.Update(t.Context(), func(tx sqldb.Tx) error {
		for i := range more {
			number, hash := fmt.Sprintf("MANY-%05d", (i*7919)%more), sha256.Sum256(fmt.Append(nil, i))
			if _, err := tx.Exec(t.Context(), `INSERT INTO customer_order (order_id, hash, nonce, canonical, resolved, state, created)
				SELECT $1, $2, nonce, canonical, resolved, state, created + $3 FROM customer_order WHERE order_id = $4`, number, hash[:], int64(i%3), first); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	seen, answers := map[string]bool{}, 0
	for skip, more := uint64(0), true; more; answers++ {
		r := must(b.l.Orders(t.Context(), bus.OrdersRequest{Skip: skip}))
		for _, o := range r.Orders {
			if seen[o.Order] {
				t.Fatalf("%s twice", o.Order)
			}
			seen[o.Order] = true
		}
		skip, more = skip+uint64(len(r.Orders)), r.More
	}
	if len(seen) != more+1 || answers != 3 {
		t.Errorf("%d orders in %d answers", len(seen), answers)
	}
	lots := must(b.l.Lots(t.Context(), bus.Empty{}))
	if len(lots.Accepted) != maxAccepted || lots.Waiting != more+1 {
		t.Errorf("%d named of %d", len(lots.Accepted), lots.Waiting)
	}
}

// TestKeptSamplesAreTold: who hands an order in, and who drafts its release, hears how many good units quality keeps of it, by the site's policy
// or by its own demand.
func TestKeptSamplesAreTold(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	tell := func(asks string, want uint64) {
		t.Helper()
		file := b.orderFile(spec{good: 10, asks: asks})
		for range 2 { // also when it is known already
			if a := b.submit(file); len(a.Faults) > 0 || a.Kept != want {
				t.Errorf("%q: %d are kept, want %d; %v", asks, a.Kept, want, a.Faults)
			}
		}
		if d := must(b.l.Draft(t.Context(), bus.DraftRequest{Order: fmt.Sprintf("TEST-%04d", b.orders)})); d.Kept != want {
			t.Errorf("%q, drafted: %d are kept, want %d", asks, d.Kept, want)
		}
	}
	tell("", 0)
	tell("samples output 20:3/0", 0)
	tell("samples kept 20:3/0", 3)
	if err := b.say(statement.Policy{Header: b.header(), Sampling: "kept 20:2/0"}, "ann", "bob"); err != nil {
		t.Fatal(err)
	}
	tell("", 2)
	tell("samples output 20:5/0", 5)
}
