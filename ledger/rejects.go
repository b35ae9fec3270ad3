package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
	from, fault, err := w.takes(ctx, b)
	if fault != nil || err != nil {
		return fault, err
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
	for _, c := range statement.InOrder(w.Chips) {
		if _, err := b.Exec(ctx, sqlAddDestroyed, c.Bytes(), hash[:]); err != nil {
			return nil, fmt.Errorf("listing chip %s as destroyed: %w", c, err)
		}
	}
	return nil, nil
}

// takes says how many pieces the list takes out of which account. It refuses one that names a chip that is no reject, or an id otherwise than
// as often as there are pieces.
func (w rejectsWord) takes(ctx context.Context, b *Batch) (from map[perso.Account]uint64, fault, err error) {
	rejected, err := notAccepted(ctx, b, w.Lot)
	if err != nil {
		return nil, nil, err
	}
	several, err := readPieces(ctx, b, w.Lot)
	if err != nil {
		return nil, nil, err
	}
	from = map[perso.Account]uint64{}
	for _, c := range statement.InOrder(w.Chips) {
		a, err := rejectIn(ctx, b, w.Lot, c, rejected)
		if err != nil {
			return nil, nil, err
		}
		if a == "" {
			return nil, bus.Refuse(bus.FaultRefused, "chip %s is no live reject of lot %s, or was destroyed before", c, w.Lot), nil
		}
		there, listed := several.of(c, a), w.Pieces(c)
		if listed != there {
			return nil, bus.Refuse(bus.FaultRefused, "pieces of chip id %s in lot %s: %d on record, %d in the list; an id is named once for each, and all are destroyed together", c, w.Lot, there, listed), nil
		}
		from[a] += there
	}
	return from, nil, nil
}

// spoilt is what is on record about a chip that may be a live reject.
type spoilt struct {
	chip      id.ChipID
	state     perso.UnitState // of its claim
	sample    string          // what became of it as a sample; empty when it is none
	fate, bin string          // of a unit that was given up, and where its chip was put afterwards; both empty of any other
	destroyed bool
}

func scanSpoilt(row sqldb.Row) (s spoilt, err error) {
	var raw []byte
	var destroyed int64
	if err := row.Scan(&raw, (*string)(&s.state), &s.sample, &s.fate, &s.bin, &destroyed); err != nil {
		return s, err
	}
	s.destroyed = destroyed > 0
	s.chip, err = id.ChipIDFromBytes(raw)
	return s, err
}

// account says where a lot's live reject is in the books: among the live rejects, or, where officers signed that nobody found it,
// among what is missing. A sample that failed is one, and one that quality keeps may be destroyed too; of a lot that quality did not accept
// every good chip is one. It is empty for any other chip, and for one that was destroyed.
func (s spoilt) account(rejectedLot bool) perso.Account {
	bin := perso.Verdict(s.bin)
	good := s.state == perso.UnitGood
	if s.fate != "" {
		good = bin == perso.VerdictGood || bin == perso.VerdictSample
	}
	switch {
	case s.destroyed:
		return ""
	case s.sample == sampleFailed:
		return perso.AccountRejectLive
	case s.sample == sampleKept && !rejectedLot:
		return perso.AccountSample
	case rejectedLot && good:
		return perso.AccountRejectLive
	case s.fate == "" && s.state == perso.UnitLost:
		return perso.AccountRejectLive
	case s.fate == "":
		return ""
	case bin != "" && bin != perso.VerdictRejectLive:
		return ""
	case bin == "" && s.fate == string(statement.FateMissing):
		return perso.AccountMissing
	}
	return perso.AccountRejectLive
}

// pieces are the chip ids under which a head put more than one piece among the live rejects of a lot, and how many: the chip's maker gave two
// chips one id, so that one claim stands for both.
type pieces map[id.ChipID]uint64

func readPieces(ctx context.Context, tx sqldb.Tx, lot perso.Name) (pieces, error) {
	p := pieces{}
	err := tx.Each(ctx, func(row sqldb.Row) error {
		var raw []byte
		var n int64
		if err := row.Scan(&raw, &n); err != nil {
			return err
		}
		chip, err := id.ChipIDFromBytes(raw)
		p[chip] = uint64(n)
		return err
	}, sqlLivePieces, string(lot))
	if err != nil {
		return nil, fmt.Errorf("counting pieces among the live rejects of lot %q: %w", lot, err)
	}
	return p, nil
}

// of is how many pieces of a chip's id an account has.
func (p pieces) of(chip id.ChipID, a perso.Account) uint64 {
	if a == perso.AccountRejectLive {
		return max(p[chip], 1)
	}
	return 1
}

// notAccepted says whether quality did not accept the samples of a lot.
func notAccepted(ctx context.Context, tx sqldb.Tx, lot perso.Name) (bool, error) {
	drawn, err := readSamples(ctx, tx, lot)
	return drawn.state == samplesRejected, err
}

// rejectIn says so of one chip.
func rejectIn(ctx context.Context, tx sqldb.Tx, lot perso.Name, chip id.ChipID, rejectedLot bool) (perso.Account, error) {
	s, err := scanSpoilt(tx.QueryRow(ctx, sqlSpoilt, string(lot), chip.Bytes()))
	if errors.Is(err, sqldb.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("looking whether chip %s is a reject: %w", chip, err)
	}
	return s.account(rejectedLot), nil
}

// liveRejects lists those of a lot that are among the live rejects, piece by piece in the order of their bytes.
func liveRejects(ctx context.Context, tx sqldb.Tx, lot perso.Name) (chips []id.ChipID, err error) {
	rejected, err := notAccepted(ctx, tx, lot)
	if err != nil {
		return nil, err
	}
	several, err := readPieces(ctx, tx, lot)
	if err != nil {
		return nil, err
	}
	err = tx.Each(ctx, func(row sqldb.Row) error {
		s, err := scanSpoilt(row)
		if a := s.account(rejected); err == nil && a == perso.AccountRejectLive {
			chips = append(chips, slices.Repeat([]id.ChipID{s.chip}, int(several.of(s.chip, a)))...)
		}
		return err
	}, sqlAllSpoilt, string(lot))
	return statement.Pieces(chips), err
}

// Rejects lists the live rejects of a lot that were not destroyed yet, piece by piece; of those that are missing none. Of a lot that is counted blind it is
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
		lost, err := liveRejects(ctx, tx, lt.name)
		if err != nil {
			return err
		}
		r.Chips = nil
		for _, c := range lost {
			r.Chips = append(r.Chips, c.String())
		}
		return nil
	})
	if err != nil {
		return bus.RejectsReply{}, fmt.Errorf("listing the rejects of lot %q: %w", q.Lot, err)
	}
	if hidden {
		return bus.RejectsReply{}, bus.Refuse(bus.FaultRefused, "lot %s is counted blind, and people have not counted: its rejects are listed when they have", q.Lot)
	}
	r.Chips, r.More = oneList(r.Chips, statement.MaxRejects)
	return r, nil
}

// oneList is what fits one list of at most so many pieces, and how many are left for another. Those of one id stay together.
func oneList(chips []string, most int) (list []string, more uint64) {
	if len(chips) <= most {
		return chips, 0
	}
	cut := most
	for cut > 0 && chips[cut-1] == chips[cut] {
		cut--
	}
	return chips[:cut], uint64(len(chips) - cut)
}
