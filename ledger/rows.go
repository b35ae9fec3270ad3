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
	eid      id.EID // zero where the product has none
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
		&c.stored.Cert, &c.stored.Key, &c.stored.Ki, &c.stored.Pair, &c.sessions, &c.failures, &c.counter, (*string)(&c.at.Line), &c.at.Head, &c.at.Number)
	if err != nil {
		return c, err
	}
	if len(eid) > 0 {
		if c.eid, err = id.EIDFromBytes(eid); err != nil {
			return c, fmt.Errorf("reading a claim's EID: %w", err)
		}
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

// sessionRow is one secure channel as the database holds it, with the claim that it is about.
type sessionRow struct {
	claim   claimRow
	serial  uint64
	command []byte
	answer  []byte
	at      perso.Presentation
	lastN   uint8
	ended   bool
	touched time.Time
}

func findSession(ctx context.Context, tx sqldb.Tx, s perso.Session) (r sessionRow, found bool, err error) {
	var lot string
	var unit, gen, touched int64
	err = tx.QueryRow(ctx, sqlSession, s[:]).Scan(&lot, &unit, &gen, &r.serial, &r.command, &r.answer,
		(*string)(&r.at.Line), &r.at.Head, &r.at.Number, &r.lastN, &r.ended, &touched)
	if errors.Is(err, sqldb.ErrNoRows) {
		return r, false, nil
	}
	if err != nil {
		return r, false, fmt.Errorf("reading session %s: %w", s, err)
	}
	r.touched = fromMicros(touched)
	if r.claim, found, err = findClaim(ctx, tx, sqlClaim, lot, unit, gen); err == nil {
		err = missing(found, "the claim of session", s)
	}
	return r, found, err
}

// actRow is one act of a session.
type actRow struct {
	found  bool
	hash   [32]byte
	served []byte // hash of the state that went out with its window; nil while none did
	final  bool   // the vault said that the answers to the window bring the verdict
	seq    int64
	at     time.Time
}

// findActs reads act n of a session and the one before.
func findActs(ctx context.Context, tx sqldb.Tx, lot perso.Name, serial uint64, n uint8) (before, act actRow, err error) {
	err = tx.Each(ctx, func(row sqldb.Row) error {
		var at int64
		var number uint8
		var hash []byte
		r := actRow{found: true}
		if err := row.Scan(&number, &hash, &r.served, &r.final, &r.seq, &at); err != nil {
			return err
		}
		copy(r.hash[:], hash)
		if r.at = fromMicros(at); number == n {
			act = r
		} else {
			before = r
		}
		return nil
	}, sqlActs, string(lot), int64(serial), int64(n)-1, int64(n))
	if err != nil {
		return before, act, fmt.Errorf("reading act %d of lot %s, challenge %d: %w", n, lot, serial, err)
	}
	return before, act, nil
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

// count adds one to a counter row, which may not exist yet.
func count(ctx context.Context, tx sqldb.Tx, add, bump string, key ...any) error {
	n, err := tx.Exec(ctx, bump, key...)
	if err == nil && n == 0 {
		if _, err = tx.Exec(ctx, add, key...); err == nil {
			_, err = tx.Exec(ctx, bump, key...)
		}
	}
	if err != nil {
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
