package keygen_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/script"
)

// stamp is what the chip carries.
func (c *card) stamp() []byte { return c.tags[string(aidISD)][0xDF20] }

// stampOf is the stamp of the unit's claim that a session puts on.
func (u *unit) stampOf(serial uint64) []byte {
	hash := entry.Hash(u.log.entries[u.seq])
	return binary.BigEndian.AppendUint64(bytes.Clone(hash[:24]), serial)
}

// toAct serves a session until act n, and returns its item, which was not served, and the window before it.
func (u *unit) toAct(n int) (item bus.ServeItem, before bus.ServeResult) {
	u.t.Helper()
	item = u.begin()
	for range n {
		if before = u.serve(item); len(before.Window) == 0 {
			u.t.Fatalf("no window: %+v %+v", before, before.Failed)
		}
		item = u.next(item, before)
	}
	return item, before
}

// A line that is killed when it has a window, and before the chip took the first command of it, costs no chip.
func TestKilledLineCostsNoChip(t *testing.T) {
	t.Parallel()
	for acts := range 5 { // this many windows were played; the next one was received
		r := newRig(t)
		r.openLot()
		c := newCard(t, testKMC, 1)
		u := r.claimUnit(c, 0, 0)
		item, _ := u.toAct(acts)
		last := u.serve(item)
		if (len(last.Window) > 0) != (acts < 4) {
			t.Fatalf("after %d windows: %+v %+v", acts, last, last.Failed)
		}
		if last.Stored != nil {
			u.stored = *last.Stored
		}
		for range 2 { // killed a second time, in act 0 and behind it
			c.contact()
			item, _ = u.toAct(acts % 2)
			u.serve(item)
		}
		r.reopenVault() // the vault as well
		r.openLot()
		c.contact()
		if got := u.session(); !got.Good {
			t.Errorf("killed after %d windows: %+v %+v", acts, got, got.Failed)
		}
	}
}

// A second chip of the id gets nothing once a window behind act 0 left, whether or not the first chip took anything of it.
func TestRefusesATwin(t *testing.T) {
	t.Parallel()
	for name, played := range map[string]bool{"window not played": false, "window played in part": true} {
		r := newRig(t)
		r.openLot()
		first, twin := newCard(t, testKMC, 1), newCard(t, testKMC, 1)
		u := r.claimUnit(first, 0, 0)
		item, _ := u.toAct(1)
		result := u.serve(item)
		if played {
			first.tearAt = first.sent + 8
			u.serve(u.next(item, result))
		}
		for range 2 { // it never is stamped, also not in the session that finds it out
			u.card = twin
			twin.contact()
			if got := u.session(); got.Failed == nil || got.Failed.Reason != perso.ReasonTwin || got.Failed.Again || !got.Failed.Secrets {
				t.Errorf("%s: the twin ended %+v %+v", name, got, got.Failed)
			}
			if twin.stamp() != nil {
				t.Errorf("%s: the twin was stamped", name)
			}
		}
		u.card = first
		first.contact()
		if got := u.session(); !got.Good {
			t.Errorf("%s: the first chip ended %+v %+v", name, got, got.Failed)
		}
		u.card = twin
		twin.contact()
		if got := u.session(); !strings.Contains(got.Refused, string(perso.ReasonTwin)) {
			t.Errorf("%s: beside a good chip the twin ended %+v", name, got)
		}
	}
}

// Two chips of one id may be stamped, each in act 0 of a session. Only the one that was written for first goes on.
func TestTwoStampedChips(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	first, second := newCard(t, testKMC, 1), newCard(t, testKMC, 1)
	u := r.claimUnit(first, 0, 0)
	early, _ := u.toAct(1) // stamped, and then nobody asked on
	earlySerial := u.serial
	u.card = second
	second.contact()
	item, _ := u.toAct(1)
	lateSerial := u.serial
	if !bytes.Equal(first.stamp(), u.stampOf(earlySerial)) || !bytes.Equal(second.stamp(), u.stampOf(lateSerial)) {
		t.Fatalf("stamps %X and %X", first.stamp(), second.stamp())
	}
	u.serial = earlySerial
	if got := u.serve(early); !strings.Contains(got.Refused, "came before") {
		t.Errorf("the session before the last one: %+v", got)
	}
	u.serial = lateSerial
	if got := u.serve(item); len(got.Window) == 0 {
		t.Fatalf("the last session: %+v %+v", got, got.Failed)
	}
	if got := u.serve(early); got.Window != nil {
		t.Errorf("the session before the one that wrote: %+v", got)
	}
	u.serial = lateSerial
	u.card = first
	first.contact()
	if got := u.session(); got.Failed == nil || got.Failed.Reason != perso.ReasonTwin {
		t.Errorf("the chip with the other stamp: %+v %+v", got, got.Failed)
	}
	if first.pair != nil || first.ki != nil {
		t.Error("the chip with the other stamp was written to")
	}
	u.card = second
	second.contact()
	if got := u.session(); !got.Good {
		t.Errorf("the chip that was written for: %+v %+v", got, got.Failed)
	}
}

// Nothing behind act 0 leaves before the chip has confirmed the stamp.
func TestNoWindowWithoutStamp(t *testing.T) {
	t.Parallel()
	const stampAt = 16 // 2 of the line, INITIALIZE UPDATE, EXTERNAL AUTHENTICATE, 10 that read, INSTALL, STORE DATA
	for name, bend := range map[string]func([]byte) []byte{
		"error":         func([]byte) []byte { return []byte{0x65, 0x81} },
		"plain 9000":    func([]byte) []byte { return []byte{0x90, 0x00} },
		"another's MAC": func(b []byte) []byte { b = bytes.Clone(b); b[0] ^= 1; return b },
	} {
		r := newRig(t)
		r.openLot()
		c := newCard(t, testKMC, 1)
		u := r.claimUnit(c, 0, 0)
		c.bend = func(n int, answer []byte) []byte {
			if n == stampAt {
				return bend(answer)
			}
			return answer
		}
		got := u.session()
		if got.Failed == nil || got.Failed.Step != "stamp#2" || !got.Failed.Again || got.Failed.Secrets || len(u.results) != 2 {
			t.Errorf("%s: %d results, %+v %+v", name, len(u.results), got, got.Failed)
		}
		c.contact()
		if got := u.session(); !got.Good {
			t.Errorf("%s: then %+v %+v", name, got, got.Failed)
		}
	}
}

// A script that writes before the stamp is confirmed makes no lot.
func TestRefusesAScriptWithoutStamp(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(src string) string{
		"no stamp": func(src string) string {
			begin, end := strings.Index(src, ".SECTION stamp"), strings.Index(src, "; ------------------------------------------------------------------------------------------------------"+"---- act 1")
			return src[:begin] + src[end:]
		},
		"decided otherwise": func(src string) string { return strings.Replace(src, "WHEN=stamp", "WHEN=ecka", 1) },
		"always":            func(src string) string { return strings.Replace(src, "WHEN=stamp", "", 1) },
		"asked later": func(src string) string {
			return strings.Replace(src, ".SECTION isdr-id  REDO=safe", ".SECTION isdr-id  REDO=safe  WHEN=stamp", 1)
		},
	} {
		r := newRig(t)
		compiled, err := script.Compile([]byte(edit(r.source())), r.catalogue())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		q := r.openRequest()
		rel := r.release
		rel.ScriptHash = compiled.Hash()
		q.Release, q.Script = r.sign(rel, "ann", "bob").Encode(), compiled.Encode()
		if _, err := r.vault.OpenLot(ctx, q); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), "stamp") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A lot from before the rule is opened for its exports, and makes no more chips.
func TestOpensAnOldLotForExports(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	old, err := script.Compile([]byte(strings.Replace(r.source(), "WHEN=stamp", "", 1)), r.catalogue())
	if err != nil {
		t.Fatal(err)
	}
	rel := r.release
	rel.ScriptHash = old.Hash()
	r.release, r.signed, r.script = rel, r.sign(rel, "ann", "bob"), old
	if _, err := r.vault.OpenLot(ctx, r.openRequest()); code(err) != bus.FaultRefused {
		t.Fatalf("opened anew: %v", err)
	}
	if err := r.cfg.Memory.RememberLot(rel.Lot, keygen.Issued{Release: r.signed.Hash(), Register: r.register.Hash(), Statements: 1, EIDs: rel.EIDs, ICCIDs: rel.ICCIDs, IMSIs: rel.IMSIs}); err != nil {
		t.Fatal(err)
	}
	r.reopenVault()
	r.openLot()
	u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	item := u.begin()
	if _, err := r.vault.Serve(ctx, bus.ServeRequest{Lot: rel.Lot, Checkpoint: r.note(), Items: []bus.ServeItem{item}}); code(err) != bus.FaultRefused || !strings.Contains(err.Error(), "stamp") {
		t.Errorf("served: %v", err)
	}
}
