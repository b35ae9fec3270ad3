package lineside

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/lineside/bins"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// floor drives a station: it answers every effect of the heads as a machine and a ledger without faults would.
type floor struct {
	t        *testing.T
	s        *Station
	log      *ledgerLog
	now      time.Time
	todo     []Out // of the heads
	own      []Effect
	reel     int // chips left
	loaded   map[int]uint32
	next     uint32
	number   uint64
	good     uint64
	quantity uint64
	bins     map[perso.Verdict]int
}

func newFloor(t *testing.T, heads uint16, reel int) *floor {
	log := newLog(1)
	return &floor{t: t, s: mustDo(NewStation(testLine, heads, bins.Standard(), log.trust())), log: log, now: testTime(), reel: reel,
		loaded: map[int]uint32{}, bins: map[perso.Verdict]int{}, quantity: 5}
}

func (f *floor) put(outs []Out) {
	for _, o := range outs {
		if o.Head == Self {
			f.own = append(f.own, o.Effect)
		} else {
			f.todo = append(f.todo, o)
		}
	}
}

func (f *floor) step(head int, ev Event) {
	f.now = f.now.Add(time.Millisecond)
	f.put(f.s.Step(f.now, head, ev))
}

// work answers the heads until they want nothing, or n times.
func (f *floor) work(n int) {
	for ; n > 0 && len(f.todo) > 0; n-- {
		o := f.todo[0]
		f.todo = f.todo[1:]
		if ev := f.answer(o); ev != nil {
			f.step(o.Head, ev)
		}
	}
}

func (f *floor) answer(o Out) Event {
	switch e := o.Effect.(type) {
	case Load:
		if f.loaded[o.Head] == 0 && f.reel > 0 {
			f.reel--
			f.next++
			f.loaded[o.Head] = f.next
		}
		return Loaded{e.Ticket, f.loaded[o.Head] != 0}
	case Contact:
		f.number++
		return Contacted{e.Ticket, f.number, unhex(testATR)}
	case Play:
		if len(e.Window) == 1 {
			return Played{e.Ticket, [][]byte{updateAnswer(f.loaded[o.Head], 1)}, false}
		}
		return Played{e.Ticket, [][]byte{ok(), ok()}, false}
	case AskAct:
		v := f.log.outcome(perso.VerdictGood, perso.ReasonNone, chipNo(f.loaded[o.Head]), e.Request.Present)
		if f.good == f.quantity {
			v = f.log.present(perso.VerdictReturn, perso.ReasonLotComplete, chipNo(f.loaded[o.Head]), e.Request.Present)
		} else {
			f.good++
		}
		return Replied{e.Ticket, bus.ActReply{Verdict: &v}}
	case Bin:
		f.bins[e.Request.Bin]++
		f.loaded[o.Head] = 0
		return Binned{e.Ticket}
	case ReportBin:
		return Reported{e.Ticket}
	}
	return nil // Wait, Note, Stop
}

// wants compares the station's own effects since the last look.
func (f *floor) wants(want string) {
	f.t.Helper()
	var got []string
	for _, e := range f.own {
		got = append(got, strings.TrimPrefix(fmt.Sprintf("%T", e), "lineside."))
	}
	if g := strings.Join(got, " "); g != want {
		f.t.Fatalf("station wants %q, expected %q", g, want)
	}
}

// last gives the ticket of the station's last effect and forgets what it wanted.
func (f *floor) last() Effect {
	e := f.own[len(f.own)-1]
	f.own = nil
	return e
}

func (f *floor) begin(made uint64) {
	f.t.Helper()
	f.wants("TakeJob")
	f.step(Self, JobTaken{f.last().(TakeJob).Ticket, testJob(f.quantity), made})
}

func (f *floor) stock(n int) {
	f.t.Helper()
	ask := f.last().(AskChallenges)
	if ask.Request != (bus.ChallengesRequest{Lot: testLot, Line: testLine, Count: ChallengeBatch}) {
		f.t.Fatalf("asks %+v", ask.Request)
	}
	r := bus.ChallengesReply{First: 1000}
	for i := range n {
		r.Values = append(r.Values, []byte{0, 0, 0, 0, 0, 0, 0, byte(i)})
	}
	f.step(Self, Challenges{ask.Ticket, r})
}

func TestStationMakesALot(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reel    int
		returns int
	}{
		"chips to spare":            {100, 3},
		"exactly enough chips":      {5, 0},
		"one more than wanted":      {6, 1},
		"reel of all but one, more": {7, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFloor(t, 4, c.reel)
			f.put(mustDo(f.s.Start(f.now, nil)))
			f.begin(0)
			f.wants("AskChallenges")
			f.work(1000)
			if f.s.heads[0].state != StateWaiting {
				t.Fatalf("head 0 is %s without challenges", f.s.heads[0].state)
			}
			f.stock(ChallengeBatch)
			f.work(1000)
			f.wants("Finish")
			if f.bins[perso.VerdictGood] != 5 || f.bins[perso.VerdictReturn] != c.returns {
				t.Fatalf("bins = %v, want 5 good and %d returned", f.bins, c.returns)
			}
			snap := f.s.Snapshot(f.now)
			if snap.Good != 5 || snap.Quantity != 5 || !snap.Over || len(snap.Heads) != 4 || snap.Phase != "finishing" {
				t.Errorf("snapshot = %+v", snap)
			}
			f.step(Self, Finished{f.last().(Finish).Ticket + 1})
			f.wants("")
			f.step(Self, Finished{f.s.ticket})
			f.begin(0)
			f.wants("AskChallenges")
			if len(f.s.stock) != 0 {
				t.Error("challenges of the lot before are kept")
			}
		})
	}
}

// TestStationAfterRestart: what is in the good bin counts, bins in hand are carried out first.
func TestStationAfterRestart(t *testing.T) {
	t.Parallel()
	f := newFloor(t, 2, 50)
	f.good, f.loaded[1], f.next = 4, 7, 7
	pending := bus.BinRequest{Lot: testLot, Present: perso.Presentation{Line: testLine, Head: 1, Number: 5}, Bin: perso.VerdictGood, Chip: chipNo(7).Bytes()}
	f.put(mustDo(f.s.Start(f.now, []bus.BinRequest{pending})))
	f.wants("")
	f.work(100)
	f.begin(4) // the pending one is among the four that the handler counted
	f.stock(ChallengeBatch)
	f.work(1000)
	f.wants("Finish")
	if f.bins[perso.VerdictGood] != 2 || f.bins[perso.VerdictReturn] != 1 {
		t.Errorf("bins = %v", f.bins)
	}
	if _, err := f.s.Start(f.now, []bus.BinRequest{{Present: perso.Presentation{Line: testLine, Head: 2}}}); err == nil {
		t.Error("a bin of a head that this line has not was taken")
	}
}

// TestStoppedHeadKeepsTheLot: a chip that a person must look at is part of the count.
func TestStoppedHeadKeepsTheLot(t *testing.T) {
	t.Parallel()
	f := newFloor(t, 2, 50)
	f.put(mustDo(f.s.Start(f.now, nil)))
	f.begin(0)
	f.stock(ChallengeBatch)
	stop := bus.Verdict{Verdict: perso.VerdictStop, Reason: perso.ReasonTwin}
	for f.s.heads[1].state != StateAsking {
		f.work(1)
	}
	f.step(1, Replied{f.s.heads[1].ticket, bus.ActReply{Verdict: &stop}})
	f.work(1000)
	f.wants("")
	if f.s.heads[0].state != StateDone || f.s.heads[1].state != StateStopped {
		t.Fatalf("heads are %s and %s", f.s.heads[0].state, f.s.heads[1].state)
	}
	f.step(1, Resume)
	f.work(1000)
	f.wants("Finish")
}

func TestChallengeStock(t *testing.T) {
	t.Parallel()
	f := newFloor(t, 2, 1000)
	f.quantity = 1000
	f.put(mustDo(f.s.Start(f.now, nil)))
	f.begin(0)
	ask := f.last().(AskChallenges)
	for i, bad := range []Event{
		NoAnswer{ask.Ticket, Away, "nobody"},
		Challenges{0, bus.ChallengesReply{}},
		Challenges{0, bus.ChallengesReply{Values: [][]byte{make([]byte, 8), make([]byte, 7)}}},
	} {
		switch ev := bad.(type) {
		case Challenges:
			ev.Ticket = ask.Ticket
			bad = ev
		}
		f.step(Self, bad)
		f.wants("Wait")
		wait := f.last().(Wait)
		if want := firstRetry << i; wait.For != want {
			t.Fatalf("fault %d waits %v, want %v", i, wait.For, want)
		}
		f.step(Self, bad) // doubled
		f.wants("")
		f.step(Self, Waited{wait.Ticket})
		f.wants("AskChallenges")
		ask = f.own[0].(AskChallenges)
		if i < 2 {
			f.own = nil
		}
	}
	f.work(1000)
	f.stock(3) // fewer than asked
	f.wants("AskChallenges")
	served := []uint64{f.s.heads[0].at.serial, f.s.heads[1].at.serial}
	if !reflect.DeepEqual(served, []uint64{1000, 1001}) || len(f.s.stock) != 1 {
		t.Errorf("served %v, stock %d", served, len(f.s.stock))
	}
	f.step(0, Played{f.s.heads[0].ticket, [][]byte{{0x69, 0x85}}, false})
	if got := f.s.heads[0].at.serial; got != 1002 {
		t.Errorf("second INITIALIZE UPDATE uses challenge %d", got)
	}
}

func TestNewStation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line  perso.Name
		heads uint16
	}{{"line.1", 1}, {"line-1", 0}, {"line-1", MaxHeads + 1}} {
		if _, err := NewStation(c.line, c.heads, bins.Standard(), Trust{}); err == nil {
			t.Errorf("station %q of %d heads was made", c.line, c.heads)
		}
	}
}
