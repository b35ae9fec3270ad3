package export_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/order/kifile"
	"github.com/persoline/persoline/perso/order/kifile/sender"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement"
)

// sentKi has the operator send his Ki, and want them back or not.
func sentKi(output order.KiOutput) func(*house, *statement.Release) {
	return func(h *house, r *statement.Release) {
		want := kifile.Want{Order: "O", ICCIDs: r.ICCIDs, IMSIs: r.IMSIs, Total: r.Units()}
		key := sender.Key{Name: "rk-1", Mode: kifile.ModeECB, Value: secret.New(bytes.Repeat([]byte{7}, 16))}
		f := audittest.Must(sender.Make(want, key, rand.NewChaCha8([32]byte{1})))
		tree := audittest.Must(f.Tree())
		h.pages = audittest.Must(f.Pages(tree))
		r.Order, r.KiSource = "O", string(order.KiCustomer)
		r.Customer = statement.CustomerKi{Root: audittest.Must(tree.Root()), Rows: f.Rows(), ReceiveKey: "rk-1", Mode: string(kifile.ModeECB), Output: string(output)}
	}
}

// Each export brings every unit's own row, over all pages; a Ki that the operator wants left out has no column, and none is
// written even when the vault gives one.
func TestCustomerKi(t *testing.T) {
	t.Parallel()
	const units = 70
	for output, columns := range map[order.KiOutput]string{
		order.KiWrapped: "ICCID/IMSI/EID/PIN1/PUK1/PIN2/PUK2/ADM1/EKI/KI_KCV/EOPC/OPC_KCV",
		order.KiOmitted: "ICCID/IMSI/EID/PIN1/PUK1/PIN2/PUK2/ADM1/KI_KCV/EOPC/OPC_KCV",
	} {
		h := newHouseOf(t, units, sentKi(output))
		for what, make := range kinds {
			if _, err := make(h.config(), t.Context()); err != nil {
				t.Fatalf("%s with Ki %s: %v", what, output, err)
			}
		}
		text, err := os.ReadFile(filepath.Join(h.out, "L1", "output", "L1.out"))
		if err != nil {
			t.Fatal(err)
		}
		_, rows, ok := strings.Cut(string(text), "\nvar_out: "+columns+"\n")
		lines := strings.Split(strings.TrimSuffix(rows, "\n"), "\n")
		if !ok || len(lines) != units {
			t.Fatalf("Ki %s: %d rows of\n%.900s", output, len(lines), text)
		}
		for i, line := range lines {
			if strings.Count(line, " ") != strings.Count(columns, "/") {
				t.Errorf("Ki %s: row %d does not fit its columns: %s", output, i, line)
			}
			ki := strings.ToUpper(hexOf(wrappedKey("KI", h.units[i].unit)))
			if strings.Contains(line, ki) != (output == order.KiWrapped) || !strings.Contains(line, " 010203 ") {
				t.Errorf("Ki %s: row %d is %s", output, i, line)
			}
		}
	}
	h := newHouseOf(t, 2, sentKi(order.KiOmitted))
	h.tells = true
	if r, err := h.config().Output(t.Context(), "L1"); err == nil || !strings.Contains(err.Error(), `want "KI" of 0`) {
		t.Errorf("a Ki that is to be left out: %+v, %v", r, err)
	}
	h = newHouseOf(t, 2, sentKi(order.KiWrapped))
	if err := h.db.Update(t.Context(), deletePages); err != nil {
		t.Fatal(err)
	}
	if r, err := h.config().Output(t.Context(), "L1"); err == nil || !strings.Contains(err.Error(), "Ki is not in the ledger") {
		t.Errorf("rows that were deleted: %+v, %v", r, err)
	}
}

func deletePages(tx sqldb.Tx) error {
	_, err := tx.Exec(context.Background(), `DELETE FROM customer_ki_page`)
	return err
}
