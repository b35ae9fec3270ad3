package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/lineside"
	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/lineside/chipfarm"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/cmd/site"
	"github.com/persoline/persoline/perso/cmd/site/sitetest"
	"github.com/persoline/persoline/perso/product"
)

const (
	m2mProduct = "m2m-200s-mff2"
	simProduct = "basic-100s-2ff"

	repo = "../../.." // of the folder in which Go runs these tests
	line = "line-1"

	// comeUp is how long the zones may take to come up together, on a machine that does other things too.
	comeUp = 60 * time.Second
	// answerPatience is how long the office asks one question again and again while zones come and go. The longest answer is
	// the export of a whole lot; a question that died with its zone is asked again after statusTimeout, or answerTimeout.
	answerPatience = 90 * time.Second
	answerTimeout  = 60 * time.Second
	statusTimeout  = 500 * time.Millisecond
	// stallPatience is how long a lot may stand still: longer than the longest wait in the product, the 30 s after which
	// the queue delivers a work order again.
	stallPatience = 60 * time.Second
	// look is how often things are looked at: often enough to hit a given progress.
	look = 20 * time.Millisecond
)

// program is the built perso.
var program string

func TestMain(m *testing.M) {
	os.Exit(sitetest.Run(m, repo, func(built string) { program = built }))
}

// factory is one site with its office.
type factory struct {
	t       *testing.T
	site    *site.Site
	goodsIn []string
	office  site.Office
	at      perso.Name // the line whose chips are counted and read; "" is the first
	sims    bool       // chips and orders are of a SIM that is written under its maker's code
}

// newFactory makes a site with one line and a reel, whose first chips are as bad as the faults say.
func newFactory(t *testing.T, heads int, chips uint32, faults ...chipfarm.FaultSpec) *factory {
	t.Helper()
	return newFactoryOf(t, 1, site.TransportFarm, heads, chips, faults...)
}

// newFactoryOf makes a site with so many vaults and lines, a line for each vault, whose heads reach chips in a way of their own,
// and a reel for each line.
func newFactoryOf(t *testing.T, vaults int, via site.Transport, heads int, chips uint32, faults ...chipfarm.FaultSpec) *factory {
	t.Helper()
	return newFactoryWith(t, nil, vaults, via, heads, chips, faults...)
}

// newSIMFactory makes a site with one line and a reel of SIMs.
func newSIMFactory(t *testing.T, heads int, chips uint32, faults ...chipfarm.FaultSpec) *factory {
	t.Helper()
	f := bareFactory(t, nil, 1, site.TransportFarm, heads)
	f.sims = true
	f.fill(simProduct, chips, faults)
	return f
}

// newFactoryWith gives "perso site init" more flags.
func newFactoryWith(t *testing.T, flags []string, vaults int, via site.Transport, heads int, chips uint32, faults ...chipfarm.FaultSpec) *factory {
	t.Helper()
	f := bareFactory(t, flags, vaults, via, heads)
	f.fill(m2mProduct, chips, faults)
	return f
}

// bareFactory has no chips.
func bareFactory(t *testing.T, flags []string, vaults int, via site.Transport, heads int) *factory {
	t.Helper()
	hsmtest.RequireSoftHSM(t)
	dir := filepath.Join(t.TempDir(), "site")
	// In a process of its own: one process has room for one token.
	init := exec.Command(program, "site", "init", "--site", dir, "--name", "chaos", "--heads", strconv.Itoa(heads), "--catalogue", filepath.Join(repo, "deploy"),
		"--lines", strconv.Itoa(vaults), "--vaults", strconv.Itoa(vaults), "--transport", string(via))
	init.Args = append(init.Args, flags...)
	if out, err := init.CombinedOutput(); err != nil {
		t.Fatalf("making the site: %v\n%s", err, out)
	}
	s, err := site.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	f := &factory{t: t, site: s}
	t.Cleanup(func() {
		if f.office != nil {
			_ = f.office.Close()
		}
		if t.Failed() {
			f.tell()
		}
	})
	return f
}

// fill gives each line a reel.
func (f *factory) fill(sku product.SKU, chips uint32, faults []chipfarm.FaultSpec) {
	f.t.Helper()
	for i, l := range f.site.Config.Lines {
		plan := site.FarmPlan{Product: sku, Line: l.Name, Reel: perso.Name("R-CHAOS-" + strconv.Itoa(i)), Chips: chips, Seed: uint64(i + 1), Faults: faults}
		goodsIn, err := f.site.MakeFarm(plan)
		if err != nil {
			f.t.Fatal(err)
		}
		f.goodsIn = append(f.goodsIn, goodsIn...)
	}
}

// badChips are what a real reel has, and more of it.
func badChips() []chipfarm.FaultSpec {
	return []chipfarm.FaultSpec{
		{Kind: cardsim.FaultMute, Permille: 6}, {Kind: cardsim.FaultContact, Permille: 15}, {Kind: cardsim.FaultTearBefore, Permille: 12},
		{Kind: cardsim.FaultTearAfter, Permille: 12}, {Kind: cardsim.FaultTearAfter, Permille: 4, Dead: true},
		{Kind: cardsim.FaultStatus, Permille: 4, SW: "6581"}, {Kind: cardsim.FaultFlip, Permille: 4, Bit: 9},
	}
}

// supervise keeps zones of the site running until stop is called, or the test ends.
func (f *factory) supervise(zones ...string) (sup *site.Supervisor, stop func()) {
	f.t.Helper()
	all := slices.DeleteFunc(f.site.Processes(), func(p site.Process) bool { return len(zones) > 0 && !slices.Contains(zones, p.Name) })
	sup = site.NewSupervisor(f.site, slog.New(slog.NewTextHandler(f.t.Output(), nil)))
	sup.Program = program
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.t.Context()))
	over := make(chan error, 1)
	go func() { over <- sup.Run(ctx, all) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-over; err != nil {
			f.t.Error(err)
		}
	}
	f.t.Cleanup(stop)
	return sup, stop
}

// connect waits until the ledger answers, and has the reel received.
func (f *factory) connect() {
	f.t.Helper()
	if f.office == nil {
		f.until("bus", comeUp, func() (err error) {
			f.office, err = f.site.Office(f.t.Context())
			if err != nil {
				f.office = nil
			}
			return err
		})
	}
	for _, path := range f.goodsIn {
		raw, err := os.ReadFile(path)
		if err != nil {
			f.t.Fatal(err)
		}
		ask[bus.ReceiveReply](f, bus.OfficeReceive, bus.ReceiveRequest{File: raw})
	}
}

// ask puts a question of the office, again and again while nobody answers.
func ask[A, Q any](f *factory, verb string, q Q) (a A) {
	f.t.Helper()
	timeout := answerTimeout
	if verb == bus.OfficeStatus || verb == bus.OfficeTrace || verb == bus.OfficeWord { // the same word again changes nothing
		timeout = statusTimeout
	}
	f.until("answer to "+verb, answerPatience, func() (err error) {
		ctx, cancel := context.WithTimeout(f.t.Context(), timeout)
		defer cancel()
		a, err = bus.Call[A](ctx, f.office, bus.OfficeSubject(verb), q)
		// An internal fault is a zone's that is about to end, or the last words of until.
		if fault := new(bus.Fault); errors.As(err, &fault) && fault.Code != bus.FaultInternal {
			f.t.Fatal(err)
		}
		return err
	})
	return a
}

// until looks again and again until there is no error.
func (f *factory) until(what string, patience time.Duration, ready func() error) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	again := time.NewTicker(look)
	defer again.Stop()
	for {
		err := ready()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			f.t.Fatalf("waiting for %s: %v", what, err)
		case <-again.C:
		}
	}
}

// idle waits until the line has no order in hand: all its heads are empty.
func (f *factory) idle() {
	f.t.Helper()
	f.until("an idle line", comeUp, func() error {
		var now lineside.Snapshot
		text, err := os.ReadFile(filepath.Join(f.site.Dir, "line", line, "status.json"))
		if err == nil {
			err = json.Unmarshal(text, &now)
		}
		if err == nil && (now.Lot != "" || now.Phase != "taking") {
			err = fmt.Errorf("the line is %s, lot %s", now.Phase, now.Lot)
		}
		return err
	})
}

// order makes an order file.
func (f *factory) order(number string, quantity, spares uint64) []byte {
	f.t.Helper()
	sample, err := os.ReadFile(filepath.Join(repo, "deploy", "samples", "orders", "small-20.json"))
	if err != nil {
		f.t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(sample, &fields); err != nil {
		f.t.Fatal(err)
	}
	fields["order"], fields["quantity"], fields["spares"] = number, quantity, spares
	for _, identity := range []string{"eid", "iccid", "imsi"} {
		fields[identity] = "allocate"
	}
	if f.sims {
		fields["product"] = simProduct
		delete(fields, "eid")
		delete(fields, "sm_sr")
	}
	file, err := json.Marshal(fields)
	if err != nil {
		f.t.Fatal(err)
	}
	return file
}

// tell prints what the zones and the heads had to say.
func (f *factory) tell() {
	const lastBytes = 6_000
	paths, _ := filepath.Glob(filepath.Join(f.site.Dir, "log", "*.log"))
	for _, path := range append(paths, filepath.Join(f.site.Dir, "line", line, "status.json")) {
		text, err := os.ReadFile(path)
		f.t.Logf("%s (%v)\n%s", filepath.Base(path), err, text[max(0, len(text)-lastBytes):])
	}
}

// zoneLog is what a zone wrote so far.
func (f *factory) zoneLog(zone string) string {
	f.t.Helper()
	text, err := os.ReadFile(filepath.Join(f.site.Dir, "log", zone+".log"))
	if err != nil {
		f.t.Fatal(err)
	}
	return string(text)
}

// quiet demands that no zone complained: a stop or a restart that somebody wanted is no error.
func (f *factory) quiet() {
	f.t.Helper()
	for _, p := range f.site.Processes() {
		for l := range strings.Lines(f.zoneLog(p.Name)) {
			if !strings.Contains(l, `"level":"INFO"`) {
				f.t.Errorf("%s says: %s", p.Name, l)
			}
		}
	}
}
