package hsm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/persoline/persoline/perso/secret"
)

// Limits and defaults of a Token.
const (
	// defaultSessions suits one module in one process: SoftHSM gains nothing
	// from more, and a network HSM of ours is shared by several vaults.
	defaultSessions = 8
	// MaxSessions: beyond some thirty, network HSMs get slower, not faster, and
	// they refuse a flood of openings.
	MaxSessions = 64
	// defaultWait is longer than any operation and shorter than a line's
	// patience with an act.
	defaultWait = 5 * time.Second
	// maxWait keeps a forgotten zero too many from hanging a line.
	maxWait = 5 * time.Minute
	// maxParametersBytes bounds Config.Parameters: a few names and a path.
	maxParametersBytes = 8192
)

// Config says which token to open. The zero values of MaxSessions, WaitLimit
// and Log mean 8, 5 s and no log.
type Config struct {
	// Module is the path of the PKCS#11 library.
	Module string
	// TokenLabel is the token's label; exactly one token must bear it.
	TokenLabel string
	// PIN is the user PIN. Open keeps a copy of its own for a later login.
	PIN secret.Bytes
	// MaxSessions is how many operations may run at once, 1..64.
	MaxSessions int
	// WaitLimit bounds the wait for a free session, beside the context.
	WaitLimit time.Duration
	// Log hears of recoveries and of keys that were passed over.
	Log *slog.Logger
	// Parameters is handed to C_Initialize (CK_C_INITIALIZE_ARGS.pReserved) for
	// modules that have no other configuration, as NSS softoken; usually "".
	Parameters string
	// Gaps are what the module is known not to keep of KEYS.md.
	Gaps []Gap

	// between is where tests put a device of their own.
	between func(module) module
}

func (c Config) withDefaults() Config {
	if c.MaxSessions == 0 {
		c.MaxSessions = defaultSessions
	}
	if c.WaitLimit == 0 {
		c.WaitLimit = defaultWait
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports the first thing wrong with the configuration.
func (c Config) Validate() error {
	c = c.withDefaults()
	switch {
	case c.Module == "":
		return errors.New("hsm configuration: no module")
	case c.TokenLabel == "":
		return errors.New("hsm configuration: no token label")
	case c.PIN.IsZero():
		return errors.New("hsm configuration: no PIN")
	case c.MaxSessions < 1 || c.MaxSessions > MaxSessions:
		return fmt.Errorf("hsm configuration: %d sessions, want 1..%d", c.MaxSessions, MaxSessions)
	case c.WaitLimit < 0 || c.WaitLimit > maxWait:
		return fmt.Errorf("hsm configuration: waiting %v, want 0..%v", c.WaitLimit, maxWait)
	case len(c.Parameters) > maxParametersBytes || strings.ContainsRune(c.Parameters, 0):
		return fmt.Errorf("hsm configuration: module parameters of %d bytes, want at most %d without NUL", len(c.Parameters), maxParametersBytes)
	}
	return nil
}

// A Token is an open, logged-in token. Make it with Open; it is safe for
// concurrent use.
type Token struct {
	cfg    Config
	pin    secret.Bytes
	module module
	pool   pool
	// management serializes everything that searches for, makes or destroys
	// objects of the token.
	management turnstile
	// recovery lets one goroutine at a time hold every place of the pool.
	recovery gate
	counter  Counter
	breaker  breaker
	returned atomic.Uint64 // operations that came back from the module

	// The rest changes only while every place of the pool is held (recovery.go).
	epoch  uint64 // counts recoveries
	slot   uint
	serial string               // of the token that was opened first
	anchor pkcs11.SessionHandle // keeps the login alive, never used for work
	barred error                // the PIN was refused: no login is ever tried again

	support atomic.Pointer[support] // read by whoever asks for a verb, before he has a place

	mu      sync.Mutex
	handles map[string]*object // by label
}

// Open loads the module, opens the token, logs in and finds our keys. One
// Token per module and process: a second one gets ErrBusy. A wrong PIN is
// ErrRefused and is not tried twice. The context is looked at once, on entry.
func Open(ctx context.Context, cfg Config) (*Token, error) {
	if err := errors.Join(ctx.Err(), cfg.Validate()); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	t := &Token{
		cfg:        cfg,
		pool:       newPool(cfg.MaxSessions),
		management: newTurnstile(cfg.MaxSessions),
		recovery:   newGate(),
		handles:    map[string]*object{},
	}
	t.support.Store(&support{gaps: slices.Clone(cfg.Gaps)})
	if err := t.load(); err != nil {
		return nil, fmt.Errorf("opening token %q: %w", cfg.TokenLabel, err)
	}
	err := cfg.PIN.Reveal(func(pin []byte) error {
		t.pin = secret.New(pin)
		return nil
	})
	if err == nil {
		err = t.connect()
	}
	if err != nil {
		_ = t.unload() // the first error is the one to tell
		return nil, fmt.Errorf("opening token %q: %w", cfg.TokenLabel, err)
	}
	t.cfg.PIN = secret.Bytes{}
	for _, g := range t.offers().gaps {
		cfg.Log.Warn("hsm module does not keep the whole policy", slog.Any("err", fmt.Errorf("gap %s: %s", g, g.Cost())))
	}
	return t, nil
}

// load loads and initializes the module.
func (t *Token) load() error {
	var err error
	if t.module, err = loadLibrary(t.cfg.Module); err != nil {
		return fmt.Errorf("loading module %q: %w", t.cfg.Module, err)
	}
	if t.cfg.between != nil {
		t.module = t.cfg.between(t.module)
	}
	if err := fault("C_Initialize", t.module.Initialize(t.cfg.Parameters)); err != nil {
		t.module.Destroy()
		return fmt.Errorf("loading module %q: %w", t.cfg.Module, err)
	}
	return nil
}

// Close waits (at most Config.WaitLimit) for running operations, logs out and
// unloads the module. Later verbs return ErrClosed. If an operation does not
// end in time, the module stays loaded, since unloading it under a running
// call would crash the process, and Close returns ErrBusy.
func (t *Token) Close() error {
	if !t.pool.shut() {
		return ErrClosed
	}
	var held []*session
	err := t.recovery.enter(context.Background(), t.cfg.WaitLimit) // for good
	if err == nil {
		held, err = t.pool.gather(context.Background(), t.cfg.WaitLimit)
	}
	if err != nil {
		return fmt.Errorf("closing token %q: %w", t.cfg.TokenLabel, err)
	}
	for _, s := range held {
		if s != nil {
			s.free()
		}
	}
	return t.unload()
}

// unload forgets the PIN and leaves the module; C_Finalize ends its sessions.
func (t *Token) unload() error {
	t.pin.Wipe()
	err := fault("C_Finalize", t.module.Finalize())
	t.module.Destroy()
	return err
}

// Stats returns how often each verb was used since Open.
func (t *Token) Stats() Stats { return t.counter.Stats() }
