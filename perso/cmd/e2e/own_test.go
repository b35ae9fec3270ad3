package e2e

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/lineside/chipfarm"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/cmd/cli"
	"github.com/persoline/persoline/perso/cmd/site"
	"github.com/persoline/persoline/perso/reftest"
	"github.com/persoline/persoline/perso/saip"
)

// TestOwnPackage makes lots with packages that no site has before a customer sends them: the one of deploy/BY_HAND.md, as it is typed
// there, and one that the GSMA publishes. Each chip authenticates with what stands in the output file, and has the package's files.
func TestOwnPackage(t *testing.T) {
	t.Parallel()
	hsmtest.RequireSoftHSM(t)
	f := newFactory(t)
	block := slices.IndexFunc(byHandBlocks(t, f.repo), func(b string) bool { return strings.Contains(b, importPackage) })
	dir := f.typed(t, byHandBlocks(t, f.repo)[block])
	var err error
	if f.site, err = site.Open(filepath.Join(dir, "own")); err != nil {
		t.Fatal(err)
	}
	f.start(t)
	t.Run("built", func(t *testing.T) {
		shipped := readFile(t, filepath.Join(f.repo, "deploy", "profiles", "bootstrap.der"))
		sent := readFile(t, filepath.Join(dir, "customer.der"))
		if bytes.Contains(shipped, []byte("Northern Meters")) || !bytes.Contains(sent, []byte("Northern Meters")) {
			t.Fatal("the package does not differ from the one that is shipped")
		}
		f.ownPackage(t, "L-DEMO-2027-0002", sent)
	})
	t.Run("published", func(t *testing.T) {
		sent := reftest.Path(t, "data", "ts48_upp", "TS48v5_SAIP2.3_BERTLV_SUCI.der")
		f.orderPackage(t, f.importPackage(t, sent))
		f.ownPackage(t, lotName, readFile(t, sent))
	})
}

// importPackage takes a package in and gives the name that the site has for it.
func (f *factory) importPackage(t *testing.T, path string) string {
	t.Helper()
	var taken struct{ Name string }
	r := f.at(t, "--json", "profile", "import", path)
	if err := json.Unmarshal([]byte(r.out), &taken); err != nil || r.code != cli.ExitOK {
		t.Fatalf("exit %d, %v: %s%s", r.code, err, r.out, r.err)
	}
	return taken.Name
}

// orderPackage makes a small lot whose order names a package, while the site goes on.
func (f *factory) orderPackage(t *testing.T, name string) {
	t.Helper()
	order, draft := filepath.Join(t.TempDir(), "order.json"), filepath.Join(t.TempDir(), "release")
	writeOrder(t, f, order, map[string]any{"order": orderID, "quantity": 3, "spares": 2, "profile": name, "eid": "allocate", "iccid": "allocate", "imsi": "allocate"})
	f.commands(t, []string{"order", "submit", order}, []string{"order", "draft", orderID, "-o", draft})
	if got := string(readFile(t, draft)); !strings.Contains(got, name) {
		t.Errorf("what officers sign does not name the package:\n%s", got)
	}
	f.signs(t, draft)
	f.commands(t, []string{"lot", "release", draft + ".signed"}, []string{"lot", "status", string(lotName), "--follow"})
}

func (f *factory) commands(t *testing.T, all ...[]string) {
	t.Helper()
	for _, args := range all {
		if r := f.at(t, args...); r.code != cli.ExitOK {
			t.Fatalf("%s: exit %d: %s%s", strings.Join(args, " "), r.code, r.out, r.err)
		}
	}
}

func (f *factory) signs(t *testing.T, draft string) {
	t.Helper()
	f.commands(t, []string{"officer", "sign", draft, "--key", f.site.OfficerKey(site.DemoOfficers[0].ID), "--yes"},
		[]string{"officer", "sign", draft + ".signed", "--key", f.site.OfficerKey(site.DemoOfficers[1].ID), "--yes"})
}

// ownPackage closes a lot, hands it out, has it audited, and asks its chips.
func (f *factory) ownPackage(t *testing.T, lot perso.Name, sent []byte) {
	draft := filepath.Join(t.TempDir(), "close")
	good := f.counted(t, lot, draft)
	f.signs(t, draft)
	f.commands(t, []string{"lot", "close", draft + ".signed"}, []string{"lot", "export", string(lot)})
	bundle := f.at(t, "lot", "bundle", string(lot))
	if r := f.at(t, "audit", "verify", strings.TrimSpace(bundle.out)); r.code != cli.ExitOK || !strings.Contains(r.out, "\nverified: no finding\n") {
		t.Errorf("audit: exit %d: %s%s", r.code, r.out, r.err)
	}
	p, err := saip.Decode(sent)
	if err != nil {
		t.Fatal(err)
	}
	f.chips = nil
	f.askChips(t)
	_, rows := rowsOf(t, filepath.Join(f.site.OutDir(), string(lot), "output", string(lot)+".out"))
	if len(rows) != good {
		t.Errorf("%d units in the output file, %d are good", len(rows), good)
	}
	requireTool(t, auc)
	for i, u := range rows {
		f.hasPackage(t, i, u, p)
	}
}

// counted enters what lies in a lot's bins until the ledger agrees, as heads may still be emptied, and drafts the lot's closing.
func (f *factory) counted(t *testing.T, lot perso.Name, draft string) (good int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), comeUp)
	defer cancel()
	for {
		var s bus.StatusReply
		r := f.at(t, "--json", "lot", "status", string(lot))
		if err := json.Unmarshal([]byte(r.out), &s); err != nil || s.State != perso.LotComplete {
			t.Fatalf("%v: %s%s", err, r.out, r.err)
		}
		count := []string{"lot", "count", string(lot)}
		in := uint64(0)
		for _, bin := range []perso.Verdict{perso.VerdictGood, perso.VerdictRejectBlank, perso.VerdictRejectLive, perso.VerdictReturn} {
			in += s.Bins[bin]
			count = append(count, "--"+string(bin), fmt.Sprint(s.Bins[bin]))
		}
		f.commands(t, append(count, "--in", fmt.Sprint(in)))
		r = f.at(t, "lot", "draft-close", string(lot), "-o", draft)
		if r.code == cli.ExitOK {
			return int(s.Bins[perso.VerdictGood])
		}
		if ctx.Err() != nil {
			t.Fatalf("the lot cannot be closed: %s", r.err)
		}
	}
}

// hasPackage: a chip answers the operator's centre, and its USIM has the files of the package that was sent, but for what is its own.
func (f *factory) hasPackage(t *testing.T, number int, u row, p *saip.Package) {
	t.Helper()
	rand := fmt.Sprintf("%032X", 0x2345678+number)
	autn, want := f.vector(t, u.opened(t, f, "EKI"), u.opened(t, f, "EOPC"), rand)
	aid, files := constants(t, p)
	selectUSIM := unhex(t, "00A40404"+fmt.Sprintf("%02X", len(aid))+hex.EncodeToString(aid)+"00")
	ask := [][]byte{selectUSIM, unhex(t, "00880081"+"22"+"10"+rand+"10"+autn+"00")}
	for _, one := range files {
		ask = append(ask, unhex(t, fmt.Sprintf("00A4000402%04X00", one.FID)), unhex(t, fmt.Sprintf("00B00000%02X", len(one.Content))))
	}
	a, err := f.farm.Inspect(t.Context(), chipfarm.Ref{Index: f.chipWith(t, u["EID"]).Index}, ask)
	if err != nil || len(a) != len(ask) {
		t.Fatal(err, len(a))
	}
	if got := hex.EncodeToString(a[1]); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "9000") {
		t.Errorf("EID %s: the chip answers %s, the authentication centre expects %s", u["EID"], got, want)
	}
	const some, notAllowed = 12, "6982"
	read, spn := 0, false
	for i, one := range files {
		if got := a[3+2*i]; hex.EncodeToString(got) == notAllowed {
			continue // for who has an administrative code
		} else if !bytes.Equal(got, append(bytes.Clone(one.Content), 0x90, 0x00)) {
			t.Errorf("EID %s: file %s reads %X, the package says %X", u["EID"], one.Path, got, one.Content)
		}
		read, spn = read+1, spn || one.Name == "ef-spn"
	}
	if read < some || !spn {
		t.Errorf("EID %s: %d of %d files could be read, the provider's name %v", u["EID"], read, len(files), spn)
	}
}

// constants are the AID of a package's USIM, and the transparent files in it that are alike on all cards.
func constants(t *testing.T, p *saip.Package) (aid []byte, files []*saip.File) {
	t.Helper()
	chip, _ := p.Expand()
	points, err := p.Points()
	if err != nil {
		t.Fatal(err)
	}
	var usim saip.Path
	for _, one := range chip.Applications() {
		if one.Application() == saip.PEUSIM {
			usim, aid = one.Path, one.AID
		}
	}
	for _, one := range chip.Files {
		own := slices.ContainsFunc(points, func(pt saip.Point) bool { return pt.Class == saip.CardValue && one.Holds(pt) })
		inside, is := strings.CutPrefix(string(one.Path), string(usim)+"/")
		const mostBytes, active = 200, 0x05
		if is && !strings.Contains(inside, "/") && one.Kind == saip.Transparent && !own && one.LifeCycle == active && len(one.Content) <= mostBytes && len(one.Content) > 0 {
			files = append(files, one)
		}
	}
	return aid, files
}
