package entry_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/perso"
	. "github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/record/recordtest"
)

// codec is one kind of entry with a full and, where fields may be absent, a sparse example.
type codec struct {
	kind     string
	examples []encoder
	parse    func([]byte) (encoder, error)
}

type encoder interface{ Encode() ([]byte, error) }

func of[E encoder](kind string, parse func([]byte) (E, error), examples ...E) codec {
	c := codec{kind: kind, parse: func(b []byte) (encoder, error) { return parse(b) }}
	for _, e := range examples {
		c.examples = append(c.examples, e)
	}
	return c
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func hash(b byte) (h [32]byte) {
	h[0], h[31] = b, 0xA5
	return h
}

func codecs() []codec {
	at := time.Date(2027, 3, 1, 8, 0, 0, 123_456_000, time.UTC)
	eid := must(id.ParseEID("89049032123451234512345678901235"))
	chip := must(id.ParseChipID("47901234000112345678"))
	p := perso.Presentation{Line: "line-1", Head: 3, Number: 41}
	return []codec{
		of(KindGenesis, ParseGenesis, Genesis{Env: perso.EnvTest, Site: "site-1", Origin: "log.example/site-1", At: at, Register: hash(1),
			LogKey: bytes.Repeat([]byte{2}, 32), StmtKey: bytes.Repeat([]byte{3}, 32), EUMCert: hash(4), EISCert: hash(5)}),
		of(KindOrder, ParseOrder, Order{Commit: hash(1), Good: 20, Spares: 4, At: at}),
		of(KindRefused, ParseRefused, Refused{File: hash(1), Size: 12, Count: 2, Faults: []string{"eid: check digits", "imsi: too short"}, At: at},
			Refused{File: hash(1), At: at}),
		of(KindStatement, ParseStatement, Statement{What: "release", Hash: hash(1), Lot: "L1", At: at}, Statement{What: "officer-add", Hash: hash(2), At: at}),
		of(KindStock, ParseStock, Stock{Reel: "R1", File: hash(1), Chips: 2500, At: at}),
		of(KindClaim, ParseClaim, Claim{Lot: "L1", Unit: 7, Gen: 1, Index: 21, EID: eid, Chip: chip, Release: hash(1), Loss: 99, Present: p, At: at}),
		of(KindAct, ParseAct, Act{Lot: "L1", Unit: 7, Gen: 1, Session: hash(1), N: 5, Responses: hash(2), Serial: 12, Present: p, At: at}),
		of(KindCertificate, ParseCertificate, Certificate{Lot: "L1", Unit: 7, Gen: 1, EID: eid, Cert: hash(1), Key: hash(2), Supersedes: hash(3), At: at},
			Certificate{Lot: "L1", EID: eid, Cert: hash(1), Key: hash(2), At: at}),
		of(KindOutcome, ParseOutcome, Outcome{Lot: "L1", Unit: 7, Gen: 1, EID: eid, Chip: chip, Verdict: perso.VerdictRejectLive, Reason: perso.ReasonStatus,
			Step: "put-key", SW: 0x6985, Session: hash(1), Cert: hash(2), Receipt: hash(3), Present: p, At: at},
			Outcome{Lot: "L1", EID: eid, Chip: chip, Verdict: perso.VerdictGood, Reason: perso.ReasonNone, Present: p, At: at}),
		of(KindPresent, ParsePresent, Present{Lot: "L1", Present: p, Chip: chip, Verdict: perso.VerdictReturn, Reason: perso.ReasonLotComplete, At: at},
			Present{Lot: "L1", Present: p, Verdict: perso.VerdictRejectBlank, Reason: perso.ReasonMute, At: at}),
		of(KindBin, ParseBin, Bin{Lot: "L1", Present: p, Chip: chip, Bin: perso.VerdictGood, At: at}, Bin{Lot: "L1", Present: p, Bin: perso.VerdictRejectBlank, At: at}),
		of(KindCount, ParseCount, Count{Lot: "L1", Source: SourceHand, In: 10, Good: 7, RejectBlank: 1, RejectLive: 1, Return: 1, At: at}),
		of(KindExport, ParseExport, Export{Lot: "L1", What: "eis", Receiver: "smsr-1", Units: 20, Hash: hash(1), At: at}),
		of(KindAlarm, ParseAlarm, Alarm{Lot: "L1", Reason: perso.ReasonReplay, Detail: "session 01", Present: p, At: at},
			Alarm{Reason: perso.ReasonTwin, Present: p, At: at}),
		of(KindReceipt, ParseReceipt, Receipt{Vault: "v1", Lot: "L1", Seq: 8, Prev: hash(1), Unit: 7, Gen: 1, Claim: hash(2), Session: hash(3), N: 2,
			Responses: hash(4), Result: "script", Output: hash(5), At: at, MAC: hash(6)},
			Receipt{Vault: "v1", Lot: "L1", Claim: hash(2), Session: hash(3), Responses: hash(4), Result: "good", At: at, MAC: hash(6)}),
		of(KindReceiptHead, ParseReceiptHead, ReceiptHead{Env: perso.EnvProduction, Vault: "v1", Lot: "L1", Count: 9, Head: hash(1), At: at},
			ReceiptHead{Env: perso.EnvTest, Vault: "v1", Lot: "L1", At: at}),
		of(KindBooking, ParseBooking, Booking{ID: hash(1), Reel: "R1", From: perso.AccountStore, To: perso.LotAccount("L1"), Chips: 100, By: "Store Keeper", At: at},
			Booking{ID: hash(1), From: perso.AccountRejectBlank, To: perso.AccountRetest, Chips: 1, By: "x", At: at}),
		of(KindForbidden, ParseForbidden, Forbidden{Verb: "close", Content: hash(1), Reason: "two officers are needed", At: at}),
	}
}

func TestRoundTripAndSecondSpellings(t *testing.T) {
	t.Parallel()
	for _, c := range codecs() {
		t.Run(c.kind, func(t *testing.T) {
			t.Parallel()
			for _, e := range c.examples {
				b := must(e.Encode())
				if kind, err := record.Kind(b); err != nil || kind != c.kind {
					t.Fatalf("encoded as %q, %v", kind, err)
				}
				back, err := c.parse(b)
				if err != nil || !reflect.DeepEqual(back, e) {
					t.Fatalf("%v: read back as %+v, want %+v", err, back, e)
				}
				recordtest.Canonical(t, b, c.again)
			}
		})
	}
}

func (c codec) again(b []byte) ([]byte, error) {
	e, err := c.parse(b)
	if err != nil {
		return nil, err
	}
	return e.Encode()
}

// TestNobodyReadsAnotherKind: an act is no claim, whatever its fields.
func TestNobodyReadsAnotherKind(t *testing.T) {
	t.Parallel()
	for _, c := range codecs() {
		b := must(c.examples[0].Encode())
		for _, other := range codecs() {
			if _, err := other.parse(b); err == nil && other.kind != c.kind {
				t.Errorf("%s was read as %s", c.kind, other.kind)
			}
		}
	}
}

func TestClosedSetsAndNames(t *testing.T) {
	t.Parallel()
	outcome := string(must(codecs()[8].examples[0].Encode()))
	for old, other := range map[string]string{
		"verdict reject-live": "verdict perfect", "lot L1": "lot L/1", "line line-1": "line line.1", "head 3": "head 65536", "gen 1": "gen 256",
		"8904903212345123451234567890123": "8904903212345123451234567890124", "chip 47901234000112345678": "chip 00000000000000000000", "sw 27013": "sw 65536",
	} {
		if !strings.Contains(outcome, old) {
			t.Fatalf("the example lost %q", old)
		}
		if _, err := ParseOutcome([]byte(strings.Replace(outcome, old, other, 1))); err == nil {
			t.Errorf("%q was accepted", other)
		}
	}
}

func TestReceiptSignsAllButItsMAC(t *testing.T) {
	t.Parallel()
	r := codecs()[14].examples[0].(Receipt)
	body, whole := must(r.Signable()), must(r.Encode())
	if line, ok := bytes.CutPrefix(whole, body); !ok || !bytes.HasPrefix(line, []byte("mac ")) || bytes.Count(line, []byte("\n")) != 1 {
		t.Errorf("receipt is not its signable part and a mac line:\n%s\n%s", body, whole)
	}
}

// TestHashesTellPartsApart: no two splits of the same bytes have one hash, and a session is no list of responses.
func TestHashesTellPartsApart(t *testing.T) {
	t.Parallel()
	seen := map[[32]byte]string{}
	for name, h := range map[string][32]byte{
		"none": ResponsesHash(nil), "one empty": ResponsesHash([][]byte{{}}), "ab": ResponsesHash([][]byte{[]byte("ab")}),
		"a b": ResponsesHash([][]byte{[]byte("a"), []byte("b")}), "ab empty": ResponsesHash([][]byte{[]byte("ab"), {}}),
		"session a b": SessionOf([]byte("a"), []byte("b")), "session ab": SessionOf([]byte("ab"), nil),
	} {
		if other, twin := seen[h]; twin {
			t.Errorf("%q and %q have one hash", name, other)
		}
		seen[h] = name
	}
}

func FuzzParse(f *testing.F) {
	byKind := map[string]codec{}
	for _, c := range codecs() {
		byKind[c.kind] = c
		for _, e := range c.examples {
			f.Add(must(e.Encode()))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, err := record.Kind(b)
		c, known := byKind[kind]
		if err != nil || !known {
			return
		}
		if out, err := c.again(b); err == nil && !bytes.Equal(out, b) {
			t.Fatalf("second spelling accepted:\n%q\n%q", b, out)
		}
	})
}
