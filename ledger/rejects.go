package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/statement"
)

// rejectsWord is two officers' word that live rejects are no more.
type rejectsWord struct{ statement.Rejects }

func (w rejectsWord) about() (perso.Env, perso.Name, perso.Name) { return w.Env, w.Site, w.Lot }

func (w rejectsWord) accept(ctx context.Context, l *Ledger, b *Batch, hash [32]byte) (fault, err error) {
	lt, n, fault, err := l.readStanding(ctx, b, w.Lot)
	if fault != nil || err != nil {
		return fault, err
	}
	if n.state != perso.LotClosed {
		return bus.Refuse(bus.FaultRefused, "lot %s is not closed: its rejects are not counted", w.Lot), nil
	}
	if fault, err := b.mayGoOn(ctx, lt); fault != nil || err != nil {
		return fault, err
	}
	from := map[perso.Account]uint64{}
	for _, c := range w.Chips {
		a, err := rejectIn(ctx, b, w.Lot, c)
		if err != nil {
			return nil, err
		}
		if a == "" {
			return bus.Refuse(bus.FaultRefused, "chip %s is no live reject of lot %s, or was destroyed before", c, w.Lot), nil
		}
		from[a]++
	}
	for _, a := range []perso.Account{perso.AccountRejectLive, perso.AccountMissing, perso.AccountSample} {
		there, err := holds(ctx, b, lt.release.Product, "", a)
		if err != nil {
			return nil, err
		}
		if there < int64(from[a]) { // a lot that quality did not accept was closed when its good chips still stayed booked as good
			return bus.Refuse(bus.FaultRefused, "account %s holds %d chips of product %s, the list takes %d out of it", a, there, lt.release.Product, from[a]), nil
		}
		if err := post(ctx, b, posting{lt.release.Product, "", a, perso.AccountDestroyed, from[a]}); err != nil {
			return nil, err
		}
	}
	for _, c := range w.Chips {
		if _, err := b.Exec(ctx, sqlAddDestroyed, c.Bytes(), hash[:]); err != nil {
			return nil, fmt.Errorf("listing chip %s as destroyed: %w", c, err)
		}
	}
	return nil, nil
}

// rejectIn says where a lot's live reject is in the books: among the live rejects, or, where officers signed that nobody found it,
// among what is missing. A sample that failed is one, and one that quality keeps may be destroyed too; of a lot that quality did not accept
// every good chip is one. It is empty for any other chip, and for one that was destroyed.
func rejectIn(ctx context.Context, tx sqldb.Tx, lot perso.Name, chip id.ChipID) (perso.Account, error) {
	c, found, err := findClaim(ctx, tx, sqlClaimOfChip, chip.Bytes())
	if err != nil || !found || c.lot != lot {
		return "", err
	}
	err = tx.QueryRow(ctx, sqlDestroyed, chip.Bytes()).Scan(new([]byte))
	if err == nil {
		return "", nil
	}
	if !errors.Is(err, sqldb.ErrNoRows) {
		return "", fmt.Errorf("looking whether chip %s was destroyed: %w", chip, err)
	}
	drawn, err := readSamples(ctx, tx, lot)
	if err != nil {
		return "", err
	}
	rejected := drawn.state == samplesRejected
	var fate, bin, sample string
	err = tx.QueryRow(ctx, sqlSampleResult, chip.Bytes()).Scan(&sample)
	switch {
	case err != nil && !errors.Is(err, sqldb.ErrNoRows):
		return "", fmt.Errorf("looking whether chip %s is a sample: %w", chip, err)
	case sample == sampleFailed:
		return perso.AccountRejectLive, nil
	case sample == sampleKept && !rejected:
		return perso.AccountSample, nil
	}
	err = tx.QueryRow(ctx, sqlFateOf, chip.Bytes()).Scan(&fate, &bin)
	switch {
	case errors.Is(err, sqldb.ErrNoRows):
		if c.state == perso.UnitLost || rejected && c.state == perso.UnitGood {
			return perso.AccountRejectLive, nil
		}
		return "", nil
	case err != nil:
		return "", fmt.Errorf("looking where chip %s is: %w", chip, err)
	case rejected && (perso.Verdict(bin) == perso.VerdictGood || perso.Verdict(bin) == perso.VerdictSample):
		return perso.AccountRejectLive, nil
	case bin != "" && perso.Verdict(bin) != perso.VerdictRejectLive:
		return "", nil
	case bin == "" && fate == string(statement.FateMissing):
		return perso.AccountMissing, nil
	}
	return perso.AccountRejectLive, nil
}

// Rejects lists the live rejects of a lot that were not destroyed yet; of those that are missing none. Of a lot that is counted blind it is
// refused until people have counted: how many lie in the locked bin is what they must not be told.
func (l *Ledger) Rejects(ctx context.Context, q bus.LotRequest) (bus.RejectsReply, error) {
	lt, err := l.lot(ctx, q.Lot)
	if err != nil {
		return bus.RejectsReply{}, err
	}
	r := bus.RejectsReply{Env: l.site.env, Site: l.site.name, Now: l.now().UTC()}
	hidden := false
	err = l.db.View(ctx, func(tx sqldb.Tx) error {
		n, err := readCounts(ctx, tx, lt.name)
		if err != nil {
			return err
		}
		if hidden = false; lt.policy.Blind && n.state != perso.LotClosed {
			if hidden, err = uncounted(ctx, tx, lt.name); hidden || err != nil {
				return err
			}
		}
		var lost []id.ChipID
		if err := tx.Each(ctx, func(row sqldb.Row) error {
			var raw []byte
			if err := row.Scan(&raw); err != nil {
				return err
			}
			c, err := id.ChipIDFromBytes(raw)
			lost = append(lost, c)
			return err
		}, sqlLostChips, string(lt.name)); err != nil {
			return err
		}
		r.Chips = nil
		for _, c := range statement.InOrder(lost) {
			a, err := rejectIn(ctx, tx, lt.name, c)
			if err != nil {
				return err
			}
			if a == perso.AccountRejectLive {
				r.Chips = append(r.Chips, c.String())
			}
		}
		return nil
	})
	if err != nil {
		return bus.RejectsReply{}, fmt.Errorf("listing the rejects of lot %q: %w", q.Lot, err)
	}
	if hidden {
		return bus.RejectsReply{}, bus.Refuse(bus.FaultRefused, "lot %s is counted blind, and people have not counted: its rejects are listed when they have", q.Lot)
	}
	if len(r.Chips) > statement.MaxRejects {
		r.More, r.Chips = uint64(len(r.Chips)-statement.MaxRejects), r.Chips[:statement.MaxRejects]
	}
	return r, nil
}
