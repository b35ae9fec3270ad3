package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
)

// settle makes the vault's answer durable (phase D), or asks for the act to be served again.
func (a *act) settle(ctx context.Context, b *Batch) error {
	a.decision = decision{}
	s, ok, err := findSession(ctx, b, a.q.Session)
	if err != nil || !ok {
		return errors.Join(err, missing(ok, "the session to settle,", a.q.Session))
	}
	c, r := s.claim, a.result
	a.claim = c
	if a.q.N == 0 && !s.ended && r.Refused == "" && r.Failed == nil {
		// The vault has seen that the chip itself said its sequence counter. Before that a bad contact may have said it, and
		// whoever comes after would be taken for a twin.
		if _, err := b.Exec(ctx, sqlClaimCounter, string(c.lot), int64(c.unit), int64(c.gen), int64(a.counter())); err != nil {
			return fmt.Errorf("keeping the sequence counter of chip %s: %w", c.chip, err)
		}
	}
	switch {
	case s.ended:
		// While the vault worked, the same act was settled already, or the chip went to another session: what this one
		// learned is not about the chip as it is now.
		return a.afterEnd(ctx, b)
	case r.Refused != "":
		return a.alarm(ctx, b, perso.ReasonVaultRefused, r.Refused)
	case c.state == perso.UnitOpen && r.Failed != nil:
		return a.failed(ctx, b, *r.Failed)
	case c.state == perso.UnitOpen && r.Good:
		return a.good(ctx, b)
	case c.state == perso.UnitOpen:
		if err := a.window(ctx, b); err != nil || a.reply == nil {
			return err
		}
		// Frozen while the vault worked: the window stays here. The same act gets it when the work goes on.
		_, err := a.standsStill(ctx, b)
		return err
	case r.Failed != nil:
		return a.alarm(ctx, b, perso.ReasonTwin, fmt.Sprintf("chip %s is %s on record and fails now: %s", c.chip, c.state, r.Failed.Reason))
	}
	// Good on record: the vault has just seen this chip prove that it holds the card's keys.
	if err := endSessions(ctx, b, c); err != nil {
		return err
	}
	return a.onRecord(ctx, b, c.outcome, perso.ReasonAlreadyGood)
}

// window stores what cannot be computed again, then lets the script leave.
func (a *act) window(ctx context.Context, b *Batch) error {
	if a.result.Stored != nil {
		kept, err := a.store(ctx, b, *a.result.Stored)
		if err != nil {
			return err
		}
		if !kept {
			a.again = true // another certificate for this key, another pair or another Ki was first: serve with that one
			return nil
		}
	}
	served := sha256.Sum256(a.result.State)
	if _, err := b.Exec(ctx, sqlActServed, string(a.claim.lot), int64(a.serve.serial), int64(a.q.N), served[:], a.result.Final); err != nil {
		return fmt.Errorf("noting that act %d of session %s was served: %w", a.q.N, a.q.Session, err)
	}
	a.reply = &bus.ActReply{Window: a.result.Window, State: a.result.State}
	if len(a.result.Sealed) > 0 {
		a.reply.Sealed = &bus.SealedWindow{Unit: a.claim.unit, Gen: a.claim.gen, Data: a.result.Sealed}
	}
	return nil
}

// store puts what is new into the claim: each part that the vault made.
func (a *act) store(ctx context.Context, b *Batch, s bus.Stored) (kept bool, err error) {
	if len(s.Ki) > 0 {
		if kept, err := a.storeKi(ctx, b, s.Ki); err != nil || !kept {
			return kept, err
		}
	}
	if len(s.Cert) == 0 {
		return true, nil
	}
	return a.storeCertificate(ctx, b, s)
}

// storeKi puts a sealed Ki into the claim if it has none: once for ever, because a script with it may have left.
func (a *act) storeKi(ctx context.Context, b *Batch, ki []byte) (bool, error) {
	c := &a.claim
	n, err := b.Exec(ctx, sqlClaimKi, string(c.lot), int64(c.unit), int64(c.gen), ki)
	if err != nil {
		return false, fmt.Errorf("storing the sealed Ki of chip %s: %w", c.chip, err)
	}
	if n > 0 {
		c.stored.Ki = ki
	}
	return string(c.stored.Ki) == string(ki), nil
}

// storeCertificate puts a certificate into the claim by compare-and-set on its key, and logs it with what it supersedes. The
// sealed private key of a pair from the HSM goes with it, until the verdict.
func (a *act) storeCertificate(ctx context.Context, b *Batch, s bus.Stored) (bool, error) {
	c := a.claim
	if len(s.Pair) > 0 && !bytes.Equal(c.stored.Key, a.serve.stored.Key) {
		return bytes.Equal(c.stored.Cert, s.Cert), nil // the same act was served twice at once: the pair that was first goes to the chip
	}
	n, err := b.Exec(ctx, sqlClaimCert, string(c.lot), int64(c.unit), int64(c.gen), s.Cert, s.Key, s.Pair)
	if err != nil {
		return false, fmt.Errorf("storing the certificate of chip %s: %w", c.chip, err)
	}
	if n == 0 {
		return string(c.stored.Cert) == string(s.Cert), nil
	}
	b.erased = b.erased || len(c.stored.Pair) > 0
	e := entry.Certificate{Lot: c.lot, Unit: c.unit, Gen: c.gen, EID: c.eid, Cert: sha256.Sum256(s.Cert), Key: sha256.Sum256(s.Key), At: b.At}
	if len(c.stored.Cert) > 0 {
		e.Supersedes = sha256.Sum256(c.stored.Cert)
	}
	_, _, err = b.append(entry.KindCertificate, unitSubject(c.lot, c.unit), e)
	return true, err
}

// good ends the claim: the vault has verified the product's proof. GOOD is terminal.
func (a *act) good(ctx context.Context, b *Batch) error {
	e := a.outcome(b, perso.VerdictGood, perso.ReasonNone)
	if len(a.claim.stored.Cert) > 0 {
		e.Cert = sha256.Sum256(a.claim.stored.Cert)
	}
	e.Receipt = entry.Hash(a.result.Receipt)
	put := e.Verdict
	if a.lot.policy.Sampling != "" {
		before, err := readCounts(ctx, b, a.lot.name)
		if err != nil {
			return err
		}
		if put, err = a.draw(ctx, b, before, e); err != nil {
			return err
		}
	}
	if err := a.end(ctx, b, e, put, perso.UnitGood, sqlLotGood); err != nil {
		return err
	}
	return a.completeWhenOver(ctx, b)
}

// failed lets the chip be contacted again, or rejects it.
func (a *act) failed(ctx context.Context, b *Batch, f bus.Failed) error {
	c, waited := a.claim, f.Reason == perso.ReasonStale // the chip did nothing wrong
	if !f.Again || !waited && c.failures+1 >= maxFailures {
		return a.reject(ctx, b, f)
	}
	if !waited {
		if _, err := b.Exec(ctx, sqlClaimFailed, string(c.lot), int64(c.unit), int64(c.gen)); err != nil {
			return fmt.Errorf("counting a failure of chip %s: %w", c.chip, err)
		}
	}
	if err := endSessions(ctx, b, c); err != nil {
		return err
	}
	found, err := presentFinding(ctx, b, c.lot, a.q.Present, c.chip, perso.VerdictRecontact, f.Reason)
	if err != nil {
		return err
	}
	a.reply = found.told()
	return nil
}

func endSessions(ctx context.Context, b *Batch, c claimRow) error {
	if _, err := b.Exec(ctx, sqlSessionsEnd, string(c.lot), int64(c.unit), int64(c.gen)); err != nil {
		return fmt.Errorf("ending sessions of chip %s: %w", c.chip, err)
	}
	return nil
}

// reject ends the claim as lost. The EID is retired with its chip; the unit may be made again in the next generation.
func (a *act) reject(ctx context.Context, b *Batch, f bus.Failed) error {
	c := a.claim
	e := a.outcome(b, perso.VerdictRejectLive, perso.Reason(clean(string(f.Reason))))
	e.Step, e.SW = clean(f.Step), f.SW
	if f.Reason == perso.ReasonAbandoned { // the vault's own word that it never calls the unit good
		e.Receipt = entry.Hash(a.result.Receipt)
	}
	if err := a.end(ctx, b, e, e.Verdict, perso.UnitLost, sqlLotLost); err != nil {
		return err
	}
	if a.lot.release.Remake != remakeFresh && c.gen < perso.MaxGeneration {
		if _, err := b.Exec(ctx, sqlAddLost, string(c.lot), int64(c.unit), int64(c.gen)); err != nil {
			return fmt.Errorf("noting unit %d as lost: %w", c.unit, err)
		}
	}
	return a.completeWhenOver(ctx, b)
}

func (a *act) outcome(b *Batch, v perso.Verdict, r perso.Reason) entry.Outcome {
	c := a.claim
	return entry.Outcome{Lot: c.lot, Unit: c.unit, Gen: c.gen, EID: c.eid, Chip: c.chip, Verdict: v, Reason: r, Session: a.q.Session, Present: a.q.Present, At: b.At}
}

// end writes the outcome: entry, claim, lot counters, sessions, presentation. put is the verdict by which its chip is put away.
func (a *act) end(ctx context.Context, b *Batch, e entry.Outcome, put perso.Verdict, state perso.UnitState, sqlCounter string) error {
	c := a.claim
	seq, body, err := b.append(entry.KindOutcome, unitSubject(c.lot, c.unit), e)
	if err != nil {
		return err
	}
	n, err := b.Exec(ctx, sqlClaimEnd, string(c.lot), int64(c.unit), int64(c.gen), string(state), seq)
	if err != nil || n != 1 {
		return errors.Join(err, missing(n == 1, "the open claim of session", a.q.Session))
	}
	if _, err := b.Exec(ctx, sqlCounter, string(c.lot)); err != nil {
		return fmt.Errorf("counting the outcome: %w", err)
	}
	if err := endSessions(ctx, b, c); err != nil {
		return err
	}
	forgotten, err := b.Exec(ctx, sqlForgetDue, string(c.lot), int64(c.unit), int64(c.gen))
	if err != nil {
		return fmt.Errorf("forgetting the answers of chip %s: %w", c.chip, err)
	}
	b.erased = b.erased || forgotten > 0 || len(c.stored.Pair) > 0
	if err := count(ctx, b, sqlAddReasonCount, sqlReasonCount, string(c.lot), string(e.Verdict), string(e.Reason)); err != nil {
		return err
	}
	a.final = &finding{verdict: put, reason: e.Reason, seq: seq, body: body}
	return judge(ctx, b, c.lot, a.q.Present, c.chip, *a.final)
}

// presentFinding records a verdict on a presentation that ends no claim. Asked again it finds what it recorded.
func presentFinding(ctx context.Context, b *Batch, lot perso.Name, p perso.Presentation, chip id.ChipID, v perso.Verdict, r perso.Reason) (finding, error) {
	known, found, err := findPresentation(ctx, b, p)
	if err != nil {
		return finding{}, err
	}
	if found && known.seq > 0 {
		return b.finding(ctx, known.seq)
	}
	subject := presentSubject(p)
	if !chip.IsZero() {
		subject = chipSubject(chip.Bytes())
	}
	seq, body, err := b.append(entry.KindPresent, subject, entry.Present{Lot: lot, Present: p, Chip: chip, Verdict: v, Reason: r, At: b.At})
	if err != nil {
		return finding{}, err
	}
	if err := count(ctx, b, sqlAddReasonCount, sqlReasonCount, string(lot), string(v), string(r)); err != nil {
		return finding{}, err
	}
	f := finding{verdict: v, reason: r, seq: seq, body: body}
	return f, judge(ctx, b, lot, p, chip, f)
}

// told is how a head hears of a finding that is not final.
func (f finding) told() *bus.ActReply {
	text := "see the log"
	if f.verdict == perso.VerdictRecontact {
		text = "contact the same chip again"
	}
	return say(f.verdict, f.reason, text)
}

// proven gives a verdict its place in a signed checkpoint, so that a head bins on the log and on nothing else.
func (l *Ledger) proven(ctx context.Context, f finding) (bus.Verdict, error) {
	t, note, err := l.sign(ctx, f.seq+1)
	if err != nil {
		return bus.Verdict{}, err
	}
	v := bus.Verdict{Verdict: f.verdict, Reason: f.reason, Entry: f.body, Seq: f.seq, Checkpoint: note}
	err = l.fromEdge(ctx, func(tx sqldb.Tx) error {
		p, err := prove(ctx, tx, t, f.seq, f.body)
		v.Proof = p.Proof
		return err
	})
	return v, err
}
