package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/cmd/cli"
	"github.com/persoline/persoline/perso/cmd/site"
)

// TestShortLot: the reel is used up before the lot is whole, and its line gets no other. Two officers end the lot short by the commands that
// it is told, the line ends its order without another chip, and what is good is counted, closed and handed out; who verifies the bundle
// hears on whose word, and why.
func TestShortLot(t *testing.T) {
	t.Parallel()
	hsmtest.RequireSoftHSM(t)
	const chips, ordered, why = "6", 9, "the reel is used up"
	f := newFactory(t)
	dir := filepath.Join(filepath.Dir(f.cwd), "site")
	for _, args := range [][]string{{"site", "init", "--name", "factory-a", "--catalogue", filepath.Join(f.repo, "deploy")}, {"chip", "make", "--chips", chips, "--scale", "0"}} {
		if r := f.perso(t, append(args, "--site", dir)...); r.code != cli.ExitOK {
			t.Fatalf("%s: exit %d: %s%s", args, r.code, r.out, r.err)
		}
	}
	var err error
	if f.site, err = site.Open(dir); err != nil {
		t.Fatal(err)
	}
	f.start(t)
	at := func(name string) string { return filepath.Join(f.cwd, name) }
	writeOrder(t, f, at("order.json"), map[string]any{"order": orderID, "quantity": ordered, "spares": 2, "eid": "allocate", "iccid": "allocate", "imsi": "allocate"})
	f.commands(t, []string{"chips", "receive", filepath.Join(dir, "goods-in-R-1.json")}, []string{"order", "submit", at("order.json")}, []string{"order", "draft", orderID, "-o", at("release")})
	f.signs(t, at("release"))
	f.commands(t, []string{"lot", "release", at("release.signed")})
	f.usesUp(t, 6)
	for _, args := range [][]string{{"chip", "make", "--chips", chips}, {"lot", "count", string(lotName), "--in", chips, "--good", chips, "--reject-blank", "0", "--reject-live", "0", "--return", "0"}} {
		if r := f.at(t, args...); r.code != cli.ExitFailed || !strings.Contains(r.err, "lot draft-short") {
			t.Errorf("%s does not say what to do: exit %d: %s%s", args, r.code, r.out, r.err)
		}
	}
	f.commands(t, []string{"lot", "draft-short", string(lotName), "--reason", why, "-o", at("short")})
	f.signs(t, at("short"))
	f.commands(t, []string{"hand-in", at("short.signed")})
	if good := f.counted(t, lotName, at("close")); good != 6 {
		t.Errorf("%d are good", good)
	}
	f.signs(t, at("close"))
	f.commands(t, []string{"lot", "close", at("close.signed")}, []string{"lot", "export", string(lotName)})
	if _, rows := rowsOf(t, f.out("output", string(lotName)+".out")); len(rows) != 6 {
		t.Errorf("%d units in the output file", len(rows))
	}
	f.toldShort(t, lotName, why)
}

// usesUp waits until the lot has so many good chips, and runs on.
func (f *factory) usesUp(t *testing.T, good uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), comeUp)
	defer cancel()
	for {
		s := f.status(t)
		if s.Good == good && s.State == perso.LotRunning && s.Open == 0 {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%d chips are good, the lot is %s%s", s.Good, s.State, zoneLogs(f.site.Dir))
		}
	}
}

// toldShort verifies the lot's bundle, and reads on whose word it ended.
func (f *factory) toldShort(t *testing.T, lot perso.Name, why string) {
	t.Helper()
	bundle, report := f.bundleOf(t, lot), filepath.Join(f.cwd, "report.html")
	r := f.at(t, "--json", "audit", "verify", bundle)
	var verified struct{ Notes []string }
	if err := json.Unmarshal([]byte(r.out), &verified); err != nil || r.code != cli.ExitOK {
		t.Fatalf("audit: exit %d, %v: %s%s", r.code, err, r.out, r.err)
	}
	told := strings.Join(verified.Notes, "\n")
	for _, want := range []string{"lot " + string(lot) + " ended short on the word of", site.DemoOfficers[0].Person, site.DemoOfficers[1].Person, why} {
		if !strings.Contains(told, want) {
			t.Errorf("the audit does not tell %q: %s", want, told)
		}
	}
	f.commands(t, []string{"audit", "report", bundle, "-o", report})
	page, err := os.ReadFile(report)
	if err != nil || !strings.Contains(string(page), "Ended short") || !strings.Contains(string(page), why) {
		t.Errorf("the report does not tell it: %v", err)
	}
}
