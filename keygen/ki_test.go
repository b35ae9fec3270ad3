package keygen_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/keygen/kisource"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/secret"
)

// newRandomRig has a lot whose Ki are drawn.
func newRandomRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t).drawing()
	r.openLot()
	return r
}

// drawing makes the rig's lot one whose Ki are drawn.
func (r *rig) drawing() *rig {
	r.release.KiSource = "random"
	r.signed = r.sign(r.release, "ann", "bob")
	return r
}

// exported has the output of a good unit.
func (u *unit) exported(outcome int64, ki []byte) (map[string][]byte, error) {
	u.t.Helper()
	q := bus.ExportRequest{Lot: testLot, Kind: bus.ExportOutput, Receiver: "auc-x", Checkpoint: u.note()}
	q.Items = []bus.ExportItem{{Claim: u.log.prove(u.seq), Outcome: u.log.prove(outcome), Ki: ki}}
	reply, err := u.vault.Export(ctx, q)
	if err != nil {
		return nil, err
	}
	got := map[string][]byte{}
	for _, k := range reply.Results[0].Keys {
		got[k.Name] = decrypt(u.t, testK4, k.Value)
	}
	return got, nil
}

// A drawn Ki is on the card, sealed in the claim before the first window that holds it, and what the operator gets; also
// after the vault has started anew.
func TestRandomKi(t *testing.T) {
	t.Parallel()
	r := newRandomRig(t)
	u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	if got := u.session(); !got.Good {
		t.Fatalf("%+v", got)
	}
	if err := kisource.CheckSealed(u.stored.Ki); err != nil || bytes.Contains(u.stored.Ki, u.card.ki) {
		t.Fatalf("stored %x, %v", u.stored.Ki, err)
	}
	for n, result := range u.results {
		if drawn := result.Stored != nil && result.Stored.Ki != nil; drawn != (n == 0) {
			t.Errorf("act %d draws a Ki: %v", n, drawn)
		}
	}
	outcome := u.good()
	for range 2 {
		got, err := u.exported(outcome, u.stored.Ki)
		if err != nil {
			t.Fatal(err)
		}
		opc, err := aka.OPc(got["KI"], testOP)
		if err != nil || !bytes.Equal(got["KI"], u.card.ki) || !bytes.Equal(got["OPC"], opc[:]) || !bytes.Equal(opc[:], u.card.opc) {
			t.Errorf("exported Ki is not the card's: %v", err)
		}
		r.reopenVault()
		r.openLot()
	}
	second := r.claimUnit(newCard(t, testKMC, 2), 1, 1)
	if got := second.session(); !got.Good || bytes.Equal(second.card.ki, u.card.ki) {
		t.Fatalf("%+v, or the same Ki again", got)
	}
}

// The same act asked twice draws once, also when the vault started anew in between and the ledger stored nothing; and what is
// on record is used, whoever was first.
func TestRandomKiIsDrawnOnce(t *testing.T) {
	t.Parallel()
	r := newRandomRig(t)
	u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	item := u.begin()
	result := u.serve(item)
	drawn := r.token.Stats()[hsm.VerbRandom]
	for range 2 {
		if again := u.serve(item); !reflect.DeepEqual(result, again) || again.Stored == nil { // its answer was lost before the ledger stored anything
			t.Errorf("asked again: %+v and %+v", result.Stored, again.Stored)
		}
		r.reopenVault()
		r.openLot()
	}
	item.Stored.Ki = result.Stored.Ki
	if again := u.serve(item); again.Stored != nil || !reflect.DeepEqual(again.Window, result.Window) || !bytes.Equal(again.State, result.State) || !bytes.Equal(again.Receipt, result.Receipt) {
		t.Errorf("asked again with it on record: %+v", again)
	}
	const lives = 2 // each start of the vault draws a nonce
	if n := r.token.Stats()[hsm.VerbRandom]; n != drawn+lives {
		t.Errorf("%d draws more, want %d", n-drawn, lives)
	}
	other, theirs, err := kisource.NewRandom(ctx, r.token, mustSeal(t), u.claim, kisource.Short)
	if err != nil {
		t.Fatal(err)
	}
	u.stored.Ki, item.Stored.Ki = other, other
	result = u.serve(item)
	for len(result.Window) > 0 {
		if result.Stored != nil && result.Stored.Ki != nil {
			t.Error("another Ki was first, and one is drawn")
		}
		u.keep(result.Stored)
		item = u.next(item, result)
		result = u.serve(item)
	}
	if !result.Good || !theirs.Equal(secret.New(bytes.Clone(u.card.ki))) {
		t.Errorf("with another Ki on record: %+v, or not that one on the card", result)
	}
}

// A chip that gets nothing draws nothing: neither a second one of the claim's id, nor the claim's own that is good already. If
// the Ki of a chip that has its keys is not on record any more, no other takes its place.
func TestRandomKiIsNotDrawnForOthers(t *testing.T) {
	t.Parallel()
	r := newRandomRig(t)
	u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	u.card.tearAt = 25
	if first := u.session(); first.Failed == nil || u.stored.Ki == nil {
		t.Fatalf("%+v", first)
	}
	drawn, own := r.token.Stats()[hsm.VerbRandom], u.card
	u.card = newCard(t, testKMC, 1)
	if twin := u.session(); twin.Failed == nil || twin.Failed.Reason != perso.ReasonTwin || len(u.results) != 2 {
		t.Errorf("a second chip: %+v %+v", twin, twin.Failed)
	}
	own.contact()
	u.card = own
	for range 2 {
		if got := u.session(); !got.Good {
			t.Errorf("the claim's own: %+v %+v", got, got.Failed)
		}
		u.card.contact()
	}
	if n := r.token.Stats()[hsm.VerbRandom]; n != drawn {
		t.Errorf("%d draws more", n-drawn)
	}
	u.stored.Ki = nil
	if got := u.session(); !strings.Contains(got.Refused, "no Ki is on record") || r.token.Stats()[hsm.VerbRandom] != drawn {
		t.Errorf("without its Ki: %+v", got)
	}
}

// Who owns the ledger can give the vault no other Ki than the claim's: not another claim's, and not another of the same
// claim in the middle of a session or at the export.
func TestRandomKiCannotBeExchanged(t *testing.T) {
	t.Parallel()
	r := newRandomRig(t)
	first := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	if got := first.session(); !got.Good {
		t.Fatalf("%+v", got)
	}
	outcome := first.good()
	another, _, err := kisource.NewRandom(ctx, r.token, mustSeal(t), first.claim, kisource.Short)
	if err != nil {
		t.Fatal(err)
	}
	for name, ki := range map[string][]byte{"none": nil, "another of the claim": another} {
		if got, err := first.exported(outcome, ki); code(err) != bus.FaultRefused {
			t.Errorf("%s is exported: %x, %v", name, got["KI"], err)
		}
	}
	proven := first.stored.Ki
	for _, ki := range [][]byte{another, proven} {
		first.stored.Ki = ki
		first.card.contact()
		if got := first.session(); got.Good != bytes.Equal(ki, proven) || !got.Good && !strings.Contains(got.Refused, "proved itself with") {
			t.Errorf("the good unit again, its own Ki on record is %v: %+v", bytes.Equal(ki, proven), got)
		}
	}

	u := r.claimUnit(newCard(t, testKMC, 2), 1, 1)
	u.stored.Ki = first.stored.Ki
	if got := u.session(); got.Refused == "" {
		t.Errorf("another claim's Ki: %+v", got)
	}
	u.stored = bus.Stored{}
	item := u.begin()
	result := u.serve(item)
	other, _, err := kisource.NewRandom(ctx, r.token, mustSeal(t), u.claim, kisource.Short)
	if err != nil {
		t.Fatal(err)
	}
	own := result.Stored.Ki
	u.keep(result.Stored)
	for len(result.Window) > 0 {
		item = u.next(item, result)
		for name, ki := range map[string][]byte{"another": other, "none": nil} {
			item.Stored.Ki = ki
			if got := u.serve(item); !strings.Contains(got.Refused, "not the one of session") || len(got.Window) > 0 {
				t.Errorf("%s before act %d: %+v", name, u.actOf(item).N, got)
			}
		}
		item.Stored.Ki = own
		result = u.serve(item)
		u.keep(result.Stored)
	}
	if !result.Good {
		t.Errorf("with its own: %+v %+v", result, result.Failed)
	}
}

func mustSeal(t *testing.T) hsm.Key {
	t.Helper()
	key, err := kisource.LotSealKey("test", testLot)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
