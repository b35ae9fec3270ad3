package service

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
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

// word takes a word in, and says of a freeze whether this site has the line.
func (s *Service) word(ctx context.Context, q bus.SignedRequest) (bus.WordReply, error) {
	r, err := s.c.Ledger.Word(ctx, q)
	if err != nil || r.Kind != statement.KindFreeze {
		return r, err
	}
	signed, err := statement.DecodeSigned(q.Signed)
	if err != nil {
		return r, err
	}
	f, err := statement.ParseFreeze(signed.Body)
	if err == nil && f.What == statement.FrozenLine {
		r.Unknown = !slices.Contains(s.c.Lines, perso.Name(f.Name))
	}
	return r, err
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
