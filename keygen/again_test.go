package keygen_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
)

// chain gives what the lot's receipts say, by their results, and the bytes of those with the result "good".
func (r *rig) chain() (results []string, goods [][]byte) {
	r.t.Helper()
	reply, err := r.vault.Receipts(ctx, bus.ReceiptsRequest{Lot: r.lot})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, b := range reply.Receipts {
		e, err := entry.ParseReceipt(b)
		if err != nil {
			r.t.Fatal(err)
		}
		results = append(results, e.Result)
		if e.Result == entry.ResultGood {
			goods = append(goods, b)
		}
	}
	return results, goods
}

// comesAgain has a finished chip contacted again, in a new session, and demands the receipt that called it good first.
func (u *unit) comesAgain(when string, first []byte) {
	u.t.Helper()
	u.card.contact()
	if got := u.session(); !got.Good || !bytes.Equal(got.Receipt, first) {
		u.t.Errorf("%s: good is %v, by receipt\n%s, want\n%s", when, got.Good, got.Receipt, first)
	}
	last := u.items[len(u.items)-1]
	if got := u.serve(last); !got.Good || !bytes.Equal(got.Receipt, first) {
		u.t.Errorf("%s, the same act once more: good is %v, by receipt\n%s", when, got.Good, got.Receipt)
	}
	results, goods := u.chain()
	if len(goods) != 1 || results[len(results)-1] != entry.ResultGoodAgain {
		u.t.Errorf("%s: the chain says %q", when, results)
	}
}

// TestCallsAUnitGoodOnce: which units are samples follows from the receipts that call them good. A chip that is asked about again, in as many
// sessions as somebody likes, of this vault process or the next, gets the same receipt each time, and so do officers who give it up.
func TestCallsAUnitGoodOnce(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.source+" "+k.origin, func(t *testing.T) {
			t.Parallel()
			r := newRig(t).of(k.source, k.origin)
			r.openLot()
			u := r.claimUnit(r.newCard(1), 0, 0)
			made := u.session()
			if !made.Good {
				t.Fatalf("made: %+v, %+v", made, made.Failed)
			}
			first := made.Receipt
			u.comesAgain("contacted again", first)
			r.reopenVault()
			r.openLot()
			u.comesAgain("contacted again, by another vault process", first)
			other := r.claimUnit(r.newCard(2), 1, 1)
			if got := other.session(); !got.Good || bytes.Equal(got.Receipt, first) {
				t.Errorf("another unit: %+v", got)
			}
			ask, _ := u.giveUp(1)
			if a, err := ask(); err != nil || !a.Good || !bytes.Equal(a.Receipt, first) {
				t.Errorf("given up: %+v, %v", a, err)
			}
		})
	}
}

// TestVerdictThatCouldNotBeStored: the journal fails at the receipt that calls a unit good, undone or done, and the process goes on or is killed
// there. Nobody has heard of it. The chip comes again: what was written is the receipt, and what was not never was one.
func TestVerdictThatCouldNotBeStored(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ written, killed bool }{
		"failed, not written": {false, false}, "failed, but written": {true, false},
		"killed before it was written": {false, true}, "killed between writing and answering": {true, true},
	} {
		r := newRig(t)
		s := r.withoutDisk()
		r.openLot()
		u := r.claimUnit(r.newCard(1), 0, 0)
		q := u.verdict()
		s.fail, s.after = true, c.written
		if reply, err := r.vault.Serve(ctx, q); !errors.Is(err, errDisk) || reply.Results != nil {
			t.Fatalf("%s: %v, %+v", name, err, reply)
		}
		s.fail = false
		if c.killed {
			r.reopenVault()
		}
		r.openLot()
		_, before := r.chain()
		if (len(before) == 1) != c.written {
			t.Fatalf("%s: %d receipts are in the journal", name, len(before))
		}
		u.card.contact()
		got := u.session()
		results, after := r.chain()
		if !got.Good || len(after) != 1 || !bytes.Equal(got.Receipt, after[0]) || c.written && !bytes.Equal(got.Receipt, before[0]) {
			t.Errorf("%s: good is %v; the chain says %q", name, got.Good, results)
		}
		if slices.Contains(results, entry.ResultGoodAgain) != c.written {
			t.Errorf("%s: the chain says %q", name, results)
		}
		u.comesAgain(name, after[0])
	}
}

// verdict brings a unit to where the next act calls it good, and gives the request for that.
func (u *unit) verdict() bus.ServeRequest {
	u.t.Helper()
	item := u.begin()
	for {
		result := u.serve(item)
		u.keep(result.Stored)
		if item = u.next(item, result); result.Final {
			break
		}
	}
	note := u.note()
	item.Claim, item.Act = u.log.prove(u.seq), u.log.prove(item.Act.Seq)
	return bus.ServeRequest{Lot: u.lot, Checkpoint: note, Items: []bus.ServeItem{item}}
}

// TestAGoodChipKeepsItsKey: a chip that is good is given no other key pair and no other certificate, whatever the ledger has forgotten or says that
// it has: what leaves for its receiver is the certificate that it proved itself with.
func TestAGoodChipKeepsItsKey(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	u := r.claimUnit(r.newCard(1), 0, 0)
	made := u.session()
	if !made.Good {
		t.Fatalf("made: %+v, %+v", made, made.Failed)
	}
	kept := u.stored
	for what, stored := range map[string]bus.Stored{"nothing": {}, "the certificate alone": {Cert: kept.Cert}, "the key alone": {Key: kept.Key},
		"another key": {Cert: kept.Cert, Key: append([]byte{4}, make([]byte, 64)...)}} {
		u.stored = stored
		u.card.contact()
		got := u.session()
		if got.Good || got.Refused == "" && got.Failed == nil || !bytes.Equal(u.stored.Cert, stored.Cert) {
			t.Errorf("%s on record: it came to good %v, refused %q, %+v; another certificate was made: %v", what, got.Good, got.Refused, got.Failed, !bytes.Equal(u.stored.Cert, stored.Cert))
		}
	}
	u.stored = kept
	u.comesAgain("with its own on record", made.Receipt)
}
