// Package progress shows how a lot comes along: a block of lines that is drawn anew on a terminal, or one line every few
// seconds in a file.
//
// It is fed with the ledger's own snapshots (bus.StatusReply) and reads no clock: speed and time left follow from the
// stamps in them, so that a replay shows the same. The environment stands first on every line, because a test lot must
// never be taken for a production lot. The commands of perso/cmd use it; it is not for concurrent use.
package progress

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

const (
	// terminalEvery is faster than an eye follows and slower than a terminal draws.
	terminalEvery = 200 * time.Millisecond
	// plainEvery keeps the log of a shift readable.
	plainEvery = 5 * time.Second

	defaultColumns = 80
	barColumns     = 40
)

// Options say where the display goes.
type Options struct {
	TTY      bool       // the writer is a terminal that knows ANSI cursor movement
	Width    func() int // its columns, asked each time; nil means 80
	ChipTime string     // what time the chips take, for virtual ones: "chip time: scaled 1:20"
}

// Progress is one display.
type Progress struct {
	w     io.Writer
	o     Options
	meter meter
	last  bus.StatusReply
	shown time.Time // stamp of the snapshot that is shown
	block int       // lines of the block on the terminal
	done  bool
}

// New makes a display that shows nothing yet.
func New(w io.Writer, o Options) *Progress {
	if o.Width == nil {
		o.Width = func() int { return defaultColumns }
	}
	return &Progress{w: w, o: o}
}

// Update takes the next snapshot of the lot, and shows it when the last one was shown long enough. A lot that is complete
// is for Done to show.
func (p *Progress) Update(s bus.StatusReply) {
	p.last = s
	if s.State == perso.LotComplete || s.State == perso.LotClosed {
		return
	}
	every := plainEvery
	if p.o.TTY {
		every = terminalEvery
	}
	if !p.shown.IsZero() && s.Now.Sub(p.shown) < every {
		return
	}
	p.meter.add(s)
	p.show()
}

// Done shows the last snapshot with the speed since the first one, and leaves it standing.
func (p *Progress) Done() {
	if p.last.Lot == "" {
		return
	}
	p.meter.add(p.last)
	p.done = true
	p.show()
	p.block = 0
}

// Say puts a line of text above the block.
func (p *Progress) Say(text string) {
	var b bytes.Buffer
	p.rewind(&b)
	b.WriteString(text + "\n")
	p.block = 0
	if p.o.TTY && p.last.Lot != "" {
		p.draw(&b)
	}
	p.write(b.Bytes())
}

func (p *Progress) show() {
	p.shown = p.last.Now
	var b bytes.Buffer
	if p.o.TTY {
		p.rewind(&b)
		p.draw(&b)
	} else {
		b.WriteString(p.line() + "\n")
	}
	p.write(b.Bytes())
}

// write drops the error: a display that is gone stops no production.
func (p *Progress) write(b []byte) { _, _ = p.w.Write(b) }

// rewind goes back to the block's first line and wipes the block.
func (p *Progress) rewind(b *bytes.Buffer) {
	if p.block > 0 {
		fmt.Fprintf(b, "\x1b[%dA\r\x1b[J", p.block)
	}
}

func (p *Progress) draw(b *bytes.Buffer) {
	width := max(p.o.Width(), 2) - 1 // the last column makes some terminals wrap
	lines := p.lines(width)
	for _, l := range lines {
		if r := []rune(l); len(r) > width {
			l = string(r[:width])
		}
		b.WriteString(l + "\n")
	}
	p.block = len(lines)
}

// lines are the block for a terminal.
func (p *Progress) lines(width int) []string {
	s := p.last
	head := fmt.Sprintf("%s  lot %s  %s", strings.ToUpper(string(s.Env)), s.Lot, s.State)
	if p.o.ChipTime != "" {
		head += "  " + p.o.ChipTime
	}
	yield, first := Yield(s)
	out := []string{
		head,
		fmt.Sprintf("%s %d/%d good  %s  %d in work", bar(s, min(barColumns, width/2)), s.Good, s.Ordered, Percent(s.Good, s.Ordered), s.Open),
		fmt.Sprintf("%s   yield %s   first pass %s", strings.Join(p.pace(), "   "), yield, first),
	}
	if r := Rejects(s); r != "" {
		out = append(out, r)
	}
	if t := Troubles(s); t != "" {
		out = append(out, t)
	}
	return out
}

// line is the same for a file.
func (p *Progress) line() string {
	s := p.last
	yield, first := Yield(s)
	text := fmt.Sprintf("%s lot %s %s: %d/%d good (%s), %d in work, %s, yield %s, first pass %s",
		strings.ToUpper(string(s.Env)), s.Lot, s.State, s.Good, s.Ordered, Percent(s.Good, s.Ordered), s.Open, strings.Join(p.pace(), ", "), yield, first)
	if p.o.ChipTime != "" {
		text += ", " + p.o.ChipTime
	}
	if r := Rejects(s); r != "" {
		text += ", " + r
	}
	if t := Troubles(s); t != "" {
		text += "; " + t
	}
	return text
}

// pace is the speed, and how long it will take at that.
func (p *Progress) pace() []string {
	if perHour, known := p.meter.average(); p.done && known {
		return []string{fmt.Sprintf("%.0f units/h on average", perHour)}
	}
	perHour, known := p.meter.perHour()
	if !known {
		return []string{"- units/h"}
	}
	return []string{fmt.Sprintf("%.0f units/h", perHour), "time left " + remaining(p.last, perHour)}
}

func bar(s bus.StatusReply, columns int) string {
	full := 0
	if s.Ordered > 0 {
		full = int(min(s.Good, s.Ordered) * uint64(columns) / s.Ordered)
	}
	return strings.Repeat("█", full) + strings.Repeat("░", columns-full)
}
