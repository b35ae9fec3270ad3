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

// forgetting is a lot whose openings were deleted after its key was destroyed; a test bends one part.
type forgetting struct {
	word    statement.Forget
	signers []perso.Name
	hide    [][32]byte // what the bundle does not have
	twice   bool
}

func (f *forgetting) tell(w *world, early bool, bend func(*forgetting)) {
	w.Enlist("dee", statement.RoleOrderDesk)
	desk := statement.Desk{Kind: statement.KindTaken, Header: w.head(), Order: w.lot.Release.Order, OrderHash: w.lot.Release.OrderHash, Reason: "read back"}
	taken := w.Word(Sign(Must(desk.Encode()), "dee"), "")
	if !early {
		new(ending).tell(w, func(*ending) {})
	}
	*f = forgetting{signers: []perso.Name{"prod", "sec"}, hide: [][32]byte{w.lot.Hash, taken},
		word: statement.Forget{Header: w.head(), Lot: "L1", Release: w.lot.Hash, Certificate: w.Openings[len(w.Openings)-1].Hash(), Good: w.lot.Release.Good,
			Proof: w.lot.Release.Proof, Taken: [][32]byte{taken}}}
	bend(f)
	hash := w.Word(Sign(Must(f.word.Encode()), f.signers...), "L1")
	if f.twice {
		w.Append(entry.Statement{What: statement.KindForget, Hash: hash, Lot: "L1", At: w.Tick()})
	}
	if early {
		new(ending).tell(w, func(*ending) {})
	}
	w.bundle = func(b fstest.MapFS) {
		for _, hash := range f.hide {
			delete(b, layout.Statement(hash))
		}
	}
}

// TestForgottenLots: openings that two officers had deleted are no finding, of any bundle; one that is gone otherwise is, and so is
// one that is there all the same.
func TestForgottenLots(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bend func(*forgetting)
		want string
	}{
		"all holds":          {func(*forgetting) {}, ""},
		"one officer":        {func(f *forgetting) { f.signers = f.signers[:1:1] }, "two officers"},
		"key still there":    {func(*forgetting) {}, "no vault had certified"},
		"other certificate":  {func(f *forgetting) { f.word.Certificate = [32]byte{1} }, "no vault had certified"},
		"another release":    {func(f *forgetting) { f.word.Release = [32]byte{1} }, "another release"},
		"another lot":        {func(f *forgetting) { f.word.Lot = "L2" }, "is about lot L2"},
		"not named":          {func(f *forgetting) { f.word.Taken = nil }, "order-taken of log entry"},
		"a close is none":    {func(f *forgetting) { f.word.Taken = [][32]byte{Hash("close")} }, "may not be deleted"},
		"still in it":        {func(f *forgetting) { f.hide = f.hide[1:] }, "is in the bundle"},
		"twice":              {func(f *forgetting) { f.twice = true }, "deleted before"},
		"more than was said": {func(f *forgetting) { f.hide = append(f.hide, f.word.Certificate) }, "file does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			new(forgetting).tell(w, name == "key still there", c.bend)
			r, err := w.verify()
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, f := range r.Findings {
				found = found || c.want != "" && strings.Contains(f.String(), c.want)
			}
			if found != (c.want != "") || c.want == "" && !r.OK() {
				t.Errorf("%v", r.Findings)
			}
			if c.want != "" {
				return
			}
			told := strings.Join(r.Notes, "\n")
			if len(r.Notes) != 2 || !strings.Contains(told, "the release of lot L1 were deleted on the word of") || !strings.Contains(told, "(production)") {
				t.Errorf("notes %q", r.Notes)
			}
			for _, f := range r.Facts {
				if strings.HasPrefix(f.Name, "openings deleted") && f.Count != 2 {
					t.Errorf("%d %s", f.Count, f.Name)
				}
			}
		})
	}
}
