package audit_test

import (
	"strings"
	"testing"
	"testing/fstest"

	. "github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// frost logs a freeze, or what lifts one, and gives its hash.
func (w *world) frost(kind string, what statement.Frozen, name string, lifts [32]byte, signers ...perso.Name) [32]byte {
	f := statement.Freeze{Kind: kind, Env: perso.EnvTest, Site: SiteName, What: what, Name: name, Lifts: lifts, Reason: "a drill", At: w.Tick(), Nonce: Hash("frost %d", len(w.Entries))}
	return w.Word(Sign(Must(f.Encode()), signers...), "")
}

// TestFreezes: a freeze that was kept is no finding; what was done with something frozen, and who let it go on alone, is.
func TestFreezes(t *testing.T) {
	t.Parallel()
	freeze, unfreeze := statement.KindFreeze, statement.KindUnfreeze
	for name, c := range map[string]struct {
		live func(w *world)
		want string
	}{
		"kept": {func(w *world) {
			w.good(0, 1)
			h := w.frost(freeze, statement.FrozenLot, "L1", [32]byte{}, "sec")
			w.frost(freeze, statement.FrozenLine, "line-9", [32]byte{}, "sec")
			w.frost(unfreeze, statement.FrozenLot, "L1", h, "prod", "sec")
			w.good(1, 2)
		}, ""},
		"frozen lot": {func(w *world) {
			w.frost(freeze, statement.FrozenLot, "L1", [32]byte{}, "sec")
			w.claim(0, 1)
		}, "lot L1 was frozen then: a drill"},
		"frozen key": {func(w *world) {
			w.frost(freeze, statement.FrozenKey, "kmc", [32]byte{}, "sec")
			w.claim(0, 1)
		}, "key kmc was frozen then"},
		"frozen order": {func(w *world) {
			c := w.claim(0, 1)
			w.frost(freeze, statement.FrozenOrder, "DEMO-L1", [32]byte{}, "sec")
			c.Act("identify")
		}, "order DEMO-L1 was frozen then"},
		"frozen line": {func(w *world) {
			w.frost(freeze, statement.FrozenLine, "line-1", [32]byte{}, "prod")
			w.lot.Contact(perso.VerdictRejectBlank, perso.ReasonMute)
		}, "line line-1 was frozen then"},
		"released": {func(w *world) {
			w.frost(freeze, statement.FrozenOrder, "DEMO-L2", [32]byte{}, "prod")
			w.Release("L2", 1, 1, 1)
		}, "order DEMO-L2 was frozen then"},
		"lifted by one": {func(w *world) {
			w.frost(unfreeze, statement.FrozenLot, "L1", w.frost(freeze, statement.FrozenLot, "L1", [32]byte{}, "sec"), "sec")
		}, "two officers of different person and role"},
		"lifted by an old word": {func(w *world) {
			w.frost(freeze, statement.FrozenLot, "L1", [32]byte{}, "sec")
			w.frost(unfreeze, statement.FrozenLot, "L1", Hash("old"), "prod", "sec")
		}, "is not frozen by the word that is lifted"},
		"nobody": {func(w *world) { w.frost(freeze, statement.FrozenLot, "L1", [32]byte{}) }, "must sign the freeze"},
		"frozen twice": {func(w *world) {
			w.frost(freeze, statement.FrozenLine, "l", [32]byte{}, "sec")
			w.frost(freeze, statement.FrozenLine, "l", [32]byte{}, "sec")
		}, "is frozen already"},
	} {
		w := newWorld()
		c.live(w)
		r, err := w.verify()
		if err != nil || (c.want == "") != r.OK() || c.want != "" && !strings.Contains(r.Findings[0].What, c.want) {
			t.Errorf("%s: %v, %v", name, err, r.Findings)
		}
	}
}

// TestWordsOfTheSite: what the log names of the whole site must be there, and signed by who may: else a bundle could leave a freeze out, and a log
// take the site's policy away by a hash of nothing, also under the name of a lot that the auditor does not look at.
func TestWordsOfTheSite(t *testing.T) {
	t.Parallel()
	refused := func(what string, w *world) {
		t.Helper()
		if r, err := w.verify(); err != nil || len(r.Findings) != 1 || !strings.Contains(r.Findings[0].What, "are not in the bundle") {
			t.Errorf("%s: %v, %v", what, err, r.Findings)
		}
	}
	for _, kind := range []string{statement.KindPolicy, statement.KindFreeze, statement.KindUnfreeze, statement.KindTaken, statement.KindCancelled, statement.KindRestored, statement.KindReview} {
		for _, of := range []perso.Name{"", "L2"} {
			w := newWorld()
			w.Release("L2", 1, 1, 1)
			w.Append(entry.Statement{What: kind, Hash: Hash("nobody signed this"), Lot: of, At: w.Tick()})
			refused(kind+" that is nowhere, of lot "+string(of), w)
		}
	}
	w := newWorld()
	h := w.frost(statement.KindFreeze, statement.FrozenLine, "line-1", [32]byte{}, "sec")
	w.good(0, 1)
	w.bundle = func(b fstest.MapFS) { delete(b, layout.Statement(h)) }
	refused("a freeze left out, and work done at its line", w)
	for _, signers := range [][]perso.Name{{}, {"stranger", "sec"}, {"prod"}} {
		w := newWorld()
		w.Word(Sign(Must(statement.Policy{Header: w.head()}.Encode()), signers...), "")
		if r, err := w.verify(); err != nil || len(r.Findings) != 1 || !strings.Contains(r.Findings[0].What, "not signed as required") {
			t.Errorf("a policy signed by %v: %v, %v", signers, err, r.Findings)
		}
	}
}
