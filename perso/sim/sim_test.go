package sim

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/ledger"
)

// What the environment may say; nothing else here reads it.
const (
	envSeed  = "PERSO_SIM_SEED"  // run this one and tell every event; with envSeeds, begin with it
	envSeeds = "PERSO_SIM_SEEDS" // how many to run
	envSteps = "PERSO_SIM_STEPS" // events after which a run has failed
)

// defaultSeeds take some fifteen seconds on two cores. With fewer, nobody swaps the chips of two stopped heads.
const defaultSeeds = 220

// newToken is the HSM double with the world's faults.
func newToken(random io.Reader, fails func() (undone, done bool)) Token {
	t := hsmfake.New(random)
	t.Inject(func(uint64, hsm.Verb, hsm.Key) (f hsmfake.Fault) {
		undone, done := fails()
		if undone {
			f.Before = hsm.ErrSessionLost
		}
		if done {
			f.After = hsm.ErrSessionLost
		}
		return f
	})
	return t
}

// catalogues are those of all worlds: what is read and prepared for one is there for the others.
var catalogues = sync.OnceValues(func() (ledger.Catalogues, error) { return LoadCatalogues("../../deploy") })

// run lets one factory work to its end, in a folder below dir.
func run(cfg Config, dir string) (Stats, error) {
	cfg.NewToken, cfg.MaxEvents = newToken, int(number(envSteps, 0))
	var err error
	if cfg.Catalogues, err = catalogues(); err != nil {
		return Stats{}, err
	}
	if cfg.Dir, err = os.MkdirTemp(dir, "world"); err != nil {
		return Stats{}, err
	}
	defer func() { _ = os.RemoveAll(cfg.Dir) }() // below the test's own folder, which goes too
	w, err := New(cfg)
	if err != nil {
		return Stats{}, err
	}
	return w.Run()
}

// number reads a number from the environment.
func number(name string, otherwise uint64) uint64 {
	n, err := strconv.ParseUint(os.Getenv(name), 10, 64)
	if err != nil {
		return otherwise
	}
	return n
}

// keptSeeds are those that once found something.
func keptSeeds(t *testing.T) (seeds []uint64) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "seeds"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		word, _, _ := strings.Cut(lines.Text(), " ")
		if word == "" || word == "#" {
			continue
		}
		seed, err := strconv.ParseUint(word, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, seed)
	}
	return seeds
}

// TestSeeds runs many small factories, each with its own mixture of faults: first the seeds that found something before.
//
//	make sim             the usual number
//	make sim SEED=594    one, with every event
//	make soak            a night's worth of new ones
func TestSeeds(t *testing.T) {
	t.Parallel()
	first, count := number(envSeed, 0), number(envSeeds, 0)
	if seed := first; seed > 0 && count == 0 {
		cfg := Draw(seed)
		cfg.Tell = func(line string) { fmt.Println(line) }
		s, err := run(cfg, t.TempDir())
		if err != nil {
			t.Error(err)
		}
		t.Logf("%+v\n%+v", cfg.Faults, s)
		return
	}
	if count == 0 {
		count = defaultSeeds
	}
	seeds := keptSeeds(t)
	for i := range count {
		seeds = append(seeds, max(first, 1)+i)
	}
	total := runAll(t, seeds)
	if count >= defaultSeeds && !t.Failed() {
		total.demandAll(t)
	}
}

// runAll runs worlds beside one another, one per processor, and adds up what happened.
func runAll(t *testing.T, seeds []uint64) (total Stats) {
	dir := t.TempDir()
	total.Verdicts = map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := 0
	take := func() (uint64, bool) {
		mu.Lock()
		defer mu.Unlock()
		if next == len(seeds) || t.Failed() {
			return 0, false
		}
		next++
		return seeds[next-1], true
	}
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed, more := take(); more; seed, more = take() {
				s, err := run(Draw(seed), dir)
				mu.Lock()
				if err != nil {
					t.Errorf("%v\nreplay it with make sim SEED=%d, and keep it in testdata/seeds", err, seed)
				}
				total.add(s)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("%d worlds: %+v", next, total)
	return total
}

// add sums up the numbers of two runs.
func (s *Stats) add(other Stats) {
	to, from := reflect.ValueOf(s).Elem(), reflect.ValueOf(other)
	for i := range from.NumField() {
		switch from.Field(i).Kind() {
		case reflect.Int:
			to.Field(i).SetInt(to.Field(i).Int() + from.Field(i).Int())
		case reflect.Bool:
			to.Field(i).SetBool(to.Field(i).Bool() || from.Field(i).Bool())
		}
	}
	for v, n := range other.Verdicts {
		s.Verdicts[v] += n
	}
}

// demandAll says whether everything that may go wrong did, and every way to end was taken: a fault that never happens
// proves nothing.
func (s *Stats) demandAll(t *testing.T) {
	t.Helper()
	v := reflect.ValueOf(*s)
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Int, reflect.Bool:
			if f.IsZero() {
				t.Errorf("%s never happened", v.Type().Field(i).Name)
			}
		}
	}
	for _, want := range []string{"good -", "good already-good", "reject-live mute", "reject-live bad-contact", "reject-blank mute", "return lot-complete",
		"return no-identity", "recontact bad-contact", "recontact card-cryptogram", "hold lot-waiting", "stop twin-chip", "stop unknown-chip", "stop foreign-chip",
		"sample -", "sample already-good", "hold first-article"} {
		if s.Verdicts[want] == 0 {
			t.Errorf("verdict %q never happened; there are %q", want, slices.Sorted(keysOf(s.Verdicts)))
		}
	}
}

func keysOf(m map[string]int) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// TestQuiet makes a small lot with nothing going wrong: no stop, no reject, and chips returned.
func TestQuiet(t *testing.T) {
	t.Parallel()
	s, err := run(Config{Seed: 1, Units: 6, Spares: 2, Heads: 3, Chips: 12, Remake: "same-identity"}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if s.Good != 6 || s.Returned == 0 || !s.Closed || s.Short || s.Stops+s.RejectLive+s.RejectBlank+s.Reels+s.SetAside > 0 {
		t.Errorf("%+v", s)
	}
}

// TestKillsCostNoChip kills the line, and in some worlds vault and ledger as well, again and again while it works: chips that
// were being written come back and are finished, each of them. There is no identity to spare.
func TestKillsCostNoChip(t *testing.T) {
	t.Parallel()
	total := Stats{Verdicts: map[string]int{}}
	for seed := range uint64(40) {
		cfg := Config{Seed: seed, Units: 5, Heads: 3, Chips: 7, Remake: "same-identity", Faults: Faults{Until: 20 * time.Second, LineCrash: 3 * time.Second}}
		if seed%2 == 1 {
			cfg.Faults.VaultCrash, cfg.Faults.LedgerCrash = 4*time.Second, 4*time.Second
		}
		s, err := run(cfg, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if s.Good != 5 || s.RejectLive+s.RejectBlank > 0 || !s.Closed {
			t.Errorf("seed %d: %+v", seed, s)
		}
		total.add(s)
	}
	if total.LineCrashes < 40 || total.VaultCrashes == 0 || total.LedgerCrashes == 0 {
		t.Errorf("only %d kills of the line, %d of the vault, %d of the ledger", total.LineCrashes, total.VaultCrashes, total.LedgerCrashes)
	}
	t.Logf("%d kills of the line, %d of the vault, %d of the ledger", total.LineCrashes, total.VaultCrashes, total.LedgerCrashes)
}

// TestSameSeedSameTrace runs some seeds twice.
func TestSameSeedSameTrace(t *testing.T) {
	t.Parallel()
	for _, seed := range []uint64{3, 14, 159, 265} {
		a, errA := run(Draw(seed), t.TempDir())
		b, errB := run(Draw(seed), t.TempDir())
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if a.Hash != b.Hash || a.Events != b.Events {
			t.Errorf("seed %d: %d events with hash %x, then %d with %x", seed, a.Events, a.Hash[:8], b.Events, b.Hash[:8])
		}
	}
}
