package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
)

// Present judges a contact without a session: mute, bad contact, wrong ATR, no identification.
func (l *Ledger) Present(ctx context.Context, q bus.PresentRequest) (bus.ActReply, error) {
	lt, err := l.lot(ctx, q.Lot)
	if err != nil {
		return bus.ActReply{}, err
	}
	a := &act{l: l, lot: lt, q: bus.ActRequest{Lot: q.Lot, Present: q.Present}}
	if len(q.Chip) > 0 {
		if a.chip, err = id.ChipIDFromBytes(q.Chip); err != nil {
			return bus.ActReply{}, bus.Refuse(bus.FaultBadMessage, "presentation %s: %v", q.Present, err)
		}
	}
	if err := l.commit(ctx, func(ctx context.Context, b *Batch) error { return a.present(ctx, b, q) }); err != nil {
		return bus.ActReply{}, fmt.Errorf("judging presentation %s: %w", q.Present, err)
	}
	return l.answer(ctx, a.decision)
}

func (a *act) present(ctx context.Context, b *Batch, q bus.PresentRequest) error {
	a.decision = decision{}
	known, found, err := findPresentation(ctx, b, q.Present)
	if err != nil {
		return err
	}
	if found && known.seq > 0 {
		return a.repeatVerdict(ctx, b, known)
	}
	c, claimed, err := a.underHead(ctx, b)
	switch {
	case err != nil:
		return err
	case q.Tries < maxPlainTries && q.Reason != perso.ReasonATR:
		f, err := presentFinding(ctx, b, a.lot.name, q.Present, a.chip, perso.VerdictRecontact, q.Reason)
		a.reply = say(f.verdict, f.reason, "contact the same chip again")
		return err
	case claimed && c.state == perso.UnitOpen:
		a.claim, a.chip = c, c.chip
		return a.reject(ctx, b, bus.Failed{Reason: q.Reason})
	case claimed:
		a.chip = c.chip
		return a.onRecord(ctx, b, c.outcome, perso.ReasonNone)
	}
	return a.give(ctx, b, perso.VerdictRejectBlank, q.Reason)
}

func (a *act) repeatVerdict(ctx context.Context, b *Batch, known presentRow) error {
	f, err := readFinding(ctx, b, known.seq)
	if err != nil {
		return err
	}
	if f.verdict.Final() {
		a.final = &f
	} else {
		a.reply = say(f.verdict, f.reason, "")
	}
	return nil
}

// underHead finds the claim of the chip that still lies under the head: the one presented last there and not binned. A
// chip that went mute can't say who it is.
func (a *act) underHead(ctx context.Context, b *Batch) (claimRow, bool, error) {
	chip := a.chip.Bytes()
	if a.chip.IsZero() {
		var number int64
		var verdict, bin string
		err := b.QueryRow(ctx, sqlAtHead, string(a.q.Present.Line), int64(a.q.Present.Head), string(a.lot.name)).Scan(&number, &chip, &verdict, &bin)
		if errors.Is(err, sqldb.ErrNoRows) || err == nil && (bin != "" || len(chip) == 0) {
			return claimRow{}, false, nil
		}
		if err != nil {
			return claimRow{}, false, fmt.Errorf("looking for the chip under %s: %w", a.q.Present, err)
		}
	}
	c, found, err := findClaim(ctx, b, sqlClaimOfChip, chip)
	return c, found && c.lot == a.lot.name, err
}

// Bin records where the handler put a chip. It must be where the verdict said; asked again it is acknowledged again.
func (l *Ledger) Bin(ctx context.Context, q bus.BinRequest) (bus.Empty, error) {
	var fault error
	err := l.commit(ctx, func(ctx context.Context, b *Batch) (err error) {
		fault, err = bin(ctx, b, q)
		return err
	})
	if err != nil {
		return bus.Empty{}, fmt.Errorf("recording the bin of %s: %w", q.Present, err)
	}
	return bus.Empty{}, fault
}

func bin(ctx context.Context, b *Batch, q bus.BinRequest) (fault, err error) {
	p, found, err := findPresentation(ctx, b, q.Present)
	switch {
	case err != nil:
		return nil, err
	case !found || p.lot != q.Lot:
		return bus.Refuse(bus.FaultNotFound, "presentation %s of lot %s is not known", q.Present, q.Lot), nil
	case p.bin == q.Bin:
		return nil, nil
	case p.bin != "" || p.verdict != q.Bin || !q.Bin.Final():
		detail := fmt.Sprintf("verdict %q, binned %q before, now %q", p.verdict, p.bin, q.Bin)
		_, _, err := b.append(entry.KindAlarm, lotSubject(q.Lot), entry.Alarm{Lot: q.Lot, Reason: perso.ReasonData, Detail: detail, Present: q.Present, At: b.At})
		return bus.Refuse(bus.FaultConflict, "presentation %s: %s", q.Present, detail), err
	}
	e := entry.Bin{Lot: q.Lot, Present: q.Present, Bin: q.Bin, At: b.At}
	subject := lotSubject(q.Lot)
	if len(p.chip) > 0 {
		if e.Chip, err = id.ChipIDFromBytes(p.chip); err != nil {
			return nil, err
		}
		subject = chipSubject(p.chip)
	}
	if _, _, err := b.append(entry.KindBin, subject, e); err != nil {
		return nil, err
	}
	if _, err := b.Exec(ctx, sqlBin, string(q.Present.Line), int64(q.Present.Head), int64(q.Present.Number), string(q.Bin)); err != nil {
		return nil, err
	}
	return nil, count(ctx, b, sqlAddBinCount, sqlBinCount, string(q.Lot), string(q.Bin))
}

// Count keeps one source's count of a lot's bins: the handler's own counters, or people's blind hand count.
func (l *Ledger) Count(ctx context.Context, q bus.CountRequest) (bus.Empty, error) {
	if q.Source != entry.SourceHandler && q.Source != entry.SourceHand {
		return bus.Empty{}, bus.Refuse(bus.FaultBadMessage, "count source %q is neither %q nor %q", q.Source, entry.SourceHandler, entry.SourceHand)
	}
	if _, err := l.lot(ctx, q.Lot); err != nil {
		return bus.Empty{}, err
	}
	err := l.commit(ctx, func(ctx context.Context, b *Batch) error {
		e := entry.Count{Lot: q.Lot, Source: q.Source, In: q.In, Good: q.Good, RejectBlank: q.RejectBlank, RejectLive: q.RejectLive, Return: q.Return, At: b.At}
		before, found, err := readCount(ctx, b, q.Lot, q.Source)
		if err != nil {
			return err
		}
		if e.At = before.At; found && e == before {
			return nil
		}
		e.At = b.At
		_, body, err := b.append(entry.KindCount, lotSubject(q.Lot), e)
		if err != nil {
			return err
		}
		if _, err := b.Exec(ctx, sqlCutCount, string(q.Lot), q.Source); err != nil {
			return err
		}
		_, err = b.Exec(ctx, sqlSetCount, string(q.Lot), q.Source, body)
		return err
	})
	if err != nil {
		return bus.Empty{}, fmt.Errorf("recording the %s count of lot %q: %w", q.Source, q.Lot, err)
	}
	return bus.Empty{}, nil
}

func readCount(ctx context.Context, tx sqldb.Tx, lot perso.Name, source string) (entry.Count, bool, error) {
	var body []byte
	err := tx.QueryRow(ctx, sqlCount, string(lot), source).Scan(&body)
	if errors.Is(err, sqldb.ErrNoRows) {
		return entry.Count{}, false, nil
	}
	if err != nil {
		return entry.Count{}, false, fmt.Errorf("reading the %s count of lot %q: %w", source, lot, err)
	}
	e, err := entry.ParseCount(body)
	return e, err == nil, err
}
