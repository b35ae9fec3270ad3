package ledger

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

func TestTwins(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 3})
	c := b.one()
	c.seq = 4
	b.act(b.begin(c, b.at(0)))
	twin := &chip{kdd: c.kdd, kvn: factoryKVN, seq: 4} // its next session has the counter 5, as c's last
	b.want(b.act(b.begin(twin, b.at(0))), perso.VerdictStop, perso.ReasonTwin)
	b.makeGood(c, 0)
	blank := &chip{kdd: c.kdd, kvn: factoryKVN, seq: 90}
	b.want(b.act(b.begin(blank, b.at(0))), perso.VerdictStop, perso.ReasonTwin)
	// A copy with the card's key version, but not with its keys: the vault says so, again and again, and nothing that
	// the copy's head asks afterwards gets it the good verdict of the other.
	copied := &chip{kdd: c.kdd, kvn: cardKVN, seq: 100}
	b.vault.say(c, bus.ServeResult{Failed: &bus.Failed{Reason: perso.ReasonCryptogram}})
	q := b.begin(copied, b.at(3))
	b.want(b.act(q), perso.VerdictStop, perso.ReasonTwin)
	b.want(b.act(q), perso.VerdictStop, perso.ReasonTwin)
	_, err := b.l.Act(t.Context(), next(q, "x"))
	b.refused(err, bus.FaultRefused)
	c.seq = 200
	b.pass(time.Hour)
	b.want(b.act(b.begin(c, b.at(0))), perso.VerdictGood, perso.ReasonAlreadyGood)
	_, err = b.l.Act(t.Context(), q)
	b.refused(err, bus.FaultRefused)
	if k := b.kinds(); k[entry.KindAlarm] != 3 || k[entry.KindOutcome] != 1 {
		t.Errorf("log %v", k)
	}
	b.check()
}

func TestAGoodChipComesBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2})
	c := b.one()
	b.makeGood(c, 0)
	q := b.begin(c, b.at(0))
	a := b.act(q)
	b.want(a, perso.VerdictGood, perso.ReasonAlreadyGood)
	if again := b.act(q); !reflect.DeepEqual(again, a) {
		t.Errorf("asked again: %+v, not %+v", again.Verdict, a.Verdict)
	}
	b.want(b.act(b.begin(c, b.at(7))), perso.VerdictGood, perso.ReasonAlreadyGood) // its session is over: no head waits for it
	if s := b.status(); s.Good != 1 || b.kinds()[entry.KindOutcome] != 1 {
		t.Errorf("status %+v", s)
	}
	b.check()
}

func TestSessionElsewhere(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2})
	c := b.one()
	old := b.begin(c, b.at(0))
	b.act(old)
	there := b.begin(c, b.at(1))
	b.want(b.act(there), perso.VerdictHold, perso.ReasonSessionElse)
	b.pass(sessionLease + time.Second)
	if a := b.act(there); len(a.Window) == 0 {
		t.Fatalf("after the lease: %+v", a.Verdict)
	}
	for _, q := range []bus.ActRequest{old, next(old, "late")} { // taken over
		_, err := b.l.Act(t.Context(), q)
		b.refused(err, bus.FaultRefused)
	}
	b.want(b.act(next(there, "x")), perso.VerdictGood, perso.ReasonNone)
	_, err := b.l.Act(t.Context(), next(old, "late")) // the good verdict belongs to the other head
	b.refused(err, bus.FaultRefused)
	same := b.one()
	b.act(b.begin(same, b.at(0)))
	if a := b.act(b.begin(same, b.at(0))); len(a.Window) == 0 { // no lease against the same head
		t.Errorf("same head: %+v", a.Verdict)
	}
	b.check()
}

// TestTakenOverWhileServed lets a chip change heads while the vault works for the first: what the vault says about the old
// session must not touch the new one.
func TestTakenOverWhileServed(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]bus.ServeResult{
		"window": {Window: []bus.Play{{APDU: []byte("w"), SW: "9000"}}, State: []byte("s")},
		"good":   {Good: true},
		"failed": {Failed: &bus.Failed{Reason: perso.ReasonStatus}},
		"again":  {Failed: &bus.Failed{Reason: perso.ReasonRMAC, Again: true}},
	} {
		b := newBench(t, spec{good: 2})
		b.vault.acts, b.l.doors[0].serves.flights = 3, 2
		c := b.one()
		old := b.begin(c, b.at(0))
		b.act(old)
		taken := b.begin(c, b.at(1))
		started := false
		b.vault.serving = func(_ entry.Claim, a entry.Act) {
			if a.Session == old.Session && !started {
				started = true
				b.pass(2 * sessionLease)
				b.act(taken)
				b.vault.say(c, late)
			}
		}
		_, err := b.l.Act(t.Context(), next(old, "late"))
		b.refused(err, bus.FaultRefused)
		if s := b.status(); s.Open != 1 || s.Good+s.Lost != 0 {
			t.Errorf("%s: status %+v", name, s)
		}
		b.act(next(taken, "x"))
		b.want(b.act(next(next(taken, "x"), "y")), perso.VerdictGood, perso.ReasonNone)
		b.check()
	}
}

// TestTakenOverBeforeTheVerdict: a chip changes heads while the vault works on its last act. The other head waits, and both
// hear that the chip is good.
func TestTakenOverBeforeTheVerdict(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2})
	b.l.doors[0].serves.flights = 2
	c := b.one()
	old := b.begin(c, b.at(0))
	b.act(old)
	c.kvn = cardKVN
	taken := b.begin(c, b.at(1))
	started := false
	b.vault.serving = func(_ entry.Claim, a entry.Act) {
		if a.Session == old.Session && a.N == 1 && !started {
			started = true
			b.pass(2 * sessionLease)
			b.want(b.act(taken), perso.VerdictHold, perso.ReasonSessionElse)
		}
	}
	b.want(b.act(next(old, "late")), perso.VerdictGood, perso.ReasonNone)
	b.want(b.act(taken), perso.VerdictGood, perso.ReasonAlreadyGood)
	if s := b.status(); s.Good != 1 || s.Open != 0 {
		t.Errorf("status %+v", s)
	}
	b.check()
}

func TestTooManySessions(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2, spares: 2})
	c := b.one()
	for range perso.MaxSessionsPerChip {
		b.act(b.begin(c, b.at(0)))
	}
	q := b.begin(c, b.at(0))
	b.want(b.act(q), perso.VerdictRejectLive, perso.ReasonTries)
	b.want(b.act(q), perso.VerdictRejectLive, perso.ReasonTries)
	d, place := b.one(), b.at(1)
	for range perso.MaxSessionsPerPresentation {
		b.act(b.begin(d, place))
	}
	b.want(b.act(b.begin(d, place)), perso.VerdictRejectLive, perso.ReasonTries)
	if k := b.kinds(); k[entry.KindOutcome] != 2 {
		t.Errorf("log %v", k)
	}
	b.check()
}

func TestFailuresRecontactThenReject(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2, spares: 2})
	c := b.one()
	again := bus.ServeResult{Failed: &bus.Failed{Reason: perso.ReasonRMAC, Step: "read-back", SW: 0x9000, Again: true}}
	b.vault.say(c, again, again, again)
	for range maxFailures - 1 {
		q := b.begin(c, b.at(0))
		a := b.act(q)
		b.want(a, perso.VerdictRecontact, perso.ReasonRMAC)
		if repeat := b.act(q); !reflect.DeepEqual(repeat, a) {
			t.Errorf("asked again: %+v, not %+v", repeat.Verdict, a.Verdict)
		}
	}
	q := b.begin(c, b.at(0))
	a := b.act(q)
	b.want(a, perso.VerdictRejectLive, perso.ReasonRMAC)
	if e := must(entry.ParseOutcome(a.Verdict.Entry)); e.Step != "read-back" || e.SW != 0x9000 || e.Session != q.Session {
		t.Errorf("outcome %+v", e)
	}
	if k := b.kinds(); k[entry.KindPresent] != maxFailures-1 || k[entry.KindOutcome] != 1 {
		t.Errorf("log %v", k)
	}
	b.check()
}

// TestWaitingIsNoFailure: a session that waited too long for the vault is begun again, however often that happens.
func TestWaitingIsNoFailure(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2})
	c := b.one()
	for range maxFailures + 1 {
		b.vault.say(c, bus.ServeResult{Failed: &bus.Failed{Reason: perso.ReasonStale, Again: true}})
		b.want(b.act(b.begin(c, b.at(0))), perso.VerdictRecontact, perso.ReasonStale)
	}
	b.makeGood(c, 0)
	b.check()
}

// TestAVerdictThatWasLost: the vault found the chip good and the ledger never heard. Whatever comes of the chip then, it is
// good: the vault will not make its unit again.
func TestAVerdictThatWasLost(t *testing.T) {
	t.Parallel()
	for name, comeBack := range map[string]func(b *bench, c *chip){
		"mute": func(b *bench, _ *chip) {
			p := b.at(0)
			b.want(b.mute(p, maxPlainTries), perso.VerdictHold, perso.ReasonSessionElse)
			b.want(b.mute(p, maxPlainTries), perso.VerdictStop, perso.ReasonMute)
		},
		"contacted again": func(b *bench, c *chip) {
			q := b.begin(c, b.at(0))
			b.want(b.act(q), perso.VerdictHold, perso.ReasonSessionElse)
			b.want(b.act(q), perso.VerdictGood, perso.ReasonAlreadyGood)
		},
		"vault that refuses the lot": func(b *bench, _ *chip) {
			b.vault.restart()
			b.vault.fail = failOn("open", bus.Refuse(bus.FaultRefused, "script rule"))
			p := b.at(0)
			for range 2 {
				if a, err := b.l.Present(b.t.Context(), bus.PresentRequest{Lot: b.lot, Present: p, Reason: perso.ReasonMute, Tries: maxPlainTries}); err == nil {
					b.t.Errorf("judged while the vault refuses the lot: %+v", a.Verdict)
				}
			}
			b.vault.fail = nil
			b.want(b.mute(p, maxPlainTries), perso.VerdictHold, perso.ReasonSessionElse)
		},
		"frozen line of before": func(b *bench, c *chip) { // what holds the old session's line says nothing about its verdict
			f := must(b.freeze(statement.KindFreeze, statement.FrozenLine, "line-1", [32]byte{}, "ann"))
			b.pass(2 * sessionLease)
			q := bus.PresentRequest{Lot: b.lot, Present: b.atLine("line-2", 0), Reason: perso.ReasonContact, Tries: maxPlainTries, Chip: c.id().Bytes()}
			for range 2 {
				b.want(must(b.l.Present(b.t.Context(), q)), perso.VerdictHold, perso.ReasonFrozen)
			}
			must(b.freeze(statement.KindUnfreeze, statement.FrozenLine, "line-1", f.Hash, "ann", "bob"))
			b.want(must(b.l.Present(b.t.Context(), q)), perso.VerdictHold, perso.ReasonSessionElse)
		},
		"vault that refuses the act": func(b *bench, c *chip) {
			b.vault.refuseNext(c, "for a while")
			p := b.at(0)
			b.want(b.mute(p, maxPlainTries), perso.VerdictStop, perso.ReasonVaultRefused)
			b.want(b.mute(p, maxPlainTries), perso.VerdictHold, perso.ReasonSessionElse)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, spec{good: 2})
			c := b.one()
			q := b.begin(c, b.at(0))
			b.act(q)
			b.vault.acts = 3
			q = next(q, "x")
			b.act(q)
			c.kvn = cardKVN
			b.vault.fail = failOn("served", errors.New("the answer is lost"))
			if _, err := b.l.Act(t.Context(), next(q, "x")); err == nil {
				t.Fatal("the last act was answered")
			}
			if s := b.status(); s.Good != 0 || s.Open != 1 {
				t.Fatalf("status %+v", s)
			}
			b.vault.fail = nil
			comeBack(b, c)
			if s := b.status(); s.Good != 1 || s.Open != 0 || s.Lost != 0 {
				t.Errorf("status %+v", s)
			}
			b.check()
		})
	}
}

// TestHeadWaitsForTheVault: while the vault answers a due act with faults, people see the head that waits, and after a while
// the log has one alarm of it. A vault that is away is seen as well, and leaves no alarm.
func TestHeadWaitsForTheVault(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault  error
		alarms int
	}{
		"a fault":    {bus.Refuse(bus.FaultInternal, "CKR_DEVICE_ERROR"), 1},
		"no answer":  {bus.ErrNoAnswer, 0},
		"it is busy": {bus.Refuse(bus.FaultBusy, "CKR_BUSY"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, spec{good: 2})
			chip := b.one()
			q := b.begin(chip, b.at(0))
			b.act(q)
			q = next(q, "x")
			b.vault.fail = failOn("serve", c.fault)
			var since time.Time
			for try := range 5 {
				if _, err := b.l.Act(t.Context(), q); !errors.Is(err, c.fault) {
					t.Fatalf("try %d: %v", try, err)
				}
				s := b.status()
				if len(s.Troubles) != 1 {
					t.Fatalf("try %d: status tells of %d troubles", try, len(s.Troubles))
				}
				if try == 0 {
					since = s.Troubles[0].Since
				}
				if x := s.Troubles[0]; x.Present != q.Present || x.Chip != chip.id().String() || x.N != 1 || x.Tries != uint64(try+1) || !x.Since.Equal(since) || !strings.Contains(x.Fault, c.fault.Error()) {
					t.Errorf("try %d: %+v", try, x)
				}
				if n := b.kinds()[entry.KindAlarm]; try < 2 && n > 0 || try == 4 && n != c.alarms {
					t.Errorf("try %d: %d alarms", try, n)
				}
				b.pass(troubleAlarm / 2)
			}
			b.vault.fail = nil
			b.want(b.act(q), perso.VerdictGood, perso.ReasonNone)
			if s := b.status(); len(s.Troubles) != 0 {
				t.Errorf("after it was served: %+v", s.Troubles)
			}
			b.check()
		})
	}
}

// TestTroubleThatNobodyHas: a head that does not ask any more is not told of for ever.
func TestTroubleThatNobodyHas(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2})
	b.vault.fail = failOn("serve", bus.ErrNoAnswer)
	if _, err := b.l.Act(t.Context(), b.begin(b.one(), b.at(0))); err == nil {
		t.Fatal("served")
	}
	b.pass(troubleOver)
	if s := b.status(); len(s.Troubles) != 0 {
		t.Errorf("%+v", s.Troubles)
	}
}

// TestTroublesFitAMessage: while every head of a large factory waits, the status of a lot, and the list of lots, name the
// oldest, count the others and fit one message.
func TestTroublesFitAMessage(t *testing.T) {
	t.Parallel()
	b := newBench(t, spec{good: 2})
	lt := must(b.l.lot(t.Context(), b.lot))
	began := b.clock()
	for i := range maxTroubles {
		a := &act{lot: lt, q: bus.ActRequest{Session: perso.Session{byte(i >> 8), byte(i)}, Present: b.at(uint16(i))}}
		b.l.troubles.met(a, errors.New(strings.Repeat("fault ", 100)), began.Add(time.Duration(i)*time.Millisecond))
	}
	s := b.status()
	if len(s.Troubles) != maxTold || s.MoreTroubles != maxTroubles-maxTold || !s.Troubles[0].Since.Equal(began) {
		t.Errorf("%d troubles, and %d more, the first since %s", len(s.Troubles), s.MoreTroubles, s.Troubles[0].Since)
	}
	lots, err := b.l.Lots(t.Context(), bus.Empty{})
	if err != nil || len(lots.Lots) != 1 || len(lots.Lots[0].Troubles) != maxToldOfMany || lots.Lots[0].MoreTroubles != maxTroubles-maxToldOfMany {
		t.Errorf("%+v, %v", lots, err)
	}
	for _, m := range []any{s, lots} {
		if _, err := bus.Encode(m); err != nil {
			t.Error(err)
		}
	}
}
