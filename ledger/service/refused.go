package service

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/persoline/persoline/perso/bus"
)

// maxRefusals bounds the refusals that one process logs in a minute: whoever has the office's key must not fill the log with them.
const maxRefusals = 60

// refusals counts those of the current minute.
type refusals struct {
	mu    sync.Mutex
	since time.Time
	n     int
}

func (r *refusals) take(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.since) >= time.Minute || now.Before(r.since) {
		r.since, r.n = now, 0
	}
	r.n++
	return r.n <= maxRefusals
}

// told logs what the office was refused: who asks for what he may not have is of interest to whoever reviews the log.
func told[Q, A any](s *Service, verb string, f func(context.Context, Q) (A, error)) func(context.Context, Q) (A, error) {
	return func(ctx context.Context, q Q) (A, error) {
		a, err := f(ctx, q)
		var fault *bus.Fault
		if !errors.As(err, &fault) || fault.Code != bus.FaultRefused && fault.Code != bus.FaultConflict {
			return a, err
		}
		if !s.refused.take(time.Now()) {
			s.c.Log.WarnContext(ctx, "a refusal is not logged: too many in a minute", "verb", verb, "err", err)
		} else if lerr := s.c.Ledger.LogRefusal(ctx, verb, q, fault); lerr != nil {
			s.notice(lerr)
		}
		return a, err
	}
}
