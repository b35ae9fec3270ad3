package ledger

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// This file says what keeps a lot waiting at the lines. The ledger knows no lines by itself, they are configuration: who asks names them.

// idleAfter is how long a lot that nothing is in work of goes without a new chip before its status asks for a reel: heads that have chips
// begin the next one within seconds.
const idleAfter = time.Minute

// unfinishedLot is a lot that a line may have in hand.
type unfinishedLot struct {
	name    perso.Name
	counts  counts
	product string
	begun   map[perso.Name]time.Time // by line: when a chip was last begun there
}

// AtLines adds to what a lot waits for what it waits for at the lines that may make it: a line that is frozen, one that has another lot in
// hand, heads that begin no chip. A lot that a line works on waits for nothing there.
func (l *Ledger) AtLines(ctx context.Context, r *bus.StatusReply, lines []perso.Name) error {
	if r.State != perso.LotReleased && r.State != perso.LotRunning {
		return nil
	}
	var all frozen
	if err := l.db.View(ctx, func(tx sqldb.Tx) (err error) { all, err = readFrozen(ctx, tx); return err }); err != nil {
		return err
	}
	if r.Open > 0 && len(all) == 0 {
		return nil // a head works
	}
	lots, err := l.unfinishedLots(ctx)
	if err != nil {
		return fmt.Errorf("looking at the lines of lot %q: %w", r.Lot, err)
	}
	i := slices.IndexFunc(lots, func(u unfinishedLot) bool { return u.name == r.Lot })
	if i < 0 {
		return nil
	}
	var here string
	if len(lots[i].begun) > 0 {
		here = lots[i].stands(all, r)
	} else if here, err = l.behind(ctx, lots, i, lines, all); err != nil {
		return err
	} else if r.Waits != "" && strings.HasPrefix(here, noChip) {
		here = "" // what it waits for is known
	}
	r.Waits = andAlso(r.Waits, here)
	return nil
}

// unfinishedLots lists the lots that lines have or will have in hand, in the order of their release, which is that of the queues.
func (l *Ledger) unfinishedLots(ctx context.Context) (lots []unfinishedLot, err error) {
	names, err := l.unfinished(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		lt, err := l.lot(ctx, name)
		if err != nil {
			return nil, err
		}
		if stocked, err := l.stocked(ctx, lt.release.Product); err != nil {
			return nil, err
		} else if !stocked {
			continue // no line hears of it
		}
		lots = append(lots, unfinishedLot{name: name, product: lt.release.Product})
	}
	err = l.db.View(ctx, func(tx sqldb.Tx) (err error) {
		for i := range lots {
			u := &lots[i]
			if u.counts, err = readCounts(ctx, tx, u.name); err != nil {
				return err
			}
			u.begun = map[perso.Name]time.Time{}
			if err := tx.Each(ctx, func(row sqldb.Row) error {
				var line perso.Name
				var at int64
				err := row.Scan((*string)(&line), &at)
				u.begun[line] = fromMicros(at)
				return err
			}, sqlLinesOf, string(u.name)); err != nil {
				return fmt.Errorf("looking for the lines of lot %q: %w", u.name, err)
			}
		}
		return nil
	})
	slices.SortStableFunc(lots, func(a, b unfinishedLot) int { return a.counts.created.Compare(b.counts.created) })
	return lots, err
}

// stands says why a lot that lines have in hand does not go on there.
func (u unfinishedLot) stands(all frozen, r *bus.StatusReply) string {
	var why, lines []string
	var last time.Time
	for line, at := range u.begun {
		lines = append(lines, string(line))
		if f := all.at(line); f != "" {
			why = append(why, f)
		}
		if at.After(last) {
			last = at
		}
	}
	slices.Sort(why)
	slices.Sort(lines)
	idle := r.Waits == "" && len(lines) > 0 && len(why) == 0 && u.counts.open == 0 && r.Now.Sub(last) > idleAfter
	if idle && u.counts.nextEID < u.counts.good+u.counts.spares {
		why = append(why, noneBegun(last, strings.Join(lines, ", "), u.product))
	}
	return strings.Join(why, "; ")
}

// noChip begins what is said of a line that begins none.
const noChip = "no chip was begun"

func noneBegun(since time.Time, where, product string) string {
	return fmt.Sprintf(noChip+" since %s at %s: the reel there is empty, and one of product %q is loaded, or the heads stand, and the line's console says why",
		since.Format(time.TimeOnly+"Z"), where, product)
}

// behind says why no line has begun a lot; nothing while a line is free to. A line keeps the lot that it has begun until that one is finished,
// and takes the others in the order of their release.
func (l *Ledger) behind(ctx context.Context, lots []unfinishedLot, of int, lines []perso.Name, all frozen) (string, error) {
	var why []string
	for _, line := range lines {
		holder := slices.IndexFunc(lots, func(u unfinishedLot) bool { return !u.begun[line].IsZero() })
		if holder < 0 {
			holder = 0
		}
		switch f := all.at(line); {
		case f != "" && holder == of:
			why = append(why, f)
		case holder == of:
			return l.free(ctx, lots[of], line)
		default:
			held, err := l.heldBy(ctx, lots[holder], line, all)
			if err != nil {
				return "", err
			}
			why = append(why, held)
		}
	}
	return strings.Join(why, "; "), nil
}

// free says that a line which is free to begin a lot does not, since the lot was released and the line was done with the one before.
func (l *Ledger) free(ctx context.Context, u unfinishedLot, line perso.Name) (string, error) {
	var done int64
	if err := l.db.View(ctx, func(tx sqldb.Tx) error { return tx.QueryRow(ctx, sqlLastCompleted).Scan(&done) }); err != nil {
		return "", fmt.Errorf("looking for the last lot that was completed: %w", err)
	}
	since := u.counts.created
	if last := fromMicros(done); last.After(since) {
		since = last
	}
	if l.now().Sub(since) <= idleAfter {
		return "", nil
	}
	return noneBegun(since, string(line), u.product), nil
}

// heldBy says which lot a line has in hand, and what that one waits for.
func (l *Ledger) heldBy(ctx context.Context, u unfinishedLot, line perso.Name, all frozen) (string, error) {
	s, err := l.statusOf(ctx, u.name, 0)
	if err != nil {
		return "", err
	}
	said := fmt.Sprintf("%s has lot %s in hand until that one is finished", line, u.name)
	if u.begun[line].IsZero() {
		said = fmt.Sprintf("lot %s was released before it, and %s takes that one first", u.name, line)
	}
	here := u.stands(all, &s)
	if u.begun[line].IsZero() {
		here = all.at(line)
	}
	if w := andAlso(s.Waits, here); w != "" {
		said += ", which waits: " + w
	}
	return said, nil
}
