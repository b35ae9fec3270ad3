package hsm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A pool lends sessions, each to one operation at a time: goroutines that share
// a PKCS#11 session crash some modules. It holds a fixed number of places; a
// place is either an idle session or nil, which stands for one yet to be opened.
type pool struct {
	places chan *session
	closed chan struct{}
	once   *sync.Once
}

func newPool(n int) pool {
	p := pool{places: make(chan *session, n), closed: make(chan struct{}), once: new(sync.Once)}
	for range n {
		p.places <- nil
	}
	return p
}

// take waits for a place: ErrBusy after limit, the context's error if it ends
// first, ErrClosed after shut.
func (p pool) take(ctx context.Context, limit time.Duration) (*session, error) {
	select {
	case <-p.closed:
		return nil, ErrClosed
	default:
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case s := <-p.places:
		return s, nil
	default:
	}
	wait := time.NewTimer(limit)
	defer wait.Stop()
	select {
	case s := <-p.places:
		return s, nil
	case <-wait.C:
		return nil, fmt.Errorf("%w: all %d sessions in use for %v", ErrBusy, cap(p.places), limit)
	case <-p.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// put gives a place back; nil throws the session away.
func (p pool) put(s *session) { p.places <- s }

// gather takes every place, so that nobody else is in the token. If the wait
// ends first, it takes none. Two must not gather at once: see Token.recovery.
func (p pool) gather(ctx context.Context, limit time.Duration) ([]*session, error) {
	wait := time.NewTimer(limit)
	defer wait.Stop()
	var held []*session
	for len(held) < cap(p.places) {
		var err error
		select {
		case s := <-p.places:
			held = append(held, s)
		case <-wait.C:
			err = fmt.Errorf("%w: operations still running after %v", ErrBusy, limit)
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			p.scatter(held)
			return nil, err
		}
	}
	return held, nil
}

// scatter gives places back.
func (p pool) scatter(held []*session) {
	for _, s := range held {
		p.put(s)
	}
}

// shut refuses all later takes; false if the pool was shut before.
func (p pool) shut() bool {
	first := false
	p.once.Do(func() {
		close(p.closed)
		first = true
	})
	return first
}

// A gate is a mutex whose wait ends.
type gate chan struct{}

func newGate() gate { return make(gate, 1) }

// enter waits: ErrBusy after limit, the context's error if it ends first.
func (g gate) enter(ctx context.Context, limit time.Duration) error {
	select {
	case g <- struct{}{}:
		return nil
	default:
	}
	wait := time.NewTimer(limit)
	defer wait.Stop()
	select {
	case g <- struct{}{}:
		return nil
	case <-wait.C:
		return fmt.Errorf("%w: waited %v", ErrBusy, limit)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g gate) leave() { <-g }

// A turnstile lets one at a time search, make and destroy objects of the token,
// or many at once make objects of their own session: SoftHSM before 2.7 may
// crash when a search meets a creation.
type turnstile struct {
	alone  gate
	places chan struct{} // taken by those who share; all of them by the one alone
}

func newTurnstile(n int) turnstile {
	return turnstile{alone: newGate(), places: make(chan struct{}, n)}
}

// enter waits to be alone; limits are those of gate.
func (ts turnstile) enter(ctx context.Context, limit time.Duration) error {
	if err := ts.alone.enter(ctx, limit); err != nil {
		return err
	}
	for taken := range cap(ts.places) {
		if err := gate(ts.places).enter(ctx, limit); err != nil {
			for range taken {
				<-ts.places
			}
			ts.alone.leave()
			return err
		}
	}
	return nil
}

func (ts turnstile) leave() {
	for range cap(ts.places) {
		<-ts.places
	}
	ts.alone.leave()
}

// share waits for whoever is alone, and keeps others from being so.
func (ts turnstile) share(ctx context.Context, limit time.Duration) error {
	return gate(ts.places).enter(ctx, limit)
}

func (ts turnstile) unshare() { <-ts.places }

// retry says whether a verb may be done twice.
type retry bool

const (
	once  retry = false // doing it again could make or destroy something twice
	again retry = true  // idempotent, or harmless to repeat
)

// do runs f with a session of its own, unless the breaker is open. If the
// session, the login or the token turns out to be lost, do recovers it, and
// runs f once more if it may.
func (t *Token) do(ctx context.Context, may retry, f func(*session) error) (err error) {
	probe, err := t.breaker.admit(time.Now())
	if err != nil {
		return err
	}
	returned, verdict := t.returned.Load(), unknown // also when f panics
	defer func() {
		if t.breaker.report(time.Now(), probe, verdict, err) {
			t.logBreaker(err)
		}
	}()
	recovered, err := t.perform(ctx, may, f)
	if !recovered { // else the failure is told, but the token is back
		verdict = outcomeOf(err, t.returned.Load() != returned)
	}
	return err
}

// perform is do without the breaker. recovered means that f failed and must not
// be repeated, but that the token was brought back.
func (t *Token) perform(ctx context.Context, may retry, f func(*session) error) (recovered bool, err error) {
	epoch, err := t.attempt(ctx, f)
	if !lost(err) {
		return false, err
	}
	if recovering := t.recover(ctx, epoch, err); recovering != nil {
		return false, errors.Join(err, recovering)
	}
	if may != again {
		return true, err
	}
	_, err = t.attempt(ctx, f)
	return false, err
}

// attempt runs f once. It returns the epoch of the session that f ran in, so
// that of many who fail together only the first recovers the token.
func (t *Token) attempt(ctx context.Context, f func(*session) error) (epoch uint64, err error) {
	s, err := t.pool.take(ctx, t.cfg.WaitLimit)
	if err != nil {
		return 0, err
	}
	epoch = t.epoch // stable while we hold a place
	keep := s
	defer func() {
		t.returned.Add(1)
		t.pool.put(keep)
	}()
	keep = nil // until f has returned without a PKCS#11 error

	if s == nil {
		if s, err = t.freshSession(); err != nil {
			return epoch, err
		}
	}
	err = f(s)
	if device := new(Error); errors.As(err, device) || errors.Is(err, ErrDevice) {
		err = s.explain(err)
		s.close()
		return epoch, err
	}
	keep = s
	return epoch, err
}

// freshSession opens a session and asks for the login before it is used: a key
// used without one is an error at best, and softoken, asked from two threads at
// once, crashes.
func (t *Token) freshSession() (*session, error) {
	s, err := t.openSession()
	if err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// explain adds to a device's error that the login is gone, if it is: softoken,
// for one, then says that the key is of a wrong size.
func (s *session) explain(err error) error {
	if lost(err) {
		return err
	}
	if state := s.check(); lost(state) {
		return errors.Join(err, state)
	}
	return err
}
