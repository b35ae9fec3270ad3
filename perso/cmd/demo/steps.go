package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/lineside/chipfarm"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/cmd/cli/keyfile"
	"github.com/persoline/persoline/perso/cmd/site"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/statement"
)

// Bad chips on purpose, in permille of the reel: an operator sees each kind of trouble, and the spares suffice.
const (
	muteChips    = 6
	badContacts  = 15
	tornChips    = 12
	deadlyTears  = 4
	reelReserve  = 25 // chips beyond the identities, for those that never answer
	reelPerMille = 30
)

// makeChips fills the reel for the order: chips for all identities, and more for the bad ones.
func (d *demo) makeChips(o order.Order) (err error) {
	total := o.Total()
	plan := site.FarmPlan{Product: o.Product, Reel: "R-DEMO", Chips: uint32(total + total*reelPerMille/1000 + reelReserve), Seed: d.Seed, Scale: d.Scale, Faults: badChips()}
	if d.made.goodsIn, err = d.site.MakeFarm(plan); err != nil {
		return err
	}
	d.say("chips    %d on reel %s, some bad on purpose (mute, bad contact, torn while writing)", plan.Chips, plan.Reel)
	return nil
}

// badChips are bad on purpose.
func badChips() []chipfarm.FaultSpec {
	return []chipfarm.FaultSpec{
		{Kind: cardsim.FaultMute, Permille: muteChips}, {Kind: cardsim.FaultContact, Permille: badContacts},
		{Kind: cardsim.FaultTearBefore, Permille: tornChips}, {Kind: cardsim.FaultTearAfter, Permille: tornChips},
		{Kind: cardsim.FaultTearAfter, Permille: deadlyTears, Dead: true},
	}
}

func (d *demo) receive(ctx context.Context) error {
	for _, path := range d.made.goodsIn {
		file, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if _, err := ask[bus.ReceiveReply](ctx, d, bus.OfficeReceive, bus.ReceiveRequest{File: file}); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) submit(ctx context.Context) error {
	file, err := os.ReadFile(d.Order)
	if err != nil {
		return err
	}
	ki, err := d.customerKi(ctx)
	if err != nil {
		return err
	}
	a, err := ask[bus.SubmitReply](ctx, d, bus.OfficeSubmit, bus.SubmitRequest{File: file, Ki: ki})
	if err != nil {
		return err
	}
	if faults := append(a.Faults, a.KiFaults...); len(faults) > 0 {
		return fmt.Errorf("order refused with %d faults, the first: %s: %s", len(faults), faults[0].Field, faults[0].Reason)
	}
	d.made.order = a.Order
	d.say("order    %s accepted, content %x", a.Order, a.Hash[:8])
	return nil
}

func (d *demo) release(ctx context.Context) error {
	draft, err := ask[bus.DraftReply](ctx, d, bus.OfficeDraft, bus.DraftRequest{Order: d.made.order})
	if err != nil {
		return err
	}
	signed, err := d.sign(draft.Body)
	if err != nil {
		return err
	}
	a, err := ask[bus.LotReply](ctx, d, bus.OfficeRelease, bus.SignedRequest{Signed: signed.Encode()})
	if err != nil {
		return err
	}
	d.lot = a.Lot
	hash := signed.Hash()
	d.say("release  lot %s, signed by %s and %s, statement %x", a.Lot, site.DemoOfficers[0].ID, site.DemoOfficers[1].ID, hash[:8])
	return nil
}

// sign has both throw-away officers sign.
func (d *demo) sign(body []byte) (statement.Signed, error) {
	s := statement.Signed{Body: body}
	for _, o := range site.DemoOfficers {
		key, err := keyfile.Load(d.site.OfficerKey(o.ID))
		if err != nil {
			return s, err
		}
		key.Sign(&s)
		key.Wipe()
	}
	return s, nil
}

// watch shows progress until the lot is complete; a lot on which nothing moves for a while is a fault.
func (d *demo) watch(ctx context.Context) error {
	p := d.Progress(d.chipTime())
	defer p.Done()
	var last bus.StatusReply
	moved := time.Now()
	for {
		// A look has the bus's own short limit: what a zone that restarts has lost is asked again soon.
		s, err := bus.Call[bus.StatusReply](ctx, d.office, bus.OfficeSubject(bus.OfficeStatus), bus.LotRequest{Lot: d.lot})
		switch {
		case err != nil && (errors.Is(err, bus.ErrNoAnswer) && ctx.Err() == nil): // a zone restarts: look again
		case err != nil:
			return err
		default:
			p.Update(s)
			if s.LogSize != last.LogSize {
				moved = time.Now()
			}
			last = s
			if s.State == perso.LotComplete || s.State == perso.LotClosed {
				d.made.status = s
				return nil
			}
		}
		if time.Since(moved) > lotPatience {
			return fmt.Errorf("nothing moved for %v: %d of %d good, %d in work; look into %s", lotPatience, last.Good, last.Ordered, last.Open, filepath.Join(d.Dir, "log"))
		}
		pause(ctx, pollEvery)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (d *demo) chipTime() string {
	switch d.Scale {
	case 0:
		return "chip time: none"
	case 1:
		return "chip time: physical"
	}
	return fmt.Sprintf("chip time: scaled 1:%.3g", 1/d.Scale)
}

// close counts the bins by hand (here: asks the farm what lies in them), and has the officers close the lot.
func (d *demo) close(ctx context.Context) error {
	s, err := d.counted(ctx)
	if err != nil {
		return err
	}
	c := statement.Close{Env: s.Env, Lot: d.lot, At: time.Now().UTC(), Counts: *s.Balance}
	if err := nonce(&c.Nonce); err != nil {
		return err
	}
	body, err := c.Encode()
	if err != nil {
		return err
	}
	signed, err := d.sign(body)
	if err != nil {
		return err
	}
	if _, err := ask[bus.LotReply](ctx, d, bus.OfficeClose, bus.SignedRequest{Signed: signed.Encode()}); err != nil {
		return err
	}
	d.made.status = s
	b := s.Balance
	d.say("closed   in %d = good %d + reject-blank %d + reject-live %d + returned %d; ledger, handler and hand count agree", b.In, b.Good, b.RejectBlank, b.RejectLive, b.Returned)
	return nil
}

// counted waits for the line's own counters, enters the hand count, and returns the closable status.
func (d *demo) counted(ctx context.Context) (bus.StatusReply, error) {
	ctx, cancel := context.WithTimeout(ctx, closePatience)
	defer cancel()
	for {
		if err := d.handCount(ctx); err != nil {
			return bus.StatusReply{}, err
		}
		s, err := ask[bus.StatusReply](ctx, d, bus.OfficeStatus, bus.LotRequest{Lot: d.lot})
		if err != nil {
			return s, err
		}
		if s.Balance != nil && len(s.Blocks) == 0 {
			return s, nil
		}
		if pause(ctx, pollEvery); ctx.Err() != nil {
			return s, fmt.Errorf("the lot cannot close: %s", strings.Join(s.Blocks, "; "))
		}
	}
}

// handCount counts what lies in the bins now.
func (d *demo) handCount(ctx context.Context) error {
	farm, err := chipfarm.Dial(ctx, d.site.FarmAddress())
	if err != nil {
		return err
	}
	bins, err := farm.Bins(ctx)
	if err = errors.Join(err, farm.Close()); err != nil {
		return err
	}
	q := bus.CountRequest{Lot: d.lot, Source: entry.SourceHand, Good: uint64(len(bins[perso.BinGood])), RejectBlank: uint64(len(bins[perso.BinRejectBlank])),
		RejectLive: uint64(len(bins[perso.BinRejectLive])), Return: uint64(len(bins[perso.BinReturn]))}
	q.In = q.Good + q.RejectBlank + q.RejectLive + q.Return
	_, err = ask[bus.Empty](ctx, d, bus.OfficeCount, q)
	return err
}

func (d *demo) export(ctx context.Context) error {
	for _, verb := range []string{bus.OfficeExport, bus.OfficeBundle} {
		a, err := ask[bus.PathReply](ctx, d, verb, bus.LotRequest{Lot: d.lot})
		if err != nil {
			return err
		}
		d.made.paths = append(d.made.paths, a.Paths...)
		if verb == bus.OfficeBundle {
			d.made.bundle = a.Paths[0]
		}
	}
	return nil
}
