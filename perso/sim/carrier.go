package sim

import (
	"fmt"
	"time"

	"github.com/persoline/persoline/perso/bus"
)

// askTimeout is how long a question to the ledger may take, as in the line's shell.
const askTimeout = 10 * time.Second

// send asks the ledger and calls done once: with the first answer that arrives, or with bus.ErrNoAnswer.
func send[A, Q any](w *World, subject string, q Q, done func(A, error)) {
	var none A
	data, err := bus.Encode(q)
	if err != nil {
		panic(fmt.Sprintf("encoding for %s: %v", subject, err))
	}
	w.said, w.heard = append(w.said, question{subject, data}), append(w.heard, data)
	settled := false
	settle := func(raw []byte, err error) {
		if settled {
			return
		}
		settled = true
		if err != nil {
			done(none, err)
			return
		}
		done(unwrap[A](raw))
	}
	w.after(askTimeout, "bus", "", func() {
		if !settled {
			w.note("bus", "no answer to %s", verbOf(subject))
		}
		settle(nil, bus.ErrNoAnswer)
	})
	w.carry(verbOf(subject), func() {
		w.ledger.serve(subject, data, func(reply []byte) {
			w.carry("answer to "+verbOf(subject), func() { settle(reply, nil) })
		})
	})
}

// carry moves a message: it may be lost, come twice, or so late that nobody waits for it any more.
func (w *World) carry(what string, arrive func()) {
	f := &w.cfg.Faults
	copies := 1
	if w.chance(f.Doubled) {
		copies = 2
		w.stats.Doubled++
	}
	for range copies {
		if w.chance(f.Lost) {
			w.stats.Lost++
			w.note("bus", "%s lost", what)
			continue
		}
		delay := w.between(500*time.Microsecond, 5*time.Millisecond)
		if w.chance(f.Late) {
			w.stats.Late++
			delay = w.between(100*time.Millisecond, 2*askTimeout)
		}
		w.after(delay, "bus", what, arrive)
	}
}

// unwrap reads a reply as bus.Call does.
func unwrap[A any](raw []byte) (none A, err error) {
	reply, err := bus.Decode[bus.Reply[A]](raw)
	switch {
	case err != nil:
		return none, err
	case reply.Fault != nil:
		return none, reply.Fault
	case reply.OK == nil:
		return none, fmt.Errorf("a reply holds neither answer nor fault")
	}
	return *reply.OK, nil
}
