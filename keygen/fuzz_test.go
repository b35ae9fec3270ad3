package keygen_test

import (
	"bytes"
	"crypto/ed25519"
	"maps"
	"slices"
	"testing"

	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// FuzzHeed: whatever a vault is told, it hears no body that officers did not sign, and remembers only what it took.
func FuzzHeed(f *testing.F) {
	r := newRig(f)
	lot := string(testLot)
	freeze := r.frost(statement.FrozenLot, lot, nil, "bob")
	dan := ed25519.NewKeyFromSeed(make32(9))
	said := []statement.Signed{r.register, freeze, r.frost(statement.FrozenLot, lot, &freeze, "ann", "bob"), r.frost(statement.FrozenLine, "L1", nil, "ann", "bob"), r.signed,
		r.change(statement.KindAdd, r.register, statement.Officer{ID: "dan", Person: "Dan", Role: statement.RoleQuality, Key: dan.Public().(ed25519.PublicKey)}, "ann", "bob")}
	genuine := map[[32]byte]bool{}
	for _, s := range said {
		genuine[s.Hash()] = true
		f.Add(s.Encode())
	}
	f.Fuzz(func(t *testing.T, word []byte) {
		r.t, r.log.t = t, t
		before := r.heard()
		a, err := r.vault.Heed(ctx, bus.HeedRequest{Known: before.Count, Chain: before.Chain, Words: [][]byte{word}})
		switch s, bad := statement.DecodeSigned(word); {
		case err != nil && code(err) != bus.FaultRefused:
			t.Errorf("%v", err)
		case err != nil && r.heard() != before:
			t.Error("it remembers what it refused")
		case err == nil && (bad != nil || !genuine[s.Hash()] || a.Known != before.Count+1 || r.heard() != before.And(s.Hash())):
			t.Errorf("it heard %q", word)
		}
	})
}

// What of an item comes from the line or the ledger, and is in no log entry as it is.
const (
	fuzzCommand = iota
	fuzzAnswer
	fuzzState
	fuzzCert
	fuzzKey
	fuzzResponse // and from here on the answers, one by one
)

// bend puts something else in a part of the item, and says whether it had such a part and is another one now.
func bend(item *bus.ServeItem, part uint8, data []byte) bool {
	parts := map[uint8]*[]byte{fuzzCommand: &item.Command, fuzzAnswer: &item.Answer, fuzzState: &item.State, fuzzCert: &item.Stored.Cert, fuzzKey: &item.Stored.Key}
	p := parts[part]
	if part >= fuzzResponse {
		i := int(part - fuzzResponse)
		if i >= len(item.Responses) {
			return false
		}
		item.Responses = slices.Clone(item.Responses)
		p = &item.Responses[i]
	}
	if p == nil || bytes.Equal(*p, data) {
		return false
	}
	*p = data
	return true
}

// FuzzServe: an act of which one part is something else than the chip or the vault said is refused or has failed, or goes on where that part
// tells nothing; it never crashes the vault, and never ends well for a chip that did not prove itself.
func FuzzServe(f *testing.F) {
	for _, plain := range []bool{false, true} {
		for act := range uint8(5) {
			for part := range uint8(fuzzResponse + 4) {
				f.Add(plain, act, part, []byte{0x90, 0x00})
			}
		}
	}
	worlds := map[bool]*fuzzWorld{false: newFuzzWorld(f, false), true: newFuzzWorld(f, true)}
	f.Fuzz(func(t *testing.T, plain bool, act, part uint8, data []byte) {
		w := worlds[plain]
		w.t, w.log.t = t, t
		act %= uint8(len(w.items))
		item := w.items[act]
		if !bend(&item, part, data) {
			return
		}
		got := w.asked(act, item)
		if got.Good && !plain && !w.bare(act, part) { // a chip without a secure channel can't bind what it says
			t.Errorf("act %d, part %d: good with %x", act, part, data)
		}
		if got.Refused == "" && got.Receipt == nil {
			t.Errorf("act %d, part %d: neither refused nor in a receipt: %+v", act, part, got)
		}
	})
}

// fuzzWorld is a unit that was made once, and what the vault had stored before each act of it.
type fuzzWorld struct {
	*unit
	store *storeDouble
	items []bus.ServeItem
}

func newFuzzWorld(f testing.TB, plain bool) *fuzzWorld {
	f.Helper()
	r := newRig(f)
	w := &fuzzWorld{store: r.withoutDisk()}
	if plain {
		r.adms()
		r.openLot()
		u := r.claimAdm(newAdmCard(f, testKMC, 1), 0, 0)
		if got := u.session(); !got.Good {
			f.Fatalf("%+v %+v", got, got.Failed)
		}
		w.unit = u.unit
	} else {
		r.openLot()
		w.unit = r.claimUnit(r.newCard(1), 0, 0)
		if got := w.session(); !got.Good {
			f.Fatalf("%+v %+v", got, got.Failed)
		}
	}
	w.items = slices.Clone(w.unit.items)
	for act, item := range w.items { // as it was, it goes on
		if got := w.asked(uint8(act), item); got.Good != (act == len(w.items)-1) || got.Refused != "" || got.Failed != nil {
			f.Fatalf("act %d: %+v %+v", act, got, got.Failed)
		}
	}
	return w
}

// bare says that the part is the answer to a command outside the channel of which only the status is looked at.
func (w *fuzzWorld) bare(act, part uint8) bool {
	return part >= fuzzResponse && len(w.items[act].Responses[part-fuzzResponse]) == 2
}

// asked has an item logged and served by a vault that is as it was before that act of the unit.
func (w *fuzzWorld) asked(act uint8, item bus.ServeItem) bus.ServeResult {
	w.t.Helper()
	s := newStore()
	s.words, s.memory = w.store.words, w.store.memory
	s.memory.Lots = maps.Clone(w.store.memory.Lots)
	s.journal[w.lot] = slices.Clip(w.store.journal[w.lot][:act])
	w.cfg.Journal, w.cfg.Memory, w.cfg.Words = s, s, s
	w.reopenVault()
	w.openLot()
	stored := item.Stored
	item = w.logged(item, act)
	item.Stored = stored
	return w.serve(item)
}
