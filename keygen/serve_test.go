package keygen_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/tlv"
)

func TestMakesAUnit(t *testing.T) {
	t.Parallel()
	testMakesAUnit(t, newRig(t))
}

func TestMakesAUnitOnSoftHSM(t *testing.T) { // not side by side with another: they are lent one token
	testMakesAUnit(t, newRigOn(t, hsmtest.SoftHSM(t), "keygen-unit"))
}

func testMakesAUnit(t *testing.T, r *rig) {
	r.openLot()
	c := newCard(t, testKMC, 1)
	u := r.claimUnit(c, 0, 0)
	if result := u.session(); !result.Good {
		t.Fatalf("ended with %+v, failed %+v", result, result.Failed)
	}
	if want := []uint64{1, 2, 2, 2, 2}; !reflect.DeepEqual(u.ops, want) {
		t.Errorf("HSM operations per act %v, want %v", u.ops, want)
	}
	ecasd := c.tags[string(aidECASD)]
	if eid := u.claim.EID.Bytes(); !bytes.Equal(ecasd[0x5A], eid[:]) {
		t.Errorf("EID on the chip %X", ecasd[0x5A])
	}
	if want := u.stampOf(u.serial); !bytes.Equal(c.stamp(), want) {
		t.Errorf("stamp on the chip %X, want %X", c.stamp(), want)
	}
	if cert := tlv.Encode(0x7F21, ecasd[0x7F21]); !bytes.Equal(cert, u.stored.Cert) || len(cert) != keygen.CertBytes {
		t.Errorf("certificate on the chip %X", cert)
	}
	checkCertificate(t, r.made.EUMCert, u)
	checkReceipts(t, r, u.receipts, []string{"script", "script", "script", "script", "good"})
}

// checkCertificate reads the certificate as a verifier would.
func checkCertificate(t *testing.T, eum []byte, u *unit) {
	t.Helper()
	x, err := x509.ParseCertificate(eum)
	if err != nil {
		t.Fatal(err)
	}
	outer, _, err := tlv.Parse(u.stored.Cert)
	if err != nil {
		t.Fatal(err)
	}
	fields, err := outer.Children()
	if err != nil {
		t.Fatal(err)
	}
	got := map[uint32][]byte{}
	var order []uint32
	for _, f := range fields {
		got[f.Tag], order = f.Value, append(order, f.Tag)
	}
	if want := []uint32{0x93, 0x42, 0x5F20, 0x95, 0x5F25, 0x5F24, 0x45, 0x73, 0x7F49, 0x5F37}; !reflect.DeepEqual(order, want) {
		t.Fatalf("fields %X", order)
	}
	signed := outer.Value[:len(outer.Value)-len(tlv.Encode(0x5F37, got[0x5F37]))]
	digest, sig := sha256.Sum256(signed), got[0x5F37]
	if !ecdsa.Verify(x.PublicKey.(*ecdsa.PublicKey), digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
		t.Error("certificate's signature is wrong")
	}
	eid := u.claim.EID.Bytes()
	point, err := u.card.pair.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for tag, want := range map[uint32][]byte{0x5F20: eid[:], 0x45: eid[:], 0x42: {0x89, 0x04, 0x90, 0x32}, 0x95: {0, 0x80},
		0x5F25: {0x20, 0x26, 0x11, 0x22}, 0x5F24: {0x20, 0x56, 0x11, 0x22}, 0x73: tlv.Encode(0xC9, x.SubjectKeyId),
		0x7F49: append(tlv.Encode(0xB0, point), 0xF0, 1, 0)} {
		if !bytes.Equal(got[tag], want) {
			t.Errorf("field %X is %X, want %X", tag, got[tag], want)
		}
	}
}

// checkReceipts reads the lot's receipts from the vault and checks their chain and signed head.
func checkReceipts(t *testing.T, r *rig, given [][]byte, words []string) {
	t.Helper()
	reply, err := r.vault.Receipts(ctx, bus.ReceiptsRequest{Lot: testLot})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(reply.Receipts, given) {
		t.Errorf("%d receipts in the journal, %d left the vault", len(reply.Receipts), len(given))
	}
	var prev [32]byte
	for i, b := range reply.Receipts {
		e, err := entry.ParseReceipt(b)
		if err != nil || e.Seq != uint64(i) || e.Prev != prev || i >= len(words) || e.Result != words[i] {
			t.Errorf("receipt %d: %+v, %v", i, e, err)
		}
		prev = entry.Hash(b)
	}
	head, err := entry.ParseReceiptHead(reply.Head)
	if err != nil || head.Count != uint64(len(words)) || head.Head != prev || !hsmtest.Verify(r.made.StmtKey, reply.Head, reply.Signature) {
		t.Errorf("receipt head %+v, %v", head, err)
	}
}

// The same item has the same answer, without another receipt, also from a vault that was started anew.
func TestServesAnActAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	u.session()
	items, results := u.items, u.results
	again := func() {
		for i, item := range items {
			if got := u.serve(item); !reflect.DeepEqual(got, results[i]) {
				t.Errorf("act %d was answered otherwise: %+v", i, got)
			}
		}
	}
	again()
	r.now = r.now.Add(time.Hour) // the act is known, its time does not matter
	r.reopenVault()
	r.openLot()
	again()
	checkReceipts(t, r, u.receipts[:5], []string{"script", "script", "script", "script", "good"})

	items[1].Responses = append([][]byte{}, items[1].Responses...)
	items[1].Responses[0] = []byte{0x63, 0x00}
	items[1].Act.Seq = r.log.add(entry.Act{Lot: testLot, Session: entry.SessionOf(items[1].Command, items[1].Answer), N: 1, Serial: u.serial,
		Responses: entry.ResponsesHash(items[1].Responses), Present: u.claim.Present, At: items[1].At})
	if got := u.serve(items[1]); !strings.Contains(got.Refused, string(perso.ReasonReplay)) {
		t.Errorf("other answers to a served act gave %+v", got)
	}
}

// A certificate that was signed but never stored is not signed again.
func TestSignsOneCertificate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	item := u.begin()
	for range 3 {
		item = u.next(item, u.serve(item))
	}
	first := u.serve(item)
	r.reopenVault()
	r.openLot()
	second := u.serve(item) // Stored is still empty
	if first.Stored == nil || !reflect.DeepEqual(first, second) {
		t.Errorf("first %+v, second %+v", first.Stored, second.Stored)
	}
	item.Stored = *first.Stored
	if third := u.serve(item); third.Stored != nil || !reflect.DeepEqual(third.Window, first.Window) || !bytes.Equal(third.Receipt, first.Receipt) {
		t.Errorf("with the stored certificate: %+v", third.Stored)
	}
}

// A chip may lose contact at any command, before or after it was carried out: the next sessions finish it.
func TestContinuesATornChip(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.source+" "+k.origin, func(t *testing.T) {
			t.Parallel()
			for _, after := range []bool{false, true} {
				continuesATornChip(t, newRig(t).of(k.source, k.origin), after)
			}
		})
	}
}

func continuesATornChip(t *testing.T, r *rig, after bool) {
	t.Helper()
	for tear := 4; tear < 60; tear++ {
		r.withoutDisk()
		r.log.reset()
		r.openLot()
		c := r.newCard(1)
		u := r.claimUnit(c, 0, 0)
		c.tearAt, c.after = tear, after
		first := u.session()
		if first.Good {
			if tear < 30 {
				t.Fatalf("a session of %d commands", tear)
			}
			break
		}
		if first.Failed == nil || first.Failed.Reason != perso.ReasonContact || !first.Failed.Again {
			t.Fatalf("torn at %d: %+v %+v", tear, first, first.Failed)
		}
		c.contact()
		if second := u.session(); !second.Good {
			t.Fatalf("torn at %d (after=%v): then %+v %+v", tear, after, second, second.Failed)
		}
		// However much was written before, nothing is good without its proofs: AUTHENTICATE and the second INITIALIZE
		// UPDATE end the last window, and the chip is as it leaves the factory.
		last := u.results[len(u.results)-2].Window
		if n := len(last); n < 3 || last[n-3].APDU[1] != 0x88 || last[n-1].APDU[1] != 0x50 {
			t.Errorf("torn at %d (after=%v): good after %d commands without the proofs", tear, after, n)
		}
		if c.life[string(aidISD)] != 0x0F || !r.plain && c.life[string(aidECASD)] != 0x0F {
			t.Errorf("torn at %d (after=%v): good in life cycle %X", tear, after, c.life)
		}
		u.checkOps(fmt.Sprintf("torn at %d (after=%v)", tear, after))
	}
}

// Once the first secret was sent, every failure says so.
func TestTellsWhetherSecretsLeft(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	c := newCard(t, testKMC, 1)
	u := r.claimUnit(c, 0, 0)
	c.tearAt = 6
	if first := u.session(); first.Failed == nil || first.Failed.Secrets {
		t.Errorf("torn in act 0: %+v", first.Failed)
	}
	c.contact()
	c.tearAt = 25
	if second := u.session(); second.Failed == nil || !second.Failed.Secrets {
		t.Errorf("torn in act 1: %+v", second.Failed)
	}
	c.contact()
	c.tearAt = 6
	if third := u.session(); third.Failed == nil || !third.Failed.Secrets {
		t.Errorf("torn in act 0 of a later session: %+v", third.Failed)
	}
}

// Whatever the line changes in an answer, the unit does not become good.
func TestNoticesChangedAnswers(t *testing.T) {
	t.Parallel()
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte {
			b = bytes.Clone(b)
			b[(len(b)+at)%len(b)] ^= 1
			return b
		}
	}
	const commands = 51 // of an undisturbed session; the last four are outside the channel
	for name, f := range map[string]func([]byte) []byte{
		"first byte": flip(0), "status": flip(-1), "mac": flip(-4),
		"silence":   func([]byte) []byte { return []byte{0x90, 0x00} },
		"error":     func([]byte) []byte { return []byte{0x6A, 0x80} },
		"no answer": func([]byte) []byte { return []byte{0x61} },
	} {
		r := newRig(t)
		for at := 4; at <= commands; at++ {
			r.withoutDisk()
			r.log.reset()
			r.openLot()
			c := newCard(t, testKMC, 1)
			u := r.claimUnit(c, 0, 0)
			c.bend = func(n int, answer []byte) []byte {
				if n == at {
					return f(answer)
				}
				return answer
			}
			result := u.session()
			if result.Good && !harmless(name, at, commands) {
				t.Errorf("%s of answer %d changed: good", name, at)
			}
			if !result.Good && result.Failed == nil {
				t.Errorf("%s of answer %d changed: refused %q", name, at, result.Refused)
			}
		}
	}
}

// harmless: two plain SELECTs whose answer has no content but its status.
func harmless(name string, at, commands int) bool {
	return name == "silence" && (at == 4 || at == commands-3 || at == commands-1)
}

func TestFailsAChipThatIsNotTheOne(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	wrong := newCard(t, bytes.Repeat([]byte{0x77}, 16), 1)
	u := r.claimUnit(wrong, 0, 0)
	if got := u.session(); got.Failed == nil || got.Failed.Reason != perso.ReasonCryptogram || got.Failed.Secrets {
		t.Errorf("wrong maker's key: %+v", got.Failed)
	}
	u = r.claimUnit(newCard(t, testKMC, 2), 1, 1)
	u.card.keys = map[byte]scp.StaticKeys{0x20: u.card.keys[0xFF]}
	if got := u.session(); got.Failed == nil || got.Failed.Reason != perso.ReasonCryptogram || got.Failed.Again {
		t.Errorf("unknown key version: %+v", got.Failed)
	}
	u = r.claimUnit(newCard(t, testKMC, 3), 2, 2)
	u.card.kdd[9] = 4 // the chip is not the one that was claimed
	if got := u.session(); got.Refused == "" {
		t.Errorf("other chip: %+v", got)
	}
}

func TestRefusesItems(t *testing.T) {
	t.Parallel()
	claimed := func(f func(*entry.Claim)) func(*testing.T, *rig) bus.ServeResult {
		return func(t *testing.T, r *rig) bus.ServeResult {
			return r.claimUnit(newCard(t, testKMC, 1), 0, 0, f).session()
		}
	}
	edited := func(f func(*bus.ServeItem)) func(*testing.T, *rig) bus.ServeResult {
		return func(t *testing.T, r *rig) bus.ServeResult {
			u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
			return u.serveEdited(u.begin(), f)
		}
	}
	for name, c := range map[string]struct {
		try  func(*testing.T, *rig) bus.ServeResult
		want string
	}{
		"unit beyond Q+S":     {claimed(func(c *entry.Claim) { c.Unit = 3 }), "were released"},
		"EID beyond Q+S":      {claimed(func(c *entry.Claim) { c.Index = 3 }), "were released"},
		"EID of another":      {claimed(func(c *entry.Claim) { c.Index = 1 }), "not number 1"},
		"other release":       {claimed(func(c *entry.Claim) { c.Release[0] ^= 1 }), "another lot or release"},
		"other lot":           {claimed(func(c *entry.Claim) { c.Lot = "LOT-2" }), "another lot or release"},
		"generation no loss":  {claimed(func(c *entry.Claim) { c.Gen, c.Loss = 1, 7 }), "not shown"},
		"generation too high": {claimed(func(c *entry.Claim) { c.Gen = 16 }), "generation 16"},
		"loss of nothing":     {claimed(func(c *entry.Claim) { c.Loss = 7 }), "before generation 0"},
		"claim edited": {edited(func(i *bus.ServeItem) {
			i.Claim.Entry = bytes.Replace(i.Claim.Entry, []byte("unit 0"), []byte("unit 1"), 1)
		}), "proving claim"},
		"claim not in checkpoint": {edited(func(i *bus.ServeItem) { i.Claim.Seq++ }), "proving claim"},
		"act not in checkpoint":   {edited(func(i *bus.ServeItem) { i.Act.Proof = nil }), "proving act"},
		"act before claim":        {edited(func(i *bus.ServeItem) { i.Act = i.Claim }), "kind"},
		"other answers":           {edited(func(i *bus.ServeItem) { i.Responses = i.Responses[:1] }), "not the logged ones"},
		"other transcript":        {edited(func(i *bus.ServeItem) { i.Answer = bytes.Clone(i.Answer); i.Answer[0] ^= 1 }), "another session"},
		"other time":              {edited(func(i *bus.ServeItem) { i.At = i.At.Add(time.Microsecond) }), "time is not"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.openLot()
			if got := c.try(t, r); !strings.Contains(got.Refused, c.want) || got.Window != nil || got.Receipt != nil {
				t.Errorf("got %+v, want a refusal with %q", got, c.want)
			}
			if reply, err := r.vault.Receipts(ctx, bus.ReceiptsRequest{Lot: testLot}); err != nil || len(reply.Receipts) != 0 {
				t.Errorf("%d receipts of a refused act, %v", len(reply.Receipts), err)
			}
		})
	}
}

// serveEdited serves an item that was changed after it was proven.
func (u *unit) serveEdited(item bus.ServeItem, edit func(*bus.ServeItem)) bus.ServeResult {
	u.t.Helper()
	note := u.note()
	item.Claim, item.Act = u.log.prove(u.seq), u.log.prove(item.Act.Seq)
	edit(&item)
	reply, err := u.vault.Serve(ctx, bus.ServeRequest{Lot: testLot, Checkpoint: note, Items: []bus.ServeItem{item}})
	if err != nil {
		u.t.Fatal(err)
	}
	return reply.Results[0]
}

func TestRefusesChallengesNotItsOwn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	item := u.begin()
	u.serial++
	if got := u.serve(u.logged(item, 0)); !strings.Contains(got.Refused, "host challenge") {
		t.Errorf("challenge of another number: %+v", got)
	}
	u.serial--
	if got := u.serve(item); len(got.Window) == 0 {
		t.Fatalf("its own challenge: %+v", got)
	}
	u.card.contact()
	item.Answer = u.card.transmit(item.Command) // the same challenge for a second session
	if got := u.serve(u.logged(item, 0)); !strings.Contains(got.Refused, "was used by another session") {
		t.Errorf("challenge used twice: %+v", got)
	}
}

// TestSessionsThatWaited: the vault was away. A session that had not begun is begun again; one that had goes on, however late.
func TestSessionsThatWaited(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	item := u.begin()
	r.now = r.now.Add(time.Hour)
	if got := u.serve(item); got.Failed == nil || got.Failed.Reason != perso.ReasonStale || !got.Failed.Again || got.Failed.Secrets {
		t.Errorf("a session an hour late: %+v, %+v", got, got.Failed)
	}
	u.card.contact()
	item = u.begin()
	for n := 0; ; n++ {
		got := u.serve(item)
		u.keep(got.Stored)
		if len(got.Window) == 0 {
			if !got.Good {
				t.Errorf("act %d, an hour late: %+v, %+v", n, got, got.Failed)
			}
			break
		}
		item = u.next(item, got)
		r.now = r.now.Add(time.Hour)
	}
	u = r.claimUnit(newCard(t, testKMC, 2), 1, 1)
	item = u.begin()
	r.now = r.now.Add(-time.Hour)
	if got := u.serve(item); !strings.Contains(got.Refused, "ahead") {
		t.Errorf("a session from the future: %+v", got)
	}
}

func TestRefusesAStateOfAnother(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	first := u.begin()
	result := u.serve(first)
	second := u.next(first, result)
	for name, edit := range map[string]func(*bus.ServeItem){
		"changed": func(i *bus.ServeItem) { i.State = bytes.Clone(i.State); i.State[40] ^= 1 },
		"none":    func(i *bus.ServeItem) { i.State = nil },
	} {
		if got := u.serveEdited(second, edit); !strings.Contains(got.Refused, "state") {
			t.Errorf("state %s: %+v", name, got)
		}
	}
	if got := u.serve(second); len(got.Window) == 0 {
		t.Errorf("its own state: %+v", got)
	}
	other := r.claimUnit(newCard(t, testKMC, 1), 1, 1) // the chip claimed a second time
	other.serial = u.serial
	if got := other.serve(other.logged(u.items[1], 1)); !strings.Contains(got.Refused, "state") && !strings.Contains(got.Refused, "replay") {
		t.Errorf("state under another claim: %+v", got)
	}
}

// I1: a unit and an EID belong to one chip; a new generation needs the loss of the old one, another chip and a fresh EID.
func TestOneIdentityOneChip(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	a := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	a.serve(a.begin())
	for name, c := range map[string]*unit{
		"a second chip for the unit": r.claimUnit(newCard(t, testKMC, 2), 0, 1),
		"a second chip for the EID":  r.claimUnit(newCard(t, testKMC, 2), 1, 0),
	} {
		if got := c.session(); !strings.Contains(got.Refused, "claimed otherwise") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	lost := func(change ...func(*entry.Outcome)) *int64 {
		seq := a.good(append([]func(*entry.Outcome){func(o *entry.Outcome) {
			o.Verdict, o.Reason, o.Receipt = perso.VerdictRejectLive, perso.ReasonContact, [32]byte{}
		}}, change...)...)
		return &seq
	}
	remake := func(index perso.EIDIndex, chip byte, loss *int64) bus.ServeResult {
		u := r.claimUnit(newCard(t, testKMC, chip), 0, index, func(c *entry.Claim) { c.Gen, c.Loss = 1, uint64(*loss) })
		u.loss = loss
		return u.session()
	}
	for name, got := range map[string]bus.ServeResult{
		"the same EID":        remake(0, 2, lost()),
		"the same chip":       remake(1, 1, lost()),
		"a good loss":         remake(1, 2, lost(func(o *entry.Outcome) { o.Verdict = perso.VerdictGood })),
		"another unit's loss": remake(1, 2, lost(func(o *entry.Outcome) { o.Unit = 2 })),
	} {
		if got.Refused == "" {
			t.Errorf("generation 1 with %s: %+v", name, got)
		}
	}
	if got := remake(1, 2, lost()); !got.Good {
		t.Fatalf("generation 1: %+v %+v", got, got.Failed)
	}
	if got := a.session(); !strings.Contains(got.Refused, "claimed otherwise") {
		t.Errorf("the superseded generation: %+v", got)
	}
}

// I7: the vault says good no more often than was released.
func TestNeverMoreGoodThanReleased(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	for i := range byte(3) {
		u := r.claimUnit(newCard(t, testKMC, i+1), perso.Unit(i), perso.EIDIndex(i))
		got := u.session()
		if i < 2 && !got.Good {
			t.Fatalf("unit %d: %+v %+v", i, got, got.Failed)
		}
		if i == 2 && !strings.Contains(got.Refused, "no more were released") {
			t.Errorf("unit %d: %+v", i, got)
		}
	}
}

func TestNeedsCPLCOfTheChip(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	c := newCard(t, testKMC, 1)
	c.tags[string(aidISD)][0x9F7F][15] ^= 1
	if got := r.claimUnit(c, 0, 0).session(); !strings.Contains(got.Refused, "identification") {
		t.Errorf("CPLC of another chip: %+v", got)
	}
	if _, err := id.ChipIDFromBytes(c.kdd[:]); err != nil {
		t.Fatal(err)
	}
}

func TestBatchIsAnsweredWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	units := []*unit{r.claimUnit(newCard(t, testKMC, 1), 0, 0), r.claimUnit(newCard(t, testKMC, 2), 1, 1)}
	q := bus.ServeRequest{Lot: testLot}
	for _, u := range units {
		q.Items = append(q.Items, u.begin())
	}
	q.Checkpoint = r.note()
	for i, u := range units {
		q.Items[i].Claim, q.Items[i].Act = r.log.prove(u.seq), r.log.prove(q.Items[i].Act.Seq)
	}
	q.Items = append(q.Items, q.Items[0]) // the same act twice in a batch has one receipt
	reply, err := r.vault.Serve(ctx, q)
	if err != nil || len(reply.Results[1].Window) == 0 || !reflect.DeepEqual(reply.Results[0], reply.Results[2]) {
		t.Fatalf("%v, %+v", err, reply)
	}
	checkReceipts(t, r, [][]byte{reply.Results[0].Receipt, reply.Results[1].Receipt}, []string{"script", "script"})
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	q.Items = q.Items[:2]
	if reply, err := r.vault.Serve(cancelled, q); err == nil {
		t.Errorf("served without HSM: %+v", reply)
	}
	if again, err := r.vault.Serve(ctx, q); err != nil || !reflect.DeepEqual(again.Results, reply.Results[:2]) {
		t.Errorf("afterwards: %v", err)
	}
}

// TestStateIsHidden: the state goes through the line, which sees no more of the chip than the channel shows it.
func TestStateIsHidden(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	item := u.begin()
	var before []byte
	for n := range 3 {
		result := u.serve(item)
		for _, shown := range [][]byte{[]byte("p.isd"), []byte("AUTN"), []byte("kcv"), before} {
			if len(result.State) == 0 || len(shown) > 0 && bytes.Contains(result.State, shown) {
				t.Errorf("the state of act %d shows %q", n, shown)
			}
		}
		if again := u.serve(item); !bytes.Equal(again.State, result.State) {
			t.Errorf("act %d was sealed otherwise when it came again", n)
		}
		before = result.State[sha256.Size : sha256.Size+16]
		u.keep(result.Stored)
		item = u.next(item, result)
	}
}
