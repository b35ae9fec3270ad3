package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
)

// admit decides an act by data only (phase A).
func (a *act) admit(ctx context.Context, b *Batch) error {
	a.decision, a.serve, a.claim = decision{}, nil, claimRow{}
	if stands, err := a.standsStill(ctx, b); stands || err != nil {
		return err
	}
	s, found, err := findSession(ctx, b, a.q.Session)
	switch {
	case err != nil:
		return err
	case found:
		return a.inSession(ctx, b, s)
	case a.q.N > 0:
		a.fault = bus.Refuse(bus.FaultNotFound, "session %s of act %d is not known", a.q.Session, a.q.N)
		return nil
	}
	return a.begin(ctx, b)
}

// inSession handles an act of a session on record: a repeat, or the next one.
func (a *act) inSession(ctx context.Context, b *Batch, s sessionRow) error {
	c := s.claim
	if c.lot != a.lot.name || s.at != a.q.Present {
		a.fault = bus.Refuse(bus.FaultConflict, "session %s belongs to %s of lot %s, not to %s of lot %s", a.q.Session, s.at, c.lot, a.q.Present, a.lot.name)
		return nil
	}
	a.claim, a.chip = c, c.chip
	before, row, err := findActs(ctx, b, c.lot, s.serial, a.q.N)
	switch {
	case err != nil:
		return err
	case row.found && row.hash != a.hash:
		return a.alarm(ctx, b, perso.ReasonReplay, fmt.Sprintf("session %s act %d came with other responses", a.q.Session, a.q.N))
	case s.ended:
		return a.afterEnd(ctx, b)
	case !row.found && c.state != perso.UnitOpen:
		// A good chip that came back shows its keys in act 0, and that is all it is asked for.
		a.fault = bus.Refuse(bus.FaultRefused, "session %s has no act %d: its chip is %s already", a.q.Session, a.q.N, c.state)
		return nil
	case a.q.N > 0 && !servedWith(before, a.q.State):
		a.fault = bus.Refuse(bus.FaultRefused, "act %d of session %s was not served, or not with this state", a.q.N-1, a.q.Session)
		return nil
	}
	if !row.found {
		if row, err = a.next(ctx, b, s, before.final); err != nil || a.fault != nil {
			return err
		}
	}
	return a.toServe(ctx, b, s, row)
}

// servedWith says whether an act's window went out with this state. The vault finds out whether it is the session's own.
func servedWith(before actRow, state []byte) bool {
	hash := sha256.Sum256(state)
	return bytes.Equal(before.served, hash[:])
}

// afterEnd answers an act whose session has ended: with the verdict that ended it, or by sending the head back to the
// chip when another session took over. An outcome that another presentation brought about is never told to this one.
func (a *act) afterEnd(ctx context.Context, b *Batch) error {
	p, found, err := findPresentation(ctx, b, a.q.Present)
	if err != nil {
		return err
	}
	if found && p.seq > 0 {
		return a.repeatVerdict(ctx, b, p)
	}
	a.fault = bus.Refuse(bus.FaultRefused, "session %s has ended; contact the chip again", a.q.Session)
	return nil
}

// next records act n > 0: the compare-and-set of (session, n, hash of responses).
func (a *act) next(ctx context.Context, b *Batch, s sessionRow, final bool) (actRow, error) {
	if a.q.N != s.lastN+1 || a.q.Present != s.at {
		a.fault = bus.Refuse(bus.FaultRefused, "session %s is at act %d of %s, not at act %d of %s", a.q.Session, s.lastN, s.at, a.q.N, a.q.Present)
		return actRow{}, nil
	}
	n, err := b.Exec(ctx, sqlSessionNext, string(a.lot.name), int64(s.serial), int64(a.q.N), b.At.UnixMicro())
	if err != nil || n != 1 {
		return actRow{}, errors.Join(err, missing(n == 1, "the session to move on", a.q.Session))
	}
	row, err := a.record(ctx, b, s.serial)
	if err == nil && final {
		err = a.keepForVerdict(ctx, b, s.serial)
	}
	return row, err
}

// keepForVerdict keeps the answers that bring the verdict until it is on record: the vault may have found the chip good, and
// the line may have lost the chip since.
func (a *act) keepForVerdict(ctx context.Context, b *Batch, serial uint64) error {
	responses, err := bus.Encode(a.answers())
	if err != nil {
		return err
	}
	_, err = b.Exec(ctx, sqlAddDue, string(a.lot.name), int64(serial), int64(a.q.N), responses, a.q.State)
	if err != nil {
		return fmt.Errorf("keeping act %d of session %s for its verdict: %w", a.q.N, a.q.Session, err)
	}
	return nil
}

// record writes the act's row and log entry.
func (a *act) record(ctx context.Context, b *Batch, serial uint64) (actRow, error) {
	e := entry.Act{Lot: a.lot.name, Unit: a.claim.unit, Gen: a.claim.gen, Session: a.q.Session, N: a.q.N, Responses: a.hash,
		Serial: serial, Present: a.q.Present, At: b.At}
	seq, _, err := b.append(entry.KindAct, unitSubject(a.lot.name, a.claim.unit), e)
	if err != nil {
		return actRow{}, err
	}
	_, err = b.Exec(ctx, sqlAddAct, string(a.lot.name), int64(serial), int64(a.q.N), a.hash[:], seq, b.At.UnixMicro())
	if err != nil {
		return actRow{}, fmt.Errorf("recording act %d of session %s: %w", a.q.N, a.q.Session, err)
	}
	return actRow{found: true, hash: a.hash, seq: seq, at: b.At}, nil
}

func (a *act) answers() [][]byte {
	if a.q.N == 0 {
		return a.q.Identify
	}
	return a.q.Responses
}

// toServe gathers what the vault needs.
func (a *act) toServe(ctx context.Context, b *Batch, s sessionRow, row actRow) error {
	a.serve = &toServe{serial: s.serial, claimSeq: a.claim.seq, lossSeq: a.claim.lossSeq, command: s.command, answer: s.answer, responses: a.answers(),
		state: a.q.State, stored: a.claim.stored}
	return a.l.lean(ctx, b, a.serve, row)
}

// lean completes it with the act's row and the log entries that all of it leans on, some of which this batch may be about
// to write.
func (l *Ledger) lean(ctx context.Context, b *Batch, sv *toServe, row actRow) (err error) {
	sv.actSeq, sv.at = row.seq, row.at.UnixMicro()
	if sv.claimBody, err = l.claimBody(ctx, b, sv.claimSeq); err != nil {
		return err
	}
	if _, sv.actBody, err = b.entry(ctx, sv.actSeq); err != nil || sv.lossSeq == 0 {
		return err
	}
	_, sv.lossBody, err = b.entry(ctx, sv.lossSeq)
	return err
}

// onRecord answers with the outcome that ended the claim.
func (a *act) onRecord(ctx context.Context, b *Batch, seq int64, repeated perso.Reason) error {
	f, err := b.finding(ctx, seq)
	if err != nil {
		return err
	}
	if (f.verdict == perso.VerdictGood || f.verdict == perso.VerdictSample) && f.reason == perso.ReasonNone {
		f.reason = repeated
	}
	a.final = &f
	return a.judge(ctx, b, f)
}

// finding reads the verdict that a log entry holds.
func (b *Batch) finding(ctx context.Context, seq int64) (finding, error) {
	kind, body, err := b.entry(ctx, seq)
	if err != nil {
		return finding{}, err
	}
	f := finding{seq: seq, body: body}
	switch kind {
	case entry.KindOutcome:
		e, err := entry.ParseOutcome(body)
		if f.verdict, f.reason = e.Verdict, e.Reason; err != nil || e.Verdict != perso.VerdictGood {
			return f, err
		}
		drawn, err := asSample(ctx, b, e.Chip.Bytes())
		if drawn {
			f.verdict = perso.VerdictSample
		}
		return f, err
	case entry.KindPresent:
		e, err := entry.ParsePresent(body)
		f.verdict, f.reason = e.Verdict, e.Reason
		return f, err
	}
	return f, fmt.Errorf("log entry %d is of kind %q, which holds no verdict", seq, kind)
}

// judge keeps with the presentation what was decided about it.
func (a *act) judge(ctx context.Context, b *Batch, f finding) error {
	return judge(ctx, b, a.lot.name, a.q.Present, a.chip, f)
}

func judge(ctx context.Context, b *Batch, lot perso.Name, p perso.Presentation, chip id.ChipID, f finding) error {
	for known := false; ; known = true {
		n, err := b.Exec(ctx, sqlJudge, string(p.Line), int64(p.Head), int64(p.Number), string(f.verdict), string(f.reason), f.seq)
		if err != nil {
			return fmt.Errorf("recording the verdict on %s: %w", p, err)
		}
		if n == 1 || known { // 0 and known: the chip lies in its bin, and nothing judges it any more
			return nil
		}
		if _, err := b.Exec(ctx, sqlAddPresentation, string(p.Line), int64(p.Head), int64(p.Number), string(lot), chipBytes(chip)); err != nil {
			return fmt.Errorf("recording presentation %s: %w", p, err)
		}
	}
}

// chipBytes is NULL for a chip that could not be read: no two of them are the same.
func chipBytes(c id.ChipID) []byte {
	if c.IsZero() {
		return nil
	}
	return c.Bytes()
}

// alarm refuses, stops the head and says so in the log, once however often the same is asked.
func (a *act) alarm(ctx context.Context, b *Batch, reason perso.Reason, detail string) error {
	subject := presentSubject(a.q.Present)
	if !a.chip.IsZero() {
		subject = chipSubject(a.chip.Bytes())
	}
	e := entry.Alarm{Lot: a.lot.name, Reason: reason, Detail: clean(detail), Present: a.q.Present, At: b.At}
	a.reply = say(perso.VerdictStop, reason, e.Detail)
	return sound(ctx, b, subject, e)
}

// sound logs an alarm unless the last one about the subject said the same.
func sound(ctx context.Context, b *Batch, subject []byte, e entry.Alarm) error {
	last, err := b.newest(ctx, entry.KindAlarm, subject)
	if err != nil {
		return err
	}
	if last != nil {
		before, err := entry.ParseAlarm(last)
		if err != nil {
			return err
		}
		if before.At = e.At; before == e {
			return nil
		}
	}
	_, _, err = b.append(entry.KindAlarm, subject, e)
	return err
}

// maxDetailBytes bounds what an alarm says; details come from other zones.
const maxDetailBytes = 400

// clean makes any text fit for a log entry: printable ASCII without blanks at its ends.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '_'
		}
		return r
	}, text)
	return strings.TrimSpace(text[:min(len(text), maxDetailBytes)])
}

func missing(ok bool, what string, s perso.Session) error {
	if ok {
		return nil
	}
	return fmt.Errorf("%s %s: %w", what, s, ErrNotFound)
}
