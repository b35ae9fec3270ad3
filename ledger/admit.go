package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
)

// admit decides an act by data only (phase A).
func (a *act) admit(ctx context.Context, b *Batch) error {
	a.decision, a.serve, a.claim = decision{}, nil, claimRow{}
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
	row, found, err := findAct(ctx, b, a.q.Session, a.q.N)
	if err != nil {
		return err
	}
	if found && row.hash != a.hash {
		return a.alarm(ctx, b, perso.ReasonReplay, fmt.Sprintf("session %s act %d came with other responses", a.q.Session, a.q.N))
	}
	c, ok, err := findClaim(ctx, b, sqlClaim, string(s.lot), uint32(s.unit), uint8(s.gen))
	if err != nil || !ok {
		return errors.Join(err, missing(ok, "the claim of session", a.q.Session))
	}
	a.claim, a.chip = c, c.chip
	if c.state != perso.UnitOpen && !(a.q.N == 0 && c.state == perso.UnitGood && !s.ended) {
		return a.onRecord(ctx, b, c.outcome, perso.ReasonAlreadyGood)
	}
	if s.ended || a.q.N < s.lastN {
		a.fault = bus.Refuse(bus.FaultRefused, "session %s has ended; contact the chip again", a.q.Session)
		return nil
	}
	if !found {
		if row, err = a.next(ctx, b, s); err != nil || a.fault != nil {
			return err
		}
	}
	return a.prepare(ctx, b, s, row)
}

// next records act n > 0: the compare-and-set of (session, n, hash of responses).
func (a *act) next(ctx context.Context, b *Batch, s sessionRow) (actRow, error) {
	if a.q.N != s.lastN+1 || a.q.Present != s.at {
		a.fault = bus.Refuse(bus.FaultRefused, "session %s is at act %d of %s, not at act %d of %s", a.q.Session, s.lastN, s.at, a.q.N, a.q.Present)
		return actRow{}, nil
	}
	n, err := b.Exec(ctx, sqlSessionNext, a.q.Session[:], int64(a.q.N), b.At.UnixMicro())
	if err != nil || n != 1 {
		return actRow{}, errors.Join(err, missing(n == 1, "the session to move on", a.q.Session))
	}
	return a.record(ctx, b, s.serial)
}

// record writes the act's row and log entry.
func (a *act) record(ctx context.Context, b *Batch, serial uint64) (actRow, error) {
	responses, err := bus.Encode(a.answers())
	if err != nil {
		return actRow{}, err
	}
	e := entry.Act{Lot: a.lot.name, Unit: a.claim.unit, Gen: a.claim.gen, Session: a.q.Session, N: a.q.N, Responses: a.hash,
		Serial: serial, Present: a.q.Present, At: b.At}
	seq, _, err := b.append(entry.KindAct, unitSubject(a.lot.name, a.claim.unit), e)
	if err != nil {
		return actRow{}, err
	}
	_, err = b.Exec(ctx, sqlAddAct, a.q.Session[:], int64(a.q.N), a.hash[:], responses, seq, b.At.UnixMicro())
	if err != nil {
		return actRow{}, fmt.Errorf("recording act %d of session %s: %w", a.q.N, a.q.Session, err)
	}
	return actRow{hash: a.hash, responses: responses, seq: seq, at: b.At}, nil
}

func (a *act) answers() [][]byte {
	if a.q.N == 0 {
		return a.q.Identify
	}
	return a.q.Responses
}

// prepare gathers what the vault needs.
func (a *act) prepare(ctx context.Context, b *Batch, s sessionRow, row actRow) error {
	sv := &toServe{claimSeq: a.claim.seq, lossSeq: a.claim.lossSeq, actSeq: row.seq, command: s.command, answer: s.answer,
		responses: a.answers(), stored: a.claim.stored, at: row.at.UnixMicro()}
	if a.q.N > 0 {
		before, ok, err := findAct(ctx, b, a.q.Session, a.q.N-1)
		if err != nil || !ok {
			return errors.Join(err, missing(ok, "the act before, of session", a.q.Session))
		}
		if sv.state = before.state; sv.state == nil {
			a.fault = bus.Refuse(bus.FaultRefused, "act %d of session %s was not served", a.q.N-1, a.q.Session)
			return nil
		}
	}
	a.serve = sv
	return nil
}

// onRecord answers with the outcome that ended the claim.
func (a *act) onRecord(ctx context.Context, b *Batch, seq int64, repeated perso.Reason) error {
	f, err := readFinding(ctx, b, seq)
	if err != nil {
		return err
	}
	if f.verdict == perso.VerdictGood && f.reason == perso.ReasonNone {
		f.reason = repeated
	}
	a.final = &f
	return a.judge(ctx, b, f)
}

func readFinding(ctx context.Context, tx sqldb.Tx, seq int64) (finding, error) {
	kind, body, err := readEntry(ctx, tx, seq)
	if err != nil {
		return finding{}, err
	}
	f := finding{seq: seq, body: body}
	switch kind {
	case entry.KindOutcome:
		e, err := entry.ParseOutcome(body)
		f.verdict, f.reason = e.Verdict, e.Reason
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
	return judge(ctx, b, a.lot.name, a.q.Present, a.chip.Bytes(), f)
}

func judge(ctx context.Context, b *Batch, lot perso.Name, p perso.Presentation, chip []byte, f finding) error {
	if _, err := b.Exec(ctx, sqlAddPresentation, string(p.Line), int64(p.Head), int64(p.Number), string(lot), chip); err != nil {
		return fmt.Errorf("recording presentation %s: %w", p, err)
	}
	if _, err := b.Exec(ctx, sqlJudge, string(p.Line), int64(p.Head), int64(p.Number), string(f.verdict), string(f.reason), f.seq); err != nil {
		return fmt.Errorf("recording the verdict on %s: %w", p, err)
	}
	return nil
}

// alarm refuses, stops the head and says so in the log.
func (a *act) alarm(ctx context.Context, b *Batch, reason perso.Reason, detail string) error {
	e := entry.Alarm{Lot: a.lot.name, Reason: reason, Detail: detail, Present: a.q.Present, At: b.At}
	subject := lotSubject(a.lot.name)
	if !a.chip.IsZero() {
		subject = chipSubject(a.chip.Bytes())
	}
	if _, _, err := b.append(entry.KindAlarm, subject, e); err != nil {
		return err
	}
	a.reply = say(perso.VerdictStop, reason, detail)
	return nil
}

func missing(ok bool, what string, s perso.Session) error {
	if ok {
		return nil
	}
	return fmt.Errorf("%s %s: %w", what, s, ErrNotFound)
}
