package lineside

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
)

// ErrUnproven says that a final verdict does not follow from the signed log. The chip must not move.
var ErrUnproven = errors.New("verdict is not proven")

// Trust is the log that a line believes, pinned on its own host.
type Trust struct {
	Origin string
	Key    ed25519.PublicKey

	last *opened // shared by the heads of a station; nil keeps nothing
}

// opened is the checkpoint verified last: the verdicts of several heads often rest on the same one.
type opened struct {
	note []byte
	cp   checkpoint.Checkpoint
}

func (t Trust) open(note []byte) (checkpoint.Checkpoint, error) {
	if t.last != nil && t.last.note != nil && bytes.Equal(t.last.note, note) {
		return t.last.cp, nil
	}
	cp, err := checkpoint.Open(note, t.Origin, t.Key)
	if err == nil && t.last != nil {
		*t.last = opened{note: bytes.Clone(note), cp: cp}
	}
	return cp, err
}

// subject is what a verdict must be about.
type subject struct {
	lot     perso.Name
	present perso.Presentation
	chip    id.ChipID // zero when nothing could be read in this place
	read    bool      // the chip was read in this very presentation
}

// check holds a final verdict against the log: its entry says this verdict about this chip, and is in a signed checkpoint.
func (t Trust) check(v bus.Verdict, s subject) error {
	var err error
	switch v.Verdict {
	case perso.VerdictGood, perso.VerdictSample, perso.VerdictRejectLive:
		err = s.matchOutcome(v)
	case perso.VerdictRejectBlank, perso.VerdictReturn:
		err = s.matchPresent(v)
	default:
		err = fmt.Errorf("verdict %q is not final", v.Verdict)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnproven, err)
	}
	c, err := t.open(v.Checkpoint)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnproven, err)
	}
	proof := make([]checkpoint.Hash, len(v.Proof))
	for i, h := range v.Proof {
		proof[i] = h
	}
	if err := checkpoint.CheckInclusion(c, v.Seq, v.Entry, proof); err != nil {
		return fmt.Errorf("%w: %w", ErrUnproven, err)
	}
	return nil
}

// matchOutcome compares with the entry that ended a claim. The chip decides, not the presentation: a chip that comes back
// gets the outcome it already has. Which good units are drawn as samples the ledger says, and the audit draws again. A chip that nobody could read may only be locked away, on an entry of this head.
func (s subject) matchOutcome(v bus.Verdict) error {
	e, err := entry.ParseOutcome(v.Entry)
	switch {
	case err != nil:
		return err
	case e.Lot != s.lot || e.Verdict != v.Verdict && !(e.Verdict == perso.VerdictGood && v.Verdict == perso.VerdictSample):
		return fmt.Errorf("entry says %q of lot %q, verdict says %q of lot %q", e.Verdict, e.Lot, v.Verdict, s.lot)
	case e.Verdict == perso.VerdictGood && !s.read:
		return fmt.Errorf("chip is good on record, but does not answer")
	case s.chip.IsZero() && (e.Present.Line != s.present.Line || e.Present.Head != s.present.Head):
		return fmt.Errorf("entry is about presentation %s, and the chip at %s cannot be read", e.Present, s.present)
	case !s.chip.IsZero() && e.Chip != s.chip:
		return fmt.Errorf("entry is about chip %s, not %s", e.Chip, s.chip)
	}
	return nil
}

// matchPresent compares with the entry on this very presentation.
func (s subject) matchPresent(v bus.Verdict) error {
	e, err := entry.ParsePresent(v.Entry)
	switch {
	case err != nil:
		return err
	case e.Lot != s.lot || e.Verdict != v.Verdict || e.Present != s.present:
		return fmt.Errorf("entry says %q of %s, verdict says %q of %s", e.Verdict, e.Present, v.Verdict, s.present)
	case !s.chip.IsZero() && !e.Chip.IsZero() && e.Chip != s.chip:
		return fmt.Errorf("entry is about chip %s, not %s", e.Chip, s.chip)
	}
	return nil
}
