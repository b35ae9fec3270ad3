package keygen

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/record"
)

// Journal keeps what a vault served, per lot, numbered from 0 without a gap.
type Journal interface {
	// Append adds records after the count that are there and returns when they are durable. After an error it is unknown
	// which of them are; Read tells.
	Append(lot perso.Name, count uint64, records [][]byte) error
	// Read calls each with the records from a number on, until each returns false. A lot without records has none.
	Read(lot perso.Name, from uint64, each func(record []byte) (more bool, err error)) error
	// Scratch gives room beside the records, which ends when it is closed, or with the process.
	Scratch() (Scratch, error)
}

// MaxReceiptsPerReply bounds one portion: a receipt has about 700 bytes, a message 900 KiB.
const MaxReceiptsPerReply = 512

// sign completes a receipt: its number, the hash of the one before it, and its MAC.
func (l *lot) sign(e *entry.Receipt, next uint64, head [32]byte) ([]byte, error) {
	e.Seq, e.Prev = next, head
	body, err := e.Signable()
	if err != nil {
		return nil, fmt.Errorf("encoding receipt %d: %w", next, err)
	}
	if e.MAC, err = l.receiptMAC(body); err != nil {
		return nil, err
	}
	return e.Encode()
}

func (l *lot) receiptMAC(body []byte) (mac [32]byte, err error) {
	err = l.receipts.Reveal(func(key []byte) error {
		h := hmac.New(sha256.New, key)
		h.Write(body)
		h.Sum(mac[:0])
		return nil
	})
	return mac, err
}

// replay reads the lot's receipts into a new index and checks that they are one unbroken chain with right MACs. Before
// the lot's secrets are open it only counts.
func (v *Vault) replay(l *lot) (count uint64, err error) {
	head := [32]byte{}
	var seen *index
	if opened := !l.receipts.IsZero(); opened {
		if seen, err = l.newIndex(v.cfg.Journal.Scratch); err != nil {
			return 0, err
		}
	}
	err = v.cfg.Journal.Read(l.release.Lot, 0, func(b []byte) (bool, error) {
		r, err := parseRendered(b)
		if err != nil {
			return false, err
		}
		e := r.receipt
		if e.Vault != v.cfg.Name || e.Lot != l.release.Lot || e.Seq != count || e.Prev != head {
			return false, fmt.Errorf("receipt %d does not continue the chain", count)
		}
		if seen != nil {
			if err := errors.Join(l.verifyReceipt(e), seen.add(r)); err != nil {
				return false, err
			}
		}
		head, count = entry.Hash(r.Receipt), count+1
		return true, nil
	})
	if err != nil {
		if seen != nil {
			err = errors.Join(err, seen.close())
		}
		return count, fmt.Errorf("reading receipts of lot %q: %w", l.release.Lot, err)
	}
	l.seen, l.next, l.head = seen, count, head
	return count, nil
}

func (l *lot) newIndex(room func() (Scratch, error)) (x *index, err error) {
	err = l.indexing.Reveal(func(key []byte) error {
		x = newIndex(key, l.release.Units(), MaxRememberedSessions, usualPaging(room))
		return nil
	})
	return x, err
}

func (l *lot) verifyReceipt(e entry.Receipt) error {
	body, err := e.Signable()
	if err != nil {
		return err
	}
	mac, err := l.receiptMAC(body)
	if err == nil && !hmac.Equal(mac[:], e.MAC[:]) {
		err = fmt.Errorf("receipt %d has a wrong MAC", e.Seq)
	}
	return err
}

var errOneRecord = errors.New("journal has no such record")

// recordAt reads one record again.
func (v *Vault) recordAt(l *lot, seq uint64) (r rendered, err error) {
	err = errOneRecord
	readErr := v.cfg.Journal.Read(l.release.Lot, seq, func(b []byte) (bool, error) {
		r, err = parseRendered(b)
		return false, err
	})
	if err := errors.Join(readErr, err); err != nil {
		return r, fmt.Errorf("reading receipt %d of lot %q: %w", seq, l.release.Lot, err)
	}
	return r, nil
}

// firstGood reads the receipt that first called a claim good.
func (v *Vault) firstGood(l *lot, past history, claim [32]byte) (rendered, error) {
	r, err := v.recordAt(l, past.goodAt)
	if err == nil && (r.receipt.Claim != claim || r.receipt.Result != entry.ResultGood) {
		err = fmt.Errorf("receipt %d of lot %q is not what called a unit good first: it says %q", past.goodAt, l.release.Lot, r.receipt.Result)
	}
	return r, err
}

// Receipts gives a portion of a lot's receipts, and with the last portion the signed head of their chain.
func (v *Vault) Receipts(ctx context.Context, q bus.ReceiptsRequest) (bus.ReceiptsReply, error) {
	if err := v.cfg.Life.Present(ctx); err != nil {
		return bus.ReceiptsReply{}, err
	}
	l, err := v.take(q.Lot)
	if err != nil {
		l, err = v.remains(ctx, q.Lot, err)
	}
	if err != nil {
		return bus.ReceiptsReply{}, err
	}
	defer l.mu.Unlock()
	reply := bus.ReceiptsReply{Vault: v.cfg.Name, Receipts: [][]byte{}}
	if q.From > l.next {
		return reply, bus.Refuse(bus.FaultNotFound, "lot %q has %d receipts", q.Lot, l.next)
	}
	err = v.cfg.Journal.Read(q.Lot, q.From, func(b []byte) (bool, error) {
		r, err := bus.Decode[rendered](b)
		reply.Receipts = append(reply.Receipts, r.Receipt)
		return len(reply.Receipts) < MaxReceiptsPerReply, err
	})
	if err != nil {
		return bus.ReceiptsReply{}, fmt.Errorf("reading receipts of lot %q: %w", q.Lot, err)
	}
	if q.From+uint64(len(reply.Receipts)) < l.next {
		return reply, nil
	}
	head := entry.ReceiptHead{Env: v.cfg.Env, Vault: v.cfg.Name, Lot: q.Lot, Count: l.next, Head: l.head, At: v.cfg.Now()}
	if reply.Head, err = head.Encode(); err == nil {
		reply.Signature, err = v.cfg.Token.SignMessage(ctx, v.cfg.Keys.Statement, reply.Head)
	}
	if err != nil {
		return bus.ReceiptsReply{}, fmt.Errorf("signing receipt head of lot %q: %w", q.Lot, err)
	}
	return reply, nil
}

// kindSeal is the record that says whose an audit bundle is and what its manifest hashes to (ledger/FORMAT.md).
const kindSeal = "bundle-seal"

// SealBundle signs the seal of an audit bundle with the statement key: of this site, of a lot that was made here, and
// nothing else, so that nobody can have the vault say another thing.
func (v *Vault) SealBundle(ctx context.Context, q bus.SealBundleRequest) (bus.SealBundleReply, error) {
	if err := v.cfg.Life.Present(ctx); err != nil {
		return bus.SealBundleReply{}, err
	}
	if err := v.sealable(q); err != nil {
		v.cfg.Log.Error("refused a seal", "lot", q.Lot, "err", err)
		return bus.SealBundleReply{}, bus.Refuse(bus.FaultRefused, "sealing bundle of lot %q: %v", q.Lot, err)
	}
	sig, err := v.cfg.Token.SignMessage(ctx, v.cfg.Keys.Statement, q.Manifest)
	if err != nil {
		return bus.SealBundleReply{}, fmt.Errorf("sealing bundle of lot %q: %w", q.Lot, err)
	}
	v.cfg.Log.Info("bundle sealed", "lot", q.Lot)
	return bus.SealBundleReply{Signature: sig}, nil
}

func (v *Vault) sealable(q bus.SealBundleRequest) error {
	r, err := record.Parse(q.Manifest, kindSeal)
	if err != nil {
		return err
	}
	env, site, lot := r.Raw("env"), r.Raw("site"), r.Raw("lot")
	r.Uint("files", 32)
	r.Hash("manifest")
	if err := r.Done(); err != nil {
		return err
	}
	v.mu.Lock()
	_, made := v.memory.Lots[q.Lot]
	v.mu.Unlock()
	if perso.Env(env) != v.cfg.Env || perso.Name(site) != v.cfg.Site || perso.Name(lot) != q.Lot || !made {
		return fmt.Errorf("seal is of lot %q, site %q (%s)", lot, site, env)
	}
	return nil
}
