package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// A unit whose verdict never comes keeps its lot from closing: the vault refuses its act for good, its release has expired, its
// chip fell off the belt. Two officers give it up: their word is logged and the claim goes no further; the vault answers the
// word with a receipt; only that ends the claim, as lost, or as good when the vault had called it good before. Each step can
// be asked for again.

// Abandoner is a vault that gives units up by officers' word. A Vault that is none refuses.
type Abandoner interface {
	Abandon(ctx context.Context, q bus.AbandonRequest) (bus.AbandonReply, error)
}

// ordLost is the place of losses among the statements about a lot.
const ordLost = 5

// lossRow is what is on record about a unit that officers gave up.
type lossRow struct {
	hash    []byte // of the statement
	seq     int64  // of its log entry
	receipt []byte // the vault's answer; nil while there is none
	good    bool
}

func readLoss(ctx context.Context, tx sqldb.Tx, w statement.Lost) (r lossRow, found bool, err error) {
	err = tx.QueryRow(ctx, sqlLoss, string(w.Lot), int64(w.Unit), int64(w.Gen)).Scan(&r.hash, &r.seq, &r.receipt, &r.good)
	if errors.Is(err, sqldb.ErrNoRows) {
		return r, false, nil
	}
	if err != nil {
		return r, false, fmt.Errorf("reading the loss of unit %d: %w", w.Unit, err)
	}
	return r, true, nil
}

// Lose gives a unit up on two officers' word. Asked again it goes on where it was.
func (l *Ledger) Lose(ctx context.Context, q bus.SignedRequest) (bus.LoseReply, error) {
	signed, w, err := readSigned(q, statement.ParseLost)
	if err != nil {
		return bus.LoseReply{}, err
	}
	a, err := l.lose(ctx, signed, w)
	if err != nil {
		return bus.LoseReply{}, fmt.Errorf("giving up unit %d of lot %q: %w", w.Unit, w.Lot, err)
	}
	l.troubles.ended(w.Chip.String())
	return bus.LoseReply{Lot: w.Lot, Unit: w.Unit, Good: a.Good, Receipt: a.Receipt}, nil
}

func (l *Ledger) lose(ctx context.Context, signed statement.Signed, w statement.Lost) (a bus.AbandonReply, err error) {
	lt, err := l.lot(ctx, w.Lot)
	if err != nil {
		return a, err
	}
	at, err := l.ownerOf(ctx, lt)
	if err != nil {
		return a, err
	}
	vault, ok := at.vault.(Abandoner)
	if !ok {
		return a, bus.Refuse(bus.FaultRefused, "its vault gives no units up")
	}
	var fault error
	// INTENT: the word is in the log, and the claim goes no further, before the vault hears of it.
	err = l.commit(ctx, func(ctx context.Context, b *Batch) (err error) {
		fault, err = l.orderLoss(ctx, b, lt, signed, w)
		return err
	})
	if err = errors.Join(err, fault); err != nil {
		return a, err
	}
	if a, err = l.askToAbandon(ctx, lt, at, vault, signed, w); err != nil {
		return a, err
	}
	// OUTCOME: what the vault answered.
	return a, l.commit(ctx, func(ctx context.Context, b *Batch) error { return l.settleLoss(ctx, b, lt, signed, w, a) })
}

// orderLoss takes the officers' word in.
func (l *Ledger) orderLoss(ctx context.Context, b *Batch, lt *lot, signed statement.Signed, w statement.Lost) (fault, err error) {
	hash := signed.Hash()
	known, found, err := readLoss(ctx, b, w)
	if err != nil {
		return nil, err
	}
	if found {
		if string(known.hash) != string(hash[:]) {
			return bus.Refuse(bus.FaultConflict, "another statement gave it up already"), nil
		}
		return nil, nil
	}
	if fault, err := l.authorized(ctx, b, signed); fault != nil || err != nil {
		return fault, err
	}
	c, ok, err := findClaim(ctx, b, sqlClaim, string(w.Lot), int64(w.Unit), int64(w.Gen))
	if err != nil {
		return nil, err
	}
	if !ok {
		return bus.Refuse(bus.FaultRefused, "generation %d of it was never begun", w.Gen), nil
	}
	if fault, err := l.mayLose(ctx, b, lt, c, w); fault != nil || err != nil {
		return fault, err
	}
	n, err := b.Exec(ctx, sqlClaimGiveUp, string(c.lot), int64(c.unit), int64(c.gen))
	if err == nil {
		err = endSessions(ctx, b, c)
	}
	if err != nil {
		return nil, fmt.Errorf("giving up the claim: %w", err)
	}
	b.erased = b.erased || n > 0 && len(c.stored.Pair) > 0
	seq, _, err := b.append(entry.KindStatement, unitSubject(w.Lot, w.Unit), entry.Statement{What: statement.KindLost, Hash: hash, Lot: w.Lot, At: b.At})
	if err != nil {
		return nil, err
	}
	if _, err := b.Exec(ctx, sqlAddStatement, hash[:], statement.KindLost, int64(ordLost), string(w.Lot), signed.Encode()); err != nil {
		return nil, err
	}
	_, err = b.Exec(ctx, sqlAddLoss, string(w.Lot), int64(w.Unit), int64(w.Gen), hash[:], seq, w.Chip.Bytes(), string(w.Fate), c.state == perso.UnitGood)
	return nil, err
}

// mayLose holds the statement against the claim on record. A unit that is good may be given up too, while its chip lies in no bin:
// it is then accounted for where the statement says, and handed to nobody.
func (l *Ledger) mayLose(ctx context.Context, b *Batch, lt *lot, c claimRow, w statement.Lost) (fault, err error) {
	n, err := readCounts(ctx, b, w.Lot)
	if err != nil {
		return nil, err
	}
	_, body, err := b.entry(ctx, c.seq)
	if err != nil {
		return nil, err
	}
	s, _, err := lastSession(ctx, b, c)
	if err != nil {
		return nil, err
	}
	refuse := func(format string, a ...any) (error, error) { return bus.Refuse(bus.FaultRefused, format, a...), nil }
	switch {
	case w.Env != l.site.env || w.Site != l.site.name:
		return refuse("the statement is for site %s (%s)", w.Site, w.Env)
	case w.Release != lt.hash || w.Claim != entry.Hash(body) || w.Index != c.index || w.EID != c.eid || w.Chip != c.chip:
		return refuse("the statement names another release or claim; draft it anew")
	case n.state == perso.LotClosed:
		return refuse("the lot is closed: its counts are signed")
	case c.state == perso.UnitLost:
		return refuse("chip %s is on record as lost already, by log entry %d", c.chip, c.outcome)
	case w.Session != s:
		return refuse("chip %s opened another session since the statement was drafted; look again whether it is lost", c.chip)
	}
	stays, err := goodStays(ctx, b, c)
	if stays == "" || err != nil {
		return nil, err
	}
	return refuse("%s", stays)
}

// goodStays says why a unit that is good cannot be given up; it is empty of any other.
func goodStays(ctx context.Context, tx sqldb.Tx, c claimRow) (why string, err error) {
	if c.state != perso.UnitGood {
		return "", nil
	}
	var inBin int64
	if err := tx.QueryRow(ctx, sqlInBins, string(c.lot), c.chip.Bytes()).Scan(&inBin); err != nil {
		return "", fmt.Errorf("looking whether chip %s lies in a bin: %w", c.chip, err)
	}
	exported, err := handedOut(ctx, tx, c.lot)
	switch {
	case err != nil:
		return "", err
	case inBin > 0:
		return fmt.Sprintf("chip %s is good and lies in the good bin", c.chip), nil
	case exported:
		return fmt.Sprintf("chip %s is good, and its unit was handed out with its lot's export", c.chip), nil
	}
	return "", nil
}

// lastSession is the last that a claim's chip opened, with the number of its last act.
func lastSession(ctx context.Context, tx sqldb.Tx, c claimRow) (s perso.Session, n uint8, err error) {
	var b []byte
	err = tx.QueryRow(ctx, sqlNewestSession, string(c.lot), int64(c.unit), int64(c.gen)).Scan(&b, &n)
	if err != nil {
		return s, 0, fmt.Errorf("looking for the last session of chip %s: %w", c.chip, err)
	}
	copy(s[:], b)
	return s, n, nil
}

// askToAbandon hands the vault what it checks for itself.
func (l *Ledger) askToAbandon(ctx context.Context, lt *lot, d *door, vault Abandoner, signed statement.Signed, w statement.Lost) (a bus.AbandonReply, err error) {
	t, note, err := l.Signed(ctx)
	if err == nil {
		err = l.show(ctx, d, t, note)
	}
	q := bus.AbandonRequest{Lot: w.Lot, Lost: signed.Encode(), Checkpoint: note}
	if err == nil {
		q.Register, err = l.tell(ctx, d)
	}
	if err != nil {
		return a, err
	}
	err = l.db.View(ctx, func(tx sqldb.Tx) error {
		loss, found, err := readLoss(ctx, tx, w)
		if err != nil || !found {
			return errors.Join(err, missing(found, "the loss of a unit, session", w.Session))
		}
		c, found, err := findClaim(ctx, tx, sqlClaim, string(w.Lot), int64(w.Unit), int64(w.Gen))
		if err != nil || !found {
			return errors.Join(err, missing(found, "the claim of session", w.Session))
		}
		for _, p := range []struct {
			seq int64
			to  *bus.Proven
		}{{c.seq, &q.Claim}, {loss.seq, &q.Ordered}} {
			_, body, err := readEntry(ctx, tx, p.seq)
			if err == nil {
				*p.to, err = prove(ctx, tx, t, p.seq, body)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return a, err
	}
	err = l.withLot(ctx, lt, d, t, note, func() (err error) {
		a, err = vault.Abandon(ctx, q)
		return err
	})
	return a, err
}

// settleLoss ends the claim as the vault's receipt says.
func (l *Ledger) settleLoss(ctx context.Context, b *Batch, lt *lot, signed statement.Signed, w statement.Lost, r bus.AbandonReply) error {
	loss, found, err := readLoss(ctx, b, w)
	if err != nil || !found || loss.receipt != nil {
		return errors.Join(err, missing(found, "the loss of a unit, session", w.Session))
	}
	c, found, err := findClaim(ctx, b, sqlClaim, string(w.Lot), int64(w.Unit), int64(w.Gen))
	if err != nil || !found {
		return errors.Join(err, missing(found, "the claim of session", w.Session))
	}
	e, err := entry.ParseReceipt(r.Receipt)
	if err != nil {
		return fmt.Errorf("reading the vault's receipt: %w", err)
	}
	abandoned := !r.Good && e.Result == entry.ResultAbandoned && e.Responses == signed.Hash() && e.Session == w.Session && c.state != perso.UnitGood
	good := r.Good && e.Result == entry.ResultGood // by any session of the claim: the chip may have opened another one since
	if e.Lot != w.Lot || e.Unit != w.Unit || e.Gen != w.Gen || e.Claim != w.Claim || !abandoned && !good {
		return fmt.Errorf("%w: the vault's receipt %d (%s) does not answer the statement", ErrRefused, e.Seq, clean(e.Result))
	}
	if c.state != perso.UnitGood {
		a := &act{l: l, lot: lt, claim: c, q: bus.ActRequest{Lot: w.Lot, Session: w.Session, Present: c.at}, result: bus.ServeResult{Receipt: r.Receipt}}
		if good {
			err = a.good(ctx, b)
		} else {
			err = a.reject(ctx, b, bus.Failed{Reason: perso.ReasonAbandoned})
		}
		if err != nil {
			return err
		}
	}
	if _, err := b.Exec(ctx, sqlLossSettled, string(w.Lot), int64(w.Unit), int64(w.Gen), r.Receipt, good); err != nil {
		return fmt.Errorf("keeping the vault's receipt: %w", err)
	}
	return nil
}

// fates is where the chips of a lot's units are that officers gave up and no head binned.
type fates struct {
	rejectLive, missing uint64
	good                uint64 // of both, those that the vault had called good
	unanswered          uint64 // statements that the vault has not answered
}

func readFates(ctx context.Context, tx sqldb.Tx, lot perso.Name) (f fates, err error) {
	err = tx.Each(ctx, func(row sqldb.Row) error {
		var fate string
		var good bool
		var n, answered int64
		if err := row.Scan(&fate, &good, &n, &answered); err != nil {
			return err
		}
		if statement.Fate(fate) == statement.FateMissing {
			f.missing += uint64(n)
		} else {
			f.rejectLive += uint64(n)
		}
		if good {
			f.good += uint64(n)
		}
		f.unanswered += uint64(n - answered)
		return nil
	}, sqlFates, string(lot))
	if err != nil {
		return f, fmt.Errorf("counting the units of lot %q that were given up: %w", lot, err)
	}
	return f, nil
}
