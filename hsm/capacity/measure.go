// Package capacity measures how many cards a second an HSM allows, and says how
// many HSMs a rate needs.
//
// It exists because published figures say nothing here: they are of one
// operation on many threads, without network, login or our mix of calls. A
// figure of this package was counted on the token that it names, with the calls
// that a card takes, and a plan is made from such figures only.
//
// The commands "perso hsm bench" and "perso hsm plan" are its callers. Measuring
// makes five keys on the token and destroys them; it competes with whoever else
// works there.
package capacity

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/perso/secret"
)

// Limits of a measurement.
const (
	// MaxEach bounds the time for one figure.
	MaxEach = time.Minute
	// leastEach is as short as a figure may be: a tenth of it is then some
	// dozens of operations of a slow network HSM.
	leastEach = 200 * time.Millisecond
	// stretch is how many times longer a figure may take to have enough to count.
	stretch = 30
	// maxFigures bounds the counts of sessions that are tried.
	maxFigures = 16
	// keyEnv is the environment in the labels of the keys that are made.
	keyEnv = "bench"
	// What a card's calls are about, as in the vault: a derivation's context, six
	// blocks of a diversification, a checkpoint or receipt, a wrapped secret.
	macBytes, ecbBytes, textBytes, sealBytes = 64, 96, 200, 16
)

// PerCard is how often a card needs each verb. What belongs to a lot counts by
// its share.
type PerCard map[hsm.Verb]float64

// DefaultPerCard is what the factory's own count ("perso bench") gives for an
// M2M eUICC that makes its own key pair; its shares below 0.05 are left out.
func DefaultPerCard() PerCard {
	return PerCard{hsm.VerbMAC: 2, hsm.VerbEncryptECB: 4, hsm.VerbSignDigest: 1, hsm.VerbSignMessage: 2}
}

// Options say what is measured.
type Options struct {
	Sessions []int         // 1..16 counts of sessions, each at most the token's Config.MaxSessions
	Each     time.Duration // for one figure, 200 ms..1 min
	PerCard  PerCard
}

// Validate reports the first thing wrong.
func (o Options) Validate() error {
	if o.Each < leastEach || o.Each > MaxEach {
		return fmt.Errorf("measuring for %v a figure: want %v..%v", o.Each, leastEach, MaxEach)
	}
	if n := len(o.Sessions); n < 1 || n > maxFigures {
		return fmt.Errorf("measuring with %d counts of sessions: want 1..%d", n, maxFigures)
	}
	for _, n := range o.Sessions {
		if n < 1 || n > hsm.MaxSessions {
			return fmt.Errorf("measuring with %d sessions: want 1..%d", n, hsm.MaxSessions)
		}
	}
	most := 0.0
	for v, n := range o.PerCard {
		if _, ok := verbs[v]; !ok || n < 0 || n > 1000 {
			return fmt.Errorf("measuring %v times %s a card: not a number of calls of a verb that cards need", n, v)
		}
		most = max(most, n)
	}
	if most < 1 {
		return errors.New("measuring: a card needs some call at least once")
	}
	return nil
}

// A Figure is one count: how often in how long, and how long each took.
type Figure struct {
	What     string  `json:"what"` // a verb, or "card"
	Sessions int     `json:"sessions"`
	Count    uint64  `json:"count"`
	Seconds  float64 `json:"seconds"`
	// PerSecond is Count by Seconds.
	PerSecond float64 `json:"per_second"`
	MedianMS  float64 `json:"median_ms"`
	P99MS     float64 `json:"p99_ms"`
}

// Card is Figure.What for a card's calls, one after the other.
const Card = "card"

// A Bench is what was measured on one token.
type Bench struct {
	Version    int                `json:"version"`
	MeasuredAt time.Time          `json:"measured_at"`
	Module     hsm.ModuleSurvey   `json:"module"`
	Token      hsm.TokenSurvey    `json:"token"`
	CPUs       int                `json:"cpus"` // of the host that asked
	PerCard    map[string]float64 `json:"per_card"`
	Figures    []Figure           `json:"figures"`
}

// benchVersion is the form of a Bench.
const benchVersion = 1

// verbs are what cards need, and how each is called in a measurement.
var verbs = map[hsm.Verb]func(ctx context.Context, t *hsm.Token, k keys) error{
	hsm.VerbMAC: func(ctx context.Context, t *hsm.Token, k keys) error {
		_, err := t.MAC(ctx, k.lot, make([]byte, macBytes))
		return err
	},
	hsm.VerbEncryptECB: func(ctx context.Context, t *hsm.Token, k keys) error {
		_, err := t.EncryptECB(ctx, k.kmc, make([]byte, ecbBytes))
		return err
	},
	hsm.VerbSignDigest: func(ctx context.Context, t *hsm.Token, k keys) error {
		_, err := t.SignDigest(ctx, k.eum, make([]byte, 32))
		return err
	},
	hsm.VerbSignMessage: func(ctx context.Context, t *hsm.Token, k keys) error {
		_, err := t.SignMessage(ctx, k.statement, make([]byte, textBytes))
		return err
	},
	hsm.VerbUnseal: func(ctx context.Context, t *hsm.Token, k keys) error {
		b, err := t.Unseal(ctx, k.seal, k.sealed, nil)
		b.Wipe()
		return err
	},
	hsm.VerbRandom: func(ctx context.Context, t *hsm.Token, _ keys) error { _, err := t.Random(ctx, 32); return err },
	hsm.VerbCardPair: func(ctx context.Context, t *hsm.Token, _ keys) error {
		pair, err := t.CardPair(ctx)
		pair.Private.Wipe()
		return err
	},
}

// keys are those of one measurement.
type keys struct {
	lot, kmc, eum, statement, seal hsm.Key
	sealed                         []byte
}

// Measure counts, for each number of sessions, each verb that cards need and
// whole cards. Its keys are destroyed whatever happens.
func Measure(ctx context.Context, t *hsm.Token, o Options) (b Bench, err error) {
	if err := o.Validate(); err != nil {
		return Bench{}, err
	}
	survey, err := t.Survey(ctx, false)
	if err != nil {
		return Bench{}, err
	}
	b = Bench{Version: benchVersion, MeasuredAt: time.Now().UTC(), Module: survey.Module, Token: survey.Token,
		CPUs: runtime.NumCPU(), PerCard: map[string]float64{}}
	k, remove, err := makeKeys(ctx, t)
	defer func() { err = errors.Join(err, remove()) }()
	if err != nil {
		return Bench{}, err
	}
	var order []hsm.Verb
	for v, n := range o.PerCard {
		if n > 0 {
			order = append(order, v)
			b.PerCard[v.String()] = n
		}
	}
	slices.Sort(order)
	for _, n := range o.Sessions {
		for _, v := range order {
			f, err := count(ctx, n, o.Each, v.String(), func(ctx context.Context, _ int) error { return verbs[v](ctx, t, k) })
			if err != nil {
				return Bench{}, err
			}
			b.Figures = append(b.Figures, f)
		}
		f, err := count(ctx, n, o.Each, Card, func(ctx context.Context, i int) error { return card(ctx, t, k, order, o.PerCard, i) })
		if err != nil {
			return Bench{}, err
		}
		b.Figures = append(b.Figures, f)
	}
	return b, nil
}

// card makes the calls of the i-th card of a worker. A share of a call is made
// by as many cards as make it whole.
func card(ctx context.Context, t *hsm.Token, k keys, order []hsm.Verb, per PerCard, i int) error {
	for _, v := range order {
		for range int(per[v]*float64(i+1)) - int(per[v]*float64(i)) {
			if err := verbs[v](ctx, t, k); err != nil {
				return fmt.Errorf("measuring %s: %w", v, err)
			}
		}
	}
	return nil
}

// count runs do in n goroutines for a time, and if need be for longer, until
// there are enough to count.
func count(ctx context.Context, n int, each time.Duration, what string, do func(ctx context.Context, i int) error) (Figure, error) {
	times := make([][]time.Duration, n)
	failed := make([]error, n)
	var total atomic.Int64
	began := time.Now()
	more := func() bool {
		took := time.Since(began)
		return took < each || total.Load() < leastCount && took < stretch*each
	}
	var all sync.WaitGroup
	for w := range n {
		all.Go(func() {
			for i := 0; failed[w] == nil && more(); i++ {
				start := time.Now()
				failed[w] = do(ctx, i)
				times[w] = append(times[w], time.Since(start))
				total.Add(1)
			}
		})
	}
	all.Wait()
	seconds := time.Since(began).Seconds()
	if err := errors.Join(failed...); err != nil {
		return Figure{}, fmt.Errorf("measuring %s in %d sessions: %w", what, n, err)
	}
	sorted := slices.Concat(times...)
	slices.Sort(sorted)
	at := func(share float64) float64 { return sorted[int(share*float64(len(sorted)-1))].Seconds() * 1000 }
	return Figure{What: what, Sessions: n, Count: uint64(len(sorted)), Seconds: seconds,
		PerSecond: float64(len(sorted)) / seconds, MedianMS: at(0.5), P99MS: at(0.99)}, nil
}

// makeKeys makes the keys of a measurement; remove destroys those that are
// there, also after an error.
func makeKeys(ctx context.Context, t *hsm.Token) (k keys, remove func() error, err error) {
	var made []hsm.Key
	remove = func() error {
		var failed error
		for _, key := range made { // also when ctx has ended: the keys are litter
			if err := t.Destroy(context.WithoutCancel(ctx), key); err != nil && !errors.Is(err, hsm.ErrNotFound) {
				failed = errors.Join(failed, err)
			}
		}
		return failed
	}
	id, err := t.Random(ctx, 16)
	if err != nil {
		return k, remove, err
	}
	for class, to := range map[hsm.Class]*hsm.Key{hsm.ClassLot: &k.lot, hsm.ClassKMC: &k.kmc, hsm.ClassEUM: &k.eum,
		hsm.ClassStatement: &k.statement, hsm.ClassSeal: &k.seal} {
		if *to, err = hsm.NewKey(keyEnv, class, hex.EncodeToString(id)); err != nil {
			return k, remove, err
		}
		made = append(made, *to)
		if err := t.Generate(ctx, *to); err != nil {
			return k, remove, err
		}
	}
	k.sealed, err = t.Seal(ctx, k.seal, secret.New(make([]byte, sealBytes)), nil)
	return k, remove, err
}
