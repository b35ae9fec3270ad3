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

// blockNoHandler is what keeps a lot from closing before its line has finished.
const blockNoHandler = "the handler has not reported its counters"

// balance counts a lot by the ledger's own records (I6) and names whatever keeps it from closing.
func balance(ctx context.Context, tx sqldb.Tx, name perso.Name) (c statement.Counts, blocks []string, err error) {
	n, err := readCounts(ctx, tx, name)
	if err != nil {
		return c, nil, err
	}
	bins, err := readBins(ctx, tx, name)
	if err != nil {
		return c, nil, err
	}
	given, err := readFates(ctx, tx, name)
	if err != nil {
		return c, nil, err
	}
	drawn, err := readSamples(ctx, tx, name)
	if err != nil {
		return c, nil, err
	}
	c = statement.Counts{Good: bins[perso.VerdictGood] + drawn.back, RejectBlank: bins[perso.VerdictRejectBlank], RejectLive: bins[perso.VerdictRejectLive] + given.rejectLive + drawn.failed,
		Sample: bins[perso.VerdictSample] - drawn.back - drawn.failed, Returned: bins[perso.VerdictReturn], Missing: given.missing}
	block := func(format string, a ...any) { blocks = append(blocks, fmt.Sprintf(format, a...)) }
	if n.state != perso.LotComplete && n.state != perso.LotClosed {
		block("the lot is %s: %d of %d good, %d in work", n.state, n.made, n.good, n.open)
	}
	if inBins := bins[perso.VerdictGood] + bins[perso.VerdictSample]; inBins+given.good != n.made {
		block("%d units are good on record, %d chips lie in the bins of good ones and samples", n.made, inBins)
	}
	drawn.blocks(block)
	if given.unanswered > 0 {
		block("%d units were given up, and the vault has not answered: hand the statements in again", given.unanswered)
	}
	var unbinned int64
	if err := tx.QueryRow(ctx, sqlUnbinned, string(name)).Scan(&unbinned); err != nil {
		return c, nil, fmt.Errorf("looking for chips of lot %q that are in no bin: %w", name, err)
	}
	if unbinned > 0 {
		block("%d heads have not confirmed the bin of their last chip", unbinned)
	}
	machine, counted, err := readCount(ctx, tx, name, entry.SourceHandler)
	if err != nil {
		return c, nil, err
	}
	if !counted {
		block(blockNoHandler)
	} else {
		c.In = machine.In
		own := c
		own.RejectLive -= given.rejectLive + drawn.failed // people put these into the locked bin
		own.Good, own.Sample = own.Good-drawn.back, bins[perso.VerdictSample]
		compare(block, "handler", machine, own)
	}
	hand, err := readHandCount(ctx, tx, name)
	if err != nil {
		return c, nil, err
	}
	hand.blocks(block, c)
	switch {
	case n.issued == 0 || !counted:
	case n.issued > machine.In:
		block("%d chips were issued to the lot and %d were fed: what is left must be given back", n.issued, machine.In)
	case n.issued < machine.In:
		block("%d chips were issued to the lot and %d were fed: the others must be issued too, 'perso chips issue --reel REEL --lot %s --chips %d --by NAME'", n.issued, machine.In, name, machine.In-n.issued)
	}
	if d := c.Difference(); counted && d != 0 {
		block("%d chips went in and %d are accounted for: difference %d", c.In, int64(c.In)-d, d)
	}
	return c, blocks, nil
}

// compare names every bin in which a source's count differs from the ledger's.
func compare(block func(string, ...any), source string, e entry.Count, c statement.Counts) {
	for _, bin := range []struct {
		name         string
		theirs, ours uint64
	}{
		{"in", e.In, c.In}, {"good", e.Good, c.Good}, {"reject-blank", e.RejectBlank, c.RejectBlank},
		{"reject-live", e.RejectLive, c.RejectLive}, {"return", e.Return, c.Returned}, {"sample", e.Sample, c.Sample},
	} {
		if bin.theirs != bin.ours {
			block("%s says %d for %s, the ledger %d", source, bin.theirs, bin.name, bin.ours)
		}
	}
}

func readBins(ctx context.Context, tx sqldb.Tx, name perso.Name) (map[perso.Verdict]uint64, error) {
	bins := map[perso.Verdict]uint64{}
	err := tx.Each(ctx, func(row sqldb.Row) error {
		var bin string
		var n int64
		if err := row.Scan(&bin, &n); err != nil {
			return err
		}
		bins[perso.Verdict(bin)] = uint64(n)
		return nil
	}, sqlBins, string(name))
	if err != nil {
		return nil, fmt.Errorf("counting the bins of lot %q: %w", name, err)
	}
	return bins, nil
}

// Close takes the officers' word that a lot's counts hold. It is refused while anything is unexplained, and names it.
func (l *Ledger) Close(ctx context.Context, q bus.SignedRequest) (bus.LotReply, error) {
	signed, c, err := readSigned(q, statement.ParseClose)
	if err != nil {
		return bus.LotReply{}, err
	}
	var fault error
	lt, err := l.lot(ctx, c.Lot)
	if err != nil {
		return bus.LotReply{}, fmt.Errorf("closing lot %q: %w", c.Lot, err)
	}
	err = l.commit(ctx, func(ctx context.Context, b *Batch) (err error) {
		fault, err = l.close(ctx, b, lt, signed, c)
		return err
	})
	if err == nil {
		err = fault
	}
	if err != nil {
		return bus.LotReply{}, fmt.Errorf("closing lot %q: %w", c.Lot, err)
	}
	return bus.LotReply{Lot: c.Lot}, nil
}

func (l *Ledger) close(ctx context.Context, b *Batch, lt *lot, signed statement.Signed, c statement.Close) (fault, err error) {
	n, err := readCounts(ctx, b, c.Lot)
	if err != nil {
		return nil, err
	}
	hash := signed.Hash()
	if n.state == perso.LotClosed {
		var before []byte
		err := b.QueryRow(ctx, sqlStatement, hash[:]).Scan(&before)
		if errors.Is(err, sqldb.ErrNoRows) {
			return bus.Refuse(bus.FaultRefused, "the lot was closed by another statement"), nil
		}
		return nil, err
	}
	if fault, err := l.authorized(ctx, b, signed); fault != nil || err != nil {
		return fault, err
	}
	if fault, err := b.mayGoOn(ctx, lt); fault != nil || err != nil {
		return fault, err
	}
	hand, err := readHandCount(ctx, b, c.Lot)
	if err != nil {
		return nil, err
	}
	ours, blocks, err := balance(ctx, b, c.Lot)
	switch {
	case err != nil:
		return nil, err
	case lt.policy.FirstArticle > 0 && !n.approved:
		return bus.Refuse(bus.FaultRefused, blockFirstArticle), nil
	case len(blocks) > 0 && lt.policy.Blind && hand.uncounted(ours):
		return bus.Refuse(bus.FaultRefused, "%s", veil(blocks)[0]), nil
	case len(blocks) > 0:
		return bus.Refuse(bus.FaultRefused, "%s", blocks[0]), nil
	case c.Env != l.site.env:
		return bus.Refuse(bus.FaultRefused, "the closing is for environment %s, this is %s", c.Env, l.site.env), nil
	case c.Counts != ours:
		return bus.Refuse(bus.FaultRefused, "the signed counts are not those on record now; draft the closing anew"), nil
	}
	if _, err := b.Exec(ctx, sqlAddStatement, hash[:], statement.KindClose, int64(1), string(c.Lot), signed.Encode()); err != nil {
		return nil, err
	}
	if _, err := b.Exec(ctx, sqlLotState, string(c.Lot), string(perso.LotClosed), n.completed.UnixMicro(), string(perso.LotComplete)); err != nil {
		return nil, err
	}
	if err := bookClosing(ctx, b, lt, n, c.Counts); err != nil {
		return nil, err
	}
	_, _, err = b.append(entry.KindStatement, lotSubject(c.Lot), entry.Statement{What: statement.KindClose, Hash: hash, Lot: c.Lot, At: b.At})
	return nil, err
}

// RecordExport logs what was handed out, once per lot and kind: the same hash again is the same export.
func (l *Ledger) RecordExport(ctx context.Context, e entry.Export) error {
	lt, err := l.lot(ctx, e.Lot)
	if err != nil {
		return err
	}
	var fault error
	err = l.commit(ctx, func(ctx context.Context, b *Batch) error {
		var err error
		if fault, err = b.mayGoOn(ctx, lt); fault != nil || err != nil {
			return err
		}
		var before []byte
		err = b.QueryRow(ctx, sqlExport, string(e.Lot), e.What).Scan(&before)
		if err == nil {
			if string(before) != string(e.Hash[:]) {
				fault = fmt.Errorf("%w: another %s export is on record", ErrRefused, e.What)
			}
			return nil
		}
		if !errors.Is(err, sqldb.ErrNoRows) {
			return err
		}
		if fault, err = mayRecord(ctx, b, e); fault != nil || err != nil {
			return err
		}
		e.At = b.At
		seq, _, err := b.append(entry.KindExport, lotSubject(e.Lot), e)
		if err != nil {
			return err
		}
		_, err = b.Exec(ctx, sqlAddExport, string(e.Lot), e.What, string(e.Receiver), e.Hash[:], seq, b.At.UnixMicro())
		return err
	})
	if err == nil {
		err = fault
	}
	if err != nil {
		return fmt.Errorf("recording the %s export of lot %q: %w", e.What, e.Lot, err)
	}
	return nil
}

// mayRecord refuses an export that was overtaken: officers gave up a good unit while its files were made, and it is handed to nobody (I7).
func mayRecord(ctx context.Context, b *Batch, e entry.Export) (fault, err error) {
	n, err := readCounts(ctx, b, e.Lot)
	if err != nil {
		return nil, err
	}
	given, err := readFates(ctx, b, e.Lot)
	if err != nil {
		return nil, err
	}
	held, fault, err := undelivered(ctx, b, e.Lot)
	if fault != nil || err != nil {
		return fault, err
	}
	if good := n.made - given.good - held; e.Units > good {
		return bus.Refuse(bus.FaultRefused, "it holds %d units, and %d are to be handed out: a unit was given up meanwhile; have it made again", e.Units, good), nil
	}
	return nil, nil
}
