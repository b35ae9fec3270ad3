package kifile

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/order/form"
)

func want(t testing.TB, total uint64) Want {
	t.Helper()
	iccid, errICCID := id.ParseICCID("8988001020001000004")
	imsi, errIMSI := id.ParseIMSI("001010200100000", 2)
	iccids, errICCIDs := id.NewICCIDRange(iccid, total)
	imsis, errIMSIs := id.NewIMSIRange(imsi, total)
	if err := errors.Join(errICCID, errIMSI, errICCIDs, errIMSIs); err != nil {
		t.Fatal(err)
	}
	return Want{Order: "DEMO-2027-0002", ICCIDs: iccids, IMSIs: imsis, Total: total}
}

// sample is a file as an operator might write it.
func sample(t testing.TB, w Want) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "Format: persoline-ki/1\nOrder: %s\nReceive_key: rk-demo\nReceive_mode: AES-ECB\nQuantity: %d\nvar_in: ICCID/IMSI/EKI/KI_KCV\n", w.Order, w.Total)
	for i := range w.Total {
		iccid, errICCID := w.ICCIDs.At(i)
		imsi, errIMSI := w.IMSIs.At(i)
		if err := errors.Join(errICCID, errIMSI); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %s %032X %06X\n", iccid, imsi.String(), i+1, i)
	}
	return b.String()
}

func mustParse(t testing.TB, s string, w Want) *File {
	t.Helper()
	f, err := Parse(strings.NewReader(s), w)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestParse(t *testing.T) {
	t.Parallel()
	w := want(t, 5)
	text := sample(t, w)
	f := mustParse(t, text, w)
	r, err := f.Row(3)
	if err != nil || f.Rows() != 5 || f.ReceiveKey != "rk-demo" || f.Mode != ModeECB || f.Order != w.Order || hex.EncodeToString(r.EKI) != fmt.Sprintf("%032x", 4) || r.KCV != [3]byte{0, 0, 3} {
		t.Errorf("%+v, row %+v, %v", f, r, err)
	}
	if _, err := f.Row(5); err == nil {
		t.Error("there is a row too many")
	}
	if b, err := f.Encode(); err != nil || string(b) != text {
		t.Errorf("encoded as %q, %v", b, err)
	}
	loose := strings.NewReplacer("\n", "\r\n", "Order: ", "*****\r\n\r\n*HEADER\r\nOrder   :", " 00101", "F;\t00101", " 0000", " , 0000").Replace(text)
	loose = strings.ToLower(loose[len("Format: persoline-ki/1"):])
	loose = "Format: persoline-ki/1" + strings.NewReplacer("order", "Order", "demo-2027", "DEMO-2027", "receive_", "Receive_", "aes-ecb", "AES-ECB", "quantity", "Quantity",
		"iccid/imsi/eki/ki_kcv", columns, "f;", "F;").Replace(strings.TrimSuffix(loose, "\r\n"))
	if b, err := mustParse(t, loose, w).Encode(); err != nil || string(b) != text {
		t.Errorf("loose form is encoded as %q, %v", b, err)
	}
}

// Each fault is found with its line, and none quotes an IMSI or an EKI.
func TestFaults(t *testing.T) {
	t.Parallel()
	w := want(t, 5)
	good := sample(t, w)
	row := strings.Split(good, "\n")[8] // unit 2
	for name, c := range map[string]struct {
		old, new string
		fault    string
	}{
		"wrong format":         {"persoline-ki/1", "persoline-ki/2", `line 1, column 1: Format: is "persoline-ki/2"`},
		"other order":          {"DEMO-2027-0002", "DEMO-2027-0003", "line 2, column 1: Order: is"},
		"bad key name":         {"rk-demo", "rk demo", "line 3, column 1: Receive_key"},
		"unknown mode":         {"AES-ECB", "DES", "line 4, column 1: Receive_mode"},
		"other quantity":       {"Quantity: 5", "Quantity: 6", "line 5, column 1: Quantity"},
		"other columns":        {columns, "ICCID/IMSI/EKI", "line 6, column 1: var_in"},
		"field twice":          {"Quantity: 5", "Quantity: 5\nQuantity: 5", "line 6, column 1: Quantity: the field stands in line 5 already"},
		"unknown field":        {"Quantity: 5", "Quantity: 5\nColour: red", "line 6, column 1: Colour: the field is unknown"},
		"no field":             {"Quantity: 5", "Quantity: 5\nhello", "line 6, column 1: the line is neither"},
		"field missing":        {"Receive_key: rk-demo\n", "", "Receive_key: the field is missing"},
		"row missing":          {row + "\n", "", "the file has 4 rows, the order 5 units"},
		"row too many":         {row, row + "\n" + row, "the file has more rows than the 5 units"},
		"ICCID of another":     {"8988001020001000020", "8988001020001000038", "line 9, column 1: ICCID: it is not 8988001020001000020"},
		"IMSI of another":      {"001010200100002", "001010200100001", "line 9, column 1: IMSI: it is not the one"},
		"EKI short":            {"3 000002", " 000002", "line 9, column 1: EKI: the value is not 16 or 32 bytes"},
		"EKI no hex":           {"3 000002", "G 000002", "line 9, column 1: EKI: the value is not 16 or 32 bytes"},
		"EKI twice":            {"3 000002", "1 000002", "line 9, column 1: EKI: the value is that of line 7"},
		"EKI longer":           {"3 000002", "3" + strings.Repeat("0", 32) + " 000002", "line 9, column 1: EKI: the value is of another length"},
		"KCV short":            {"3 000002", "3 0002", "line 9, column 1: KI_KCV: the check value is not 3 bytes"},
		"value missing":        {"3 000002", "3", "line 9, column 1: the row has 3 values"},
		"value too many":       {"3 000002", "3 000002 1", "line 9, column 1: the row has 5 values"},
		"a line without end":   {row, strings.Repeat("1", MaxLineBytes+1), "line 9, column 1: the line is longer"},
		"no file of this kind": {good, "\x00\x01", "the line is neither"},
	} {
		bad := strings.Replace(good, c.old, c.new, 1)
		if bad == good {
			t.Errorf("%s: nothing was changed", name)
		}
		_, err := Parse(strings.NewReader(bad), w)
		var faults *form.FaultList
		if !errors.As(err, &faults) || !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: got %v, want %q", name, err, c.fault)
		}
		if err != nil && (strings.Contains(err.Error(), "00101020") || strings.Contains(err.Error(), "00000000000003")) {
			t.Errorf("%s: the report quotes a row: %v", name, err)
		}
	}
	_, err := Parse(strings.NewReader(strings.NewReplacer("Order:", "Orders:", "3 000002", "3", "AES-ECB", "x").Replace(good)), w)
	if err == nil || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("four faults are reported as %v", err)
	}
	broken := errors.New("broken")
	if _, err := Parse(iotest.ErrReader(broken), w); !errors.Is(err, broken) {
		t.Errorf("a reader that fails: %v", err)
	}
}

func TestProofs(t *testing.T) {
	t.Parallel()
	for _, n := range []uint64{1, 2, 7, 24} {
		w := want(t, n)
		f := mustParse(t, sample(t, w), w)
		tree, err := f.Tree()
		if err != nil {
			t.Fatal(err)
		}
		root, err := tree.Root()
		if err != nil {
			t.Fatal(err)
		}
		for u := range perso.Unit(n) {
			hashes, err := tree.Prove(u)
			if err != nil {
				t.Fatal(err)
			}
			row, err := f.Row(u)
			if err != nil {
				t.Fatal(err)
			}
			p := Proof{Root: root, Rows: n, Hashes: hashes}
			if err := CheckRow(u, row, p); err != nil {
				t.Errorf("%d rows, unit %d: %v", n, u, err)
			}
			if err := CheckRow(u+1, row, p); !errors.Is(err, ErrRow) {
				t.Errorf("%d rows: the row of unit %d is one of unit %d, too: %v", n, u, u+1, err)
			}
			other := Row{EKI: bytes.Clone(row.EKI), KCV: row.KCV}
			other.KCV[2] ^= 1
			if err := CheckRow(u, other, p); !errors.Is(err, ErrRow) {
				t.Errorf("%d rows, unit %d with another check value: %v", n, u, err)
			}
			p.Root[0] ^= 1
			if err := CheckRow(u, row, p); !errors.Is(err, ErrRow) {
				t.Errorf("%d rows, unit %d of another file: %v", n, u, err)
			}
		}
		if _, err := tree.Prove(perso.Unit(n)); err == nil {
			t.Errorf("%d rows: a row that is not there is proven", n)
		}
	}
	if err := CheckRow(0, Row{EKI: make([]byte, 16)}, Proof{Rows: 1, Hashes: make([][32]byte, MaxProofHashes+1)}); !errors.Is(err, ErrRow) {
		t.Error(err)
	}
}

// A row that is read from its page has the proof that the whole file gives, whatever the size of the file.
func TestPages(t *testing.T) {
	t.Parallel()
	for _, n := range []uint64{1, 2, 63, 64, 65, 100, 128, 129, 192, 200, 321} {
		w := want(t, n)
		f := mustParse(t, sample(t, w), w)
		tree, err := f.Tree()
		if err != nil {
			t.Fatal(err)
		}
		pages, err := f.Pages(tree)
		if err != nil || uint64(len(pages)) != (n+PageRows-1)/PageRows {
			t.Fatalf("%d rows: %d pages, %v", n, len(pages), err)
		}
		for u := range perso.Unit(n) {
			page, err := ParsePage(PageOf(u), pages[PageOf(u)].Rows(), pages[PageOf(u)].Upper())
			if err != nil {
				t.Fatal(err)
			}
			row, hashes, err := page.Prove(u)
			whole, errWhole := tree.Prove(u)
			own, errRow := f.Row(u)
			if err := errors.Join(err, errWhole, errRow); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(hashes, whole) || !bytes.Equal(row.Bytes(), own.Bytes()) {
				t.Fatalf("%d rows, unit %d: another row or proof", n, u)
			}
		}
		if _, _, err := pages[0].Prove(perso.Unit(min(n, PageRows))); !errors.Is(err, ErrRow) {
			t.Errorf("%d rows: a row behind the first page is in it: %v", n, err)
		}
	}
	good := append([]byte{16}, make([]byte, 2*19)...)
	for name, bad := range map[string][2][]byte{"nothing": {}, "row cut off": {good[:30]}, "no Ki": {{0, 1, 2, 3}}, "no row": {{16}}, "hash cut off": {good, make([]byte, 31)},
		"too high": {good, make([]byte, 32*15)}, "too many rows": {append([]byte{16}, make([]byte, 65*19)...)}} {
		if _, err := ParsePage(0, bad[0], bad[1]); !errors.Is(err, ErrRow) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParsePage(0, good, make([]byte, 64)); err != nil {
		t.Error(err)
	}
}

// Only a key that the provider has agreed on may be named.
func TestReceiveKeys(t *testing.T) {
	t.Parallel()
	w := want(t, 2)
	text := sample(t, w)
	w.ReceiveKeys, w.KiBytes = []perso.Name{"rk-a", "rk-demo"}, 16
	mustParse(t, text, w)
	_, err := Parse(strings.NewReader(strings.Replace(text, "rk-demo", "rk-b", 1)), w)
	if err == nil || !strings.Contains(err.Error(), `line 3, column 1: Receive_key: is "rk-b", the order's provider has ["rk-a" "rk-demo"]`) {
		t.Error(err)
	}
	_, err = Parse(strings.NewReader(strings.Replace(text, "1 000000", "1"+strings.Repeat("0", 32)+" 000000", 1)), w)
	if err == nil || !strings.Contains(err.Error(), "line 7, column 1: EKI: the value has 32 bytes, a Ki of the order's algorithm has 16") {
		t.Error(err)
	}
}

func TestRowBytes(t *testing.T) {
	t.Parallel()
	r := Row{KCV: [3]byte{1, 2, 3}, EKI: bytes.Repeat([]byte{7}, 32)}
	if got, err := ParseRow(r.Bytes()); err != nil || got.KCV != r.KCV || !bytes.Equal(got.EKI, r.EKI) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, n := range []int{0, 3, 18, 20, 34, 36} {
		if _, err := ParseRow(make([]byte, n)); !errors.Is(err, ErrRow) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// What is read is encoded as a file that reads the same.
func FuzzParse(f *testing.F) {
	w := want(f, 3)
	f.Add(sample(f, w))
	f.Add(strings.ReplaceAll(sample(f, w), " ", ";"))
	f.Add("var_in: ICCID/IMSI/EKI/KI_KCV\n")
	f.Fuzz(func(t *testing.T, in string) {
		file, err := Parse(strings.NewReader(in), w)
		if err != nil {
			return
		}
		first, err := file.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := mustParse(t, string(first), w).Encode()
		if err != nil || !bytes.Equal(first, again) {
			t.Fatalf("%q became %q, %v", first, again, err)
		}
	})
}

// A page that is read is written the same.
func FuzzParsePage(f *testing.F) {
	w := want(f, 70)
	file := mustParse(f, sample(f, w), w)
	tree, err := file.Tree()
	if err != nil {
		f.Fatal(err)
	}
	pages, err := file.Pages(tree)
	if err != nil {
		f.Fatal(err)
	}
	for i, p := range pages {
		f.Add(uint32(i), p.Rows(), p.Upper())
	}
	f.Add(uint32(0), []byte{16}, []byte{})
	f.Fuzz(func(t *testing.T, number uint32, rows, upper []byte) {
		p, err := ParsePage(number, rows, upper)
		if err != nil {
			return
		}
		if !bytes.Equal(p.Rows(), rows) || !bytes.Equal(p.Upper(), upper) {
			t.Fatalf("page %d of %x and %x is written as %x and %x", number, rows, upper, p.Rows(), p.Upper())
		}
		if _, _, err := p.Prove(p.First); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	w := want(b, 10_000)
	text := sample(b, w)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Parse(strings.NewReader(text), w); err != nil {
			b.Fatal(err)
		}
	}
}
