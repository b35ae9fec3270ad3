package attack

import (
	"bytes"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// TestNoRecordReadsAsAnother: an entry, receipt or statement of one kind is refused by the parsers of all others, and a text
// that carries line ends cannot bring a field of its own.
func TestNoRecordReadsAsAnother(t *testing.T) {
	t.Parallel()
	l := opened(t)
	c, _ := l.claim(1, 0, 0)
	encode := func(e interface{ Encode() ([]byte, error) }) []byte {
		b, err := e.Encode()
		l.must(err)
		return b
	}
	outcome := entry.Outcome{Lot: c.Lot, EID: c.EID, Chip: c.Chip, Verdict: perso.VerdictGood, Reason: perso.ReasonNone, Present: c.Present, At: l.now}
	bodies := map[string][]byte{
		entry.KindClaim: encode(c), entry.KindOutcome: encode(outcome), statement.KindRelease: l.signed.Body,
		entry.KindAct:         encode(entry.Act{Lot: c.Lot, Session: perso.Session{1}, Responses: [32]byte{1}, Present: c.Present, At: l.now}),
		entry.KindPresent:     encode(entry.Present{Lot: c.Lot, Present: c.Present, Chip: c.Chip, Verdict: perso.VerdictGood, Reason: perso.ReasonNone, At: l.now}),
		entry.KindCertificate: encode(entry.Certificate{Lot: c.Lot, EID: c.EID, Cert: [32]byte{1}, Key: [32]byte{1}, At: l.now}),
		entry.KindReceipt:     encode(entry.Receipt{Vault: "v", Lot: c.Lot, Claim: [32]byte{1}, Session: perso.Session{1}, Responses: [32]byte{1}, Result: "good", At: l.now, MAC: [32]byte{1}}),
		entry.KindReceiptHead: encode(entry.ReceiptHead{Env: perso.EnvTest, Vault: "v", Lot: c.Lot, Count: 1, Head: [32]byte{1}, At: l.now}),
		statement.KindClose:   encode(statement.Close{Env: perso.EnvTest, Lot: c.Lot, At: l.now, Nonce: [32]byte{1}}),
	}
	parsers := map[string]func([]byte) error{
		entry.KindClaim:       func(b []byte) error { _, err := entry.ParseClaim(b); return err },
		entry.KindOutcome:     func(b []byte) error { _, err := entry.ParseOutcome(b); return err },
		entry.KindAct:         func(b []byte) error { _, err := entry.ParseAct(b); return err },
		entry.KindPresent:     func(b []byte) error { _, err := entry.ParsePresent(b); return err },
		entry.KindCertificate: func(b []byte) error { _, err := entry.ParseCertificate(b); return err },
		entry.KindReceipt:     func(b []byte) error { _, err := entry.ParseReceipt(b); return err },
		entry.KindReceiptHead: func(b []byte) error { _, err := entry.ParseReceiptHead(b); return err },
		statement.KindRelease: func(b []byte) error { _, err := statement.ParseRelease(b); return err },
		statement.KindClose:   func(b []byte) error { _, err := statement.ParseClose(b); return err },
	}
	for kind, body := range bodies {
		for as, parse := range parsers {
			if err := parse(body); (err == nil) != (kind == as) {
				t.Errorf("%s read as %s: %v", kind, as, err)
			}
		}
		for name, other := range map[string][]byte{"with a field more": append(bytes.Clone(body), "x y\n"...), "with a blank line": append(bytes.Clone(body), '\n'),
			"with CR": bytes.ReplaceAll(body, []byte("\n"), []byte("\r\n")), "cut": body[:len(body)-1]} {
			if parsers[kind](other) == nil {
				t.Errorf("%s %s was read", kind, name)
			}
		}
	}
	outcome.Step = "x\nverdict good"
	if _, err := outcome.Encode(); err == nil {
		t.Error("a step brought a line of its own")
	}
	if strings.Count(string(bodies[entry.KindOutcome]), record.Magic) != 1 {
		t.Error("more than one record in a record")
	}
}

// TestOneSpellingOfAMessage: what the vault takes from the bus has one encoding; extra fields, long numbers, hashes of
// another length and endless arrays are refused before anything is looked at (I9).
func TestOneSpellingOfAMessage(t *testing.T) {
	t.Parallel()
	q := bus.ServeRequest{Lot: "L", Checkpoint: []byte("x"), Items: []bus.ServeItem{{Claim: bus.Proven{Entry: []byte("e"), Seq: 5, Proof: [][32]byte{{1}}}}}}
	good, err := bus.Encode(q)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bus.Decode[bus.ServeRequest](good); err != nil {
		t.Fatal(err)
	}
	seq := bytes.Index(good, []byte{0x02, 0x05}) // key 2, number 5
	for name, bad := range map[string][]byte{
		"a long number":   bytes.Join([][]byte{good[:seq+1], {0x18, 0x05}, good[seq+2:]}, nil),
		"trailing bytes":  append(bytes.Clone(good), 0),
		"a field more":    append([]byte{good[0] + 1}, append(bytes.Clone(good[1:]), 0x18, 0x63, 0x00)...),
		"a map unbounded": append(append([]byte{0xBF}, good[1:]...), 0xFF),
		"a short hash":    bytes.Replace(good, append([]byte{0x58, 0x20, 1}, make([]byte, 31)...), append([]byte{0x58, 0x1F, 1}, make([]byte, 30)...), 1),
		"too much":        make([]byte, bus.MaxMessageBytes+1),
	} {
		if bytes.Equal(bad, good) {
			t.Fatalf("%s: the message is the good one", name)
		}
		if _, err := bus.Decode[bus.ServeRequest](bad); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}

// TestNoIdentityHasTwoNames: what is compared as text or bytes has one spelling, so that an attacker cannot have the same
// EID or chip counted twice.
func TestNoIdentityHasTwoNames(t *testing.T) {
	t.Parallel()
	l := opened(t)
	c, _ := l.claim(1, 0, 0)
	body, err := c.Encode()
	l.must(err)
	eid, chip := c.EID.String(), c.Chip.String()
	for _, edit := range [][2]string{{chip, strings.ToUpper(chip)}, {eid, eid + " "}, {eid, " " + eid}, {"unit 0", "unit 00"}, {"index 0", "index +0"}, {"gen 0", "gen 256"}} {
		other := bytes.Replace(body, []byte(edit[0]), []byte(edit[1]), 1)
		if bytes.Equal(other, body) {
			t.Fatalf("%q is not in the claim", edit[0])
		}
		if _, err := entry.ParseClaim(other); err == nil {
			t.Errorf("%q was read for %q", edit[1], edit[0])
		}
	}
	twin := eid[:30] + map[bool]string{true: "01", false: "99"}[eid[30:] != "01"]
	if _, err := id.ParseEID(twin); err == nil {
		t.Errorf("%s and %s are both EIDs", eid, twin)
	}
}
