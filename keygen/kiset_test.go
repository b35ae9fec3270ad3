package keygen_test

import (
	"crypto/aes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/keygen/journal"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/order/kifile"
	"github.com/persoline/persoline/perso/scp"
)

// laid lays a file before the vault as the ledger does: all rows, batch by batch, then that it is to be kept.
func (c *customerRig) laid(number string, batch int, kis ...byte) (bus.KeepKiReply, [32]byte, error) {
	c.t.Helper()
	var root kifile.RootOf
	var rows bus.Chunks
	block, err := aes.NewCipher(testRK)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, k := range kis {
		ki := []byte{k, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
		row := kifile.Row{KCV: scp.KCV(ki), EKI: make([]byte, 16)}
		block.Encrypt(row.EKI, ki)
		root.Add(row)
		rows = append(rows, row.Bytes())
	}
	for at := 0; at < len(rows); at += batch {
		a, err := c.vault.CheckKi(ctx, bus.CheckKiRequest{ReceiveKey: "rk-1", Mode: "AES-ECB", Order: number, First: uint32(at), Rows: rows[at:min(at+batch, len(rows))]})
		if err != nil || len(a.Wrong) > 0 {
			c.t.Fatalf("rows from %d: %+v, %v", at, a, err)
		}
	}
	r, err := c.vault.KeepKi(ctx, bus.KeepKiRequest{Order: number, Root: root.Root(), Rows: root.Rows()})
	return r, root.Root(), err
}

// keeps lays a file whose Ki are new.
func (c *customerRig) keeps(number string, kis ...byte) [32]byte {
	c.t.Helper()
	r, root, err := c.laid(number, 2, kis...)
	if err != nil || r.Count > 0 {
		c.t.Fatalf("%s: %+v, %v", number, r, err)
	}
	return root
}

// TestKeepKi: a Ki is on one row of one order; who has it already is told, nothing changes then, and a restart forgets nothing.
func TestKeepKi(t *testing.T) {
	t.Parallel()
	c := newCustomerRig(t, asReleased)
	before := c.token.Stats()
	c.keeps("O-2", 10, 11, 12)
	if mac, ecb := c.token.Stats()[hsm.VerbMAC]-before[hsm.VerbMAC], c.token.Stats()[hsm.VerbDecryptECB]-before[hsm.VerbDecryptECB]; mac != 2 || ecb != 2 {
		t.Errorf("two batches cost %d and %d operations", mac, ecb)
	}
	c.keeps("O-3", 20, 21)
	c.reopenVault()
	c.keeps("O-3", 20, 21) // the same again is the same
	r, _, err := c.laid("O-4", 2, 30, 12, 31, 21, 30)
	want := map[bus.SameKi]bool{{Row: 4, Order: "O-4", There: 0}: true, {Row: 1, Order: "O-2", There: 2}: true, {Row: 3, Order: "O-3", There: 1}: true}
	if err != nil || r.Count != 3 || len(r.Same) != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, s := range r.Same {
		if !want[s] {
			t.Errorf("%+v", s)
		}
	}
	c.keeps("O-5", 30, 31)
	c.keeps("O-5", 32, 33) // no lot has it: it takes the other's place
	c.keeps("O-6", 30, 31)
	if _, err := c.vault.DropKi(ctx, bus.DropKiRequest{Order: "O-6"}); err != nil {
		t.Error(err)
	}
	c.keeps("O-7", 31, 30)
	if strings.Contains(c.said.String(), string([]byte{30, 1, 2, 3, 4})) {
		t.Error("a Ki is told")
	}
}

// TestKeepKiWhole: what is kept went through the vault whole, in order, and fitted.
func TestKeepKiWhole(t *testing.T) {
	t.Parallel()
	c := newCustomerRig(t, asReleased)
	ask := func(first uint32, order string, rows ...bus.Chunks) error {
		_, err := c.vault.CheckKi(ctx, bus.CheckKiRequest{ReceiveKey: "rk-1", Mode: "AES-ECB", Order: order, First: first, Rows: rows[0]})
		return err
	}
	row := func(u perso.Unit) bus.Chunks { return bus.Chunks{c.row(c.file, u).Row} }
	if err := ask(1, "O-2", row(1)); code(err) != bus.FaultNotFound {
		t.Errorf("begun in the middle: %v", err)
	}
	if err := errors.Join(ask(0, "O-2", row(0)), ask(1, "O-2", row(1))); err != nil {
		t.Fatal(err)
	}
	if err := ask(2, "O-3", row(2)); code(err) != bus.FaultNotFound {
		t.Errorf("of another order: %v", err)
	}
	keep := func(rows uint64) error {
		_, err := c.vault.KeepKi(ctx, bus.KeepKiRequest{Order: "O-2", Root: c.root(c.file), Rows: rows})
		return err
	}
	if err := keep(3); code(err) != bus.FaultNotFound {
		t.Errorf("kept before it was whole: %v", err)
	}
	wrong := row(2)
	wrong[0] = append([]byte{wrong[0][0] ^ 1}, wrong[0][1:]...)
	if err := ask(2, "O-2", wrong); err != nil {
		t.Fatal(err)
	}
	if err := keep(3); code(err) != bus.FaultNotFound {
		t.Errorf("kept with a Ki that does not fit: %v", err)
	}
	if err := errors.Join(ask(0, "O-2", row(0)), ask(1, "O-2", row(1)), ask(2, "O-2", row(2))); err != nil {
		t.Fatal(err)
	}
	c.reopenVault()
	if err := keep(3); code(err) != bus.FaultNotFound {
		t.Errorf("kept by a vault that was restarted: %v", err)
	}
	if err := errors.Join(ask(0, "O-2", row(0)), ask(1, "O-2", row(1)), ask(2, "O-2", row(2)), keep(3)); err != nil {
		t.Error(err)
	}
	c.cfg.KiSets = nil
	c.reopenVault()
	if err := keep(3); code(err) != bus.FaultRefused {
		t.Errorf("kept by a vault that keeps none: %v", err)
	}
}

// TestLotsOfKnownKi: a lot is opened only of a file that was compared with all others, and then its prints stay.
func TestLotsOfKnownKi(t *testing.T) {
	t.Parallel()
	c := newRig(t).received(asReleased)
	if err := c.cfg.KiSets.DropKi("O-1"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.vault.OpenLot(ctx, c.openRequest()); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), "never held against") {
		t.Errorf("opened: %v", err)
	}
	c.plant(c.release)
	c.openLot()
	if _, err := c.vault.DropKi(ctx, bus.DropKiRequest{Order: "O-1"}); code(err) != bus.FaultRefused {
		t.Errorf("dropped: %v", err)
	}
	if _, _, err := c.laid("O-1", 2, 1, 2, 3); code(err) != bus.FaultConflict {
		t.Errorf("replaced: %v", err)
	}
	c.reopenVault()
	if _, err := c.vault.DropKi(ctx, bus.DropKiRequest{Order: "O-1"}); code(err) != bus.FaultRefused {
		t.Errorf("dropped after a restart: %v", err)
	}
}

// TestKiSetsTrustNoDisk: a set that is not what was written lets nothing pass.
func TestKiSetsTrustNoDisk(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(path string) error{
		"changed": func(path string) error {
			b, err := os.ReadFile(path)
			if err == nil {
				b[3] ^= 1
				err = os.WriteFile(path, b, 0o600)
			}
			return err
		},
		"cut off": func(path string) error { return os.Truncate(path, keygen.KiPrintBytes) },
		"gone":    os.Remove,
	} {
		c := newCustomerRig(t, asReleased)
		if err := c.cfg.KiSets.DropKi("O-1"); err != nil {
			t.Fatal(err)
		}
		c.keeps("O-2", 10, 11, 12)
		files, err := filepath.Glob(filepath.Join(c.made.MemoryDir, "ki", "*.prints"))
		if err != nil || len(files) != 1 {
			t.Fatalf("%q, %v", files, err)
		}
		if err := spoil(files[0]); err != nil {
			t.Fatal(err)
		}
		if r, _, err := c.laid("O-3", 2, 12); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// failingSets fails before or after a set is kept.
type failingSets struct {
	*journal.Memory
	written bool
}

func (f failingSets) KeepKi(s keygen.KiSet, prints func(func(keygen.KiPrint) error) error) error {
	if f.written {
		return errors.Join(errDisk, f.Memory.KeepKi(s, prints))
	}
	return errDisk
}

// TestKeepKiBreaks: after a break the same file is kept, by the vault that goes on and by one that starts anew.
func TestKeepKiBreaks(t *testing.T) {
	t.Parallel()
	for name, written := range map[string]bool{"not written": false, "written": true} {
		c := newCustomerRig(t, asReleased)
		disk := c.cfg.KiSets.(*journal.Memory)
		c.cfg.KiSets = failingSets{disk, written}
		c.reopenVault()
		if _, _, err := c.laid("O-2", 2, 10, 11, 12); !errors.Is(err, errDisk) {
			t.Fatalf("%s: %v", name, err)
		}
		c.cfg.KiSets = disk
		c.reopenVault()
		c.keeps("O-2", 10, 11, 12)
		sets, err := disk.KiSets()
		if err != nil || len(sets) != 2 { // and that of the rig's lot
			t.Errorf("%s: %v, %v", name, sets, err)
		}
		if r, _, err := c.laid("O-3", 2, 11); err != nil || r.Count != 1 || r.Same[0] != (bus.SameKi{Row: 0, Order: "O-2", There: 1}) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}
