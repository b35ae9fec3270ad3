package lineside

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/lineside/bins"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/id"
)

// stage drives one head by words and describes what it does in words.
type stage struct {
	t      *testing.T
	h      *Head
	log    *ledgerLog
	now    time.Time
	number uint64
	chip   uint32
	serial uint64
	last   Ticket // of the answer given last
}

func newStage(t *testing.T) *stage {
	log := newLog(1)
	return &stage{t: t, h: NewHead(testLine, 3, bins.Standard(), log.trust()), log: log, now: testTime(), chip: 1, number: 99}
}

// run plays lines of "word: state effects" and compares.
func (s *stage) run(story string) {
	s.t.Helper()
	for line := range strings.SplitSeq(story, "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		word, want, ok := strings.Cut(line, ": ")
		if !ok {
			s.t.Fatalf("story line %q has no expectation", line)
		}
		s.now = s.now.Add(time.Second)
		effects := s.h.Step(s.now, s.event(word))
		got := string(s.h.state)
		for _, e := range effects {
			got += " " + describe(e)
		}
		if got != want {
			s.t.Fatalf("%s:\n got  %s\n want %s", word, got, want)
		}
	}
}

func (s *stage) event(word string) Event {
	t := s.h.ticket
	switch word {
	case "begin":
		return Begin{testJob(5)}
	case "over":
		return LotOver{}
	case "ended":
		return JobEnded{}
	case "pause", "resume", "disable":
		return mustDo(ParseCommand(word))
	case "recover good":
		return Recover{bus.BinRequest{Lot: testLot, Present: perso.Presentation{Line: testLine, Head: 3, Number: 42}, Bin: perso.VerdictGood, Chip: chipNo(9).Bytes()}}
	case "late": // what was answered before comes again
		return Loaded{s.last, true}
	case "early": // an answer that nobody asked for
		return Binned{t + 1}
	}
	s.last = t
	if ev := s.machine(word, t); ev != nil {
		return ev
	}
	if ev := s.ledger(word, t); ev != nil {
		return ev
	}
	s.t.Fatalf("no word %q", word)
	return nil
}

func (s *stage) machine(word string, t Ticket) Event {
	switch word {
	case "loaded":
		return Loaded{t, true}
	case "none":
		return Loaded{t, false}
	case "no more":
		return NoMore{t}
	case "contacted":
		s.number++
		return Contacted{t, s.number, unhex(testATR)}
	case "mute":
		s.number++
		return Contacted{t, s.number, nil}
	case "alien":
		s.number++
		return Contacted{t, s.number, unhex("3B00")}
	case "identified":
		return Played{t, [][]byte{ok(), ok(0x9F, 0x7F)}, false}
	case "unknown command":
		return Played{t, [][]byte{ok(), {0x6D, 0x00}}, false}
	case "half identified":
		return Played{t, [][]byte{{0x6A, 0x82}}, false}
	case "lost":
		return Played{t, nil, true}
	case "cut":
		return Played{t, [][]byte{ok(1)}, true}
	case "opened":
		return Played{t, [][]byte{updateAnswer(s.chip, 1)}, false}
	case "another opened":
		return Played{t, [][]byte{updateAnswer(s.chip+1, 1)}, false}
	case "nameless opened":
		answer := updateAnswer(s.chip, 1)
		copy(answer, bytes.Repeat([]byte{0xFF}, 10))
		return Played{t, [][]byte{answer}, false}
	case "refused":
		return Played{t, [][]byte{{0x69, 0x85}}, false}
	case "played":
		return Played{t, [][]byte{ok(1), ok(2)}, false}
	case "binned":
		return Binned{t}
	case "waited":
		return Waited{t}
	case "fault":
		return Fault{t, "jam"}
	}
	return nil
}

func (s *stage) ledger(word string, t Ticket) Event {
	p := perso.Presentation{Line: testLine, Head: 3, Number: s.number}
	verdict := func(v bus.Verdict) Event { return Replied{t, bus.ActReply{Verdict: &v}} }
	window := []bus.Play{{APDU: []byte{0x84, 0xF2, 0, 0}, SW: "9000"}, {APDU: []byte{0x84, 0xF2, 0, 1}, SW: "9000"}}
	switch word {
	case "challenge":
		s.serial++
		return Challenge{t, s.serial, []byte{1, 2, 3, 4, 5, 6, 7, byte(s.serial)}}
	case "window":
		return Replied{t, bus.ActReply{Window: window}}
	case "bad window":
		return Replied{t, bus.ActReply{Window: []bus.Play{{APDU: []byte{0}, SW: "9000"}}}}
	case "both":
		return Replied{t, bus.ActReply{Window: window, Verdict: &bus.Verdict{Verdict: perso.VerdictRecontact}}}
	case "neither":
		return Replied{t, bus.ActReply{}}
	case "good":
		return verdict(s.log.outcome(perso.VerdictGood, perso.ReasonNone, chipNo(s.chip), p))
	case "good of another":
		return verdict(s.log.outcome(perso.VerdictGood, perso.ReasonNone, chipNo(s.chip+7), p))
	case "good of another log":
		return verdict(newLog(2).outcome(perso.VerdictGood, perso.ReasonNone, chipNo(s.chip), p))
	case "live":
		return verdict(s.log.outcome(perso.VerdictRejectLive, perso.ReasonStatus, chipNo(s.chip), p))
	case "live for data":
		return verdict(s.log.outcome(perso.VerdictRejectLive, perso.ReasonData, chipNo(s.chip), p))
	case "blank":
		return verdict(s.log.present(perso.VerdictRejectBlank, perso.ReasonMute, id.ChipID{}, p))
	case "return":
		return verdict(s.log.present(perso.VerdictReturn, perso.ReasonLotComplete, chipNo(s.chip), p))
	case "recontact":
		return verdict(bus.Verdict{Verdict: perso.VerdictRecontact, Reason: perso.ReasonContact})
	case "hold":
		return verdict(bus.Verdict{Verdict: perso.VerdictHold, Reason: perso.ReasonLotWaiting, RetryAfter: 100 * time.Millisecond})
	case "hold for ever":
		return verdict(bus.Verdict{Verdict: perso.VerdictHold, RetryAfter: 1 << 60})
	case "stop":
		return verdict(bus.Verdict{Verdict: perso.VerdictStop, Reason: perso.ReasonTwin})
	case "new verdict":
		return verdict(bus.Verdict{Verdict: "sell"})
	case "away":
		return NoAnswer{t, Away, "nobody"}
	case "session ended":
		return NoAnswer{t, Ended, "ended"}
	case "invalid":
		return NoAnswer{t, Invalid, "no"}
	case "reported":
		return Reported{t}
	}
	return nil
}

func describe(e Effect) string {
	switch e := e.(type) {
	case Contact:
		return map[bool]string{false: "Contact", true: "Lift+Contact"}[e.Lift]
	case Play:
		return fmt.Sprintf("Play(%d)", len(e.Window))
	case AskAct:
		return fmt.Sprintf("Act(%d@%d,%d)", e.Request.N, e.Request.Present.Number, len(e.Request.Responses))
	case AskPresent:
		return fmt.Sprintf("Present(%s,%d)", e.Request.Reason, e.Request.Tries)
	case Bin:
		return fmt.Sprintf("Bin(%s@%d)", e.Request.Bin, e.Request.Present.Number)
	case ReportBin:
		return fmt.Sprintf("Report(%s@%d)", e.Request.Bin, e.Request.Present.Number)
	case Wait:
		return fmt.Sprintf("Wait(%s)", e.For)
	case Stop:
		return fmt.Sprintf("Stop(%s)", e.Cause)
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", e), "lineside.")
}

func TestHeadStories(t *testing.T) {
	t.Parallel()
	for name, story := range stories(t) {
		if piece, ok := strings.CutPrefix(name, "story "); ok {
			t.Run(piece, func(t *testing.T) {
				t.Parallel()
				newStage(t).run(story)
			})
		}
	}
}

// stories reads testdata/head.stories: pieces and stories by their title line, with the pieces put in.
func stories(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	title := ""
	for line := range strings.SplitSeq(string(mustDo(os.ReadFile("testdata/head.stories"))), "\n") {
		piece, isPiece := strings.CutPrefix(line, "+ ")
		switch {
		case strings.HasPrefix(line, "story ") || strings.HasPrefix(line, "piece "):
			if title = line; all[title] != "" {
				t.Fatalf("%q is told twice", title)
			}
		case isPiece && all["piece "+piece] != "":
			all[title] += all["piece "+piece]
		case line != "" && line[0] != '#':
			all[title] += line + "\n"
		}
	}
	return all
}

func TestEqualFailuresStopTheHead(t *testing.T) {
	t.Parallel()
	const next = "loaded: contacting Contact\ncontacted: identifying Play(2)\nidentified: waiting-for-challenge NeedChallenge\nchallenge: opening Play(1)\n"
	s := newStage(t)
	s.run("begin: loading Load")
	s.h.unsure = false
	chip := func(word, verdict, after string) {
		t.Helper()
		n := s.number + 1
		s.run(next + fmt.Sprintf("opened: asking Act(0@%d,0)\n%s: binning%s Bin(%s@%d)\nbinned: reporting Report(%s@%d)\nreported: %s",
			n, word, map[bool]string{true: "", false: " Note"}[word == "good"], verdict, n, verdict, n, after))
	}
	for range MaxEqualFailures - 1 {
		chip("live", "reject-live", "loading Load")
	}
	chip("live for data", "reject-live", "loading Load") // another reason: the count begins again
	for range MaxEqualFailures - 1 {
		chip("live", "reject-live", "loading Load")
	}
	chip("good", "good", "loading Load") // good resets
	for range MaxEqualFailures - 1 {
		chip("live", "reject-live", "loading Load")
	}
	chip("live", "reject-live", "stopped Stop(equal-failures)")
	if !s.h.Vacant() {
		t.Error("the last chip is binned, yet the place does not count as vacant")
	}
	s.run("resume: loading Load\nloaded: contacting Lift+Contact")
	if got := s.h.Status(s.now); got.Good != 1 || got.RejectLive != 14 || got.Equal != 0 || got.YieldGood != 1 || got.YieldOf != 15 || len(got.Reasons) != maxReasons {
		t.Errorf("status = %+v", got)
	}
}

func TestContactsAreBounded(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.run(stories(t)["piece contacted"])
	for i := 1; i < MaxContacts; i++ {
		s.run(fmt.Sprintf("mute: asking Present(mute,%d)\nrecontact: contacting Note Lift+Contact", i))
	}
	s.run(fmt.Sprintf("mute: asking Present(mute,%d)\nrecontact: stopped Note Stop(contacts)", MaxContacts))
}

// TestRequests looks into the messages that the stories only name.
func TestRequests(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.run(stories(t)["piece asked"])
	first := *s.h.at.asked
	if got := first.Command; !bytes.Equal(got[:5], []byte{0x80, 0x50, 0x00, 0x00, 0x08}) || got[len(got)-1] != 0 {
		t.Errorf("INITIALIZE UPDATE = %X", got)
	}
	if first.Serial != 1 || len(first.Identify) != 2 || !bytes.Equal(first.ATR, unhex(testATR)) || first.Lot != testLot || !bytes.Equal(first.Answer, updateAnswer(1, 1)) {
		t.Errorf("act 0 = %+v", first)
	}
	s.run("away: asking Wait(50ms)\nwaited: asking Act(0@100,0)")
	if !reflect.DeepEqual(*s.h.at.asked, first) {
		t.Error("asked again with another transcript")
	}
	s.run("window: playing Play(2)\ncut: asking Act(1@100,1)")
	if got := *s.h.at.asked; got.Session != first.Session || got.Command != nil || got.Serial != 0 || !bytes.Equal(got.Responses[0], ok(1)) {
		t.Errorf("act 1 = %+v", got)
	}
	s.run("recontact: contacting Note Lift+Contact\nmute: asking Present(mute,2)")
	if got := *s.h.at.told; !bytes.Equal(got.Chip, chipNo(1).Bytes()) || got.Present.Number != 101 {
		t.Errorf("report = %+v: the chip was read in this place before", got)
	}
}

// TestBinsOfTheHandler plays verdicts on a handler with other bins than the standard ones: the handler hears its own names, the ledger
// what a chip counts as.
func TestBinsOfTheHandler(t *testing.T) {
	t.Parallel()
	plan, err := bins.New([]bins.Bin{{Name: "A", Takes: []string{"good"}, Means: bins.Output}, {Name: "L", Takes: []string{"reject-live"}, Means: bins.Destroy},
		{Name: "C", Takes: []string{"reject-blank/mute"}, Means: bins.Quality}, {Name: "D", Takes: []string{"reject-blank"}, Means: bins.Quality}})
	if err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string]struct {
		into   perso.Bin
		counts perso.Verdict
	}{"good": {"A", perso.VerdictGood}, "live": {"L", perso.VerdictRejectLive}, "blank": {"C", perso.VerdictRejectBlank}, "return": {"D", perso.VerdictRejectBlank}} {
		s := newStage(t)
		s.h.bins = plan
		s.run(stories(t)["piece asked"])
		var got Bin
		for _, e := range s.h.Step(s.now, s.event(word)) {
			if b, ok := e.(Bin); ok {
				got = b
			}
		}
		if got.Into != want.into || got.Request.Bin != want.counts {
			t.Errorf("%s goes into %q and counts as %q, want %v", word, got.Into, got.Request.Bin, want)
		}
		back := &Head{bins: plan}
		back.recover(got.Request)
		if _, counts, _ := plan.For(back.at.bin.Bin, ""); counts != want.counts {
			t.Errorf("after a restart %s counts as %q", word, counts)
		}
	}
}

func TestEquipmentTime(t *testing.T) {
	t.Parallel()
	s := newStage(t) // each step comes one second after the one before
	s.run(stories(t)["piece asked"] + `
		away: asking Wait(50ms)
		waited: asking Act(0@100,0)
		hold: held Wait(100ms)
		waited: asking Act(0@100,0)
		stop: stopped Stop(verdict)
		resume: loading Load
		none: reel-empty Wait(1s)
		pause: idle
		disable: stopped Stop(disabled)
		resume: loading Load
		over: loading
		none: done`)
	begin, end := testTime().Add(time.Second), s.now.Add(10*time.Second)
	want := map[E10]time.Duration{Productive: 9 * time.Second, StandbyHost: 4 * time.Second, UnscheduledDown: time.Second, StandbyMaterial: time.Second,
		StandbyOperator: time.Second, ScheduledDown: time.Second, StandbyJob: 10 * time.Second}
	got := s.h.clock.durations(end)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("times = %v, want %v", got, want)
	}
	var sum time.Duration
	for _, d := range got {
		sum += d
	}
	if sum != end.Sub(begin) {
		t.Errorf("times add up to %v of %v", sum, end.Sub(begin))
	}
	s.h.Step(begin, Pause) // a clock that goes back takes nothing away
	if again := s.h.clock.durations(end); !reflect.DeepEqual(again, want) {
		t.Errorf("after the clock went back: %v", again)
	}
}

func TestParseCommand(t *testing.T) {
	t.Parallel()
	if _, err := ParseCommand("abort"); err == nil {
		t.Error("an unknown command passed")
	}
}
