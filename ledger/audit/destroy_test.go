package audit_test

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	. "github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// ending is a lot that was closed, delivered, and whose key is destroyed; a test bends one part.
type ending struct {
	delivered []string
	order     statement.Destroy
	signers   []perso.Name
	done      statement.Destroyed
	key       ed25519.PrivateKey
	by        perso.Name // under whose name the certificate is signed
	notOrdered, twice,
	open bool
	before, after *statement.Destroy // other words that the log has, before and after this one
}

// tell puts it into the log, behind the closing of a lot of two good units.
func (e *ending) tell(w *world, bend func(*ending)) { e.behind(w, w.closing(), bend) }

// behind puts it into the log, behind a closing.
func (e *ending) behind(w *world, c statement.Close, bend func(*ending)) {
	closed := Sign(Must(c.Encode()), "prod", "sec")
	*e = ending{delivered: []string{"eis", "output"}, signers: []perso.Name{"prod", "sec"}, key: w.StmtKey, by: Vault,
		order: statement.Destroy{Env: perso.EnvTest, Site: SiteName, Lot: "L1", Release: w.lot.Hash, Close: closed.Hash(), Retained: c.At, At: w.Tick(), Nonce: Hash("end"),
			Copies: []statement.LotCopy{{Holder: "hsm-2", Place: "there", By: [2]string{"A", "B"}}}},
		done: statement.Destroyed{Env: perso.EnvTest, Vault: Vault, Lot: "L1", Keys: []string{"persoline/test/lot/L1"}, Copies: 1, At: w.Tick()}}
	bend(e)
	if !e.open {
		w.lot.CloseAs(c, "prod", "sec")
	}
	for _, what := range e.delivered {
		w.lot.Export(what, map[string]perso.Name{"eis": "smsr", "output": "auc"}[what], []byte{})
	}
	order := Sign(Must(e.order.Encode()), e.signers...)
	if e.done.Destroy == [32]byte{} {
		e.done.Destroy = order.Hash()
	}
	certificate := statement.Signed{Body: Must(e.done.Encode())}
	certificate.Sign(e.by, e.key)
	w.Openings = append(w.Openings, order, certificate)
	for _, d := range []*statement.Destroy{e.before, &e.order, e.after} {
		if d == nil || d == &e.order && e.notOrdered {
			continue
		}
		s := order
		if d != &e.order {
			s = Sign(Must(d.Encode()), "prod", "sec")
			w.Openings = append(w.Openings, s)
		}
		w.Append(entry.Statement{What: statement.KindDestroy, Hash: s.Hash(), Lot: "L1", At: w.Tick()})
	}
	w.Append(entry.Statement{What: statement.KindDestroyed, Hash: certificate.Hash(), Lot: "L1", At: w.Tick()})
	if e.twice {
		w.Append(entry.Statement{What: statement.KindDestroyed, Hash: certificate.Hash(), Lot: "L1", At: w.Tick()})
	}
}

// TestDestroyedLots: the end of a lot's key is no finding when all of it holds, and each part that does not is.
func TestDestroyedLots(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bend func(*ending)
		want string
	}{
		"all holds":          {func(*ending) {}, ""},
		"not delivered":      {func(e *ending) { e.delivered = e.delivered[:1] }, "before the lot was delivered"},
		"one officer":        {func(e *ending) { e.signers = e.signers[:1] }, "two officers"},
		"retention not over": {func(e *ending) { e.order.Retained = e.order.At.Add(24 * time.Hour) }, "retention of lot"},
		"another close":      {func(e *ending) { e.order.Close = [32]byte{1} }, "another release or closing"},
		"before the close":   {func(e *ending) { e.order.Retained = e.order.Retained.Add(-time.Hour) }, "before the lot was closed"},
		"refused, and another": {func(e *ending) {
			d := e.order
			d.Nonce, d.Retained = Hash("first"), d.Retained.Add(-time.Hour)
			e.before = &d
		}, ""},
		"on the first of two": {func(e *ending) {
			d := e.order
			d.Nonce = Hash("second")
			e.after = &d
		}, "another destruction"},
		"another lot":             {func(e *ending) { e.order.Lot = "L2" }, "is about lot L2"},
		"not closed":              {func(e *ending) { e.open = true }, "is not closed"},
		"nobody ordered it":       {func(e *ending) { e.notOrdered = true }, "nobody ordered"},
		"destroyed twice":         {func(e *ending) { e.twice = true }, "it was destroyed before"},
		"certified by a stranger": {func(e *ending) { e.key = Key("other") }, "the vault did not sign it"},
		"another destruction":     {func(e *ending) { e.done.Destroy = [32]byte{1} }, "another destruction"},
	} {
		w := newWorld()
		new(ending).tell(w, c.bend)
		r, err := w.verify()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		found := false
		for _, f := range r.Findings {
			found = found || c.want != "" && strings.Contains(f.What, c.want)
		}
		if found != (c.want != "") || c.want == "" && !r.OK() {
			t.Errorf("%s: %v", name, r.Findings)
		}
	}
}
