package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/internal/tree"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// maxServeItems bounds one request to the vault: windows of 10 KiB for each of 32 items stay well below a message.
const maxServeItems = 32

// serveBatch has the vault serve acts that gathered, lot by lot, against one signed checkpoint (phases B and C).
func (l *Ledger) serveBatch(ctx context.Context, acts []*act) []error {
	errs := make([]error, len(acts))
	fail := func(err error) []error {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	var newest int64
	for _, a := range acts {
		newest = max(newest, a.serve.actSeq+1)
	}
	// No card without a log entry (I5): the vault renders only against entries of a checkpoint that it signed itself.
	t, note, err := l.sign(ctx, newest)
	if err != nil {
		return fail(err)
	}
	byLot := map[perso.Name][]int{}
	for i, a := range acts {
		byLot[a.lot.name] = append(byLot[a.lot.name], i)
	}
	for _, members := range byLot {
		err := l.serveLot(ctx, t, note, acts, members)
		for _, i := range members {
			if errs[i] = err; len(members) > 1 && isRefusal(err) {
				errs[i] = l.serveLot(ctx, t, note, acts, []int{i}) // so that one member's fault is its own
			}
		}
	}
	return errs
}

// isRefusal tells an answer of the vault that may be due to one item from its silence, which is not.
func isRefusal(err error) bool {
	var fault *bus.Fault
	return errors.As(err, &fault) && fault.Code != bus.FaultBusy
}

func (l *Ledger) serveLot(ctx context.Context, t *tree.Log, note []byte, acts []*act, members []int) error {
	lt := acts[members[0]].lot
	q := bus.ServeRequest{Lot: lt.name, Checkpoint: note}
	err := l.fromEdge(ctx, func(tx sqldb.Tx) error {
		q.Items = q.Items[:0]
		for _, i := range members {
			item, err := acts[i].serve.item(ctx, tx, t)
			if err != nil {
				return err
			}
			q.Items = append(q.Items, item)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := l.addRows(ctx, lt, acts, members, q.Items); err != nil {
		return err
	}
	var a bus.ServeReply
	if err := l.withLot(ctx, lt, func() (err error) {
		a, err = l.vault.Serve(ctx, q)
		return err
	}); err != nil {
		return err
	}
	if len(a.Results) != len(members) {
		return fmt.Errorf("the vault answered %d of %d acts", len(a.Results), len(members))
	}
	for k, i := range members {
		acts[i].result = a.Results[k]
	}
	return nil
}

func (s *toServe) item(ctx context.Context, tx sqldb.Tx, t *tree.Log) (item bus.ServeItem, err error) {
	item = bus.ServeItem{Command: s.command, Answer: s.answer, Responses: s.responses, State: s.state, Stored: s.stored, At: time.UnixMicro(s.at).UTC()}
	if item.Claim, err = prove(ctx, tx, t, s.claimSeq, s.claimBody); err != nil {
		return item, err
	}
	if item.Act, err = prove(ctx, tx, t, s.actSeq, s.actBody); err != nil {
		return item, err
	}
	if s.lossSeq > 0 {
		loss, err := prove(ctx, tx, t, s.lossSeq, s.lossBody)
		if err != nil {
			return item, err
		}
		item.Loss = &loss
	}
	return item, nil
}

// withLot runs a request to the vault, and once more after opening the lot there when the vault has restarted.
func (l *Ledger) withLot(ctx context.Context, lt *lot, f func() error) error {
	err := f()
	var fault *bus.Fault
	if !errors.As(err, &fault) || fault.Code != bus.FaultLotNotOpen {
		return err
	}
	if err := l.openAtVault(ctx, lt); err != nil {
		return err
	}
	return f()
}

// openAtVault hands the vault the officers' own words; it trusts nothing else that we say.
func (l *Ledger) openAtVault(ctx context.Context, lt *lot) error {
	q := bus.OpenLotRequest{Release: lt.signed}
	err := l.db.View(ctx, func(tx sqldb.Tx) error {
		q.Register = nil
		if err := tx.QueryRow(ctx, sqlScript, lt.script[:]).Scan(&q.Script); err != nil {
			return fmt.Errorf("reading the compiled script: %w", err)
		}
		register, err := registerChain(ctx, tx)
		for _, s := range register {
			q.Register = append(q.Register, s.Encode())
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("opening lot %q at the vault: %w", lt.name, err)
	}
	if _, err := l.vault.OpenLot(ctx, q); err != nil {
		return fmt.Errorf("opening lot %q at the vault: %w", lt.name, err)
	}
	return nil
}

// registerChain reads the officer register, genesis first.
func registerChain(ctx context.Context, tx sqldb.Tx) (chain []statement.Signed, err error) {
	err = tx.Each(ctx, func(row sqldb.Row) error {
		var raw []byte
		if err := row.Scan(&raw); err != nil {
			return err
		}
		s, err := statement.DecodeSigned(raw)
		if err != nil {
			return err
		}
		chain = append(chain, s)
		return nil
	}, sqlStatementsKind, registerLot)
	if err != nil {
		return nil, fmt.Errorf("reading the officer register: %w", err)
	}
	return chain, nil
}

// registerLot is where the statement table keeps the officer register: under no lot.
const registerLot = ""

// Challenges reserves serial numbers durably and has the vault compute their host challenges.
func (l *Ledger) Challenges(ctx context.Context, q bus.ChallengesRequest) (bus.ChallengesReply, error) {
	if q.Count == 0 || q.Count > bus.MaxBatch {
		return bus.ChallengesReply{}, bus.Refuse(bus.FaultBadMessage, "%d challenges are not within 1 to %d", q.Count, bus.MaxBatch)
	}
	lt, err := l.lot(ctx, q.Lot)
	if err != nil {
		return bus.ChallengesReply{}, err
	}
	var first uint64
	if err := l.commit(ctx, func(ctx context.Context, b *Batch) error {
		n, err := readCounts(ctx, b, q.Lot)
		if err != nil {
			return err
		}
		first = n.challenge
		_, err = b.Exec(ctx, sqlReserve, string(q.Lot), int64(q.Count))
		return err
	}); err != nil {
		return bus.ChallengesReply{}, fmt.Errorf("reserving host challenges of lot %q: %w", q.Lot, err)
	}
	var a bus.VaultChallengesReply
	err = l.withLot(ctx, lt, func() (err error) {
		a, err = l.vault.Challenges(ctx, bus.VaultChallengesRequest{Lot: q.Lot, First: first, Count: q.Count})
		return err
	})
	if err == nil && len(a.Values) != int(q.Count) {
		err = fmt.Errorf("the vault gave %d", len(a.Values))
	}
	if err != nil {
		return bus.ChallengesReply{}, fmt.Errorf("computing %d host challenges of lot %q: %w", q.Count, q.Lot, err)
	}
	return bus.ChallengesReply{First: first, Values: a.Values}, nil
}
