package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// A word is a signed statement by which people steer the work of a site: they freeze something, or let it go on. All come in by
// one door: it is for this site, those signed whose duty it is (perso/statement, duties), and the same word again changes nothing.

// word is a statement's own part of that.
type word interface {
	// about is whom the statement is for, and the lot that it concerns, if any.
	about() (perso.Env, perso.Name, perso.Name)
	// accept changes what the statement is about, or refuses. It runs in the transaction that logs the statement with this hash.
	accept(ctx context.Context, l *Ledger, b *Batch, hash [32]byte) (fault, err error)
}

// words knows every kind that comes in by this door.
var words = map[string]func(body []byte) (word, error){
	statement.KindForget:   parseWord(func(s statement.Forget) word { return forgetWord{s} }, statement.ParseForget),
	statement.KindFreeze:   parseWord(func(f statement.Freeze) word { return freezeWord{f} }, statement.ParseFreeze),
	statement.KindRestored: parseWord(func(s statement.Restored) word { return restoredWord{s} }, statement.ParseRestored),
	statement.KindUnfreeze: parseWord(func(f statement.Freeze) word { return freezeWord{f} }, statement.ParseFreeze),

	statement.KindAdd:    parseWord(func(s statement.Change) word { return &registerWord{Change: s} }, statement.ParseChange),
	statement.KindRevoke: parseWord(func(s statement.Change) word { return &registerWord{Change: s} }, statement.ParseChange),

	statement.KindTaken:     parseWord(func(s statement.Desk) word { return deskWord{s} }, statement.ParseDesk),
	statement.KindCancelled: parseWord(func(s statement.Desk) word { return deskWord{s} }, statement.ParseDesk),

	statement.KindPolicy:       parseWord(func(s statement.Policy) word { return policyWord{s} }, statement.ParsePolicy),
	statement.KindFirstArticle: parseWord(func(s statement.FirstArticle) word { return firstArticleWord{s} }, statement.ParseFirstArticle),
	statement.KindSamples:      parseWord(func(s statement.Samples) word { return samplesWord{s} }, statement.ParseSamples),
	statement.KindClearance:    parseWord(func(s statement.Clearance) word { return clearanceWord{s} }, statement.ParseClearance),
	statement.KindExplained:    parseWord(func(s statement.Explained) word { return explainedWord{s} }, statement.ParseExplained),
	statement.KindShort:        parseWord(func(s statement.Short) word { return shortWord{s} }, statement.ParseShort),
	statement.KindRejects:      parseWord(func(s statement.Rejects) word { return rejectsWord{s} }, statement.ParseRejects),
}

func parseWord[S any](as func(S) word, parse func([]byte) (S, error)) func([]byte) (word, error) {
	return func(body []byte) (word, error) {
		s, err := parse(body)
		if err != nil {
			return nil, err
		}
		return as(s), nil
	}
}

// Word takes people's signed word in, and logs it.
func (l *Ledger) Word(ctx context.Context, q bus.SignedRequest) (bus.WordReply, error) {
	var kind string
	signed, w, err := readSigned(q, func(body []byte) (w word, err error) {
		if kind, err = record.Kind(body); err != nil {
			return nil, err
		}
		parse := words[kind]
		if parse == nil {
			return nil, fmt.Errorf("a %q is handed in otherwise", kind)
		}
		return parse(body)
	})
	if err != nil {
		return bus.WordReply{}, err
	}
	r := bus.WordReply{Kind: kind, Hash: signed.Hash()}
	var fault error
	err = l.commit(ctx, func(ctx context.Context, b *Batch) (err error) {
		r.Duplicate = false
		if fault, err = l.word(ctx, b, signed, kind, w, &r); fault != nil || err != nil {
			return err
		}
		if f, ok := w.(freezeWord); ok && kind == statement.KindFreeze {
			r.Unknown, err = l.namesNothing(ctx, b, f.Freeze)
		}
		return err
	})
	if err == nil {
		err = fault
	}
	if err != nil {
		return bus.WordReply{}, fmt.Errorf("taking in a %s: %w", kind, err)
	}
	if forVaults(kind) {
		r.Untold, r.Apart = l.tellAll(ctx)
	}
	if kind == statement.KindRevoke {
		r.Unmanned = l.unmanned(ctx)
	}
	if w, ok := w.(forgetWord); ok {
		l.afterForgetting(ctx, w.Lot)
	}
	return r, nil
}

func (l *Ledger) word(ctx context.Context, b *Batch, signed statement.Signed, kind string, w word, r *bus.WordReply) (fault, err error) {
	env, site, lot := w.about()
	change, ofRegister := w.(*registerWord)
	if !ofRegister && (env != l.site.env || site != l.site.name) {
		return bus.Refuse(bus.FaultRefused, "the statement is for site %s (%s)", site, env), nil
	}
	err = b.QueryRow(ctx, sqlStatement, r.Hash[:]).Scan(new([]byte))
	if err == nil {
		r.Duplicate = true
		return nil, nil
	}
	if !errors.Is(err, sqldb.ErrNoRows) {
		return nil, fmt.Errorf("looking for the statement: %w", err)
	}
	if fault, err := l.authorized(ctx, b, signed); fault != nil || err != nil {
		return fault, err
	}
	if fault, err := w.accept(ctx, l, b, r.Hash); fault != nil || err != nil {
		return fault, err
	}
	subject := siteSubject()
	if lot != "" {
		subject = lotSubject(lot)
	}
	seq, _, err := b.append(entry.KindStatement, subject, entry.Statement{What: kind, Hash: r.Hash, Lot: lot, At: b.At})
	if err != nil {
		return nil, err
	}
	under, ord := reviewsRow, int64(0)
	switch {
	case ofRegister:
		under, ord = registerLot, change.ord
	case forVaults(kind):
		ord = seq // vaults are told of it in its turn
	}
	if _, err := b.Exec(ctx, sqlAddStatement, r.Hash[:], kind, ord, under, signed.Encode()); err != nil {
		return nil, fmt.Errorf("keeping the statement: %w", err)
	}
	return nil, nil
}

// Standing tells what a draft of a word must name: the site, its time, what is frozen now, and the policy in force; and what of it nobody can
// sign.
func (l *Ledger) Standing(ctx context.Context, _ bus.Empty) (bus.StandingReply, error) {
	r := bus.StandingReply{Env: l.site.env, Site: l.site.name, Now: l.now().UTC()}
	err := l.db.View(ctx, func(tx sqldb.Tx) error {
		all, err := readFrozen(ctx, tx)
		if err != nil {
			return err
		}
		r.Frozen = all.told()
		hash, err := policyInForce(ctx, tx)
		if err != nil {
			return err
		}
		p, err := readPolicy(ctx, tx, hash)
		r.Policy = policyTold(p)
		return err
	})
	if err != nil {
		return bus.StandingReply{}, fmt.Errorf("reading how the site stands: %w", err)
	}
	r.Unmanned = l.unmanned(ctx)
	return r, nil
}
