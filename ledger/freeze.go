package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// frozenRow is a freeze in force.
type frozenRow struct {
	freeze statement.Freeze
	hash   [32]byte // of its statement
	since  int64    // microseconds
}

// frozen is all that stands still.
type frozen []frozenRow

func readFrozen(ctx context.Context, tx sqldb.Tx) (all frozen, err error) {
	err = tx.Each(ctx, func(row sqldb.Row) error {
		var r frozenRow
		var hash []byte
		err := row.Scan((*string)(&r.freeze.What), &r.freeze.Name, &r.freeze.Reason, &hash, &r.since)
		copy(r.hash[:], hash)
		all = append(all, r)
		return err
	}, sqlFrozen)
	if err != nil {
		return nil, fmt.Errorf("reading what is frozen: %w", err)
	}
	slices.SortFunc(all, func(a, b frozenRow) int {
		return cmp.Or(cmp.Compare(a.since, b.since), cmp.Compare(a.freeze.What, b.freeze.What), cmp.Compare(a.freeze.Name, b.freeze.Name))
	})
	return all, nil
}

// frozen reads what is frozen, once per transaction: it is asked for each act, and no memory outlives the transaction, so that a freeze
// holds for every process from its commit on.
func (b *Batch) frozen(ctx context.Context) (frozen, error) {
	if !b.froze {
		all, err := readFrozen(ctx, b.Tx)
		if err != nil {
			return nil, err
		}
		b.stands, b.froze = all, true
	}
	return b.stands, nil
}

// of says what a lot stands still for; empty when nothing does.
func (all frozen) of(r statement.Release) string {
	for _, f := range all {
		if f.freeze.Stops(r) {
			return f.String()
		}
	}
	return ""
}

// at says why a line stands still.
func (all frozen) at(line perso.Name) string { return all.named(statement.FrozenLine, string(line)) }

func (all frozen) named(what statement.Frozen, name string) string {
	for _, f := range all {
		if f.freeze.What == what && f.freeze.Name == name {
			return f.String()
		}
	}
	return ""
}

func (f frozenRow) String() string {
	return fmt.Sprintf("%s %s is frozen: %s", f.freeze.What, f.freeze.Name, f.freeze.Reason)
}

func (all frozen) told() (out []bus.FrozenThing) {
	for _, f := range all {
		out = append(out, bus.FrozenThing{What: string(f.freeze.What), Name: f.freeze.Name, Reason: f.freeze.Reason, Hash: f.hash, Since: fromMicros(f.since)})
	}
	return out
}

// mayGoOn refuses what is asked of a lot that stands still.
func (b *Batch) mayGoOn(ctx context.Context, lt *lot) (fault, err error) {
	all, err := b.frozen(ctx)
	if err != nil {
		return nil, err
	}
	if why := all.of(lt.release); why != "" {
		return bus.Refuse(bus.FaultRefused, "%s", why), nil
	}
	return nil, nil
}

// standsStill holds a head whose lot or line is frozen: its chip stays where it is until the work goes on.
func (a *act) standsStill(ctx context.Context, b *Batch) (bool, error) {
	all, err := b.frozen(ctx)
	if err != nil || len(all) == 0 {
		return false, err
	}
	why := cmp.Or(all.of(a.lot.release), all.at(a.q.Present.Line))
	if why == "" {
		return false, nil
	}
	a.reply = hold(perso.ReasonFrozen, clean(why))
	a.reply.Verdict.RetryAfter = frozenFor
	return true, nil
}

// freezeWord freezes, or lets go on.
type freezeWord struct{ statement.Freeze }

func (f freezeWord) about() (perso.Env, perso.Name, perso.Name) {
	if f.What == statement.FrozenLot {
		if lot, err := perso.ParseName(f.Name); err == nil {
			return f.Env, f.Site, lot
		}
	}
	return f.Env, f.Site, ""
}

func (f freezeWord) accept(ctx context.Context, _ *Ledger, b *Batch, hash [32]byte) (fault, err error) {
	all, err := readFrozen(ctx, b)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(r frozenRow) bool { return r.freeze.What == f.What && r.freeze.Name == f.Name })
	switch {
	case f.Kind == statement.KindFreeze && i >= 0:
		return bus.Refuse(bus.FaultRefused, "%s already", all[i]), nil
	case f.Kind == statement.KindUnfreeze && i < 0:
		return bus.Refuse(bus.FaultRefused, "%s %s is not frozen", f.What, f.Name), nil
	case f.Kind == statement.KindUnfreeze && all[i].hash != f.Lifts:
		return bus.Refuse(bus.FaultRefused, "%s %s is frozen by another word than the statement lifts; draft it anew", f.What, f.Name), nil
	case f.Kind == statement.KindUnfreeze:
		_, err = b.Exec(ctx, sqlUnfreeze, string(f.What), f.Name)
	default: // also of a name that nobody knows: whoever stops something in a hurry is not told to look it up first
		_, err = b.Exec(ctx, sqlFreeze, string(f.What), f.Name, f.Reason, hash[:], b.At.UnixMicro())
	}
	b.froze = false
	if err != nil {
		return nil, fmt.Errorf("freezing: %w", err)
	}
	return nil, nil
}

// namesNothing reports whether a freeze is of a name that no lot, order or key has: the name is misspelt, or what it means is still to come.
// Lines are known to whoever serves them.
func (l *Ledger) namesNothing(ctx context.Context, b *Batch, f statement.Freeze) (bool, error) {
	var query string
	switch f.What {
	case statement.FrozenLot:
		query = sqlHasLot
	case statement.FrozenOrder:
		query = sqlHasOrder
	case statement.FrozenKey:
		return !slices.Contains(l.cat.Order.Keys(), perso.Name(f.Name)), nil
	default:
		return false, nil
	}
	err := b.QueryRow(ctx, query, f.Name).Scan(new(int64))
	if errors.Is(err, sqldb.ErrNoRows) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for %s %q: %w", f.What, f.Name, err)
	}
	return false, nil
}

// MayHandOut refuses the export of a lot that stands still.
func (l *Ledger) MayHandOut(ctx context.Context, q bus.LotRequest) error {
	lt, err := l.lot(ctx, q.Lot)
	if err != nil {
		return err
	}
	var all frozen
	if err := l.db.View(ctx, func(tx sqldb.Tx) (err error) {
		all, err = readFrozen(ctx, tx)
		return err
	}); err != nil {
		return err
	}
	if why := all.of(lt.release); why != "" {
		return bus.Refuse(bus.FaultRefused, "handing lot %s out: %s", q.Lot, why)
	}
	return nil
}
