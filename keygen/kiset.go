package keygen

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"

	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/order/kifile"
	"github.com/persoline/persoline/perso/statement"
)

// A customer's Ki is on one card, also when he sends it twice: in one file, or with two orders, or two customers the same.
// Equal Ki are found by their prints, which are equal too and say nothing else: a MAC under a key that only the HSM has.
//
// The vault that signs the log keeps the prints, one set for each file that came with an order, and gives no lot away, and
// opens none, of a file that it does not hold. That is in its own memory and not in the ledger, whose database is in other
// hands: whoever has the ledger can have cards made of files that were laid before the vault, and of no other, and every such
// file was held against all that came before. A set without a lot may be dropped: no card was made of it. That of a lot
// stays for ever, also when the lot's key is destroyed.

// KiSet is a file of Ki that the vault holds prints of.
type KiSet struct {
	Order order.ID
	Root  [32]byte // of its rows, which a release names (package kifile)
	Rows  uint64
}

// KiSets keeps sets durably, one for an order. Prints are kiPrintBytes each with the number of their row behind (4,
// big-endian), in ascending order.
type KiSets interface {
	KiSets() ([]KiSet, error)
	KiPrints(o order.ID) (Prints, error)
	// KeepKi takes the place of what there is of the order, when it is durable.
	KeepKi(s KiSet, prints func(emit func(KiPrint) error) error) error
	DropKi(o order.ID) error
}

const kiPrintBytes = 16

// KiPrint is the print of the Ki of a row. 128 bits: two of a thousand million Ki have one by chance once in 10^20 sites.
type KiPrint struct {
	Print [kiPrintBytes]byte
	Row   uint32
}

// KiPrintBytes is the length of a KiPrint as it is kept.
const KiPrintBytes = kiPrintBytes + 4

// Bytes is the print as it is kept.
func (p KiPrint) Bytes() []byte {
	return binary.BigEndian.AppendUint32(append(make([]byte, 0, KiPrintBytes), p.Print[:]...), p.Row)
}

// KiPrintOf reads Bytes.
func KiPrintOf(b []byte) KiPrint {
	return KiPrint{Print: [kiPrintBytes]byte(b), Row: binary.BigEndian.Uint32(b[kiPrintBytes:])}
}

// Prints are read one by one; io.EOF is their end.
type Prints interface {
	Next() (KiPrint, error)
	Close() error
}

// maxSameKi bounds the equal Ki that one reply names; the rest is counted.
const maxSameKi = 100

// printer makes prints for one request: the key is derived for it, and wiped after it. One HSM operation.
func (v *Vault) printer(ctx context.Context) (hash.Hash, error) {
	key, err := v.cfg.Token.MAC(ctx, v.cfg.Keys.KiPrint, kdfInput(labelKiPrint, []byte(v.cfg.Site)))
	defer clear(key[:])
	if err != nil {
		return nil, fmt.Errorf("deriving the key of Ki prints: %w", err)
	}
	return hmac.New(sha256.New, key[:]), nil
}

func printOf(h hash.Hash, ki []byte, row uint32) KiPrint {
	h.Reset()
	h.Write(ki)
	var sum [sha256.Size]byte
	return KiPrint{Print: [kiPrintBytes]byte(h.Sum(sum[:0])), Row: row}
}

// kiIntake is a file on its way through CheckKi: what KeepKi needs of it, in bounded memory.
type kiIntake struct {
	order   order.ID
	under   kifile.Under
	root    kifile.RootOf
	spoiled bool // a Ki did not fit
	sorter  *printSorter
}

// intakeOf finds the intake that a request continues, or begins one; v.intaking is held.
func (v *Vault) intakeOf(q bus.CheckKiRequest, under kifile.Under) (*kiIntake, error) {
	if q.First == 0 {
		v.endIntake()
		v.intake = &kiIntake{order: order.ID(q.Order), under: under, sorter: &printSorter{room: v.cfg.Journal.Scratch}}
	}
	in := v.intake
	if in == nil || in.order != order.ID(q.Order) || in.under != under || in.root.Rows() != uint64(q.First) {
		return nil, bus.Refuse(bus.FaultNotFound, "the rows before %d of the file of order %q are not here: begin with row 0", q.First, q.Order)
	}
	return in, nil
}

func (v *Vault) endIntake() {
	if v.intake != nil {
		_ = v.intake.sorter.close() // a scratch that nobody reads any more
		v.intake = nil
	}
}

// KeepKi holds the file whose rows went through CheckKi against all files that this vault keeps prints of. When none of its Ki is
// in any of them, or twice in it, its prints are kept, and it may be released; otherwise nothing changes, and the reply says
// which are whose.
func (v *Vault) KeepKi(ctx context.Context, q bus.KeepKiRequest) (bus.KeepKiReply, error) {
	if err := v.cfg.Life.Present(ctx); err != nil {
		return bus.KeepKiReply{}, err
	}
	if v.cfg.KiSets == nil {
		return bus.KeepKiReply{}, bus.Refuse(bus.FaultRefused, "vault %q keeps no prints of Ki: the log vault does", v.cfg.Name)
	}
	v.intaking.Lock()
	defer v.intaking.Unlock()
	v.opening.Lock() // no lot is begun meanwhile
	defer v.opening.Unlock()
	set := KiSet{Order: order.ID(q.Order), Root: q.Root, Rows: q.Rows}
	known, err := v.cfg.KiSets.KiSets()
	if err != nil {
		return bus.KeepKiReply{}, fmt.Errorf("reading which Ki are known: %w", err)
	}
	for i, k := range known {
		switch {
		case k == set:
			return bus.KeepKiReply{}, nil
		case k.Order == set.Order && v.kiBound(k.Root):
			return bus.KeepKiReply{}, bus.Refuse(bus.FaultConflict, "a lot of order %q was released with other Ki", q.Order)
		case k.Order == set.Order:
			known[i].Rows = 0 // to be replaced
		}
	}
	in := v.intake
	if in == nil || in.order != set.Order || in.root.Rows() != set.Rows || set.Rows == 0 || in.spoiled || in.root.Root() != set.Root {
		return bus.KeepKiReply{}, bus.Refuse(bus.FaultNotFound, "the file of order %q did not go through the vault as it is said to be: begin with row 0", q.Order)
	}
	reply, err := v.sameKi(in, known)
	if err != nil || reply.Count > 0 {
		return reply, err
	}
	if err := v.cfg.KiSets.KeepKi(set, in.sorter.each); err != nil {
		return bus.KeepKiReply{}, fmt.Errorf("keeping prints of order %q: %w", q.Order, err)
	}
	v.endIntake()
	v.cfg.Log.Info("customer's Ki are known from here on", "order", q.Order, "seq", set.Rows)
	return reply, nil
}

// sameKi finds the Ki of the file that are in it twice, or in a file before.
func (v *Vault) sameKi(in *kiIntake, known []KiSet) (r bus.KeepKiReply, err error) {
	note := func(row uint32, of order.ID, there uint32) {
		if r.Count++; len(r.Same) < maxSameKi {
			r.Same = append(r.Same, bus.SameKi{Row: row, Order: string(of), There: there})
		}
	}
	var last KiPrint
	first := true
	if err := in.sorter.each(func(p KiPrint) error {
		if !first && p.Print == last.Print {
			note(p.Row, in.order, last.Row)
			return nil
		}
		first, last = false, p
		return nil
	}); err != nil {
		return r, fmt.Errorf("looking for equal Ki: %w", err)
	}
	for _, k := range known {
		if k.Rows == 0 {
			continue
		}
		if err := v.sameIn(in, k.Order, note); err != nil {
			return r, fmt.Errorf("looking for Ki of order %q: %w", k.Order, err)
		}
	}
	if r.Count > 0 {
		v.cfg.Log.Warn("customer's Ki are known", "order", string(in.order), "seq", r.Count)
	}
	return r, nil
}

// sameIn goes along the file and a set, both in the order of prints.
func (v *Vault) sameIn(in *kiIntake, of order.ID, note func(row uint32, of order.ID, there uint32)) error {
	set, err := v.cfg.KiSets.KiPrints(of)
	if err != nil {
		return err
	}
	there, end := set.Next()
	err = in.sorter.each(func(p KiPrint) error {
		for end == nil && lessPrint(there, p) {
			there, end = set.Next()
		}
		if end == nil && there.Print == p.Print {
			note(p.Row, of, there.Row)
		}
		return nil
	})
	if err == nil && end != nil && !errors.Is(end, errEOF) {
		err = end
	}
	return errors.Join(err, set.Close())
}

// kiBound says whether a lot was begun or given away with a file of this root.
func (v *Vault) kiBound(root [32]byte) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, i := range v.memory.Lots {
		if i.Ki == root {
			return true
		}
	}
	for _, a := range v.assigned {
		if a.Ki == root {
			return true
		}
	}
	return false
}

// DropKi forgets the prints of an order that was not accepted after all. Those of a lot stay.
func (v *Vault) DropKi(ctx context.Context, q bus.DropKiRequest) (bus.Empty, error) {
	if err := v.cfg.Life.Present(ctx); err != nil {
		return bus.Empty{}, err
	}
	if v.cfg.KiSets == nil {
		return bus.Empty{}, bus.Refuse(bus.FaultRefused, "vault %q keeps no prints of Ki: the log vault does", v.cfg.Name)
	}
	v.opening.Lock()
	defer v.opening.Unlock()
	known, err := v.cfg.KiSets.KiSets()
	if err != nil {
		return bus.Empty{}, fmt.Errorf("reading which Ki are known: %w", err)
	}
	for _, k := range known {
		if k.Order != order.ID(q.Order) {
			continue
		}
		if v.kiBound(k.Root) {
			return bus.Empty{}, bus.Refuse(bus.FaultRefused, "a lot of order %q was released with its Ki", q.Order)
		}
		if err := v.cfg.KiSets.DropKi(k.Order); err != nil {
			return bus.Empty{}, fmt.Errorf("dropping prints of order %q: %w", q.Order, err)
		}
	}
	return bus.Empty{}, nil
}

// kiKept refuses a lot whose customer's Ki were not held against all others. A vault that does not sign the log has the log
// vault's word for that: the assignment.
func (v *Vault) kiKept(r statement.Release) error {
	if r.KiSource != string(order.KiCustomer) || !v.signs() {
		return nil
	}
	if v.cfg.KiSets == nil {
		return bus.Refuse(bus.FaultRefused, "vault %q keeps no prints of Ki, so it takes no customer's", v.cfg.Name)
	}
	known, err := v.cfg.KiSets.KiSets()
	if err != nil {
		return fmt.Errorf("reading which Ki are known: %w", err)
	}
	for _, k := range known {
		if k == (KiSet{Order: order.ID(r.Order), Root: r.Customer.Root, Rows: r.Customer.Rows}) {
			return nil
		}
	}
	return bus.Refuse(bus.FaultRefused, "the Ki of lot %q were never held against the others that came: the order must be handed in again", r.Lot)
}
