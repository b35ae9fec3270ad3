package keygen

import (
	"context"
	"errors"
	"fmt"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/keygen/kisource"
	"github.com/persoline/persoline/keygen/transport"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/order/kifile"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement"
)

// A customer's own Ki rests as he encrypted it, in the ledger. The officers released the root of all rows, so that a row
// brings its proof with each act and each export, and the vault keeps nothing of the file (perso/order/kifile/KIFILE.md).

// madeKi refuses a source of Ki that this vault does not know, and terms of a customer's Ki that it cannot keep.
func madeKi(r statement.Release) error {
	switch order.KiSource(r.KiSource) {
	case order.KiDerived, order.KiRandom:
		return nil
	case order.KiCustomer:
		k := r.Customer
		if o := order.KiOutput(k.Output); o != order.KiWrapped && o != order.KiOmitted {
			return fmt.Errorf("output %q of Ki", k.Output)
		}
		if _, err := kifile.ParseMode(k.Mode); err != nil {
			return fmt.Errorf("receive mode %w", err)
		}
		return nil
	}
	return fmt.Errorf("ki source %q", r.KiSource)
}

// customerKi says whether the lot's Ki are the operator's own.
func (l *lot) customerKi() bool { return l.release.KiSource == string(order.KiCustomer) }

// receiveKey is an operator's receive key in the HSM (kisource.Decrypter).
type receiveKey struct {
	token Token
	key   hsm.Key
}

// DecryptECB decrypts whole blocks inside the HSM.
func (k receiveKey) DecryptECB(ctx context.Context, blocks []byte) ([]byte, error) {
	return k.token.DecryptECB(ctx, k.key, blocks)
}

// nameReceive names the key that the lot's Ki are under.
func (l *lot) nameReceive(env perso.Env) (err error) {
	if l.customerKi() {
		l.receive, err = hsm.NewKey(string(env), hsm.ClassReceive, string(l.release.Customer.ReceiveKey))
	}
	return err
}

// CheckKi says which rows of a customer's file have a Ki that does not fit its check value, before an order for them is
// accepted: of all that can be wrong with such a file, this only the vault can see. Each Ki is opened, compared and wiped;
// that it fits or not is all that is told, and who asks has the check values already. The rows of a file come in order, and KeepKi
// follows the last: of each Ki its print stays until then (kiset.go). Two HSM operations for at most MaxBatch rows.
func (v *Vault) CheckKi(ctx context.Context, q bus.CheckKiRequest) (bus.CheckKiReply, error) {
	if err := v.cfg.Life.Present(ctx); err != nil {
		return bus.CheckKiReply{}, err
	}
	mode, err := kifile.ParseMode(q.Mode)
	if err != nil || len(q.Rows) == 0 || len(q.Rows) > bus.MaxBatch {
		return bus.CheckKiReply{}, bus.Refuse(bus.FaultBadMessage, "%d rows in mode %.20q, want 1 to %d", len(q.Rows), q.Mode, bus.MaxBatch)
	}
	rows := make([]kifile.Row, len(q.Rows))
	for i, b := range q.Rows {
		if rows[i], err = kifile.ParseRow(b); err != nil || len(rows[i].EKI) != keyBytes {
			return bus.CheckKiReply{}, bus.Refuse(bus.FaultBadMessage, "row %d has %d bytes", i, len(b))
		}
	}
	key, err := hsm.NewKey(string(v.cfg.Env), hsm.ClassReceive, string(q.ReceiveKey))
	if err != nil {
		return bus.CheckKiReply{}, bus.Refuse(bus.FaultBadMessage, "%v", err)
	}
	v.intaking.Lock()
	defer v.intaking.Unlock()
	wrong, err := v.takeRows(ctx, q, kifile.Under{Key: q.ReceiveKey, Mode: mode}, rows, key)
	if errors.Is(err, hsm.ErrNotFound) {
		return bus.CheckKiReply{}, bus.Refuse(bus.FaultRefused, "receive key %q is not on the token", q.ReceiveKey)
	}
	if err != nil {
		return bus.CheckKiReply{}, err
	}
	if len(wrong) > 0 {
		v.cfg.Log.Warn("customer's Ki do not fit", "err", fmt.Sprintf("%d of %d under %q", len(wrong), len(rows), q.ReceiveKey))
	}
	var reply bus.CheckKiReply
	for _, i := range wrong {
		reply.Wrong = append(reply.Wrong, uint16(i))
	}
	return reply, nil
}

// takeRows checks rows and adds their prints to the file's intake; v.intaking is held.
func (v *Vault) takeRows(ctx context.Context, q bus.CheckKiRequest, under kifile.Under, rows []kifile.Row, key hsm.Key) (wrong []int, err error) {
	in, err := v.intakeOf(q, under)
	if err != nil {
		return nil, err
	}
	prints, err := v.printer(ctx)
	if err != nil {
		return nil, err
	}
	secret.Do(func() {
		wrong, err = kisource.CheckRows(ctx, receiveKey{v.cfg.Token, key}, under.Mode, rows, func(i int, ki []byte) error {
			return in.sorter.add(printOf(prints, ki, q.First+uint32(i)))
		})
	})
	prints.Reset()
	if err != nil {
		v.endIntake() // some of its prints are there, and the request may come again
		return nil, err
	}
	in.spoiled = in.spoiled || len(wrong) > 0
	for _, row := range rows {
		in.root.Add(row)
	}
	return wrong, nil
}

// findReceive refuses a lot whose Ki nobody here could open, before anything is made for it.
func (v *Vault) findReceive(ctx context.Context, l *lot) error {
	if !l.customerKi() {
		return nil
	}
	has, err := v.cfg.Token.Has(ctx, l.receive)
	if err != nil {
		return fmt.Errorf("looking for receive key of lot %q: %w", l.release.Lot, err)
	}
	if !has {
		v.cfg.Log.Error("refused a release", "lot", l.release.Lot, "err", "its receive key is missing")
		return bus.Refuse(bus.FaultRefused, "receive key %q of lot %q is not on the token", l.release.Customer.ReceiveKey, l.release.Lot)
	}
	return nil
}

// customerRow takes what came with an item apart; CheckRow has the last word on it.
func (l *lot) customerRow(k *bus.CustomerKi) (row kifile.Row, p kifile.Proof, err error) {
	if k == nil {
		return row, p, refuse("no row of the customer's Ki came with it")
	}
	if row, err = kifile.ParseRow(k.Row); err != nil {
		return row, p, refuse("%v", err)
	}
	return row, kifile.Proof{Root: l.release.Customer.Root, Rows: l.release.Customer.Rows, Hashes: k.Proof}, nil
}

// proveRow demands the row that the customer sent for the unit, of a lot with his own Ki, and none of any other lot.
func (l *lot) proveRow(u perso.Unit, k *bus.CustomerKi) error {
	if !l.customerKi() {
		if k != nil {
			return refuse("a row of Ki came for a lot of source %q", l.release.KiSource)
		}
		return nil
	}
	row, p, err := l.customerRow(k)
	if err != nil {
		return err
	}
	if err := kifile.CheckRow(u, row, p); err != nil {
		return refuse("%v", err)
	}
	return nil
}

// openCustomer opens the row of the customer's file that is the unit's. One HSM operation.
func (v *Vault) openCustomer(ctx context.Context, l *lot, u perso.Unit, k *bus.CustomerKi) (secret.Bytes, error) {
	row, p, err := l.customerRow(k)
	if err != nil {
		return secret.Bytes{}, err
	}
	ki, err := kisource.OpenCustomer(ctx, receiveKey{v.cfg.Token, l.receive}, kifile.Mode(l.release.Customer.Mode), u, row, p)
	for _, wrong := range []error{kifile.ErrRow, kisource.ErrCheckValue, kisource.ErrWeakKi} {
		if errors.Is(err, wrong) {
			return ki, refuse("%v", err)
		}
	}
	return ki, err
}

// outputKeys are the values of an output file's row. Of a customer's Ki that he wants left out there is the check value alone,
// by which he sees that the card has his.
func (x *variables) outputKeys(ctx context.Context, keys *cardKeys) (bus.ExportResult, error) {
	code := func(name string, field [pinBytes]byte) transport.Value {
		return transport.CodeValue(x.l.layout, name, field)
	}
	values := []transport.Value{keyValue("KI", keys.KI), keyValue(x.l.auth.Column(), x.opc),
		code("PIN1", keys.PIN1), code("PUK1", keys.PUK1), code("PIN2", keys.PIN2), code("PUK2", keys.PUK2), code("ADM1", keys.ADM1)}
	if !x.l.release.EUICC() { // an eUICC's go to its SM-SR
		values = append(values, keyValue("OTA.KIC", keys.OTAKic[:]), keyValue("OTA.KID", keys.OTAKid[:]), keyValue("OTA.KIK", keys.OTAKik[:]))
	}
	further, err := x.placed(keys)
	defer wipePlaced(further)
	if err != nil {
		return bus.ExportResult{}, err
	}
	for _, p := range further {
		values = append(values, transport.FilledValue(x.l.layout, p.name, p.value, p.check))
	}
	if !x.l.customerKi() || x.l.release.Customer.Output != string(order.KiOmitted) {
		result, err := x.v.wrapped(ctx, x.l.out, x.l.layout, values...)
		return withKinds(result, further), err
	}
	kcv := scp.KCV(keys.KI)
	clear(values[0].Plain)
	result, err := x.v.wrapped(ctx, x.l.out, x.l.layout, values[1:]...)
	if err != nil {
		return bus.ExportResult{}, err
	}
	result.Keys = append([]bus.WrappedKey{{Name: "KI", KCV: kcv[:]}}, result.Keys...)
	return withKinds(result, further), nil
}
