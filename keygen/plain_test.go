package keygen_test

import (
	"bytes"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"testing"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/sealing"
	"github.com/persoline/persoline/perso/statement"
	"github.com/persoline/persoline/perso/tlv"
)

// admCard is a SIM without a secure channel, as much of one as testdata/adm-sim.script asks.
type admCard struct {
	t         testing.TB
	cplc      []byte
	transport [scp.TransportCodeBytes]byte
	open      bool // its maker's code was verified
	life      byte
	tags      map[uint16][]byte
	ki, opc   []byte
	pins      []byte
	asked     bool
	seen      [][]byte // commands, in clear
	tearAt    int
	after     bool
	sent      int
}

func newAdmCard(t testing.TB, kmc []byte, number byte) *admCard {
	kdd := [10]byte{0x47, 0x90, 0x6D, 0x20, 0, 1, 0x0A, 0x0B, 0x0C, number}
	keys, err := scp.DiversifyKDF3(kmc, kdd)
	if err != nil {
		t.Fatal(err)
	}
	c := &admCard{t: t, cplc: make([]byte, 42), transport: keys.TransportCode(), life: 3, tags: map[uint16][]byte{}}
	copy(c.cplc, kdd[:4])
	copy(c.cplc[12:], kdd[6:])
	copy(c.cplc[16:], kdd[4:6])
	return c
}

func (c *admCard) contact() { c.open, c.sent, c.tearAt = false, 0, 0 }

func (c *admCard) transmit(command []byte) []byte {
	c.sent++
	torn := c.tearAt > 0 && c.sent >= c.tearAt
	if torn && !c.after {
		return nil
	}
	cmd, err := apdu.Parse(command)
	if err != nil {
		c.t.Fatal(err)
	}
	c.seen = append(c.seen, bytes.Clone(command))
	data, sw := c.answer(cmd)
	if torn {
		return nil
	}
	return sw.Append(data)
}

func (c *admCard) answer(cmd apdu.Command) ([]byte, apdu.SW) {
	tag := uint16(cmd.P1)<<8 | uint16(cmd.P2)
	switch {
	case cmd.INS == 0xCA && tag == 0x9F7F:
		return tlv.Encode(0x9F7F, c.cplc), apdu.SWOK
	case cmd.INS == 0xCA && tag == 0xDF28:
		return []byte{c.life}, apdu.SWOK
	case cmd.INS == 0xCA:
		if value := c.tags[tag]; value != nil {
			return tlv.Encode(uint32(tag), value), apdu.SWOK
		}
		return nil, 0x6A88
	case cmd.INS == 0x20 && cmd.P2 == 0x0E && c.life == 5:
		return nil, 0x6984
	case cmd.INS == 0x20 && cmd.P2 == 0x0E:
		c.open = bytes.Equal(cmd.Data, c.transport[:])
		return nil, map[bool]apdu.SW{true: apdu.SWOK, false: 0x63C2}[c.open]
	case cmd.INS == 0x20 && cmd.P2 == 0x0A:
		return nil, map[bool]apdu.SW{true: apdu.SWOK, false: 0x63C2}[len(c.pins) == 48 && bytes.Equal(cmd.Data, c.pins[32:40])]
	case cmd.INS == 0xA4:
		return nil, apdu.SWOK
	case cmd.INS == 0x88:
		return c.authenticate(cmd.Data)
	case cmd.INS == 0x26:
		c.asked = bytes.Equal(cmd.Data, c.pins[:8])
		return nil, apdu.SWOK
	case !c.open || c.life == 5:
		return nil, 0x6982
	case cmd.INS == 0x44:
		c.life = 5
		return nil, apdu.SWOK
	case cmd.INS == 0xDA:
		c.put(tag, cmd.Data)
		return nil, apdu.SWOK
	}
	return nil, 0x6D00
}

func (c *admCard) put(tag uint16, data []byte) {
	switch tag {
	case 0x8F20:
		c.ki, c.opc = bytes.Clone(data[1:17]), bytes.Clone(data[20:36])
		c.tags[0xDF26] = append(append([]byte{data[0]}, data[17:20]...), data[36:39]...)
	case 0x8F21:
		if data[0] == 1 {
			c.pins = nil
		}
		c.pins = append(c.pins, data[1:17]...)
	case 0x8F22:
		c.pins = append(c.pins, data...)
		mac := scp.CMAC(c.ki, c.pins)
		c.tags[0xDF27] = mac[:8]
	default:
		c.tags[tag] = bytes.Clone(data)
	}
}

func (c *admCard) authenticate(data []byte) ([]byte, apdu.SW) {
	n, err := auth.Default().Network(c.ki, c.opc)
	if err != nil {
		c.t.Fatal(err)
	}
	defer n.Wipe()
	m, err := aka.New(c.ki, c.opc)
	if err != nil {
		c.t.Fatal(err)
	}
	defer m.Wipe()
	auts := m.BuildAUTS(aka.Rand(data[1:17]), aka.SQN{})
	return append([]byte{0xDC, byte(len(auts))}, auts[:]...), apdu.SWOK
}

// adms makes the lot one of SIMs without a secure channel.
func (r *rig) adms() *rig {
	r.t.Helper()
	src, err := os.ReadFile("testdata/adm-sim.script")
	if err == nil {
		r.script, err = script.Compile(src, script.StandardCatalogue(0, keygen.CertValueBytes))
	}
	if err != nil {
		r.t.Fatal(err)
	}
	rel := &r.release
	rel.ScriptHash, rel.EIDs, rel.KeyOrigin, rel.WrapKey, rel.SMSR = r.script.Hash(), id.EIDRange{}, "", "", ""
	rel.Channel, rel.FactoryKVN, rel.CardKVN, rel.Proof = "adm", 0, 0, "authenticate (trusts the line)"
	r.signed = r.sign(*rel, "ann", "bob")
	return r
}

// worker is the line's end of one presentation of one card.
type admWorker struct {
	*unit
	chip   *admCard
	key    sealing.Key
	sealed [][]byte
}

var admRandom = mrand.NewChaCha8([32]byte{7})

func (r *rig) claimAdm(c *admCard, u perso.Unit, index perso.EIDIndex) *admWorker {
	chip, err := id.ChipIDFromCPLC(c.cplc)
	if err != nil {
		r.t.Fatal(err)
	}
	w := &admWorker{unit: r.claimUnit(newCard(r.t, testKMC, 1), u, index, func(e *entry.Claim) { e.Chip = chip }), chip: c}
	return w
}

// session presents the card and serves acts until there is no window.
func (w *admWorker) session() bus.ServeResult {
	w.t.Helper()
	w.ops, w.results, w.sealed = nil, nil, nil
	item := w.begin()
	for {
		result := w.serve(item)
		w.keep(result.Stored)
		if len(result.Sealed) == 0 {
			return result
		}
		if len(result.Window) > 0 {
			w.t.Fatal("a window came in clear")
		}
		w.sealed = append(w.sealed, result.Sealed)
		item = w.play(item, result)
	}
}

func (w *admWorker) begin() bus.ServeItem {
	w.t.Helper()
	w.serial++
	challenges, err := w.vault.Challenges(ctx, bus.VaultChallengesRequest{Lot: w.lot, First: w.serial, Count: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.key, err = sealing.NewKey(admRandom); err != nil {
		w.t.Fatal(err)
	}
	var item bus.ServeItem
	for _, p := range w.script.IdentifyWindow() {
		item.Responses = append(item.Responses, w.chip.transmit(p.APDU))
	}
	item.Command = sealing.Opening{Challenge: [8]byte(challenges.Values[0]), Public: w.key.Public()}.Bytes()
	item.Answer = item.Responses[0]
	return w.logged(item, 0)
}

func (w *admWorker) binding(item bus.ServeItem) sealing.Binding {
	a := w.actOf(item)
	return sealing.Binding{Lot: w.lot, Unit: w.claim.Unit, Gen: w.claim.Gen, Chip: w.claim.Chip, Present: a.Present, Session: a.Session, N: a.N, Script: w.script.Hash()}
}

func (w *admWorker) play(item bus.ServeItem, result bus.ServeResult) bus.ServeItem {
	w.t.Helper()
	n := w.actOf(item).N + 1
	window, err := w.key.Open(w.binding(item), result.Sealed)
	if err != nil {
		w.t.Fatal(err)
	}
	item.Responses, item.State, item.Stored = nil, result.State, w.stored
	for _, p := range window {
		answer := w.chip.transmit(p.APDU)
		if answer == nil {
			break
		}
		item.Responses = append(item.Responses, answer)
		mask, err := apdu.ParseMask(p.SW)
		if err != nil {
			w.t.Fatal(err)
		}
		if _, sw, err := apdu.SWOf(answer); err != nil || !mask.Match(sw) {
			break
		}
	}
	return w.logged(item, n)
}

// A SIM without a secure channel is made: sealed windows for its one presentation, good by AUTHENTICATE, known again when it comes back.
func TestMakesASIMWithoutAChannel(t *testing.T) {
	t.Parallel()
	for _, source := range []string{"derived", "random", "customer"} {
		r := newRig(t).of(source, "card").adms()
		r.openLot()
		c := newAdmCard(t, testKMC, 1)
		u := r.claimAdm(c, 0, 0)
		if got := u.session(); !got.Good || len(u.results) != 3 {
			t.Fatalf("%s: %+v %+v", source, got, got.Failed)
		}
		u.checkOps(source)
		if c.ki == nil || c.life != 5 || c.asked || len(c.pins) != 48 {
			t.Errorf("%s: the card has Ki %v, life %d, PIN1 asked %v", source, c.ki != nil, c.life, c.asked)
		}
		for _, sealed := range u.sealed {
			for _, needle := range [][]byte{c.ki, c.opc, c.transport[:], c.pins[:8]} {
				if bytes.Contains(sealed, needle) {
					t.Errorf("%s: a secret stands in a sealed window", source)
				}
			}
		}
		for _, item := range u.items {
			if bytes.Contains(item.State, c.ki) {
				t.Errorf("%s: Ki stands in a state", source)
			}
		}
		c.contact()
		// Contacted again it shows that it is the one; whoever asks on, and with what key, gets no secret of a card that is good.
		item := u.begin()
		shown := u.serve(item)
		if len(shown.Sealed) == 0 {
			t.Errorf("%s: contacted again: %+v %+v", source, shown, shown.Failed)
		}
		if got := u.serve(u.play(item, shown)); got.Refused == "" || len(got.Sealed) > 0 {
			t.Errorf("%s: asked for the secrets of a good card: %+v", source, got)
		}
		if again := u.serve(u.items[2]); !again.Good {
			t.Errorf("%s: the verdict asked again: %+v %+v", source, again, again.Failed)
		}
		// Another card of its name has nothing to show: it gets not even a window.
		u.chip = newAdmCard(t, testKMC, 1)
		if twin := u.session(); twin.Failed == nil || twin.Failed.Reason != perso.ReasonTwin || len(u.results) != 1 {
			t.Errorf("%s: its twin: %+v %+v", source, twin, twin.Failed)
		}
	}
}

// The same act asked again is the same commands under the same receipt; a new presentation gets the same content under its own key.
func TestSealsTheSameAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t).adms()
	r.openLot()
	u := r.claimAdm(newAdmCard(t, testKMC, 1), 0, 0)
	item := u.begin()
	first := u.serve(item)
	again := u.serve(item)
	a, err1 := u.key.Open(u.binding(item), first.Sealed)
	b, err2 := u.key.Open(u.binding(item), again.Sealed)
	if err1 != nil || err2 != nil || fmt.Sprint(a) != fmt.Sprint(b) || !bytes.Equal(first.Receipt, again.Receipt) || !bytes.Equal(first.State, again.State) {
		t.Errorf("asked again: %v %v, same commands %t, same receipt %t, same state %t", err1, err2, fmt.Sprint(a) == fmt.Sprint(b), bytes.Equal(first.Receipt, again.Receipt), bytes.Equal(first.State, again.State))
	}
	old := u.key
	u.chip.contact()
	next := u.begin()
	second := u.serve(next)
	if _, err := old.Open(u.binding(next), second.Sealed); err == nil {
		t.Error("the key of the presentation before opens it")
	}
	c, err := u.key.Open(u.binding(next), second.Sealed)
	if err != nil || fmt.Sprint(c[0]) != fmt.Sprint(a[0]) {
		t.Errorf("a new presentation: %v", err)
	}
}

// A card that was torn at any command, either way, is continued; before its stamp was used another may take the claim's place.
func TestContinuesATornSIMWithoutAChannel(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		for tear := 3; ; tear++ {
			r := newRig(t).adms()
			r.openLot()
			c := newAdmCard(t, testKMC, 1)
			u := r.claimAdm(c, 0, 0)
			c.tearAt, c.after = tear, after
			first := u.session()
			if first.Good {
				if tear < 20 {
					t.Fatalf("a session of %d commands", tear)
				}
				break
			}
			if first.Failed == nil || !first.Failed.Again {
				t.Fatalf("torn at %d: %+v %+v", tear, first, first.Failed)
			}
			c.contact()
			if second := u.session(); !second.Good {
				t.Fatalf("torn at %d (after=%v): then %+v %+v", tear, after, second, second.Failed)
			}
			if c.life != 5 {
				t.Errorf("torn at %d (after=%v): good in life cycle %d", tear, after, c.life)
			}
		}
	}
}

// Once a window with secrets left, only the card with the stamp is written to.
func TestSecondCardOfASIMsName(t *testing.T) {
	t.Parallel()
	r := newRig(t).adms()
	r.openLot()
	c := newAdmCard(t, testKMC, 1)
	u := r.claimAdm(c, 0, 0)
	c.tearAt = 12
	if first := u.session(); first.Good || len(u.results) != 3 {
		t.Fatalf("%+v after %d acts", first, len(u.results))
	}
	twin := newAdmCard(t, testKMC, 1)
	u.chip = twin
	got := u.session()
	if got.Failed == nil || got.Failed.Reason != perso.ReasonTwin || twin.ki != nil {
		t.Errorf("its twin: %+v %+v", got, got.Failed)
	}
}

// A session is of one challenge and one key; what else comes is refused.
func TestRefusedOpenings(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(u *admWorker, item *bus.ServeItem){
		"another challenge": func(u *admWorker, item *bus.ServeItem) { item.Command[1] ^= 1 },
		"INITIALIZE UPDATE": func(u *admWorker, item *bus.ServeItem) {
			item.Command = scp.InitUpdateCommand(0, make([]byte, 8)).Bytes()
		},
		"another chip": func(u *admWorker, item *bus.ServeItem) {
			item.Answer = newAdmCard(u.t, testKMC, 2).transmit([]byte{0x80, 0xCA, 0x9F, 0x7F, 0})
		},
	} {
		r := newRig(t).adms()
		r.openLot()
		u := r.claimAdm(newAdmCard(t, testKMC, 1), 0, 0)
		item := u.begin()
		item.Command = bytes.Clone(item.Command)
		change(u, &item)
		item = u.logged(item, 0)
		if got := u.serve(item); got.Refused == "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for name, change := range map[string]func(*statement.Release){
		"read-back":     func(r *statement.Release) { r.Proof = "authenticate, rmac-readback (trusts the line)" },
		"a key version": func(r *statement.Release) { r.CardKVN = 0x30 },
		"kdd":           func(r *statement.Release) { r.ChipID = "kdd" },
		"a channel":     func(r *statement.Release) { r.Channel, r.Proof = "scp03", "scp-reopen, rmac-readback, authenticate" },
		"no trust":      func(r *statement.Release) { r.Proof = "authenticate" },
	} {
		r := newRig(t).adms()
		rel := r.release
		change(&rel)
		r.signed = r.sign(rel, "ann", "bob")
		if _, err := r.vault.OpenLot(ctx, r.openRequest()); code(err) != bus.FaultRefused {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// PIN1 is asked for where the order says so, by a script that can.
func TestPIN1AsOrdered(t *testing.T) {
	t.Parallel()
	r := newRig(t).adms()
	r.release.PIN1 = "asked"
	r.signed = r.sign(r.release, "ann", "bob")
	r.openLot()
	c := newAdmCard(t, testKMC, 1)
	if got := r.claimAdm(c, 0, 0).session(); !got.Good || !c.asked {
		t.Errorf("%+v %+v, asked %t", got, got.Failed, c.asked)
	}
	r = newRig(t).sims()
	r.release.PIN1 = "asked"
	r.signed = r.sign(r.release, "ann", "bob")
	if _, err := r.vault.OpenLot(ctx, r.openRequest()); code(err) != bus.FaultRefused {
		t.Errorf("a script without such a section: %v", err)
	}
}
