package ledger

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// This file says what a lot waits for that people do, and by which command: the reasons for which its heads are held (lineside/STATES.md)
// are known at the heads only, and who looks after a lot looks at its status.

// waitsFor says what keeps a released lot from being made: a release that has expired, a vault that is away, chips that nobody received, or
// what nobody has signed or booked yet.
func (l *Ledger) waitsFor(ctx context.Context, lt *lot, r *bus.StatusReply) (string, error) {
	if r.Short || !r.Now.Before(lt.release.Expires) {
		what := "count the bins, and it ends short"
		if r.Open > 0 {
			what = fmt.Sprintf("%d units in work end by a verdict that is due, or by two officers' word (perso lot in-work)", r.Open)
		}
		if r.Short {
			return fmt.Sprintf("two officers ended it short, and no unit begins any more: %s", what), nil
		}
		return fmt.Sprintf("the release expired %s, and no unit begins any more: %s", lt.release.Expires.Format(time.RFC3339), what), nil
	}
	if w := l.waits(r.Vault); w != "" {
		return w, nil
	}
	stocked, err := l.stocked(ctx, lt.release.Product)
	if err != nil {
		return "", err
	}
	var all []string
	if !stocked {
		all = append(all, fmt.Sprintf("no reel of product %q was received: no line hears of the lot before", lt.release.Product))
	}
	err = l.db.View(ctx, func(tx sqldb.Tx) error {
		people, err := waitsForPeople(ctx, tx, lt, r.Now)
		all = append(all, people...)
		return err
	})
	if err == nil && len(all) == 0 && r.Open == 0 {
		return l.usedUp(ctx, lt)
	}
	return strings.Join(all, "; "), err
}

// usedUp says that a lot that no chips are issued to has none left of those that were received of its product. How many there
// were is not told: of a lot that is counted blind that is the sum of its bins. Chips that came back are there again.
func (l *Ledger) usedUp(ctx context.Context, lt *lot) (string, error) {
	n, names, err := l.unclosed(ctx, lt.name)
	if err != nil {
		return "", err
	}
	var users []perso.Name
	for _, name := range names {
		other, err := l.lot(ctx, name)
		if err != nil {
			return "", err
		}
		if other.release.Product == lt.release.Product {
			users = append(users, name)
		}
	}
	say := ""
	err = l.db.View(ctx, func(tx sqldb.Tx) error {
		if n.issued > 0 { // waitsForPeople says when those are taken
			return nil
		}
		var left int64
		if err := tx.QueryRow(ctx, sqlBlankLeft, lt.release.Product).Scan(&left); err != nil {
			return fmt.Errorf("counting the chips of product %q: %w", lt.release.Product, err)
		}
		for _, name := range users {
			used, err := usedBy(ctx, tx, name)
			if err != nil {
				return err
			}
			left -= used
		}
		if left <= 0 {
			say = fmt.Sprintf("the reel is empty, all chips of product %q that were received are used up: 'perso chips receive' another reel, and load it", lt.release.Product)
		}
		return nil
	})
	return say, err
}

// unclosed reads a lot's counts, and the names of all lots that are not closed.
func (l *Ledger) unclosed(ctx context.Context, name perso.Name) (n counts, names []perso.Name, err error) {
	err = l.db.View(ctx, func(tx sqldb.Tx) (err error) {
		if n, err = readCounts(ctx, tx, name); err != nil {
			return err
		}
		names = nil
		return tx.Each(ctx, func(row sqldb.Row) error {
			var lot perso.Name
			err := row.Scan((*string)(&lot))
			names = append(names, lot)
			return err
		}, sqlUnclosedLots)
	})
	return n, names, err
}

// usedBy counts the chips that a lot took and did not give back.
func usedBy(ctx context.Context, tx sqldb.Tx, name perso.Name) (int64, error) {
	n, err := readCounts(ctx, tx, name)
	if err != nil {
		return 0, err
	}
	taken, err := takenChips(ctx, tx, name, n)
	if err != nil {
		return 0, err
	}
	bins, err := readBins(ctx, tx, name)
	return int64(taken) - int64(bins[perso.VerdictReturn]), err
}

// waitsForPeople lists what the lot's policy asks of people before a chip begins, in the order in which heads are held for it, and what
// officers began and did not end.
func waitsForPeople(ctx context.Context, tx sqldb.Tx, lt *lot, now time.Time) (all []string, err error) {
	n, err := readCounts(ctx, tx, lt.name)
	if err != nil {
		return nil, err
	}
	p := lt.policy
	if p.Clearance {
		var lines int64
		if err := tx.QueryRow(ctx, sqlClearedFor, string(lt.name)).Scan(&lines); err != nil {
			return nil, fmt.Errorf("looking for lines cleared for lot %q: %w", lt.name, err)
		}
		if lines == 0 {
			all = append(all, fmt.Sprintf("no line was cleared for it: empty and inspect the line, then 'perso lot draft-clearance %s --line LINE', 'perso officer sign' and 'perso hand-in'", lt.name))
		}
	}
	taken, err := takenChips(ctx, tx, lt.name, n)
	switch {
	case err != nil:
		return nil, err
	case p.Issue && n.issued == 0:
		all = append(all, fmt.Sprintf("no chips were issued to it: 'perso chips issue --reel REEL --lot %s --by NAME'", lt.name))
	case n.issued > 0 && taken >= n.issued && lt.beginsMore(n, now):
		all = append(all, fmt.Sprintf("all chips that were issued to it are taken, and %d of %d units are good or in work: 'perso chips issue --reel REEL --lot %s --chips N --by NAME'",
			n.made+n.open, n.good, lt.name))
	}
	if p.FirstArticle > 0 && !n.approved && n.made >= p.FirstArticle {
		all = append(all, waitsFirstArticle(lt.name, n.made))
	}
	given, err := readFates(ctx, tx, lt.name)
	if err == nil && given.unanswered > 0 {
		all = append(all, fmt.Sprintf("%d units were given up, and the vault has not answered: hand the statements in again, 'perso lot lose'", given.unanswered))
	}
	return all, err
}

// waitsToClose says what people sign before a complete lot is counted and closed. What else keeps it from closing is in its blocks.
func waitsToClose(r *bus.StatusReply) string {
	var all []string
	if r.Policy.FirstArticle > 0 && !r.Approved {
		all = append(all, waitsFirstArticle(r.Lot, r.Good))
	}
	if r.Samples != nil && r.Samples.State == samplesDue {
		all = append(all, fmt.Sprintf("%s: when all chips are in their bins, 'perso lot draft-samples %s', 'perso officer sign' and 'perso hand-in'", blockSamples, r.Lot))
	}
	if r.Samples != nil && r.Samples.State == samplesRejected {
		all = append(all, fmt.Sprintf("%s. Count and close it ('perso lot count', 'perso lot draft-close %s'); then %s", blockSamplesRejected, r.Lot, afterRejection(r.Lot)))
	}
	return strings.Join(all, "; ")
}

// waitsNotAccepted says what is still to do about a closed lot that quality did not accept.
func waitsNotAccepted(lot perso.Name) string {
	return fmt.Sprintf("%s. Unless it was done: %s", blockSamplesRejected, afterRejection(lot))
}

func afterRejection(lot perso.Name) string {
	return fmt.Sprintf("destroy all its chips ('perso chips draft-destroy %s'), and submit a new order for the units", lot)
}

func waitsFirstArticle(lot perso.Name, made uint64) string {
	return fmt.Sprintf("%s, and %d chips are good: quality examines them, then 'perso lot draft-first-article %s', 'perso officer sign' and 'perso hand-in'", blockFirstArticle, made, lot)
}

// andAlso puts what stands in the way of all else before what else a lot waits for.
func andAlso(first, then string) string {
	if first == "" || then == "" {
		return first + then
	}
	return first + "; " + then
}
