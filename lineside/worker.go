package lineside

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/persoline/persoline/lineside/bins"
	"github.com/persoline/persoline/lineside/journal"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// Times of the shell.
const (
	// askTimeout is how long one question to the ledger may take: longer than a commit, a checkpoint and a vault under load.
	// It is also how long a head stands still when the ledger dies with its question.
	askTimeout = 5 * time.Second
	// machineTimeout bounds one order to the machine: a window of 512 commands at a slow chip's pace.
	machineTimeout = 2 * time.Minute
	// progressEvery tells the work queue that the order is still in hand, well within any redelivery time.
	progressEvery = 5 * time.Second
	// statusEvery is how often the snapshot is published: screens call data of 5 s old.
	statusEvery = time.Second
	// settledEvery is how often a line that stops looks whether its chips are done.
	settledEvery = 20 * time.Millisecond
)

// Handler moves chips. Each order may be repeated: Load finds a chip that lies there already, Bin and Lift do nothing
// when there is nothing to do.
type Handler interface {
	Load(ctx context.Context, head uint16) (loaded bool, err error)
	Lift(ctx context.Context, head uint16) error
	Bin(ctx context.Context, head uint16, bin perso.Bin) error
}

// Reader talks to the chip under a head. An empty ATR is a mute chip; card.ErrMute means that contact was lost, and the
// responses up to then are returned. Any other error is the machine's.
type Reader interface {
	Contact(ctx context.Context, head uint16) (atr []byte, err error)
	Play(ctx context.Context, head uint16, window []bus.Play) (responses [][]byte, err error)
}

// Counter reads the handler's own counters, which only it can change: chips taken from the reel, and chips in each of its bins.
type Counter interface {
	Counters(ctx context.Context) (in uint64, inBins map[perso.Bin]uint64, err error)
}

// Machine is what a line drives.
type Machine interface {
	Handler
	Reader
	Counter
}

// Config is what a worker needs. Bins, Status and Patience are optional; all else is required.
type Config struct {
	Line    perso.Name
	Heads   uint16
	Env     perso.Env
	Trust   Trust
	Machine Machine
	Bins    bins.Plan // of the machine's handler; the zero plan is bins.Standard
	Ledger  bus.Requester
	Queue   bus.Queue
	Scripts bus.Store
	Journal *journal.Journal
	Random  io.Reader // of key pairs for chips without a secure channel
	Now     func() time.Time
	Log     *slog.Logger
	Status  func(snapshot []byte) // JSON of Snapshot, every second, in a goroutine of its own

	// Patience is how long the chips in hand may take to be finished when ctx ends: one that is left with half its keys
	// may have to be rejected. Zero stops at once, as a power cut does.
	Patience time.Duration
}

// Worker carries out a station's effects.
type Worker struct {
	cfg     Config
	log     *slog.Logger
	runners []*runner // one per head
	own     *runner   // the station's
	order   taken

	mu      sync.Mutex
	station *Station
}

// Run works until ctx ends, and finishes the chips in hand. Being killed is safe at any moment: what is under way is found
// again at the next start. The error is nil after ctx ended; otherwise the worker must be started anew, with its journal
// opened anew.
func Run(ctx context.Context, cfg Config) error {
	w, err := New(cfg)
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

// New makes a worker.
func New(cfg Config) (*Worker, error) {
	if cfg.Machine == nil || cfg.Ledger == nil || cfg.Queue == nil || cfg.Scripts == nil || cfg.Journal == nil || cfg.Random == nil || cfg.Now == nil || cfg.Log == nil {
		return nil, errors.New("making line worker: the configuration is incomplete")
	}
	if _, err := perso.ParseEnv(string(cfg.Env)); err != nil {
		return nil, fmt.Errorf("making line worker: %w", err)
	}
	if len(cfg.Trust.Key) != ed25519.PublicKeySize || cfg.Trust.Origin == "" {
		return nil, errors.New("making line worker: no log key is pinned")
	}
	if cfg.Bins.IsZero() {
		cfg.Bins = bins.Standard()
	}
	station, err := NewStation(cfg.Line, cfg.Heads, cfg.Bins, cfg.Trust)
	if err != nil {
		return nil, fmt.Errorf("making line worker: %w", err)
	}
	w := &Worker{cfg: cfg, log: cfg.Log.With("line", cfg.Line), station: station}
	w.own = newRunner(w, Self)
	for i := range cfg.Heads {
		w.runners = append(w.runners, newRunner(w, int(i)))
	}
	return w, nil
}

// Run is Run of the package.
func (w *Worker) Run(ctx context.Context) error {
	w.mu.Lock()
	outs, err := w.station.Start(w.cfg.Now(), w.cfg.Journal.Pending())
	w.route(outs)
	w.mu.Unlock()
	if err != nil {
		return err
	}
	work, halt := context.WithCancel(context.WithoutCancel(ctx))
	defer halt()
	g, running := errgroup.WithContext(work)
	for _, r := range append([]*runner{w.own}, w.runners...) {
		g.Go(func() error { return r.run(running) })
	}
	g.Go(func() error { return every(running, progressEvery, w.order.inProgress(w.log)) })
	if w.cfg.Status != nil {
		g.Go(func() error { return every(running, statusEvery, w.publish) })
	}
	g.Go(func() error {
		defer halt()
		w.windDown(ctx, running)
		return nil
	})
	if err := g.Wait(); err != nil {
		return fmt.Errorf("working line %q: %w", w.cfg.Line, err)
	}
	return nil
}

// windDown waits for the end of ctx, and then for the chips in hand: none is taken up any more.
func (w *Worker) windDown(ctx, running context.Context) {
	select {
	case <-ctx.Done():
	case <-running.Done():
		return
	}
	if w.cfg.Patience == 0 {
		return
	}
	w.log.Info("line stops when the chips in hand are done")
	for head := range w.runners {
		w.step(head, Pause)
	}
	running, cancel := context.WithTimeout(running, w.cfg.Patience)
	defer cancel()
	_ = every(running, settledEvery, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.station.settled() {
			cancel()
		}
	})
}

// Operate gives an operator's command to one head.
func (w *Worker) Operate(head uint16, c Command) error {
	if _, err := ParseCommand(string(c)); err != nil {
		return err
	}
	if int(head) >= len(w.runners) {
		return fmt.Errorf("commanding head %d: line %q has heads 0 to %d", head, w.cfg.Line, len(w.runners)-1)
	}
	w.log.Info("operator command", "head", head, "step", string(c))
	w.step(int(head), c)
	return nil
}

// Snapshot is what operators see now.
func (w *Worker) Snapshot() Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.station.Snapshot(w.cfg.Now())
}

func (w *Worker) publish() {
	b, err := json.Marshal(w.Snapshot())
	if err != nil {
		w.log.Error("snapshot cannot be written", "err", err)
		return
	}
	w.cfg.Status(b)
}

// step feeds one event to the station and hands its effects to whose they are.
func (w *Worker) step(head int, ev Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.route(w.station.Step(w.cfg.Now(), head, ev))
}

func (w *Worker) route(outs []Out) {
	for _, o := range outs {
		if o.Head == Self {
			w.own.put(o.Effect)
		} else {
			w.runners[o.Head].put(o.Effect)
		}
	}
}

// every calls f at once and then at each interval, until ctx ends.
func every(ctx context.Context, interval time.Duration, f func()) error {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		f()
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}
