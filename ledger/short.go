package ledger

import (
	"context"
	"fmt"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// shortWord ends a lot short. Nothing of it begins from then on, as when its release has expired; with nothing in work it is complete
// at once, else with the last unit's verdict, or when officers gave that up.
type shortWord struct{ statement.Short }

func (w shortWord) about() (perso.Env, perso.Name, perso.Name) { return w.Env, w.Site, w.Lot }

func (w shortWord) accept(ctx context.Context, l *Ledger, b *Batch, hash [32]byte) (fault, err error) {
	lt, n, fault, err := l.readStanding(ctx, b, w.Lot)
	if fault != nil || err != nil {
		return fault, err
	}
	switch {
	case lt.hash != w.Release:
		return bus.Refuse(bus.FaultRefused, "the statement names another release of lot %s; draft it anew", w.Lot), nil
	case n.short:
		return bus.Refuse(bus.FaultRefused, "officers ended lot %s short before", w.Lot), nil
	case n.state != perso.LotReleased && n.state != perso.LotRunning:
		return bus.Refuse(bus.FaultRefused, "lot %s is %s: nothing of it begins any more", w.Lot, n.state), nil
	}
	if fault, err := b.mayGoOn(ctx, lt); fault != nil || err != nil {
		return fault, err
	}
	if _, err := b.Exec(ctx, sqlAddMeta, metaShort+string(w.Lot), hash[:]); err != nil {
		return nil, fmt.Errorf("ending lot %s short: %w", w.Lot, err)
	}
	if n.open > 0 {
		return nil, nil
	}
	return nil, completeLot(ctx, b, w.Lot)
}

// begins reports whether units of a lot may still begin.
func (b *Batch) begins(lt *lot, n counts) bool { return !n.short && b.At.Before(lt.release.Expires) }
