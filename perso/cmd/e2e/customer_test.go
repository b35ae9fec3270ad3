package e2e

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/canary"
	"github.com/persoline/persoline/perso/cmd/cli"
)

// customerLot is the lot of the sample order with the customer's own Ki, and customerUnits its good ones and spares.
const (
	customerLot                      = perso.Name("L-DEMO-2027-0004")
	customerGood, customerIdentities = 20, 24
	receiveKey                       = "rk-provider-demo"
)

// TestCustomerKi makes the sample order whose Ki the customer sends: they are on the chips, and nowhere else.
func TestCustomerKi(t *testing.T) {
	t.Parallel()
	hsmtest.RequireSoftHSM(t)
	f := newFactory(t)
	f.demo(t, filepath.Join(f.repo, "deploy", "samples", "orders", "customer-ki-20.json"))
	sent := f.sentKi(t)
	for _, judge := range []struct {
		name string
		sees func(*testing.T, *factory, map[string]row)
	}{
		{"OnChips", kiOnChips}, {"Authentication", kiAuthentication}, {"Canary", kiCanaries}, {"Refused", kiRefused}, {"ByCommand", kiByCommand}, {"Bundle", kiBundle},
	} {
		t.Run(judge.name, func(t *testing.T) { judge.sees(t, f, sent) })
	}
}

// sentKi reads the file that the customer sent, by ICCID; of a row he alone knows Ki.
func (f *factory) sentKi(t *testing.T) map[string]row {
	t.Helper()
	_, body, ok := strings.Cut(string(readFile(t, filepath.Join(f.site.Dir, "customer.ki"))), "\nvar_in: ICCID/IMSI/EKI/KI_KCV\n")
	lines := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
	if !ok || len(lines) != customerIdentities {
		t.Fatalf("%d rows were sent", len(lines))
	}
	sent := map[string]row{}
	for _, line := range lines {
		c := strings.Fields(line)
		sent[c[0]] = row{"IMSI": c[1], "EKI": c[2], "KI_KCV": c[3]}
	}
	return sent
}

// ki is a Ki as the customer knows it.
func (f *factory) ki(t *testing.T, sent row) []byte {
	t.Helper()
	return decrypt(t, f.partnerKey(t, receiveKey+".hex"), unhex(t, sent["EKI"]))
}

// customerOutput reads the output file, which has a check value and no Ki.
func (f *factory) customerOutput(t *testing.T) (all []row) {
	t.Helper()
	text := string(readFile(t, filepath.Join(f.site.OutDir(), string(customerLot), "output", string(customerLot)+".out")))
	_, body, _ := strings.Cut(text, "\nvar_out: ")
	lines := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
	columns := strings.Split(lines[0], "/")
	if lines = lines[1:]; len(lines) != customerGood || slices.Contains(columns, "EKI") || !slices.Contains(columns, "KI_KCV") {
		t.Fatalf("%d units in\n%.900s", len(lines), text)
	}
	for _, line := range lines {
		u := row{}
		for i, value := range strings.Fields(line) {
			u[columns[i]] = value
		}
		all = append(all, u)
	}
	return all
}

// kiOnChips: each chip has the Ki that the customer sent for its ICCID, and the output file its check value.
func kiOnChips(t *testing.T, f *factory, sent map[string]row) {
	for _, u := range f.customerOutput(t) {
		s := sent[u["ICCID"]]
		ki, c := f.ki(t, s), f.chipWith(t, u["EID"])
		if s["IMSI"] != u["IMSI"] || s["KI_KCV"] != u["KI_KCV"] || upper(kcv(t, ki)) != u["KI_KCV"] {
			t.Errorf("ICCID %s is not of the Ki that was sent", u["ICCID"])
		}
		if c.iccid != u["ICCID"] || !bytes.Equal(c.memory.ki(), ki) {
			t.Errorf("EID %s: the chip has another Ki than the customer's", u["EID"])
		}
	}
}

// kiAuthentication: the customer's centre, with his own Ki and the OPc that he got, and the chips agree.
func kiAuthentication(t *testing.T, f *factory, sent map[string]row) {
	requireTool(t, auc)
	for i, u := range f.customerOutput(t) {
		f.byCentre(t, u["EID"], i, f.ki(t, sent[u["ICCID"]]), u.opened(t, f, "EOPC"))
	}
}

// kiCanaries: no Ki of the customer is in clear in any file of the site, but for the farm's own.
func kiCanaries(t *testing.T, f *factory, sent map[string]row) {
	var needles []canary.Needle
	for iccid, s := range sent {
		needles = append(needles, canary.Needle{Name: "Ki of ICCID " + iccid, Value: f.ki(t, s)})
	}
	opt := canary.Options{Skip: []string{f.site.FarmDir(), filepath.Join(f.site.Dir, "partners")}}
	hits, err := canary.Prove(t.Context(), []string{f.site.Dir}, needles, opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hits {
		t.Errorf("%s", h)
	}
	hits, err = canary.Scan(t.Context(), []string{f.site.FarmDir()}, needles, canary.Options{})
	if err != nil || len(hits) < customerGood {
		t.Errorf("%d are found where they are: %v", len(hits), err)
	}
}

// another writes an order like the sample, for other numbers, and gives the flags of ki-file.
func (f *factory) another(t *testing.T, dir, number string, first int) (order, ki string) {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(readFile(t, filepath.Join(f.repo, "deploy", "samples", "orders", "customer-ki-20.json")), &fields); err != nil {
		t.Fatal(err)
	}
	fields["order"], fields["quantity"], fields["spares"] = number, 5, 1
	fields["iccid"] = map[string]any{"first": []string{"8988001020003000002", "8988001020004000001"}[first]}
	fields["imsi"] = map[string]any{"first": []string{"001010200300000", "001010200400000"}[first], "mnc_digits": 2}
	text, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	order, ki = filepath.Join(dir, number+".json"), filepath.Join(dir, number+".ki")
	writeFile(t, order, text)
	r := f.at(t, "order", "ki-file", order, "--receive-key", receiveKey, "--key", "file:"+f.site.PartnerKey(receiveKey), "-o", ki)
	if r.code != cli.ExitOK {
		t.Fatalf("making %s: exit %d: %s", ki, r.code, r.err)
	}
	return order, ki
}

// kiRefused: a file that does not fit comes back with every fault, and makes one entry in the log.
func kiRefused(t *testing.T, f *factory, _ map[string]row) {
	order, ki := f.another(t, t.TempDir(), "E2E-KI-0001", 0)
	good := readFile(t, ki)
	lines := strings.Split(string(good), "\n")
	spoil := strings.NewReplacer(lines[6], lines[7], lines[7], lines[6], "Receive_mode: AES-ECB", "Receive_mode: ROT13", lines[10]+"\n", "")
	writeFile(t, ki, []byte(spoil.Replace(string(good))))
	want := []string{":4: Receive_mode:", ":7: ICCID:", ":7: IMSI:", ":8: ICCID:", ":8: IMSI:", "the file has 5 rows, the order 6 units"}
	before := f.logSize(t)
	for _, command := range []string{"check", "submit"} {
		r := f.at(t, "order", command, order, "--ki", ki)
		said := strings.ReplaceAll(r.err, ":1: ", ": ")
		for _, w := range want {
			if r.code != cli.ExitFailed || !strings.Contains(said, filepath.Base(ki)) || !strings.Contains(said, w) {
				t.Errorf("%s: exit %d, no %q in\n%s", command, r.code, w, r.err)
			}
		}
	}
	if now := f.logSize(t); now != before+1 {
		t.Errorf("the log went from %d to %d entries", before, now)
	}
	other := ki + ".other"
	if r := f.at(t, "order", "ki-file", order, "--receive-key", receiveKey, "--key", "file:"+f.site.PartnerKey("tk-auc-demo"), "-o", other); r.code != cli.ExitOK {
		t.Fatalf("with another key: exit %d: %s", r.code, r.err)
	}
	if r := f.at(t, "order", "submit", order, "--ki", other); r.code != cli.ExitFailed || !strings.Contains(r.err, `Receive_key: no Ki fits its check value under "rk-provider-demo"`) {
		t.Errorf("Ki under another key: exit %d: %s", r.code, r.err)
	}
	r := f.at(t, "order", "submit", order)
	if r.code != cli.ExitFailed || !strings.Contains(r.err, "no file of them came with it") {
		t.Errorf("without a file: exit %d, %s", r.code, r.err)
	}
	writeFile(t, ki, good)
	if r := f.at(t, "order", "submit", order, "--ki", ki); r.code != cli.ExitOK || !strings.Contains(r.out, "is accepted") {
		t.Errorf("the right file: exit %d, %s%s", r.code, r.out, r.err)
	}
}

func (f *factory) logSize(t *testing.T) int64 {
	t.Helper()
	r := f.at(t, "--json", "lot", "status", string(customerLot))
	var s bus.StatusReply
	if err := json.Unmarshal([]byte(r.out), &s); err != nil {
		t.Fatalf("%v: %s%s", err, r.out, r.err)
	}
	return s.LogSize
}

// kiByCommand: file and order by hand, and the draft says what officers sign.
func kiByCommand(t *testing.T, f *factory, _ map[string]row) {
	order, ki := f.another(t, t.TempDir(), "E2E-KI-0002", 1)
	if r := f.at(t, "order", "submit", order, "--ki", ki); r.code != cli.ExitOK {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	if r := f.at(t, "order", "submit", order, "--ki", ki); r.code != cli.ExitOK || !strings.Contains(r.out, "is known already") {
		t.Errorf("again: exit %d, %s%s", r.code, r.out, r.err)
	}
	r := f.at(t, "order", "draft", "E2E-KI-0002")
	for _, want := range []string{"ki_source customer\nki_root ", "\nki_rows 6\nreceive_key rk-provider-demo\nreceive_mode AES-ECB\nki_output omitted\n"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
}

// kiBundle: an auditor needs none of it.
func kiBundle(t *testing.T, f *factory, sent map[string]row) {
	found, err := filepath.Glob(filepath.Join(f.site.OutDir(), string(customerLot), "audit-*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("bundles %q, %v", found, err)
	}
	if r := f.at(t, "audit", "verify", found[0]); r.code != cli.ExitOK {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	var needles []canary.Needle
	for iccid, s := range sent {
		needles = append(needles, canary.Needle{Name: "encrypted Ki of ICCID " + iccid, Value: unhex(t, s["EKI"])})
	}
	hits, err := canary.Scan(t.Context(), found, needles, canary.Options{})
	if err != nil || len(hits) > 0 {
		t.Errorf("a bundle holds %v, %v", hits, err)
	}
}
