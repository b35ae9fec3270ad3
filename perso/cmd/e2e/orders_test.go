package e2e

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/cmd/cli"
)

// badOrder is an order file that must be refused, with every one of these in what the office is told.
type badOrder struct {
	name string
	file string
	want []string
	// unknowable says that only the ledger can know the fault: the file itself is good.
	unknowable bool
}

// column follows the line of a fault.
var column = regexp.MustCompile(`(\.json:[0-9]+):[0-9]+:`)

func badOrderFiles(t *testing.T, f *factory) []badOrder {
	t.Helper()
	dir := t.TempDir()
	sample := func(name string) string { return filepath.Join(f.repo, "deploy", "samples", "bad", name+".json") }
	changed := func(name string, change map[string]any) string {
		path := filepath.Join(dir, name+".json")
		writeOrder(t, f, path, change)
		return path
	}
	truncated := filepath.Join(dir, "truncated.json")
	whole := readFile(t, changed("whole", nil))
	writeFile(t, truncated, whole[:len(whole)/2])
	huge := filepath.Join(dir, "huge.json")
	const hugeBytes = 1 << 30
	writeFile(t, huge, whole)
	if err := os.Truncate(huge, hugeBytes); err != nil {
		t.Fatal(err)
	}
	return []badOrder{
		{name: "wrong check digits", file: sample("check-digit"), want: []string{":8: eid.first:", "check digits are 81, expected 80", ":9: iccid.first:", "check digit is 5, expected 4"}},
		{name: "quantity 0", file: sample("quantity-zero"), want: []string{":6: quantity: 0 is not from 1 to"}},
		{name: "too large for its range", file: sample("range-too-small"), want: []string{":9: iccid.count: the range has 20 numbers, the order needs 24", ":10: imsi.first:", "number space"}},
		{name: "unknown product", file: sample("unknown-product"), want: []string{`:5: product: the product "m2m-200s-mff3" is not in the catalogue`, `did you mean "m2m-200s-mff2"?`}},
		{name: "unknown SM-SR", file: sample("unknown-sm-sr"), want: []string{`:13: sm_sr: the SM-SR "smsr-dem0" is not known`, `did you mean "smsr-demo"?`}},
		{name: "unknown keys", file: sample("unknown-key"), want: []string{`:11: auth.op_key: the operator key "op-demo-9"`, `:12: transport_key: the transport key "tk-other"`}},
		{name: "unknown field", file: sample("unknown-field"), want: []string{"spares: the field is missing", ":7: spare: unknown field", `did you mean "spares"?`}},
		{name: "truncated", file: truncated, want: []string{"the file ends in the middle of the document"}},
		{name: "1 GB", file: huge, want: []string{"larger than", "bytes"}},
		{name: "overlapping ranges", unknowable: true, file: changed("overlap", map[string]any{"order": "E2E-OVERLAP", "quantity": 1, "spares": 0}),
			want: []string{"eid: 89049099002000000000000000000080", "overlaps", "order " + orderID, "iccid:", "imsi:"}},
		{name: "number taken", unknowable: true, file: changed("taken", map[string]any{"order": orderID, "quantity": quantity + 1, "spares": spares}),
			want: []string{"order: ", orderID, "is taken by an order with other content"}},
	}
}

// badOrders: each is refused with what is wrong, where, and makes one entry in the log; checking it makes none.
func badOrders(t *testing.T, f *factory) {
	size := f.status(t).LogSize
	for _, o := range badOrderFiles(t, f) {
		r, code := f.at(t, "order", "check", o.file), cli.ExitFailed
		if o.unknowable {
			code = cli.ExitOK
		}
		if r.code != code {
			t.Errorf("%s: checking it: exit %d, want %d: %s%s", o.name, r.code, code, r.out, r.err)
		}
		if now := f.status(t).LogSize; now != size {
			t.Fatalf("%s: checking it takes the log from %d to %d entries", o.name, size, now)
		}
		r = f.at(t, "order", "submit", o.file)
		if r.code != cli.ExitFailed || r.out != "" {
			t.Errorf("%s: submitting it: exit %d: %s", o.name, r.code, r.out)
		}
		said := column.ReplaceAllString(r.err, "$1:")
		for _, want := range o.want {
			if !strings.Contains(said, want) {
				t.Errorf("%s: no %q in\n%s", o.name, want, r.err)
			}
		}
		now := f.status(t).LogSize
		if now != size+1 {
			t.Fatalf("%s: submitting it takes the log from %d to %d entries", o.name, size, now)
		}
		size = now
	}
	// The order that was made is known, and asking again is no news.
	again := filepath.Join(t.TempDir(), "again.json")
	writeOrder(t, f, again, map[string]any{"order": orderID, "quantity": quantity, "spares": spares})
	r := f.at(t, "order", "submit", again)
	if now := f.status(t).LogSize; r.code != cli.ExitOK || !strings.Contains(r.out, "is known already, for lot "+string(lotName)) || now != size {
		t.Errorf("the same order again: exit %d, log from %d to %d: %s%s", r.code, size, now, r.out, r.err)
	}
	if s := f.status(t); s.Good != quantity || s.EIDsUsed <= quantity || bytes.ContainsAny([]byte(s.Lot), " ") {
		t.Errorf("the lot is now %+v", s)
	}
}

// unknownLot: a lot that was never released is not found, whatever is asked of it, and no folder of its name is made.
func unknownLot(t *testing.T, f *factory) {
	office, err := f.site.Office(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := office.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, verb := range []string{bus.OfficeStatus, bus.OfficeExport, bus.OfficeBundle} {
		_, err := bus.Call[bus.PathReply](t.Context(), office, bus.OfficeSubject(verb), bus.LotRequest{Lot: "L-NOPE"})
		var fault *bus.Fault
		if !errors.As(err, &fault) || fault.Code != bus.FaultNotFound {
			t.Errorf("%s: %v", verb, err)
		}
	}
	if _, err := os.Stat(filepath.Join(f.site.OutDir(), "L-NOPE")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder for it: %v", err)
	}
}
