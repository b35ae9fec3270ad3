package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

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
	if err := checkPresent(q); err != nil {
		return bus.ActReply{}, bus.Refuse(bus.FaultBadMessage, "presentation %s: %v", q.Present, err)
	}
	var read id.ChipID
	if len(q.Chip) > 0 {
		if read, err = id.ChipIDFromBytes(q.Chip); err != nil {
			return bus.ActReply{}, bus.Refuse(bus.FaultBadMessage, "presentation %s: %v", q.Present, err)
		}
	}
	if err := l.commit(ctx, func(ctx context.Context, b *Batch) error {
		a.decision, a.chip = decision{}, read
		return a.present(ctx, b, q)
	}); err != nil {
		return bus.ActReply{}, fmt.Errorf("judging presentation %s: %w", q.Present, err)
	}
	return l.answer(ctx, a.decision)
}

func checkPresent(q bus.PresentRequest) error {
	switch q.Reason {
	case perso.ReasonMute, perso.ReasonContact, perso.ReasonATR, perso.ReasonIdentify:
		return checkPresentation(q.Present)
	}
	return fmt.Errorf("reason %q is not one for a contact without a session", q.Reason)
}

func (a *act) present(ctx context.Context, b *Batch, q bus.PresentRequest) error {
	if stands, err := a.standsStill(ctx, b); stands || err != nil {
		return err
	}
	known, found, err := findPresentation(ctx, b, q.Present)
	switch {
	case err != nil:
		return err
	case found && (known.lot != a.lot.name || known.bin != ""):
		return a.alarm(ctx, b, perso.ReasonReplay, fmt.Sprintf("presentation %s is on record already, of lot %s", q.Present, known.lot))
	case found && known.seq > 0:
		return a.repeatVerdict(ctx, b, known)
	}
	if clear, err := a.lineClear(ctx, b); err != nil || !clear {
		return err
	}
	n, err := readCounts(ctx, b, a.lot.name)
	if err != nil {
		return err
	}
	if n.state == perso.LotClosed {
		a.reply = say(perso.VerdictStop, perso.ReasonLotComplete, fmt.Sprintf("lot %s is closed", a.lot.name))
		return nil
	}
	claimed, err := a.underHead(ctx, b)
	if err != nil {
		return err
	}
	if claimed {
		return a.presentClaimed(ctx, b, q)
	}
	if q.Tries < maxPlainTries && q.Reason != perso.ReasonATR {
		return a.contactAgain(ctx, b, q.Reason)
	}
	return a.give(ctx, b, perso.VerdictRejectBlank, q.Reason)
}

// presentClaimed judges a chip that has a claim and does not answer: it may hold keys, so it is never called blank.
func (a *act) presentClaimed(ctx context.Context, b *Batch, q bus.PresentRequest) error {
	c := a.claim
	a.chip = c.chip
	switch {
	case c.lot != a.lot.name:
		return a.stop(ctx, b, perso.ReasonForeignChip, fmt.Sprintf("the chip belongs to lot %s", c.lot))
	case q.Tries < maxPlainTries && q.Reason != perso.ReasonATR:
		return a.contactAgain(ctx, b, q.Reason)
	case c.state == perso.UnitLost:
		return a.onRecord(ctx, b, c.outcome, perso.ReasonNone)
	case c.state == perso.UnitGivenUp:
		a.givenUp()
		return nil
	case c.state == perso.UnitGood: // GOOD is terminal, but what lies here need not be the chip that was good
		return a.stop(ctx, b, q.Reason, fmt.Sprintf("chip %s is good on record, and does not answer", c.chip))
	}
	if busy, err := a.elsewhere(ctx, b); busy || err != nil {
		return err
	}
	if open, err := a.unsettled(ctx, b); open || err != nil {
		return err
	}
	return a.reject(ctx, b, bus.Failed{Reason: q.Reason})
}

// contactAgain has the same chip contacted once more. The presentation keeps whose chip it is, for when it is mute to the end.
func (a *act) contactAgain(ctx context.Context, b *Batch, reason perso.Reason) error {
	f, err := presentFinding(ctx, b, a.lot.name, a.q.Present, a.chip, perso.VerdictRecontact, reason)
	a.reply = f.told()
	return err
}

func (a *act) repeatVerdict(ctx context.Context, b *Batch, known presentRow) error {
	f, err := b.finding(ctx, known.seq)
	if err != nil {
		return err
	}
	f.reason = known.reason
	if f.verdict.Final() {
		a.final = &f
	} else {
		a.reply = f.told()
	}
	return nil
}

// underHead finds the claim of the chip that lies under the head. A chip that went mute can't say who it is: then it is
// the one presented last there, unless that has been binned.
func (a *act) underHead(ctx context.Context, b *Batch) (bool, error) {
	chip := chipBytes(a.chip)
	if chip == nil {
		var bin string
		err := b.QueryRow(ctx, sqlAtHead, string(a.q.Present.Line), int64(a.q.Present.Head)).Scan(&chip, &bin)
		if errors.Is(err, sqldb.ErrNoRows) || err == nil && (bin != "" || len(chip) == 0) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("looking for the chip under %s: %w", a.q.Present, err)
		}
	}
	c, found, err := findClaim(ctx, b, sqlClaimOfChip, chip)
	a.claim = c
	return found, err
}

// Bin records where the handler put a chip. It must be where the verdict said; asked again it is acknowledged again.
func (l *Ledger) Bin(ctx context.Context, q bus.BinRequest) (bus.Empty, error) {
	if err := checkPresentation(q.Present); err != nil {
		return bus.Empty{}, bus.Refuse(bus.FaultBadMessage, "bin of %s: %v", q.Present, err)
	}
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
	}
	subject := presentSubject(q.Present)
	var chip id.ChipID
	if len(p.chip) > 0 {
		if chip, err = id.ChipIDFromBytes(p.chip); err != nil {
			return nil, err
		}
		subject = chipSubject(p.chip)
	}
	other := len(q.Chip) > 0 && len(p.chip) > 0 && !bytes.Equal(q.Chip, p.chip)
	if p.bin == q.Bin && !other {
		return nil, nil
	}
	var later int64
	if err := b.QueryRow(ctx, sqlLaterAtHead, string(q.Present.Line), int64(q.Present.Head), int64(q.Present.Number)).Scan(&later); err != nil {
		return nil, fmt.Errorf("looking for contacts after %s: %w", q.Present, err)
	}
	// A head contacts nothing before its last bin is acknowledged: a bin after that is of a chip that was contacted again.
	if p.bin != "" || !p.verdict.MayLieAs(q.Bin) || other || later > 0 {
		detail := fmt.Sprintf("chip %x: verdict %q, binned %q before, now chip %x %q after %d more contacts", p.chip, p.verdict, p.bin, q.Chip, clean(string(q.Bin)), later)
		return bus.Refuse(bus.FaultConflict, "presentation %s: %s", q.Present, detail),
			sound(ctx, b, subject, entry.Alarm{Lot: q.Lot, Reason: perso.ReasonData, Detail: clean(detail), Present: q.Present, At: b.At})
	}
	if q.Bin == perso.VerdictSample {
		if fault, err := binSample(ctx, b, q.Lot, p.chip); fault != nil || err != nil {
			return fault, err
		}
	}
	if fault, err := binLost(ctx, b, q, p.chip); fault != nil || err != nil {
		return fault, err
	}
	if _, _, err := b.append(entry.KindBin, subject, entry.Bin{Lot: q.Lot, Present: q.Present, Chip: chip, Bin: q.Bin, At: b.At}); err != nil {
		return nil, err
	}
	if _, err := b.Exec(ctx, sqlBin, string(q.Present.Line), int64(q.Present.Head), int64(q.Present.Number), string(q.Bin)); err != nil {
		return nil, fmt.Errorf("binning %s: %w", q.Present, err)
	}
	return nil, count(ctx, b, sqlAddBinCount, sqlBinCount, string(q.Lot), string(q.Bin))
}

// binLost notes that a chip lies in a bin whose unit officers had given up: their word where it is counts no more. When the lot is
// closed it is what was signed.
func binLost(ctx context.Context, b *Batch, q bus.BinRequest, chip []byte) (fault, err error) {
	if len(chip) == 0 {
		return nil, nil
	}
	var given int64
	if err := b.QueryRow(ctx, sqlLossOfChip, chip).Scan(&given); err != nil || given == 0 {
		return nil, err
	}
	n, err := readCounts(ctx, b, q.Lot)
	if err != nil {
		return nil, err
	}
	if n.state == perso.LotClosed {
		return bus.Refuse(bus.FaultRefused, "lot %q is closed, and officers signed where chip %x is", q.Lot, chip), nil
	}
	_, err = b.Exec(ctx, sqlLossBinned, chip, string(q.Bin))
	return nil, err
}

// Count keeps one source's count of a lot's bins: the handler's own counters, or people's blind hand count.
func (l *Ledger) Count(ctx context.Context, q bus.CountRequest) (bus.Empty, error) {
	if q.Source != entry.SourceHandler && q.Source != entry.SourceHand {
		return bus.Empty{}, bus.Refuse(bus.FaultBadMessage, "count source %q is neither %q nor %q", q.Source, entry.SourceHandler, entry.SourceHand)
	}
	if max(q.In, q.Good, q.RejectBlank, q.RejectLive, q.Return, q.Sample) > maxCount {
		return bus.Empty{}, bus.Refuse(bus.FaultBadMessage, "a count exceeds %d", uint64(maxCount))
	}
	lt, err := l.lot(ctx, q.Lot)
	if err != nil {
		return bus.Empty{}, err
	}
	var fault error
	err = l.commit(ctx, func(ctx context.Context, b *Batch) (err error) {
		fault, err = setCount(ctx, b, lt, q)
		return err
	})
	if err == nil {
		err = fault
	}
	if err != nil {
		return bus.Empty{}, fmt.Errorf("recording the %s count of lot %q: %w", q.Source, q.Lot, err)
	}
	return bus.Empty{}, nil
}

// maxCount is the largest count that a log entry can hold.
const maxCount = 1<<48 - 1

func setCount(ctx context.Context, b *Batch, lt *lot, q bus.CountRequest) (fault, err error) {
	e := entry.Count{Lot: q.Lot, Source: q.Source, In: q.In, Good: q.Good, RejectBlank: q.RejectBlank, RejectLive: q.RejectLive, Return: q.Return, Sample: q.Sample, At: b.At}
	before, found, err := readCount(ctx, b, q.Lot, q.Source)
	if err != nil {
		return nil, err
	}
	var times int64
	var id []byte
	if found {
		if err := b.QueryRow(ctx, sqlTimes, string(q.Lot), q.Source).Scan(&times, &id); err != nil {
			return nil, fmt.Errorf("reading how often lot %q was counted: %w", q.Lot, err)
		}
	}
	if before.At = e.At; found && e == before && bytes.Equal(id, q.ID[:]) { // the same numbers under another id were counted again
		return nil, nil
	}
	if found && q.Source == entry.SourceHandler && q.In < before.In {
		return nil, nil // it was late: what went into a handler becomes no less
	}
	n, err := readCounts(ctx, b, q.Lot)
	if err != nil {
		return nil, err
	}
	if n.state == perso.LotClosed {
		return bus.Refuse(bus.FaultRefused, "the lot is closed: its counts are signed"), nil
	}
	over := n.open == 0 && !b.begins(lt, n) // nobody can begin a unit of it any more
	if q.Source == entry.SourceHand {
		if fault, err := mayBeCounted(ctx, b, lt, n, over); fault != nil || err != nil {
			return fault, err
		}
	}
	_, body, err := b.append(entry.KindCount, lotSubject(q.Lot), e)
	if err != nil {
		return nil, err
	}
	if _, err := b.Exec(ctx, sqlCutCount, string(q.Lot), q.Source); err != nil {
		return nil, err
	}
	if _, err := b.Exec(ctx, sqlSetCount, string(q.Lot), q.Source, body, times+1, q.ID[:]); err != nil {
		return nil, err
	}
	if over && n.state != perso.LotComplete {
		return nil, completeLot(ctx, b, q.Lot)
	}
	return nil, nil
}

// mayBeCounted refuses a hand count of bins that still fill. Who might count then could say any number twice, and be shown what a blind
// count is not to know.
func mayBeCounted(ctx context.Context, b *Batch, lt *lot, n counts, over bool) (fault, err error) {
	switch {
	case n.state != perso.LotComplete && !over && n.open > 0:
		return bus.Refuse(bus.FaultRefused, "the lot is %s, with %d units in work, and its bins still fill: count them when 'perso lot status %s' says complete ('perso lot in-work' tells what is in work)", n.state, n.open, lt.name), nil
	case n.state != perso.LotComplete && !over:
		return bus.Refuse(bus.FaultRefused, "the lot is %s, and its bins still fill: count them when 'perso lot status %s' says complete, its release has expired (%s), or two officers end it short ('perso lot draft-short %s')", n.state, lt.name, lt.release.Expires.Format(time.RFC3339), lt.name), nil
	}
	s, err := readSamples(ctx, b, lt.name)
	if err == nil && s.state == samplesDue && n.state == perso.LotComplete {
		return bus.Refuse(bus.FaultRefused, "%s; count when the samples are where they belong", blockSamples), nil
	}
	return nil, err
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
