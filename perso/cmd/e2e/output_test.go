package e2e

import (
	"bytes"
	"crypto/aes"
	"encoding/hex"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/persoline/persoline/lineside/chipfarm"
)

// row is one unit of the output file, by column.
type row map[string]string

// outputFile reads what the operator got, as OUTPUT.md describes it.
func (f *factory) outputFile(t *testing.T) (all []row) {
	t.Helper()
	head, all := rowsOf(t, f.out("output", string(lotName)+".out"))
	if !strings.Contains(head, "\nTransport_key   : tk-auc-demo\n") || !strings.Contains(head, fmt.Sprintf("\nQuantity        : %d\n", quantity)) {
		t.Fatalf("the output file begins %.900q", head)
	}
	seen := map[string]bool{}
	for _, u := range all {
		if seen[u["EID"]] {
			t.Errorf("EID %s twice", u["EID"])
		}
		seen[u["EID"]] = true
	}
	if len(all) != quantity {
		t.Fatalf("%d units, want %d", len(all), quantity)
	}
	return all
}

// rowsOf reads an output file: what stands before its columns, and its units.
func rowsOf(t *testing.T, path string) (head string, all []row) {
	t.Helper()
	head, body, ok := strings.Cut(string(readFile(t, path)), "\nvar_out: ")
	if !ok {
		t.Fatalf("the output file begins %.900q", head)
	}
	lines := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
	columns := strings.Split(lines[0], "/")
	for _, line := range lines[1:] {
		fields := strings.Split(line, " ")
		if len(fields) != len(columns) {
			t.Fatalf("%d fields for %d columns: %q", len(fields), len(columns), line)
		}
		u := row{}
		for i, c := range columns {
			u[c] = fields[i]
		}
		all = append(all, u)
	}
	return head + "\n", all
}

// opened is a column under the operator's transport key.
func (u row) opened(t *testing.T, f *factory, column string) []byte {
	t.Helper()
	return decrypt(t, f.partnerKey(t, "tk-auc-demo.hex"), unhex(t, u[column]))
}

// decrypt opens blocks in ECB mode.
func decrypt(t *testing.T, key, sealed []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil || len(sealed)%aes.BlockSize != 0 || len(sealed) == 0 {
		t.Fatalf("opening %d bytes: %v", len(sealed), err)
	}
	open := make([]byte, len(sealed))
	for i := 0; i < len(sealed); i += aes.BlockSize {
		block.Decrypt(open[i:], sealed[i:])
	}
	return open
}

// kcv is the check value of an AES key: the first bytes of the encryption of sixteen times 01.
func kcv(t *testing.T, key []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	out := bytes.Repeat([]byte{1}, aes.BlockSize)
	block.Encrypt(out, out)
	return out[:3]
}

// authentication: the operator's centre, with what stands in the output file, and the chip agree on RES, CK and IK.
func authentication(t *testing.T, f *factory) {
	requireTool(t, auc)
	const everyNth = 7
	kis := map[string]bool{}
	for i, u := range f.outputFile(t) {
		ki, opc := u.opened(t, f, "EKI"), u.opened(t, f, "EOPC")
		if got := upper(kcv(t, ki)); got != u["KI_KCV"] {
			t.Errorf("EID %s: check value of Ki is %s, the file says %s", u["EID"], got, u["KI_KCV"])
		}
		if got := upper(kcv(t, opc)); got != u["OPC_KCV"] {
			t.Errorf("EID %s: check value of OPc is %s, the file says %s", u["EID"], got, u["OPC_KCV"])
		}
		if kis[string(ki)] {
			t.Errorf("EID %s: another unit has the same Ki", u["EID"])
		}
		kis[string(ki)] = true
		if i%everyNth != 0 {
			continue
		}
		f.byCentre(t, u["EID"], i, ki, opc)
	}
}

// auc is Osmocom's generator of authentication vectors.
const auc = "osmo-auc-gen"

// byCentre has an authentication centre that holds a Ki and its OPc challenge the chip.
func (f *factory) byCentre(t *testing.T, eid string, number int, ki, opc []byte) {
	t.Helper()
	rand := fmt.Sprintf("%032X", 0x1234567+number)
	autn, want := f.vector(t, ki, opc, rand)
	f.authenticate(t, eid, rand, autn, want)
}

// vector has an authentication centre make a challenge's AUTN, and say what the chip must answer.
func (f *factory) vector(t *testing.T, ki, opc []byte, rand string) (autn, want string) {
	t.Helper()
	const sqn = "4096"
	out, err := exec.CommandContext(t.Context(), auc, "-3", "-a", "milenage", "-k", hex.EncodeToString(ki), "-o", hex.EncodeToString(opc),
		"-f", "8000", "-s", sqn, "-r", rand).Output()
	if err != nil {
		t.Fatal(err)
	}
	say := func(name string) string {
		m := regexp.MustCompile(`(?m)^` + name + `:\t([0-9a-f]+)$`).FindSubmatch(out)
		if m == nil {
			t.Fatalf("%s says no %s: %s", auc, name, out)
		}
		return string(m[1])
	}
	return say("AUTN"), "db08" + say("RES") + "10" + say("CK") + "10" + say("IK")
}

// authenticate has one chip answer a challenge. It answers once: the same again is stale, and a changed one is not of
// its network.
func (f *factory) authenticate(t *testing.T, eid, rand, autn, want string) {
	t.Helper()
	const authFailed = "9862"
	challenge := "00880081" + "22" + "10" + rand + "10"
	good := unhex(t, challenge+autn+"00")
	forged := bytes.Clone(good)
	forged[len(forged)-2] ^= 1 // of the MAC
	usim := unhex(t, selectUSIM)
	a, err := f.farm.Inspect(t.Context(), chipfarm.Ref{Index: f.chipWith(t, eid).Index}, [][]byte{usim, forged, good, good})
	if err != nil || len(a) != 4 {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(a[1]); got != authFailed {
		t.Errorf("EID %s: a forged challenge is answered %s", eid, got)
	}
	if got := hex.EncodeToString(a[2]); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "9000") {
		t.Errorf("EID %s: the chip answers %s, the authentication centre expects %s", eid, got, want)
	}
	if got := hex.EncodeToString(a[3]); !strings.HasPrefix(got, "dc0e") {
		t.Errorf("EID %s: the same challenge again is answered %s", eid, got)
	}
}

// codes: PIN, PUK and ADM1 of the output file are those of the chip.
func codes(t *testing.T, f *factory) {
	const everyNth, from = 7, 3 // not those that authenticate: a new PIN1 is asked for
	for i, u := range f.outputFile(t) {
		if i%everyNth != from {
			continue
		}
		// A code is eight bytes, filled up to a block.
		code := func(column string) string { return hex.EncodeToString(u.opened(t, f, column)[:8]) }
		const newPIN = "31323334ffffffff"
		c := f.chipWith(t, u["EID"])
		a, err := f.farm.Inspect(t.Context(), chipfarm.Ref{Index: c.Index}, [][]byte{unhex(t, selectUSIM),
			unhex(t, "0020000A08"+code("ADM1")), unhex(t, "0020008108"+code("PIN2")), unhex(t, "0020008108"+newPIN),
			unhex(t, "002C008110"+code("PUK2")+newPIN), unhex(t, "002C000110"+code("PUK1")+newPIN), unhex(t, "0020000108"+newPIN)})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{"ADM1 9000", "PIN2 9000", "another PIN2 63c2", "PUK2 9000", "PUK1 9000", "the new PIN1 9000"} {
			if got := hex.EncodeToString(a[i+1]); !strings.HasSuffix(want, " "+got) {
				t.Errorf("EID %s: %s, the chip says %s", c.eid, want, got)
			}
		}
		// PIN1 is not asked for before somebody enables it, so that only the memory can tell.
		if pin := c.memory.cells[cell{domISDP, kindCode, codePIN1}]; len(pin) < codeBytes || hex.EncodeToString(pin[:8]) != code("PIN1") {
			t.Errorf("EID %s: PIN1 of the output file is not the chip's", c.eid)
		}
	}
}
