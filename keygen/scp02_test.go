package keygen_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/scp/scp02"
	"github.com/persoline/persoline/perso/scp/tdes"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/statement"
)

const proofs02 = "scp-reopen, authenticate (contents trust the line)"

// cardChannel is the card's end of a session of either protocol.
type cardChannel interface {
	ExternalAuthenticate(cmd apdu.Command) error
	Unwrap(cmd apdu.Command) (apdu.Command, error)
	Wrap(data []byte, sw apdu.SW) []byte
	DecryptDEK(enc []byte) ([]byte, error)
}

// card02 is SCP02, whose answers are not protected.
type card02 struct{ *scp02.Card }

func (card02) Wrap(data []byte, sw apdu.SW) []byte { return sw.Append(bytes.Clone(data)) }

// update02 opens a session of SCP02. Of a lazy card the counter goes up when the host proved itself, else here.
func (c *card) update02(kvn byte, challenge []byte) ([]byte, apdu.SW) {
	if c.seq == 0 || !c.lazy {
		c.seq++
	}
	channel, iu, err := scp02.OpenCard(scp02.CardConfig{Keys: scp02.StaticKeys(c.keys[kvn]), KVN: kvn, KDD: c.kdd, Seq: uint16(c.seq), AID: aidISD}, [8]byte(challenge))
	if err != nil {
		c.t.Fatal(err)
	}
	c.channel = card02{channel}
	return iu.Append(nil), apdu.SWOK
}

// putKey02 takes Triple DES keys: 80, length, key under the session's DEK, 03, check value.
func (c *card) putKey02(data []byte) ([]byte, apdu.SW) {
	const field = 2 + 16 + 4
	if len(data) != 1+3*field {
		return nil, apdu.SWWrongData
	}
	var keys, answer [][]byte
	for rest := data[1:]; len(rest) > 0; rest = rest[field:] {
		key := c.plain(rest[2:18])
		k, err := tdes.New(key)
		if err != nil || rest[0] != 0x80 || rest[1] != 16 || rest[18] != 3 {
			return nil, apdu.SWWrongData
		}
		kcv := k.KCV()
		if !bytes.Equal(kcv[:], rest[19:22]) {
			return nil, apdu.SWWrongData
		}
		keys, answer = append(keys, key), append(answer, kcv[:])
	}
	c.keys = map[byte]scp.StaticKeys{data[0]: {ENC: keys[0], MAC: keys[1], DEK: keys[2]}}
	return append(data[:1:1], bytes.Join(answer, nil)...), apdu.SWOK
}

// sims02 makes the lot one of SIMs that are written over SCP02.
func (r *rig) sims02() *rig {
	r.t.Helper()
	r.sims()
	src, err := os.ReadFile("testdata/plain-sim.script")
	if err != nil {
		r.t.Fatal(err)
	}
	text := strings.NewReplacer("SCP03 LEVEL=33", "SCP02 LEVEL=03", "plain-sim", "plain-sim-02", " 30 88", " 20 80", "<30 88 ", "<20 80 ",
		"<<{dek:ISD.ENC}>>", "<{dek:ISD.ENC}>", "88 <<{dek:ISD.MAC}>>", "80 <{dek:ISD.MAC}>", "88 <<{dek:ISD.DEK}>>", "80 <{dek:ISD.DEK}>", "[30 ", "[20 ",
		"80503000", "80502000", "[XX*10 30 03 70 XX*19]", "[XX*10 20 02 XX*16]").Replace(string(src))
	if r.script, err = script.Compile([]byte(text), script.StandardCatalogue(len(smsrAddr), keygen.CertValueBytes)); err != nil {
		r.t.Fatal(err)
	}
	r.scp02 = true
	r.release.ScriptHash, r.release.Channel, r.release.CardKVN, r.release.Proof = r.script.Hash(), "scp02", 0x20, proofs02
	r.signed = r.sign(r.release, "ann", "bob")
	return r
}

// A SIM is made over SCP02: with Triple DES keys of its own, and good by what it can prove.
func TestMakesSIMsOverSCP02(t *testing.T) {
	t.Parallel()
	for _, source := range []string{"derived", "random", "customer"} {
		r := newRig(t).of(source, "scp02")
		r.openLot()
		u := r.claimUnit(r.newCard(1), 0, 0)
		if got := u.session(); !got.Good || len(u.results) != 3 {
			t.Fatalf("%s: %+v %+v after %d acts", source, got, got.Failed, len(u.results))
		}
		u.checkOps(source)
		own, c := u.card.keys[0x20], u.card
		if len(u.card.keys) != 1 || len(own.ENC) != 16 || bytes.Equal(own.ENC, own.MAC) || c.ki == nil || c.life[string(aidISD)] != 0x0F {
			t.Errorf("%s: the card has key sets %v, Ki %v, life cycle %X", source, len(c.keys), c.ki != nil, c.life)
		}
		for _, key := range [][]byte{own.ENC, own.MAC, own.DEK} {
			if odd := bytes.Clone(key); !bytes.Equal(odd, withParity(odd)) {
				t.Errorf("%s: a key of the card is not of odd parity", source)
			}
		}
		for _, item := range u.items {
			if bytes.Contains(item.State, c.ki) {
				t.Errorf("%s: Ki stands in a state", source)
			}
		}
		c.contact()
		if again := u.session(); !again.Good {
			t.Errorf("%s: contacted again under its own keys: %+v %+v", source, again, again.Failed)
		}
	}
}

func withParity(key []byte) []byte {
	out := bytes.Clone(key)
	tdes.SetParity(out)
	return out
}

// A card that was torn at any command, either way, is continued. The last ones are after PUT KEY: the session then is under its
// own keys. Many cards raise their counter only with EXTERNAL AUTHENTICATE.
func TestContinuesATornCardOverSCP02(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		for tear := 4; ; tear++ {
			r := newRig(t).sims02()
			r.openLot()
			c := r.newCard(1)
			u := r.claimUnit(c, 0, 0)
			c.tearAt, c.after, c.lazy = tear, after, tear%2 == 0
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
		}
	}
}

// What was recorded opens nothing: not with another challenge, not with a changed byte, not of another chip.
func TestRefusesOpeningsOverSCP02(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(u *unit, item *bus.ServeItem)
		reason perso.Reason // refused when empty
	}{
		"wrong cryptogram":     {func(_ *unit, item *bus.ServeItem) { item.Answer[27] ^= 1 }, perso.ReasonCryptogram},
		"another counter":      {func(_ *unit, item *bus.ServeItem) { item.Answer[13] ^= 1 }, perso.ReasonCryptogram},
		"another challenge":    {func(_ *unit, item *bus.ServeItem) { item.Answer[14] ^= 1 }, perso.ReasonCryptogram},
		"a key version":        {func(_ *unit, item *bus.ServeItem) { item.Answer[10] = 0x21 }, perso.ReasonCryptogram},
		"the other key set":    {func(_ *unit, item *bus.ServeItem) { item.Answer[10] = 0x20 }, perso.ReasonCryptogram},
		"SCP03":                {func(_ *unit, item *bus.ServeItem) { item.Answer[11] = 3 }, perso.ReasonData},
		"too short":            {func(_ *unit, item *bus.ServeItem) { item.Answer = append(item.Answer[:20:20], 0x90, 0) }, perso.ReasonData},
		"a recorded answer":    {func(u *unit, item *bus.ServeItem) { item.Answer = u.items[0].Answer }, perso.ReasonCryptogram},
		"a recorded session":   {func(u *unit, item *bus.ServeItem) { item.Command, item.Answer = u.items[0].Command, u.items[0].Answer }, ""},
		"a challenge of yours": {func(_ *unit, item *bus.ServeItem) { item.Command[5] ^= 1 }, ""},
		"another chip":         {func(_ *unit, item *bus.ServeItem) { item.Answer[9] ^= 1 }, ""},
	} {
		r := newRig(t).sims02()
		r.openLot()
		u := r.claimUnit(r.newCard(1), 0, 0)
		u.card.tearAt = 5
		if got := u.session(); got.Failed == nil { // what is recorded
			t.Fatalf("%+v", got)
		}
		u.card.contact()
		item := u.begin()
		item.Command, item.Answer = bytes.Clone(item.Command), bytes.Clone(item.Answer)
		c.change(u, &item)
		got := u.serve(u.logged(item, 0))
		if len(got.Window) > 0 || (c.reason == "") != (got.Refused != "") || c.reason != "" && (got.Failed == nil || got.Failed.Reason != c.reason) {
			t.Errorf("%s: %+v %+v", name, got, got.Failed)
		}
	}
}

// A state is the one that this session got, unchanged: also of a session with the same counter, and so with the same keys.
func TestStateOverSCP02(t *testing.T) {
	t.Parallel()
	r := newRig(t).sims02()
	r.openLot()
	c := r.newCard(1)
	u := r.claimUnit(c, 0, 0)
	c.lazy = true
	old := u.serve(u.begin()) // came no further: the counter stands
	c.contact()
	item := u.begin()
	first := u.serve(item)
	next := u.next(item, first)
	for name, state := range map[string][]byte{"another session's": old.State, "none": nil,
		"changed": append(bytes.Clone(first.State[:len(first.State)-1]), first.State[len(first.State)-1]^1)} {
		bad := next
		bad.State = state
		if got := u.serve(bad); got.Refused == "" || len(got.Window) > 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := u.serve(next); len(got.Window) == 0 {
		t.Errorf("its own: %+v %+v", got, got.Failed)
	}
}

// The line can make up what is read back, and the release says so. It cannot make up the proofs; and since a bad contact may have
// changed what has no MAC, the card is contacted again.
func TestLyingLineOverSCP02(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]func(answer []byte) bool{
		"AUTHENTICATE": func(a []byte) bool { return len(a) == 18 && a[0] == 0xDC },
		"reopening":    func(a []byte) bool { return len(a) == 30 && a[10] == 0x20 },
		"read-back":    func(a []byte) bool { return len(a) > 30 && a[0] == 0xE0 },
	} {
		r := newRig(t).sims02()
		r.openLot()
		u := r.claimUnit(r.newCard(1), 0, 0)
		bent := false
		u.card.bend = func(n int, answer []byte) []byte {
			const behindProbes = 10
			if n > behindProbes && at(answer) {
				bent, answer = true, bytes.Clone(answer)
				answer[len(answer)-3] ^= 1 // the last byte before the status
			}
			return answer
		}
		if got := u.session(); !bent || got.Good || got.Failed == nil || !got.Failed.Again {
			t.Errorf("%s: bent %t, %+v %+v", name, bent, got, got.Failed)
		}
		u.card.contact()
		if got := u.session(); !got.Good {
			t.Errorf("%s: then %+v %+v", name, got, got.Failed)
		}
	}
}

// Officers release what can be had over SCP02, in the words that say what it is worth.
func TestRefusedReleasesOverSCP02(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*statement.Release){
		"no remark":      func(r *statement.Release) { r.Proof = "scp-reopen, authenticate" },
		"another remark": func(r *statement.Release) { r.Proof = "scp-reopen, authenticate (trusts the line)" },
		"read-back": func(r *statement.Release) {
			r.Proof = "scp-reopen, rmac-readback, authenticate (contents trust the line)"
		},
		"no reopening":    func(r *statement.Release) { r.Proof = "authenticate (contents trust the line)" },
		"no AUTHENTICATE": func(r *statement.Release) { r.Proof = "scp-reopen (contents trust the line)" },
		"KVN of SCP03":    func(r *statement.Release) { r.CardKVN = 0x30 },
		"one KVN":         func(r *statement.Release) { r.FactoryKVN = 0x20 },
		"SCP03":           func(r *statement.Release) { r.Channel, r.Proof = "scp03", "scp-reopen, rmac-readback, authenticate" },
		"an eUICC": func(r *statement.Release) {
			eid, _ := id.ParseEID("89049032123451234512345678901235")
			r.EIDs, _ = id.NewEIDRange(eid, 3)
			r.KeyOrigin, r.SMSR, r.WrapKey = "card", "smsr-x", "smsr-1"
		},
	} {
		r := newRig(t).sims02()
		rel := r.release
		change(&rel)
		r.signed = r.sign(rel, "ann", "bob")
		if _, err := r.vault.OpenLot(ctx, r.openRequest()); code(err) != bus.FaultRefused {
			t.Errorf("%s: %v", name, err)
		}
	}
}
