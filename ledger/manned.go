package ledger

import (
	"context"
	"fmt"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/statement"
)

// This file is about policies that nobody can fulfil. One that asks for words which nobody in the register can sign is refused, and so are an
// order that asks for them and a release that needs them: a lot under it would stand. Somebody who may not sign any more is revoked all the
// same, at once; then it is told, wherever people look, what stands until another is in the register.

// howToMan is what to do about it.
const howToMan = "have who is missing added to the officer register ('perso key', add-officer, then 'perso hand-in')"

// manned refuses what asks for words that nobody in the register can sign.
func (l *Ledger) manned(ctx context.Context, tx sqldb.Tx, who string, p statement.Policy) (fault, err error) {
	reg, err := l.register(ctx, tx)
	if err != nil {
		return nil, err
	}
	if err := reg.Fulfils(p); err != nil {
		return bus.Refuse(bus.FaultRefused, "%s would stand: %v; %s first", who, err, howToMan), nil
	}
	return nil, nil
}

// mannedLot refuses a lot that would stand, by the policy in force or by what its order asks for.
func (l *Ledger) mannedLot(ctx context.Context, tx sqldb.Tx, o order.Order) (fault, err error) {
	p, err := l.policyNow(ctx, tx)
	if err != nil {
		return nil, err
	}
	return l.manned(ctx, tx, fmt.Sprintf("the lot of order %q", o.ID), p.With(o.Asks, o.Quantity))
}

// policyNow is the policy of lots that are released now.
func (l *Ledger) policyNow(ctx context.Context, tx sqldb.Tx) (statement.Policy, error) {
	hash, err := policyInForce(ctx, tx)
	if err != nil {
		return statement.Policy{}, err
	}
	return readPolicy(ctx, tx, hash)
}

// demandFaults finds in an order what it asks for and nobody could sign. What the site's policy asks for is no fault of the order.
func (l *Ledger) demandFaults(ctx context.Context, tx sqldb.Tx, o order.Order, faults *order.FaultList) error {
	if o.Asks == "" {
		return nil
	}
	reg, err := l.register(ctx, tx)
	if err != nil {
		return err
	}
	if err := reg.Fulfils(statement.Policy{}.With(o.Asks, o.Quantity)); err != nil {
		faults.Add(order.Fault{Field: "asks", Reason: fmt.Sprintf("nobody at this site could sign what the order asks for: %v", err),
			Hint: howToMan + " and hand the order in again, or leave the demand out"})
	}
	return nil
}

// policyLeft is what a lot's policy still asks of people. Of a lot that is closed that is nothing which only some can sign.
func policyLeft(ctx context.Context, tx sqldb.Tx, lt *lot) (statement.Policy, error) {
	n, err := readCounts(ctx, tx, lt.name)
	if err != nil {
		return statement.Policy{}, err
	}
	drawn, err := readSamples(ctx, tx, lt.name)
	p := lt.policy
	if n.approved {
		p.FirstArticle = 0
	}
	if drawn.state != samplesDue {
		p.Sampling = ""
	}
	return p, err
}

// lacks says what a lot still needs that nobody can sign; empty if there is nothing.
func (l *Ledger) lacks(ctx context.Context, tx sqldb.Tx, lt *lot) (string, error) {
	left, err := policyLeft(ctx, tx, lt)
	if err != nil || len(left.Wants()) == 0 {
		return "", err
	}
	reg, err := l.register(ctx, tx)
	if err != nil {
		return "", err
	}
	return lacking(reg, left), nil
}

func lacking(reg *statement.Register, left statement.Policy) string {
	err := reg.Fulfils(left)
	if err == nil {
		return ""
	}
	return fmt.Sprintf("nobody can sign what it needs: %v; %s", err, howToMan)
}

// maxUnmanned bounds the lots that are told of: they fit into a message, and the first says what to do.
const maxUnmanned = 100

// unmanned says what stands, or will, because nobody can sign what it needs: lots that are released from now on, and those at work. Who asks is
// about to stop something, or has revoked somebody: what cannot be read keeps him from neither.
func (l *Ledger) unmanned(ctx context.Context) (all []string) {
	if err := l.db.View(ctx, func(tx sqldb.Tx) (err error) {
		all, err = l.readUnmanned(ctx, tx)
		return err
	}); err != nil {
		l.log.WarnContext(ctx, "looking for what nobody can sign", "err", err)
		all = append(all, fmt.Sprintf("whether all can be signed that is asked for is not known: %v", err))
	}
	if more := len(all) - maxUnmanned; more > 0 {
		all = append(all[:maxUnmanned], fmt.Sprintf("and %d lots more", more))
	}
	return all
}

func (l *Ledger) readUnmanned(ctx context.Context, tx sqldb.Tx) (all []string, err error) {
	reg, err := l.register(ctx, tx)
	if err != nil {
		return nil, err
	}
	p, err := l.policyNow(ctx, tx)
	if err != nil {
		return nil, err
	}
	if err := reg.Fulfils(p); err != nil {
		all = append(all, fmt.Sprintf("no lot can be released under the site's policy: %v; %s", err, howToMan))
	}
	names, err := unclosedLots(ctx, tx)
	if err != nil {
		return all, err
	}
	for _, name := range names {
		lt, err := l.readLot(ctx, tx, name)
		if err != nil {
			return all, fmt.Errorf("reading lot %q: %w", name, err)
		}
		left, err := policyLeft(ctx, tx, lt)
		if err != nil {
			return all, err
		}
		if lacks := lacking(reg, left); lacks != "" {
			all = append(all, fmt.Sprintf("lot %s: %s", name, lacks))
		}
	}
	return all, nil
}
