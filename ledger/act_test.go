package ledger

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/statement"
)

func TestMakesAUnit(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2})
	c := b.one()
	q := b.begin(c, b.at(0))
	first := b.act(q)
	if len(first.Window) != 1 || !bytes.Contains(first.Window[0].APDU, []byte("cert 1 of")) {
		t.Fatalf("act 0: %+v", first)
	}
	if again := b.act(q); !reflect.DeepEqual(again, first) {
		t.Errorf("asked again, act 0 is answered %+v, not %+v", again, first)
	}
	last := next(q, "written")
	good := b.act(last)
	b.want(good, perso.VerdictGood, perso.ReasonNone)
	e := must(entry.ParseOutcome(good.Verdict.Entry))
	if e.Chip != c.id() || e.Session != q.Session || e.Present != q.Present || e.Cert == [32]byte{} || e.Receipt == [32]byte{} {
		t.Errorf("outcome %+v", e)
	}
	for _, repeat := range []bus.ActRequest{last, q} {
		if again := b.act(repeat); !reflect.DeepEqual(again.Verdict.Entry, good.Verdict.Entry) || again.Verdict.Reason != perso.ReasonNone {
			t.Errorf("act %d again, after the end: %+v", repeat.N, again.Verdict)
		}
	}
	if k := b.kinds(); k[entry.KindClaim] != 1 || k[entry.KindAct] != 2 || k[entry.KindCertificate] != 1 || k[entry.KindOutcome] != 1 || k[entry.KindAlarm] != 0 {
		t.Errorf("log %v", k)
	}
	if n := b.raw(`SELECT COUNT(*) FROM verdict_due`); n != 0 {
		t.Errorf("answers of %d acts are kept after the end", n)
	}
	s := b.status()
	if s.State != perso.LotRunning || s.Good != 1 || s.Open != 0 || s.EIDsUsed != 1 {
		t.Errorf("status %+v", s)
	}
	b.makeGood(b.one(), 1)
	if s := b.status(); s.State != perso.LotComplete || s.Completed.IsZero() {
		t.Errorf("after the last unit: %+v", s)
	}
	b.check()
}

func TestAnOldActIsAnsweredAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2})
	b.vault.acts = 3
	q := b.begin(b.one(), b.at(0))
	first := b.act(q)
	b.act(next(q, "one"))
	if again := b.act(q); !reflect.DeepEqual(again, first) {
		t.Errorf("act 0 after act 1: %+v, not %+v", again, first)
	}
	b.want(b.act(next(next(q, "one"), "two")), perso.VerdictGood, perso.ReasonNone)
	b.check()
}

func TestOtherResponsesStopTheHead(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2})
	b.vault.acts = 3
	q := b.begin(b.one(), b.at(0))
	b.act(q)
	b.act(next(q, "one"))
	for range 2 {
		b.want(b.act(next(q, "two")), perso.VerdictStop, perso.ReasonReplay)
	}
	other := q
	other.Identify = [][]byte{{0x90, 0x00}}
	b.want(b.act(other), perso.VerdictStop, perso.ReasonReplay)
	if k := b.kinds(); k[entry.KindAlarm] != 2 || k[entry.KindAct] != 2 {
		t.Errorf("log %v", k)
	}
	b.want(b.act(next(next(q, "one"), "two")), perso.VerdictGood, perso.ReasonNone)
	b.check()
}

func TestActsFollowOneAnother(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2})
	q := b.begin(b.one(), b.at(0))
	_, err := b.l.Act(t.Context(), next(q, "early"))
	b.refused(err, bus.FaultNotFound)
	b.vault.fail = failOn("serve", errors.New("vault is away"))
	if _, err := b.l.Act(t.Context(), q); err == nil {
		t.Fatal("act 0 was answered without the vault")
	}
	_, err = b.l.Act(t.Context(), next(q, "unserved"))
	b.refused(err, bus.FaultRefused)
	b.vault.fail = nil
	_, err = b.l.Act(t.Context(), next(next(q, "x"), "skipped"))
	b.refused(err, bus.FaultRefused)
	if a := b.act(q); len(a.Window) == 0 { // an act that came too early spoils nothing
		t.Fatalf("act 0: %+v", a.Verdict)
	}
	elsewhere := next(q, "x")
	elsewhere.Present = b.at(5)
	_, err = b.l.Act(t.Context(), elsewhere)
	b.refused(err, bus.FaultConflict)
	b.want(b.act(next(q, "x")), perso.VerdictGood, perso.ReasonNone)
	elsewhere = q
	elsewhere.Present = b.at(5)
	_, err = b.l.Act(t.Context(), elsewhere) // a good verdict is not lent to another presentation
	b.refused(err, bus.FaultConflict)
	if k := b.kinds(); k[entry.KindAct] != 2 {
		t.Errorf("log %v", k)
	}
	b.check()
}

func failOn(verb string, err error) func(string) error {
	return func(v string) error {
		if v == verb {
			return err
		}
		return nil
	}
}

func TestSessionOfAnotherLotIsRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2})
	q := b.begin(b.one(), b.at(0))
	b.act(q)
	b.makeLot(spec{good: 1})
	wrong := next(q, "x")
	wrong.Lot = b.lot
	_, err := b.l.Act(t.Context(), wrong)
	b.refused(err, bus.FaultConflict)
	b.check()
}

func TestMessagesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1})
	c := b.one()
	for name, spoil := range map[string]func(*bus.ActRequest){
		"session": func(q *bus.ActRequest) { q.Session[0] ^= 1 },
		"status": func(q *bus.ActRequest) {
			q.Answer[len(q.Answer)-1] = 1
			q.Session = entry.SessionOf(q.Command, q.Answer)
		},
		"short":     func(q *bus.ActRequest) { q.Answer = q.Answer[4:]; q.Session = entry.SessionOf(q.Command, q.Answer) },
		"blank kdd": func(q *bus.ActRequest) { clear(q.Answer[:10]); q.Session = entry.SessionOf(q.Command, q.Answer) },
		"SCP02": func(q *bus.ActRequest) { // of a lot of SCP03
			q.Answer = apdu.SWOK.Append(append(append(bytes.Clone(q.Answer[:11]), 2), make([]byte, 16)...))
			q.Session = entry.SessionOf(q.Command, q.Answer)
		},
		"act 6":  func(q *bus.ActRequest) { q.N = perso.MaxActs },
		"line":   func(q *bus.ActRequest) { q.Present.Line = "a.b" },
		"number": func(q *bus.ActRequest) { q.Present.Number = math.MaxUint64 },
		"long":   func(q *bus.ActRequest) { q.Identify = [][]byte{make([]byte, maxAnswerBytes+1)} },
	} {
		q := b.begin(c, b.at(0))
		spoil(&q)
		_, err := b.l.Act(t.Context(), q)
		t.Run(name, func(t *testing.T) { b.refused(err, bus.FaultBadMessage) })
	}
	q := b.begin(c, b.at(0))
	q.Lot = "L-NONE"
	_, err := b.l.Act(t.Context(), q)
	b.refused(err, bus.FaultNotFound)
	if k := b.kinds(); k[entry.KindClaim]+k[entry.KindPresent]+k[entry.KindAlarm] != 0 {
		t.Errorf("log %v", k)
	}
}

func TestChipIDByCPLC(t *testing.T) {
	t.Parallel()
	cplc := make([]byte, 42)
	for i := range cplc {
		cplc[i] = byte(i + 1)
	}
	answer := append(append([]byte{0x9F, 0x7F, 0x2A}, cplc...), 0x90, 0x00)
	kdd := [10]byte{1, 2, 3, 4, 17, 18, 13, 14, 15, 16}
	lt := &lot{release: statement.Release{ChipID: "cplc"}}
	if c, err := lt.chipID([][]byte{{0x6A, 0x88}, answer}, kdd); err != nil || c.String() != "0102030411120d0e0f10" {
		t.Errorf("chip %s, %v", c, err)
	}
	other := kdd
	other[9]++
	for name, f := range map[string]func() error{
		"kdd differs": func() error { _, err := lt.chipID([][]byte{answer}, other); return err },
		"no cplc":     func() error { _, err := lt.chipID([][]byte{{0x90, 0x00}}, kdd); return err },
		"refused":     func() error { _, err := lt.chipID([][]byte{append(answer[:45:45], 0x6A, 0x88)}, kdd); return err },
		"other source": func() error {
			_, err := (&lot{release: statement.Release{ChipID: "os-command"}}).chipID([][]byte{answer}, kdd)
			return err
		},
	} {
		if f() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestHoldsWhileEveryIdentityIsInWork has spares left: they are for losses, not for a chip beyond the order (I7).
func TestHoldsWhileEveryIdentityIsInWork(t *testing.T) {
	t.Parallel()
	for _, remake := range []order.Remake{order.SameIdentity, order.FreshIdentity} {
		b := newBench(t, spec{good: 1, spares: 1, remake: remake})
		c, waiting := b.one(), b.one()
		q := b.begin(c, b.at(0))
		b.act(q)
		w := b.begin(waiting, b.at(1))
		a := b.act(w)
		b.want(a, perso.VerdictHold, perso.ReasonLotWaiting)
		if a.Verdict.RetryAfter <= 0 || b.kinds()[entry.KindPresent] != 0 || b.rows("presentation") != 1 {
			t.Errorf("holding left a trace, or no time to ask again: %+v", a.Verdict)
		}
		b.want(b.act(next(q, "x")), perso.VerdictGood, perso.ReasonNone)
		b.want(b.act(w), perso.VerdictReturn, perso.ReasonLotComplete) // the same question, later
		b.want(b.act(w), perso.VerdictReturn, perso.ReasonLotComplete)
		if k := b.kinds(); k[entry.KindClaim] != 1 || k[entry.KindPresent] != 1 {
			t.Errorf("log %v", k)
		}
		b.check()
	}
}

func TestALossIsMadeAgainWithFreshEID(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1, spares: 1})
	lost, second := b.one(), b.one()
	b.makeLost(lost, 0)
	q := b.begin(second, b.at(1))
	b.act(q)
	good := b.act(next(q, "x"))
	b.want(good, perso.VerdictGood, perso.ReasonNone)
	e := must(entry.ParseOutcome(good.Verdict.Entry)) // the vault has checked the loss and its number
	if e.Unit != 0 || e.Gen != 1 || b.raw(`SELECT COUNT(*) FROM lost_unit`) != 0 {
		t.Errorf("re-made as unit %d generation %d", e.Unit, e.Gen)
	}
	b.want(b.act(b.begin(lost, b.at(0))), perso.VerdictRejectLive, perso.ReasonStatus) // the lost chip comes back
	if s := b.status(); s.Lost != 1 || s.Good != 1 || s.EIDsUsed != 2 {
		t.Errorf("status %+v", s)
	}
	b.check()
}

func TestFreshIdentityTakesTheNextUnit(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1, spares: 1, remake: order.FreshIdentity})
	b.makeLost(b.one(), 0)
	q := b.begin(b.one(), b.at(0))
	b.act(q)
	good := b.act(next(q, "x"))
	b.want(good, perso.VerdictGood, perso.ReasonNone)
	if e := must(entry.ParseOutcome(good.Verdict.Entry)); e.Unit != 1 || e.Gen != 0 {
		t.Errorf("made as unit %d generation %d", e.Unit, e.Gen)
	}
	if n := b.raw(`SELECT COUNT(*) FROM lost_unit`); n != 0 {
		t.Errorf("%d units wait for a re-make that the order forbids", n)
	}
	b.check()
}

func TestNoIdentityLeft(t *testing.T) {
	t.Parallel()
	for _, remake := range []order.Remake{order.SameIdentity, order.FreshIdentity} {
		b := newBench(t, spec{good: 2, spares: 0, remake: remake})
		b.makeLost(b.one(), 0)
		q := b.begin(b.one(), b.at(1))
		b.act(q)
		w := b.begin(b.one(), b.at(0))
		b.want(b.act(w), perso.VerdictHold, perso.ReasonLotWaiting)
		b.want(b.act(next(q, "x")), perso.VerdictGood, perso.ReasonNone)
		s := b.status()
		if s.State != perso.LotComplete { // without another chip
			t.Errorf("%s: the lot ended short and is %s", remake, s.State)
		}
		b.pass(time.Hour)
		b.want(b.act(w), perso.VerdictReturn, perso.ReasonNoIdentity)
		if later := b.status(); !later.Completed.Equal(s.Completed) {
			t.Errorf("%s: a returned chip moved the completion from %s to %s", remake, s.Completed, later.Completed)
		}
		b.check()
	}
}

func TestGenerationsEnd(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2, spares: 30})
	b.makeGood(b.one(), 0)
	for range int(perso.MaxGeneration) + 1 {
		b.makeLost(b.one(), 0)
	}
	if s := b.status(); s.State != perso.LotComplete || s.Lost != uint64(perso.MaxGeneration)+1 {
		t.Errorf("after the last generation: %+v", s)
	}
	b.want(b.act(b.begin(b.one(), b.at(0))), perso.VerdictReturn, perso.ReasonNoIdentity)
	b.check()
}

func TestChipsThatDoNotBelong(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 3})
	unknown := b.newChips(1)[0]
	for range 2 {
		b.want(b.act(b.begin(unknown, perso.Presentation{Line: "line-1", Number: 900})), perso.VerdictStop, perso.ReasonUnknownChip)
	}
	foreign := b.one()
	foreign.kvn = cardKVN
	b.want(b.act(b.begin(foreign, b.at(0))), perso.VerdictStop, perso.ReasonForeignChip)
	taken := b.one()
	b.makeGood(taken, 0)
	b.makeLot(spec{good: 1})
	b.want(b.act(b.begin(taken, b.at(0))), perso.VerdictStop, perso.ReasonForeignChip)
	if k := b.kinds(); k[entry.KindPresent] != 3 || k[entry.KindClaim] != 1 {
		t.Errorf("log %v", k)
	}
	b.check()
}

func TestChallengesServeOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 3})
	c := b.one()
	q := b.begin(c, b.at(0))
	b.act(q)
	again := b.begin(c, b.at(0))
	again.Serial = q.Serial
	b.want(b.act(again), perso.VerdictStop, perso.ReasonReplay)
	unknown := b.begin(b.one(), b.at(1))
	unknown.Serial = 1 << 40
	for range 2 {
		b.want(b.act(unknown), perso.VerdictStop, perso.ReasonReplay)
	}
	if k := b.kinds(); k[entry.KindAlarm] != 2 || k[entry.KindClaim] != 1 {
		t.Errorf("log %v", k)
	}
	for _, n := range []uint16{0, bus.MaxBatch + 1} {
		_, err := b.l.Challenges(t.Context(), bus.ChallengesRequest{Lot: b.lot, Count: n})
		b.refused(err, bus.FaultBadMessage)
	}
	b.check()
}

func TestVaultRefusesAndSaysAnything(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2, spares: 2})
	c := b.one()
	b.vault.say(c, bus.ServeResult{Refused: " no\nfor a \x00 reason " + string(make([]byte, 9000))}, bus.ServeResult{Failed: &bus.Failed{Reason: "\n", Step: "\t\n"}})
	b.want(b.act(b.begin(c, b.at(0))), perso.VerdictStop, perso.ReasonVaultRefused)
	b.want(b.act(b.begin(c, b.at(0))), perso.VerdictRejectLive, "_")
	if k := b.kinds(); k[entry.KindAlarm] != 1 {
		t.Errorf("log %v", k)
	}
	b.check()
}

func TestVaultAnswersTooFew(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2})
	q := b.begin(b.one(), b.at(0))
	b.vault.fail = failOn("served", errors.New("reply was lost"))
	if _, err := b.l.Act(t.Context(), q); err == nil {
		t.Fatal("an answer that never came was given")
	}
	b.vault.fail = nil
	b.vault.restart()
	if a := b.act(q); len(a.Window) == 0 || b.vault.openings != 2 {
		t.Errorf("after the vault's restart: %+v, opened %d times", a.Verdict, b.vault.openings)
	}
	b.check()
}

// TestCertificateOfTheFirstCounts has one act served twice at once: both windows must carry the certificate that was
// stored first.
func TestCertificateOfTheFirstCounts(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2})
	b.l.doors[0].serves.flights = 2
	q := b.begin(b.one(), b.at(0))
	var inner bus.ActReply
	nested := false
	b.vault.serving = func(entry.Claim, entry.Act) {
		if !nested {
			nested = true
			inner = b.act(q)
		}
	}
	outer := b.act(q)
	if !reflect.DeepEqual(outer, inner) || b.kinds()[entry.KindCertificate] != 1 {
		t.Errorf("two windows for one act:\n%s\n%s", outer.Window[0].APDU, inner.Window[0].APDU)
	}
	b.check()
}

func TestANewKeySupersedesTheCertificate(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2})
	c := b.one()
	b.act(b.begin(c, b.at(0)))
	renewed := bus.Stored{Cert: []byte("cert of new key"), Key: []byte("new key")}
	b.vault.say(c, bus.ServeResult{Window: []bus.Play{{APDU: renewed.Cert, SW: "9000"}}, State: []byte("s"), Stored: &renewed})
	b.act(b.begin(c, b.at(0)))
	tr, err := b.l.Trace(t.Context(), bus.TraceRequest{Key: c.id().String()})
	if err != nil {
		t.Fatal(err)
	}
	var certs []entry.Certificate
	for _, e := range tr.Entries {
		if e.Kind == entry.KindCertificate {
			certs = append(certs, must(entry.ParseCertificate(e.Body)))
		}
	}
	if len(certs) != 2 || certs[1].Supersedes != certs[0].Cert || certs[1].Cert != entry.Hash(renewed.Cert) {
		t.Errorf("certificates %+v", certs)
	}
	b.check()
}

// Of two pairs for one act the first goes into the claim, and the act is served again with it; a pair of another session takes
// its place, with a certificate that supersedes the other. At the verdict, whichever it is, the sealed key is erased. So it
// is also on a database that runs every transaction twice.
func TestASealedPairStaysUntilTheVerdict(t *testing.T) {
	t.Parallel()
	for _, fault := range []ledgertest.Fault{ledgertest.None, ledgertest.Twice} {
		b := newBench(t, spec{good: 2})
		b.open(ledgertest.WithFaults(b.db, ledgertest.Every(1, fault)))
		sealedPair(t, b)
	}
}

func sealedPair(t *testing.T, b *bench) {
	t.Helper()
	b.l.doors[0].serves.flights = 2
	c := b.one()
	pair := func(n string) *bus.Stored {
		return &bus.Stored{Cert: []byte("cert " + n), Key: []byte("key " + n), Pair: []byte("sealed " + n)}
	}
	window := func(n string, s *bus.Stored) bus.ServeResult {
		return bus.ServeResult{Window: []bus.Play{{APDU: []byte(n), SW: "9000"}}, State: []byte(n), Stored: s}
	}
	var asked []string
	b.vault.asked = func(item bus.ServeItem) {
		asked = append(asked, string(item.Stored.Pair))
		clear(b.vault.given) // as if another vault served each time, which knows nothing of the answers before
	}
	b.vault.say(c, window("1", pair("1")), window("2", pair("2")), window("1", nil))
	q, nested := b.begin(c, b.at(0)), false
	b.vault.serving = func(entry.Claim, entry.Act) {
		if !nested {
			nested = true
			b.act(q)
		}
	}
	if got := b.act(q); string(got.Window[0].APDU) != "1" || !slices.Equal(asked, []string{"", "", "sealed 1"}) {
		t.Errorf("served with %q, asked with %q", got.Window[0].APDU, asked)
	}
	kept := func(sealed string) int64 {
		return b.raw(`SELECT COUNT(*) FROM claim WHERE pair = $1`, []byte(sealed))
	}
	if n := kept("sealed 1"); n != 1 {
		t.Errorf("%d claims with the first pair", n)
	}
	b.vault.say(c, window("3", pair("3")))
	b.act(b.begin(c, b.at(0)))
	if n := kept("sealed 3"); n != 1 || b.kinds()[entry.KindCertificate] != 2 {
		t.Errorf("%d claims with the pair of the second session, %d certificates", n, b.kinds()[entry.KindCertificate])
	}
	b.makeGood(c, 0)
	lost := b.one()
	b.vault.say(lost, window("4", pair("4")))
	b.act(b.begin(lost, b.at(1)))
	if n := kept("sealed 4"); n != 1 {
		t.Errorf("%d claims with the pair of the second chip", n)
	}
	b.makeLost(lost, 1)
	if n := b.raw(`SELECT COUNT(*) FROM claim WHERE pair IS NOT NULL`); n != 0 {
		t.Errorf("%d sealed keys are left after the verdicts", n)
	}
	b.check()
}

// A sealed Ki goes into the claim once: whoever comes with another one is served again with the first, and a certificate
// that comes without a Ki leaves it alone.
func TestTheFirstKiStays(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2})
	c := b.one()
	first, second := []byte("sealed Ki"), []byte("another sealed Ki")
	window := []bus.Play{{APDU: first, SW: "9000"}}
	b.vault.say(c, bus.ServeResult{Window: window, State: []byte("s"), Stored: &bus.Stored{Ki: first}})
	b.act(b.begin(c, b.at(0)))
	b.vault.say(c, bus.ServeResult{Window: window, State: []byte("s"), Stored: &bus.Stored{Cert: []byte("cert"), Key: []byte("key")}})
	b.act(b.begin(c, b.at(0)))
	var asked [][]byte
	b.vault.asked = func(item bus.ServeItem) { asked = append(asked, item.Stored.Ki) }
	b.vault.say(c, bus.ServeResult{Window: window, State: []byte("s"), Stored: &bus.Stored{Ki: second}})
	if _, err := b.l.Act(t.Context(), b.begin(c, b.at(0))); err == nil || !strings.Contains(err.Error(), "keeps changing") {
		t.Errorf("a vault that insists on another Ki: %v", err)
	}
	for _, ki := range asked {
		if string(ki) != string(first) {
			t.Errorf("the vault was given %q", ki)
		}
	}
	if len(asked) != maxServeTries {
		t.Errorf("the vault was asked %d times", len(asked))
	}
	if kinds := b.kinds(); kinds[entry.KindCertificate] != 1 {
		t.Errorf("%d certificates in the log", kinds[entry.KindCertificate])
	}
}

func TestPresentationNumbersAreNotUsedTwice(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 3})
	c := b.one()
	p := b.makeGood(c, 0)
	if err := b.bin(p, perso.VerdictGood); err != nil {
		t.Fatal(err)
	}
	b.want(b.act(b.begin(c, p)), perso.VerdictStop, perso.ReasonReplay) // it lies in its bin, not under a head
	b.want(b.act(b.begin(b.one(), p)), perso.VerdictStop, perso.ReasonReplay)
	b.want(b.mute(p, 3), perso.VerdictStop, perso.ReasonReplay)
	if s := b.status(); s.Open != 0 || s.Bins[perso.VerdictGood] != 1 {
		t.Errorf("status %+v", s)
	}
	b.check()
}

func TestAnExpiredReleaseClaimsNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 3, expires: "2026-12-01T00:00:00Z"})
	c := b.one()
	q := b.begin(c, b.at(0))
	b.act(q)
	b.pass(30 * 24 * time.Hour)
	b.want(b.act(b.begin(b.one(), b.at(1))), perso.VerdictHold, perso.ReasonLotWaiting)
	b.want(b.act(next(q, "x")), perso.VerdictGood, perso.ReasonNone) // what was begun may end
	if s := b.status(); s.EIDsUsed != 1 || s.State != perso.LotComplete {
		t.Errorf("status %+v", s)
	}
	b.check()
}

func TestACheckpointOfAnotherKeyIsRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 1})
	b.vault.key = newVault(t, [32]byte{}).key
	b.vault.key = append(b.vault.key[:0:0], b.vault.key...)
	b.vault.key[0] ^= 1
	if _, err := b.l.Act(t.Context(), b.begin(b.one(), b.at(0))); err == nil {
		t.Error("an act was served on a checkpoint that no line would believe")
	}
}
