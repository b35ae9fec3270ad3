package ledger

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/order"
)

// taken is when an order was taken in.
type taken struct {
	order string
	at    int64 // microseconds
}

func (t taken) compare(u taken) int {
	return cmp.Or(cmp.Compare(t.at, u.at), cmp.Compare(t.order, u.order))
}

// Orders lists the orders on record as they were taken in, whatever became of them: the order desk sees which of its orders nobody has released.
func (l *Ledger) Orders(ctx context.Context, q bus.OrdersRequest) (r bus.OrdersReply, err error) {
	err = l.db.View(ctx, func(tx sqldb.Tx) error {
		r = bus.OrdersReply{}
		page, err := readTaken(ctx, tx, sqlOrdersTaken)
		if err != nil {
			return err
		}
		page = page[min(q.Skip, uint64(len(page))):]
		if r.More = len(page) > bus.MaxOrdersTold; r.More {
			page = page[:bus.MaxOrdersTold]
		}
		r.Orders, err = tellOrders(ctx, tx, page)
		return err
	})
	if err != nil {
		return bus.OrdersReply{}, fmt.Errorf("listing orders: %w", err)
	}
	return r, nil
}

// readTaken reads orders' numbers and times, the oldest first.
func readTaken(ctx context.Context, tx sqldb.Tx, query string) (all []taken, err error) {
	err = tx.Each(ctx, func(row sqldb.Row) error {
		var t taken
		err := row.Scan(&t.order, &t.at)
		all = append(all, t)
		return err
	}, query)
	slices.SortFunc(all, taken.compare)
	return all, err
}

// tellOrders reads orders that were taken in one after the other.
func tellOrders(ctx context.Context, tx sqldb.Tx, page []taken) (told []bus.OrderTold, err error) {
	if len(page) == 0 {
		return nil, nil
	}
	first, last := page[0], page[len(page)-1]
	err = tx.Each(ctx, func(row sqldb.Row) error {
		var t bus.OrderTold
		var at int64
		var resolved []byte
		err := row.Scan(&t.Order, &at, &resolved, (*string)(&t.State), (*string)(&t.Lot), (*string)(&t.LotState), &t.Quantity, &t.Spares, &t.Good)
		if this := (taken{t.Order, at}); err != nil || this.compare(first) < 0 || this.compare(last) > 0 {
			return err
		}
		if t.TakenIn, t.Deleted = fromMicros(at), resolved == nil; !t.Deleted {
			o, err := order.Parse(bytes.NewReader(resolved))
			if err != nil {
				return fmt.Errorf("reading order %q as stored: %w", t.Order, err)
			}
			t.Customer, t.Product, t.Quantity, t.Spares = o.Customer, string(o.Product), o.Quantity, o.Spares
		}
		told = append(told, t)
		return nil
	}, sqlOrdersBetween, first.at, last.at)
	slices.SortFunc(told, func(a, b bus.OrderTold) int {
		return cmp.Or(a.TakenIn.Compare(b.TakenIn), cmp.Compare(a.Order, b.Order))
	})
	return told, err
}

// maxAccepted bounds the orders that wait for their release in a list of lots: all are in the list of orders.
const maxAccepted = 20

// readAccepted gives the numbers of orders that nobody has released yet, the oldest first, and how many there are.
func readAccepted(ctx context.Context, tx sqldb.Tx) (numbers []string, all uint64, err error) {
	waiting, err := readTaken(ctx, tx, sqlOrdersAccepted)
	if err != nil {
		return nil, 0, fmt.Errorf("looking for orders that wait for their release: %w", err)
	}
	for _, t := range waiting[:min(maxAccepted, len(waiting))] {
		numbers = append(numbers, t.order)
	}
	return numbers, uint64(len(waiting)), nil
}
