package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/id"
)

// claimRow is one claim as the database holds it.
type claimRow struct {
	lot      perso.Name
	unit     perso.Unit
	gen      perso.Generation
	index    perso.EIDIndex
	eid      id.EID
	chip     id.ChipID
	state    perso.UnitState
	seq      int64
	lossSeq  int64
	outcome  int64
	stored   bus.Stored
	sessions uint64
	failures uint64
	counter  uint64
	at       perso.Presentation
}

func scanClaim(row sqldb.Row) (c claimRow, err error) {
	var eid, chip []byte
	err = row.Scan((*string)(&c.lot), (*uint32)(&c.unit), (*uint8)(&c.gen), (*uint32)(&c.index), &eid, &chip, (*string)(&c.state), &c.seq, &c.lossSeq, &c.outcome,
		&c.stored.Cert, &c.stored.Key, &c.sessions, &c.failures, &c.counter, (*string)(&c.at.Line), &c.at.Head, &c.at.Number)
	if err != nil {
		return c, err
	}
	if c.eid, err = id.EIDFromBytes(eid); err != nil {
		return c, fmt.Errorf("reading a claim's EID: %w", err)
	}
	if c.chip, err = id.ChipIDFromBytes(chip); err != nil {
		return c, fmt.Errorf("reading a claim's chip: %w", err)
	}
	return c, nil
}

// findClaim reads at most one claim; found is false when there is none.
func findClaim(ctx context.Context, tx sqldb.Tx, query string, args ...any) (c claimRow, found bool, err error) {
	c, err = scanClaim(tx.QueryRow(ctx, query, args...))
	if errors.Is(err, sqldb.ErrNoRows) {
		return claimRow{}, false, nil
	}
	if err != nil {
		return claimRow{}, false, fmt.Errorf("reading a claim: %w", err)
	}
	return c, true, nil
}

// sessionRow is one secure channel as the database holds it.
type sessionRow struct {
	lot     perso.Name
	unit    perso.Unit
	gen     perso.Generation
	serial  uint64
	command []byte
	answer  []byte
	at      perso.Presentation
	lastN   uint8
	ended   bool
	touched time.Time
}

func findSession(ctx context.Context, tx sqldb.Tx, s perso.Session) (r sessionRow, found bool, err error) {
	var touched int64
	err = tx.QueryRow(ctx, sqlSession, s[:]).Scan((*string)(&r.lot), (*uint32)(&r.unit), (*uint8)(&r.gen), &r.serial, &r.command, &r.answer,
		(*string)(&r.at.Line), &r.at.Head, &r.at.Number, &r.lastN, &r.ended, &touched)
	if errors.Is(err, sqldb.ErrNoRows) {
		return r, false, nil
	}
	if err != nil {
		return r, false, fmt.Errorf("reading session %s: %w", s, err)
	}
	r.touched = fromMicros(touched)
	return r, true, nil
}

// actRow is one act of a session.
type actRow struct {
	hash      [32]byte
	responses []byte
	state     []byte
	seq       int64
	at        time.Time
}

func findAct(ctx context.Context, tx sqldb.Tx, s perso.Session, n uint8) (r actRow, found bool, err error) {
	var hash []byte
	var at int64
	err = tx.QueryRow(ctx, sqlAct, s[:], n).Scan(&hash, &r.responses, &r.state, &r.seq, &at)
	if errors.Is(err, sqldb.ErrNoRows) {
		return r, false, nil
	}
	if err != nil {
		return r, false, fmt.Errorf("reading act %d of session %s: %w", n, s, err)
	}
	copy(r.hash[:], hash)
	r.at = fromMicros(at)
	return r, true, nil
}

// presentRow is one presentation; verdict is empty while none was given.
type presentRow struct {
	lot     perso.Name
	chip    []byte
	verdict perso.Verdict
	reason  perso.Reason
	bin     perso.Verdict
	seq     int64
}

func findPresentation(ctx context.Context, tx sqldb.Tx, p perso.Presentation) (r presentRow, found bool, err error) {
	err = tx.QueryRow(ctx, sqlPresentation, string(p.Line), p.Head, p.Number).
		Scan((*string)(&r.lot), &r.chip, (*string)(&r.verdict), (*string)(&r.reason), (*string)(&r.bin), &r.seq)
	if errors.Is(err, sqldb.ErrNoRows) {
		return r, false, nil
	}
	if err != nil {
		return r, false, fmt.Errorf("reading presentation %s: %w", p, err)
	}
	return r, true, nil
}

// count adds one to a counter row that may not exist yet.
func count(ctx context.Context, tx sqldb.Tx, add, bump string, key ...any) error {
	if _, err := tx.Exec(ctx, add, key...); err != nil {
		return fmt.Errorf("counting: %w", err)
	}
	if _, err := tx.Exec(ctx, bump, key...); err != nil {
		return fmt.Errorf("counting: %w", err)
	}
	return nil
}

func readEntry(ctx context.Context, tx sqldb.Tx, seq int64) (kind string, body []byte, err error) {
	if err = tx.QueryRow(ctx, sqlEntry, seq).Scan(&kind, &body); err != nil {
		return "", nil, fmt.Errorf("reading log entry %d: %w", seq, err)
	}
	return kind, body, nil
}
