package ledger

import (
	"context"
	"crypto/ed25519"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/statement"
)

// followerDouble is vault V2 of a site whose log vault is the bench's: it serves only lots that come with the log vault's word,
// against checkpoints that it was shown. It plays the assigner as well, with the log vault's memory.
type followerDouble struct {
	*vaultDouble
	seen  checkpoint.Checkpoint
	held  map[string]bool // notes that it was shown in this life
	shows int
	given map[perso.Name][]byte // lots, with the word that the log vault gave
	gone  error                 // what assigning ends with, when set
	words []perso.Name          // whom the ledger had in mind
}

func newPair(t *testing.T) *bench {
	t.Helper()
	b := newSite(t)
	two := newVault(t, b.vault.pin)
	b.second = &followerDouble{vaultDouble: two, seen: checkpoint.Checkpoint{Origin: testOrigin, Root: checkpoint.EmptyRoot()},
		held: map[string]bool{}, given: map[perso.Name][]byte{}}
	b.open(b.db)
	b.stock(1) // or no line hears of a lot
	return b
}

// testBirth is V2's.
var testBirth = [16]byte{2}

// restart forgets what a process holds in memory.
func (v *followerDouble) restart() {
	v.vaultDouble.restart()
	v.held = map[string]bool{}
}

func (v *followerDouble) AssignLot(_ context.Context, q bus.AssignLotRequest) (bus.AssignLotReply, error) {
	if v.gone != nil {
		return bus.AssignLotReply{}, v.gone
	}
	signed := must(statement.DecodeSigned(q.Release))
	r := must(statement.ParseRelease(signed.Body))
	v.words = append(v.words, q.Vault)
	if q.Vault == "V2" && q.Birth != testBirth {
		v.t.Errorf("a lot for V2 of birth %x", q.Birth)
	}
	if v.given[r.Lot] == nil {
		s := statement.Signed{Body: must(statement.Assigned{Env: r.Env, Site: r.Site, Lot: r.Lot, Release: signed.Hash(), Vault: q.Vault, Birth: q.Birth, At: testStart}.Encode())}
		s.Sign("V1", v.key)
		v.given[r.Lot] = s.Encode()
	}
	s := must(statement.DecodeSigned(v.given[r.Lot]))
	return bus.AssignLotReply{Lot: r.Lot, Vault: must(statement.ParseAssigned(s.Body)).Vault, Assigned: v.given[r.Lot]}, nil
}

func (v *followerDouble) Follow(_ context.Context, q bus.FollowRequest) (bus.FollowReply, error) {
	if err := v.failing("follow"); err != nil {
		return bus.FollowReply{}, err
	}
	v.shows++
	c, err := checkpoint.Open(q.Note, testOrigin, v.pub)
	if err != nil {
		return bus.FollowReply{}, err
	}
	if c != v.seen {
		if q.Last != v.seen.Size {
			return bus.FollowReply{Last: v.seen.Size, Birth: testBirth}, nil
		}
		older, newer := v.seen, c
		if c.Size < older.Size {
			older, newer = newer, older
		}
		if err := checkpoint.CheckConsistency(older, newer, hashes(q.Proof)); err != nil {
			v.t.Errorf("the ledger shows a fork: %v", err)
			return bus.FollowReply{}, err
		}
		v.seen = newer
	}
	v.held[string(q.Note)] = true
	return bus.FollowReply{Taken: true, Last: v.seen.Size, Birth: testBirth}, nil
}

func (v *followerDouble) OpenLot(ctx context.Context, q bus.OpenLotRequest) (bus.OpenLotReply, error) {
	s, err := statement.DecodeSigned(q.Assigned)
	if err != nil || !ed25519.Verify(v.pub, s.Body, s.Signatures[0].Sig[:]) || must(statement.ParseAssigned(s.Body)).Vault != "V2" {
		v.t.Errorf("a lot is opened at V2 that is not its own: %v", err)
	}
	return v.vaultDouble.OpenLot(ctx, q)
}

func (v *followerDouble) Serve(ctx context.Context, q bus.ServeRequest) (bus.ServeReply, error) {
	if _, err := v.release(q.Lot); err != nil {
		return bus.ServeReply{}, err
	}
	if !v.held[string(q.Checkpoint)] {
		return bus.ServeReply{}, bus.Refuse(bus.FaultBehind, "not shown")
	}
	return v.vaultDouble.Serve(ctx, q)
}

func (v *followerDouble) DestroyLot(ctx context.Context, q bus.DestroyLotRequest) (bus.DestroyLotReply, error) {
	if !v.held[string(q.Checkpoint)] {
		return bus.DestroyLotReply{}, bus.Refuse(bus.FaultBehind, "not shown")
	}
	return v.vaultDouble.DestroyLot(ctx, q)
}

// twoLots releases a lot for each vault.
func (b *bench) twoLots() (first, second perso.Name) {
	b.t.Helper()
	b.makeLot(spec{good: 3})
	first = b.lot
	b.makeLot(spec{good: 3})
	for lot, want := range map[perso.Name]perso.Name{first: "V1", b.lot: "V2"} {
		s, err := b.l.Status(b.t.Context(), bus.LotRequest{Lot: lot})
		if at, err2 := b.l.VaultOf(b.t.Context(), lot); err != nil || err2 != nil || s.Vault != want || at != want || s.Waits != "" {
			b.t.Fatalf("lot %s is vault %q's, in the status %q, waits %q: %v %v", lot, at, s.Vault, s.Waits, err, err2)
		}
	}
	return first, b.lot
}

// in works on another lot.
func (b *bench) in(lot perso.Name) *bench {
	b.lot, b.serial = lot, nil
	return b
}

// TestLotsGoToTheIdlest: each lot has one vault, on record and in the log, whoever starts anew.
func TestLotsGoToTheIdlest(t *testing.T) {
	t.Parallel()
	b := newPair(t)
	first, second := b.twoLots()
	chips := b.stock(4)
	for i := range 2 {
		b.in(first).makeGood(chips[2*i], 1)
		b.in(second).makeGood(chips[2*i+1], 2)
		b.open(b.db)
		b.second.restart()
		b.vault.restart()
	}
	if n := b.kinds()["statement"]; n != 5 { // the register, two releases, two assignments
		t.Errorf("%d statements in the log", n)
	}
	if b.vault.served != 4 || b.second.served != 4 {
		t.Errorf("V1 served %d acts, V2 %d, each has a lot of two chips with two acts", b.vault.served, b.second.served)
	}
	b.in(first).makeGood(b.one(), 1) // its lot is complete: V1 is the idlest now
	b.makeLot(spec{good: 1})
	if at, err := b.l.VaultOf(t.Context(), b.lot); err != nil || at != "V1" {
		t.Errorf("the third lot is vault %q's, %v", at, err)
	}
	b.check()
}

// TestOneVaultIsAway: its lot waits and says so, the other goes on, and nothing moves.
func TestOneVaultIsAway(t *testing.T) {
	t.Parallel()
	b := newPair(t)
	first, second := b.twoLots()
	chips := b.stock(3)
	b.in(second)
	q := b.begin(chips[0], b.at(1))
	b.second.fail = func(string) error { return bus.ErrNoAnswer }
	if a, err := b.l.Act(t.Context(), q); !errors.Is(err, bus.ErrNoAnswer) {
		t.Errorf("served by nobody: %+v, %v", a, err)
	}
	if s := b.status(); !strings.Contains(s.Waits, `vault "V2" has not answered since`) || s.Vault != "V2" {
		t.Errorf("the lot waits %q", s.Waits)
	}
	b.in(first).makeGood(chips[1], 1)
	if s := b.status(); s.Waits != "" {
		t.Errorf("the other lot waits %q", s.Waits)
	}
	b.open(b.db) // it is on record whose the lot is
	b.in(second)
	if a, err := b.l.Act(t.Context(), q); !errors.Is(err, bus.ErrNoAnswer) {
		t.Errorf("served by nobody: %+v, %v", a, err)
	}
	b.second.fail = nil
	b.second.restart()
	if a := b.act(q); len(a.Window) == 0 {
		t.Errorf("back again: %+v", a.Verdict)
	}
	if s := b.status(); s.Waits != "" {
		t.Errorf("the lot waits %q still", s.Waits)
	}
}

// TestLogVaultIsAway: no vault works without a signed log, and a lot that is nobody's yet becomes somebody's when it is asked for.
func TestLogVaultIsAway(t *testing.T) {
	t.Parallel()
	b := newPair(t)
	r := b.draft(spec{good: 1})
	b.release, b.second.gone = b.sign(must(r.Encode()), "ann", "bob"), bus.ErrNoAnswer
	if _, err := b.l.Release(t.Context(), bus.SignedRequest{Signed: b.release.Encode()}); !errors.Is(err, bus.ErrNoAnswer) {
		t.Errorf("assigned by nobody: %v", err)
	}
	b.in(r.Lot)
	if s := b.status(); s.Vault != "" || !strings.Contains(s.Waits, `vault "V1" has not answered`) {
		t.Errorf("vault %q, waits %q", s.Vault, s.Waits)
	}
	work, err := b.l.WorkOrders(t.Context())
	if err != nil || len(work) != 1 || work[0].Vault != "" {
		t.Errorf("%+v, %v", work, err)
	}
	b.second.gone = nil
	before := b.kinds()
	log, note, err := b.l.Signed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.l.VaultOf(t.Context(), r.Lot)
	for name, err := range map[string]error{"whose it is": err, "an export": b.l.Ready(t.Context(), r.Lot, log, note)} {
		if b.refused(err, bus.FaultRefused); len(b.second.words) > 0 || !reflect.DeepEqual(b.kinds(), before) {
			t.Errorf("%s: reading gave the lot away: %v, %v", name, err, b.second.words)
		}
	}
	b.makeGood(b.one(), 1)
	if at, err := b.l.VaultOf(t.Context(), r.Lot); err != nil || at == "" || b.second.words[0] != at {
		t.Errorf("vault %q, %v", at, err)
	}
}

// TestNobodySignsTheLog: an act that gets no signed checkpoint has its lot say which vault is away, with one vault and with
// two, and no more once it is back.
func TestNobodySignsTheLog(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]*bench{"one vault": newBench(t, spec{good: 2}), "two vaults": newPair(t)} {
		if b.second != nil {
			_, second := b.twoLots()
			b.in(second)
		}
		q := b.begin(b.one(), b.at(0))
		b.vault.fail = failOn("checkpoint", bus.ErrNoAnswer)
		if a, err := b.l.Act(t.Context(), q); !errors.Is(err, bus.ErrNoAnswer) {
			t.Errorf("%s: served without a checkpoint: %+v, %v", name, a, err)
		}
		if s := b.status(); !strings.Contains(s.Waits, `vault "V1" has not answered since`) {
			t.Errorf("%s: the lot waits %q", name, s.Waits)
		}
		b.vault.fail = nil
		if a := b.act(q); len(a.Window) == 0 {
			t.Errorf("%s: back again: %+v", name, a.Verdict)
		}
		if s := b.status(); s.Waits != "" {
			t.Errorf("%s: the lot waits %q still", name, s.Waits)
		}
	}
}

// TestNoLotForADeadVault: a lot goes to a vault that answers, also when the other has fewer, and nobody had noticed yet that it
// is away. One that is back gets lots again, though nothing else is asked of it.
func TestNoLotForADeadVault(t *testing.T) {
	t.Parallel()
	b := newPair(t)
	first, _ := b.twoLots()
	b.in(first)
	for _, known := range []bool{false, true} {
		b.second.fail = func(string) error { return bus.ErrNoAnswer }
		if !known {
			b.open(b.db)
		}
		for range 2 {
			b.makeLot(spec{good: 1})
			if at, err := b.l.VaultOf(t.Context(), b.lot); err != nil || at != "V1" {
				t.Errorf("known to be away: %t: a lot is vault %q's, %v", known, at, err)
			}
		}
	}
	b.second.fail = nil
	b.makeLot(spec{good: 1})
	if at, err := b.l.VaultOf(t.Context(), b.lot); err != nil || at != "V2" {
		t.Errorf("back again: a lot is vault %q's, %v", at, err)
	}
}

// TestOneVaultLess: the ledger of a site that names one vault still knows whose each lot is. The other's lots wait for it and
// say so, and nothing of them is asked of the vault that is left.
func TestOneVaultLess(t *testing.T) {
	t.Parallel()
	b := newPair(t)
	first, second := b.twoLots()
	chips := b.stock(3)
	b.in(second)
	q := b.begin(chips[0], b.at(1))
	two := b.second
	b.second = nil
	b.open(b.db)
	b.vault.restart()
	for name, err := range map[string]error{
		"act": func() error { _, err := b.l.Act(t.Context(), q); return err }(),
		"challenges": func() error {
			_, err := b.l.Challenges(t.Context(), bus.ChallengesRequest{Line: "line-1", Lot: second, Count: 1})
			return err
		}(),
		"open":  b.l.OpenLot(t.Context(), second),
		"vault": func() error { _, err := b.l.VaultOf(t.Context(), second); return err }(),
	} {
		if err == nil || !strings.Contains(err.Error(), `is vault "V2"'s`) {
			t.Errorf("%s of a lot of the vault that is gone: %v", name, err)
		}
	}
	if b.vault.openings != 1 || b.vault.served != 0 {
		t.Errorf("V1 opened %d lots and served %d acts", b.vault.openings, b.vault.served)
	}
	if s := b.status(); s.Vault != "V2" || !strings.Contains(s.Waits, `vault "V2" is not in this site's configuration`) {
		t.Errorf("the lot is vault %q's, waits %q", s.Vault, s.Waits)
	}
	b.in(first).makeGood(chips[1], 1)
	b.makeLot(spec{good: 1})
	if at, err := b.l.VaultOf(t.Context(), b.lot); err != nil || at != "V1" || len(two.words) != 2 {
		t.Errorf("a new lot is vault %q's, %v", at, err)
	}
	b.makeGood(b.one(), 1)
	b.second = two
	b.open(b.db)
	if a := b.in(second).act(q); len(a.Window) == 0 {
		t.Errorf("with both again: %+v", a.Verdict)
	}
}

// TestLotFromOneVault: a lot that was begun before there was a second vault is the log vault's, without being assigned by who
// reads.
func TestLotFromOneVault(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1})
	b.makeGood(b.one(), 1)
	old := b.lot
	b.makeLot(spec{good: 1}) // and one that was released, and not begun
	b.second = &followerDouble{vaultDouble: newVault(t, b.vault.pin)}
	b.open(b.db)
	if at, err := b.l.VaultOf(t.Context(), old); err != nil || at != "V1" {
		t.Errorf("a lot that was begun is vault %q's, %v", at, err)
	}
	_, err := b.l.VaultOf(t.Context(), b.lot)
	b.refused(err, bus.FaultRefused)
}

// TestShowsTheWay: a vault that restarted, a ledger that started anew, or both, and checkpoints that came late.
func TestShowsTheWay(t *testing.T) {
	t.Parallel()
	b := newPair(t)
	_, second := b.twoLots()
	b.in(second)
	chips := b.stock(3)
	old, oldNote, err := b.l.Signed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.makeGood(chips[0], 1)
	b.second.restart()
	if err := b.l.Ready(t.Context(), second, old, oldNote); err != nil || !b.second.held[string(oldNote)] { // as for an export that takes long
		t.Errorf("an older checkpoint: %v", err)
	}
	b.open(b.db)
	b.second.restart()
	if err := b.l.Ready(t.Context(), second, old, oldNote); err != nil || !b.second.held[string(oldNote)] {
		t.Errorf("an older checkpoint, and the ledger does not know what was shown last: %v", err)
	}
	b.makeGood(chips[1], 1)
	before := b.second.shows
	b.makeGood(chips[2], 1)
	if n := b.second.shows - before; n != 2 {
		t.Errorf("%d checkpoints shown for two acts", n)
	}
	b.second.seen.Size += 100 // it saw what this ledger does not have: a database that was put back
	b.open(b.db)
	if err := b.l.Ready(t.Context(), second, old, oldNote); err == nil {
		t.Error("a rolled-back ledger goes on")
	}
}

// TestDestroysAtTheOwner: the key of a lot is destroyed by the vault that made it.
func TestDestroysAtTheOwner(t *testing.T) {
	t.Parallel()
	b := newPair(t)
	b.makeLot(spec{good: 3})
	b.makeLot(spec{good: 1})
	b.closeLot()
	b.deliver()
	b.pass(2 * time.Hour)
	b.second.restart()
	b.vault.fail = func(verb string) error {
		if strings.HasPrefix(verb, "destroy") {
			t.Error("the key of V2's lot is destroyed at V1")
		}
		return nil
	}
	if a, err := b.l.DestroyKeys(t.Context(), b.endLot(nil, "ann", "bob")); err != nil || len(a.Certificate) == 0 {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestVaultWasPutBack: a vault that remembers less of the log than it signed or followed is asked for nothing more, whether or
// not the ledger started anew meanwhile; with its own state back it goes on.
func TestVaultWasPutBack(t *testing.T) {
	t.Parallel()
	for _, anew := range []bool{false, true} {
		b := newPair(t)
		b.twoLots()
		b.in(b.lot).makeGood(b.one(), 1)
		older, followed := b.vault.last, b.second.seen
		b.makeGood(b.one(), 1)
		b.stock(1) // its entry saves the last checkpoint
		newest, newer := b.vault.last, b.second.seen
		grow := func() error {
			b.stock(1)
			_, _, err := b.l.Signed(t.Context())
			return err
		}
		b.vault.last = older
		if anew {
			b.open(b.db)
		}
		if err := grow(); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), `vault "V1" remembers a log of`) {
			t.Errorf("anew %v: the log vault is put back: %v", anew, err)
		}
		b.vault.last = newest
		if err := grow(); err != nil {
			t.Errorf("anew %v: it has its state again: %v", anew, err)
		}
		log, note, err := b.l.Signed(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if anew {
			continue // of what V2 followed only a running ledger knows
		}
		b.second.seen = followed
		if err := b.l.Ready(t.Context(), b.lot, log, note); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), `vault "V2" remembers a log of`) {
			t.Errorf("the other vault is put back: %v", err)
		}
		b.second.seen = newer
		if err := b.l.Ready(t.Context(), b.lot, log, note); err != nil {
			t.Errorf("it has its state again: %v", err)
		}
	}
}

// TestNotTheLedger: a database that fell behind what the log vault signed, or that the vault refuses, is not the ledger, and says
// so at once when it is asked for a checkpoint.
func TestNotTheLedger(t *testing.T) {
	t.Parallel()
	b := newPair(t)
	b.stock(1)
	ahead := b.vault.last
	if _, _, err := b.l.Signed(t.Context()); err != nil {
		t.Fatal(err)
	}
	ahead.Size = b.vault.last.Size + 7
	b.open(b.db)
	b.vault.last = ahead
	if _, _, err := b.l.Signed(t.Context()); !errors.Is(err, ErrNotTheLedger) || !errors.Is(err, ErrRefused) {
		t.Errorf("the vault signed more: %v", err)
	}
	b.vault.fail = func(string) error { return bus.Refuse(bus.FaultRefused, "checking consistency") }
	if _, _, err := b.l.Signed(t.Context()); !errors.Is(err, ErrNotTheLedger) {
		t.Errorf("the vault refuses: %v", err)
	}
	b.vault.fail = func(string) error { return bus.ErrNoAnswer }
	if _, _, err := b.l.Signed(t.Context()); err == nil || errors.Is(err, ErrNotTheLedger) {
		t.Errorf("the vault is away: %v", err)
	}
}
