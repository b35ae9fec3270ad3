package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/order"
)

// Submit takes an order file in: one log entry, accepted or refused, and nothing else for a refused one. The same content
// twice is one order.
func (l *Ledger) Submit(ctx context.Context, q bus.SubmitRequest) (bus.SubmitReply, error) {
	o, err := order.Intake(bytes.NewReader(q.File), l.cat.Order)
	var faults *order.FaultList
	if errors.As(err, &faults) {
		return l.refuse(ctx, q.File, *faults)
	}
	if err != nil {
		return bus.SubmitReply{}, fmt.Errorf("reading the order: %w", err)
	}
	if fault := kiWanted(o, q.Ki); fault != nil {
		return l.refuse(ctx, q.File, order.FaultList{*fault})
	}
	if q.Ki != nil { // a file has up to a million rows, which are parsed, opened by the vault and kept: one at a time
		if !l.kiTurn.TryLock() {
			return bus.SubmitReply{}, bus.Refuse(bus.FaultBusy, "another file of Ki is being looked at; hand it in again when that is done")
		}
		defer l.kiTurn.Unlock()
		if found, err := l.faultsOf(ctx, o); err != nil || found != nil { // before the vault knows the Ki
			return l.refuseUnless(ctx, q.File, found, err)
		}
	}
	ki, err := l.takeKi(ctx, o, q.Ki)
	if errors.As(err, &faults) {
		return l.refuseKi(ctx, *q.Ki, *faults)
	}
	if err != nil {
		return bus.SubmitReply{}, fmt.Errorf("reading the file of Ki: %w", err)
	}
	nonce, err := l.nonce()
	if err != nil {
		return bus.SubmitReply{}, err
	}
	var reply bus.SubmitReply
	err = l.commit(ctx, func(ctx context.Context, b *Batch) (err error) {
		reply, faults, err = l.accept(ctx, b, o, ki, nonce)
		return err
	})
	if err != nil {
		return bus.SubmitReply{}, fmt.Errorf("accepting order %q: %w", o.ID, err)
	}
	if faults != nil && ki != nil && ki.kept {
		if err := l.dropKi(ctx, o.ID); err != nil {
			return bus.SubmitReply{}, err
		}
	}
	if faults != nil {
		return l.refuse(ctx, q.File, *faults)
	}
	return reply, nil
}

// CheckOrder says what Submit would find in the file alone and against what is issued; it changes nothing.
func (l *Ledger) CheckOrder(ctx context.Context, file []byte) (order.FaultList, error) {
	o, err := order.Intake(bytes.NewReader(file), l.cat.Order)
	var faults *order.FaultList
	if errors.As(err, &faults) {
		return *faults, nil
	}
	if err != nil {
		return nil, err
	}
	return l.faultsOf(ctx, o)
}

// faultsOf says what stands in an order's way among those that are accepted.
func (l *Ledger) faultsOf(ctx context.Context, o order.Order) (found order.FaultList, err error) {
	err = l.db.View(ctx, func(tx sqldb.Tx) error {
		_, list, err := l.resolve(ctx, tx, o)
		if found = nil; list != nil {
			found = *list
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("checking order %q: %w", o.ID, err)
	}
	return found, nil
}

func (l *Ledger) refuseUnless(ctx context.Context, file []byte, faults order.FaultList, err error) (bus.SubmitReply, error) {
	if err != nil {
		return bus.SubmitReply{}, err
	}
	return l.refuse(ctx, file, faults)
}

func (l *Ledger) refuse(ctx context.Context, file []byte, faults order.FaultList) (bus.SubmitReply, error) {
	told, err := l.refuseFile(ctx, bus.KiFileRef{Hash: sha256.Sum256(file), Size: uint64(len(file))}, "", faults)
	return bus.SubmitReply{Faults: told}, err
}

// refuseFile records that a file was refused, and tells why.
func (l *Ledger) refuseFile(ctx context.Context, file bus.KiFileRef, prefix string, faults order.FaultList) (told []bus.OrderFault, err error) {
	e := entry.Refused{File: file.Hash, Size: file.Size, Count: uint64(len(faults))}
	for _, f := range faults {
		if field := prefix + fieldOf(f); len(e.Faults) < entry.MaxRefusedFaults {
			e.Faults = append(e.Faults, field)
		}
		told = append(told, bus.OrderFault{Field: f.Field, Line: f.Line, Column: f.Column, Reason: f.Reason, Hint: f.Hint})
	}
	err = l.commit(ctx, func(ctx context.Context, b *Batch) error {
		e.At = b.At
		subject := fileSubject(e.File)
		last, err := b.newest(ctx, entry.KindRefused, subject)
		if err != nil {
			return err
		}
		if last != nil {
			if before, err := entry.ParseRefused(last); err != nil || b.ours(before.At) {
				return err
			}
		}
		_, _, err = b.append(entry.KindRefused, subject, e)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("recording a refused order: %w", err)
	}
	return told, nil
}

// nonce draws what hides a commitment's content.
func (l *Ledger) nonce() (n [32]byte, err error) {
	l.randMu.Lock()
	defer l.randMu.Unlock()
	if _, err := io.ReadFull(l.rand, n[:]); err != nil {
		return n, fmt.Errorf("drawing a nonce: %w", err)
	}
	return n, nil
}

// fieldOf names a fault in the log by field only: reasons quote what the customer wrote.
func fieldOf(f order.Fault) string {
	if field := clean(f.Field); field != "" {
		return strings.ReplaceAll(field, " ", "_")
	}
	return "file"
}

// accept stores an order with its identities, or finds why it can't be: a fault list, or the same order already there.
func (l *Ledger) accept(ctx context.Context, b *Batch, o order.Order, ki *customerKi, nonce [32]byte) (bus.SubmitReply, *order.FaultList, error) {
	hash := o.Hash()
	reply := bus.SubmitReply{Order: string(o.ID), Hash: hash, Lot: lotName(o.ID)}
	policy, err := l.policyNow(ctx, b)
	if err != nil {
		return reply, nil, err
	}
	reply.Kept = policy.With(o.Asks, o.Quantity).Sampling.Undelivered(o.Quantity)
	known, err := readOrder(ctx, b, string(o.ID))
	switch {
	case err == nil && known.hash == hash && known.state == perso.OrderRejected:
		return reply, &order.FaultList{{Field: "order", Reason: fmt.Sprintf("order %q was cancelled: nothing is made of it", o.ID), Hint: "give the order a number of its own"}}, nil
	case err == nil && known.hash == hash && !ki.sameAs(known.ki):
		return reply, &order.FaultList{{Field: "order", Reason: fmt.Sprintf("order number %q is taken by an order with other Ki", o.ID), Hint: "give the order with the new Ki a number of its own"}}, nil
	case err == nil && known.hash == hash:
		reply.Duplicate = !b.ours(known.created)
		return reply, nil, nil
	case err != nil && !errors.Is(err, ErrNotFound):
		return reply, nil, err
	}
	full, faults, err := l.resolve(ctx, b, o)
	if err != nil || faults != nil {
		return reply, faults, err
	}
	canonical := o.Canonical()
	if _, err := b.Exec(ctx, sqlAddOrder, string(o.ID), hash[:], nonce[:], canonical, full.Canonical(), string(perso.OrderAccepted), b.At.UnixMicro()); err != nil {
		return reply, nil, fmt.Errorf("storing order %q: %w", o.ID, err)
	}
	if err := reserve(ctx, b, full); err != nil {
		return reply, nil, err
	}
	if err := ki.store(ctx, b, o.ID); err != nil {
		return reply, nil, err
	}
	e := entry.Order{Commit: sha256.Sum256(append(nonce[:], canonical...)), Good: o.Quantity, Spares: o.Spares, At: b.At}
	_, _, err = b.append(entry.KindOrder, orderSubject(string(o.ID)), e)
	return reply, nil, err
}

// lotName proposes the lot's name from the order number. A name holds no dot; order numbers are in capitals, so that the
// small letter keeps two numbers two names.
func lotName(o order.ID) perso.Name {
	return perso.Name("L-" + strings.NewReplacer(".", "_", "_", "u").Replace(string(o)))
}

type orderRow struct {
	hash    [32]byte
	nonce   []byte
	content order.Order // as resolved
	ki      customerKi  // of an order with the customer's own Ki; without its pages
	state   perso.OrderState
	created time.Time
	// forgotten says that two officers had the content deleted; hash is then the log's commitment, which nobody can guess at.
	forgotten bool
}

func readOrder(ctx context.Context, tx sqldb.Tx, number string) (orderRow, error) {
	var hash, canonical, resolved []byte
	var created int64
	r := orderRow{}
	err := tx.QueryRow(ctx, sqlOrderByID, number).Scan(&hash, &r.nonce, &canonical, &resolved, (*string)(&r.state), &created)
	if errors.Is(err, sqldb.ErrNoRows) {
		return r, unknown("no order %q", number)
	}
	if err != nil {
		return r, fmt.Errorf("reading order %q: %w", number, err)
	}
	copy(r.hash[:], hash)
	r.created = fromMicros(created)
	if resolved == nil {
		r.forgotten = true
		return r, nil
	}
	if r.content, err = order.Parse(bytes.NewReader(resolved)); err != nil {
		return r, fmt.Errorf("reading order %q as stored: %w", number, err)
	}
	if r.content.KiSource == order.KiCustomer {
		r.ki, err = readKi(ctx, tx, r.content)
	}
	return r, err
}
