package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// This file is what people sign at the lines: the policy that a lot must go through, line clearance, the first article, and why a hand
// count differs.

// policyRow is the one row of the policy in force.
const policyRow = "policy"

// readPolicy reads a policy by its statement's hash; nil is the policy that asks for nothing.
func readPolicy(ctx context.Context, tx sqldb.Tx, hash []byte) (p statement.Policy, err error) {
	if len(hash) == 0 {
		return p, nil
	}
	var raw []byte
	if err := tx.QueryRow(ctx, sqlStatement, hash).Scan(&raw); err != nil {
		return p, fmt.Errorf("reading the policy: %w", err)
	}
	signed, err := statement.DecodeSigned(raw)
	if err != nil {
		return p, err
	}
	return statement.ParsePolicy(signed.Body)
}

// policyInForce is the hash of the newest policy; nil when there never was one.
func policyInForce(ctx context.Context, tx sqldb.Tx) (hash []byte, err error) {
	err = tx.QueryRow(ctx, sqlMeta, policyRow).Scan(&hash)
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the policy: %w", err)
	}
	return hash, nil
}

// policyTold is how people hear of a policy.
func policyTold(p statement.Policy) bus.Policy {
	return bus.Policy{FirstArticle: p.FirstArticle, Clearance: p.Clearance, Issue: p.Issue, Samples: string(p.Sampling), Blind: p.Blind}
}

type policyWord struct{ statement.Policy }

func (w policyWord) about() (perso.Env, perso.Name, perso.Name) { return w.Env, w.Site, "" }

func (w policyWord) accept(ctx context.Context, l *Ledger, b *Batch, hash [32]byte) (fault, err error) {
	if fault, err := l.manned(ctx, b, "lots under this policy", w.Policy); fault != nil || err != nil {
		return fault, err
	}
	if _, err := b.Exec(ctx, sqlCutMeta, policyRow); err != nil {
		return nil, fmt.Errorf("replacing the policy: %w", err)
	}
	_, err = b.Exec(ctx, sqlAddMeta, policyRow, hash[:])
	return nil, err
}

// policyHolds holds a head whose lot may not begin a chip there yet, by the policy that it was released under.
func (a *act) policyHolds(ctx context.Context, b *Batch, n counts) (bool, error) {
	p := a.lot.policy
	switch {
	case p.Issue && n.issued == 0:
		a.reply = hold(perso.ReasonNotIssued, fmt.Sprintf("no chips were issued to lot %s", a.lot.name))
	case p.FirstArticle > 0 && !n.approved && n.made+n.open >= p.FirstArticle:
		a.reply = hold(perso.ReasonFirstArticle, fmt.Sprintf("quality has not signed the first %d chips of lot %s", p.FirstArticle, a.lot.name))
	default:
		return false, nil
	}
	a.reply.Verdict.RetryAfter = frozenFor
	return true, nil
}

// blockFirstArticle is what keeps a lot from closing whose first article nobody signed.
const blockFirstArticle = "quality has not signed the first article"

// lineClear holds a head at a line that nobody has cleared for its lot, where the policy asks for it.
func (a *act) lineClear(ctx context.Context, b *Batch) (bool, error) {
	if !a.lot.policy.Clearance {
		return true, nil
	}
	lot, err := clearedFor(ctx, b, a.q.Present.Line)
	if err != nil || lot == a.lot.name {
		return err == nil, err
	}
	a.reply = hold(perso.ReasonClearance, fmt.Sprintf("line %s was not cleared for lot %s", a.q.Present.Line, a.lot.name))
	a.reply.Verdict.RetryAfter = frozenFor
	return false, nil
}

// clearedFor is the lot that a line was last cleared for.
func clearedFor(ctx context.Context, tx sqldb.Tx, line perso.Name) (lot perso.Name, err error) {
	err = tx.QueryRow(ctx, sqlCleared, string(line)).Scan((*string)(&lot))
	if err != nil && !errors.Is(err, sqldb.ErrNoRows) {
		return "", fmt.Errorf("looking for the clearance of line %q: %w", line, err)
	}
	return lot, nil
}

type clearanceWord struct{ statement.Clearance }

func (w clearanceWord) about() (perso.Env, perso.Name, perso.Name) { return w.Env, w.Site, w.Lot }

func (w clearanceWord) accept(ctx context.Context, _ *Ledger, b *Batch, _ [32]byte) (fault, err error) {
	n, fault, err := standingLot(ctx, b, w.Lot)
	if fault != nil || err != nil {
		return fault, err
	}
	if n.state == perso.LotClosed {
		return bus.Refuse(bus.FaultRefused, "lot %s is closed", w.Lot), nil
	}
	var waits int64
	if err := b.QueryRow(ctx, sqlUnbinnedAt, string(w.Line)).Scan(&waits); err != nil {
		return nil, fmt.Errorf("looking for chips at line %q: %w", w.Line, err)
	}
	if waits > 0 {
		return bus.Refuse(bus.FaultRefused, "line %s is not empty: %d heads have not confirmed the bin of their last chip", w.Line, waits), nil
	}
	if _, err := b.Exec(ctx, sqlUnclear, string(w.Line)); err != nil {
		return nil, fmt.Errorf("clearing line %q: %w", w.Line, err)
	}
	_, err = b.Exec(ctx, sqlClear, string(w.Line), string(w.Lot))
	return nil, err
}

// standingLot reads the counts of the lot that a word is about.
func standingLot(ctx context.Context, b *Batch, lot perso.Name) (n counts, fault, err error) {
	n, err = readCounts(ctx, b, lot)
	if errors.Is(err, sqldb.ErrNoRows) {
		return n, bus.Refuse(bus.FaultNotFound, "no lot %q", lot), nil
	}
	return n, nil, err
}

// readStanding reads the lot itself too.
func (l *Ledger) readStanding(ctx context.Context, b *Batch, name perso.Name) (lt *lot, n counts, fault, err error) {
	if n, fault, err = standingLot(ctx, b, name); fault != nil || err != nil {
		return nil, n, fault, err
	}
	lt, err = l.readLot(ctx, b, name)
	return lt, n, nil, err
}

type firstArticleWord struct{ statement.FirstArticle }

func (w firstArticleWord) about() (perso.Env, perso.Name, perso.Name) { return w.Env, w.Site, w.Lot }

func (w firstArticleWord) accept(ctx context.Context, l *Ledger, b *Batch, _ [32]byte) (fault, err error) {
	lt, n, fault, err := l.readStanding(ctx, b, w.Lot)
	if fault != nil || err != nil {
		return fault, err
	}
	switch p := lt.policy; {
	case p.FirstArticle == 0:
		return bus.Refuse(bus.FaultRefused, "the policy of lot %s asks for no first article", w.Lot), nil
	case n.approved:
		return bus.Refuse(bus.FaultRefused, "the first article of lot %s was signed before", w.Lot), nil
	case n.made < p.FirstArticle && n.state != perso.LotComplete || w.Good != n.made:
		return bus.Refuse(bus.FaultRefused, "%d chips of lot %s are good, the statement is about %d and the policy asks for %d", n.made, w.Lot, w.Good, p.FirstArticle), nil
	}
	_, err = b.Exec(ctx, sqlApprove, string(w.Lot))
	return nil, err
}

type explainedWord struct{ statement.Explained }

func (w explainedWord) about() (perso.Env, perso.Name, perso.Name) { return w.Env, w.Site, w.Lot }

// minHandCounts is how often people count, without being told what to find, before a difference is explained and not counted again.
const minHandCounts = 2

func (w explainedWord) accept(ctx context.Context, l *Ledger, b *Batch, _ [32]byte) (fault, err error) {
	n, fault, err := standingLot(ctx, b, w.Lot)
	if fault != nil || err != nil {
		return fault, err
	}
	h, err := readHandCount(ctx, b, w.Lot)
	switch {
	case err != nil:
		return nil, err
	case n.state == perso.LotClosed:
		return bus.Refuse(bus.FaultRefused, "lot %s is closed: its counts are signed", w.Lot), nil
	case h.times < minHandCounts:
		return bus.Refuse(bus.FaultRefused, "lot %s was counted by hand %d times; count it again first", w.Lot, h.times), nil
	case entry.Hash(h.body) != w.Count:
		return bus.Refuse(bus.FaultRefused, "the statement is about another count than the last of lot %s; draft it anew", w.Lot), nil
	}
	_, err = b.Exec(ctx, sqlExplain, string(w.Lot), entry.SourceHand)
	return nil, err
}

// handCount is the last hand count of a lot.
type handCount struct {
	entry.Count
	body      []byte
	times     int64 // how often it was counted; 0 when never
	explained bool  // two persons signed why the last one differs
}

func readHandCount(ctx context.Context, tx sqldb.Tx, lot perso.Name) (h handCount, err error) {
	err = tx.QueryRow(ctx, sqlHandCount, string(lot), entry.SourceHand).Scan(&h.body, &h.times, &h.explained)
	if errors.Is(err, sqldb.ErrNoRows) {
		return h, nil
	}
	if err != nil {
		return h, fmt.Errorf("reading the hand count of lot %q: %w", lot, err)
	}
	h.Count, err = entry.ParseCount(h.body)
	return h, err
}

// uncounted reports whether who counts must not be told what to find: nobody has counted, or the first count differs.
func (h handCount) uncounted(c statement.Counts) bool {
	differ := h.times == 0
	if h.times == 1 && !h.explained {
		compare(func(string, ...any) { differ = true }, "", h.Count, c)
	}
	return differ
}

// uncounted reads whether who counts a lot must not be told what to find.
func uncounted(ctx context.Context, tx sqldb.Tx, lot perso.Name) (bool, error) {
	hand, err := readHandCount(ctx, tx, lot)
	if err != nil {
		return false, err
	}
	ours, _, err := balance(ctx, tx, lot)
	return err == nil && hand.uncounted(ours), err
}

// veil leaves of what keeps a lot from closing only what tells no numbers.
func veil(blocks []string) (told []string) {
	for _, b := range blocks {
		switch b {
		case bus.BlockNotCounted, bus.BlockCountAgain, blockSamples, blockFirstArticle, blockNoHandler:
		default:
			b = bus.BlockHidden
		}
		if !slices.Contains(told, b) {
			told = append(told, b)
		}
	}
	return told
}

// blocks says what a hand count leaves open. What the ledger has is told only when people have counted twice: who counts again must
// not know what to find.
func (h handCount) blocks(block func(string, ...any), c statement.Counts) {
	switch {
	case h.times == 0:
		block(bus.BlockNotCounted)
	case h.explained:
	case h.times < minHandCounts:
		differ := false
		compare(func(string, ...any) { differ = true }, "", h.Count, c)
		if differ {
			block(bus.BlockCountAgain)
		}
	default:
		compare(block, "hand count", h.Count, c)
	}
}
