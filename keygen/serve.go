package keygen

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
)

// batch is one Serve request at work on a locked lot.
type batch struct {
	v     *Vault
	l     *lot
	cp    checkpoint.Checkpoint
	items []bus.ServeItem
	base  uint64     // number of the first receipt of the wave that landed
	fresh []rendered // its receipts, which are not durable yet
	wave  []*run     // admitted, to be played next (wave.go)

	results []bus.ServeResult // of the request's items
}

// Serve answers acts. Receipts of the whole batch are durable before any answer leaves; a batch is answered as a whole or
// not at all. Batches of one lot are served side by side.
func (v *Vault) Serve(ctx context.Context, q bus.ServeRequest) (bus.ServeReply, error) {
	if err := v.cfg.Life.Present(ctx); err != nil {
		return bus.ServeReply{}, err
	}
	if len(q.Items) == 0 || len(q.Items) > bus.MaxBatch {
		return bus.ServeReply{}, bus.Refuse(bus.FaultBadMessage, "%d acts, want 1 to %d", len(q.Items), bus.MaxBatch)
	}
	cp, err := v.openCheckpoint(q.Checkpoint)
	if err != nil {
		return bus.ServeReply{}, err
	}
	l, err := v.take(q.Lot)
	if err != nil {
		return bus.ServeReply{}, err
	}
	defer l.mu.Unlock()
	if l.unfit != nil {
		return bus.ServeReply{}, fmt.Errorf("serving lot %q: %w", q.Lot, l.unfit)
	}
	if err := v.mayServe(l.release, q.Items); err != nil {
		return bus.ServeReply{}, fmt.Errorf("serving lot %q: %w", q.Lot, err)
	}
	if err := v.keepPace(l, len(q.Items)); err != nil {
		return bus.ServeReply{}, err
	}
	b := &batch{v: v, l: l, cp: cp, items: q.Items, results: make([]bus.ServeResult, len(q.Items))}
	if err := b.serve(ctx); err != nil {
		return bus.ServeReply{}, fmt.Errorf("serving lot %q: %w", q.Lot, err)
	}
	return bus.ServeReply{Results: b.results}, nil
}

// serve answers all items. An error concerns the whole batch.
func (b *batch) serve(ctx context.Context) error {
	for i := range b.items {
		if err := b.admit(ctx, i, &b.items[i]); err != nil {
			return err
		}
	}
	return b.fly(ctx)
}

// commit stores the receipts of a wave.
func (b *batch) commit() error {
	if len(b.fresh) == 0 {
		return nil
	}
	records := make([][]byte, len(b.fresh))
	for i, r := range b.fresh {
		var err error
		if records[i], err = bus.Encode(r); err != nil {
			return err
		}
	}
	return b.v.cfg.Journal.Append(b.l.release.Lot, b.base, records)
}

// servedBefore finds what this vault answered to the act; other answers of the chip under the same number are a replay, and so is the session
// of another claim: what was answered under that allows this one nothing.
func (b *batch) servedBefore(a entry.Act, claim [32]byte) (*rendered, error) {
	seq, known, err := b.l.seen.act(a.Session, a.Serial, a.N)
	if err != nil || !known {
		return nil, err
	}
	r, err := b.v.recordAt(b.l, seq)
	if err != nil {
		return nil, err
	}
	if r.receipt.Session != a.Session || r.receipt.N != a.N {
		return nil, fmt.Errorf("receipt %d is not of act %d of session %s", seq, a.N, a.Session)
	}
	if r.receipt.Claim != claim {
		return nil, refuse("%s: session %s is of another claim", perso.ReasonReplay, a.Session)
	}
	if r.receipt.Responses != a.Responses {
		return nil, refuse("%s: act %d of session %s was served for other answers", perso.ReasonReplay, a.N, a.Session)
	}
	return &r, nil
}

// receipted gives the result its receipt: the one of before when the same was answered before, else a new one.
func (b *batch) receipted(r *run, result bus.ServeResult, word string) (bus.ServeResult, error) {
	e := entry.Receipt{Vault: b.v.cfg.Name, Lot: r.claim.Lot, Unit: r.claim.Unit, Gen: r.claim.Gen, Claim: r.vars.hash,
		Session: r.act.Session, N: r.act.N, Responses: r.act.Responses, Result: word, At: r.act.At}
	if len(result.Window) > 0 {
		encoded, err := bus.Encode(result.Window)
		if err != nil {
			return bus.ServeResult{}, err
		}
		e.Output = sha256.Sum256(encoded)
	}
	if len(result.Sealed) > 0 {
		e.Output = r.output
	}
	if p := r.previous; p != nil && p.receipt.Result == e.Result && p.receipt.Output == e.Output {
		result.Receipt = p.Receipt
		return result, nil
	}
	made, err := b.l.sign(&e, b.l.next, b.l.head)
	if err != nil {
		return bus.ServeResult{}, err
	}
	record := rendered{Receipt: made, Serial: r.act.Serial, Index: uint32(r.claim.Index), Secrets: r.state.Secrets, Stamp: r.state.Stamp, receipt: e}
	switch {
	case r.stored != nil:
		record.Cert, record.Key, record.Ki = r.stored.Cert, r.stored.Key, r.stored.Ki
	case result.Good:
		record.Cert, record.Ki = r.cert, r.ki
	}
	b.fresh = append(b.fresh, record)
	if err := b.l.seen.add(record); err != nil {
		return bus.ServeResult{}, err
	}
	b.l.next, b.l.head = b.l.next+1, entry.Hash(made)
	result.Receipt = made
	return result, nil
}
