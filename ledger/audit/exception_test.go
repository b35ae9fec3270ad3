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

// troubled is a site where three things happened that a person must look at: entries of an alarm, a refused order and a stop.
func troubled() (w *world, alarm, refused, stop int64) {
	w = newWorld()
	alarm = w.Append(entry.Alarm{Lot: "L1", Reason: perso.ReasonTwin, Detail: "chip 7", Present: perso.Presentation{Line: "l"}, At: w.Tick()})
	refused = w.Append(entry.Refused{File: Hash("file"), Size: 1, Count: 1, Faults: []string{"eid"}, At: w.Tick()})
	w.lot.Contact(perso.VerdictStop, perso.ReasonTwin)
	stop = int64(len(w.Entries)) - 1
	w.lot.Contact(perso.VerdictRejectBlank, perso.ReasonMute)
	return w, alarm, refused, stop
}

// TestExceptions: what must be looked at stands in the report until a named person has signed it off, and then with his word.
func TestExceptions(t *testing.T) {
	t.Parallel()
	w, alarm, refused, stop := troubled()
	w.Review("worn reader, replaced", []perso.Name{"sec"}, alarm, stop)
	w.Review("not an exception, but looked at", []perso.Name{"prod"}, 1)
	r, err := w.verify()
	if err != nil || !r.OK() || len(r.Exceptions) != 3 {
		t.Fatalf("%v, findings %v, exceptions %v", err, r.Findings, r.Exceptions)
	}
	for i, c := range []struct {
		seq  int64
		what string
		open bool
	}{{alarm, "alarm at ", false}, {refused, "was refused, 1 faults, the first: eid", true}, {stop, "stopped at ", false}} {
		x := r.Exceptions[i]
		if x.Seq != c.seq || !strings.Contains(x.What, c.what) || x.Open() != c.open {
			t.Errorf("%+v, want %+v", x, c)
		}
		if !c.open && (x.Reviews[0].By.ID != "sec" || x.Reviews[0].By.Person != "Person sec" || x.Reviews[0].Finding != "worn reader, replaced") {
			t.Errorf("signed off as %+v", x.Reviews)
		}
	}
	var text strings.Builder
	if err := r.Write(&text); err != nil || strings.Count(text.String(), "not signed off: ") != 1 {
		t.Errorf("%v\n%s", err, text.String())
	}
	if all, open := count(r, "exceptions"), count(r, "exceptions that nobody has signed off"); all != 3 || open != 1 {
		t.Errorf("%d exceptions, %d open", all, open)
	}
}

// TestFalseReviews: a word about what was not there, or is otherwise, or of nobody, is found.
func TestFalseReviews(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tell func(w *world, alarm int64)
		want string
	}{
		"of another hash": {func(w *world, alarm int64) {
			w.EnterReview(statement.Review{Env: perso.EnvTest, Site: SiteName, At: w.Tick(), Nonce: Hash("n"),
				Items: []statement.Reviewed{{Entry: uint64(alarm), Hash: Hash("other"), Finding: "fine"}}}, "sec")
		}, "it signs off entry "},
		"of the future": {func(w *world, alarm int64) {
			w.EnterReview(statement.Review{Env: perso.EnvTest, Site: SiteName, At: w.Tick(), Nonce: Hash("n"),
				Items: []statement.Reviewed{{Entry: 10_000, Hash: Hash("other"), Finding: "fine"}}}, "sec")
		}, "which did not exist then"},
		"signed by nobody": {func(w *world, alarm int64) { w.Review("fine", nil, alarm) }, "must sign the exception-review, 0 did"},
		"by no officer":    {func(w *world, alarm int64) { w.Review("fine", []perso.Name{"stranger"}, alarm) }, "is no officer"},
		"of another site": {func(w *world, alarm int64) {
			w.EnterReview(statement.Review{Env: perso.EnvTest, Site: "elsewhere", At: w.Tick(), Nonce: Hash("n"),
				Items: []statement.Reviewed{{Entry: uint64(alarm), Hash: entry.Hash(w.Entries[alarm]), Finding: "fine"}}}, "sec")
		}, "of site elsewhere"},
	} {
		w, alarm, _, _ := troubled()
		c.tell(w, alarm)
		r, err := w.verify()
		if err != nil || len(r.Findings) != 1 || !strings.Contains(r.Findings[0].What, c.want) || !r.Exceptions[0].Open() {
			t.Errorf("%s: %v, %v, %v", name, err, r.Findings, r.Exceptions)
		}
	}
	w, alarm, _, _ := troubled()
	w.Review("fine", []perso.Name{"sec"}, alarm)
	w.bundle = func(b fstest.MapFS) { delete(b, layout.Statement(w.Openings[len(w.Openings)-1].Hash())) }
	if r, err := w.verify(); err != nil || len(r.Findings) != 1 || !strings.Contains(r.Findings[0].What, "are not in the bundle") || !r.Exceptions[0].Open() {
		t.Errorf("words deleted: %v, %v, %v", err, r.Findings, r.Notes)
	}
}

// TestRevocationsThatBereave: a revocation after which nobody can sign what the policy or a lot at work asks for must be looked at; any other
// need not, and none is a finding.
func TestRevocationsThatBereave(t *testing.T) {
	t.Parallel()
	const lacks = "1 of quality must sign a first-article, and the register has 0"
	for name, c := range map[string]struct {
		policy statement.Policy
		live   func(w *world)
		want   string
	}{
		"last of quality":     {statement.Policy{FirstArticle: 1}, func(w *world) { w.Dismiss("qua", statement.RoleQuality) }, "the site's policy: " + lacks + "; lot L1: " + lacks},
		"nothing asked":       {statement.Policy{Issue: true}, func(w *world) { w.Dismiss("qua", statement.RoleQuality) }, ""},
		"another of the role": {statement.Policy{FirstArticle: 1}, func(w *world) { w.Enlist("qui", statement.RoleQuality); w.Dismiss("qua", statement.RoleQuality) }, ""},
		"again, of another": {statement.Policy{FirstArticle: 1}, func(w *world) {
			w.Enlist("dee", statement.RoleOrderDesk)
			w.Dismiss("qua", statement.RoleQuality)
			w.Dismiss("dee", statement.RoleOrderDesk)
		}, lacks},
		"a lot's own demand": {statement.Policy{}, func(w *world) {
			r := w.NewRelease("L2", 1, 2, 1)
			r.Asks = "samples output 9:2/0"
			w.Admit(r, "prod", "sec")
			w.Dismiss("qua", statement.RoleQuality)
		}, "lot L2: 1 of quality must sign a samples-examined, and the register has 0"},
		"signed before": {statement.Policy{}, func(w *world) {
			r := w.NewRelease("L2", 1, 2, 1)
			r.Asks = "first-article 1"
			w.lot = w.Admit(r, "prod", "sec")
			w.good(0, 1).Bin()
			w.Word(Sign(Must(statement.FirstArticle{Header: w.head(), Lot: "L2", Good: 1, Finding: "fine"}.Encode()), "qua"), "L2")
			w.Dismiss("qua", statement.RoleQuality)
		}, ""},
	} {
		w := under(c.policy)
		c.live(w)
		r, err := w.verify()
		if err != nil || !r.OK() {
			t.Errorf("%s: %v, %v", name, err, r.Findings)
		}
		if c.want == "" && len(r.Exceptions) > 0 || c.want != "" && (len(r.Exceptions) != 1 || !strings.Contains(r.Exceptions[0].What, "an officer was revoked, and nobody can sign what is asked for: ") || !strings.Contains(r.Exceptions[0].What, c.want)) {
			t.Errorf("%s: %v", name, r.Exceptions)
		}
	}
	w := under(statement.Policy{FirstArticle: 1})
	w.Dismiss("qua", statement.RoleQuality)
	w.Review("another of quality is in the register since", []perso.Name{"sec"}, int64(len(w.Entries))-1)
	if r, err := w.verify(); err != nil || !r.OK() || len(r.Exceptions) != 1 || r.Exceptions[0].Open() {
		t.Errorf("signed off: %v, %v, %v", err, r.Findings, r.Exceptions)
	}
}
