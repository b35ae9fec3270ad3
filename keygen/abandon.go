package keygen

import (
	"context"
	"errors"
	"fmt"

	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// A unit whose verdict is due can stay so for ever: its release has expired, its session is not remembered any more, its chip
// fell off the belt. Then nobody but this vault knows whether it is good, and nobody can wait for it. Two officers give the
// unit up, and the vault answers with a receipt in the lot's chain: "abandoned", and from then on it serves that claim nothing
// and calls it good for nobody; or the one with which it called it good before, which stays what it is.

// Abandon gives a unit up by the word of two officers, which must stand in the log behind the unit's claim. The same word
// again gets the same receipt.
func (v *Vault) Abandon(ctx context.Context, q bus.AbandonRequest) (bus.AbandonReply, error) {
	chain, s, w, err := v.mayAbandon(q)
	if err != nil {
		v.cfg.Log.Error("refused to give up a unit", "lot", q.Lot, "err", err)
		return bus.AbandonReply{}, bus.Refuse(bus.FaultRefused, "%v", err)
	}
	if err := v.cfg.Life.Look(ctx); err != nil {
		return bus.AbandonReply{}, err
	}
	cp, err := v.openCheckpoint(q.Checkpoint)
	if err != nil {
		return bus.AbandonReply{}, err
	}
	l, err := v.take(w.Lot)
	if err != nil {
		return bus.AbandonReply{}, err
	}
	defer l.mu.Unlock()
	claim, at, err := l.proveLost(cp, q, w, s.Hash())
	if err == nil {
		err = l.await(&run{claim: claim}) // an act of the unit that is being played ends before its officers' word
	}
	if err == nil {
		err = v.cfg.Life.Look(ctx) // once more: that was waited for, and another process may have the lot's receipts by now
	}
	if err == nil {
		err = l.seen.admitClaim(claim, w.Claim)
	}
	var no refusal
	if errors.As(err, &no) {
		v.cfg.Log.Error("refused to give up a unit", "lot", w.Lot, "err", no)
		err = bus.Refuse(bus.FaultRefused, "unit %d of lot %q: %s", w.Unit, w.Lot, no)
	}
	if err != nil {
		return bus.AbandonReply{}, err
	}
	past, err := l.seen.history(claim, w.Claim)
	switch {
	case err != nil:
		return bus.AbandonReply{}, err
	case past.good:
		receipt, err := v.firstGood(l, past, w.Claim)
		return bus.AbandonReply{Good: true, Receipt: receipt.Receipt}, err
	case past.gone:
		receipt, err := v.whyGone(l, w.Claim)
		if err == nil && receipt.receipt.Responses != s.Hash() {
			err = bus.Refuse(bus.FaultConflict, "unit %d of lot %q was given up by another statement", w.Unit, w.Lot)
		}
		return v.unforgettable(ctx, bus.AbandonReply{Receipt: receipt.Receipt}, err)
	}
	a, err := v.giveUp(l, claim, chain, entry.Receipt{Vault: v.cfg.Name, Lot: w.Lot, Unit: w.Unit, Gen: w.Gen, Claim: w.Claim, Session: w.Session,
		Responses: s.Hash(), Result: entry.ResultAbandoned, At: at.At})
	return v.unforgettable(ctx, a, err)
}

// unforgettable turns the vault's life before anybody hears that a unit was given up: a state from before it would call the unit
// good after all.
func (v *Vault) unforgettable(ctx context.Context, a bus.AbandonReply, err error) (bus.AbandonReply, error) {
	if err != nil {
		return bus.AbandonReply{}, err
	}
	if err := v.cfg.Life.Turn(ctx); err != nil {
		return bus.AbandonReply{}, fmt.Errorf("making it unforgettable that a unit was given up: %w", err)
	}
	return a, nil
}

// mayAbandon checks the officers' word, from the pinned register on, and that it is for this site.
func (v *Vault) mayAbandon(q bus.AbandonRequest) (chain []statement.Signed, s statement.Signed, w statement.Lost, err error) {
	chain, register, err := v.registerOf(q.Register)
	if err == nil {
		err = v.registerContinues(chain)
	}
	if err != nil {
		return chain, s, w, err
	}
	if s, err = statement.DecodeSigned(q.Lost); err != nil {
		return chain, s, w, err
	}
	if err := register.Authorize(s); err != nil {
		return chain, s, w, err
	}
	if w, err = statement.ParseLost(s.Body); err != nil {
		return chain, s, w, err
	}
	if w.Env != v.cfg.Env || w.Site != v.cfg.Site || w.Lot != q.Lot {
		return chain, s, w, fmt.Errorf("the statement is of lot %q, site %q (%s)", w.Lot, w.Site, w.Env)
	}
	return chain, s, w, nil
}

// proveLost checks that the statement speaks of a claim of this lot as the log has it, and stands in the log behind it.
func (l *lot) proveLost(cp checkpoint.Checkpoint, q bus.AbandonRequest, w statement.Lost, hash [32]byte) (c entry.Claim, at entry.Statement, err error) {
	if c, err = l.proveClaim(cp, q.Claim); err != nil {
		return c, at, err
	}
	switch {
	case entry.Hash(q.Claim.Entry) != w.Claim || w.Release != l.hash:
		return c, at, refuse("the statement names another claim or release")
	case w.Unit != c.Unit || w.Gen != c.Gen || w.Index != c.Index || w.EID != c.EID || w.Chip != c.Chip:
		return c, at, refuse("the statement contradicts the claim that it names")
	case q.Ordered.Seq <= q.Claim.Seq:
		return c, at, refuse("the statement was logged before the claim")
	}
	if err := proveStatement(cp, q.Ordered, statement.KindLost, hash, w.Lot); err != nil {
		return c, at, refuse("%v", err)
	}
	at, err = entry.ParseStatement(q.Ordered.Entry)
	return c, at, err
}

// giveUp writes the receipt: it is durable before anybody hears of it.
func (v *Vault) giveUp(l *lot, c entry.Claim, chain []statement.Signed, e entry.Receipt) (bus.AbandonReply, error) {
	made, err := l.sign(&e, l.next, l.head)
	if err != nil {
		return bus.AbandonReply{}, err
	}
	record := rendered{Receipt: made, Index: uint32(c.Index), receipt: e}
	encoded, err := bus.Encode(record)
	if err != nil {
		return bus.AbandonReply{}, err
	}
	err = v.bound(chain, func() error {
		// COMMIT POINT: before it the unit may become good; after it never again, also when the answer is lost.
		return v.cfg.Journal.Append(l.release.Lot, l.next, [][]byte{encoded})
	})
	if err == nil {
		err = l.seen.add(record)
	}
	if err != nil {
		l.close() // what is stored is unknown: it is read anew
		return bus.AbandonReply{}, fmt.Errorf("giving up unit %d of lot %q: %w", c.Unit, l.release.Lot, err)
	}
	l.next, l.head = l.next+1, entry.Hash(made)
	v.cfg.Log.Warn("unit given up", "lot", l.release.Lot, "seq", e.Seq)
	return bus.AbandonReply{Receipt: made}, nil
}

// whyGone finds the receipt by which a claim was given up. It reads the lot's journal from its beginning: it is asked for a unit that
// officers ask about twice.
func (v *Vault) whyGone(l *lot, claim [32]byte) (found rendered, err error) {
	err = errOneRecord
	readErr := v.cfg.Journal.Read(l.release.Lot, 0, func(b []byte) (bool, error) {
		r, bad := parseRendered(b)
		if bad == nil && r.receipt.Claim == claim && r.receipt.Result == entry.ResultAbandoned {
			found, err = r, nil
		}
		return bad == nil && err != nil, bad
	})
	if err := errors.Join(readErr, err); err != nil {
		return found, fmt.Errorf("looking for the last receipt of a unit of lot %q: %w", l.release.Lot, err)
	}
	return found, nil
}
