package keygen_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/hsm/softhsm"
	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/keygen/ceremony"
	"github.com/persoline/persoline/keygen/journal"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus/membus"
	"github.com/persoline/persoline/perso/script"
)

// largeScriptBytes is what the large product writes beyond the first product's script: an applet and its data.
const largeScriptBytes = 12 << 10

// largeSource is the first product's script with sections that write so much more.
func (r *rig) largeSource() string {
	const tagBytes, tags = 192, 4 // of one section: a chip's tag holds so much, an act has 64 sections
	var more strings.Builder
	for i := range largeScriptBytes / (tagBytes * tags) {
		fmt.Fprintf(&more, ".SECTION bulk-%d  REDO=safe\n         80E62000 <0000 <{AID.ISDR}> 000000> 00  (9000)\n         .STORE MODE=dgi <0070 <d", i)
		for t := range tags {
			fmt.Fprintf(&more, " DF5%X <%s>", t, strings.Repeat(fmt.Sprintf("%02X", i), tagBytes))
		}
		more.WriteString(">>  (9000)\n\n")
	}
	before, after, found := strings.Cut(r.source(), ".SECTION ecasd-cert")
	if !found {
		r.t.Fatal("the product's script has no section ecasd-cert to write before")
	}
	return before + more.String() + ".SECTION ecasd-cert" + after
}

// BenchmarkCardOnSoftHSM is BenchmarkCard with the HSM's own work: what a card costs a vault process: a plain SIM; an M2M chip with
// its certificate and its profile package; and the same where the script writes 12 KiB more, of its own and not from a package.
// B/card-sent is what goes to one chip.
func BenchmarkCardOnSoftHSM(b *testing.B) {
	for _, c := range []struct {
		name   string
		source func(*rig) string
		plain  bool
		least  uint64 // bytes to one chip: a row that sends less measures something else than it says
	}{{"plain-sim", (*rig).source, true, 1}, {"m2m-certificate", (*rig).source, false, 1}, {"m2m-certificate-12KiB-script", (*rig).largeSource, false, largeScriptBytes}} {
		b.Run(c.name, func(b *testing.B) {
			r := newRigOn(b, hsmtest.SoftHSM(b), "S1")
			if c.plain {
				r.sims()
			} else {
				var err error
				if r.script, err = script.Compile([]byte(c.source(r)), r.catalogue()); err != nil {
					b.Fatal(err)
				}
				r.release.ScriptHash = r.script.Hash()
			}
			cards := (b.N + benchBatch - 1) / benchBatch * benchBatch
			w := newWorker(r, uint64(cards))
			b.ResetTimer()
			total := w.work(cards)
			b.ReportMetric(float64(total.cpu.Nanoseconds())/float64(cards)/1e6, "cpu-ms/card")
			b.ReportMetric(float64(total.wall.Nanoseconds())/float64(cards)/1e6, "wall-ms/card")
			sent := total.sent / uint64(cards)
			if sent < c.least {
				b.Fatalf("%d bytes went to a chip, less than %d", sent, c.least)
			}
			b.ReportMetric(float64(sent), "B/card-sent")
			b.ReportMetric(float64(len(r.script.Encode())), "B/script")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// worker makes cards of one lot.
type worker struct {
	r    *rig
	at   *membus.Bus
	made int
}

func newWorker(r *rig, units uint64) *worker {
	at := membus.New(membus.Config{Now: func() time.Time { return r.now }})
	stop, err := keygen.Register(at, r.vault)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = stop() })
	r.tick = benchTick
	r.enlarge(units)
	r.openLot()
	return &worker{r: r, at: at}
}

// newBenchCard is a card of the lot that is made.
func (r *rig) newBenchCard(n int) *card {
	c := newCardAs(r.t, testKMC, [10]byte{0x47, 0x90, 0x6D, 0x20, 0, 1, 0x0A, byte(n >> 16), byte(n >> 8), byte(n)})
	r.fit(c)
	return c
}

// work makes so many cards more, in batches, and counts what the vault used.
func (w *worker) work(cards int) (total cost) {
	for end := w.made + cards; w.made < end; {
		units := make([]*unit, min(benchBatch, end-w.made))
		for i := range units {
			n := w.made + i
			units[i] = w.r.claimUnit(w.r.newBenchCard(n), perso.Unit(n), perso.EIDIndex(n))
		}
		w.r.makeBatch(w.at, units, &total)
		w.made += len(units)
	}
	return total
}

// What the processes of BenchmarkVaultProcesses agree on.
const (
	envProcess = "PERSO_BENCH_VAULT" // of a child: folder, then its number
	fileMade   = "made.json"
	// processCards are made by each process in each round, processRounds how many rounds are counted.
	processCards  = 4 * benchBatch
	processRounds = 4
	// processLot is room for every round a process takes part in: one to warm up, and two of each round, alone and together, of as
	// many repetitions as anybody asks for.
	processLot = processCards * (1 + 2*processRounds*50)
)

// spent is what a process reports of one round.
type spent struct {
	Cards     int
	CPU, Wall time.Duration
}

// BenchmarkVaultProcesses runs two vault processes on one SoftHSM token, each with a lot of its own, and compares the rate of both
// together with that of one alone, in turns. A process's rate is that of its vault: the chips' time is not counted. What the
// machine's cores allow is measured in between, by the same two processes hashing: on a machine that does other things too, two
// processes do not get twice what one gets. Each process has a core to itself: one alone would take those of the other, too, because
// a vault works on many units at once.
func BenchmarkVaultProcesses(b *testing.B) {
	hsmtest.RequireSoftHSM(b)
	dir := hsmtest.TempDir(b)
	first := startProcess(b, dir, 1)
	first.round(processCards)()
	second := startProcess(b, dir, 2)
	second.round(processCards)()
	for b.Loop() {
		made, burnt := new(together), new(together)
		for range processRounds {
			burnt.round(first, second, askHashes)
			made.round(first, second, processCards)
		}
		b.ReportMetric(made.both/made.alone, "x-one-process")
		b.ReportMetric(burnt.both/burnt.alone, "x-one-by-cores")
		b.ReportMetric(made.both/made.alone/(burnt.both/burnt.alone), "of-cores")
		b.ReportMetric(made.cpuBoth/made.cpuAlone, "x-cpu-of-one")
		b.ReportMetric(made.alone*processCards/processRounds, "cards/s-of-one")
		b.ReportMetric(made.cpuAlone*made.alone/processRounds/processRounds, "cores-of-one")
	}
	b.ReportMetric(0, "ns/op")
}

// TestVaultProcesses: what BenchmarkVaultProcesses measures is there to be measured: two vault processes on one token make cards at
// the same time.
func TestVaultProcesses(t *testing.T) {
	t.Parallel()
	hsmtest.RequireSoftHSM(t)
	const cards = 2 // a round
	dir := hsmtest.TempDir(t)
	first := startProcess(t, dir, 1)
	first.round(cards)()
	second := startProcess(t, dir, 2)
	for range 2 {
		wait1, wait2 := first.round(cards), second.round(cards)
		for n, s := range []spent{wait1(), wait2()} {
			if s.Cards != cards || s.CPU <= 0 || s.Wall <= 0 {
				t.Errorf("process %d: %+v", n+1, s)
			}
		}
	}
	if s := first.round(askHashes)(); s.Cards != 0 || s.CPU <= 0 {
		t.Errorf("hashing: %+v", s)
	}
}

// together adds up rates and processor time of one process alone, and of two at the same time.
type together struct{ alone, both, cpuAlone, cpuBoth float64 }

func (t *together) round(first, second *process, ask int) {
	for _, p := range []*process{first, second} {
		s := p.round(ask)()
		t.alone, t.cpuAlone = t.alone+1/s.Wall.Seconds()/2, t.cpuAlone+s.CPU.Seconds()/2
	}
	wait1, wait2 := first.round(ask), second.round(ask)
	s1, s2 := wait1(), wait2()
	t.both, t.cpuBoth = t.both+1/s1.Wall.Seconds()+1/s2.Wall.Seconds(), t.cpuBoth+(s1.CPU+s2.CPU).Seconds()/2
}

// A child is asked for so many cards, or for none.
const (
	askHashes = 0 // about as long as processCards take
	hashBytes = 64 << 10
	hashes    = 1500
)

// hash is work that needs a core and nothing else.
func hash() (total cost) {
	block := make([]byte, hashBytes)
	total.metered(func() {
		for range hashes {
			sum := sha256.Sum256(block)
			copy(block, sum[:])
		}
	})
	return total
}

// onCore has a process started that stays on one core of those that this one may use: it inherits that from the thread that starts it.
func onCore(n int, start func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return fmt.Errorf("asking which cores there are: %w", err)
	}
	n %= all.Count()
	for core := 0; one.Count() == 0; core++ {
		if all.IsSet(core) {
			if n == 0 {
				one.Set(core)
			}
			n--
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("keeping to one core: %w", err)
	}
	return errors.Join(start(), unix.SchedSetaffinity(0, &all))
}

// process is a child with a vault.
type process struct {
	t      testing.TB
	ask    io.WriteCloser
	answer *json.Decoder
	end    func() error
	said   bytes.Buffer // on its standard output, where a test says why it fails; to be read after its end
}

func startProcess(t testing.TB, dir string, number int) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t}
	cmd := exec.Command(self, "-test.run", "^$", "-test.bench", "^BenchmarkVaultChild$", "-test.benchtime", "1x")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", envProcess, number, dir))
	cmd.Stdout, cmd.Stderr = &p.said, os.Stderr
	if p.ask, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{w}
	if err := errors.Join(onCore(number-1, cmd.Start), w.Close()); err != nil {
		t.Fatal(err)
	}
	p.answer = json.NewDecoder(r)
	p.end = sync.OnceValue(func() error { return errors.Join(p.ask.Close(), cmd.Wait(), r.Close()) })
	t.Cleanup(func() { _ = p.end() })
	return p
}

// round asks the child for so many cards, or to hash; the function that it gives waits for it.
func (p *process) round(ask int) (wait func() spent) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.ask, ask); err != nil {
		p.lost(err)
	}
	return func() (s spent) {
		p.t.Helper()
		if err := p.answer.Decode(&s); err != nil {
			p.lost(err)
		}
		return s
	}
}

// lost tells of a child that ended early.
func (p *process) lost(err error) {
	p.t.Helper()
	p.t.Fatalf("asking a vault process: %v; it ended with: %v, and said:\n%s", err, p.end(), &p.said)
}

// BenchmarkVaultChild is a child of BenchmarkVaultProcesses. It makes cards whenever it is told to.
func BenchmarkVaultChild(b *testing.B) {
	var number int
	var dir string
	if _, err := fmt.Sscan(os.Getenv(envProcess), &number, &dir); err != nil {
		b.Skip("SKIP: it is a child of BenchmarkVaultProcesses")
	}
	r := firstRig(b, dir)
	if number > 1 {
		r = nextRig(b, r, number)
	}
	w := newWorker(r, processLot)
	out := json.NewEncoder(os.NewFile(3, "answers"))
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		cards, err := strconv.Atoi(lines.Text())
		if err != nil {
			b.Fatal(err)
		}
		var c cost
		if cards == askHashes {
			c = hash()
		} else {
			c = w.work(cards)
		}
		if err := out.Encode(spent{Cards: cards, CPU: c.cpu, Wall: c.wall}); err != nil {
			b.Fatal(err)
		}
	}
}

// firstRig makes the token and the site in the first process, and opens them in the others.
func firstRig(b *testing.B, dir string) *rig {
	token, madeFile := filepath.Join(dir, "token"), filepath.Join(dir, fileMade)
	made, err := os.ReadFile(madeFile)
	isFirst := errors.Is(err, fs.ErrNotExist)
	if isFirst {
		err = errors.Join(os.Mkdir(token, 0o700), hsmtest.NewSoftHSM(token))
	} else {
		err = errors.Join(err, softhsm.Use(token))
	}
	if err != nil {
		b.Fatal(err)
	}
	t, err := hsm.Open(b.Context(), hsmtest.TestConfig(hsmtest.RequireSoftHSM(b)))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = t.Close() })
	if !isFirst {
		r := newRigWith(b, t)
		r.made = &ceremony.Made{}
		if err := json.Unmarshal(made, r.made); err != nil {
			b.Fatal(err)
		}
		return r
	}
	r := newRigOn(b, t, "S1")
	text, err := json.Marshal(r.made)
	if err == nil {
		err = os.WriteFile(madeFile, text, 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// nextRig gives another process's vault a name, a life, a memory and receipts of its own.
func nextRig(b *testing.B, r *rig, number int) *rig {
	state := b.TempDir()
	r.made.JournalDir, r.made.MemoryDir = filepath.Join(state, "journal"), filepath.Join(state, "memory")
	_, err := journal.CreateMemory(r.made.MemoryDir)
	if err = errors.Join(err, os.Mkdir(r.made.JournalDir, 0o700)); err != nil {
		b.Fatal(err)
	}
	r.lot, r.name = perso.Name(fmt.Sprintf("LOT-%d", number)), perso.Name(fmt.Sprintf("V%d", number))
	r.begin("S1")
	return r
}
