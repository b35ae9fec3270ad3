package e2e

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/cmd/cli"
	"github.com/persoline/persoline/perso/cmd/site"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// TestStrictLot makes a lot under a policy that asks for a first article, samples and a blind count, as deploy/BY_HAND.md has it typed:
// each word of officers, quality and order desk is in the lot's bundle, signed by those whose duty it is. Then the order desk cancels
// an order at that site, and nobody else can.
func TestStrictLot(t *testing.T) {
	t.Parallel()
	hsmtest.RequireSoftHSM(t)
	f := newFactory(t)
	blocks := byHandBlocks(t, f.repo)
	dir := f.typed(t, blocks[slices.IndexFunc(blocks, func(b string) bool { return strings.Contains(b, draftPolicy) })])
	var err error
	if f.site, err = site.Open(filepath.Join(dir, "strict")); err != nil {
		t.Fatal(err)
	}
	two := []perso.Name{site.DemoOfficers[0].ID, site.DemoOfficers[1].ID}
	want := map[string][]perso.Name{statement.KindPolicy: two, statement.KindRelease: two, statement.KindClose: two,
		statement.KindFirstArticle: {site.DemoQuality.ID}, statement.KindSamples: {site.DemoQuality.ID}, statement.KindTaken: {site.DemoOrderDesk.ID}}
	if got := f.wordsInBundle(t, "L-DEMO-2027-0002"); !maps.EqualFunc(got, want, slices.Equal[[]perso.Name]) {
		t.Errorf("the bundle has words of %q, want %q", got, want)
	}
	report := string(readFile(t, filepath.Join(dir, "strict", "report.html")))
	for _, told := range []string{site.DemoQuality.Person, "5 good chips: five-read-back-as-ordered"} {
		if !strings.Contains(report, told) {
			t.Errorf("the report does not tell %q", told)
		}
	}
	if examined := regexp.MustCompile(`\b([4-9]|1[0-9]|20) examined, 0 bad: all-read-back-as-ordered`); !examined.MatchString(report) {
		t.Errorf("the report does not tell of four samples or more: %q", examined)
	}
	f.start(t)
	f.cancelsOrder(t)
}

// wordsInBundle are the statements in a lot's only bundle, and who signed each, in the order of names.
func (f *factory) wordsInBundle(t *testing.T, lot perso.Name) map[string][]perso.Name {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(f.site.OutDir(), string(lot), "audit-*", "statements", "*.statement"))
	if err != nil {
		t.Fatal(err)
	}
	words := map[string][]perso.Name{}
	for _, path := range files {
		s, err := statement.DecodeSigned(readFile(t, path))
		if err != nil {
			t.Fatal(err)
		}
		kind, err := record.Kind(s.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range s.Signatures {
			words[kind] = append(words[kind], one.Officer)
		}
	}
	return words
}

// cancelsOrder has an order cancelled: not by the two who release, but by the order desk; then it is not released.
func (f *factory) cancelsOrder(t *testing.T) {
	t.Helper()
	at := func(name string) string { return filepath.Join(f.cwd, name) }
	writeOrder(t, f, at("order.json"), map[string]any{"order": orderID, "quantity": 3, "spares": 2, "eid": "allocate", "iccid": "allocate", "imsi": "allocate"})
	f.commands(t, []string{"order", "submit", at("order.json")}, []string{"order", "draft", orderID, "-o", at("release")},
		[]string{"order", "draft-cancel", orderID, "--reason", "the customer takes it back", "-o", at("cancel")},
		[]string{"order", "draft-cancel", orderID, "--reason", "no longer wanted", "-o", at("others")})
	f.signs(t, at("release"))
	f.signs(t, at("others"))
	if r := f.at(t, "hand-in", at("others.signed")); r.code != cli.ExitFailed || !strings.Contains(r.err, "order-desk must sign") {
		t.Errorf("two officers cancel an order: exit %d: %s", r.code, r.err)
	}
	f.commands(t, []string{"officer", "sign", at("cancel"), "--key", f.site.OfficerKey(site.DemoOrderDesk.ID), "--yes"}, []string{"hand-in", at("cancel.signed")})
	if r := f.at(t, "lot", "release", at("release.signed")); r.code != cli.ExitFailed || !strings.Contains(r.err, "is cancelled already") {
		t.Errorf("a cancelled order is released: exit %d: %s%s", r.code, r.out, r.err)
	}
}
