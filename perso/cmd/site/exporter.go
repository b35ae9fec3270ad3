package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/persoline/persoline/ledger"
	"github.com/persoline/persoline/ledger/bundle"
	"github.com/persoline/persoline/ledger/export"
	"github.com/persoline/persoline/ledger/service"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// exporter writes what leaves the house, on the ledger's host.
type exporter struct {
	site   *Site
	ledger *ledger.Ledger
	db     ledger.DB
	vault  service.Vaults
	cats   ledger.Catalogues
}

func (s *Site) exporter(l *ledger.Ledger, db ledger.DB, vault service.Vaults, cats ledger.Catalogues) *exporter {
	return &exporter{site: s, ledger: l, db: db, vault: vault, cats: cats}
}

// known refuses a lot that was never released, in the words of "lot status".
func (e *exporter) known(ctx context.Context, lot perso.Name) error {
	_, err := e.ledger.Status(ctx, bus.LotRequest{Lot: lot})
	return err
}

// Export writes what a lot's receivers get. Done again, it gives the same files.
func (e *exporter) Export(ctx context.Context, lot perso.Name) (bus.PathReply, error) {
	if err := e.known(ctx, lot); err != nil {
		return bus.PathReply{}, err
	}
	c := export.Config{DB: e.db, Ledger: e.ledger, Vault: e.vault, Site: e.cats.Order.Site, Products: e.cats.Order.Products, Out: e.site.OutDir()}
	var reply bus.PathReply
	made, err := c.All(ctx, lot)
	if errors.Is(err, export.ErrNotComplete) || errors.Is(err, export.ErrNotAccepted) {
		return bus.PathReply{}, bus.Refuse(bus.FaultRefused, "lot %q cannot be exported: %v", lot, err)
	}
	if err != nil {
		return bus.PathReply{}, err
	}
	for _, r := range made {
		reply.Paths, reply.Units, reply.Hash = append(reply.Paths, r.Dir), r.Units, r.Hash
	}
	return reply, nil
}

// Bundle writes the audit bundle of a lot. Each is named by the size of the log that it holds, so that one made later
// stands beside it.
func (e *exporter) Bundle(ctx context.Context, lot perso.Name) (bus.PathReply, error) {
	if err := e.known(ctx, lot); err != nil { // before there is a folder of that name
		return bus.PathReply{}, err
	}
	t, _, err := e.ledger.Signed(ctx)
	if err != nil {
		return bus.PathReply{}, err
	}
	target := filepath.Join(e.site.OutDir(), string(lot), fmt.Sprintf("audit-%d", t.Size()))
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return bus.PathReply{}, fmt.Errorf("making the folder of lot %q: %w", lot, err)
	}
	c := bundle.Config{Source: bundle.FromDB(e.db, e.ledger), Vault: e.vault, OpenLot: e.ledger.OpenLot,
		Delivered: func(lot perso.Name, what string) ([]byte, error) { return export.Manifest(e.site.OutDir(), lot, what) }}
	if err := bundle.Write(ctx, c, lot, target); err != nil && !errors.Is(err, bundle.ErrExists) {
		return bus.PathReply{}, err
	}
	return bus.PathReply{Paths: []string{target}}, nil
}
