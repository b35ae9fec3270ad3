package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
)

const (
	// troubleAlarm is how long the vault may answer an act with a fault before the log says so: a session to the HSM is
	// opened anew, and a lot too, within seconds.
	troubleAlarm = time.Minute
	// troubleOver is when an act that nobody asks for any more is forgotten: heads ask again within seconds.
	troubleOver = 5 * time.Minute
	// maxTroubles bounds those kept: the calls that can wait at once.
	maxTroubles = maxWaiting
	// maxTold bounds those that a lot's status lists, and maxToldOfMany those of each lot in a list of lots, which have to fit one
	// message: the oldest say what is wrong, the others are many.
	maxTold, maxToldOfMany = 100, 1
)

// troubles are the acts that the vault does not serve now. A head asks for its act again and again, for ever, because the
// chip may be good: people must see that it waits, why, and since when. They are in memory only: after a start, the heads'
// next questions bring them back. Of several ledger processes each knows of those that it was asked for, which soon is all.
type troubles struct {
	mu   sync.Mutex
	acts map[perso.Session]*trouble
}

type trouble struct {
	bus.Trouble
	lot     perso.Name
	last    time.Time
	alarmed bool
	refused bool // by the vault, for good as it seems: kept until the claim ends
}

// met notes that the vault did not serve an act. It reports true when the log is to say so: the vault did answer, with a
// fault, for too long. A vault that is away is seen by everybody, and would leave an alarm for each head.
func (t *troubles) met(a *act, err error, now time.Time) (told bus.Trouble, alarm bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := t.acts[a.q.Session]
	if known == nil || known.N != a.q.N {
		t.clean(now)
		if known == nil && len(t.acts) >= maxTroubles {
			return bus.Trouble{}, false
		}
		known = &trouble{lot: a.lot.name, Trouble: bus.Trouble{Present: a.q.Present, Chip: a.claim.chip.String(), N: a.q.N, Since: now}}
		t.acts[a.q.Session] = known
	}
	known.Tries, known.last, known.Fault = known.Tries+1, now, clean(err.Error())
	if isRefusal(err) && !known.alarmed && now.Sub(known.Since) >= troubleAlarm {
		known.alarmed = true
		return known.Trouble, true
	}
	return known.Trouble, false
}

// refused notes that the vault refused an act: its head was told to stop, and asks no more.
func (t *troubles) refused(a *act, now time.Time) {
	t.met(a, errors.New(a.result.Refused), now)
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.acts[a.q.Session]; known != nil {
		known.refused, known.Refused = true, true
	}
}

// ended forgets whatever was wrong with a chip: its claim has ended.
func (t *troubles) ended(chip string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s, x := range t.acts {
		if x.Chip == chip {
			delete(t.acts, s)
		}
	}
}

// over forgets an act that was served.
func (t *troubles) over(s perso.Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.acts, s)
}

// clean forgets what nobody asks for any more, but for what was refused.
func (t *troubles) clean(now time.Time) {
	for s, x := range t.acts {
		if !x.refused && now.Sub(x.last) >= troubleOver {
			delete(t.acts, s)
		}
	}
}

// sessions gives a lot's, and at which act each stands.
func (t *troubles) sessions(lot perso.Name, now time.Time) map[perso.Session]uint8 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clean(now)
	out := map[perso.Session]uint8{}
	for s, x := range t.acts {
		if x.lot == lot {
			out[s] = x.N
		}
	}
	return out
}

// of lists a lot's, the oldest first and not more than limit, and counts the others.
func (t *troubles) of(lot perso.Name, now time.Time, limit int) (out []bus.Trouble, more uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clean(now)
	for _, x := range t.acts {
		if x.lot == lot {
			out = append(out, x.Trouble)
		}
	}
	slices.SortFunc(out, func(a, b bus.Trouble) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Present.String(), b.Present.String()))
	})
	if len(out) > limit {
		out, more = slices.Clone(out[:limit]), uint64(len(out)-limit)
	}
	return out, more
}

// forgetServed drops acts of a lot that went on without this process: another one of the site may have served them.
func (l *Ledger) forgetServed(ctx context.Context, tx sqldb.Tx, lot perso.Name, now time.Time) error {
	for session, n := range l.troubles.sessions(lot, now) {
		s, found, err := findSession(ctx, tx, session)
		if err != nil {
			return err
		}
		if found && (s.ended || s.lastN > n) {
			l.troubles.over(session)
		}
	}
	return nil
}

// unserved makes an act's failure at the vault visible. What it returns is the act's error.
func (l *Ledger) unserved(ctx context.Context, a *act, failed error) error {
	t, alarm := l.troubles.met(a, failed, l.now().UTC())
	if !alarm {
		return failed
	}
	chip := a.claim.chip
	l.log.ErrorContext(ctx, "vault does not serve an act", "lot", a.lot.name, "present", a.q.Present.String(), "act", a.q.N, "since", t.Since, "err", t.Fault)
	err := l.commit(ctx, func(ctx context.Context, b *Batch) error {
		return sound(ctx, b, chipSubject(chip.Bytes()), entry.Alarm{Lot: a.lot.name, Reason: perso.ReasonVaultFault, Present: a.q.Present, At: b.At,
			Detail: clean(fmt.Sprintf("act %d is not served since %s: %s", a.q.N, t.Since.Format(time.RFC3339), t.Fault))})
	})
	if err != nil {
		l.log.WarnContext(ctx, "alarm not logged", "lot", a.lot.name, "err", err)
	}
	return failed
}
