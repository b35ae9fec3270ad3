package keygen_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// assignments is Assignments without a disk.
type assignments struct {
	*storeDouble
	lots map[perso.Name]keygen.Assignment
}

func (a *assignments) Assigned() (map[perso.Name]keygen.Assignment, error) {
	out := map[perso.Name]keygen.Assignment{}
	for lot, one := range a.lots {
		out[lot] = one
	}
	return out, nil
}

func (a *assignments) RememberAssigned(lot perso.Name, one keygen.Assignment) error {
	return a.write(func() { a.lots[lot] = one })
}

// pair is a site with two vaults on one token: V1, the rig's own, signs the log and assigns lots; V2 has its own memory.
type pair struct {
	*rig
	gave   *assignments
	second *rig // the same site as V2 sees it
}

func newPair(t *testing.T) *pair {
	t.Helper()
	r := newRig(t)
	p := &pair{rig: r, gave: &assignments{r.withoutDisk(), map[perso.Name]keygen.Assignment{}}}
	r.cfg.LogVault, r.cfg.Assignments = "V1", p.gave
	r.reopenVault()
	two := *r
	store := newStore()
	two.cfg.Name, two.cfg.Assignments, two.cfg.Journal, two.cfg.Memory = "V2", nil, store, store
	two.reopenVault()
	p.second = &two
	return p
}

func (p *pair) assign(rel statement.Release, to perso.Name) (bus.AssignLotReply, error) {
	return p.vault.AssignLot(ctx, bus.AssignLotRequest{Register: [][]byte{p.register.Encode()}, Release: p.sign(rel, "ann", "bob").Encode(), Vault: to,
		Birth: p.birth("V2")})
}

func (p *pair) open(at *rig, rel statement.Release, word []byte) error {
	q := p.openRequest()
	q.Release, q.Assigned = p.sign(rel, "ann", "bob").Encode(), word
	_, err := at.vault.OpenLot(ctx, q)
	return err
}

// A lot is one vault's, by the log vault's word, for good.
func TestLotBelongsToOneVault(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	if err := p.open(p.rig, p.release, nil); code(err) != bus.FaultRefused {
		t.Errorf("a lot that is nobody's is opened: %v", err)
	}
	word, err := p.assign(p.release, "V2")
	if err != nil || word.Vault != "V2" || word.Lot != testLot {
		t.Fatal(word, err)
	}
	other := p.later(1)
	other.Lot = "LOT-2"
	hers, err := p.assign(other, "V1")
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{"none": nil, "another lot's": hers.Assigned, "cut": word.Assigned[:len(word.Assigned)-1]} {
		if err := p.open(p.second, p.release, bad); code(err) != bus.FaultRefused {
			t.Errorf("opened with the word %q: %v", name, err)
		}
	}
	forged := bytes.Replace(hers.Assigned, []byte("vault V1"), []byte("vault V2"), 1)
	if err := p.open(p.second, other, forged); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), "not signed") {
		t.Errorf("V2 opens a lot with a forged word: %v", err)
	}
	if err := p.open(p.second, other, hers.Assigned); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), `lot "LOT-2" is vault "V1"'s`) {
		t.Errorf("V2 opens V1's lot: %v", err)
	}
	for range 2 {
		if err := p.open(p.rig, p.release, word.Assigned); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), `is vault "V2"'s`) {
			t.Errorf("V1 opens V2's lot: %v", err)
		}
		again, err := p.assign(p.release, "V1")
		if err != nil || again.Vault != "V2" || !bytes.Equal(again.Assigned, word.Assigned) {
			t.Errorf("asked again: %v %v", again.Vault, err)
		}
		p.now = p.now.Add(time.Hour)
		p.reopenVault()
	}
	if err := errors.Join(p.open(p.second, p.release, word.Assigned), p.open(p.rig, other, nil)); err != nil {
		t.Error(err)
	}
}

// The log vault knows what every vault of the site issued (I1), whether or not it was made there.
func TestIdentitiesAreOneVaultsOnly(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	if _, err := p.assign(p.release, "V2"); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*statement.Release){
		"the same EIDs":   func(r *statement.Release) { r.EIDs = p.release.EIDs },
		"the same ICCIDs": func(r *statement.Release) { r.ICCIDs = p.release.ICCIDs },
		"the same IMSIs":  func(r *statement.Release) { r.IMSIs = p.release.IMSIs },
	} {
		rel := p.later(1)
		rel.Lot = "LOT-2"
		spoil(&rel)
		for _, to := range []perso.Name{"V1", "V2"} {
			if a, err := p.assign(rel, to); code(err) != bus.FaultRefused || a.Assigned != nil {
				t.Errorf("%s, for %s: %v", name, to, err)
			}
		}
	}
	changed := p.release
	changed.Nonce[0]++
	if _, err := p.assign(changed, "V2"); code(err) != bus.FaultConflict {
		t.Errorf("another release of the lot: %v", err)
	}
	late := p.later(2)
	late.Lot = "LOT-3"
	p.now = late.Expires
	if _, err := p.assign(late, "V2"); code(err) != bus.FaultRefused {
		t.Errorf("an expired release: %v", err)
	}
}

// A lot from the time when V1 was the only vault stays there.
func TestLotFromBeforeStaysAtTheLogVault(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	gave := &assignments{newStore(), map[perso.Name]keygen.Assignment{}}
	r.cfg.Assignments = gave
	r.reopenVault()
	p := &pair{rig: r, gave: gave}
	if a, err := p.assign(r.release, "V2"); err != nil || a.Vault != "V1" {
		t.Errorf("given to %q, %v", a.Vault, err)
	}
	r.openLot()
}

// A site whose second vault was taken out of the configuration: what was given to that one stays issued (I1) and is not made
// here, other lots are made without being assigned, and stay here when there are two vaults again.
func TestOnlyVaultAgain(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	if _, err := p.assign(p.release, "V2"); err != nil {
		t.Fatal(err)
	}
	p.cfg.Sole = true
	p.reopenVault()
	if err := p.open(p.rig, p.release, nil); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), `is vault "V2"'s`) {
		t.Errorf("V1 opens V2's lot: %v", err)
	}
	same := p.later(1)
	same.Lot, same.EIDs = "LOT-2", p.release.EIDs
	if err := p.open(p.rig, same, nil); code(err) != bus.FaultRefused {
		t.Errorf("a lot with the EIDs of V2's is opened: %v", err)
	}
	own := p.later(2)
	own.Lot = "LOT-3"
	if err := p.open(p.rig, own, nil); err != nil {
		t.Errorf("a lot of its own: %v", err)
	}
	if a, err := p.assign(own, "V1"); code(err) != bus.FaultRefused || a.Assigned != nil {
		t.Errorf("the only vault assigns: %v", err)
	}
	p.cfg.Sole = false
	p.reopenVault()
	if a, err := p.assign(own, "V2"); err != nil || a.Vault != "V1" {
		t.Errorf("given to %q, %v", a.Vault, err)
	}
	follower := p.second.cfg
	follower.Sole = true
	if _, err := keygen.New(ctx, follower); err == nil {
		t.Error("a vault that does not sign is made the only one")
	}
}

// Memory: failed and not written, failed but written. Nobody hears of an assignment that may be lost.
func TestAssignmentThatCouldNotBeRemembered(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		p := newPair(t)
		p.gave.fail, p.gave.after = true, after
		if a, err := p.assign(p.release, "V2"); !errors.Is(err, errDisk) || a.Assigned != nil {
			t.Errorf("after=%v: %v %v", after, a, err)
		}
		p.gave.fail = false
		p.reopenVault()
		a, err := p.assign(p.release, "V1")
		if want := map[bool]perso.Name{false: "V1", true: "V2"}[after]; err != nil || a.Vault != want {
			t.Errorf("after=%v: given to %q, want %q: %v", after, a.Vault, want, err)
		}
	}
}

// Each verb is its vault's own: one signs and assigns, the others follow.
func TestOneVaultSigns(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.log.add(entry.Stock{Reel: "R1", File: [32]byte{1}, Chips: 1, At: start})
	note := p.note()
	if a, err := p.second.vault.Checkpoint(ctx, p.log.request(0)); code(err) != bus.FaultRefused || a.Note != nil {
		t.Errorf("V2 signs: %v", err)
	}
	if _, err := p.second.vault.AssignLot(ctx, bus.AssignLotRequest{Vault: "V2"}); code(err) != bus.FaultRefused {
		t.Errorf("V2 assigns: %v", err)
	}
	if _, err := p.vault.Follow(ctx, bus.FollowRequest{Note: note}); code(err) != bus.FaultRefused {
		t.Errorf("V1 follows: %v", err)
	}
	both := p.second.cfg
	both.Assignments = p.gave
	if _, err := keygen.New(ctx, both); err == nil {
		t.Error("a vault that does not sign is made to assign lots")
	}
}

// show shows V2 a checkpoint with the proof that it asks for.
func (p *pair) show(log *logDouble, note []byte, size int64) (bus.FollowReply, error) {
	var a bus.FollowReply
	for range 2 {
		q := bus.FollowRequest{Note: note, Last: a.Last}
		whole := &logDouble{t: p.t}
		for _, e := range log.entries[:max(size, a.Last)] {
			whole.add(raw(e))
		}
		q.Proof = whole.request(min(size, a.Last)).Proof
		var err error
		if a, err = p.second.vault.Follow(ctx, q); err != nil || a.Taken {
			return a, err
		}
	}
	return a, nil
}

type raw []byte

func (r raw) Encode() ([]byte, error) { return r, nil }

// V2 takes what lies on one line with what it saw, forward and back, and nothing else, also after a restart.
func TestFollowsOneLog(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	notes := map[int64][]byte{}
	for n := int64(1); n <= 6; n++ {
		p.log.add(entry.Stock{Reel: "R1", File: [32]byte{byte(n)}, Chips: 1, At: start})
		notes[n] = p.note()
	}
	for _, size := range []int64{2, 5, 3, 5, 2} { // forward, and back to what is on the way
		if a, err := p.show(p.log, notes[size], size); err != nil || !a.Taken {
			t.Errorf("checkpoint of %d: %+v, %v", size, a, err)
		}
	}
	fork := &logDouble{t: t}
	for n := range byte(7) {
		fork.add(entry.Stock{Reel: "R2", File: [32]byte{100 + n}, Chips: 1, At: start})
	}
	for range 2 {
		for _, size := range []int64{3, 5, 7} { // signed by whoever got at the log key
			next := checkpoint.Checkpoint{Origin: p.cfg.Origin, Size: size, Root: fork.root(size)}
			note, err := next.Seal(p.made.LogKey, func(text []byte) ([]byte, error) { return p.token.SignMessage(ctx, p.cfg.Keys.Log, text) })
			if err != nil {
				t.Fatal(err)
			}
			if a, err := p.show(fork, note, size); code(err) != bus.FaultRefused || a.Taken {
				t.Errorf("a fork of %d: %+v, %v", size, a, err)
			}
		}
		if a, err := p.second.vault.Follow(ctx, bus.FollowRequest{Note: bytes.ToUpper(notes[6])}); code(err) != bus.FaultRefused {
			t.Errorf("not signed: %+v, %v", a, err)
		}
		p.second.reopenVault()
		info, err := p.second.vault.Info(ctx, bus.Empty{})
		if err != nil || info.LogSize != 5 {
			t.Fatalf("after a restart it stands at %d, %v", info.LogSize, err)
		}
	}
}

// V2 serves a chip from begin to good against checkpoints that it was shown, and against no other.
func TestServesWhatItFollowed(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	word, err := p.assign(p.release, "V2")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.open(p.second, p.release, word.Assigned); err != nil {
		t.Fatal(err)
	}
	u := p.second.claimUnit(newCard(t, testKMC, 1), 0, 0)
	for item := u.begin(); ; {
		p.now = p.second.now // one clock
		note, size := p.note(), int64(len(p.log.entries))
		item.Claim, item.Act = p.log.prove(u.seq), p.log.prove(item.Act.Seq)
		q := bus.ServeRequest{Lot: testLot, Checkpoint: note, Items: []bus.ServeItem{item}}
		if a, err := p.second.vault.Serve(ctx, q); code(err) != bus.FaultBehind {
			t.Fatalf("served against a checkpoint that it was not shown: %+v, %v", a, err)
		}
		if a, err := p.show(p.log, note, size); err != nil || !a.Taken {
			t.Fatal(a, err)
		}
		a, err := p.second.vault.Serve(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		result := a.Results[0]
		u.keep(result.Stored)
		if len(result.Window) == 0 {
			if !result.Good {
				t.Errorf("ended with %+v", result)
			}
			break
		}
		item = u.next(item, result)
	}
	head, err := p.second.vault.Receipts(ctx, bus.ReceiptsRequest{Lot: testLot})
	if err != nil || head.Vault != "V2" || len(head.Receipts) == 0 {
		t.Errorf("%d receipts of %q, %v", len(head.Receipts), head.Vault, err)
	}
	if _, err := p.vault.Receipts(ctx, bus.ReceiptsRequest{Lot: testLot}); code(err) != bus.FaultLotNotOpen {
		t.Errorf("V1 has receipts of V2's lot: %v", err)
	}
}
