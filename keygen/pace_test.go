package keygen_test

import (
	"testing"
	"time"

	"github.com/persoline/persoline/perso/bus"
)

func TestKeepsPace(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cfg.ActsPerSecond = 2
	r.reopenVault()
	r.openLot()
	u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	item := u.begin()
	item.Claim, item.Act = r.log.prove(u.seq), r.log.prove(item.Act.Seq)
	ask := func(n int) error {
		q := bus.ServeRequest{Lot: testLot, Checkpoint: r.note()}
		for range n {
			q.Items = append(q.Items, item)
		}
		_, err := r.vault.Serve(ctx, q)
		return err
	}
	if err := ask(8); err != nil { // four seconds' worth
		t.Fatal(err)
	}
	if err := ask(1); code(err) != bus.FaultBusy {
		t.Errorf("one act too many: %v", err)
	}
	r.now = r.now.Add(time.Second)
	if err := ask(2); err != nil {
		t.Errorf("after a second: %v", err)
	}
	r.now = r.now.Add(-time.Minute)
	if err := ask(1); code(err) != bus.FaultBusy {
		t.Errorf("after the clock went back: %v", err)
	}
	r.now = r.now.Add(time.Hour)
	if err := ask(9); code(err) != bus.FaultBusy {
		t.Errorf("more than a burst: %v", err)
	}
}
