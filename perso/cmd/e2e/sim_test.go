package e2e

import (
	"bytes"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/ledger/audit"
	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/lineside/chipfarm"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/canary"
)

// What a test reader asks a SIM beside what it asks an eUICC.
const (
	selectUST    = "00A4000C026F38"
	readUST5GS   = "00B0000F01"
	selectSUCI   = "00A4080C047FFF5FC0"
	selectCalc   = "00A4000C024F07"
	readCalc     = "00B0000060"
	verifyPIN1   = "00200001"
	simPIN1      = 0x01 // number of its cell
	transportTry = "0020000E083030303030303030"
)

// TestAcceptanceOfSIMs makes a lot of each SIM: over SCP03 and SCP02 with the home network's SUCI keys, and without a secure
// channel with PIN1 asked for.
func TestAcceptanceOfSIMs(t *testing.T) {
	t.Parallel()
	hsmtest.RequireSoftHSM(t)
	const suci = "B:27:0272DA71976234CE833A6907425867B82E074D44EF907DFB4B3E21C1C2256EBCD1"
	for product, change := range map[string]map[string]any{"basic-100m-mff2": {"suci": suci}, "basic-100m-scp02-mff2": {"suci": suci}, "basic-100s-2ff": {"pin1": "asked"}} {
		t.Run(product, func(t *testing.T) {
			t.Parallel()
			f := newFactory(t)
			order := filepath.Join(filepath.Dir(f.cwd), "order.json")
			fields := map[string]any{"order": orderID, "quantity": quantity, "spares": spares, "product": product, "eid": nil, "sm_sr": nil, "key_origin": nil}
			for name, v := range change {
				fields[name] = v
			}
			writeOrder(t, f, order, fields)
			f.demo(t, order)
			f.simFiles(t, f.good()[0]) // before judges change PINs
			for i := range f.chips {
				if c := &f.chips[i]; c.bin == perso.VerdictGood {
					c.imsi = f.simIMSI(t, *c)
				}
			}
			judged(t, f, []judge{
				{"Identities", simIdentities}, {"Authentication", simAuthentication}, {"Codes", simCodes}, {"Canary", simCanaries},
				{"Bundle", simBundle}, {"NoCoreDump", noCoreDump},
			})
		})
	}
}

// secure says whether the lot's SIMs have a secure channel.
func (f *factory) secure(t *testing.T) bool {
	return !strings.Contains(f.status(t).Proof, "trusts the line")
}

// unread says whether what was read from the lot's SIMs is the line's word.
func (f *factory) unread(t *testing.T) bool {
	return strings.Contains(f.status(t).Proof, "(contents trust the line)")
}

// simWith is the good chip that says this ICCID.
func (f *factory) simWith(t *testing.T, iccid string) chip {
	t.Helper()
	for _, c := range f.good() {
		if c.iccid == iccid {
			return c
		}
	}
	t.Fatalf("no good chip says ICCID %s", iccid)
	return chip{}
}

// sims reads the output file of SIMs: it has no EIDs, and the OTA keys.
func (f *factory) sims(t *testing.T) (all []row) {
	t.Helper()
	text := string(readFile(t, f.out("output", string(lotName)+".out")))
	head, body, ok := strings.Cut(text, "\nvar_out: ")
	if !ok || strings.Contains(head, "(trusts the line)") == f.secure(t) {
		t.Fatalf("the output file begins %.900q", text)
	}
	lines := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
	columns := strings.Split(lines[0], "/")
	for _, line := range lines[1:] {
		fields := strings.Split(line, " ")
		if len(fields) != len(columns) {
			t.Fatalf("%d fields for %d columns", len(fields), len(columns))
		}
		u := row{}
		for i, c := range columns {
			u[c] = fields[i]
		}
		all = append(all, u)
	}
	if _, has := all[0]["EID"]; has || len(all) != quantity || all[0]["EKIK"] == "" {
		t.Fatalf("%d units with the columns %q", len(all), columns)
	}
	return all
}

// simIdentities: each chip says one ICCID and IMSI that was ordered, no other chip does, and the receivers were told the same.
func simIdentities(t *testing.T, f *factory) {
	good := f.good()
	if len(good) != quantity || len(f.chips)-quantity < 2 {
		t.Fatalf("%d chips in the good bin and %d elsewhere", len(good), len(f.chips)-quantity)
	}
	taken := map[string]uint32{}
	for _, c := range good {
		for _, name := range []string{c.iccid, c.imsi} {
			if other, twice := taken[name]; twice || name == "" {
				t.Errorf("chip %d says %q, as chip %d does", c.Index, name, other)
			}
			taken[name] = c.Index
		}
		if c.eid != "" || c.cert != nil {
			t.Errorf("chip %d is a SIM and has EID %q", c.Index, c.eid)
		}
	}
	rows := f.sims(t)
	for _, u := range rows {
		if c := f.simWith(t, u["ICCID"]); u["IMSI"] != c.imsi {
			t.Errorf("the output file gives ICCID %s IMSI %s, the chip says %s", u["ICCID"], u["IMSI"], c.imsi)
		}
	}
	list := string(readFile(t, f.out("cards", string(lotName)+".csv")))
	remark, table, _ := strings.Cut(list, "\n")
	cards, err := csv.NewReader(strings.NewReader(table)).ReadAll()
	if err != nil || len(cards) != quantity+1 || strings.Contains(remark, "(trusts the line)") == f.secure(t) {
		t.Fatalf("%d rows in the list of cards, %v, after %q", len(cards), err, remark)
	}
	for i, card := range cards[1:] {
		if c := f.simWith(t, card[0]); card[0] != rows[i]["ICCID"] || card[1] != c.Chip.String() {
			t.Errorf("card %d of the list is %q, the chip is %s", i, card, c.Chip)
		}
	}
	for _, c := range good {
		f.simFinished(t, c)
	}
}

// simIMSI is what a SIM says when it has its PIN.
func (f *factory) simIMSI(t *testing.T, c chip) string {
	t.Helper()
	a, err := f.apdus(t, c.Index, selectUSIM, verifyPIN1+"08"+hex.EncodeToString(c.memory.pin1(t)), selectIMSI, readIMSI)
	if err != nil {
		t.Fatal(err)
	}
	c.tell(nil, nil, nil, a[3])
	return c.imsi
}

// simFiles: the home network's keys stand on the card where the order has them, and the service table says so.
func (f *factory) simFiles(t *testing.T, c chip) {
	t.Helper()
	a, err := f.apdus(t, c.Index, selectUSIM, verifyPIN1+"08"+hex.EncodeToString(c.memory.pin1(t)), selectUST, readUST5GS, selectUSIM, selectSUCI, selectCalc, readCalc)
	if err != nil {
		t.Fatal(err)
	}
	service, calculation := byte(0x26), bytes.Repeat([]byte{0xFF}, 96)
	if f.secure(t) {
		const key = "0272DA71976234CE833A6907425867B82E074D44EF907DFB4B3E21C1C2256EBCD1"
		service = 0x2E
		info := unhex(t, "A0020201A12680011B8121"+key) // one scheme, profile B, with key 1; identifier 27, the key
		copy(calculation, info)
	}
	if !bytes.Equal(a[3], []byte{service}) || !bytes.Equal(a[7], calculation) {
		t.Errorf("chip %d has services %X and SUCI information %X, want %X and %X", c.Index, a[3], a[7], service, calculation)
	}
}

// simFinished: a good SIM is under its own keys alone, or obeys its maker's code no more.
func (f *factory) simFinished(t *testing.T, c chip) {
	t.Helper()
	if f.secure(t) {
		own := map[bool]byte{false: 0x30, true: 0x20}[f.unread(t)]
		a, err := f.apdus(t, c.Index, selectISD, initUpdate, initFactory)
		if err != nil || len(a[1]) < 11 || a[1][10] != own || a[2] != nil {
			t.Errorf("ICCID %s: INITIALIZE UPDATE is answered %X, %v", c.iccid, a, err)
		}
		return
	}
	a, err := f.farm.Inspect(t.Context(), chipfarm.Ref{Index: c.Index}, [][]byte{unhex(t, transportTry)})
	if err != nil || hex.EncodeToString(a[0]) != "6984" {
		t.Errorf("ICCID %s: its maker's code is answered %X, %v", c.iccid, a, err)
	}
}

// pin1 is the PIN1 in a chip's memory.
func (m memory) pin1(t *testing.T) []byte {
	t.Helper()
	for at, value := range m.cells {
		if at.kind == kindPIN && at.number == simPIN1 {
			return value[:8]
		}
	}
	t.Fatal("no PIN1 in the memory")
	return nil
}

// simAuthentication: the operator's centre and the chip agree, with what stands in the output file.
func simAuthentication(t *testing.T, f *factory) {
	requireTool(t, auc)
	const everyNth = 7
	kis := map[string]bool{}
	for i, u := range f.sims(t) {
		for name, column := range map[string]string{"EKI": "KI_KCV", "EOPC": "OPC_KCV", "EKIC": "KIC_KCV", "EKID": "KID_KCV", "EKIK": "KIK_KCV"} {
			key := u.opened(t, f, name)
			if got := upper(kcv(t, key)); got != u[column] || kis[name+string(key)] && name != "EOPC" {
				t.Errorf("ICCID %s: %s has check value %s, the file says %s; or another unit has it", u["ICCID"], name, got, u[column])
			}
			kis[name+string(key)] = true
		}
		c := f.simWith(t, u["ICCID"])
		for i, name := range []string{"EKIC", "EKID", "EKIK"} {
			if key := c.memory.key(domISD, 0x01, byte(i+1)); !bytes.Equal(key, u.opened(t, f, name)) {
				t.Errorf("ICCID %s: %s of the output file is not the chip's", u["ICCID"], name)
			}
		}
		if i%everyNth == 0 {
			f.simByCentre(t, c, u, i)
		}
	}
}

// simByCentre has an authentication centre challenge a SIM, which wants its PIN first where that is asked for.
func (f *factory) simByCentre(t *testing.T, c chip, u row, number int) {
	t.Helper()
	rand := fmt.Sprintf("%032X", 0x7654321+number)
	autn, want := f.vector(t, u.opened(t, f, "EKI"), u.opened(t, f, "EOPC"), rand)
	a, err := f.farm.Inspect(t.Context(), chipfarm.Ref{Index: c.Index}, [][]byte{unhex(t, selectUSIM),
		unhex(t, verifyPIN1+"08"+hex.EncodeToString(u.opened(t, f, "PIN1")[:8])), unhex(t, "00880081"+"22"+"10"+rand+"10"+autn+"00")})
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(a[2]); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "9000") {
		t.Errorf("ICCID %s: the chip answers %s, the authentication centre expects %s", u["ICCID"], got, want)
	}
}

// simCodes: PIN, PUK and ADM1 of the output file are the chip's, and PIN1 is asked for as the order says.
func simCodes(t *testing.T, f *factory) {
	const everyNth, from, newPIN = 7, 3, "31323334ffffffff"
	asked := !f.secure(t)
	for i, u := range f.sims(t) {
		if i%everyNth != from {
			continue
		}
		code := func(column string) string { return hex.EncodeToString(u.opened(t, f, column)[:8]) }
		c := f.simWith(t, u["ICCID"])
		a, err := f.farm.Inspect(t.Context(), chipfarm.Ref{Index: c.Index}, [][]byte{unhex(t, selectUSIM), unhex(t, verifyPIN1+"08"+code("PIN1")),
			unhex(t, "0020000A08"+code("ADM1")), unhex(t, "0020008108"+code("PIN2")), unhex(t, "0020008108"+newPIN),
			unhex(t, "002C008110"+code("PUK2")+newPIN), unhex(t, "002C000110"+code("PUK1")+newPIN), unhex(t, "0020000108"+newPIN)})
		if err != nil {
			t.Fatal(err)
		}
		first := map[bool]string{true: "PIN1 9000", false: "PIN1 6984"}[asked] // 6984: not asked for yet
		for i, want := range []string{first, "ADM1 9000", "PIN2 9000", "another PIN2 63c2", "PUK2 9000", "PUK1 9000", "the new PIN1 9000"} {
			if got := hex.EncodeToString(a[i+1]); !strings.HasSuffix(want, " "+got) {
				t.Errorf("ICCID %s: %s, the chip says %s", u["ICCID"], want, got)
			}
		}
	}
}

// simCanaries: what the SIMs hold is nowhere else in clear, also where the line read it (I2).
func simCanaries(t *testing.T, f *factory) {
	var needles []canary.Needle
	for _, u := range f.sims(t) {
		for _, column := range []string{"EKI", "EOPC", "EKIC", "EKID", "EKIK"} {
			needles = append(needles, canary.Needle{Name: u["ICCID"] + " " + column, Value: u.opened(t, f, column)})
		}
		for _, column := range []string{"PUK1", "PUK2", "ADM1"} {
			needles = append(needles, canary.Needle{Name: u["ICCID"] + " " + column, Value: u.opened(t, f, column)[:8]})
		}
	}
	hits, err := canary.Prove(t.Context(), []string{f.site.Dir}, needles, canary.Options{Skip: []string{f.site.FarmDir(), filepath.Join(f.site.Dir, "partners")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hits {
		t.Errorf("%s", h)
	}
	hits, err = canary.Scan(t.Context(), []string{f.site.FarmDir()}, needles[:1], canary.Options{})
	if err != nil || len(hits) == 0 {
		t.Errorf("%q is not found where it is: %v", needles[0].Name, err)
	}
}

// simBundle: the audit verifies, knows both exports, and says what "good" rests on.
func simBundle(t *testing.T, f *factory) {
	r, err := audit.Verify(os.DirFS(f.bundle(t)), f.pins(t))
	if err != nil || !r.OK() || !r.Pinned() || r.Lot != lotName || (len(r.Trusts) == 0) != (f.secure(t) && !f.unread(t)) {
		t.Errorf("lot %s, pinned %v, %v, trusts %q, findings %v", r.Lot, r.Pinned(), err, r.Trusts, r.Findings)
	}
	for _, what := range []string{"output", "cards"} {
		made, logged := readFile(t, f.out(what, layout.Manifest)), readFile(t, filepath.Join(f.bundle(t), layout.Export(lotName, what)))
		if !bytes.Equal(made, logged) {
			t.Errorf("the bundle holds another manifest of %s than was handed out", what)
		}
	}
	if s := f.status(t); s.State != perso.LotClosed || s.Good != quantity {
		t.Errorf("the lot is %s with %d good", s.State, s.Good)
	}
}
