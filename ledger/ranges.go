package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/order"
)

// Identity kinds in issued_range.
const (
	kindEID   = "eid"
	kindICCID = "iccid"
	kindIMSI  = "imsi"
)

// resolve allocates what a new order leaves to us. It refuses a number that another order has, and whatever touches a range
// that was ever issued.
func (l *Ledger) resolve(ctx context.Context, tx sqldb.Tx, o order.Order) (order.Order, *order.FaultList, error) {
	known, err := readOrder(ctx, tx, string(o.ID))
	switch {
	case err == nil && known.hash == o.Hash():
		return known.content, nil, nil
	case err == nil && known.forgotten:
		return o, &order.FaultList{{Field: "order", Reason: fmt.Sprintf("order number %q is taken by an order that was delivered, and whose content was deleted", o.ID),
			Hint: "give the new order a number of its own"}}, nil
	case err == nil:
		return o, &order.FaultList{{Field: "order", Reason: fmt.Sprintf("order number %q is taken by an order with other content", o.ID),
			Hint: "give the changed order a number of its own"}}, nil
	case !errors.Is(err, ErrNotFound):
		return o, nil, err
	}
	var a order.Allocation
	site := l.cat.Order.Site
	provider, ok := site.Provider(o.Provider)
	if !ok {
		return o, nil, fmt.Errorf("bootstrap provider %q: %w", o.Provider, ErrNotFound)
	}
	var faults order.FaultList
	if !o.NoEID {
		if err := settleRange(ctx, tx, kindEID, o.EID, o.Total(), site.EUM.EIDPool, &a.EID, &faults); err != nil {
			return o, nil, err
		}
	}
	for _, err := range []error{
		settleRange(ctx, tx, kindICCID, o.ICCID, o.Total(), provider.ICCIDPool, &a.ICCID, &faults),
		settleRange(ctx, tx, kindIMSI, o.IMSI, o.Total(), provider.IMSIPool, &a.IMSI, &faults),
	} {
		if err != nil {
			return o, nil, err
		}
	}
	if err := l.resolveOperational(ctx, tx, o, &a, &faults); err != nil {
		return o, nil, err
	}
	if err := l.demandFaults(ctx, tx, o, &faults); err != nil {
		return o, nil, err
	}
	if len(faults) > 0 {
		return o, &faults, nil
	}
	r, err := order.Resolve(o, a)
	if err != nil {
		return o, nil, err
	}
	return r.Order(), nil, nil
}

// resolveOperational does the same for the numbers of the operational profile. The pools of two providers share no number; a given range
// and an allocated one may.
func (l *Ledger) resolveOperational(ctx context.Context, tx sqldb.Tx, o order.Order, a *order.Allocation, faults *order.FaultList) error {
	two := o.Operational
	if !two.Ordered() {
		return nil
	}
	provider, ok := l.cat.Order.Site.Provider(two.Provider)
	if !ok {
		return fmt.Errorf("provider %q: %w", two.Provider, ErrNotFound)
	}
	const field = "operational"
	var own order.FaultList
	if err := settleRange(ctx, tx, kindICCID, two.ICCID, o.Total(), provider.ICCIDPool, &a.OperationalICCID, &own); err != nil {
		return err
	}
	if err := settleRange(ctx, tx, kindIMSI, two.IMSI, o.Total(), provider.IMSIPool, &a.OperationalIMSI, &own); err != nil {
		return err
	}
	for _, f := range own {
		f.Field = field + "." + f.Field
		faults.Add(f)
	}
	if o.ICCID.Overlaps(a.OperationalICCID) || a.ICCID.Overlaps(two.ICCID) || o.IMSI.Overlaps(a.OperationalIMSI) || a.IMSI.Overlaps(two.IMSI) {
		faults.Add(order.Fault{Field: field, Reason: "bootstrap and operational profile would share numbers", Hint: "give both ranges, or allocate both"})
	}
	return nil
}

// settleRange checks a given range against all that was issued, or takes the next free one from the pool.
func settleRange[T id.Number[T]](ctx context.Context, tx sqldb.Tx, kind string, given id.Range[T], total uint64, pool id.Range[T], out *id.Range[T], faults *order.FaultList) error {
	if given.Count() > 0 {
		other, err := overlap(ctx, tx, kind, given)
		if err == nil && other != "" {
			faults.Add(order.Fault{Field: kind, Reason: fmt.Sprintf("%s overlaps identities issued to order %s", given, other), Hint: "order numbers that were never ordered before"})
		}
		return err
	}
	next, free, err := nextFree(ctx, tx, kind, pool, total)
	if err != nil {
		return err
	}
	if !free {
		faults.Add(order.Fault{Field: kind, Reason: fmt.Sprintf("the pool %s has no %d consecutive numbers left", pool, total), Hint: "add a pool, or order a range of your own"})
		return nil
	}
	*out = next
	return nil
}

func overlap[T id.Number[T]](ctx context.Context, tx sqldb.Tx, kind string, r id.Range[T]) (orderID string, err error) {
	lo, hi := r.Bounds()
	var otherLo, otherHi []byte
	err = tx.QueryRow(ctx, sqlOverlap, kind, lo[:], hi[:]).Scan(&orderID, &otherLo, &otherHi)
	if errors.Is(err, sqldb.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("looking for issued %s numbers: %w", kind, err)
	}
	return orderID, nil
}

// nextFree walks the pool from its start over issued ranges; each step jumps behind the one that is in the way.
func nextFree[T id.Number[T]](ctx context.Context, tx sqldb.Tx, kind string, pool id.Range[T], total uint64) (none id.Range[T], free bool, err error) {
	if pool.Count() < total {
		return none, false, nil
	}
	for from := uint64(0); from+total <= pool.Count(); {
		first, err := pool.At(from)
		if err != nil {
			return none, false, err
		}
		candidate, err := id.NewRange(first, total)
		if err != nil {
			return none, false, err
		}
		lo, hi := candidate.Bounds()
		var end []byte
		err = tx.QueryRow(ctx, sqlBlocker, kind, lo[:], hi[:]).Scan(&end)
		if errors.Is(err, sqldb.ErrNoRows) {
			return candidate, true, nil
		}
		if err != nil {
			return none, false, fmt.Errorf("looking for free %s numbers: %w", kind, err)
		}
		if from, err = behind(pool, from, end); err != nil {
			return none, false, err
		}
	}
	return none, false, nil
}

// behind finds, by halving, the first pool index at or after from whose number lies above end.
func behind[T id.Number[T]](pool id.Range[T], from uint64, end []byte) (uint64, error) {
	lo, hi := from+1, pool.Count()
	for lo < hi {
		mid := lo + (hi-lo)/2
		n, err := pool.At(mid)
		if err != nil {
			return 0, err
		}
		one, err := id.NewRange(n, 1)
		if err != nil {
			return 0, err
		}
		at, _ := one.Bounds()
		if bytes.Compare(at[:], end) > 0 {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo, nil
}

// reserve writes the ranges down as issued, for ever.
func reserve(ctx context.Context, b *Batch, o order.Order) error {
	type bounds struct {
		kind   string
		lo, hi [16]byte
	}
	all := make([]bounds, 3, 5)
	all[0].kind, all[1].kind, all[2].kind = kindEID, kindICCID, kindIMSI
	all[0].lo, all[0].hi = o.EID.Bounds()
	all[1].lo, all[1].hi = o.ICCID.Bounds()
	all[2].lo, all[2].hi = o.IMSI.Bounds()
	if two := o.Operational; two.Ordered() {
		iccid, imsi := bounds{kind: kindICCID}, bounds{kind: kindIMSI}
		iccid.lo, iccid.hi = two.ICCID.Bounds()
		imsi.lo, imsi.hi = two.IMSI.Bounds()
		all = append(all, iccid, imsi)
	}
	for _, r := range all {
		if r.kind == kindEID && o.NoEID {
			continue
		}
		if _, err := b.Exec(ctx, sqlAddRange, r.kind, r.lo[:], r.hi[:], string(o.ID)); err != nil {
			return fmt.Errorf("reserving %s numbers of order %q: %w", r.kind, o.ID, err)
		}
	}
	return nil
}
