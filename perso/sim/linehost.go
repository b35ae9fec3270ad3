package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/persoline/persoline/lineside"
	"github.com/persoline/persoline/lineside/bins"
	"github.com/persoline/persoline/lineside/journal"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/sealing"
)

// lineHost is the line's machine: the shell that carries out a station's effects, in virtual time. Chips, handler and
// journal disk outlive the station.
type lineHost struct {
	w       *World
	machine *machine
	disk    *journalDisk

	life    int
	journal *journal.Journal
	station *lineside.Station // nil while it is down
	start   journal.Counters
	taking  lineside.Ticket // a TakeJob that waits for a work order
	orders  int             // copies of the work order in the queue

	reelComing bool
	keys       map[int]*sealing.Key // of the presentations in hand, by head, of chips without a secure channel
}

// newLine makes the line's journal and machine.
func (w *World) newLine(context.Context) error {
	dir := filepath.Join(w.cfg.Dir, "line")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := journal.Create(dir, 1); err != nil {
		return err
	}
	content, err := os.ReadFile(filepath.Join(dir, "journal"))
	if err != nil {
		return err
	}
	m := &machine{w: w, heads: make([]*chip, w.cfg.Heads), bins: map[perso.Verdict][]*chip{}}
	w.line = &lineHost{w: w, machine: m, disk: &journalDisk{w: w, content: content}}
	return nil
}

// begin starts everything that moves.
func (w *World) begin() {
	w.publish()
	w.disasters()
	w.line.restart()
	if w.quality != nil {
		w.quality.comes()
	}
}

// republish is how often the ledger puts work orders of unfinished lots on the queue again.
const republish = 2 * time.Minute

// publish puts the work order on the queue when the ledger has one to give, also after the queue was lost (I3).
func (w *World) publish() {
	w.after(republish, "ledger", "", w.publish)
	if w.ledger.core == nil {
		return
	}
	work, err := w.ledger.core.WorkOrders(context.Background())
	if err != nil || len(work) == 0 {
		return
	}
	w.line.orders = 1
	w.line.takeJob()
}

func (l *lineHost) restart() {
	w := l.w
	l.life++
	l.keys = map[int]*sealing.Key{} // those of before went with the process
	var err error
	if l.journal, err = journal.OpenStorage(l.disk); err != nil {
		w.note(lineName, "does not start: %v", err)
		l.later(time.Second, lineName, "starts again", l.restart)
		return
	}
	trust := lineside.Trust{Origin: logOrigin, Key: w.site.made.LogKey}
	if l.station, err = lineside.NewStation(lineName, w.cfg.Heads, bins.Standard(), trust); err != nil {
		panic(err) // the configuration is constant
	}
	outs, err := l.station.Start(w.clock(), l.journal.Pending())
	if err != nil {
		w.fail("line", "starting the station: %v", err)
		return
	}
	l.carryOut(outs)
}

// queueLost is how often the bus loses its work queue when a line goes down.
const queueLost = 0.1

// crash loses the station. The chips stay where they are, without power.
func (l *lineHost) crash(why string) {
	if l.station == nil {
		return
	}
	w := l.w
	w.stats.LineCrashes++
	w.note(lineName, "down: %s", why)
	if w.chance(queueLost) && l.orders > 0 {
		w.note("bus", "the work queue is lost")
		l.orders = 0
	}
	l.life++
	l.station, l.taking = nil, 0
	for _, c := range l.machine.heads {
		if c != nil {
			c.card.PowerOff()
		}
	}
	l.later(w.between(100*time.Millisecond, 5*time.Second), lineName, "starts again", l.restart)
}

// later plans an event of this life of the line.
func (l *lineHost) later(d time.Duration, who, what string, do func()) {
	life := l.life
	l.w.after(d, who, "", func() {
		if l.life != life {
			return
		}
		if what != "" {
			l.w.note(who, "%s", what)
		}
		do()
	})
}

// step feeds the station.
func (l *lineHost) step(head int, ev lineside.Event) {
	if l.station != nil {
		l.carryOut(l.station.Step(l.w.clock(), head, ev))
	}
}

func (l *lineHost) carryOut(outs []lineside.Out) {
	for _, o := range outs {
		l.effect(o.Head, o.Effect)
	}
}

// effect begins one effect; its answer comes as an event.
func (l *lineHost) effect(head int, e lineside.Effect) {
	w, m, who := l.w, l.machine, headName(head)
	switch e := e.(type) {
	case lineside.Wait:
		l.later(e.For, who, "", func() { l.step(head, lineside.Waited{Ticket: e.Ticket}) })
	case lineside.Stop:
		l.stopped(head, e.Stopped)
	case lineside.Note:
		w.note(who, "note: %s %s %s", e.Verdict, e.Reason, e.Text)
	case lineside.Load:
		l.order(head, e.Ticket, "", 30*time.Millisecond, func() {
			found := m.load(head)
			if !found {
				l.reelEmpty()
			}
			l.step(head, lineside.Loaded{Ticket: e.Ticket, Found: found})
		})
	case lineside.Contact:
		l.contact(head, e)
	case lineside.MakeKey:
		l.makeKey(head, e)
	case lineside.Play:
		l.open(head, e)
	case lineside.Bin:
		l.bin(head, e)
	case lineside.AskAct:
		l.ask(head, e.Ticket, bus.LineAct, *e.Request)
	case lineside.AskPresent:
		l.ask(head, e.Ticket, bus.LinePresent, *e.Request)
	case lineside.ReportBin:
		l.report(head, e)
	case lineside.AskChallenges:
		l.askChallenges(e)
	case lineside.TakeJob:
		l.taking = e.Ticket
		l.takeJob()
	case lineside.Finish:
		l.finish(e)
	default:
		w.fail("line", "effect %T is not known", e)
	}
}

// order has the machine do something, or fail at it: before, or although it was done.
func (l *lineHost) order(head int, t lineside.Ticket, what string, d time.Duration, do func()) {
	w := l.w
	l.later(d, headName(head), what, func() {
		if !w.chance(w.cfg.Faults.Handler) {
			do()
			return
		}
		w.note(headName(head), "handler fault")
		l.step(head, lineside.Fault{Ticket: t, Text: "jammed"})
	})
}

func (l *lineHost) contact(head int, e lineside.Contact) {
	w := l.w
	number, err := l.journal.Number(uint16(head))
	if err != nil {
		l.crash(err.Error())
		return
	}
	l.order(head, e.Ticket, "", 15*time.Millisecond, func() {
		c := l.machine.heads[head]
		if c == nil {
			l.step(head, lineside.Fault{Ticket: e.Ticket, Text: "nothing lies here"})
			return
		}
		atr := c.card.PowerOn()
		w.note(headName(head), "contact %d: %s, ATR of %d bytes", number, c.name, len(atr))
		l.step(head, lineside.Contacted{Ticket: e.Ticket, Number: number, ATR: atr})
	})
}

// makeKey makes the key pair of the presentation in hand.
func (l *lineHost) makeKey(head int, e lineside.MakeKey) {
	key, err := sealing.NewKey(l.w.stream())
	if err != nil {
		l.w.fail("line", "making a key: %v", err)
		return
	}
	l.keys[head] = &key
	l.step(head, lineside.KeyMade{Ticket: e.Ticket, Public: key.Public()})
}

// open opens a window that comes sealed. One that is not for this presentation must never come.
func (l *lineHost) open(head int, e lineside.Play) {
	if e.Sealed == nil {
		l.play(head, e, nil)
		return
	}
	key := l.keys[head]
	if key == nil {
		l.w.fail("line", "a sealed window came to head %d, which has no key", head)
		return
	}
	window, err := e.Sealed.Open(*key)
	if err != nil {
		l.w.fail("line", "a sealed window does not open: %v", err)
		return
	}
	e.Window = window
	l.play(head, e, nil)
}

// play sends the next command of a window.
func (l *lineHost) play(head int, e lineside.Play, responses [][]byte) {
	if len(responses) == len(e.Window) {
		l.step(head, lineside.Played{Ticket: e.Ticket, Responses: responses})
		return
	}
	l.later(l.w.between(4*time.Millisecond, 12*time.Millisecond), headName(head), "", func() {
		p := e.Window[len(responses)]
		answer := l.machine.transmit(head, p.APDU)
		_, sw, err := apdu.SWOf(answer)
		if err != nil {
			l.w.note(headName(head), "command %d of %d: no answer", len(responses)+1, len(e.Window))
			l.step(head, lineside.Played{Ticket: e.Ticket, Responses: responses, Lost: true})
			return
		}
		responses = append(responses, answer)
		if mask, err := apdu.ParseMask(p.SW); err != nil || !mask.Match(sw) {
			l.w.note(headName(head), "command %d of %d: %v", len(responses), len(e.Window), sw)
			l.step(head, lineside.Played{Ticket: e.Ticket, Responses: responses})
			return
		}
		l.play(head, e, responses)
	})
}

// bin writes the journal first; between that and the movement the line may die.
func (l *lineHost) bin(head int, e lineside.Bin) {
	if err := l.journal.Bin(e.Request); err != nil {
		l.crash(err.Error())
		return
	}
	l.order(head, e.Ticket, "bins "+string(e.Request.Bin), 40*time.Millisecond, func() {
		l.machine.bin(head, e.Request.Bin)
		if l.w.chance(l.w.cfg.Faults.Handler) {
			l.step(head, lineside.Fault{Ticket: e.Ticket, Text: "moved, but not confirmed"})
			return
		}
		l.step(head, lineside.Binned{Ticket: e.Ticket})
	})
}

// alive wraps an answer to a question so that it is not heard in another life.
func alive[A any](l *lineHost, done func(A, error)) func(A, error) {
	life := l.life
	return func(a A, err error) {
		if l.life == life {
			done(a, err)
		}
	}
}

func (l *lineHost) ask(head int, t lineside.Ticket, verb string, q any) {
	send(l.w, bus.LineSubject(lineName, verb), q, alive(l, func(a bus.ActReply, err error) {
		if err != nil {
			l.step(head, noAnswer(t, err))
			return
		}
		l.step(head, lineside.Replied{Ticket: t, Reply: a})
	}))
}

func (l *lineHost) askChallenges(e lineside.AskChallenges) {
	send(l.w, bus.LineSubject(lineName, bus.LineChallenges), e.Request, alive(l, func(a bus.ChallengesReply, err error) {
		if err != nil {
			l.step(lineside.Self, noAnswer(e.Ticket, err))
			return
		}
		l.step(lineside.Self, lineside.Challenges{Ticket: e.Ticket, Reply: a})
	}))
}

func (l *lineHost) report(head int, e lineside.ReportBin) {
	send(l.w, bus.LineSubject(lineName, bus.LineBin), e.Request, alive(l, func(_ bus.Empty, err error) {
		if err != nil {
			l.w.note(headName(head), "bin not acknowledged: %v", err)
			l.step(head, noAnswer(e.Ticket, err))
			return
		}
		if err := l.journal.Acknowledged(uint16(head)); err != nil {
			l.crash(err.Error())
			return
		}
		l.step(head, lineside.Reported{Ticket: e.Ticket})
	}))
}

// noAnswer says what an error of the bus means, as the line's shell does.
func noAnswer(t lineside.Ticket, err error) lineside.NoAnswer {
	kind := lineside.Away
	var f *bus.Fault
	if errors.As(err, &f) {
		switch f.Code {
		case bus.FaultRefused, bus.FaultNotFound:
			kind = lineside.Ended
		case bus.FaultBadMessage, bus.FaultConflict:
			kind = lineside.Invalid
		}
	}
	return lineside.NoAnswer{Ticket: t, Kind: kind, Text: err.Error()}
}

// takeJob hands out the work order when there is one, once.
func (l *lineHost) takeJob() {
	w := l.w
	if l.taking == 0 || l.orders == 0 || l.station == nil {
		return
	}
	work := w.site.work
	if l.journal.Done(work.Order.ID) {
		l.orders = 0
		return
	}
	t := l.taking
	l.later(10*time.Millisecond, lineName, "takes the work order", func() {
		if l.taking != t {
			return // taken already
		}
		job, err := lineside.NewJob(work.Order, work.Script)
		if err != nil {
			w.fail("line", "reading the work order: %v", err)
			return
		}
		now := l.counters()
		begun, err := l.journal.Begin(journal.Job{ID: job.ID, Lot: job.Lot, Start: now})
		if err != nil {
			l.crash(err.Error())
			return
		}
		l.start = begun.Start
		l.taking = 0
		l.step(lineside.Self, lineside.JobTaken{Ticket: t, Job: job, Good: now.Good + now.Sample - begun.Start.Good - begun.Start.Sample})
	})
}

func (l *lineHost) counters() journal.Counters { return l.machine.counters() }

// finish reports the handler's counters until the ledger says yes.
func (l *lineHost) finish(e lineside.Finish) {
	c, s := l.counters(), l.start
	q := bus.CountRequest{Lot: e.Job.Lot, Source: "handler", In: c.In - s.In, Good: c.Good - s.Good, RejectBlank: c.RejectBlank - s.RejectBlank,
		RejectLive: c.RejectLive - s.RejectLive, Return: c.Return - s.Return, Sample: c.Sample - s.Sample}
	send(l.w, bus.LineSubject(lineName, bus.LineCount), q, alive(l, func(_ bus.Empty, err error) {
		if err != nil {
			l.later(time.Second, lineName, "repeats its count", func() { l.finish(e) })
			return
		}
		if err := l.journal.End(e.Job.ID); err != nil {
			l.crash(err.Error())
			return
		}
		l.orders = 0
		l.w.note(lineName, "is done with the work order")
		l.step(lineside.Self, lineside.Finished{Ticket: e.Ticket})
	}))
}

// journalDisk is the line journal's storage: an append may be lost, torn, or be there although it failed.
type journalDisk struct {
	w       *World
	content []byte
}

// Read is journal.Storage's.
func (d *journalDisk) Read() ([]byte, error) { return bytes.Clone(d.content), nil }

// Append is journal.Storage's.
func (d *journalDisk) Append(b []byte) error {
	if !d.w.chance(d.w.cfg.Faults.LineWrite) {
		d.content = append(d.content, b...)
		return nil
	}
	n := []int{0, len(b), d.w.rng.IntN(len(b))}[d.w.rng.IntN(3)]
	d.content = append(d.content, b[:n]...)
	return fmt.Errorf("%w: %d of %d bytes written", errDisk, n, len(b))
}

// Replace is journal.Storage's: the old file or the new one.
func (d *journalDisk) Replace(b []byte) error {
	d.content = bytes.Clone(b)
	return nil
}
