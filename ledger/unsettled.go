package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// unsettled looks whether the chip's last session asked for the verdict and the answer was lost on the way. The vault may
// have found the chip good, and never makes the unit again then: that must be on record before anything else can end the
// claim. It reports true when the head is to ask again.
func (a *act) unsettled(ctx context.Context, b *Batch) (bool, error) {
	c := a.claim
	if c.state != perso.UnitOpen {
		return false, nil
	}
	q := bus.ActRequest{Lot: c.lot}
	var session, responses []byte
	var serial int64
	err := b.QueryRow(ctx, sqlUnsettled, string(c.lot), int64(c.unit), int64(c.gen)).
		Scan(&session, &serial, (*string)(&q.Present.Line), &q.Present.Head, &q.Present.Number, &q.N)
	if err == nil {
		err = b.QueryRow(ctx, sqlDue, string(c.lot), serial, int64(q.N)).Scan(&responses, &q.State)
	}
	if errors.Is(err, sqldb.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for a verdict of chip %s: %w", c.chip, err)
	}
	if q.Responses, err = bus.Decode[[][]byte](responses); err != nil {
		return false, err
	}
	copy(q.Session[:], session)
	a.before, a.reply = &q, hold(perso.ReasonSessionElse, "the verdict on the chip's last session is being settled")
	return true, nil
}

// finish settles an act whose answer was lost, then ends its session. While the vault does not serve the act, the session
// stays as it is: a refusal of the lot, or of this act, says nothing about the chip, nor does a freeze of the line on which the act
// was. Then the head hears what stands in the way; a refusal of the act stops it, and an officer must look.
func (l *Ledger) finish(ctx context.Context, q bus.ActRequest) (stop *bus.ActReply, err error) {
	reply, err := l.Act(ctx, q)
	var unserved *servingError
	switch {
	case errors.As(err, &unserved), err != nil && !isRefusal(err):
		return nil, err
	case err == nil && reply.Verdict != nil && (reply.Verdict.Verdict == perso.VerdictStop || reply.Verdict.Verdict == perso.VerdictHold):
		return &reply, nil
	}
	return nil, l.commit(ctx, func(ctx context.Context, b *Batch) error {
		_, err := b.Exec(ctx, sqlSessionEnd, q.Session[:])
		return err
	})
}

// servingError is a failure at the vault, which may refuse in words like the ledger's own.
type servingError struct{ error }

func (e *servingError) Unwrap() error { return e.error }
