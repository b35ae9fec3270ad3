package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/cmd/cli"
	"github.com/persoline/persoline/perso/cmd/site"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// What the two lots are made of: one whose openings are deleted on two officers' word, and one whose openings somebody deletes.
const (
	forgottenOrder, robbedOrder = "E2E-FORGET", "E2E-ROBBED"
	forgottenLot, robbedLot     = perso.Name("L-" + forgottenOrder), perso.Name("L-" + robbedOrder)
)

// TestForget makes two lots with the customer's own Ki up to where their keys are destroyed. Of one two officers have the openings deleted: they
// leave the database, and whoever verifies the site's bundle hears on whose word. Of the other they are deleted behind the ledger's back: that is
// found.
func TestForget(t *testing.T) {
	hsmtest.RequireSoftHSM(t)
	f := newFactory(t)
	f.strange(t)
	for i, order := range []string{forgottenOrder, robbedOrder} {
		f.delivered(t, order, i)
	}
	before := f.bundleOf(t, forgottenLot)
	f.openingsAre(t, forgottenOrder, forgottenLot, 1)
	f.proves(t, before, forgottenOrder)
	t.Run("OnTwoOfficersWord", func(t *testing.T) { f.forgets(t, before) })
	t.Run("BehindTheLedgersBack", func(t *testing.T) { f.robbed(t) })
}

// strange makes a site and starts it, with chips in stock.
func (f *factory) strange(t *testing.T) {
	t.Helper()
	dir := filepath.Join(filepath.Dir(f.cwd), "site")
	for _, args := range [][]string{{"site", "init", "--name", "factory-a", "--catalogue", filepath.Join(f.repo, "deploy")}, {"chip", "make", "--chips", "60", "--scale", "0"}} {
		if r := f.perso(t, append(args, "--site", dir)...); r.code != cli.ExitOK {
			t.Fatalf("%s: exit %d: %s%s", args, r.code, r.out, r.err)
		}
	}
	var err error
	if f.site, err = site.Open(dir); err != nil {
		t.Fatal(err)
	}
	f.start(t)
	f.commands(t, []string{"chips", "receive", filepath.Join(dir, "goods-in-R-1.json")})
}

// delivered takes an order of the sample's kind to where its lot was handed out and its key is destroyed.
func (f *factory) delivered(t *testing.T, number string, place int) {
	t.Helper()
	dir, lot := t.TempDir(), perso.Name("L-"+number)
	draft := func(what string) string { return filepath.Join(dir, what) }
	order, ki := f.another(t, dir, number, place)
	f.commands(t, []string{"order", "submit", order, "--ki", ki}, []string{"order", "draft-taken", number, "--reason", "read back", "-o", draft("taken")},
		[]string{"officer", "sign", draft("taken"), "--key", f.site.OfficerKey(site.DemoOrderDesk.ID), "--yes"}, []string{"hand-in", draft("taken.signed")},
		[]string{"order", "draft", number, "-o", draft("release")})
	f.signs(t, draft("release"))
	f.commands(t, []string{"lot", "release", draft("release.signed")}, []string{"lot", "status", string(lot), "--follow"})
	f.counted(t, lot, draft("close"))
	f.signs(t, draft("close"))
	f.commands(t, []string{"lot", "close", draft("close.signed")}, []string{"lot", "export", string(lot)})
	f.commands(t, []string{"lot", "draft-destroy", string(lot), "--retained", time.Now().UTC().Format(record.TimeForm), "-o", draft("destroy")})
	f.signs(t, draft("destroy"))
	f.commands(t, []string{"lot", "destroy-keys", draft("destroy.signed")})
}

// forgets has the openings of a lot deleted, and looks at what is left.
func (f *factory) forgets(t *testing.T, before string) {
	draft := filepath.Join(t.TempDir(), "forget")
	f.commands(t, []string{"lot", "draft-forget", string(forgottenLot), "-o", draft},
		[]string{"officer", "sign", draft, "--key", f.site.OfficerKey(site.DemoOfficers[0].ID), "--yes"})
	if r := f.at(t, "hand-in", draft+".signed"); r.code != cli.ExitFailed || !strings.Contains(r.err, "two officers of different person and role") {
		t.Errorf("on one officer's word: exit %d: %s%s", r.code, r.out, r.err)
	}
	f.openingsAre(t, forgottenOrder, forgottenLot, 1)
	f.commands(t, []string{"officer", "sign", draft + ".signed", "--key", f.site.OfficerKey(site.DemoOfficers[1].ID), "--yes"})
	if r := f.at(t, "hand-in", draft+".signed"); r.code != cli.ExitOK || !strings.Contains(r.err, "What was copied out of it before holds them still") {
		t.Fatalf("on two officers' word: exit %d: %s%s", r.code, r.out, r.err)
	}
	f.openingsAre(t, forgottenOrder, forgottenLot, 0)
	f.rowsAre(t, `SELECT COUNT(*) FROM statement WHERE kind = $1`, statement.KindTaken, 1) // the other order's
	f.rowsAre(t, `SELECT COUNT(*) FROM statement WHERE kind = $1`, statement.KindForget, 1)
	if r := f.at(t, "lot", "draft-forget", string(forgottenLot)); r.code != cli.ExitFailed || !strings.Contains(r.err, "are deleted already") {
		t.Errorf("a second time: exit %d: %s%s", r.code, r.out, r.err)
	}
	var listed struct{ Orders []bus.OrderTold }
	r := f.at(t, "--json", "order", "list")
	if err := json.Unmarshal([]byte(r.out), &listed); err != nil || len(listed.Orders) != 2 || !listed.Orders[0].Deleted || listed.Orders[0].Customer != "" || listed.Orders[1].Deleted {
		t.Errorf("the list of orders: %v, %s%s", err, r.out, r.err)
	}
	bundle := f.bundleOf(t, forgottenLot)
	const word = "the word of Test production officer (production) and Test security officer (security)"
	f.audits(t, cli.ExitOK, []string{"verify", bundle}, "verified: no finding", "the words of the release of lot "+string(forgottenLot)+" were deleted on "+word,
		"the words of the order-taken of log entry ", " were deleted on "+word+", log entry ")
	f.audits(t, cli.ExitOK, []string{"verify", before}, "verified: no finding")
	report := filepath.Join(t.TempDir(), "report.html")
	f.audits(t, cli.ExitOK, []string{"report", bundle, "--lot", string(forgottenLot), "-o", report})
	for _, want := range []string{"its order and release deleted", "were deleted on the word of Test production officer", "That 5 units were ordered"} {
		if !strings.Contains(string(readFile(t, report)), want) {
			t.Errorf("the report does not say %q", want)
		}
	}
	dir := t.TempDir()
	f.audits(t, cli.ExitOK, []string{"prove", bundle, string(forgottenLot), "-o", filepath.Join(dir, "lot.proof")}, ": release, log entry ", ": officers had them deleted after delivery")
	f.audits(t, cli.ExitFailed, []string{"prove", bundle, forgottenOrder, "--about", "order", "-o", filepath.Join(dir, "order.proof")},
		"The words of the release of "+string(forgottenLot)+" are not in the bundle: of such a lot nothing is found by ICCID or order")
}

// proves: a bundle from before the deletion knows the order.
func (f *factory) proves(t *testing.T, bundle, order string) {
	t.Helper()
	f.audits(t, cli.ExitOK, []string{"verify", bundle}, "verified: no finding")
	f.audits(t, cli.ExitOK, []string{"prove", bundle, order, "--about", "order", "-o", filepath.Join(t.TempDir(), "order.proof")}, "entries about order "+order)
}

// robbed: somebody deletes the same rows with SQL. The ledger goes on with the lot that it knows, and the auditor finds each of them.
func (f *factory) robbed(t *testing.T) {
	db, err := ledgertest.Open(t.Context(), filepath.Join(f.site.Dir, "ledger", "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(t.Context(), func(tx ledgertest.Tx) error {
		n, err := tx.Exec(t.Context(), `DELETE FROM statement WHERE kind IN ($1, $2)`, statement.KindRelease, statement.KindTaken)
		if err == nil && n != 2 {
			err = fmt.Errorf("%d rows were deleted", n)
		}
		return err
	})
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	bundle := f.bundleOf(t, robbedLot)
	const unsigned = "are not in the bundle, and nobody signed that they be deleted"
	f.audits(t, cli.ExitRefuted, []string{"verify", bundle}, "the words of the release of lot "+string(robbedLot)+" "+unsigned, "the words of the order-taken of log entry ", unsigned+": what they allowed")
	report := filepath.Join(t.TempDir(), "report.html")
	f.audits(t, cli.ExitRefuted, []string{"report", bundle, "--lot", string(robbedLot), "-o", report})
	if !strings.Contains(string(readFile(t, report)), "nobody signed that they be deleted") {
		t.Error("the report does not say that words are missing")
	}
}

// bundleOf has the audit bundle of a lot written.
func (f *factory) bundleOf(t *testing.T, lot perso.Name) string {
	t.Helper()
	r := f.at(t, "lot", "bundle", string(lot))
	if r.code != cli.ExitOK {
		t.Fatalf("the bundle of lot %s: exit %d: %s%s", lot, r.code, r.out, r.err)
	}
	return strings.TrimSpace(r.out)
}

// audits runs the auditor's own program, which must end so and say all of this.
func (f *factory) audits(t *testing.T, code int, args []string, want ...string) {
	t.Helper()
	auditor := *f
	auditor.bin = filepath.Join(filepath.Dir(f.bin), "persoaudit")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", auditor.bin, "./perso/cmd/persoaudit")
	build.Dir = f.repo
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the auditor's program: %v\n%s", err, out)
	}
	if args[0] == "verify" {
		args = append(args, "--register-pin", f.site.Config.Pin, "--log-key", f.site.Config.LogKey, "--statement-key", f.statementKey(t))
	}
	r := auditor.perso(t, args...)
	if r.code != code {
		t.Errorf("%s: exit %d, want %d: %s%s", args, r.code, code, r.out, r.err)
	}
	for _, w := range want {
		if !strings.Contains(r.out+r.err, w) {
			t.Errorf("%s does not say %q: %s%s", args[0], w, r.out, r.err)
		}
	}
}

// openingsAre looks into the database for what opens a lot's entries in the log: so many of each.
func (f *factory) openingsAre(t *testing.T, order string, lot perso.Name, want int64) {
	t.Helper()
	f.rowsAre(t, `SELECT COUNT(*) FROM statement WHERE kind = 'release' AND lot = $1`, string(lot), want)
	f.rowsAre(t, `SELECT COUNT(*) FROM customer_order WHERE order_id = $1 AND nonce IS NOT NULL AND canonical IS NOT NULL AND resolved IS NOT NULL`, order, want)
	f.rowsAre(t, `SELECT COUNT(*) FROM customer_ki WHERE order_id = $1`, order, want)
}

// rowsAre counts rows of the ledger's database.
func (f *factory) rowsAre(t *testing.T, query, arg string, want int64) {
	t.Helper()
	db, err := f.site.OpenToRead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	err = db.View(t.Context(), func(tx ledgertest.Tx) error { return tx.QueryRow(t.Context(), query, arg).Scan(&n) })
	if err = errors.Join(err, db.Close()); err != nil || n != want {
		t.Errorf("%s of %s: %d, want %d; %v", query, arg, n, want, err)
	}
}
