package audit_test

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"testing/fstest"

	. "github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// TestAssignedLots: a site with two vaults, a lot in each, is no finding; whatever would let two vaults make one lot is.
func TestAssignedLots(t *testing.T) {
	t.Parallel()
	as := func(w *world, key ed25519.PrivateKey, by perso.Name, change func(*statement.Assigned)) {
		word := statement.Assigned{Env: perso.EnvTest, Site: SiteName, Lot: "L1", Release: w.lot.Hash, Vault: "vault-2", At: w.Tick()}
		if change != nil {
			change(&word)
		}
		w.Vaults["L1"] = word.Vault
		w.lot.AssignAs(word, by, key)
	}
	for name, c := range map[string]struct {
		do   func(*world)
		want string
	}{
		"a vault each": {func(w *world) {
			w.lot.Assign("vault-2")
			w.good(0, 1)
			other := w.Release("L2", 1, 1, 0)
			other.Assign(Vault)
			other.Claim(0, 0, 0, Chip(9)).Run()
		}, ""},
		"a lot from before": {func(w *world) {
			w.good(0, 1)
			w.lot.Assign(Vault)
			w.good(1, 2)
		}, ""},
		"never assigned, at another vault": {func(w *world) {
			w.Release("L2", 1, 1, 0).Assign(Vault)
			w.Vaults["L1"] = "vault-2"
			w.good(0, 1)
		}, "lot L1 is vault vault-1's"},
		"assigned to one, made by another": {func(w *world) {
			w.lot.Assign("vault-2")
			w.Vaults["L1"] = Vault
			w.good(0, 1)
		}, "lot L1 is vault vault-2's"},
		"made by both": {func(w *world) {
			w.lot.Assign("vault-2")
			w.good(0, 1)
			w.bundle = func(b fstest.MapFS) {
				head := Must(entry.ReceiptHead{Env: perso.EnvTest, Vault: Vault, Lot: "L1", At: w.Tick()}.Encode())
				b[layout.Receipts(Vault, "L1")] = &fstest.MapFile{}
				b[layout.ReceiptHead(Vault, "L1")] = &fstest.MapFile{Data: head}
				b[layout.ReceiptHeadSig(Vault, "L1")] = &fstest.MapFile{Data: layout.EncodeSignature(ed25519.Sign(w.StmtKey, head))}
			}
		}, "no other has receipts for it"},
		"destroyed by its vault": {func(w *world) {
			w.lot.Assign("vault-2")
			new(ending).tell(w, func(e *ending) { e.done.Vault, e.by = "vault-2", "vault-2" })
		}, ""},
		"destroyed in another's name": {func(w *world) {
			w.lot.Assign("vault-2")
			new(ending).tell(w, func(*ending) {})
		}, "is gone, which is vault vault-2's"},
		"destroyed under another's name": {func(w *world) {
			w.lot.Assign("vault-2")
			new(ending).tell(w, func(e *ending) { e.done.Vault = "vault-2" })
		}, "vault vault-2 certifies under the name vault-1"},
		"never assigned, destroyed by another": {func(w *world) {
			new(ending).tell(w, func(e *ending) { e.done.Vault, e.by = "vault-2", "vault-2" })
		}, "is gone, which is vault vault-1's"},
		"assigned twice":       {func(w *world) { w.lot.Assign("vault-2"); w.lot.Assign("vault-3") }, "was assigned before"},
		"moved after it began": {func(w *world) { w.good(0, 1); w.lot.Assign("vault-2") }, "was begun before"},
		"by two vaults": {func(w *world) {
			w.lot.Assign("vault-2")
			other := w.Release("L2", 1, 1, 0)
			other.AssignAs(statement.Assigned{Env: perso.EnvTest, Site: SiteName, Lot: "L2", Release: other.Hash, Vault: "vault-2", At: w.Tick()}, "vault-2", w.StmtKey)
		}, "one vault of a site assigns lots"},
		"by a stranger":   {func(w *world) { as(w, Key("other"), Vault, nil) }, "the vault did not sign it"},
		"another release": {func(w *world) { as(w, w.StmtKey, Vault, func(a *statement.Assigned) { a.Release[0]++ }) }, "another release"},
		"another lot":     {func(w *world) { as(w, w.StmtKey, Vault, func(a *statement.Assigned) { a.Lot = "L9" }) }, "about lot L9"},
		"words missing": {func(w *world) {
			w.lot.Assign("vault-2")
			w.bundle = func(b fstest.MapFS) { delete(b, layout.Statement(w.Openings[len(w.Openings)-1].Hash())) }
		}, "statement"},
	} {
		w := newWorld()
		c.do(w)
		r, err := w.verify()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var all []string
		for _, f := range r.Findings {
			all = append(all, f.String())
		}
		text := strings.Join(all, "\n")
		if c.want == "" && text != "" || !strings.Contains(text, c.want) {
			t.Errorf("%s: findings %q, want %q", name, text, c.want)
		}
	}
}
