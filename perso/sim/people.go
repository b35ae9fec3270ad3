package sim

import (
	"time"

	"github.com/persoline/persoline/lineside"
)

// maxStrikes is how often an operator has the same chip tried again before setting it aside.
const maxStrikes = 3

// stopped calls an operator, who comes within a minute.
func (l *lineHost) stopped(head int, s lineside.Stopped) {
	w := l.w
	w.stats.Stops++
	w.note(headName(head), "stops: %s %s %s", s.Cause, s.Reason, s.Text)
	if c := l.machine.heads[head]; c != nil && s.Cause != lineside.CauseDisabled {
		c.strikes++
	}
	l.later(w.between(5*time.Second, time.Minute), "operator", "", func() {
		if c := l.machine.heads[head]; c != nil && c.strikes >= maxStrikes {
			l.machine.setAside(head)
		}
		w.note("operator", "resumes %s", headName(head))
		l.step(head, lineside.Resume)
	})
}

// whim is an operator who presses something. Between restart and work order nobody does: a head that is paused or left out
// before it looked at its place takes it for empty, and the lot ends with a difference.
func (l *lineHost) whim() {
	w := l.w
	if l.station == nil || l.taking != 0 {
		return
	}
	head := w.rng.IntN(int(w.cfg.Heads))
	c := []lineside.Command{lineside.Pause, lineside.Resume, lineside.Disable, lineside.Resume}[w.rng.IntN(4)]
	w.note("operator", "%ss %s", c, headName(head))
	l.step(head, c)
	if c != lineside.Resume { // nobody stays away for ever
		l.later(w.between(time.Second, 30*time.Second), "operator", "", func() {
			w.note("operator", "resumes %s", headName(head))
			l.step(head, lineside.Resume)
		})
	}
}

// reelEmpty has an operator bring chips, one reel at a time.
func (l *lineHost) reelEmpty() {
	if l.reelComing {
		return
	}
	l.reelComing = true
	l.w.newReelLater()
}
