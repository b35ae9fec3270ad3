package hsm

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/miekg/pkcs11"
	"golang.org/x/sync/errgroup"
)

// Do runs f in a session as the verbs do.
func (t *Token) Do(ctx context.Context, again bool, f func() error) error {
	return t.do(ctx, retry(again), func(*session) error { return f() })
}

// Fault turns an error of the binding into an Error.
func Fault(op string, err error) error { return fault(op, err) }

// Recoveries counts them.
func (t *Token) Recoveries() uint64 { return t.epoch }

// NoEdDSA makes the token look like one without EdDSA.
func (t *Token) NoEdDSA() {
	less := t.offers()
	less.eddsa = false
	t.support.Store(&less)
}

// Raw lends the module, the slot, a session and the key's handle for what the
// verbs never do.
func (t *Token) Raw(ctx context.Context, k Key, f func(*pkcs11.Ctx, uint, pkcs11.SessionHandle, pkcs11.ObjectHandle)) error {
	return t.do(ctx, once, func(s *session) error {
		var handle pkcs11.ObjectHandle
		if k != (Key{}) {
			o, err := t.object(ctx, s, k)
			if err != nil {
				return err
			}
			handle = o.handle
		}
		f(t.binding(), t.slot, s.handle, handle)
		return nil
	})
}

// Apart lends a session that the pool does not know, logged in or not.
func (t *Token) Apart(f func(*pkcs11.Ctx, pkcs11.SessionHandle) error) error {
	m := t.binding()
	s, err := m.OpenSession(t.slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return err
	}
	return errors.Join(f(m, s), m.CloseSession(s))
}

// binding is the module without what tests put before it.
func (t *Token) binding() *pkcs11.Ctx {
	m := t.module
	for {
		switch at := m.(type) {
		case *library:
			return at.Ctx
		case interface{ behind() module }:
			m = at.behind()
		default:
			panic("no library behind the module")
		}
	}
}

// An Expected is an attribute as policy.go wants it.
type Expected struct {
	Type  uint
	Name  string
	Value []byte
}

// KeyObject is what policy.go wants of a class's secret or private key.
func KeyObject(c Class, hasEdDSA bool, gaps ...Gap) []Expected {
	return expected(ruleOf(c).on(support{eddsa: hasEdDSA, gaps: gaps}).keyObject())
}

// PublicObject is what policy.go wants of a class's public key, nil if it has
// none.
func PublicObject(c Class, hasEdDSA bool, gaps ...Gap) []Expected {
	r := ruleOf(c).on(support{eddsa: hasEdDSA, gaps: gaps})
	if !r.isPair() {
		return nil
	}
	return expected(r.publicObject())
}

func expected(list []attribute) []Expected {
	var out []Expected
	for i, a := range template(list) {
		out = append(out, Expected{Type: a.Type, Name: list[i].name, Value: a.Value})
	}
	return out
}

// The circuit breaker's limits.
const (
	BreakerFailures = breakerFailures
	BreakerRest     = breakerRest
)

// Bare makes MACs with no pool, gate or counter: n goroutines, each in a
// session of its own, for a time. It returns operations per second.
func (t *Token) Bare(ctx context.Context, k Key, msg []byte, n int, during time.Duration) (perSecond float64, err error) {
	var handle pkcs11.ObjectHandle
	if err := t.do(ctx, once, func(s *session) error {
		o, err := t.object(ctx, s, k)
		if err == nil {
			handle = o.handle
		}
		return err
	}); err != nil {
		return 0, err
	}
	var done atomic.Int64
	var all errgroup.Group
	began := time.Now()
	for range n {
		all.Go(func() error {
			s, err := t.openSession()
			if err != nil {
				return err
			}
			defer s.close()
			for time.Since(began) < during {
				if _, err := t.module.SignInto(s.handle, pkcs11.CKM_SHA256_HMAC, handle, msg, s.answer); err != nil {
					return err
				}
				done.Add(1)
			}
			return nil
		})
	}
	err = all.Wait()
	return float64(done.Load()) / time.Since(began).Seconds(), err
}

// CardObjects are the objects of CardPair, made and left in a session: private,
// public and carrier, with what policy.go wants of them.
func (t *Token) CardObjects(ctx context.Context, f func(*pkcs11.Ctx, pkcs11.SessionHandle, pkcs11.ObjectHandle, []Expected)) error {
	return t.do(ctx, once, func(s *session) error {
		private, public, carrier := cardKeyObject(t.offers()), cardPublicObject(t.offers()), carrierObject(t.offers())
		how := []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_EC_KEY_PAIR_GEN, nil)}
		pub, priv, err := s.module.GenerateKeyPair(s.handle, how, template(public), template(private))
		if err != nil {
			return err
		}
		wrapping, err := s.module.CreateSecret(s.handle, template(carrier), make([]byte, carrierBytes))
		if err != nil {
			return err
		}
		f(t.binding(), s.handle, priv, expected(private))
		f(t.binding(), s.handle, pub, expected(public))
		f(t.binding(), s.handle, wrapping, expected(carrier))
		return s.destroy(priv, pub, wrapping)
	})
}

// PagesAreClear reports that no answer is left in a session's locked memory.
func (t *Token) PagesAreClear() (clear bool, pages int) {
	held, err := t.pool.gather(context.Background(), t.cfg.WaitLimit)
	defer t.pool.scatter(held)
	clear = err == nil
	for _, s := range held {
		if s != nil {
			pages++
			clear = clear && blank(s.answer)
		}
	}
	return clear, pages
}
