package keygen_test

import (
	"context"
	mrand "math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
)

// meetingToken lets no operation of a batch go before so many are under way.
type meetingToken struct {
	*hsmfake.Token
	mu      sync.Mutex
	waiting int
	all     int
	met     chan struct{}
}

func (t *meetingToken) EncryptECB(ctx context.Context, k hsm.Key, blocks []byte) ([]byte, error) {
	t.mu.Lock()
	met := t.met
	if t.waiting++; met != nil && t.waiting == t.all {
		close(met)
	}
	t.mu.Unlock()
	if met != nil {
		<-met
	}
	return t.Token.EncryptECB(ctx, k, blocks)
}

// A lot is not held to one HSM operation at a time: a far HSM would then give it a card in each ten of its round trips. Here the
// batch can only end if all its acts are before the HSM together.
func TestABatchIsBeforeTheHSMTogether(t *testing.T) {
	t.Parallel()
	const cards = 8
	token := &meetingToken{Token: hsmfake.New(mrand.NewChaCha8([32]byte{1})), all: cards}
	r := newRigOn(t, token, "S1")
	r.enlarge(cards)
	r.openLot()
	var units []*unit
	var items []bus.ServeItem
	for i := range cards {
		u := r.claimUnit(newCard(t, testKMC, byte(i+1)), perso.Unit(i), perso.EIDIndex(i))
		u.serial = uint64(i) // as the ledger counts
		units, items = append(units, u), append(items, u.begin())
	}
	r.prove(units, items)
	token.waiting, token.met = 0, make(chan struct{})
	reply, err := r.vault.Serve(ctx, bus.ServeRequest{Lot: r.lot, Checkpoint: r.note(), Items: items})
	if err != nil {
		t.Fatal(err)
	}
	for i, result := range reply.Results {
		receipt, err := entry.ParseReceipt(result.Receipt)
		if err != nil || len(result.Window) == 0 || receipt.Seq != uint64(i) || receipt.Unit != perso.Unit(i) {
			t.Errorf("act %d came to %+v: receipt %d of unit %d, %v", i, result, receipt.Seq, receipt.Unit, err)
		}
	}
}

// What is asked twice in one batch is answered twice with one receipt, and of two claims for one EID in a batch only the first
// is served: acts that are played together are never two that concern one another.
func TestABatchThatMeetsItself(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	first := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	asked := first.begin()
	thief := r.claimUnit(newCard(t, testKMC, 2), 1, 0, func(c *entry.Claim) { c.EID = first.claim.EID })
	same := r.claimUnit(newCard(t, testKMC, 3), 0, 1, func(c *entry.Claim) { c.EID = mustEID(t, r, 1) })
	thief.serial, same.serial = first.serial+1, first.serial+2
	items := []bus.ServeItem{asked, thief.begin(), asked, same.begin()}
	r.prove([]*unit{first, thief, first, same}, items)
	reply, err := r.vault.Serve(ctx, bus.ServeRequest{Lot: r.lot, Checkpoint: r.note(), Items: items})
	if err != nil {
		t.Fatal(err)
	}
	a, b := reply.Results[0], reply.Results[2]
	if len(a.Receipt) == 0 || string(a.Receipt) != string(b.Receipt) {
		t.Errorf("one act, asked twice: receipts %x and %x", a.Receipt, b.Receipt)
	}
	for i, want := range map[int]string{1: "EID index 0 was claimed otherwise", 3: "unit 0 generation 0 was claimed otherwise"} {
		if got := reply.Results[i].Refused; !strings.Contains(got, want) {
			t.Errorf("act %d: %q, want %q", i, got, want)
		}
	}
}

// prove shows that claims and acts are in the log as it is now.
func (r *rig) prove(units []*unit, items []bus.ServeItem) {
	for i, u := range units {
		items[i].Claim, items[i].Act = r.log.prove(u.seq), r.log.prove(items[i].Act.Seq)
	}
}

func mustEID(t *testing.T, r *rig, n uint64) id.EID {
	t.Helper()
	eid, err := r.release.EIDs.At(n)
	if err != nil {
		t.Fatal(err)
	}
	return eid
}
