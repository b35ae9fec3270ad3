package life

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/perso/statement"
)

// How often, where Config does not say.
const (
	// DefaultCheck is how long a vault that was overtaken may serve on: a look costs one search on the token.
	DefaultCheck = 5 * time.Second
	// DefaultRenew bounds how old a state can be that passes for the newest: a turn makes and destroys a key, which a
	// network HSM writes to all its members and into its own audit log.
	DefaultRenew = time.Minute
)

// Config says whose life it is, and where it is kept.
type Config struct {
	Owner Owner
	Token Token
	Store Store
	// Folder is what the state is called in words to people.
	Folder string
	// Used says that the state holds what a vault kept: then it must know itself.
	Used bool

	Check, Renew time.Duration // 0: the defaults
	Now          func() time.Time
	Log          *slog.Logger
}

// Life is the one that a process is in. Make it with Begin.
type Life struct {
	cfg   Config
	ended chan struct{}

	mu      sync.Mutex
	record  Record
	words   statement.Words // to be noted by the turns from now on
	unsure  bool            // the last turn failed somewhere: the store says where
	known   Nonce           // what the store said last, and what a turn was about to make it say
	attempt Nonce
	over    error
	looked  time.Time
	renewed time.Time
}

// Begin begins the next life of a vault, or the first one of a vault that neither its state nor the token knows.
func Begin(ctx context.Context, cfg Config) (*Life, error) {
	if cfg.Check == 0 {
		cfg.Check = DefaultCheck
	}
	if cfg.Renew == 0 {
		cfg.Renew = DefaultRenew
	}
	l := &Life{cfg: cfg, ended: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.turn(ctx); err != nil {
		if l.over == nil && !errors.Is(err, ErrLost) { // those name the vault
			err = fmt.Errorf("beginning a life of vault %q: %w", cfg.Owner.Vault, err)
		}
		return nil, err
	}
	cfg.Log.Info("vault's life begun", "vault", cfg.Owner.Vault, "seq", l.record.Count)
	return l, nil
}

// Birth is what tells this vault from one of the same name with another state.
func (l *Life) Birth() [BirthBytes]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.record.Birth
}

// Heard is what the state said, when this life began, that the vault had heard of officers: it must hold that.
func (l *Life) Heard() statement.Words {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.record.Words
}

// Hear begins the next life, whose state says that the vault heard these words; there are never fewer than before.
func (l *Life) Hear(ctx context.Context, w statement.Words) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over != nil {
		return l.over
	}
	if w.Count < max(l.words.Count, l.record.Words.Count) {
		return fmt.Errorf("vault %q: noting %d words of officers, its state says that it heard %d", l.cfg.Owner.Vault, w.Count, l.record.Words.Count)
	}
	l.words = w
	return l.turn(ctx)
}

// Ended is closed when the vault was overtaken.
func (l *Life) Ended() <-chan struct{} { return l.ended }

// Present says, before anything is served, that this is the one process that is this vault. It asks the token when the last
// look is Config.Check ago, and turns when the last turn is Config.Renew ago; else it costs nothing.
func (l *Life) Present(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.cfg.Now().Round(0) // the monotonic clock stands still while a machine sleeps
	switch {
	case l.over != nil:
		return l.over
	case l.unsure || late(now, l.renewed, l.cfg.Renew):
		return l.turn(ctx)
	case late(now, l.looked, l.cfg.Check):
		return l.look(ctx, now)
	}
	return nil
}

// late is also true when the clock was set back.
func late(now, last time.Time, after time.Duration) bool {
	return now.Sub(last) >= after || now.Before(last)
}

// Look asks the token whatever the clock says: before what cannot be taken back.
func (l *Life) Look(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over != nil {
		return l.over
	}
	if l.unsure {
		return l.turn(ctx)
	}
	return l.look(ctx, l.cfg.Now().Round(0))
}

// Turn begins the next life. What the state remembers by now is safe from then on: no older copy of it is taken any more.
func (l *Life) Turn(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over != nil {
		return l.over
	}
	return l.turn(ctx)
}

func (l *Life) look(ctx context.Context, now time.Time) error {
	key, err := l.cfg.Owner.Key(l.record.Now)
	if err != nil {
		return err
	}
	has, err := l.cfg.Token.Has(ctx, key)
	if err != nil {
		return fmt.Errorf("looking for the life of vault %q: %w", l.cfg.Owner.Vault, err)
	}
	if !has {
		return l.overtaken("key %q is not on the token any more", key)
	}
	l.looked = now
	return nil
}

// turn is the sequence of the package comment; l.mu is held.
func (l *Life) turn(ctx context.Context) error {
	l.unsure = true
	r, have, err := l.stand(ctx)
	if err != nil {
		return err
	}
	if r.Now != l.known && r.Now != l.attempt && l.attempt != (Nonce{}) {
		return l.overtaken("another process wrote into folder %q", l.cfg.Folder)
	}
	next, err := l.intend(ctx, &r, have)
	if err != nil {
		return err
	}
	l.known, l.attempt = r.Now, next
	key, err := l.cfg.Owner.Key(next)
	if err != nil {
		return err
	}
	if err := l.cfg.Token.Generate(ctx, key); err != nil {
		return fmt.Errorf("making the key of the next life: %w", err)
	}
	if err := l.alone(ctx, r, next); err != nil {
		return err
	}
	words := r.Words
	if l.words.Count > words.Count {
		words = l.words
	}
	proof, err := l.cfg.Token.MAC(ctx, key, l.cfg.Owner.message(r.Birth, next, words))
	if err != nil {
		return fmt.Errorf("using the key of the next life: %w", err)
	}
	old := slices.DeleteFunc(append(slices.Clone(r.Also), r.Now), func(n Nonce) bool { return n == next || n == Nonce{} })
	r = Record{Birth: r.Birth, Count: r.Count + 1, Now: next, Proof: proof, Also: old, Words: words}
	// COMMIT POINT: before it this is the old life, after it the new one, whichever keys a crash leaves on the token.
	if err := l.cfg.Store.RememberLife(r); err != nil {
		return fmt.Errorf("remembering life %d: %w", r.Count, err)
	}
	if err := l.bury(ctx, r); err != nil {
		return err
	}
	now := l.cfg.Now().Round(0)
	l.record, l.unsure, l.looked, l.renewed = r, false, now, now
	return nil
}

// stand reads state and token, and refuses two that do not agree.
func (l *Life) stand(ctx context.Context) (r Record, have []Nonce, err error) {
	r, found, err := l.cfg.Store.Life()
	if err != nil {
		return r, nil, fmt.Errorf("reading which life vault %q is in: %w", l.cfg.Owner.Vault, err)
	}
	if have, err = l.cfg.Owner.onToken(ctx, l.cfg.Token); err != nil {
		return r, nil, err
	}
	switch {
	case !found && len(have) > 0:
		return r, nil, l.lost("the token knows it, in a life with key %q, and folder %q knows of none", l.label(have[0]), l.cfg.Folder)
	case !found && l.cfg.Used:
		return r, nil, l.lost("folder %q holds what a vault kept, and does not say which life it is in", l.cfg.Folder)
	case r.Now != Nonce{} && !slices.Contains(have, r.Now):
		return r, nil, l.overtaken("folder %q is of life %d, whose key is not on the token any more: a copy, or put back to an older state", l.cfg.Folder, r.Count)
	}
	if s := r.strangers(have); len(s) > 0 {
		return r, nil, l.overtaken("the token knows a life with key %q, which folder %q, of life %d, did not begin", l.label(s[0]), l.cfg.Folder, r.Count)
	}
	if r.Now == (Nonce{}) {
		return r, have, nil
	}
	key, err := l.cfg.Owner.Key(r.Now)
	if err != nil {
		return r, nil, err
	}
	proof, err := l.cfg.Token.MAC(ctx, key, l.cfg.Owner.message(r.Birth, r.Now, r.Words))
	if err == nil && proof != r.Proof {
		err = l.overtaken("key %q is not the one that folder %q was written with, or its file life was changed", key, l.cfg.Folder)
	}
	return r, have, err
}

// intend writes down what is about to be made, so that a crash leaves no key that the state does not name.
func (l *Life) intend(ctx context.Context, r *Record, have []Nonce) (next Nonce, err error) {
	b, err := l.cfg.Token.Random(ctx, nonceBytes+BirthBytes)
	if err != nil {
		return next, fmt.Errorf("drawing the nonce of the next life: %w", err)
	}
	next = Nonce(b[:nonceBytes])
	if r.Birth == (Birth{}) {
		r.Birth = Birth(b[nonceBytes:])
	}
	r.Also = append(slices.DeleteFunc(slices.Clone(r.Also), func(n Nonce) bool { return !slices.Contains(have, n) }), next)
	if len(r.Also) > MaxAlso {
		return next, fmt.Errorf("%d lives were begun and not finished: is the disk of folder %q full, or does the token refuse to destroy keys?", len(r.Also), l.cfg.Folder)
	}
	if err := l.cfg.Store.RememberLife(*r); err != nil {
		return next, fmt.Errorf("remembering that life %d is about to begin: %w", r.Count+1, err)
	}
	return next, nil
}

// alone looks, after the next life's key was made, whether another process is turning as well. Then this one gives way, and
// takes its key with it.
func (l *Life) alone(ctx context.Context, r Record, next Nonce) error {
	have, err := l.cfg.Owner.onToken(ctx, l.cfg.Token)
	if err != nil {
		return err
	}
	strangers := r.strangers(have)
	behind := r.Now != Nonce{} && !slices.Contains(have, r.Now)
	if len(strangers) == 0 && !behind {
		return nil
	}
	return errors.Join(l.overtaken("another process begins a life of it at this moment"), l.destroy(ctx, next))
}

// bury destroys the keys of the lives before, and sees that none but this life's is left.
func (l *Life) bury(ctx context.Context, r Record) error {
	for _, n := range r.Also {
		if err := l.destroy(ctx, n); err != nil {
			return err
		}
	}
	have, err := l.cfg.Owner.onToken(ctx, l.cfg.Token)
	if err != nil {
		return err
	}
	if len(have) != 1 || have[0] != r.Now {
		return l.overtaken("another process began a life of it at the same time")
	}
	return nil
}

func (l *Life) destroy(ctx context.Context, n Nonce) error {
	key, err := l.cfg.Owner.Key(n)
	if err != nil {
		return err
	}
	if err := l.cfg.Token.Destroy(ctx, key); err != nil && !errors.Is(err, hsm.ErrNotFound) {
		return fmt.Errorf("destroying the key of a life that is over: %w", err)
	}
	return nil
}

func (l *Life) label(n Nonce) string {
	key, _ := l.cfg.Owner.Key(n) // it was read from a label
	return key.Label
}

// whatToDo is the same for whoever has the wrong folder, for whatever reason.
const whatToDo = "start it from the folder in which it ran last, on one host only; if that is lost for good, so are its open lots (keygen/life/LIFE.md)"

func (l *Life) overtaken(format string, a ...any) error {
	if l.over == nil {
		l.over = fmt.Errorf("vault %q: %w: %s; %s", l.cfg.Owner.Vault, ErrOvertaken, fmt.Sprintf(format, a...), whatToDo)
		if l.record.Now != (Nonce{}) { // else Begin tells
			l.cfg.Log.Error("vault was overtaken", "vault", l.cfg.Owner.Vault, "err", l.over)
		}
		close(l.ended)
	}
	return l.over
}

func (l *Life) lost(format string, a ...any) error {
	return fmt.Errorf("vault %q: %w: %s; %s", l.cfg.Owner.Vault, ErrLost, fmt.Sprintf(format, a...), whatToDo)
}
