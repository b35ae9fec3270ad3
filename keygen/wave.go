package keygen

import (
	"context"
	"errors"
	"slices"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/sealing"
	"github.com/persoline/persoline/perso/secret"
)

// Acts are played in waves. Those of a wave, and of all waves of a lot that are in flight, are of different units, EIDs and
// sessions, so that what one comes to changes nothing for another: they are admitted one after the other, played side by side,
// as many as the HSM has sessions for, and given their receipts one after the other. A batch is one wave, but for what a
// ledger repeats in it. The lot is locked while a wave is admitted, and again from its receipts until these are durable, but
// not while it flies: the HSM goes on with the next batch when it is done with this one.

// admit takes item i into the wave, after all that it depends on. An error concerns the whole batch.
func (b *batch) admit(ctx context.Context, i int, item *bus.ServeItem) error {
	r := &run{ctx: ctx, v: b.v, l: b.l, item: item, place: i}
	r.end = b.prove(r)
	if b.l.meets(b.wave, r) {
		if err := b.fly(ctx); err != nil {
			return err
		}
	}
	if b.l.meets(b.l.flying, r) {
		// Nothing of this batch may be waited for by the others meanwhile.
		if err := b.fly(ctx); err != nil {
			return err
		}
		if err := b.l.await(r); err != nil {
			return err
		}
		if err := b.v.mayServe(b.l.release, b.items); err != nil { // officers may have spoken meanwhile
			return err
		}
	}
	if r.end == nil {
		r.end = b.know(r)
	}
	b.wave = append(b.wave, r)
	return nil
}

// meets says whether one of the others may change what the vault knows of r: the index has a record of each unit, of each EID
// index, and of each session's place.
func (l *lot) meets(others []*run, r *run) bool {
	return slices.ContainsFunc(others, func(o *run) bool {
		return r.claim.Unit == o.claim.Unit || r.claim.Index == o.claim.Index || l.seen.placeOf(r.act.Serial) == l.seen.placeOf(o.act.Serial)
	})
}

// await unlocks the lot until nothing is in flight that r meets. The lot may have been closed meanwhile.
func (l *lot) await(r *run) error {
	for !l.closed && l.meets(l.flying, r) {
		l.landed.Wait()
	}
	return l.open()
}

// open refuses what asks for a lot that was closed while it waited.
func (l *lot) open() error {
	if l.closed {
		return bus.Refuse(bus.FaultLotNotOpen, "lot %q was closed meanwhile", l.release.Lot)
	}
	return nil
}

// prove proves an item by the log.
func (b *batch) prove(r *run) (err error) {
	if r.claim, err = b.l.proveClaim(b.cp, r.item.Claim); err != nil {
		return err
	}
	if err := b.l.proveLoss(b.cp, r.claim, r.item.Claim.Seq, r.item.Loss); err != nil {
		return err
	}
	if r.act, err = proveAct(b.cp, r.claim, r.item); err != nil {
		return err
	}
	return b.l.proveRow(r.claim.Unit, r.item.Customer)
}

// know holds an item against what was served before.
func (b *batch) know(r *run) (err error) {
	hash, seen := entry.Hash(r.item.Claim.Entry), b.l.seen
	if err := seen.admitClaim(r.claim, hash); err != nil {
		return err
	}
	if err := seen.admitSession(r.act.Session, r.act.Serial); err != nil {
		return err
	}
	if r.previous, err = b.servedBefore(r.act, hash); err != nil {
		return err
	}
	if r.past, err = seen.history(r.claim, hash); err != nil {
		return err
	}
	if r.past.gone {
		return refuse("%s: unit %d generation %d was given up by two officers", perso.ReasonAbandoned, r.claim.Unit, r.claim.Gen)
	}
	r.vars = &variables{ctx: r.ctx, v: b.v, l: b.l, claim: r.claim, hash: hash, serial: r.act.Serial,
		carried: map[string][]byte{}, cert: r.certificate, ki: r.carriedKi, pair: r.pairKey,
		point: func() []byte { return r.state.Key }}
	if err := r.provenKi(); err != nil {
		return err
	}
	switch {
	case r.previous == nil:
		return b.v.proveTime(b.l, r.act)
	case r.previous.receipt.Result == string(perso.ReasonStale):
		return tooOld() // asked twice it is no younger, and the release may have expired since
	}
	return nil
}

// fly plays what was admitted, and gives the answers and their receipts, which are durable then. A process that was overtaken meanwhile
// gives none.
func (b *batch) fly(ctx context.Context) error {
	wave := b.wave
	b.wave = nil
	var over error
	b.l.aloft(wave, func() {
		b.v.side(len(wave), func(i int) {
			// What the work leaves on the stack and the heap is erased where the runtime can do that: the buffers that we know of
			// are wiped in any case.
			secret.Do(wave[i].serve)
		})
		over = b.v.cfg.Life.Present(ctx)
	})
	if over != nil {
		return over
	}
	if err := b.l.open(); err != nil {
		return err
	}
	if err := unanswered(wave); err != nil {
		return err // while none has a receipt
	}
	b.base = b.l.next
	err := b.give(wave)
	if err != nil && len(b.fresh) > 0 {
		b.l.close() // its index counts receipts that may not be stored
	}
	b.fresh = nil
	return err
}

// give answers a wave, and makes its receipts durable. What was frozen while it flew is not answered; and no freeze is said to be heard
// before the answers that it came too late for have their receipts.
func (b *batch) give(wave []*run) error {
	b.v.answering.RLock()
	defer b.v.answering.RUnlock()
	if err := b.v.mayServe(b.l.release, b.items); err != nil {
		return err
	}
	if err := b.answers(wave); err != nil {
		return err
	}
	return b.commit()
}

// aloft unlocks the lot while play runs. What a closing lot wipes is still there until then.
func (l *lot) aloft(wave []*run, play func()) {
	l.flying = append(l.flying, wave...)
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.flying = slices.DeleteFunc(l.flying, func(r *run) bool { return slices.Contains(wave, r) })
		l.landed.Broadcast()
	}()
	play()
}

// unanswered gives the error of an act of which nothing was decided: it concerns the whole batch.
func unanswered(wave []*run) error {
	for _, r := range wave {
		var no refusal
		var failed failure
		if r.end != nil && !errors.As(r.end, &no) && !errors.As(r.end, &failed) {
			return r.end
		}
	}
	return nil
}

// answers says how the acts of a wave ended.
func (b *batch) answers(wave []*run) error {
	for _, r := range wave {
		result, err := b.answer(r)
		if err != nil {
			return err
		}
		b.results[r.place] = result
	}
	return nil
}

// serve plays the act, keeps its state sealed, and wipes what was derived for it.
func (r *run) serve() {
	defer r.wipe()
	if r.end != nil {
		return
	}
	if r.end = r.play(); r.end == nil && !r.proven {
		r.sealed, r.end = r.state.seal(r.binding)
	}
	if r.end == nil && !r.proven && r.l.plain() {
		r.end = r.sealWindow()
	}
}

// answer says how an act ended. An error concerns the whole batch.
func (b *batch) answer(r *run) (bus.ServeResult, error) {
	err := r.end
	if err == nil && r.previous != nil && !r.answered() {
		err = refuse("act %d of session %s ended with %q before", r.act.N, r.act.Session, r.previous.receipt.Result)
	}
	if err == nil && r.proven && !r.past.good {
		err = b.l.room()
	}
	var no refusal
	var failed failure
	switch {
	case errors.As(err, &no):
		b.v.cfg.Log.Warn("act refused", "lot", b.l.release.Lot, "err", no)
		return bus.ServeResult{Refused: string(no)}, nil
	case errors.As(err, &failed):
		failed.Secrets = r.past.secrets || r.onCard || r.state.Secrets
		out := bus.Failed(failed)
		return b.receipted(r, bus.ServeResult{Failed: &out}, string(failed.Reason))
	case err != nil:
		return bus.ServeResult{}, err
	case r.proven && r.past.good:
		return b.goodAgain(r)
	case r.proven:
		return b.receipted(r, bus.ServeResult{Good: true}, entry.ResultGood)
	}
	final := int(r.state.Act)+1 == len(r.l.script.Acts)
	result := bus.ServeResult{State: r.sealed, Stored: r.stored, Final: final}
	if r.l.plain() {
		result.Sealed = r.closed
	} else {
		result.Window = r.window
	}
	return b.receipted(r, result, entry.ResultScript)
}

// goodAgain answers for a unit that is good with the very receipt that first said so, whatever session asks. From that receipt follows whether
// the unit is drawn as a sample, and who could have another one made could ask until the draw suits him. That the act was served is in the chain
// all the same.
func (b *batch) goodAgain(r *run) (bus.ServeResult, error) {
	first, err := b.v.firstGood(b.l, r.past, r.vars.hash)
	if err != nil {
		return bus.ServeResult{}, err
	}
	result := bus.ServeResult{Good: true}
	if e := first.receipt; e.Session != r.act.Session || e.N != r.act.N {
		if result, err = b.receipted(r, result, entry.ResultGoodAgain); err != nil {
			return bus.ServeResult{}, err
		}
	}
	result.Receipt = first.Receipt
	return result, nil
}

// room refuses one good unit more than were released (I7).
func (l *lot) room() error {
	if l.seen.goods >= l.release.Good {
		return refuse("%d units are good, no more were released", l.seen.goods)
	}
	return nil
}

// wipe clears what was derived for the act.
func (r *run) wipe() {
	if r.vars != nil {
		r.vars.wipe()
	}
	if r.host != nil {
		r.host.Wipe()
	}
	if r.l.plain() {
		sealing.Wipe(r.window)
	}
}

// side runs do for 0 to n-1 as Config.Side does.
func (v *Vault) side(n int, do func(i int)) {
	if v.cfg.Side != nil && n > 1 {
		v.cfg.Side(n, do)
		return
	}
	for i := range n {
		do(i)
	}
}
