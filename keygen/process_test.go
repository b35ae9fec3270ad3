package keygen_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
			w := newWorker(b, r, uint64(cards))
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

func newWorker(b *testing.B, r *rig, units uint64) *worker {
	at := membus.New(membus.Config{Now: func() time.Time { return r.now }})
	stop, err := keygen.Register(at, r.vault)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = stop() })
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
	for range cards / benchBatch {
		units := make([]*unit, benchBatch)
		for i := range units {
			n := w.made + i
			units[i] = w.r.claimUnit(w.r.newBenchCard(n), perso.Unit(n), perso.EIDIndex(n))
		}
		w.r.makeBatch(w.at, units, &total)
		w.made += benchBatch
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
	// processLot is room for every round a process takes part in, the first to warm up.
	processLot = processCards * (3*processRounds + 2)
)

// spent is what a process reports of one round.
type spent struct{ CPU, Wall time.Duration }

// BenchmarkVaultProcesses runs two vault processes on one SoftHSM token, each with a lot of its own, and compares the rate of both
// together with that of one alone, in turns. A process's rate is that of its vault: the chips' time is not counted. What the
// machine's cores allow is measured in between, by the same two processes hashing: on a machine that does other things too, two
// processes do not get twice what one gets.
func BenchmarkVaultProcesses(b *testing.B) {
	hsmtest.RequireSoftHSM(b)
	dir := hsmtest.TempDir(b)
	first := startProcess(b, dir, 1)
	first.round(b, askCards)()
	second := startProcess(b, dir, 2)
	second.round(b, askCards)()
	for b.Loop() {
		made, burnt := new(together), new(together)
		for range processRounds {
			burnt.round(b, first, second, askHashes)
			made.round(b, first, second, askCards)
		}
		b.ReportMetric(made.both/made.alone, "x-one-process")
		b.ReportMetric(burnt.both/burnt.alone, "x-one-by-cores")
		b.ReportMetric(made.both/made.alone/(burnt.both/burnt.alone), "of-cores")
		b.ReportMetric(made.cpuBoth/made.cpuAlone, "x-cpu-of-one")
		b.ReportMetric(made.alone*processCards/processRounds, "cards/s-of-one")
	}
	b.ReportMetric(0, "ns/op")
}

// together adds up rates and processor time of one process alone, and of two at the same time.
type together struct{ alone, both, cpuAlone, cpuBoth float64 }

func (t *together) round(b *testing.B, first, second *process, what string) {
	b.Helper()
	for _, p := range []*process{first, second} {
		s := p.round(b, what)()
		t.alone, t.cpuAlone = t.alone+1/s.Wall.Seconds()/2, t.cpuAlone+s.CPU.Seconds()/2
	}
	wait1, wait2 := first.round(b, what), second.round(b, what)
	s1, s2 := wait1(), wait2()
	t.both, t.cpuBoth = t.both+1/s1.Wall.Seconds()+1/s2.Wall.Seconds(), t.cpuBoth+(s1.CPU+s2.CPU).Seconds()/2
}

// What a child is asked for.
const (
	askCards  = "cards"
	askHashes = "hashes" // about as long as the cards of a round take
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

// process is a child with a vault.
type process struct {
	ask    *bufio.Writer
	answer *json.Decoder
}

func startProcess(b *testing.B, dir string, number int) *process {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run", "^$", "-test.bench", "^BenchmarkVaultChild$", "-test.benchtime", "1x")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", envProcess, number, dir))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{w}
	if err := errors.Join(cmd.Start(), w.Close()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = errors.Join(in.Close(), cmd.Wait(), r.Close()) })
	return &process{ask: bufio.NewWriter(in), answer: json.NewDecoder(r)}
}

// round asks the child for one thing; the function that it gives waits for it.
func (p *process) round(b *testing.B, what string) (wait func() spent) {
	b.Helper()
	if _, err := p.ask.WriteString(what + "\n"); err != nil {
		b.Fatal(err)
	}
	if err := p.ask.Flush(); err != nil {
		b.Fatal(err)
	}
	return func() (s spent) {
		b.Helper()
		if err := p.answer.Decode(&s); err != nil {
			b.Fatalf("reading what a vault process used: %v", err)
		}
		return s
	}
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
		r = nextRig(b, dir, r, number)
	}
	w := newWorker(b, r, processLot)
	out := json.NewEncoder(os.NewFile(3, "answers"))
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var c cost
		if lines.Text() == askHashes {
			c = hash()
		} else {
			c = w.work(processCards)
		}
		if err := out.Encode(spent{CPU: c.cpu, Wall: c.wall}); err != nil {
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

// nextRig gives another process's vault a memory and receipts of its own.
func nextRig(b *testing.B, dir string, r *rig, number int) *rig {
	state := b.TempDir()
	r.made.JournalDir, r.made.MemoryDir = filepath.Join(state, "journal"), filepath.Join(state, "memory")
	_, err := journal.CreateMemory(r.made.MemoryDir)
	if err = errors.Join(err, os.Mkdir(r.made.JournalDir, 0o700)); err != nil {
		b.Fatal(err)
	}
	r.lot = perso.Name(fmt.Sprintf("LOT-%d", number))
	r.begin("S1")
	return r
}
