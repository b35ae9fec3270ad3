package ledger

import (
	"bytes"
	"crypto/ed25519"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/statement"
)

// TestOrderDesk: the order desk alone signs for an order, and what it cancelled is not released.
func TestOrderDesk(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	if err := b.enlistDesk(); err != nil {
		t.Fatal(err)
	}
	r := b.draft(spec{good: 1})
	word := func(kind string, hash [32]byte) statement.Desk {
		return statement.Desk{Kind: kind, Header: b.header(), Order: r.Order, OrderHash: hash, Reason: "read back to the customer"}
	}
	b.denied(b.say(word(statement.KindTaken, r.OrderHash), "ann", "bob"), "order-desk must sign the order-taken")
	b.denied(b.say(word(statement.KindTaken, [32]byte{9}), "dee"), "another content")
	if err := b.say(word(statement.KindTaken, r.OrderHash), "dee"); err != nil {
		t.Fatal(err)
	}
	before := b.kinds()[entry.KindStatement]
	b.denied(b.say(word(statement.KindCancelled, r.OrderHash), "ann"), "order-desk must sign")
	if err := b.say(word(statement.KindCancelled, r.OrderHash), "dee"); err != nil || b.kinds()[entry.KindStatement] != before+1 {
		t.Fatal(err)
	}
	_, err := b.l.Release(t.Context(), bus.SignedRequest{Signed: b.sign(must(r.Encode()), "ann", "bob").Encode()})
	b.refused(err, bus.FaultRefused)
	b.denied(b.say(word(statement.KindCancelled, r.OrderHash), "dee"), "is cancelled already")
	_, err = b.l.Draft(t.Context(), bus.DraftRequest{Order: r.Order})
	b.denied(err, "is cancelled already")
	b.orders-- // the same file again
	if again := b.submit(b.orderFile(spec{good: 1})); len(again.Faults) != 1 || !strings.Contains(again.Faults[0].Reason, "was cancelled") || again.Duplicate {
		t.Errorf("a cancelled order, submitted again: %+v", again)
	}
	b.check()
}

// TestCancelWithoutProvider: an order whose provider is no longer among the partners can't be released, but the order desk cancels it.
func TestCancelWithoutProvider(t *testing.T) {
	t.Parallel()
	b := newSite(t)
	if err := b.enlistDesk(); err != nil {
		t.Fatal(err)
	}
	r := b.draft(spec{good: 1})
	b.l.cat.Order.Site = order.Site{}
	_, err := b.l.Draft(t.Context(), bus.DraftRequest{Order: r.Order})
	b.refused(err, bus.FaultNotFound)
	o, err := b.l.Order(t.Context(), bus.OrderRequest{Order: r.Order})
	if err != nil || o != (bus.OrderReply{Order: r.Order, Hash: r.OrderHash, State: perso.OrderAccepted}) {
		t.Fatalf("%+v, %v", o, err)
	}
	if err := b.say(statement.Desk{Kind: statement.KindCancelled, Header: b.header(), Order: o.Order, OrderHash: o.Hash, Reason: "the provider is gone"}, "dee"); err != nil {
		t.Fatal(err)
	}
	if o, err = b.l.Order(t.Context(), bus.OrderRequest{Order: r.Order}); err != nil || o.State != perso.OrderRejected {
		t.Errorf("%+v, %v", o, err)
	}
	_, err = b.l.Order(t.Context(), bus.OrderRequest{Order: "NONE"})
	b.refused(err, bus.FaultNotFound)
}

// enlistDesk has two officers take Dee of the order desk into the register.
func (b *bench) enlistDesk() error { return b.enlist("dee", statement.RoleOrderDesk) }

// enlist has them take anybody in.
func (b *bench) enlist(name perso.Name, role statement.Role) error {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{name[0]}, ed25519.SeedSize))
	b.officers[name] = key
	q := b.change(statement.KindAdd, name, func(c *statement.Change) {
		c.Officer = statement.Officer{ID: name, Person: "Person " + string(name), Role: role, Key: key.Public().(ed25519.PublicKey)}
	}, "ann", "bob")
	_, err := b.l.Word(b.t.Context(), q)
	return err
}
