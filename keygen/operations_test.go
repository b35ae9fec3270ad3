package keygen_test

import (
	"bytes"
	"crypto/sha256"
	"reflect"
	"testing"

	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/scp"
)

// An act waits for its HSM operations, so a card may cost so many at most: in act 0, and in each later one.
const maxFirstOps, maxLaterOps = 6, 2

// kinds are all combinations of where Ki and the chip's key pair come from, with what a card that nothing happens to costs.
var kinds = []struct {
	source, origin string
	ops            []uint64
}{
	{"derived", "card", []uint64{1, 2, 2, 2, 2}}, // maker's key; then that and seed, seed, certificate, seed
	{"random", "card", []uint64{4, 2, 2, 2, 2}},  // with 3 to draw Ki
	{"customer", "card", []uint64{2, 2, 2, 2, 2}},
	{"derived", "hsm", []uint64{3, 2, 2}}, // with pair and certificate
	{"random", "hsm", []uint64{6, 2, 2}},
	{"customer", "hsm", []uint64{4, 2, 2}},
	{"derived", "sim", []uint64{1, 2, 2}},
	{"random", "sim", []uint64{4, 2, 2}},
	{"customer", "sim", []uint64{2, 2, 2}},
	{"derived", "scp02", []uint64{1, 2, 2}},
	{"random", "scp02", []uint64{4, 2, 2}},
	{"customer", "scp02", []uint64{2, 2, 2}},
}

// of makes the rig's lot one of a combination.
func (r *rig) of(source, origin string) *rig {
	switch origin {
	case "hsm":
		r.injecting()
	case "sim":
		r.sims()
	case "scp02":
		r.sims02()
	}
	switch source {
	case "random":
		r.drawing()
	case "customer":
		r.received(asReleased)
	}
	return r
}

// checkOps holds the last session to the limits.
func (u *unit) checkOps(when string) {
	u.t.Helper()
	for n, ops := range u.ops {
		if limit := map[bool]uint64{true: maxFirstOps, false: maxLaterOps}[n == 0]; ops > limit {
			u.t.Errorf("%s: act %d took %d HSM operations, limit %d", when, n, ops, limit)
		}
	}
}

func TestOperations(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.source+" "+k.origin, func(t *testing.T) {
			t.Parallel()
			testOperations(t, newRig(t).of(k.source, k.origin), k.ops)
		})
	}
}

// One after the other: tests that run side by side are lent one token, and its keys have one name.
func TestOperationsOnSoftHSM(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.source+" "+k.origin, func(t *testing.T) {
			testOperations(t, newRigOn(t, hsmtest.SoftHSM(t), "keygen-operations").of(k.source, k.origin), k.ops)
		})
	}
}

func testOperations(t *testing.T, r *rig, want []uint64) {
	r.openLot()
	u := r.claimUnit(r.newCard(1), 0, 0)
	if got := u.session(); !got.Good || !reflect.DeepEqual(u.ops, want) {
		t.Errorf("%+v with %v HSM operations per act, want %v", got.Good, u.ops, want)
	}
	u.checkOps("made")
	again := u.items[0]
	again.Stored = u.stored
	u.ops = nil
	if u.serve(again); u.ops[0] > maxFirstOps {
		t.Errorf("act 0 asked again took %d HSM operations", u.ops[0])
	}
	u.card.contact()
	if got := u.session(); !got.Good {
		t.Errorf("contacted again: %+v", got)
	}
	u.checkOps("contacted again")
}

// Before a chip has shown its stamp its session carries a Ki. Who knows the maker's keys of the chip opens all else of a state,
// and not that.
func TestCarriedKiIsForVaults(t *testing.T) {
	t.Parallel()
	for _, source := range []string{"random", "customer"} {
		r := newRig(t).of(source, "card")
		r.openLot()
		u := r.claimUnit(r.newCard(1), 0, 0)
		factory := u.card.keys[0xFF]
		if got := u.session(); !got.Good {
			t.Fatalf("%+v", got)
		}
		rest := u.stored.Ki
		if source == "customer" {
			rest = r.customer(0).Row
		}
		hash := sha256.Sum256(rest)
		for n, result := range u.results[:len(u.results)-1] {
			body := stateBody(t, u, n, factory, result.State)
			if !bytes.Contains(body, hash[:]) {
				t.Fatalf("%s: the state of act %d was not opened", source, n)
			}
			if bytes.Contains(body, u.card.ki) || bytes.Contains(result.State, u.card.ki) {
				t.Errorf("%s: the state of act %d holds Ki", source, n)
			}
		}
	}
}

func stateBody(t *testing.T, u *unit, n int, factory scp.StaticKeys, sealed []byte) []byte {
	t.Helper()
	item := u.items[n]
	command, err := apdu.Parse(item.Command)
	if err != nil {
		t.Fatal(err)
	}
	answer, _, err := apdu.SWOf(item.Answer)
	if err != nil {
		t.Fatal(err)
	}
	iu, err := scp.ParseInitUpdate(answer)
	if err != nil {
		t.Fatal(err)
	}
	h, err := scp.OpenHost(factory, command.Data, iu)
	if err != nil {
		t.Fatal(err)
	}
	body, err := keygen.StateBody(h, entry.SessionOf(item.Command, item.Answer), entry.Hash(u.log.entries[u.seq]), sealed)
	if err != nil {
		t.Fatal(err)
	}
	return body
}
