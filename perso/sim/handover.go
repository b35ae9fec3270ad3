package sim

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/persoline/persoline/ledger/audit"
	"github.com/persoline/persoline/ledger/bundle"
	"github.com/persoline/persoline/ledger/export"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// office is the vault as exports and bundles know it.
type office struct{ w *World }

// Info is bundle.Vault's and export.Vault's.
func (o office) Info(ctx context.Context) (bus.VaultInfoReply, error) {
	return o.w.vault.core.Info(ctx, bus.Empty{})
}

// Export is export.Vault's.
func (o office) Export(ctx context.Context, q bus.ExportRequest) (bus.ExportReply, error) {
	return o.w.vault.core.Export(ctx, q)
}

// Receipts is bundle.Vault's.
func (o office) Receipts(ctx context.Context, q bus.ReceiptsRequest) (bus.ReceiptsReply, error) {
	return o.w.vault.core.Receipts(ctx, q)
}

// SealBundle is bundle.Vault's.
func (o office) SealBundle(ctx context.Context, q bus.SealBundleRequest) (bus.SealBundleReply, error) {
	return o.w.vault.core.SealBundle(ctx, q)
}

// handOver exports the lot twice, which must give the same bytes (I8), and has the auditor read all of it.
func (c *checker) handOver() {
	w, ctx := c.w, context.Background()
	core, out := w.ledger.core, filepath.Join(w.cfg.Dir, "out")
	e := export.Config{DB: w.ledger.disk, Ledger: core, Vault: office{w}, Site: w.site.cat.Order.Site, Products: w.site.cat.Order.Products, Out: out}
	type kind struct {
		what string
		do   func(context.Context, perso.Name) (export.Result, error)
	}
	kinds := []kind{{export.WhatEIS, e.EIS}, {export.WhatOutput, e.Output}}
	if !w.euicc() {
		kinds = []kind{{export.WhatOutput, e.Output}, {export.WhatCards, e.Cards}}
	}
	if w.operational() {
		kinds = append(kinds, kind{export.WhatOperational, e.Operational})
	}
	_, kept, failed := w.quality.findings()
	refused := w.quality.refused(c.m.good)
	if refused {
		w.stats.Refused++
	}
	for _, make := range kinds {
		first, err := make.do(ctx, w.site.lot)
		switch units := c.m.good - kept - failed; {
		case refused && err == nil:
			w.fail("I6", "quality did not accept the lot, and the %s export has %d units", make.what, first.Units)
			return
		case refused:
			continue
		case err != nil || first.Units != units:
			w.fail("I8", "the %s export has %d of %d units: %v", make.what, first.Units, units, err)
			return
		}
		if err := os.RemoveAll(filepath.Join(out, string(w.site.lot), make.what)); err != nil {
			w.fail("I8", "%v", err)
		}
		if again, err := make.do(ctx, w.site.lot); err != nil || again.Hash != first.Hash {
			w.fail("I8", "made again, the %s export is another one: %v", make.what, err)
			return
		}
	}
	c.audit(out)
}

// audit writes the bundle and verifies it with nothing but the keys of the ceremony.
func (c *checker) audit(out string) {
	w := c.w
	core, target := w.ledger.core, filepath.Join(w.cfg.Dir, "bundle")
	b := bundle.Config{Source: bundle.FromDB(w.ledger.disk, core), Vault: office{w}, OpenLot: core.OpenLot,
		Delivered: func(lot perso.Name, what string) ([]byte, error) { return export.Manifest(out, lot, what) }}
	if err := bundle.Write(context.Background(), b, w.site.lot, target); err != nil {
		w.fail("I5", "%v", err)
		return
	}
	m := w.site.made
	report, err := audit.Verify(os.DirFS(target), audit.Options{RegisterPin: m.RegisterPin, LogKey: m.LogKey, StatementKey: m.StmtKey})
	if err != nil {
		w.fail("I5", "opening the bundle: %v", err)
		return
	}
	for _, f := range report.Findings {
		w.fail("I5", "the auditor says: %v", f)
	}
	if err := os.RemoveAll(target); err != nil {
		w.fail("I5", "%v", fmt.Errorf("removing the bundle: %w", err))
	}
}
