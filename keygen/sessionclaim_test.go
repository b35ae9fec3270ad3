package keygen_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/tlv"
)

// A session is of one claim: who has the ledger and a line can log the acts of one for two claims of one chip. What was answered under the
// first says nothing about the second.

// asAnother has the unit asked for an act that was served to another one in the same session: same bytes, other claim.
func (u *unit) asAnother(item bus.ServeItem, serial uint64, n uint8, state []byte) bus.ServeResult {
	u.t.Helper()
	u.serial = serial
	item.State = state
	return u.serve(u.logged(item, n))
}

// TestAGoodSIMIsNotServedInAnothersSession: the secrets of a good SIM without a secure channel leave for nobody, also not in a session that was
// served for another unit, under a claim for the same chip, with answers that fit both.
func TestAGoodSIMIsNotServedInAnothersSession(t *testing.T) {
	t.Parallel()
	r := newRig(t).adms()
	r.openLot()
	c := newAdmCard(t, testKMC, 1)
	good := r.claimAdm(c, 0, 0)
	if got := good.session(); !got.Good {
		t.Fatalf("%+v %+v", got, got.Failed)
	}
	thief := r.claimAdm(newAdmCard(t, testKMC, 1), 1, 1)
	item := thief.begin()
	wrote := thief.serial
	if got := thief.serve(thief.play(item, thief.serve(item))); len(got.Sealed) == 0 {
		t.Fatalf("the unit beside it: %+v %+v", got, got.Failed)
	}
	thief.chip.contact()
	first := thief.begin()
	opened := thief.serve(first)
	second := thief.play(first, opened)
	const stampAt = 1 // behind the maker's code
	second.Responses = slices.Clone(second.Responses)
	second.Responses[stampAt] = append(tlv.Encode(0xDF20, append(thief.stampOf(wrote), good.stampOf(wrote)...)), 0x90, 0)
	if got := thief.serve(thief.logged(second, 1)); len(got.Sealed) == 0 {
		t.Fatalf("the unit beside it, contacted again: %+v %+v", got, got.Failed)
	}
	a := good.asAnother(first, thief.serial, 0, nil)
	b := good.asAnother(second, thief.serial, 1, a.State)
	if a.Refused == "" || b.Refused == "" || len(a.Sealed)+len(b.Sealed) > 0 {
		t.Errorf("asked in another's session: %q, %q, windows of %d and %d bytes", a.Refused, b.Refused, len(a.Sealed), len(b.Sealed))
	}
	if len(b.Sealed) == 0 {
		return
	}
	good.key = thief.key
	window, err := good.key.Open(good.binding(good.items[len(good.items)-1]), b.Sealed)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range window {
		if bytes.Contains(p.APDU, c.ki) {
			t.Error("it has the Ki of the good SIM")
		}
	}
}

// TestASessionIsOfOneClaim: nor does a chip in a secure channel get the window of a second claim in the session of the first: not even when
// the release has expired, which is looked at once for an act.
func TestASessionIsOfOneClaim(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	c := r.newCard(1)
	one, two := r.claimUnit(c, 0, 0), r.claimUnit(c, 1, 1)
	item := one.begin()
	if got := one.serve(item); len(got.Window) == 0 {
		t.Fatalf("%+v %+v", got, got.Failed)
	}
	r.now = r.release.Expires.AddDate(0, 0, 1)
	if got := two.asAnother(item, one.serial, 0, nil); !strings.Contains(got.Refused, string(perso.ReasonReplay)) {
		t.Errorf("a second claim in one session: window of %d commands, %q", len(got.Window), got.Refused)
	}
}
