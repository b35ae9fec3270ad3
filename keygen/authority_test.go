package keygen_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// adversary owns everything but the vault and the officers' keys: ledger, log, bus, line, and chips of which some are copies of
// one another. He does what comes to his mind, and writes down what the vault gave him.
type adversary struct {
	*rig
	rng   *rand.Rand
	cards []*card
	units []*unit
	held  []heldItem
	ends  []int64 // outcomes that he put into the log

	written map[string]*card // identities, by what they are, that a window with secrets left for
	good    map[perso.Unit]*card
	windows int
}

type heldItem struct {
	u      *unit
	card   *card
	item   bus.ServeItem
	result bus.ServeResult
}

func newAdversary(t *testing.T, seed uint64) *adversary {
	a := &adversary{rig: newRig(t), rng: rand.New(rand.NewPCG(seed, 7)), written: map[string]*card{}, good: map[perso.Unit]*card{}}
	for n := range byte(4) {
		a.cards = append(a.cards, newCard(t, testKMC, n))
	}
	a.cards = append(a.cards, newCard(t, testKMC, 0), newCard(t, testKMC, 1)) // copies
	a.openLot()
	return a
}

func pick[T any](a *adversary, from []T) T { return from[a.rng.IntN(len(from))] }

// step is one thing that he does.
func (a *adversary) step() {
	switch n := a.rng.IntN(20); {
	case len(a.units) == 0 || n < 3:
		a.claims()
	case n < 7:
		a.begins()
	case len(a.held) > 0 && n < 13:
		h := pick(a, a.held)
		if n < 12 {
			h = a.held[len(a.held)-1]
		}
		h.u.card = h.card
		a.serves(h.u, h.u.next(h.item, h.result))
	case len(a.held) > 0 && n < 15:
		a.replays()
	case n < 16:
		a.lies()
	case n < 17:
		a.reopenVault()
		a.openLot()
	case n < 18:
		a.releases()
	case n < 19:
		a.forks()
	default:
		a.exports()
	}
}

// claims any chip for any unit, generation and EID, also such as were not released.
func (a *adversary) claims() {
	c := pick(a, a.cards)
	var loss *int64
	u := a.claimUnit(c, perso.Unit(a.rng.IntN(5)), perso.EIDIndex(a.rng.IntN(5)), func(e *entry.Claim) {
		if len(a.ends) > 0 && a.rng.IntN(2) == 0 {
			at := pick(a, a.ends)
			e.Gen, e.Loss, loss = perso.Generation(1+a.rng.IntN(2)), uint64(at), &at
		}
	})
	u.loss = loss
	a.units = append(a.units, u)
}

// begins a session on a chip that need not be the claimed one.
func (a *adversary) begins() {
	u := pick(a, a.units)
	if a.rng.IntN(3) == 0 {
		u.card = pick(a, a.cards)
	}
	a.serves(u, u.begin())
}

// serves an item, whatever it is, and holds the vault's answer against what he has.
func (a *adversary) serves(u *unit, item bus.ServeItem) {
	note := a.note()
	item.Claim, item.Act = a.log.prove(u.seq), a.log.prove(item.Act.Seq)
	if item.Loss = nil; u.loss != nil {
		p := a.log.prove(*u.loss)
		item.Loss = &p
	}
	reply, err := a.vault.Serve(ctx, bus.ServeRequest{Lot: testLot, Checkpoint: note, Items: []bus.ServeItem{item}})
	if err != nil {
		return
	}
	result := reply.Results[0]
	u.keep(result.Stored)
	if len(result.Window) > 0 {
		a.windows++
		a.held = append(a.held, heldItem{u, u.card, item, result})
	}
	if secrets := len(result.Window) > 0 && u.actOf(item).N > 0; !secrets && !result.Good {
		return
	}
	c := u.claim
	if uint64(c.Index) >= a.release.Units() || uint64(c.Unit) >= a.release.Units() {
		a.t.Errorf("the vault served unit %d with EID %d, %d were released", c.Unit, c.Index, a.release.Units())
	}
	for _, identity := range []string{fmt.Sprint("unit ", c.Unit, " generation ", c.Gen), fmt.Sprint("EID ", c.Index)} {
		if other := a.written[identity]; other != nil && other != u.card {
			a.t.Errorf("%s was given to chips %x (%p) and %x (%p)", identity, other.kdd, other, u.card.kdd, u.card)
		}
		a.written[identity] = u.card
	}
	if result.Good {
		if other := a.good[c.Unit]; other != nil && other != u.card {
			a.t.Errorf("unit %d is good on two chips", c.Unit)
		}
		if a.good[c.Unit] = u.card; uint64(len(a.good)) > a.release.Good {
			a.t.Errorf("%d units are good, %d were released", len(a.good), a.release.Good)
		}
	}
}

// replays an item of before, with parts of another one.
func (a *adversary) replays() {
	h, other := pick(a, a.held), pick(a, a.held)
	item := h.item
	for _, swap := range []func(){
		func() { item.State = other.item.State }, func() { item.State = other.result.State }, func() { item.Responses = other.item.Responses },
		func() { item.Stored = other.item.Stored }, func() { item.Command, item.Answer = other.item.Command, other.item.Answer },
		func() { item.Act = other.item.Act }, func() { item.At = other.item.At },
	} {
		if a.rng.IntN(3) == 0 {
			swap()
		}
	}
	u := h.u
	if a.rng.IntN(4) == 0 {
		u = other.u
	}
	u.card = h.card
	a.serves(u, item)
}

// lies puts an outcome into the log that nobody found.
func (a *adversary) lies() {
	a.ends = append(a.ends, pick(a, a.units).good(func(o *entry.Outcome) {
		if a.rng.IntN(3) > 0 {
			o.Verdict, o.Reason, o.Receipt = perso.VerdictRejectLive, perso.ReasonContact, [32]byte{}
		}
	}))
}

// releases tries more than the officers allowed, with one officer or with none; or what they allowed, once more.
func (a *adversary) releases() {
	rel := a.release
	if a.rng.IntN(2) == 0 {
		rel.Good += 5
	}
	if a.rng.IntN(2) == 0 {
		rel.Lot = "LOT-2"
	}
	who := pick(a, [][]perso.Name{{}, {"ann"}, {"ann", "ann"}, {"ann", "cid"}}) // cid has ann's role
	q := a.openRequest()
	signed := a.sign(rel, who...)
	if a.rng.IntN(3) == 0 { // the officers' words over another body
		signed = statement.Signed{Body: signed.Body, Signatures: a.signed.Signatures}
		if rel.Lot == a.release.Lot && rel.Good == a.release.Good {
			return
		}
	}
	if q.Release = signed.Encode(); q.Release != nil {
		if reply, err := a.vault.OpenLot(ctx, q); err == nil {
			a.t.Errorf("lot %q of %d opened on the word of %v: %+v", rel.Lot, rel.Good, who, reply)
		}
	}
}

// forks the log, or has it forget.
func (a *adversary) forks() {
	info, err := a.vault.Info(ctx, bus.Empty{})
	if err != nil || info.LogSize < 2 {
		return
	}
	q := bus.CheckpointRequest{Old: info.LogSize, Size: info.LogSize, Root: [32]byte{byte(a.rng.Uint32()), 1}}
	switch a.rng.IntN(3) {
	case 0:
		q.Size++
	case 1:
		q.Size = 1 + a.rng.Int64N(info.LogSize-1)
		q.Root = a.log.root(q.Size)
	}
	if reply, err := a.vault.Checkpoint(ctx, q); err == nil && len(reply.Note) > 0 {
		a.t.Errorf("the vault signed a log of %d entries after %d", q.Size, info.LogSize)
	}
}

// exports any unit to anybody.
func (a *adversary) exports() {
	if len(a.ends) == 0 {
		return
	}
	u, end := pick(a, a.units), pick(a, a.ends)
	q := bus.ExportRequest{Lot: testLot, Kind: pick(a, []bus.ExportKind{bus.ExportOutput, bus.ExportEIS}), Receiver: pick(a, []perso.Name{"auc-x", "smsr-x", "k4-1", "me"}),
		Checkpoint: a.note()}
	q.Items = []bus.ExportItem{{Claim: a.log.prove(u.seq), Outcome: a.log.prove(end)}}
	if _, err := a.vault.Export(ctx, q); err != nil {
		return
	}
	want := map[bus.ExportKind]perso.Name{bus.ExportOutput: "auc-x", bus.ExportEIS: "smsr-x"}[q.Kind]
	if a.good[u.claim.Unit] == nil || q.Receiver != want {
		a.t.Errorf("%s of unit %d went to %q", q.Kind, u.claim.Unit, q.Receiver)
	}
}

// TestNoSequenceGoesBeyondTheRelease: whatever is asked of the vault and in which order, also across its restarts, it serves no
// identity to two chips, none that was not released, and finds no more good than were (I1, I7).
func TestNoSequenceGoesBeyondTheRelease(t *testing.T) {
	t.Parallel()
	const seeds, steps = 24, 200
	var goods, windows int
	for seed := range uint64(seeds) {
		a := newAdversary(t, seed)
		for range steps {
			a.now = a.now.Add(time.Second)
			a.step()
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		goods, windows = goods+len(a.good), windows+a.windows
	}
	if goods < seeds/4 || windows < 10*seeds { // else he was refused for other reasons
		t.Errorf("%d units became good in all, of %d windows", goods, windows)
	}
	t.Logf("%d units became good, %d windows left", goods, windows)
}
