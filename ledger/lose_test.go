package ledger

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// Abandon answers as the vault does: what it called good stays good, all else is given up, and the same is said again.
func (v *vaultDouble) Abandon(_ context.Context, q bus.AbandonRequest) (bus.AbandonReply, error) {
	if err := v.failing("abandon"); err != nil {
		return bus.AbandonReply{}, err
	}
	if _, err := v.release(q.Lot); err != nil {
		return bus.AbandonReply{}, err
	}
	if err := errors.Join(v.proves(q.Checkpoint, q.Claim), v.proves(q.Checkpoint, q.Ordered)); err != nil {
		return bus.AbandonReply{}, err
	}
	s := must(statement.DecodeSigned(q.Lost))
	w := must(statement.ParseLost(s.Body))
	if e := must(entry.ParseStatement(q.Ordered.Entry)); e.What != statement.KindLost || e.Hash != s.Hash() || entry.Hash(q.Claim.Entry) != w.Claim {
		return bus.AbandonReply{}, errors.New("the entries shown are others")
	}
	v.mu.Lock()
	a, good := v.goods[w.Chip]
	v.mu.Unlock()
	e := entry.Receipt{Vault: "V1", Lot: w.Lot, Unit: w.Unit, Gen: w.Gen, Claim: w.Claim, Session: w.Session, Responses: s.Hash(), Result: entry.ResultAbandoned,
		At: testStart, MAC: [32]byte{1}}
	if good {
		e.Session, e.N, e.Responses, e.Result = a.Session, a.N, a.Responses, "good"
	}
	return bus.AbandonReply{Good: good, Receipt: must(e.Encode())}, v.failing("abandoned")
}

// loss is the statement that gives up a chip's unit, as it is drafted.
func (b *bench) loss(c *chip, fate statement.Fate, spoil func(*statement.Lost), officers ...perso.Name) bus.SignedRequest {
	b.t.Helper()
	r, err := b.l.InWork(b.t.Context(), bus.InWorkRequest{Lot: b.lot, Chip: c.id().String()})
	if err != nil || len(r.Units) != 1 {
		b.t.Fatalf("in work: %+v, %v", r, err)
	}
	u := r.Units[0]
	w := statement.Lost{Env: r.Env, Site: r.Site, Lot: r.Lot, Release: r.Release, Unit: u.Unit, Gen: u.Gen, Index: u.Index, EID: must(b.release2().EIDs.At(uint64(u.Index))),
		Chip: c.id(), Claim: u.Claim, Session: u.Session, Fate: fate, Reason: "the vault refuses it", At: r.Now, Nonce: [32]byte{8}}
	if spoil != nil {
		spoil(&w)
	}
	return bus.SignedRequest{Signed: b.sign(must(w.Encode()), officers...).Encode()}
}

func (b *bench) release2() statement.Release { return must(statement.ParseRelease(b.release.Body)) }

func (b *bench) lose(q bus.SignedRequest) bus.LoseReply {
	b.t.Helper()
	a, err := b.l.Lose(b.t.Context(), q)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

// stuck brings a chip to where the vault refuses its verdict.
func (b *bench) stuck(c *chip, head uint16) bus.ActRequest {
	b.t.Helper()
	q := b.begin(c, b.at(head))
	b.act(q)
	b.vault.refuseNext(c, "release has expired")
	q = next(q, "x")
	b.want(b.act(q), perso.VerdictStop, perso.ReasonVaultRefused)
	return q
}

// TestLose: a unit whose verdict the vault refuses is shown to operators, given up by two officers, made again, and its lot
// closes with its chip in the locked bin.
func TestLose(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1, spares: 1})
	c := b.one()
	q := b.stuck(c, 0)
	if s := b.status(); len(s.Troubles) != 1 || !s.Troubles[0].Refused || s.Troubles[0].Chip != c.id().String() {
		t.Errorf("troubles %+v", s.Troubles)
	}
	r, err := b.l.InWork(t.Context(), bus.InWorkRequest{Lot: b.lot})
	if err != nil || len(r.Units) != 1 || !r.Units[0].Due || !strings.Contains(r.Units[0].Alarm, "expired") || r.Units[0].Acts != 2 || r.Units[0].Sample || r.Units[0].Stays != "" {
		t.Errorf("in work %+v, %v", r, err)
	}
	for want, spoiled := range map[string]bus.SignedRequest{
		"two officers":       b.loss(c, statement.FateRejectLive, nil, "ann"),
		"person and role":    b.loss(c, statement.FateRejectLive, nil, "ann", "cid"),
		"another release":    b.loss(c, statement.FateRejectLive, func(w *statement.Lost) { w.Chip = b.newChips(1)[0].id() }, "ann", "bob"),
		"for site":           b.loss(c, statement.FateRejectLive, func(w *statement.Lost) { w.Site = "S2" }, "ann", "bob"),
		"another session":    b.loss(c, statement.FateRejectLive, func(w *statement.Lost) { w.Session[0]++ }, "ann", "bob"),
		"was never begun":    b.loss(c, statement.FateRejectLive, func(w *statement.Lost) { w.Gen = 1 }, "ann", "bob"),
		"not in the ledger":  b.loss(c, statement.FateRejectLive, func(w *statement.Lost) { w.Lot = "L-OTHER" }, "ann", "bob"),
		"neither \"reject":   {Signed: []byte(strings.Replace(string(b.loss(c, statement.FateMissing, nil, "ann").Signed), "fate missing", "fate sold", 1))},
		"release or claim; ": b.loss(c, statement.FateRejectLive, func(w *statement.Lost) { w.Claim[0]++ }, "ann", "bob"),
	} {
		if _, err := b.l.Lose(t.Context(), spoiled); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	if n := b.rows("unit_lost"); n != 0 {
		t.Errorf("%d losses", n)
	}
	word := b.loss(c, statement.FateRejectLive, nil, "ann", "bob")
	first := b.lose(word)
	if again := b.lose(word); first.Good || string(again.Receipt) != string(first.Receipt) {
		t.Errorf("%+v, then %+v", first, again)
	}
	_, err = b.l.Lose(t.Context(), b.loss(c, statement.FateMissing, func(w *statement.Lost) { w.Nonce[0]++ }, "ann", "bob"))
	b.refused(err, bus.FaultConflict)
	if s := b.status(); s.Open != 0 || s.Lost != 1 || len(s.Troubles) != 0 {
		t.Errorf("status %+v", s)
	}
	b.want(b.act(q), perso.VerdictRejectLive, perso.ReasonAbandoned) // the head asks once more: it may bin the chip
	if err := b.bin(b.makeGood(b.one(), 1), perso.VerdictGood); err != nil {
		t.Fatal(err)
	}
	if n := b.raw(`SELECT gen FROM claim WHERE state = 'good'`); n != 1 {
		t.Errorf("good in generation %d", n)
	}
	b.count(entry.SourceHandler, 2, 1, 0, 0, 0)
	b.count(entry.SourceHand, 2, 1, 0, 1, 0)
	if s := b.status(); len(s.Blocks) != 0 || s.Balance.RejectLive != 1 {
		t.Fatalf("status %+v", s)
	}
	if _, err := b.l.Close(t.Context(), b.closing(nil, "ann", "bob")); err != nil {
		t.Error(err)
	}
	b.check()
}

// TestLoseByTheHead: the chip lay under its head all the time, and the machine puts it into the locked bin: it counts once.
func TestLoseByTheHead(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1})
	c := b.one()
	q := b.stuck(c, 0)
	b.lose(b.loss(c, statement.FateMissing, nil, "ann", "bob"))
	b.want(b.act(q), perso.VerdictRejectLive, perso.ReasonAbandoned)
	if err := b.bin(q.Present, perso.VerdictRejectLive); err != nil {
		t.Fatal(err)
	}
	b.count(entry.SourceHandler, 1, 0, 0, 1, 0)
	b.count(entry.SourceHand, 1, 0, 0, 1, 0)
	if s := b.status(); len(s.Blocks) != 0 || s.Balance.RejectLive != 1 || s.Balance.Missing != 0 {
		t.Errorf("status %+v", s)
	}
	b.check()
}

// TestLoseWhatIsGood: the vault had called the unit good, and the answer was lost: it is good.
func TestLoseWhatIsGood(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1})
	c := b.one()
	q := b.begin(c, b.at(0))
	b.act(q)
	q = next(q, "x")
	b.vault.fail = failOn("served", context.DeadlineExceeded)
	if _, err := b.l.Act(t.Context(), q); err == nil {
		t.Fatal("the answer was not lost")
	}
	b.vault.fail = nil
	if a := b.lose(b.loss(c, statement.FateMissing, nil, "ann", "bob")); !a.Good {
		t.Errorf("reply %+v", a)
	}
	s := b.status()
	if s.Good != 1 || s.State != perso.LotComplete || s.Balance.Missing != 1 {
		t.Errorf("status %+v", s)
	}
	b.want(b.act(q), perso.VerdictGood, perso.ReasonNone) // it is not missing after all
	if err := b.bin(q.Present, perso.VerdictGood); err != nil {
		t.Fatal(err)
	}
	b.count(entry.SourceHandler, 1, 1, 0, 0, 0)
	b.count(entry.SourceHand, 1, 1, 0, 0, 0)
	if s := b.status(); len(s.Blocks) != 0 || s.Balance.Good != 1 || s.Balance.Missing != 0 {
		t.Errorf("status %+v", s)
	}
	b.check()
}

// TestLoseWhatCameAgain: the vault had called the unit good in one session, and its chip opened another one before it was lost; of the first nobody
// had heard, or it is on record. The vault answers with the receipt of the first.
func TestLoseWhatCameAgain(t *testing.T) {
	t.Parallel()
	for name, heard := range map[string]bool{"answer lost": false, "on record": true} {
		b := newBench(t, spec{good: 1})
		c := b.one()
		q := b.begin(c, b.at(0))
		b.act(q)
		q = next(q, "x")
		if !heard {
			b.vault.fail = failOn("served", context.DeadlineExceeded)
		}
		if _, err := b.l.Act(t.Context(), q); (err == nil) != heard {
			t.Fatalf("%s: %v", name, err)
		}
		b.vault.fail, c.kvn = nil, cardKVN
		b.act(b.begin(c, b.at(0)))
		if a := b.lose(b.loss(c, statement.FateMissing, nil, "ann", "bob")); !a.Good {
			t.Errorf("%s: reply %+v", name, a)
		}
		if s := b.status(); s.Good != 1 || s.State != perso.LotComplete || s.Balance.Missing != 1 {
			t.Errorf("%s: status %+v", name, s)
		}
		b.check()
	}
}

// TestLoseAGoodChip: its verdict is on record, it never reached its bin: two officers account for it. In the bin it stays good.
func TestLoseAGoodChip(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2})
	chips := b.stock(2)
	p := b.makeGood(chips[0], 0)
	b.makeGood(chips[1], 1)
	if err := b.bin(p, perso.VerdictGood); err != nil {
		t.Fatal(err)
	}
	if _, err := b.l.Lose(t.Context(), b.loss(chips[0], statement.FateMissing, nil, "ann", "bob")); err == nil || !strings.Contains(err.Error(), "lies in the good bin") {
		t.Errorf("a chip in the good bin: %v", err)
	}
	if a := b.lose(b.loss(chips[1], statement.FateMissing, nil, "ann", "bob")); !a.Good {
		t.Errorf("reply %+v", a)
	}
	b.count(entry.SourceHandler, 2, 1, 0, 0, 0)
	b.count(entry.SourceHand, 2, 1, 0, 0, 0)
	s := b.status()
	if len(s.Blocks) != 0 || s.Good != 2 || s.Balance.Good != 1 || s.Balance.Missing != 1 {
		t.Errorf("status %+v", s)
	}
	if _, err := b.l.Close(t.Context(), b.closing(nil, "ann", "bob")); err != nil {
		t.Error(err)
	}
	b.check()
}

// TestLoseWhileAnExportIsMade: its files hold the unit that two officers give up before they are on record: they are not handed out.
func TestLoseWhileAnExportIsMade(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2})
	chips := b.stock(2)
	if err := b.bin(b.makeGood(chips[0], 0), perso.VerdictGood); err != nil {
		t.Fatal(err)
	}
	b.makeGood(chips[1], 1)
	export := entry.Export{Lot: b.lot, What: "eis", Receiver: "r", Units: 2, Hash: [32]byte{1}} // its files were made
	b.lose(b.loss(chips[1], statement.FateMissing, nil, "ann", "bob"))
	b.refused(b.l.RecordExport(t.Context(), export), bus.FaultRefused)
	export.Units, export.Hash = 1, [32]byte{2}
	if err := b.l.RecordExport(t.Context(), export); err != nil {
		t.Error(err)
	}
	b.check()
}

// TestLoseBreaks: the vault is away before or after it gave the unit up, and the ledger starts anew between; meanwhile the chip
// waits wherever it comes, and the lot does not close.
func TestLoseBreaks(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"abandon", "abandoned"} {
		b := newBench(t, spec{good: 1})
		c := b.one()
		q := b.stuck(c, 0)
		word := b.loss(c, statement.FateRejectLive, nil, "ann", "bob")
		b.vault.fail = failOn(at, context.DeadlineExceeded)
		if _, err := b.l.Lose(t.Context(), word); err == nil {
			t.Fatalf("%s: given up without the vault", at)
		}
		b.vault.fail = nil
		b.open(b.db)
		b.vault.restart()
		if a, err := b.l.Act(t.Context(), q); err == nil {
			t.Errorf("%s: its session goes on: %+v", at, a)
		}
		b.want(b.act(b.begin(c, b.at(0))), perso.VerdictHold, perso.ReasonAbandoned)
		b.want(b.mute(b.at(0), 3), perso.VerdictHold, perso.ReasonAbandoned)
		if s := b.status(); s.Open != 1 || s.State == perso.LotComplete {
			t.Errorf("%s: status %+v", at, s)
		}
		b.lose(word)
		b.want(b.act(b.begin(c, b.at(0))), perso.VerdictRejectLive, perso.ReasonAbandoned)
		if n := b.raw(`SELECT COUNT(*) FROM statement WHERE kind = 'unit-lost'`); n != 1 {
			t.Errorf("%s: %d statements", at, n)
		}
		b.check()
	}
}

// TestAnExpiredLotEnds: half made when its release expires, with nothing in work, it ends short at the next count, and closes.
func TestAnExpiredLotEnds(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 3, expires: "2026-12-01T00:00:00Z"})
	if err := b.bin(b.makeGood(b.one(), 0), perso.VerdictGood); err != nil {
		t.Fatal(err)
	}
	c := b.one()
	b.act(b.begin(c, b.at(1)))
	b.pass(30 * 24 * time.Hour)
	if s := b.status(); !strings.Contains(s.Waits, "1 units in work") {
		t.Errorf("waits %q", s.Waits)
	}
	b.count(entry.SourceHandler, 2, 1, 0, 0, 0)
	if s := b.status(); s.State != perso.LotRunning {
		t.Errorf("ended with a unit in work: %s", s.State)
	}
	b.lose(b.loss(c, statement.FateMissing, nil, "ann", "bob"))
	b.count(entry.SourceHand, 2, 1, 0, 0, 0)
	s := b.status()
	if s.State != perso.LotComplete || len(s.Blocks) != 0 || s.Balance.Missing != 1 {
		t.Fatalf("status %+v", s)
	}
	if _, err := b.l.Close(t.Context(), b.closing(nil, "ann", "bob")); err != nil {
		t.Error(err)
	}
	b.check()

	b = newBench(t, spec{good: 3, expires: "2026-12-01T00:00:00Z"})
	if err := b.bin(b.makeGood(b.one(), 0), perso.VerdictGood); err != nil {
		t.Fatal(err)
	}
	b.pass(30 * 24 * time.Hour)
	b.count(entry.SourceHandler, 1, 1, 0, 0, 0)
	if s := b.status(); s.State != perso.LotComplete {
		t.Errorf("a count does not end it: %s", s.State)
	}
	b.want(b.act(b.begin(b.one(), b.at(1))), perso.VerdictReturn, perso.ReasonNoIdentity)
	b.check()
}
