package pcsc

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/persoline/persoline/lineside/card"
	"github.com/persoline/persoline/lineside/card/cardtest"
	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/lineside/chipfarm"
	"github.com/persoline/persoline/lineside/vpcd"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/secret"
)

// The library looks once where pcscd is, so all tests of this process share one farm with readers, each with heads of its own.
const (
	headReader   = iota // TestReader
	headSuite           // TestSuite
	headAwait           // TestSession
	headBusy            // TestBusyAndUnknown
	headChanged         // TestChangedChip
	headFaulty          // TestFaultyChips
	headParallel        // TestParallelHeads, and the next
	heads        = headParallel + 2
)

const (
	atr       = "3B9F9680811F878031E073FE2113674D324D323030XXXX" // T=0 and T=1, and T=15 for the interface
	atr20     = "3B9F9680811F878031E073FE2113674D324D3230"
	selectISD = "00A4040000"
	getCPLC   = "80CA9F7F00"
	selectMF  = "00A4000C023F00"
)

var shared struct {
	skip   string
	client *chipfarm.Client
}

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	if os.Getenv(plugFile) != "" {
		return m.Run() // with a double of the library (plug_test.go)
	}
	if err := vpcd.Startable(); err != nil {
		shared.skip = err.Error()
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "pcsc")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if _, err := chipfarm.Create(filepath.Join(dir, "farm"), testSpec()); err != nil {
		panic(err)
	}
	stop := startFarm(dir, heads)
	if shared.client, err = chipfarm.Dial(context.Background(), "unix:"+filepath.Join(dir, "farm.sock")); err != nil {
		panic(err)
	}
	if err := UseSocket(vpcd.Socket(filepath.Join(dir, "readers"))); err != nil {
		panic(err)
	}
	code := m.Run()
	if code == 0 {
		if err := theEnd(dir, stop); err != nil {
			fmt.Fprintln(os.Stderr, "FAIL: pcscd ends and begins anew:", err)
			code = 1
		}
	} else {
		stop()
	}
	return code
}

// startFarm serves the farm and so many readers until stop is called.
func startFarm(dir string, readers int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	over, ready := make(chan error, 1), make(chan string, 1)
	go func() {
		over <- chipfarm.Serve(ctx, chipfarm.Config{Dir: filepath.Join(dir, "farm"), Address: "unix:" + filepath.Join(dir, "farm.sock"),
			Log: slog.New(slog.DiscardHandler), Listening: func(a string) { ready <- a },
			Readers: &chipfarm.Readers{Heads: readers, Dir: filepath.Join(dir, "readers")}})
	}()
	select {
	case <-ready:
	case err := <-over:
		panic(err)
	}
	return func() {
		cancel()
		if err := <-over; err != nil {
			panic(err)
		}
	}
}

// theEnd ends the farm, and pcscd with it, under a head in contact and a program that waits for changes. Then both come again, with
// more readers than before, and once more with fewer: a head finds its reader when that is there, and says so when it is not. None is
// plugged into a pcscd that runs: 1.9.9 as Debian builds it (udev) takes the signal of "pcscd --hotplug" and reads no configuration again,
// and a virtual reader is no USB device that udev would tell it of. TestPlugging does that, without pcscd.
func theEnd(dir string, stop func()) error {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := Open(ctx)
	if err != nil {
		return err
	}
	r := NewReader(chipfarm.ReaderName(headReader))
	if atr, err := r.Contact(ctx); err != nil || len(atr) == 0 {
		return fmt.Errorf("contact: ATR %X, %w", atr, err)
	}
	known, err := s.States(ctx, r.Name())
	if err != nil {
		return err
	}
	late := NewReader(chipfarm.ReaderName(heads + vpcd.SlotsOfDriver))
	if atr, err := late.Contact(ctx); !errors.Is(err, ErrReader) {
		return fmt.Errorf("a reader that is still to come: ATR %X, %w", atr, err)
	}
	stop()
	if _, err := s.Await(ctx, known); !errors.Is(err, ErrService) {
		return fmt.Errorf("who waits for a change hears %w", err)
	}
	if answer, err := r.Transmit(ctx, unhex(selectISD)); !errors.Is(err, ErrService) || errors.Is(err, card.ErrMute) {
		return fmt.Errorf("a command is answered %X, %w", answer, err)
	}
	if atr, err := r.Contact(ctx); !errors.Is(err, ErrService) {
		return fmt.Errorf("the next contact: ATR %X, %w", atr, err)
	}
	stop = startFarm(dir, heads+2*vpcd.SlotsOfDriver)
	if atr, err := r.Contact(ctx); err != nil || len(atr) <= len(vpcd.NoChip()) {
		return fmt.Errorf("contact with a new pcscd: ATR %X, %w", atr, err)
	}
	if answer, err := r.Transmit(ctx, unhex(selectISD)); err != nil {
		return fmt.Errorf("a command to a new pcscd is answered %X, %w", answer, err)
	}
	if atr, err := late.Contact(ctx); err != nil || len(atr) == 0 {
		return fmt.Errorf("a reader that has come: ATR %X, %w", atr, err)
	}
	stop()
	stop = startFarm(dir, heads-vpcd.SlotsOfDriver)
	defer stop()
	for _, want := range []error{ErrService, ErrReader} { // the connection that was, then a new one
		if atr, err := late.Contact(ctx); !errors.Is(err, want) {
			return fmt.Errorf("a reader that was pulled out: ATR %X, %w, expected %w", atr, err, want)
		}
	}
	return errors.Join(r.Close(), late.Close(), s.Close())
}

// Chips with faults; other tests take fewer before and after them.
const (
	chipMute = 100 + iota
	chipTorn // loses contact after its second command
	chips    = chipTorn + 50
)

func testSpec() chipfarm.Spec {
	return chipfarm.Spec{Reel: "R-1", Product: "m2m-200s-mff2", OS: "M2M-OS 2.0", ATR: atr, KMC: "kmc", KVN: 0xFF, Chips: chips, MasterKey: secret.New(make([]byte, 16)),
		Faults: []chipfarm.FaultSpec{{Kind: cardsim.FaultMute, Chips: []uint32{chipMute}}, {Kind: cardsim.FaultTearAfter, Chips: []uint32{chipTorn}, APDU: 2}}}
}

// pcscd skips, or fails when PERSO_TEST_REQUIRE names it, where it cannot be started.
func pcscd(t *testing.T) *chipfarm.Client {
	t.Helper()
	if shared.skip == "" {
		return shared.client
	}
	if slices.Contains(strings.Split(os.Getenv("PERSO_TEST_REQUIRE"), ","), "pcscd") {
		t.Fatalf("pcscd is required by PERSO_TEST_REQUIRE: %s", shared.skip)
	}
	t.Skipf("no pcscd with virtual readers: %s", shared.skip)
	return nil
}

func readerOf(t *testing.T, head uint16) *Reader {
	r := NewReader(chipfarm.ReaderName(int(head)))
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func load(t *testing.T, c *chipfarm.Client, head uint16) {
	t.Helper()
	if ok, err := c.Load(t.Context(), head); !ok || err != nil {
		t.Fatalf("loading: %t, %v", ok, err)
	}
}

// within is a context that ends before the test hangs.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func contact(t *testing.T, r *Reader) []byte {
	t.Helper()
	atr, err := r.Contact(within(t))
	if err != nil || len(atr) == 0 {
		t.Fatalf("contact in %q: ATR %X, %v", r.Name(), atr, err)
	}
	return atr
}

func TestReader(t *testing.T) {
	c := pcscd(t)
	load(t, c, headReader)
	r := readerOf(t, headReader)
	if _, err := r.Transmit(within(t), unhex(selectISD)); !errors.Is(err, card.ErrMute) {
		t.Errorf("before contact: %v", err)
	}
	if atr := contact(t, r); !bytes.Equal(atr[:20], unhex(atr20)) {
		t.Errorf("ATR %X", atr)
	}
	if p := r.chip.Protocol(); p != card.T1 {
		t.Errorf("of two protocols pcscd takes %v", p)
	}
	if _, err := r.Transmit(within(t), unhex(selectISD)); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := r.Lift(within(t)); err != nil {
			t.Error(err)
		}
	}
	if _, err := r.Transmit(within(t), unhex(selectISD)); !errors.Is(err, card.ErrMute) {
		t.Errorf("after lifting: %v", err)
	}
	contact(t, r)
}

func TestSuite(t *testing.T) {
	c := pcscd(t)
	load(t, c, headSuite)
	for protocol, only := range map[card.Protocol]uint8{card.T0: protocolT0, card.T1: protocolT1} {
		t.Run(protocol.String(), func(t *testing.T) {
			r := readerOf(t, headSuite)
			r.only = only
			cardtest.Run(t, func(t *testing.T) cardtest.Fixture {
				load(t, c, headSuite)
				contact(t, r)
				if got := r.chip.Protocol(); got != protocol {
					t.Fatalf("the chip chose %v", got)
				}
				return cardtest.Fixture{Transport: r, Lose: func(t *testing.T) {
					if err := c.Bin(t.Context(), headSuite, perso.BinReturn); err != nil {
						t.Fatal(err)
					}
				}}
			})
		})
	}
}

// TestChangedChip: the handler takes a chip out and brings another while pcscd looks elsewhere. Nobody may take it for the old one.
func TestChangedChip(t *testing.T) {
	c := pcscd(t)
	load(t, c, headChanged)
	r := readerOf(t, headChanged)
	contact(t, r)
	first := cplc(t, r)
	if err := c.Bin(t.Context(), headChanged, perso.BinReturn); err != nil {
		t.Fatal(err)
	}
	load(t, c, headChanged)
	if answer, err := r.Transmit(within(t), unhex(getCPLC)); !errors.Is(err, card.ErrMute) {
		t.Errorf("a chip without power answers %X, %v", answer, err)
	}
	contact(t, r)
	if bytes.Equal(cplc(t, r), first) {
		t.Error("the chip that was taken away still answers")
	}
}

func cplc(t *testing.T, r *Reader) []byte {
	t.Helper()
	if _, err := r.Transmit(within(t), unhex(selectISD)); err != nil {
		t.Fatal(err)
	}
	answer, err := r.Transmit(within(t), unhex(getCPLC))
	if err != nil || len(answer) != 47 {
		t.Fatalf("CPLC %X, %v", answer, err)
	}
	return answer
}

// TestFaultyChips: what chips do in the field is found as it would be at the farm's own socket.
func TestFaultyChips(t *testing.T) {
	c := pcscd(t)
	r := readerOf(t, headFaulty)
	bring(t, c, headFaulty, chipMute)
	if atr, err := r.Contact(within(t)); !bytes.Equal(atr, vpcd.NoChip()) || err != nil {
		t.Errorf("a mute chip: ATR %X, %v", atr, err)
	}
	if err := r.Lift(within(t)); err != nil {
		t.Fatal(err)
	}
	bring(t, c, headFaulty, chipTorn) // at its first contact: a second reset would hide that
	contact(t, r)
	if _, err := r.Transmit(within(t), unhex(selectISD)); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{getCPLC, selectISD} {
		if answer, err := r.Transmit(within(t), unhex(command)); !errors.Is(err, card.ErrMute) {
			t.Errorf("after the loss of contact: %X, %v", answer, err)
		}
	}
	contact(t, r) // power comes back
	cplc(t, r)
}

// bring has the handler pass chips until one lies under the head.
func bring(t *testing.T, c *chipfarm.Client, head uint16, index uint64) {
	t.Helper()
	for {
		load(t, c, head)
		in, _, err := c.Counters(t.Context())
		if err != nil || in > index+1 {
			t.Fatalf("chip %d is under no head any more: %d came in, %v", index, in, err)
		}
		if in == index+1 {
			return
		}
		if err := c.Bin(t.Context(), head, perso.BinReturn); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBusyAndUnknown(t *testing.T) {
	c := pcscd(t)
	load(t, c, headBusy)
	a, b := readerOf(t, headBusy), readerOf(t, headBusy)
	contact(t, a)
	if atr, err := b.Contact(within(t)); !errors.Is(err, ErrBusy) {
		t.Errorf("a reader that another holds: %X, %v", atr, err)
	}
	if err := a.Lift(within(t)); err != nil {
		t.Fatal(err)
	}
	contact(t, b)
	if atr, err := NewReader("no such reader").Contact(within(t)); !errors.Is(err, ErrReader) {
		t.Errorf("a reader that is not there: %X, %v", atr, err)
	}
}

// TestSession: what pcscd knows. That it ends is looked at when all tests are over (theEnd).
func TestSession(t *testing.T) {
	c := pcscd(t)
	load(t, c, headAwait)
	s, err := Open(within(t))
	if err != nil {
		t.Fatal(err)
	}
	names, err := s.Readers(within(t))
	if want := chipfarm.ReaderName(headAwait); err != nil || !slices.Contains(names, want) || !slices.Contains(names, chipfarm.TestReaderName(heads)) {
		t.Fatalf("readers %q, %v; want %q and the test reader among them", names, err, want)
	}
	before, err := s.States(within(t), chipfarm.ReaderName(headAwait))
	if err != nil || !before[0].Flags.Has(Present) || before[0].Flags.Has(Exclusive) {
		t.Fatalf("%+v, %v", before, err)
	}
	contact(t, readerOf(t, headAwait))
	if now, err := s.States(within(t), chipfarm.ReaderName(headAwait)); err != nil || !now[0].Flags.Has(Present|Exclusive) || len(now[0].ATR) == 0 {
		t.Errorf("a chip that is held: %+v, %v", now, err)
	}
	short, cancel := context.WithTimeout(t.Context(), 2*stepWait)
	defer cancel()
	if _, err := s.Await(short, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nothing happened: %v", err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	if _, err := s.Readers(within(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed session: %v", err)
	}
}

// TestParallelHeads has all heads talk at once, under the race detector too.
func TestParallelHeads(t *testing.T) {
	c := pcscd(t)
	var group errgroup.Group
	for _, head := range []uint16{headParallel, headParallel + 1} {
		load(t, c, head)
		r := readerOf(t, head)
		group.Go(func() error {
			if _, err := r.Contact(t.Context()); err != nil {
				return err
			}
			for range 200 {
				if _, err := r.Transmit(t.Context(), unhex(selectISD)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func BenchmarkTransmit(b *testing.B) {
	if shared.skip != "" {
		b.Skip(shared.skip)
	}
	if ok, err := shared.client.Load(b.Context(), headReader); !ok || err != nil {
		b.Fatal(ok, err)
	}
	r := NewReader(chipfarm.ReaderName(headReader))
	if atr, err := r.Contact(b.Context()); err != nil || len(atr) == 0 {
		b.Fatal(atr, err)
	}
	for b.Loop() {
		if _, err := r.Transmit(b.Context(), unhex(selectMF)); err != nil {
			b.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		b.Error(err)
	}
}
