package ledger

import (
	"context"
	"fmt"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/product"
)

// Work is a work order with the compiled script that it names.
type Work struct {
	Order  bus.WorkOrder
	Script []byte
	Vault  perso.Name // that makes the lot; "" where no vault has it yet, and where there is only one
}

// WorkOrders makes the work orders of all lots that are not finished: units are missing, or the handler's count.
func (l *Ledger) WorkOrders(ctx context.Context) ([]Work, error) {
	names, err := l.unfinished(ctx)
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
		if stocked, err := l.stocked(ctx, lt.release.Product); err != nil {
			return nil, err
		} else if !stocked {
			continue
		}
		var isd []byte
		if !lt.plain() {
			isd = p.AIDs.ISD.Bytes()
		}
		w := Work{Order: bus.WorkOrder{ID: string(name), Lot: name, Product: lt.release.Product, Script: lt.script, Quantity: lt.release.Good,
			ATR: p.ATR.String(), ISD: isd, ChipID: lt.release.ChipID, Env: l.site.env, LogKey: l.site.logKey, Origin: l.site.origin, Channel: lt.release.Channel}}
		if err := l.db.View(ctx, func(tx sqldb.Tx) (err error) {
			if w.Vault, err = readAssigned(ctx, tx, name); err != nil {
				return err
			}
			return tx.QueryRow(ctx, sqlScript, lt.script[:]).Scan(&w.Script)
		}); err != nil {
			return nil, fmt.Errorf("reading the script of lot %q: %w", name, err)
		}
		out = append(out, w)
	}
	return out, nil
}

// stocked says whether a reel of a product was ever received. Without one a lot's heads would take chips of another product, and
// find them bad: no line hears of it until there is one.
func (l *Ledger) stocked(ctx context.Context, product string) (bool, error) {
	var reels int64
	err := l.db.View(ctx, func(tx sqldb.Tx) error { return tx.QueryRow(ctx, sqlReelFor, product).Scan(&reels) })
	if err != nil {
		return false, fmt.Errorf("looking for reels of product %q: %w", product, err)
	}
	return reels > 0, nil
}

func (l *Ledger) unfinished(ctx context.Context) (names []perso.Name, err error) {
	err = l.db.View(ctx, func(tx sqldb.Tx) error {
		var complete []perso.Name
		names = nil
		if err := tx.Each(ctx, func(row sqldb.Row) error {
			var name, state string
			err := row.Scan(&name, &state)
			switch perso.LotState(state) {
			case perso.LotReleased, perso.LotRunning:
				names = append(names, perso.Name(name))
			case perso.LotComplete:
				complete = append(complete, perso.Name(name))
			}
			return err
		}, sqlLots); err != nil {
			return err
		}
		for _, name := range complete { // the queue may have lost the order before the line was done with it (I3)
			_, counted, err := readCount(ctx, tx, name, entry.SourceHandler)
			if err != nil {
				return err
			}
			if !counted {
				names = append(names, name)
			}
		}
		return nil
	})
	return names, err
}
