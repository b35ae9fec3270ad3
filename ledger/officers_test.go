package ledger

import (
	"strings"
	"testing"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// change signs a change of the register that follows its head.
func (b *bench) change(kind string, id perso.Name, spoil func(*statement.Change), officers ...perso.Name) bus.SignedRequest {
	b.t.Helper()
	c := statement.Change{Kind: kind, At: b.clock(), Nonce: [32]byte{3}}
	if err := b.db.View(b.t.Context(), func(tx sqldb.Tx) error {
		reg, err := b.l.register(b.t.Context(), tx)
		if err == nil {
			c.Prev = reg.Head
			c.Officer, _ = reg.Officer(id)
		}
		return err
	}); err != nil {
		b.t.Fatal(err)
	}
	if spoil != nil {
		spoil(&c)
	}
	return bus.SignedRequest{Signed: b.sign(must(c.Encode()), officers...).Encode()}
}

// TestOfficerIsRevoked: who was dismissed signs nothing from the moment that two others hand that in, in every process and before
// the vault; a change that is not the register's next, or not signed by two, changes nothing.
func TestOfficerIsRevoked(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1})
	revoke := func(spoil func(*statement.Change), officers ...perso.Name) bus.SignedRequest {
		return b.change(statement.KindRevoke, "cid", spoil, officers...)
	}
	for want, q := range map[string]bus.SignedRequest{
		"two officers":     revoke(nil, "ann"),
		"person and role":  revoke(nil, "ann", "cid"),
		"it follows":       revoke(func(c *statement.Change) { c.Prev[0]++ }, "ann", "bob"),
		"does not repeat":  revoke(func(c *statement.Change) { c.Officer.Person = "Dora" }, "ann", "bob"),
		"is already in th": revoke(func(c *statement.Change) { c.Kind = statement.KindAdd }, "ann", "bob"),
	} {
		if _, err := b.l.Word(t.Context(), q); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	if _, err := b.freeze(statement.KindFreeze, statement.FrozenLine, "line-9", [32]byte{}, "cid"); err != nil {
		t.Fatalf("before it: %v", err)
	}
	word := revoke(nil, "ann", "bob")
	for again := range 2 {
		if r, err := b.l.Word(t.Context(), word); err != nil || r.Duplicate != (again == 1) {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	for range 2 {
		if _, err := b.freeze(statement.KindFreeze, statement.FrozenLine, "line-8", [32]byte{}, "cid"); err == nil || !strings.Contains(err.Error(), "no officer") {
			t.Errorf("a revoked officer froze something: %v", err)
		}
		b.open(b.db)
	}
	b.vault.restart() // and is shown the register anew
	b.makeGood(b.one(), 0)
	if n := b.raw(`SELECT COUNT(*) FROM statement WHERE lot = ''`); n != 2 {
		t.Errorf("%d statements of the register", n)
	}
	b.check()
}
