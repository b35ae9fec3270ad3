package export_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/ledger/export"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/eis"
	"github.com/persoline/persoline/perso/envelope"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/order/k4"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/statement"
)

type exportFunc func(export.Config, context.Context) (export.Result, error)

var kinds = map[string]exportFunc{
	export.WhatEIS:    func(c export.Config, ctx context.Context) (export.Result, error) { return c.EIS(ctx, "L1") },
	export.WhatOutput: func(c export.Config, ctx context.Context) (export.Result, error) { return c.Output(ctx, "L1") },
}

// TestEIS: one document per eUICC, each with the certificate on its chip, its keys and a signature that verifies.
func TestEIS(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 130) // two pages
	r, err := h.config().EIS(t.Context(), "L1")
	if err != nil {
		t.Fatal(err)
	}
	if e := h.exported[export.WhatEIS]; r.Units != 130 || e.Hash != r.Hash || e.Receiver != "smsr-demo" || e.Units != 130 {
		t.Errorf("result %+v, on record %+v", r, e)
	}
	for _, u := range h.units {
		doc, err := os.ReadFile(filepath.Join(r.Dir, u.eid+".xml"))
		if err != nil {
			t.Fatal(err)
		}
		from, to := bytes.Index(doc, []byte("<rps:EumSignedInfo")), bytes.Index(doc, []byte("<rps:EumSignature"))
		signed, err := eis.ParseEumSignedInfo(doc[from:to])
		if err != nil {
			t.Fatal(err)
		}
		if signed.EID.String() != u.eid || !bytes.Equal(signed.ECASD.Certificate(), u.cert) || !signed.ProductionDate.Equal(u.at) {
			t.Errorf("unit %d: EID %s, certificate %x, date %s", u.unit, signed.EID, signed.ECASD.Certificate(), signed.ProductionDate)
		}
		for _, want := range []string{u.iccid, u.imsi, "<rps:Smsr-id>2.999.1.2<", "<rps:Mno-id>2.999.1.3<", "<rps:Smdp-id>2.999.1.4<", "<rps:FallbackAttribute>true<",
			"<rps:Tar>000001</rps:Tar>", "<rps:AllocatedMemory>65536<", strings.ToUpper(hexOf(wrappedKey("OTA.KIC", u.unit)))} {
			if !strings.Contains(string(doc), want) {
				t.Errorf("unit %d: no %q in the document", u.unit, want)
			}
		}
	}
}

// TestOutput: a header and a row per unit, in unit order, every secret under the transport key.
func TestOutput(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 3)
	r, err := h.config().Output(t.Context(), "L1")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(r.Dir, "L1.out"))
	if err != nil {
		t.Fatal(err)
	}
	head, rows, ok := strings.Cut(string(text), "var_out: ICCID/IMSI/EID/PIN1/PUK1/PIN2/PUK2/ADM1/EKI/KI_KCV/EOPC/OPC_KCV\n")
	lines := strings.Split(strings.TrimSuffix(rows, "\n"), "\n")
	if !ok || len(lines) != 3 || !strings.Contains(head, "Transport_key   : tk-auc-demo\n") || !strings.Contains(head, "Quantity        : 3\n") {
		t.Fatalf("file is\n%s", text)
	}
	for i, u := range h.units {
		want := []string{u.iccid, u.imsi, u.eid}
		for _, name := range []string{"PIN1", "PUK1", "PIN2", "PUK2", "ADM1", "KI", "", "OPC", ""} {
			if name == "" {
				want = append(want, "010203")
				continue
			}
			want = append(want, strings.ToUpper(hexOf(wrappedKey(name, u.unit))))
		}
		if lines[i] != strings.Join(want, " ") {
			t.Errorf("row %d is\n%s, want\n%s", i, lines[i], strings.Join(want, " "))
		}
	}
}

// packaged says that the lot's profile came in a package.
func packaged(r *statement.Release) {
	r.Packages = []statement.Package{{Variable: "PROFILE", Name: "bootstrap", Bytes: 9, Hash: [32]byte{1}}}
}

// TestOutputOfAPackage: what a card has only because its package has a place for it stands in columns of its own, and the header says
// what the keys are.
func TestOutputOfAPackage(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 3, packaged)
	h.placesOf = 3
	r, err := h.config().Output(t.Context(), "L1")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(r.Dir, "L1.out"))
	if err != nil {
		t.Fatal(err)
	}
	head, rows, ok := strings.Cut(string(text), "/EOPC/OPC_KCV/ADM2/ESD.01.01/SD.01.01_KCV/ECDMA.KEY\n")
	if !ok || !strings.Contains(head, "\nProfile_keys    : SD.01.01=aes-128 CDMA.KEY=bytes-8\n") {
		t.Fatalf("file is\n%s", text)
	}
	for i, line := range strings.Split(strings.TrimSuffix(rows, "\n"), "\n") {
		u := h.units[i].unit
		want := fmt.Sprintf(" %X %X 070809 %X", wrappedKey("ADM2", u), wrappedKey("sd.01.01", u), wrappedKey("cdma.key", u))
		if !strings.HasSuffix(line, want) || len(strings.Fields(line)) != 16 {
			t.Errorf("row %d is\n%s, want at its end\n%s", i, line, want)
		}
	}
	h = newHouse(t, 3, packaged)
	h.placesOf, h.otherPlaces = 3, true
	if _, err := h.config().Output(t.Context(), "L1"); err == nil || !strings.Contains(err.Error(), "of another unit") {
		t.Errorf("places of two kinds: %v", err)
	}
	h = newHouse(t, 1)
	h.placesOf = 1
	if _, err := h.config().Output(t.Context(), "L1"); err == nil || !strings.Contains(err.Error(), "gave 8 keys, want 7") {
		t.Errorf("places of a lot without a package: %v", err)
	}
}

// TestTDESOutput: codes have the length of that cipher's block, and the header says by which key and how.
func TestTDESOutput(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 1, func(r *statement.Release) { r.TransportKey, r.TransportMode = "tk-auc-old", "3DES-2KEY-CBC-0" })
	r, err := h.config().Output(t.Context(), "L1")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(r.Dir, "L1.out"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Transport_key   : tk-auc-old\n", "Transport_mode  : 3DES-2KEY-CBC-0\n", "Transport_KCV   : ABCDEF\n",
		" " + strings.ToUpper(hexOf(wrappedKey("PUK1", 0)[:8])) + " ", " " + strings.ToUpper(hexOf(wrappedKey("KI", 0))) + " 010203 "} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	h.layout = k4.AESECB // a vault that wraps otherwise than was released
	h.out = t.TempDir()
	if _, err := h.config().Output(t.Context(), "L1"); err == nil || !strings.Contains(err.Error(), "of 16 bytes, want \"PIN1\" of 8") {
		t.Errorf("codes of another length: %v", err)
	}
}

// TestEnvelope: two files with one head, each unit under its EID, and the receiver's key goes to the vault.
func TestEnvelope(t *testing.T) {
	t.Parallel()
	sealed := func(r *statement.Release) {
		receiver, _ := audittest.Must(order.LoadSite(os.DirFS("../../deploy/partners"))).Receiver("rk-auc-demo")
		r.TransportKey, r.TransportMode, r.ReceiverKey = "rk-auc-demo", "RSA-OAEP-AES", receiver.Ref().String()
	}
	h := newHouse(t, 3, sealed)
	r, err := h.config().Output(t.Context(), "L1")
	if err != nil {
		t.Fatal(err)
	}
	receiver, _ := h.site.Receiver("rk-auc-demo")
	for file, key := range map[string]string{"L1.json": "CREDENTIALS", "L1.codes.json": "CODES"} {
		text, err := os.ReadFile(filepath.Join(r.Dir, file))
		if err != nil {
			t.Fatal(err)
		}
		f, err := envelope.Read(bytes.NewReader(text), 1<<20)
		if err != nil || f.KeyID != 7 || f.EncryptedTransportKey != strings.ToUpper(hexOf(receiver.DER())) || f.SignedTransportKey != "02" || len(f.SIMs) != 3 {
			t.Fatalf("%s: %v\n%s", file, err, text)
		}
		for i, u := range h.units {
			want := envelope.NewSIM(u.eid, u.iccid, u.imsi, bytes.Repeat(wrappedKey(key, u.unit), 6))
			if f.SIMs[i] != want {
				t.Errorf("%s, unit %d: %+v, want %+v", file, u.unit, f.SIMs[i], want)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(r.Dir, "L1.profile.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a lot without a package has a file of its keys")
	}
	if p, err := newHouse(t, 1, sealed, packaged).config().Output(t.Context(), "L1"); err != nil {
		t.Error(err)
	} else if text, err := os.ReadFile(filepath.Join(p.Dir, "L1.profile.json")); err != nil || len(text) == 0 {
		t.Errorf("the keys of the package: %v", err)
	}
	if _, err := os.Stat(filepath.Join(r.Dir, "L1.out")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("there is an output file beside the envelopes")
	}

	h = newHouse(t, 130, sealed)
	h.otherHead = true
	if _, err := h.config().Output(t.Context(), "L1"); err == nil || !strings.Contains(err.Error(), "another head") {
		t.Errorf("two heads: %v", err)
	}
	h = newHouse(t, 1, sealed, func(r *statement.Release) { r.ReceiverKey = "7/" + strings.Repeat("5a", 32) })
	if _, err := h.config().Output(t.Context(), "L1"); err == nil || !strings.Contains(err.Error(), "which was released") {
		t.Errorf("another key among the partners: %v", err)
	}
}

// TestAgain: made again, in place or after the folder was taken away, an export has the same bytes (I8), and nothing is
// signed a second time.
func TestAgain(t *testing.T) {
	t.Parallel()
	for what, make := range kinds {
		h := newHouse(t, 5)
		first, err := make(h.config(), t.Context())
		if err != nil {
			t.Fatal(err)
		}
		before := readAll(t, first.Dir)
		h.forgotten = true // the vault was restarted
		if again, err := make(h.config(), t.Context()); err != nil || again != first {
			t.Errorf("%s again: %v, %+v, first %+v", what, err, again, first)
		}
		if err := os.Rename(first.Dir, first.Dir+".sent"); err != nil {
			t.Fatal(err)
		}
		if again, err := make(h.config(), t.Context()); err != nil || again != first {
			t.Errorf("%s after it was taken away: %v, %+v, first %+v", what, err, again, first)
		}
		after := readAll(t, first.Dir)
		if len(after) != len(before) {
			t.Errorf("%s: %d files, then %d", what, len(before), len(after))
		}
		for path := range before {
			if before[path] != after[path] {
				t.Errorf("%s: %s differs", what, path)
			}
		}
		manifest, err := export.Manifest(h.out, "L1", what)
		if err != nil || sha256.Sum256(manifest) != first.Hash {
			t.Errorf("%s: manifest %v, %x", what, err, sha256.Sum256(manifest))
		}
		if _, err := layout.ParseManifest(manifest); err != nil {
			t.Error(err)
		}
		if what == export.WhatEIS && h.signed != 5 {
			t.Errorf("%d signatures for 5 units", h.signed)
		}
		if left, _ := filepath.Glob(filepath.Join(h.out, "L1", ".*")); len(left) != 0 {
			t.Errorf("%s: left behind: %v", what, left)
		}
	}
}

func readAll(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(b)
	}
	return out
}

// TestInterrupted: whatever fails, at whatever time, the next run makes the export.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for what, make := range kinds {
		for calls := range 6 {
			h := newHouse(t, 130)
			h.breakAfter, h.broken = calls, broken
			_, err := make(h.config(), t.Context())
			h.broken = nil
			r, again := make(h.config(), t.Context())
			if again != nil || r.Units != 130 {
				t.Errorf("%s, broken after %d calls (%v): then %v, %+v", what, calls, err, again, r)
			}
			if left, _ := filepath.Glob(filepath.Join(h.out, "L1", ".*")); len(left) != 0 {
				t.Errorf("%s: left behind: %v", what, left)
			}
		}
	}
}

// TestRefusedOnRecord: what the ledger does not let out, because somebody froze the lot meanwhile, does not lie ready either.
func TestRefusedOnRecord(t *testing.T) {
	t.Parallel()
	for what, make := range kinds {
		h := newHouse(t, 5)
		counted := newHouse(t, 5)
		if _, err := make(counted.config(), t.Context()); err != nil {
			t.Fatal(err)
		}
		h.breakAfter, h.broken = counted.calls-1, bus.Refuse(bus.FaultRefused, "lot L1 is frozen")
		_, err := make(h.config(), t.Context())
		if _, there := export.Manifest(h.out, "L1", what); err == nil || !errors.Is(there, fs.ErrNotExist) {
			t.Errorf("%s: %v, and its manifest: %v", what, err, there)
		}
		h.broken = nil
		if r, err := make(h.config(), t.Context()); err != nil || r.Units != 5 {
			t.Errorf("%s, then: %v, %+v", what, err, r)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	exec := func(query string, args ...any) func(*testing.T, *house) {
		return func(t *testing.T, h *house) {
			if err := h.db.Update(t.Context(), func(tx sqldb.Tx) error { _, err := tx.Exec(t.Context(), query, args...); return err }); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		spoil func(*testing.T, *house)
		want  error // of both kinds, nil for any
	}{
		"lot at work":        {exec(`UPDATE lot SET state = 'running'`), export.ErrNotComplete},
		"no such lot":        {exec(`UPDATE lot SET lot = 'L2'`), export.ErrUnknown},
		"order deleted":      {exec(`UPDATE customer_order SET resolved = NULL`), export.ErrUnknown},
		"other on record":    {exec(`INSERT INTO export (lot, what, receiver, hash, seq, created) VALUES ('L1', 'eis', 'x', $1, 1, 1), ('L1', 'output', 'x', $1, 1, 1)`, make([]byte, 32)), export.ErrDiffers},
		"a good row too few": {exec(`UPDATE claim SET state = 'lost' WHERE unit = 1`), nil},
		"row of another log": {exec(`UPDATE claim SET outcome_seq = seq WHERE unit = 1`), nil},
		"vault is short":     {func(_ *testing.T, h *house) { h.short = true }, nil},
		"product changed":    {func(_ *testing.T, h *house) { h.products = product.Catalogue{} }, nil},
		"partner gone":       {func(_ *testing.T, h *house) { h.site = order.Site{} }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, 3)
			c.spoil(t, h)
			for what, make := range kinds {
				if _, err := make(h.config(), t.Context()); err == nil || c.want != nil && !errors.Is(err, c.want) {
					t.Errorf("%s: %v, want %v", what, err, c.want)
				}
				if _, err := export.Manifest(h.out, "L1", what); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: something lies ready: %v", what, err)
				}
			}
			if len(h.exported) != 0 {
				t.Errorf("on record: %v", h.exported)
			}
		})
	}
}

// TestDiffers: what was signed or lies ready is never written otherwise.
func TestDiffers(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 3)
	r, err := h.config().EIS(t.Context(), "L1")
	if err != nil {
		t.Fatal(err)
	}
	other := h.config()
	other.Site.EUM.OID = "2.999.9"
	if _, err := other.EIS(t.Context(), "L1"); !errors.Is(err, export.ErrDiffers) {
		t.Errorf("under another OID: %v", err)
	}
	if err := os.WriteFile(filepath.Join(r.Dir, h.units[1].eid+".xml"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.config().EIS(t.Context(), "L1"); !errors.Is(err, export.ErrDiffers) {
		t.Errorf("over a changed file: %v", err)
	}
	if err := os.WriteFile(filepath.Join(r.Dir, layout.Manifest), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.config().EIS(t.Context(), "L1"); !errors.Is(err, export.ErrDiffers) {
		t.Errorf("over a changed manifest: %v", err)
	}
}

// TestWrongCertificate: a database that was given another certificate than the chip's is found out.
func TestWrongCertificate(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 2)
	if err := h.db.Update(t.Context(), func(tx sqldb.Tx) error {
		_, err := tx.Exec(t.Context(), `UPDATE claim SET cert = $1 WHERE unit = 1`, []byte("other"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.config().EIS(t.Context(), "L1"); err == nil || !strings.Contains(err.Error(), "not the one on the chip") {
		t.Errorf("%v", err)
	}
}

// TestForeignSignature: a signature by another key than the EIS certificate's goes nowhere.
func TestForeignSignature(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 2)
	h.sign = func([]byte) []byte { return make([]byte, 64) }
	if _, err := h.config().EIS(t.Context(), "L1"); err == nil {
		t.Error("written")
	}
}
