package keygen_test

import (
	"context"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// brokenToken fails a chip maker's key once, for one of many.
type brokenToken struct {
	*hsmfake.Token
	left atomic.Int32 // operations until the one that fails
}

func (t *brokenToken) EncryptECB(ctx context.Context, k hsm.Key, blocks []byte) ([]byte, error) {
	if t.left.Add(-1) == 0 {
		return nil, hsm.ErrDevice
	}
	return t.Token.EncryptECB(ctx, k, blocks)
}

// One operation that fails is its batch's alone: no act of it has a receipt, and the lot is open for the others.
func TestOneOperationFails(t *testing.T) {
	t.Parallel()
	token := &brokenToken{Token: hsmfake.New(mrand.NewChaCha8([32]byte{1}))}
	r := newRigOn(t, token, "S1")
	r.cfg.Side = nil // one after the other, so that the last one fails
	r.reopenVault()
	r.openLot()
	first, second := r.claimUnit(newCard(t, testKMC, 1), 0, 0), r.claimUnit(newCard(t, testKMC, 2), 1, 1)
	second.serial = 10
	q := r.asked(first, second)
	token.left.Store(2)
	if _, err := r.vault.Serve(ctx, q); !errors.Is(err, hsm.ErrDevice) {
		t.Fatal(err)
	}
	reply, err := r.vault.Serve(ctx, q)
	if err != nil {
		t.Fatalf("afterwards: %v", err)
	}
	checkReceipts(t, r, [][]byte{reply.Results[0].Receipt, reply.Results[1].Receipt}, []string{"script", "script"})
}

// heldToken holds the operations of callers whose context has a gate, until it is opened.
type heldToken struct{ *hsmfake.Token }

type gate struct {
	once    sync.Once
	reached chan struct{} // closed when an operation stands before it
	opened  chan struct{}
}

type gateOf struct{}

func newGate() *gate { return &gate{reached: make(chan struct{}), opened: make(chan struct{})} }

func (g *gate) on(ctx context.Context) context.Context { return context.WithValue(ctx, gateOf{}, g) }

func (t heldToken) EncryptECB(ctx context.Context, k hsm.Key, blocks []byte) ([]byte, error) {
	if g, ok := ctx.Value(gateOf{}).(*gate); ok {
		g.once.Do(func() { close(g.reached) })
		<-g.opened
	}
	return t.Token.EncryptECB(ctx, k, blocks)
}

// flight is a batch that is being served.
type flight struct {
	*gate
	reply bus.ServeReply
	err   error
	over  chan struct{}
}

// fly has a batch served that stands before the HSM when fly returns.
func (r *rig) fly(q bus.ServeRequest) *flight {
	f := &flight{gate: newGate(), over: make(chan struct{})}
	go func() {
		defer close(f.over)
		f.reply, f.err = r.vault.Serve(f.on(ctx), q)
	}()
	<-f.reached
	return f
}

func (f *flight) land() *flight {
	close(f.opened)
	<-f.over
	return f
}

// asked makes a request of the units' first acts, in the log as it is now.
func (r *rig) asked(units ...*unit) bus.ServeRequest {
	var items []bus.ServeItem
	for _, u := range units {
		items = append(items, u.begin())
	}
	note := r.note()
	r.prove(units, items)
	return bus.ServeRequest{Lot: r.lot, Checkpoint: note, Items: items}
}

func newHeldRig(t *testing.T) *rig {
	t.Helper()
	return newRigOn(t, heldToken{hsmfake.New(mrand.NewChaCha8([32]byte{1}))}, "S1")
}

// soon is long enough for what is not held back to be done, on a machine that has nothing else to do.
const soon = 20 * time.Millisecond

// waitClosed waits until the lot is not open any more.
func (r *rig) waitClosed() {
	for {
		if _, err := r.vault.Challenges(ctx, bus.VaultChallengesRequest{Lot: r.lot, Count: 1}); code(err) == bus.FaultLotNotOpen {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// A batch does not wait for another one of its lot that is before the HSM, nor do challenges. Receipts are one chain all the same.
func TestBatchesOfALotFlyTogether(t *testing.T) {
	t.Parallel()
	r := newHeldRig(t)
	r.openLot()
	first, second := r.claimUnit(newCard(t, testKMC, 1), 0, 0), r.claimUnit(newCard(t, testKMC, 2), 1, 1)
	second.serial = 10
	f := r.fly(r.asked(first))
	overtaking, err := r.vault.Serve(ctx, r.asked(second))
	if err != nil {
		t.Fatal(err)
	}
	if f.land(); f.err != nil {
		t.Fatal(f.err)
	}
	checkReceipts(t, r, [][]byte{overtaking.Results[0].Receipt, f.reply.Results[0].Receipt}, []string{"script", "script"})
}

// What concerns a unit whose act is being played waits for what comes of it: the same act, asked again, has one receipt, and a
// second claim for the EID is refused.
func TestABatchWaitsForWhatItMeets(t *testing.T) {
	t.Parallel()
	r := newHeldRig(t)
	r.openLot()
	first := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	thief := r.claimUnit(newCard(t, testKMC, 2), 1, 0, func(c *entry.Claim) { c.EID = first.claim.EID })
	other := r.claimUnit(newCard(t, testKMC, 3), 1, 1)
	thief.serial, other.serial = 10, 20
	q := r.asked(first)
	mixed := r.asked(other, thief)
	mixed.Items = append(mixed.Items, q.Items[0])
	r.prove([]*unit{other, thief, first}, mixed.Items)
	f := r.fly(q)
	var reply bus.ServeReply
	var err error
	met := make(chan struct{})
	go func() {
		defer close(met)
		reply, err = r.vault.Serve(ctx, mixed)
	}()
	select {
	case <-met:
		t.Error("served before it is known what came of the act that it meets")
	case <-time.After(soon):
	}
	f.land()
	<-met
	if err := errors.Join(err, f.err); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(reply.Results[1].Refused, "EID index 0 was claimed otherwise") {
		t.Errorf("a second claim for an EID: %+v", reply.Results[1])
	}
	if !reflect.DeepEqual(reply.Results[2], f.reply.Results[0]) {
		t.Error("an act that was asked again meanwhile was answered otherwise")
	}
	checkReceipts(t, r, [][]byte{reply.Results[0].Receipt, f.reply.Results[0].Receipt}, []string{"script", "script"})
}

// Officers give up a unit while an act of it is being played: the act ends first, and none comes after their word.
func TestGivingUpWaitsForTheAct(t *testing.T) {
	t.Parallel()
	r := newHeldRig(t)
	r.openLot()
	u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	ask, _ := u.giveUp(1)
	f := r.fly(r.asked(u))
	var a bus.AbandonReply
	var err error
	over := make(chan struct{})
	go func() {
		defer close(over)
		a, err = ask()
	}()
	select {
	case <-over:
		t.Error("given up while an act is being played")
	case <-time.After(soon):
	}
	f.land()
	<-over
	if err := errors.Join(err, f.err); err != nil {
		t.Fatal(err)
	}
	checkReceipts(t, r, [][]byte{f.reply.Results[0].Receipt, a.Receipt}, []string{"script", "abandoned"})
}

// TestALotClosesUnderAFlight: the disk fails one batch while another one is played. The lot is closed, and what it would wipe is
// there until the other is done, which hears that the lot is not open: asked again, it has one receipt.
func TestALotClosesUnderAFlight(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]bool{"not written": false, "written": true} {
		r := newHeldRig(t)
		disk := r.withoutDisk()
		r.openLot()
		first, second := r.claimUnit(newCard(t, testKMC, 1), 0, 0), r.claimUnit(newCard(t, testKMC, 2), 1, 1)
		second.serial = 10
		q, failing := r.asked(first), r.asked(second)
		f := r.fly(q)
		disk.fail, disk.after = true, after
		broken := make(chan error)
		go func() {
			_, err := r.vault.Serve(ctx, failing)
			broken <- err
		}()
		r.waitClosed()
		select {
		case err := <-broken:
			t.Errorf("%s: closed under a flight: %v", name, err)
		case <-time.After(soon):
		}
		close(f.opened)
		if err := <-broken; err == nil || code(err) != "" {
			t.Errorf("%s: the disk failed: %v", name, err)
		}
		if <-f.over; code(f.err) != bus.FaultLotNotOpen {
			t.Errorf("%s: the flight came to %d results, %v", name, len(f.reply.Results), f.err)
		}
		disk.fail = false
		r.openLot()
		var given [][]byte
		for _, q := range []bus.ServeRequest{failing, q} {
			reply, err := r.vault.Serve(ctx, q)
			if err != nil || len(reply.Results[0].Window) == 0 {
				t.Fatalf("%s: asked again: %+v, %v", name, reply, err)
			}
			given = append(given, reply.Results[0].Receipt)
		}
		checkReceipts(t, r, given, []string{"script", "script"})
	}
}

// TestALotThatGivesWay: so many lots are opened while an act is played that its lot has to go. The act hears of it.
func TestALotThatGivesWay(t *testing.T) {
	t.Parallel()
	r := newHeldRig(t)
	r.openLot()
	f := r.fly(r.asked(r.claimUnit(newCard(t, testKMC, 1), 0, 0)))
	var others []bus.OpenLotRequest
	for i := range keygen.MaxOpenLots {
		rel, q := r.later(uint64(i)+1), r.openRequest()
		rel.Lot = perso.Name(fmt.Sprintf("L%d", i))
		q.Release = r.sign(rel, "ann", "bob").Encode()
		others = append(others, q)
	}
	open := func(q bus.OpenLotRequest) {
		if _, err := r.vault.OpenLot(ctx, q); err != nil {
			t.Error(err)
		}
	}
	for _, q := range others[1:] {
		open(q)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		open(others[0])
	}()
	r.waitClosed()
	select {
	case <-gone:
		t.Error("its secrets were wiped while it was played")
	case <-time.After(soon):
	}
	f.land()
	<-gone
	if code(f.err) != bus.FaultLotNotOpen {
		t.Errorf("it came to %d results, %v", len(f.reply.Results), f.err)
	}
}

// TestAFreezeBindsAFlight: an act that was before the HSM when the vault heard of a freeze, and one that waited for it, are not answered and have
// no receipts; they are when the freeze was lifted.
func TestAFreezeBindsAFlight(t *testing.T) {
	t.Parallel()
	for _, what := range []statement.Frozen{statement.FrozenLot, statement.FrozenLine} {
		r := newHeldRig(t)
		r.openLot()
		flying, waiting := r.claimUnit(newCard(t, testKMC, 1), 0, 0), r.claimUnit(newCard(t, testKMC, 2), 1, 1)
		waiting.serial = 77
		q := r.asked(flying)
		items := []bus.ServeItem{q.Items[0], waiting.begin()}
		note := r.note()
		r.prove([]*unit{flying, waiting}, items)
		name := string(testLot)
		if what == statement.FrozenLine {
			name = string(flying.actOf(q.Items[0]).Present.Line)
		}
		f := r.fly(q)
		over := make(chan error)
		go func() {
			_, err := r.vault.Serve(ctx, bus.ServeRequest{Lot: r.lot, Checkpoint: note, Items: items})
			over <- err
		}()
		word := r.frost(what, name, nil, "bob")
		r.tell(word)
		f.land()
		for _, err := range []error{f.err, <-over} {
			if code(err) != bus.FaultBusy || !strings.Contains(err.Error(), "is frozen: a drill") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if a, err := r.vault.Receipts(ctx, bus.ReceiptsRequest{Lot: r.lot}); err != nil || len(a.Receipts) > 0 {
			t.Errorf("%s: %d receipts, %v", what, len(a.Receipts), err)
		}
		r.tell(r.frost(what, name, &word, "ann", "bob"))
		a, err := r.vault.Serve(ctx, bus.ServeRequest{Lot: r.lot, Checkpoint: note, Items: items})
		if err != nil || len(a.Results[0].Window) == 0 || len(a.Results[1].Window) == 0 {
			t.Errorf("%s: when it goes on: %+v, %v", what, a, err)
		}
	}
}

// TestAFreezeBindsAnExport: what was before the HSM when the vault heard of a freeze does not leave; it does when the freeze was
// lifted.
func TestAFreezeBindsAnExport(t *testing.T) {
	t.Parallel()
	for _, kind := range []bus.ExportKind{bus.ExportOutput, bus.ExportEIS} {
		r := newHeldRig(t)
		r.openLot()
		_, q := r.goodUnit()
		q.Kind = kind
		if kind == bus.ExportEIS {
			q.Receiver = "smsr-x"
		}
		g, over := newGate(), make(chan error)
		var a bus.ExportReply
		go func() {
			var err error
			a, err = r.vault.Export(g.on(ctx), q)
			over <- err
		}()
		<-g.reached
		word := r.frost(statement.FrozenLot, string(testLot), nil, "bob")
		r.tell(word)
		close(g.opened)
		if err := <-over; code(err) != bus.FaultRefused || !strings.Contains(err.Error(), "is frozen: a drill") || len(a.Results) > 0 {
			t.Errorf("%s: %d results, %v", kind, len(a.Results), err)
		}
		r.tell(r.frost(statement.FrozenLot, string(testLot), &word, "ann", "bob"))
		if a, err := r.vault.Export(ctx, q); err != nil || len(a.Results) != 1 {
			t.Errorf("%s: when it goes on: %d results, %v", kind, len(a.Results), err)
		}
	}
}
