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

// serveBatch has a vault serve acts of its lots that gathered, lot by lot, against one signed checkpoint (phases B and C).
func (l *Ledger) serveBatch(ctx context.Context, d *door, acts []*act) []error {
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
	// No card without a log entry (I5): the vault renders only against entries of a checkpoint that it signed or followed.
	t, note, err := l.sign(ctx, newest)
	if err == nil {
		err = l.showNew(ctx, d, t, note)
	}
	if err == nil && d.deaf.Load() {
		_, err = l.tell(ctx, d)
	}
	if err != nil {
		return fail(err)
	}
	byLot := map[perso.Name][]int{}
	for i, a := range acts {
		byLot[a.lot.name] = append(byLot[a.lot.name], i)
	}
	for _, members := range byLot {
		err := l.serveLot(ctx, d, t, note, acts, members)
		for _, i := range members {
			if errs[i] = err; len(members) > 1 && isRefusal(err) {
				errs[i] = l.serveLot(ctx, d, t, note, acts, []int{i}) // so that one member's fault is its own
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

func (l *Ledger) serveLot(ctx context.Context, d *door, t *tree.Log, note []byte, acts []*act, members []int) error {
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
	if err := l.withLot(ctx, lt, d, t, note, func() (err error) {
		a, err = d.vault.Serve(ctx, q)
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

// maxWithLot bounds how often a request to the vault is tried: once, once more with the lot opened there, and once more
// with its checkpoint shown.
const maxWithLot = 3

// withLot runs a request to the vault, and again after opening the lot there, or showing it the checkpoint of the request,
// when the vault has restarted.
func (l *Ledger) withLot(ctx context.Context, lt *lot, d *door, t *tree.Log, note []byte, f func() error) error {
	for try := 1; ; try++ {
		err := d.heard(l.now(), f())
		var fault *bus.Fault
		if try == maxWithLot || !errors.As(err, &fault) {
			return err
		}
		switch {
		case fault.Code == bus.FaultLotNotOpen:
			err = l.openAtVault(ctx, lt, d)
		case fault.Code == bus.FaultBehind && t != nil:
			err = l.show(ctx, d, t, note)
		default:
			return err
		}
		if err != nil {
			return err
		}
	}
}

// openAtVault hands the vault the officers' own words, and the log vault's that the lot is its own; it trusts nothing else
// that we say.
func (l *Ledger) openAtVault(ctx context.Context, lt *lot, d *door) error {
	if lt.forgotten {
		return bus.Refuse(bus.FaultRefused, "lot %q can't be opened: its key was destroyed, and its release deleted", lt.name)
	}
	q := bus.OpenLotRequest{Release: lt.signed}
	var err error
	if q.Register, err = l.tell(ctx, d); err != nil {
		return fmt.Errorf("opening lot %q at the vault: %w", lt.name, err)
	}
	err = l.db.View(ctx, func(tx sqldb.Tx) (err error) {
		if err := tx.QueryRow(ctx, sqlScript, lt.script[:]).Scan(&q.Script); err != nil {
			return fmt.Errorf("reading the compiled script: %w", err)
		}
		if q.Packages, err = packagesOf(ctx, tx, lt.release); err != nil || d.follower == nil {
			return err
		}
		var hash []byte
		if err := tx.QueryRow(ctx, sqlAssigned, string(lt.name)).Scan(new(string), &hash); err != nil {
			return fmt.Errorf("reading the assignment: %w", err)
		}
		return tx.QueryRow(ctx, sqlStatement, hash).Scan(&q.Assigned)
	})
	if err == nil {
		_, err = d.vault.OpenLot(ctx, q)
		err = d.heard(l.now(), err)
	}
	if err != nil {
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
	if q.Over != (q.Count == 0) || q.Count > bus.MaxBatch {
		return bus.ChallengesReply{}, bus.Refuse(bus.FaultBadMessage, "%d challenges are not within 1 to %d", q.Count, bus.MaxBatch)
	}
	lt, err := l.lot(ctx, q.Lot)
	if err != nil {
		return bus.ChallengesReply{}, err
	}
	if q.Over {
		return l.over(ctx, lt)
	}
	d, err := l.doorOf(ctx, lt)
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
	err = l.withLot(ctx, lt, d, nil, nil, func() (err error) {
		a, err = d.vault.Challenges(ctx, bus.VaultChallengesRequest{Lot: q.Lot, First: first, Count: q.Count})
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

// over tells a line whose reel is empty whether its lot wants no more chips: with a chip to present a head would hear it by its verdict.
func (l *Ledger) over(ctx context.Context, lt *lot) (a bus.ChallengesReply, err error) {
	err = l.db.View(ctx, func(tx sqldb.Tx) error {
		n, err := readCounts(ctx, tx, lt.name)
		a.Over = n.state == perso.LotComplete || n.state == perso.LotClosed
		return err
	})
	return a, err
}
