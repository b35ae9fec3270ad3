package sim

import (
	"container/heap"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/persoline/persoline/keygen/ceremony"
	"github.com/persoline/persoline/keygen/life"
	"github.com/persoline/persoline/ledger"
	"github.com/persoline/persoline/perso/statement"
)

// Limits of one run.
const (
	// defaultMaxEvents ends a run that goes nowhere: a lot of eight units with every fault takes a tenth of it.
	defaultMaxEvents = 200_000
	// patience is how long after the last fault everything must be done: lost answers cost ten seconds each, operators
	// come within a minute, and eight units wait for one another's leases of a minute.
	patience = 30 * time.Minute
)

// Token is the HSM that a caller passes in.
type Token interface {
	ceremony.Token
	life.Token
}

// TokenMaker makes an HSM double that draws from random. Before each of its operations it asks fails, which says whether
// it fails undone or fails although it was done.
type TokenMaker func(random io.Reader, fails func() (undone, done bool)) Token

// Config says what is simulated.
type Config struct {
	Seed     uint64
	Units    uint64 // ordered
	Spares   uint64
	Remake   string // same-identity or fresh-identity
	KiSource string // derived when empty
	Product  string // the first product when empty
	// Operational gives each chip a second profile, of another provider, where the product has room for one.
	Operational bool
	// FirstArticle and Sampling are the site's policy; none of the two, and there is no policy.
	FirstArticle uint64
	Sampling     statement.Sampling
	Heads        uint16
	Chips        int // on the first reel
	Faults       Faults
	Dir          string            // an empty folder for the ceremony's artefacts
	Catalogues   ledger.Catalogues // LoadCatalogues gives them
	NewToken     TokenMaker
	Tell         func(string) // gets every row of the trace; may be nil
	// MaxEvents ends a run; 0 is a number that none needs.
	MaxEvents int
	// Chip may change a chip before it is put on the reel; it overrides what Faults would do to it.
	Chip func(index int, c *Blank)
	// Binned, when given, hears of each chip that is put into a bin.
	Binned func(chip, bin string)
}

// Violation is an invariant that did not hold.
type Violation struct {
	Invariant string
	Text      string
}

// Error says which and what.
func (v *Violation) Error() string { return v.Invariant + ": " + v.Text }

// World is one factory. Make it with New, then call Run once.
type World struct {
	cfg   Config
	rng   *rand.Rand
	base  time.Time
	now   time.Duration
	queue eventHeap
	seq   uint64
	trace *trace
	calm  bool          // no more faults
	said  []question    // everything that line and office ever asked
	heard [][]byte      // every message between any two machines
	quiet time.Duration // since when everything is done; 0 while it is not
	stats Stats

	site    *site
	ledger  *ledgerHost
	vault   *vaultHost
	line    *lineHost
	quality *quality // nil in a factory without a policy
	check   *checker
	broken  *Violation
}

// Stats is what a run was made of, to see that the faults are really there.
type Stats struct {
	Events, Entries, Acts                    int
	Lost, Doubled, Late                      int
	LedgerCrashes, VaultCrashes, LineCrashes int
	PowerLosses, StorageFaults, HSMFaults    int
	Stops, SetAside, Swaps, Reels, Echoes    int
	Good, RejectLive, RejectBlank, Returned  int
	Samples, Words, Destroyed, Refused       int // by a policy: drawn, signed by quality, seen destroyed; lots that quality did not accept
	Short, Closed                            bool
	Took                                     time.Duration // virtual
	Hash                                     [32]byte
	Verdicts                                 map[string]int // verdict and reason, by replies
}

// New builds the factory: ceremony, ledger, released lot, chips on the reel.
func New(cfg Config) (*World, error) {
	w := &World{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x9E3779B97F4A7C15)), base: time.Date(2031, 5, 6, 7, 0, 0, 0, time.UTC), trace: newTrace(), calm: true}
	w.trace.tell = cfg.Tell
	if cfg.MaxEvents == 0 {
		w.cfg.MaxEvents = defaultMaxEvents
	}
	w.stats.Verdicts = map[string]int{}
	if err := w.build(); err != nil {
		return nil, fmt.Errorf("building the factory of seed %d: %w", cfg.Seed, err)
	}
	return w, nil
}

// Run lets the factory work until everything is done, and looks at all of it. The error is a *Violation.
func (w *World) Run() (Stats, error) {
	w.begin()
	end := w.cfg.Faults.Until + patience
	for w.broken == nil && !w.done() {
		if w.queue.Len() == 0 || w.stats.Events == w.cfg.MaxEvents || w.now > end {
			w.fail("liveness", "the lot is not done %v after the last fault: %s", (w.now - w.cfg.Faults.Until).Round(time.Second), w.standing())
			break
		}
		w.step()
	}
	if w.broken == nil {
		w.finish()
	}
	w.stats.Took, w.stats.Hash = w.now, w.trace.hash()
	if w.broken != nil {
		return w.stats, fmt.Errorf("seed %d, event %d: %w\n%s", w.cfg.Seed, w.trace.n, w.broken, w.trace)
	}
	return w.stats, nil
}

// step lets the next thing happen.
func (w *World) step() {
	e := heap.Pop(&w.queue).(*event)
	w.now = e.at
	w.stats.Events++
	if e.what != "" {
		w.trace.add(w.now, e.who, e.what)
	}
	e.do()
	w.check.after()
}

// note adds a row to the trace.
func (w *World) note(who, format string, a ...any) {
	w.trace.add(w.now, who, fmt.Sprintf(format, a...))
}

// fail records the first broken invariant.
func (w *World) fail(invariant, format string, a ...any) {
	if w.broken == nil {
		w.broken = &Violation{Invariant: invariant, Text: fmt.Sprintf(format, a...)}
		w.note("checker", "%s is broken", invariant)
	}
}

// clock is the time that all machines of the factory show.
func (w *World) clock() time.Time { return w.base.Add(w.now) }

// after plans an event. Without a text it leaves no row.
func (w *World) after(d time.Duration, who, what string, do func()) {
	w.seq++
	heap.Push(&w.queue, &event{at: w.now + d, seq: w.seq, who: who, what: what, do: do})
}

// stream is a source of random bytes for keys and nonces, apart from the one that decides.
func (w *World) stream() io.Reader {
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(w.rng.Uint32())
	}
	return rand.NewChaCha8(seed)
}

// between draws a duration.
func (w *World) between(a, b time.Duration) time.Duration {
	return a + time.Duration(w.rng.Int64N(int64(b-a)+1))
}

// chance says yes with a probability, and never when all is calm.
func (w *World) chance(p float64) bool { return !w.calm && p > 0 && w.rng.Float64() < p }

// event is something that is going to happen.
type event struct {
	at   time.Duration
	seq  uint64
	who  string
	what string
	do   func()
}

type eventHeap []*event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push is heap.Interface's.
func (h *eventHeap) Push(x any) { *h = append(*h, x.(*event)) }

// Pop is heap.Interface's.
func (h *eventHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
