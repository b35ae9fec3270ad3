package progress

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

var start = time.Date(2027, 3, 1, 8, 0, 0, 0, time.UTC)

func after(d time.Duration, good uint64, reasons ...bus.ReasonCount) bus.StatusReply {
	return bus.StatusReply{
		Env: perso.EnvTest, Lot: "L1", State: perso.LotRunning, Ordered: 100, Good: good, Open: 4, Now: start.Add(d), Reasons: reasons,
	}
}

func TestPlain(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := New(&out, Options{ChipTime: "chip time: scaled 1:20"})
	p.Update(after(0, 0))
	p.Update(after(time.Second, 3)) // too soon for a line
	p.Say("something happened")
	p.Update(after(6*time.Second, 10, bus.ReasonCount{Verdict: perso.VerdictRejectLive, Reason: perso.ReasonStatus, Count: 1}))
	last := after(7*time.Second, 14)
	last.State = perso.LotComplete
	p.Update(last)
	p.Done()
	want := `TEST lot L1 running: 0/100 good (0.0 %), 4 in work, - units/h, yield -, first pass -, chip time: scaled 1:20
something happened
TEST lot L1 running: 10/100 good (10.0 %), 4 in work, 6000 units/h, time left 54s, yield 90.9 %, first pass 90.9 %, chip time: scaled 1:20, reject-live: status 1
TEST lot L1 complete: 14/100 good (14.0 %), 4 in work, 7200 units/h on average, yield 100.0 %, first pass 100.0 %, chip time: scaled 1:20
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// TestTroubles: whoever follows a lot sees that heads wait for the vault.
func TestTroubles(t *testing.T) {
	t.Parallel()
	s := after(90*time.Second, 10)
	s.Troubles = []bus.Trouble{{Since: start, Fault: "internal: no session"}, {Since: start.Add(time.Second), Fault: "no answer"}}
	s.MoreTroubles = 3
	const want = "5 heads wait for the vault, the longest for 1m30s: internal: no session"
	for _, tty := range []bool{true, false} {
		var out bytes.Buffer
		New(&out, Options{TTY: tty, Width: func() int { return 100 }}).Update(s)
		if !strings.Contains(out.String(), want) {
			t.Errorf("terminal %t: %q", tty, out.String())
		}
	}
}

func TestTerminalDrawsInPlace(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := New(&out, Options{TTY: true, Width: func() int { return 41 }})
	p.Update(after(0, 50))
	p.Update(after(100*time.Millisecond, 51)) // within one frame
	p.Update(after(time.Second, 52))
	p.Done()
	block := func(good int, speed string) string {
		return fmt.Sprintf("TEST  lot L1  running\n██████████░░░░░░░░░░ %d/100 good  %d.0 %%\n%s", good, good, speed)
	}
	want := block(50, "- units/h   yield 100.0 %   first pass 1\n") +
		"\x1b[3A\r\x1b[J" + block(52, "7200 units/h   time left 24s   yield 100\n") +
		"\x1b[3A\r\x1b[J" + block(52, "7200 units/h on average   yield 100.0 % \n")
	if out.String() != want {
		t.Errorf("got\n%q\nwant\n%q", out.String(), want)
	}
	for line := range strings.Lines(out.String()) {
		if _, text, ok := strings.Cut(line, "\x1b[J"); ok {
			line = text
		}
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 40 {
			t.Errorf("line of %d columns would wrap: %q", n, line)
		}
	}
}

func TestNothingToShow(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	New(&out, Options{}).Done()
	if out.Len() > 0 {
		t.Errorf("a display without a snapshot wrote %q", out.String())
	}
}

func TestSpeedForgetsThePast(t *testing.T) {
	t.Parallel()
	var m meter
	for i := range 600 { // a minute at 10/s, then it stands for nine
		m.add(after(time.Duration(i)*time.Second, min(uint64(i), 60)*10))
	}
	if v, known := m.perHour(); !known || v != 0 {
		t.Errorf("speed is %v (%v), want 0 after nine minutes of standstill", v, known)
	}
	if v, _ := m.average(); v < 3600 || v > 3612 {
		t.Errorf("average is %v, want 600 units in 599 s", v)
	}
	if len(m.samples) > int(window/time.Second)+2 {
		t.Errorf("the window holds %d samples", len(m.samples))
	}
}

func TestYield(t *testing.T) {
	t.Parallel()
	count := func(v perso.Verdict, r perso.Reason, n uint64) bus.ReasonCount {
		return bus.ReasonCount{Verdict: v, Reason: r, Count: n}
	}
	for _, c := range []struct {
		name                  string
		s                     bus.StatusReply
		yield, first, rejects string
	}{
		{"nothing yet", after(0, 0), "-", "-", ""},
		{"all good", after(0, 100, count(perso.VerdictGood, perso.ReasonNone, 100)), "100.0 %", "100.0 %", ""},
		{"never rounded up", after(0, 9999, count(perso.VerdictRejectBlank, perso.ReasonMute, 1)), "99.9 %", "99.9 %", "reject-blank: mute 1"},
		{"contacts repeated", after(0, 96, count(perso.VerdictRejectBlank, perso.ReasonMute, 1), count(perso.VerdictRejectLive, perso.ReasonProof, 1),
			count(perso.VerdictRejectLive, perso.ReasonStatus, 2), count(perso.VerdictRecontact, perso.ReasonContact, 6), count(perso.VerdictStop, perso.ReasonTwin, 1)),
			"96.0 %", "at least 90.0 %", "reject-live: status 2, proof 1; reject-blank: mute 1; stop: twin-chip 1"},
		{"more contacts than chips", after(0, 1, count(perso.VerdictRecontact, perso.ReasonContact, 6)), "100.0 %", "at least 0.0 %", ""},
	} {
		yield, first := Yield(c.s)
		if rejects := Rejects(c.s); yield != c.yield || first != c.first || rejects != c.rejects {
			t.Errorf("%s: got %q, %q, %q, want %q, %q, %q", c.name, yield, first, rejects, c.yield, c.first, c.rejects)
		}
	}
}

func TestTimeLeft(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		perHour float64
		want    string
	}{{0, "-"}, {0.01, "-"}, {60, "1h40m"}, {3600, "1m40s"}, {1e9, "0s"}} {
		if got := remaining(after(0, 0), c.perHour); got != c.want {
			t.Errorf("100 units at %v/h take %q, want %q", c.perHour, got, c.want)
		}
	}
	if got := remaining(after(0, 100), 0); got != "-" {
		t.Errorf("nothing left at a standstill takes %q", got)
	}
	held := after(0, 0)
	if held.Waits = "quality has not signed"; remaining(held, 3600) != "-" {
		t.Errorf("a lot that waits for people has %q left", remaining(held, 3600))
	}
}
