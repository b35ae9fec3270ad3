package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// Order says what an order is, for the order desk's words about it. It asks nothing of the catalogue: an order that can't be released any
// more, because its provider or its product is gone, can be cancelled.
func (l *Ledger) Order(ctx context.Context, q bus.OrderRequest) (bus.OrderReply, error) {
	var o orderRow
	err := l.db.View(ctx, func(tx sqldb.Tx) (err error) {
		o, err = readOrder(ctx, tx, q.Order)
		return err
	})
	if err != nil {
		return bus.OrderReply{}, err
	}
	return bus.OrderReply{Order: q.Order, Hash: o.hash, State: o.state}, nil
}

// deskWord is the order desk's word about an order: that it was taken in as the customer sent it, or that nothing is to be made of it.
type deskWord struct{ statement.Desk }

func (w deskWord) about() (perso.Env, perso.Name, perso.Name) { return w.Env, w.Site, "" }

func (w deskWord) accept(ctx context.Context, _ *Ledger, b *Batch, _ [32]byte) (fault, err error) {
	o, err := readOrder(ctx, b, w.Order)
	switch {
	case errors.Is(err, ErrNotFound):
		return bus.Refuse(bus.FaultNotFound, "no order %q", w.Order), nil
	case err != nil:
		return nil, err
	case o.hash != w.OrderHash:
		return bus.Refuse(bus.FaultRefused, "the statement is about another content of order %q", w.Order), nil
	case o.state != perso.OrderAccepted:
		return bus.Refuse(bus.FaultRefused, "order %q is %s already", w.Order, o.state.Told()), nil
	case w.Kind == statement.KindTaken:
		return nil, nil
	}
	if _, err := b.Exec(ctx, sqlOrderState, w.Order, string(perso.OrderRejected)); err != nil {
		return nil, fmt.Errorf("cancelling order %q: %w", w.Order, err)
	}
	return nil, nil
}
