package ledger

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

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
	kept  bool // the vault knows them now, on account of this file
}

// KiChecker is a vault that says which Ki of a customer do not fit, and which are on another card's row already. A Vault that is
// none takes no order with such Ki.
type KiChecker interface {
	CheckKi(ctx context.Context, q bus.CheckKiRequest) (bus.CheckKiReply, error)
	KeepKi(ctx context.Context, q bus.KeepKiRequest) (bus.KeepKiReply, error)
	DropKi(ctx context.Context, q bus.DropKiRequest) (bus.Empty, error)
}

// kiChecker is the log vault, which knows the Ki of all orders.
func (l *Ledger) kiChecker() (KiChecker, error) {
	checker, ok := l.doors[0].vault.(KiChecker)
	if !ok {
		return nil, bus.Refuse(bus.FaultRefused, "this site's vault takes no Ki of customers")
	}
	return checker, nil
}

// checkKi has the vault compare every row with its check value; a *order.FaultList names those that do not fit.
func (l *Ledger) checkKi(ctx context.Context, f *kifile.File) error {
	checker, err := l.kiChecker()
	if err != nil {
		return err
	}
	var wrong []perso.Unit
	for first := uint64(0); first < f.Rows(); first += bus.MaxBatch {
		q := bus.CheckKiRequest{ReceiveKey: f.ReceiveKey, Mode: string(f.Mode), Order: string(f.Order), First: uint32(first)}
		for u := first; u < min(first+bus.MaxBatch, f.Rows()); u++ {
			row, err := f.Row(perso.Unit(u))
			if err != nil {
				return err
			}
			q.Rows = append(q.Rows, row.Bytes())
		}
		a, err := checker.CheckKi(ctx, q)
		if err != nil {
			return fmt.Errorf("having Ki checked by the vault: %w", overtaken(err))
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
	known, waits, err := l.knownKi(ctx, o)
	again := known != nil && known.file == file.Hash
	if err != nil || again && !waits {
		return known, err
	}
	data, err := l.wholeKi(ctx, *file)
	if again && isRefusal(err) {
		return known, nil // the file is not here any more
	}
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
	if err != nil {
		return nil, err
	}
	if again { // no lot has them yet, and a vault may have lost them since
		return known, l.keepKi(ctx, f, root)
	}
	k := &customerKi{file: file.Hash, terms: statement.CustomerKi{Root: root, Rows: f.Rows(), ReceiveKey: f.ReceiveKey, Mode: string(f.Mode), Output: string(o.KiOutput)}, pages: pages}
	if known != nil { // the same order with another file: whether it has the same rows, accept says
		return k, nil
	}
	k.kept = true
	return k, l.keepKi(ctx, f, root)
}

// keepKi has the vault know the file's Ki from here on; a *order.FaultList names those that are another row's too. The vault may
// know them of an order that was never accepted, when a crash came between the two: then that is undone.
func (l *Ledger) keepKi(ctx context.Context, f *kifile.File, root [32]byte) error {
	checker, err := l.kiChecker()
	if err != nil {
		return err
	}
	a, err := checker.KeepKi(ctx, bus.KeepKiRequest{Order: string(f.Order), Root: root, Rows: f.Rows()})
	if err != nil {
		return fmt.Errorf("having Ki compared by the vault: %w", overtaken(err))
	}
	undone := false
	for _, s := range a.Same {
		if s.Order == string(f.Order) {
			continue
		}
		orphan, err := l.neverAccepted(ctx, s.Order)
		if err != nil {
			return err
		}
		if orphan {
			if err := l.dropKi(ctx, order.ID(s.Order)); err != nil {
				return err
			}
			undone = true
		}
	}
	if undone {
		if a, err = checker.KeepKi(ctx, bus.KeepKiRequest{Order: string(f.Order), Root: root, Rows: f.Rows()}); err != nil {
			return fmt.Errorf("having Ki compared by the vault: %w", err)
		}
	}
	return sameKiFaults(f, a)
}

// overtaken is what it means that the vault does not know the rows before: another process of the ledger has begun a file, or the
// vault was restarted.
func overtaken(err error) error {
	var fault *bus.Fault
	if errors.As(err, &fault) && fault.Code == bus.FaultNotFound {
		return fmt.Errorf("%w: %w", bus.Refuse(bus.FaultBusy, "another file of Ki is being looked at, or the vault was restarted; hand it in again"), err)
	}
	return err
}

func (l *Ledger) neverAccepted(ctx context.Context, number string) (never bool, err error) {
	err = l.db.View(ctx, func(tx sqldb.Tx) error {
		_, err := readOrder(ctx, tx, number)
		if never = errors.Is(err, ErrNotFound); never {
			return nil
		}
		return err
	})
	return never, err
}

// dropKi has the vault forget the Ki of an order that is not accepted.
func (l *Ledger) dropKi(ctx context.Context, o order.ID) error {
	checker, err := l.kiChecker()
	if err != nil {
		return err
	}
	if _, err := checker.DropKi(ctx, bus.DropKiRequest{Order: string(o)}); err != nil {
		return fmt.Errorf("having the Ki of order %q forgotten: %w", o, err)
	}
	return nil
}

// sameKiFaults says whose a Ki is already, in the order of the file.
func sameKiFaults(f *kifile.File, a bus.KeepKiReply) error {
	var faults order.FaultList
	slices.SortFunc(a.Same, func(x, y bus.SameKi) int { return cmp.Compare(x.Row, y.Row) })
	for _, s := range a.Same {
		whose := fmt.Sprintf("of unit %d of order %q", s.There, s.Order)
		if s.Order == string(f.Order) {
			whose = fmt.Sprintf("of unit %d too", s.There)
		}
		faults.Add(order.Fault{Field: "EKI", Line: f.Line(perso.Unit(s.Row)), Column: 1, Reason: fmt.Sprintf("the Ki of unit %d is that %s", s.Row, whose), Hint: "a Ki is on one card, once: send a new one"})
	}
	if more := a.Count - uint64(len(a.Same)); more > 0 {
		faults.Add(order.Fault{Field: "EKI", Reason: fmt.Sprintf("%d more Ki are on record already", more), Hint: "was this file sent before, for another order?"})
	}
	return faults.Err()
}

// knownKi is what is on record of the very same order's Ki, nil when there is none, and whether the order waits for its release.
func (l *Ledger) knownKi(ctx context.Context, o order.Order) (k *customerKi, waits bool, err error) {
	err = l.db.View(ctx, func(tx sqldb.Tx) error {
		k, waits = nil, false
		known, err := readOrder(ctx, tx, string(o.ID))
		if errors.Is(err, ErrNotFound) || err == nil && known.hash != o.Hash() {
			return nil
		}
		k, waits = &known.ki, known.state == perso.OrderAccepted
		return err
	})
	return k, waits, err
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
