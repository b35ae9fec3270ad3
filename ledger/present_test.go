package ledger

import (
	"reflect"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

func TestMuteWithoutAClaim(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2})
	for tries := uint8(1); tries < maxPlainTries; tries++ {
		b.want(b.mute(b.at(0), tries), perso.VerdictRecontact, perso.ReasonMute)
	}
	p := b.at(0)
	a := b.mute(p, maxPlainTries)
	b.want(a, perso.VerdictRejectBlank, perso.ReasonMute)
	if again := b.mute(p, maxPlainTries); !reflect.DeepEqual(again.Verdict.Entry, a.Verdict.Entry) {
		t.Errorf("asked again: %+v, not %+v", again.Verdict, a.Verdict)
	}
	if err := b.bin(p, perso.VerdictRejectBlank); err != nil {
		t.Error(err)
	}
	wrong := bus.PresentRequest{Lot: b.lot, Present: b.at(0), Reason: perso.ReasonATR, Tries: 1}
	atr, err := b.l.Present(t.Context(), wrong)
	if err != nil {
		t.Fatal(err)
	}
	b.want(atr, perso.VerdictRejectBlank, perso.ReasonATR)
	for _, spoil := range []func(*bus.PresentRequest){
		func(q *bus.PresentRequest) { q.Reason = perso.ReasonNone }, func(q *bus.PresentRequest) { q.Chip = []byte{1} },
		func(q *bus.PresentRequest) { q.Present.Line = "" },
	} {
		q := wrong
		q.Present = b.at(0)
		spoil(&q)
		_, err := b.l.Present(t.Context(), q)
		b.refused(err, bus.FaultBadMessage)
	}
	if k := b.kinds(); k[entry.KindPresent] != 4 || k[entry.KindBin] != 1 {
		t.Errorf("log %v", k)
	}
	b.check()
}

// TestMuteWithAClaim lets a chip go mute after writing began: through every mute contact it stays the claim's chip and ends
// reject-live, never blank.
func TestMuteWithAClaim(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2, spares: 2})
	c := b.one()
	q := b.begin(c, b.at(0))
	b.act(q)
	for tries := uint8(1); tries < maxPlainTries; tries++ {
		b.want(b.mute(b.at(0), tries), perso.VerdictRecontact, perso.ReasonMute)
	}
	p := b.at(0)
	a := b.mute(p, maxPlainTries)
	b.want(a, perso.VerdictRejectLive, perso.ReasonMute)
	if e := must(entry.ParseOutcome(a.Verdict.Entry)); e.Chip != c.id() || e.Present != p || !e.Session.IsZero() {
		t.Errorf("outcome %+v", e)
	}
	b.want(b.mute(p, maxPlainTries), perso.VerdictRejectLive, perso.ReasonMute)
	_, err := b.l.Act(t.Context(), next(q, "late")) // the session's presentation got no verdict of its own
	b.refused(err, bus.FaultRefused)
	if err := b.bin(p, perso.VerdictRejectLive); err != nil {
		t.Error(err)
	}
	b.want(b.mute(b.at(0), maxPlainTries), perso.VerdictRejectBlank, perso.ReasonMute) // the next chip
	if s := b.status(); s.Lost != 1 || s.Open != 0 {
		t.Errorf("status %+v", s)
	}
	b.check()
}

func TestMuteOnRecord(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 3, spares: 2})
	b.makeLost(b.one(), 0) // the head restarts before it bins
	b.want(b.mute(b.at(0), maxPlainTries), perso.VerdictRejectLive, perso.ReasonStatus)
	b.makeGood(b.one(), 1)
	b.want(b.mute(b.at(1), maxPlainTries), perso.VerdictStop, perso.ReasonMute) // what is mute is not shipped as good
	c := b.one()
	b.act(b.begin(c, b.at(2)))
	q := bus.PresentRequest{Lot: b.lot, Present: b.at(3), Reason: perso.ReasonContact, Tries: maxPlainTries, Chip: c.id().Bytes()}
	a, err := b.l.Present(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	b.want(a, perso.VerdictHold, perso.ReasonSessionElse) // it is in work at head 2
	b.pass(2 * sessionLease)
	if a, err = b.l.Present(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	b.want(a, perso.VerdictRejectLive, perso.ReasonContact)
	left := b.one()
	b.act(b.begin(left, b.at(4)))
	b.makeLot(spec{good: 1})
	b.want(b.mute(b.at(4), maxPlainTries), perso.VerdictStop, perso.ReasonForeignChip) // it may hold keys of the other lot
	b.check()
}

func TestBins(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 3, spares: 1})
	c := b.one()
	p := b.makeGood(c, 0)
	open := b.at(1)
	b.act(b.begin(b.one(), open))
	other := bus.BinRequest{Lot: b.lot, Present: p, Bin: perso.VerdictGood, Chip: b.one().id().Bytes()}
	for range 2 {
		b.refused(b.bin(p, perso.VerdictRejectLive), bus.FaultConflict)
		b.refused(b.bin(open, perso.VerdictGood), bus.FaultConflict) // no verdict yet
		_, err := b.l.Bin(t.Context(), other)
		b.refused(err, bus.FaultConflict)
	}
	if k := b.kinds(); k[entry.KindAlarm] < 2 || k[entry.KindBin] != 0 {
		t.Errorf("log %v", k)
	}
	for range 2 {
		if err := b.bin(p, perso.VerdictGood); err != nil {
			t.Error(err)
		}
	}
	b.refused(b.bin(p, perso.VerdictReturn), bus.FaultConflict)
	b.refused(b.bin(b.at(0), perso.VerdictGood), bus.FaultNotFound)
	_, err := b.l.Bin(t.Context(), bus.BinRequest{Lot: "L-OTHER", Present: p, Bin: perso.VerdictGood})
	b.refused(err, bus.FaultNotFound)
	_, err = b.l.Bin(t.Context(), bus.BinRequest{Lot: b.lot, Bin: perso.VerdictGood})
	b.refused(err, bus.FaultBadMessage)
	again := b.at(0)
	b.vault.say(c, bus.ServeResult{Failed: &bus.Failed{Reason: perso.ReasonRMAC, Again: true}})
	b.want(b.act(b.begin(c, again)), perso.VerdictStop, perso.ReasonTwin)
	b.refused(b.bin(again, perso.VerdictStop), bus.FaultConflict)
	twice := b.makeGood(b.one(), 6) // its head starts anew and contacts it again
	if s := b.status(); s.State != perso.LotRunning {
		t.Fatalf("status %+v", s)
	}
	b.mute(b.at(6), 1)
	b.refused(b.bin(twice, perso.VerdictGood), bus.FaultConflict)
	if s := b.status(); s.Bins[perso.VerdictGood] != 1 || len(s.Bins) != 1 {
		t.Errorf("bins %v", s.Bins)
	}
	b.check()
}

func TestCounts(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1})
	b.makeGood(b.one(), 0)
	q := bus.CountRequest{Lot: b.lot, Source: entry.SourceHand, In: 3, Good: 1}
	for range 2 {
		if _, err := b.l.Count(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	q.Good = 2
	if _, err := b.l.Count(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if k := b.kinds(); k[entry.KindCount] != 2 {
		t.Errorf("log %v", k)
	}
	for _, spoil := range []func(*bus.CountRequest){
		func(q *bus.CountRequest) { q.Source = "guess" }, func(q *bus.CountRequest) { q.In = maxCount + 1 },
	} {
		bad := q
		spoil(&bad)
		_, err := b.l.Count(t.Context(), bad)
		b.refused(err, bus.FaultBadMessage)
	}
	q.Lot = "L-OTHER"
	_, err := b.l.Count(t.Context(), q)
	b.refused(err, bus.FaultNotFound)
	b.check()
}

// count reports both sources.
func (b *bench) count(source string, in, good, blank, live, returned uint64) {
	b.t.Helper()
	q := bus.CountRequest{Lot: b.lot, Source: source, In: in, Good: good, RejectBlank: blank, RejectLive: live, Return: returned}
	if _, err := b.l.Count(b.t.Context(), q); err != nil {
		b.t.Fatal(err)
	}
}

// closing makes the statement that closes the lot as it stands.
func (b *bench) closing(spoil func(*statement.Close), officers ...perso.Name) bus.SignedRequest {
	c := statement.Close{Env: perso.EnvTest, Lot: b.lot, At: b.clock(), Nonce: [32]byte{5}}
	if s := b.status(); s.Balance != nil {
		c.Counts = *s.Balance
	}
	if spoil != nil {
		spoil(&c)
	}
	return bus.SignedRequest{Signed: b.sign(must(c.Encode()), officers...).Encode()}
}

// TestClose goes towards a closed lot one step at a time; before each the refusal names what is missing.
func TestClose(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1, spares: 1})
	refuse := func(want string) {
		t.Helper()
		_, err := b.l.Close(t.Context(), b.closing(nil, "ann", "bob"))
		b.refused(err, bus.FaultRefused)
		if err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("refused with %v, want %q", err, want)
		}
	}
	refuse("the lot is released")
	blank := b.at(0)
	b.mute(blank, maxPlainTries)
	live := b.makeLost(b.one(), 1)
	good := b.makeGood(b.one(), 2)
	returned := b.at(3)
	b.want(b.act(b.begin(b.one(), returned)), perso.VerdictReturn, perso.ReasonLotComplete)
	refuse("1 units are good on record, 0 chips")
	for p, v := range map[perso.Presentation]perso.Verdict{blank: perso.VerdictRejectBlank, live: perso.VerdictRejectLive, good: perso.VerdictGood} {
		if err := b.bin(p, v); err != nil {
			t.Fatal(err)
		}
	}
	refuse("1 heads have not confirmed")
	if err := b.bin(returned, perso.VerdictReturn); err != nil {
		t.Fatal(err)
	}
	refuse("the handler has not reported")
	b.count(entry.SourceHandler, 5, 1, 1, 1, 1)
	refuse("nobody has counted")
	b.count(entry.SourceHand, 5, 1, 1, 1, 0)
	refuse(bus.BlockCountAgain)
	b.count(entry.SourceHand, 5, 1, 1, 1, 1)
	refuse("5 chips went in and 4 are accounted for: difference 1")
	fifth := b.at(3)
	b.want(b.act(b.begin(b.one(), fifth)), perso.VerdictReturn, perso.ReasonLotComplete)
	if err := b.bin(fifth, perso.VerdictReturn); err != nil {
		t.Fatal(err)
	}
	refuse("handler says 1 for return, the ledger 2")
	b.count(entry.SourceHandler, 5, 1, 1, 1, 2)
	b.count(entry.SourceHandler, 4, 1, 1, 1, 1) // comes late, and takes nothing back
	refuse("hand count says 1 for return, the ledger 2")
	b.count(entry.SourceHand, 5, 1, 1, 1, 2)
	if s := b.status(); len(s.Blocks) != 0 || s.Balance.Difference() != 0 {
		t.Errorf("status still blocks: %v", s.Blocks)
	}
	b.unauthorized()
	completed := b.status().Completed
	closing := b.closing(nil, "ann", "bob")
	for range 2 {
		if a, err := b.l.Close(t.Context(), closing); err != nil || a.Lot != b.lot {
			t.Fatalf("closing: %+v, %v", a, err)
		}
	}
	if s := b.status(); s.State != perso.LotClosed || !s.Completed.Equal(completed) {
		t.Errorf("status %+v", s)
	}
	b.closedForGood(closing)
	b.check()
}

// unauthorized tries to close a lot that may be closed, by words that do not suffice.
func (b *bench) unauthorized() {
	t := b.t
	t.Helper()
	for name, q := range map[string]bus.SignedRequest{
		"one officer": b.closing(nil, "ann"), "one role": b.closing(nil, "ann", "cid"),
		"other counts":      b.closing(func(c *statement.Close) { c.Counts.Good++ }, "ann", "bob"),
		"other environment": b.closing(func(c *statement.Close) { c.Env = perso.EnvProduction }, "ann", "bob"),
	} {
		if _, err := b.l.Close(t.Context(), q); err == nil {
			t.Errorf("%s: closed", name)
		}
	}
	_, err := b.l.Close(t.Context(), b.closing(func(c *statement.Close) { c.Lot = "L-OTHER" }, "ann", "bob"))
	b.refused(err, bus.FaultNotFound)
	_, err = b.l.Close(t.Context(), bus.SignedRequest{Signed: []byte("no statement")})
	b.refused(err, bus.FaultBadMessage)
}

// closedForGood tries to get one more chip or count into a closed lot.
func (b *bench) closedForGood(closing bus.SignedRequest) {
	b.t.Helper()
	before := b.kinds()
	b.want(b.act(b.begin(b.one(), b.at(0))), perso.VerdictStop, perso.ReasonLotComplete)
	b.want(b.act(b.begin(b.newChips(1)[0], b.at(0))), perso.VerdictStop, perso.ReasonLotComplete)
	b.want(b.mute(b.at(0), maxPlainTries), perso.VerdictStop, perso.ReasonLotComplete)
	_, err := b.l.Count(b.t.Context(), bus.CountRequest{Lot: b.lot, Source: entry.SourceHand, In: 9})
	b.refused(err, bus.FaultRefused)
	b.count(entry.SourceHand, 5, 1, 1, 1, 2) // what is signed may be said again
	other := b.closing(func(c *statement.Close) { c.Nonce[0]++ }, "ann", "bob")
	_, err = b.l.Close(b.t.Context(), other)
	b.refused(err, bus.FaultRefused)
	before[entry.KindStock]++
	if after := b.kinds(); !reflect.DeepEqual(after, before) {
		b.t.Errorf("log of a closed lot grew from %v to %v", before, after)
	}
}
