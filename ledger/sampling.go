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

// Of a lot whose policy has a sampling plan some good units are drawn, as they become good, by the hash of the vault's receipt: no line can
// choose them, and the auditor draws them again (statement.Draw). Quality examines them and signs; before that the lot is neither counted by
// hand, nor closed, nor handed out.

// How far the samples of a lot are.
const (
	samplesDue      = "due"
	samplesAccepted = "accepted"
	samplesRejected = "rejected"
)

// What became of a sample.
const (
	sampleBack   = statement.SamplesOutput
	sampleKept   = statement.SamplesKept
	sampleFailed = "failed"
)

// What keeps a lot with a sampling plan from going on.
const (
	blockSamples         = "quality has not signed what it found in the samples"
	blockSamplesRejected = "quality found more bad samples than the plan accepts, or had none to look at: nothing of this lot is handed out"
	blockAstray          = "%d units were drawn as samples and lie in no bin: have their chips contacted again, or two officers give them up"
)

// draw draws the unit that has just become good, or not, and says which verdict its chip is put away by.
func (a *act) draw(ctx context.Context, b *Batch, before counts, e entry.Outcome) (perso.Verdict, error) {
	row := a.lot.policy.Sampling.For(before.good)
	if row.Size == 0 {
		return e.Verdict, nil
	}
	d := statement.Draw{Good: before.good, Size: row.Size, Nth: before.made, Receipt: e.Receipt}
	if err := b.QueryRow(ctx, sqlSamplesTaken, string(a.lot.name)).Scan(&d.Taken); err != nil {
		return "", fmt.Errorf("counting the samples of lot %q: %w", a.lot.name, err)
	}
	if !d.Drawn() {
		return e.Verdict, nil
	}
	if _, err := b.Exec(ctx, sqlAddSample, e.Chip.Bytes(), string(a.lot.name), int64(d.Nth)); err != nil {
		return "", fmt.Errorf("drawing chip %s as a sample: %w", e.Chip, err)
	}
	return perso.VerdictSample, nil
}

// asSample says by which verdict a good chip that comes again is put away.
func asSample(ctx context.Context, tx sqldb.Tx, chip []byte) (bool, error) {
	var n int64
	err := tx.QueryRow(ctx, sqlIsSample, chip).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("looking whether chip %x is a sample: %w", chip, err)
	}
	return n > 0, nil
}

// samples is how a lot stands with its samples.
type samples struct {
	state              string // empty without a plan
	drawn, binned      uint64
	astray             uint64 // drawn, and neither in their bin nor given up by officers
	back, kept, failed uint64
}

func readSamples(ctx context.Context, tx sqldb.Tx, lot perso.Name) (s samples, err error) {
	err = tx.QueryRow(ctx, sqlSampling, string(lot)).Scan(&s.state)
	if errors.Is(err, sqldb.ErrNoRows) {
		return s, nil
	}
	if err == nil {
		err = tx.Each(ctx, func(row sqldb.Row) error {
			var result string
			var binned bool
			var n int64
			if err := row.Scan(&result, &binned, &n); err != nil {
				return err
			}
			s.drawn += uint64(n)
			if binned {
				s.binned += uint64(n)
			}
			switch result {
			case sampleBack:
				s.back += uint64(n)
			case sampleKept:
				s.kept += uint64(n)
			case sampleFailed:
				s.failed += uint64(n)
			}
			return nil
		}, sqlSamples, string(lot))
	}
	if err == nil {
		err = tx.QueryRow(ctx, sqlSamplesOut, string(lot)).Scan(&s.astray)
	}
	if err != nil {
		return s, fmt.Errorf("reading the samples of lot %q: %w", lot, err)
	}
	return s, nil
}

// blocks says what of the samples keeps a lot from closing, and from being handed out.
func (s samples) blocks(block func(string, ...any)) {
	if s.astray > 0 {
		block(blockAstray, s.astray)
	}
	switch {
	case s.state == samplesDue:
		block(blockSamples)
	case s.state != "" && s.back+s.kept+s.failed != s.binned:
		block("%d samples lie in their bin, quality signed for %d: it must sign anew", s.binned, s.back+s.kept+s.failed)
	}
}

// told is what people are told of it; nil without a plan.
func (s samples) told() *bus.Samples {
	if s.state == "" {
		return nil
	}
	return &bus.Samples{State: s.state, Drawn: s.drawn, InBin: s.binned, Back: s.back, Kept: s.kept, Failed: s.failed}
}

// undelivered is how many good units are handed to nobody because of what quality found, or keeps; or what forbids to hand out any.
func undelivered(ctx context.Context, tx sqldb.Tx, lot perso.Name) (n uint64, fault, err error) {
	s, err := readSamples(ctx, tx, lot)
	switch {
	case err != nil:
		return 0, nil, err
	case s.state == samplesRejected:
		return 0, bus.Refuse(bus.FaultRefused, blockSamplesRejected), nil
	}
	s.blocks(func(format string, a ...any) {
		fault = bus.Refuse(bus.FaultRefused, format, a...)
	})
	return s.kept + s.failed, fault, nil
}

// handedOut says whether an export of a lot is on record. Quality signs nothing about its samples any more, so none may be added.
func handedOut(ctx context.Context, tx sqldb.Tx, lot perso.Name) (bool, error) {
	var n int64
	if err := tx.QueryRow(ctx, sqlExportsOf, string(lot)).Scan(&n); err != nil {
		return false, fmt.Errorf("looking for exports of lot %q: %w", lot, err)
	}
	return n > 0, nil
}

// binSample notes that a sample lies in its bin. Once its lot was handed out that is refused: officers gave this one up before, their word
// where it is holds, and the lot would wait for ever for quality to sign for it.
func binSample(ctx context.Context, b *Batch, lot perso.Name, chip []byte) (fault, err error) {
	out, err := handedOut(ctx, b, lot)
	if err != nil {
		return nil, err
	}
	if out {
		return bus.Refuse(bus.FaultRefused, "lot %q was handed out, and chip %x is a sample that quality cannot sign for any more", lot, chip), nil
	}
	if _, err := b.Exec(ctx, sqlSampleBinned, chip); err != nil {
		return nil, fmt.Errorf("noting that sample %x lies in its bin: %w", chip, err)
	}
	return nil, nil
}

type samplesWord struct{ statement.Samples }

func (w samplesWord) about() (perso.Env, perso.Name, perso.Name) { return w.Env, w.Site, w.Lot }

func (w samplesWord) accept(ctx context.Context, l *Ledger, b *Batch, _ [32]byte) (fault, err error) {
	lt, n, fault, err := l.readStanding(ctx, b, w.Lot)
	if fault != nil || err != nil {
		return fault, err
	}
	s, err := readSamples(ctx, b, w.Lot)
	if err != nil {
		return nil, err
	}
	var unbinned int64
	if err := b.QueryRow(ctx, sqlUnbinned, string(w.Lot)).Scan(&unbinned); err != nil {
		return nil, fmt.Errorf("looking for chips of lot %q that are in no bin: %w", w.Lot, err)
	}
	exported, err := handedOut(ctx, b, w.Lot)
	if err != nil {
		return nil, err
	}
	switch {
	case s.state == "":
		return bus.Refuse(bus.FaultRefused, "the policy of lot %s asks for no samples", w.Lot), nil
	case n.state != perso.LotComplete || unbinned > 0:
		return bus.Refuse(bus.FaultRefused, "lot %s is %s, with %d chips on their way into bins: not all its samples are drawn", w.Lot, n.state, unbinned), nil
	case exported:
		return bus.Refuse(bus.FaultRefused, "lot %s was handed out: what quality signed before holds", w.Lot), nil
	case s.astray > 0:
		return bus.Refuse(bus.FaultRefused, blockAstray, s.astray), nil
	case w.Examined != s.binned && lt.policy.Blind:
		return bus.Refuse(bus.FaultRefused, "the statement is about %d samples of lot %s, and not as many lie in their bin: count what was examined ('perso lot draft-samples --examined')", w.Examined, w.Lot), nil
	case w.Examined != s.binned:
		return bus.Refuse(bus.FaultRefused, "%d samples of lot %s lie in their bin, the statement is about %d", s.binned, w.Lot, w.Examined), nil
	}
	return w.settle(ctx, b, lt, n)
}

// settle notes what became of each sample.
func (w samplesWord) settle(ctx context.Context, b *Batch, lt *lot, n counts) (fault, err error) {
	good, state := sampleBack, samplesAccepted
	if lt.policy.Sampling.Kept() {
		good = sampleKept
	}
	for _, c := range w.Failed {
		var there int64
		if err := b.QueryRow(ctx, sqlSampleOf, string(w.Lot), c.Bytes()).Scan(&there); err != nil {
			return nil, fmt.Errorf("looking for sample %s: %w", c, err)
		}
		if there == 0 {
			return bus.Refuse(bus.FaultRefused, "chip %s is no sample of lot %s that lies in its bin", c, w.Lot), nil
		}
	}
	if !lt.policy.Sampling.Accepts(statement.Examined{Good: n.good, Made: n.made, Drawn: w.Examined, Failed: uint64(len(w.Failed))}) {
		state = samplesRejected
	}
	if _, err := b.Exec(ctx, sqlSamplesResult, string(w.Lot), good); err != nil {
		return nil, fmt.Errorf("noting what became of the samples of lot %q: %w", w.Lot, err)
	}
	for _, c := range w.Failed {
		if _, err := b.Exec(ctx, sqlSampleFailed, c.Bytes()); err != nil {
			return nil, fmt.Errorf("noting that chip %s failed: %w", c, err)
		}
	}
	_, err = b.Exec(ctx, sqlSamplingState, string(w.Lot), state)
	return nil, err
}
