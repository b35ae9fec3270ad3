package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/persoline/persoline/ledger/internal/kirow"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/order/kifile"
	"github.com/persoline/persoline/perso/statement"
)

// KiPart takes a part of a file of Ki in, as the customer encrypted it. It waits in the database, where every process of the
// ledger finds it, until its order is accepted or another file comes: one at a time. Who was overtaken by that is told to send
// again.
func (l *Ledger) KiPart(ctx context.Context, q bus.KiPartRequest) (bus.KiPartReply, error) {
	if q.File.Size > kifile.MaxFileBytes || len(q.Data) > bus.KiPartBytes || q.At > q.File.Size || uint64(len(q.Data)) > q.File.Size-q.At {
		return bus.KiPartReply{}, bus.Refuse(bus.FaultBadMessage, "%d bytes at %d of a file of %d, of which there may be %d", len(q.Data), q.At, q.File.Size, kifile.MaxFileBytes)
	}
	var have uint64
	err := mend(ctx, l.db, func(tx sqldb.Tx) error {
		if q.At == 0 {
			if n, err := tx.Exec(ctx, sqlDropKiParts); err != nil || n > 0 {
				l.unerased.Store(true)
				if err != nil {
					return err
				}
			}
		}
		have = 0
		err := tx.QueryRow(ctx, sqlKiUpTo, q.File.Hash[:], int64(q.File.Size)).Scan(&have)
		switch {
		case err != nil && !errors.Is(err, sqldb.ErrNoRows):
			return err
		case q.At > have:
			return bus.Refuse(bus.FaultNotFound, "the beginning of the file of Ki is not here: send it again")
		case q.At < have || len(q.Data) == 0:
			return nil
		}
		have += uint64(len(q.Data))
		_, err = tx.Exec(ctx, sqlAddKiPart, q.File.Hash[:], int64(q.File.Size), int64(q.At), int64(have), q.Data)
		return err
	})
	if err != nil {
		return bus.KiPartReply{}, fmt.Errorf("taking a file of Ki in at byte %d: %w", q.At, err)
	}
	return bus.KiPartReply{Have: have}, nil
}

// readUpload gives what is there of a file.
func readUpload(ctx context.Context, tx sqldb.Tx, file bus.KiFileRef) (data []byte, err error) {
	err = tx.Each(ctx, func(row sqldb.Row) error {
		var part []byte
		err := row.Scan(&part)
		data = append(data, part...)
		return err
	}, sqlKiParts, file.Hash[:], int64(file.Size))
	return data, err
}

// wholeKi gives a file that is there whole.
func (l *Ledger) wholeKi(ctx context.Context, file bus.KiFileRef) (data []byte, err error) {
	err = l.db.View(ctx, func(tx sqldb.Tx) (err error) {
		data, err = readUpload(ctx, tx, file)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading a file of Ki: %w", err)
	}
	if uint64(len(data)) != file.Size || sha256.Sum256(data) != file.Hash {
		return nil, bus.Refuse(bus.FaultNotFound, "the file of Ki is not here whole: send it again")
	}
	return data, nil
}

// customerKi is a file of Ki that fits its order. None is of an order that wants none.
type customerKi struct {
	file  [32]byte // SHA-256 of the file as received
	terms statement.CustomerKi
	pages []kifile.Page
}

// KiChecker is a vault that says which Ki of a customer do not fit. A Vault that is none takes no order with such Ki.
type KiChecker interface {
	CheckKi(ctx context.Context, q bus.CheckKiRequest) (bus.CheckKiReply, error)
}

// checkKi has the vault compare every row with its check value; a *order.FaultList names those that do not fit.
func (l *Ledger) checkKi(ctx context.Context, f *kifile.File) error {
	checker, ok := l.doors[0].vault.(KiChecker)
	if !ok {
		return bus.Refuse(bus.FaultRefused, "this site's vault takes no Ki of customers")
	}
	var wrong []perso.Unit
	for first := uint64(0); first < f.Rows(); first += bus.MaxBatch {
		q := bus.CheckKiRequest{ReceiveKey: f.ReceiveKey, Mode: string(f.Mode)}
		for u := first; u < min(first+bus.MaxBatch, f.Rows()); u++ {
			row, err := f.Row(perso.Unit(u))
			if err != nil {
				return err
			}
			q.Rows = append(q.Rows, row.Bytes())
		}
		a, err := checker.CheckKi(ctx, q)
		if err != nil {
			return fmt.Errorf("having Ki checked by the vault: %w", err)
		}
		for _, i := range a.Wrong {
			wrong = append(wrong, perso.Unit(first)+perso.Unit(i))
		}
	}
	return kiFaults(f, wrong)
}

// kiFaults is nil when nothing is wrong. That no Ki at all fits is one fault, and not of the Ki; of a single one it says nothing
// about the key.
func kiFaults(f *kifile.File, wrong []perso.Unit) error {
	if f.Rows() > 1 && uint64(len(wrong)) == f.Rows() {
		return &order.FaultList{{Field: "Receive_key", Reason: fmt.Sprintf("no Ki fits its check value under %q", f.ReceiveKey), Hint: "is it the key that both of us hold, and the mode that was used?"}}
	}
	var faults order.FaultList
	for _, u := range wrong {
		faults.Add(order.Fault{Field: "KI_KCV", Line: f.Line(u), Column: 1, Reason: fmt.Sprintf("the Ki of unit %d does not fit its check value, or is one byte repeated", u), Hint: "encrypt it again"})
	}
	return faults.Err()
}

// kiWanted is what is wrong when a file of Ki came for an order that wants none, or the other way round.
func kiWanted(o order.Order, file *bus.KiFileRef) *order.Fault {
	switch wants := o.KiSource == order.KiCustomer; {
	case wants && file == nil:
		return &order.Fault{Field: "ki_source", Reason: "the order wants the customer's Ki, and no file of them came with it", Hint: "perso order submit FILE --ki KIFILE"}
	case !wants && file != nil:
		return &order.Fault{Field: "ki_source", Reason: fmt.Sprintf("a file of Ki came with an order whose Ki are %s", o.KiSource), Hint: fmt.Sprintf("order %q, or leave the file out", order.KiCustomer)}
	}
	return nil
}

// takeKi reads the file that came with an order; a *order.FaultList says all that is wrong with it.
func (l *Ledger) takeKi(ctx context.Context, o order.Order, file *bus.KiFileRef) (*customerKi, error) {
	if file == nil {
		return nil, nil
	}
	known, err := l.knownKi(ctx, o)
	if err != nil || known != nil && known.file == file.Hash {
		return known, err // asked again: the file may be gone from memory
	}
	data, err := l.wholeKi(ctx, *file)
	if err != nil {
		return nil, err
	}
	f, err := kifile.Parse(bytes.NewReader(data), kifile.WantOf(o, l.cat.Order.Site))
	if err != nil {
		return nil, err
	}
	if err := l.checkKi(ctx, f); err != nil {
		return nil, err
	}
	t, err := f.Tree()
	if err != nil {
		return nil, err
	}
	root, err := t.Root()
	if err != nil {
		return nil, err
	}
	pages, err := f.Pages(t)
	return &customerKi{file: file.Hash, terms: statement.CustomerKi{Root: root, Rows: f.Rows(), ReceiveKey: f.ReceiveKey, Mode: string(f.Mode), Output: string(o.KiOutput)}, pages: pages}, err
}

// knownKi is what is on record of the very same order's Ki, nil when there is none.
func (l *Ledger) knownKi(ctx context.Context, o order.Order) (k *customerKi, err error) {
	err = l.db.View(ctx, func(tx sqldb.Tx) error {
		k = nil
		known, err := readOrder(ctx, tx, string(o.ID))
		if errors.Is(err, ErrNotFound) || err == nil && known.hash != o.Hash() {
			return nil
		}
		k = &known.ki
		return err
	})
	return k, err
}

// refuseKi records a refused file of Ki: its order changes nothing either.
func (l *Ledger) refuseKi(ctx context.Context, file bus.KiFileRef, faults order.FaultList) (bus.SubmitReply, error) {
	told, err := l.refuseFile(ctx, file, "ki.", faults)
	return bus.SubmitReply{KiFaults: told}, err
}

// sameAs says whether these are the Ki that an order on record has.
func (k *customerKi) sameAs(known customerKi) bool {
	if k == nil {
		return known.terms == statement.CustomerKi{}
	}
	return k.terms == known.terms
}

// store keeps the rows as they were received, and forgets the file.
func (k *customerKi) store(ctx context.Context, b *Batch, o order.ID) error {
	if k == nil {
		return nil
	}
	t := k.terms
	if _, err := b.Exec(ctx, sqlAddKi, string(o), k.file[:], t.Root[:], int64(t.Rows), string(t.ReceiveKey), t.Mode); err != nil {
		return fmt.Errorf("storing Ki of order %q: %w", o, err)
	}
	if _, err := b.Exec(ctx, sqlDropKiFile, k.file[:]); err != nil {
		return fmt.Errorf("forgetting a file of Ki: %w", err)
	}
	b.erased = true
	for i, p := range k.pages {
		if _, err := b.Exec(ctx, sqlAddKiPage, string(o), int64(i), p.Rows(), p.Upper()); err != nil {
			return fmt.Errorf("storing Ki of order %q: %w", o, err)
		}
	}
	return nil
}

func readKi(ctx context.Context, tx sqldb.Tx, o order.Order) (k customerKi, err error) {
	var file, root []byte
	var rows int64
	t := &k.terms
	err = tx.QueryRow(ctx, sqlKi, string(o.ID)).Scan(&file, &root, &rows, (*string)(&t.ReceiveKey), &t.Mode)
	if err != nil {
		return k, fmt.Errorf("reading Ki of order %q: %w", o.ID, err)
	}
	copy(k.file[:], file)
	copy(t.Root[:], root)
	t.Rows, t.Output = uint64(rows), string(o.KiOutput)
	return k, nil
}

// addRows puts each unit's own row beside its act, of a lot with the customer's Ki.
func (l *Ledger) addRows(ctx context.Context, lt *lot, acts []*act, members []int, items []bus.ServeItem) error {
	if lt.release.KiSource != string(order.KiCustomer) {
		return nil
	}
	err := l.db.View(ctx, func(tx sqldb.Tx) (err error) {
		for k, i := range members {
			if items[k].Customer, err = kirow.Read(ctx, tx, lt.order, acts[i].claim.unit); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the customer's Ki: %w", err)
	}
	return nil
}
