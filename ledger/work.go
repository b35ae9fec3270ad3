package ledger

import (
	"context"
	"fmt"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/product"
)

// Work is a work order with the compiled script that it names.
type Work struct {
	Order  bus.WorkOrder
	Script []byte
}

// WorkOrders makes the work orders of all lots that are not finished and whose product is still the released one.
func (l *Ledger) WorkOrders(ctx context.Context) ([]Work, error) {
	var names []perso.Name
	err := l.db.View(ctx, func(tx sqldb.Tx) error {
		names = nil
		return tx.Each(ctx, func(row sqldb.Row) error {
			var name, state string
			err := row.Scan(&name, &state)
			if s := perso.LotState(state); s == perso.LotReleased || s == perso.LotRunning {
				names = append(names, perso.Name(name))
			}
			return err
		}, sqlLots)
	})
	if err != nil {
		return nil, fmt.Errorf("listing unfinished lots: %w", err)
	}
	out := make([]Work, 0, len(names))
	for _, name := range names {
		lt, err := l.lot(ctx, name)
		if err != nil {
			return nil, err
		}
		p, ok := l.cat.Order.Products.Get(product.SKU(lt.release.Product))
		if !ok || p.Hash() != lt.release.ProductHash {
			// The released product says which ATR and ISD to expect: without it no line can begin, but other lots can.
			l.log.ErrorContext(ctx, "released product is not in the catalogue any more", "lot", name)
			continue
		}
		w := Work{Order: bus.WorkOrder{ID: string(name), Lot: name, Product: lt.release.Product, Script: lt.script, Quantity: lt.release.Good,
			ATR: p.ATR.String(), ISD: p.AIDs.ISD.Bytes(), ChipID: lt.release.ChipID, Env: l.site.env, LogKey: l.site.logKey, Origin: l.site.origin}}
		if err := l.db.View(ctx, func(tx sqldb.Tx) error {
			return tx.QueryRow(ctx, sqlScript, lt.script[:]).Scan(&w.Script)
		}); err != nil {
			return nil, fmt.Errorf("reading the script of lot %q: %w", name, err)
		}
		out = append(out, w)
	}
	return out, nil
}
