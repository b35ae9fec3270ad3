package hsm

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// The circuit breaker's limits.
const (
	// breakerFailures is how many operations must fail in a row for the device's
	// sake, each after its recovery. One is a glitch that a retry mends; a token
	// that fails five has gone, and each further try costs a line seconds.
	breakerFailures = 5
	// breakerRest is how long the token is then left alone. Network HSMs retry
	// their own members about once a minute; ten seconds find one back soon, and
	// log in to it six times a minute at most.
	breakerRest = 10 * time.Second
)

// ErrTripped: the token failed so often that it is left alone for breakerRest
// (10 s). It is one way of being busy, and unwraps to the last failure, too.
// After the rest one operation tries the token; if that one succeeds, all may.
var ErrTripped = fmt.Errorf("%w: left alone after repeated failures", ErrBusy)

// An outcome is what an operation says of the token.
type outcome uint8

const (
	unknown outcome = iota // nothing: cancelled, or never got a session
	well                   // it answered, if only to refuse
	failing                // it did not, or fell over
)

// A breaker makes callers fail at once, instead of each waiting out its limit,
// while the token is gone. The zero value is closed; it is safe for concurrent
// use.
type breaker struct {
	mu       sync.Mutex
	failures int
	cause    error     // of the last failure
	rest     time.Time // until then nobody passes; zero while closed
	probing  bool      // one operation is finding out whether the token is back
}

// admit lets an operation pass or returns ErrTripped. The first to pass after a
// rest is the probe; report must be told.
func (b *breaker) admit(now time.Time) (probe bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rest.IsZero() {
		return false, nil
	}
	if left := b.rest.Sub(now); left > 0 {
		return false, fmt.Errorf("%w, for another %v: %w", ErrTripped, left.Round(time.Millisecond), b.cause)
	}
	if b.probing {
		return false, fmt.Errorf("%w, and being tried by another operation: %w", ErrTripped, b.cause)
	}
	b.probing = true
	return true, nil
}

// report takes in how an admitted operation ended. It returns true when that
// opened the breaker or closed it.
func (b *breaker) report(now time.Time, probe bool, o outcome, cause error) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if probe {
		b.probing = false
	}
	switch o {
	case well:
		changed = !b.rest.IsZero()
		b.failures, b.cause, b.rest = 0, nil, time.Time{}
	case failing:
		b.failures++
		b.cause = cause
		// Operations that were under way when it opened do not prolong the rest.
		if b.failures >= breakerFailures && (b.rest.IsZero() || probe) {
			changed = b.rest.IsZero()
			b.rest = now.Add(breakerRest)
		}
	}
	return changed
}

// outcomeOf judges an operation by its error. moved says that some operation
// came back from the token meanwhile: then waiting in vain is a sign of load,
// not of a token that hangs.
func outcomeOf(err error, moved bool) outcome {
	switch {
	case err == nil, errors.Is(err, ErrSealBroken):
		return well
	case lost(err), errors.Is(err, ErrDevice):
		return failing
	case errors.Is(err, ErrRefused), errors.Is(err, ErrNotFound), errors.Is(err, ErrExists):
		return well
	case errors.Is(err, ErrBusy) && !moved:
		return failing
	default:
		return unknown
	}
}
