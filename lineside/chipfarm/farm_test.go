package chipfarm

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/persoline/persoline/lineside/card"
	"github.com/persoline/persoline/lineside/card/cardtest"
	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/secret"
)

// masterKey is a test value without meaning.
func masterKey() []byte { return []byte("0123456789abcdef") }

func testSpec(chips uint32, faults ...FaultSpec) Spec {
	return Spec{Reel: "R-1", Product: "m2m-200s-mff2", OS: "M2M-OS 2.0", ATR: "3B9F96801F878031E073FE2113674D324D323030XXXX",
		KMC: "kmc-m2m-200s", KVN: 0xFF, Chips: chips, Seed: 7, Faults: faults, MasterKey: secret.New(masterKey())}
}

// served is a farm that is being served, and can be stopped and served again.
type served struct {
	t       testing.TB
	dir     string
	address string
	cancel  context.CancelFunc
	over    chan error
}

func serve(t testing.TB, s Spec) *served {
	t.Helper()
	dir, err := os.MkdirTemp("", "farm") // short: the address of a socket has at most some hundred bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if _, err := Create(dir, s); err != nil {
		t.Fatal(err)
	}
	f := &served{t: t, dir: dir, address: "unix:" + filepath.Join(dir, "socket")}
	f.start()
	t.Cleanup(f.stop)
	return f
}

func (f *served) start() {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan string, 1)
	f.cancel, f.over = cancel, make(chan error, 1)
	go func() {
		f.over <- Serve(ctx, Config{Dir: f.dir, Address: f.address, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Listening: func(a string) { ready <- a }})
	}()
	select {
	case <-ready:
	case err := <-f.over:
		f.t.Fatal(err)
	}
}

func (f *served) stop() {
	if f.cancel == nil {
		return
	}
	f.cancel()
	if err := <-f.over; err != nil {
		f.t.Errorf("serving: %v", err)
	}
	f.cancel = nil
}

func (f *served) client() *Client {
	f.t.Helper()
	c, err := Dial(f.t.Context(), f.address)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = c.Close() })
	return c
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

const (
	selectISD  = "00A4040000"
	readCPLC   = "80CA9F7F00"
	initUpdate = "8050000008001122334455667700"
)

// mustContact loads a chip and powers it.
func mustContact(t testing.TB, c *Client, head uint16) {
	t.Helper()
	if loaded, err := c.Load(t.Context(), head); err != nil || !loaded {
		t.Fatalf("loading at head %d: %v, %v", head, loaded, err)
	}
	if atr, err := c.Contact(t.Context(), head); err != nil || len(atr) == 0 {
		t.Fatalf("contacting at head %d: %X, %v", head, atr, err)
	}
}

// sequence opens no session, but raises the chip's counter and reads it.
func sequence(t testing.TB, c *Client, head uint16) scp.InitUpdate {
	t.Helper()
	responses, err := c.Play(t.Context(), head, []bus.Play{{APDU: unhex(selectISD), SW: "9000"}, {APDU: unhex(initUpdate), SW: "9000"}})
	if err != nil || len(responses) != 2 {
		t.Fatalf("%X, %v", responses, err)
	}
	iu, err := scp.ParseInitUpdate(responses[1][:len(responses[1])-2])
	if err != nil {
		t.Fatal(err)
	}
	return iu
}

func TestTransport(t *testing.T) {
	t.Parallel()
	cardtest.Run(t, func(t *testing.T) cardtest.Fixture {
		c := serve(t, testSpec(1)).client()
		mustContact(t, c, 3)
		return cardtest.Fixture{Transport: c.At(3), Lose: func(t *testing.T) {
			if err := c.Lift(t.Context(), 3); err != nil {
				t.Fatal(err)
			}
		}}
	})
}

func TestMachine(t *testing.T) {
	t.Parallel()
	f := serve(t, testSpec(5, FaultSpec{Kind: cardsim.FaultMute, Chips: []uint32{1}}))
	c, ctx := f.client(), t.Context()
	if _, err := c.Contact(ctx, 0); !errors.Is(err, ErrRefused) {
		t.Errorf("contacting nothing: %v", err)
	}
	mustContact(t, c, 0)
	if loaded, err := c.Load(ctx, 0); err != nil || !loaded {
		t.Errorf("loading again: %v, %v", loaded, err)
	}
	if seq := sequence(t, c, 0).Seq; seq != 1 {
		t.Errorf("counter %d", seq)
	}
	for bin, head := range map[perso.Bin]uint16{perso.BinGood: 0, perso.BinRejectLive: 2, perso.BinContact: 3} {
		if head != 0 {
			if loaded, err := c.Load(ctx, head); err != nil || !loaded {
				t.Fatal(loaded, err)
			}
		}
		if _, err := c.Contact(ctx, head); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time nothing lies there
			if err := c.Bin(ctx, head, bin); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.Transmit(ctx, head, unhex(selectISD)); !errors.Is(err, card.ErrMute) {
			t.Errorf("a chip in a bin answers: %v", err)
		}
	}
	if err := c.Bin(ctx, 0, "hold"); !errors.Is(err, ErrRefused) {
		t.Errorf("binning into no bin: %v", err)
	}
	if _, err := c.Load(ctx, MaxHeads); !errors.Is(err, ErrRefused) || strings.Count(err.Error(), ErrRefused.Error()) != 1 {
		t.Errorf("a head that is not there: %v", err)
	}
	for i, want := range []bool{true, true, false} {
		if loaded, err := c.Load(ctx, uint16(i)); err != nil || loaded != want {
			t.Errorf("chip %d: %v, %v", 3+i, loaded, err)
		}
	}
	in, inBins, err := c.Counters(ctx)
	if in != 5 || inBins[perso.BinGood] != 1 || inBins[perso.BinRejectBlank] != 0 || inBins[perso.BinRejectLive] != 1 || inBins[perso.BinContact] != 1 || len(inBins) != len(bins) || err != nil {
		t.Errorf("counters %d %v, %v", in, inBins, err)
	}
	places, err := c.Bins(ctx)
	if err != nil || len(places[perso.BinGood]) != 1 || places[perso.BinGood][0].Index != 0 {
		t.Errorf("bins %v, %v", places, err)
	}
}

// TestRestart ends the farm at any moment and serves it again: everything is where it was.
func TestRestart(t *testing.T) {
	t.Parallel()
	f := serve(t, testSpec(3))
	c := f.client()
	mustContact(t, c, 0)
	sequence(t, c, 0)
	mustContact(t, c, 1)
	if err := c.Bin(t.Context(), 1, perso.BinRejectBlank); err != nil {
		t.Fatal(err)
	}
	first := sequence(t, c, 0)
	if _, err := Open(f.dir, nil); !errors.Is(err, ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	f.stop()
	if _, err := c.Transmit(t.Context(), 0, unhex(selectISD)); err == nil {
		t.Error("an answer without a farm")
	}
	f.start()
	if _, err := c.Transmit(t.Context(), 0, unhex(selectISD)); !errors.Is(err, card.ErrMute) {
		t.Errorf("the chip kept its power: %v", err)
	}
	mustContact(t, c, 0) // the same client, a new connection
	if again := sequence(t, c, 0); again.Seq != first.Seq+1 || again.KDD != first.KDD {
		t.Errorf("chip %X counts %d, before %X %d", again.KDD, again.Seq, first.KDD, first.Seq)
	}
	in, inBins, err := c.Counters(t.Context())
	blank := inBins[perso.BinRejectBlank]
	if in != 2 || blank != 1 || err != nil {
		t.Errorf("counters %d %d, %v", in, blank, err)
	}
}

// TestClientLost cuts the connection in the middle of a slow window: the chip loses power there, and the farm goes on.
func TestClientLost(t *testing.T) {
	t.Parallel()
	s := testSpec(2)
	s.Timing = Timing{Scale: 1, Chip: cardsim.Timing{ClockHz: 5_000_000, Page: 100 * time.Millisecond}}
	f := serve(t, s)
	doomed, next := f.client(), f.client()
	mustContact(t, doomed, 0)
	var w []bus.Play
	for range 200 { // 20 s and more
		w = append(w, bus.Play{APDU: unhex(selectISD), SW: "9000"}, bus.Play{APDU: unhex(initUpdate), SW: "9000"})
	}
	over := make(chan error, 1)
	go func() {
		_, err := doomed.Play(context.Background(), 0, w)
		over <- err
	}()
	waitFor(t, func() bool { // something of the window has been written
		info, err := os.Stat(packPath(f.dir, 0))
		return err == nil && info.Size() > 100
	})
	if err := doomed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-over; !errors.Is(err, card.ErrMute) {
		t.Errorf("the window ended with %v", err)
	}
	mustContact(t, next, 0)
	if seq := sequence(t, next, 0).Seq; seq < 2 || seq > 100 {
		t.Errorf("counter %d: the window should have been cut", seq)
	}
}

// waitFor asks until it is so; the test's own time limit ends it.
func waitFor(t *testing.T, so func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("it never happened")
		}
	}
}

func TestHeadIsTakenByOneClient(t *testing.T) {
	t.Parallel()
	f := serve(t, testSpec(2))
	one, other := f.client(), f.client()
	mustContact(t, one, 0)
	if _, err := other.Contact(t.Context(), 0); !errors.Is(err, ErrRefused) {
		t.Errorf("another client took a powered chip: %v", err)
	}
	sequence(t, one, 0)
	if err := one.Lift(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	mustContact(t, other, 0)
	if seq := sequence(t, other, 0).Seq; seq != 2 {
		t.Errorf("counter %d", seq)
	}
}

// TestHeadsSideBySide plays on many heads through one connection.
func TestHeadsSideBySide(t *testing.T) {
	t.Parallel()
	const heads, rounds = 16, 20
	c := serve(t, testSpec(heads*rounds)).client()
	var mu sync.Mutex
	seen := map[[10]byte]bool{}
	var all sync.WaitGroup
	for head := range uint16(heads) {
		all.Go(func() {
			for range rounds {
				mustContact(t, c, head)
				iu := sequence(t, c, head)
				mu.Lock()
				if seen[iu.KDD] || iu.Seq != 1 {
					t.Errorf("chip %X came twice, counter %d", iu.KDD, iu.Seq)
				}
				seen[iu.KDD] = true
				mu.Unlock()
				if err := c.Bin(t.Context(), head, perso.BinGood); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if in, inBins, err := c.Counters(t.Context()); in != heads*rounds || inBins[perso.BinGood] != in || err != nil {
		t.Errorf("counters %d, %d, %v", in, inBins[perso.BinGood], err)
	}
}

func TestFaultsOfAFarm(t *testing.T) {
	t.Parallel()
	f := serve(t, testSpec(4, FaultSpec{Kind: FaultTwin, Chips: []uint32{1}, TwinOf: 0}, FaultSpec{Kind: FaultForeign, Chips: []uint32{2}},
		FaultSpec{Kind: cardsim.FaultTearAfter, Chips: []uint32{3}, APDU: 2, Dead: true}))
	c, ctx := f.client(), t.Context()
	for head := range uint16(4) {
		mustContact(t, c, head)
	}
	original, twin, foreign := sequence(t, c, 0), sequence(t, c, 1), sequence(t, c, 2)
	if twin.KDD != original.KDD || twin.KVN != 0xFF || foreign.KVN != 0x30 {
		t.Errorf("original %X, twin %X, foreign under %02X", original.KDD, twin.KDD, foreign.KVN)
	}
	for _, iu := range []scp.InitUpdate{original, twin} {
		keys, err := scp.DiversifyKDF3(masterKey(), iu.KDD)
		if err != nil {
			t.Fatal(err)
		}
		if err := scp.VerifyCard(keys, unhex("0011223344556677"), iu); err != nil {
			t.Error(err)
		}
	}
	responses, err := c.Play(ctx, 3, []bus.Play{{APDU: unhex(selectISD), SW: "9000"}, {APDU: unhex(initUpdate), SW: "9000"}})
	if !errors.Is(err, card.ErrMute) || len(responses) != 1 {
		t.Errorf("a torn window gave %X, %v", responses, err)
	}
	if atr, err := c.Contact(ctx, 3); err != nil || len(atr) != 0 {
		t.Errorf("a dead chip: %X, %v", atr, err)
	}
}

func TestInspect(t *testing.T) {
	t.Parallel()
	f := serve(t, testSpec(3, FaultSpec{Kind: cardsim.FaultTearBefore, Chips: []uint32{0}, APDU: 1}))
	c, ctx := f.client(), t.Context()
	mustContact(t, c, 0)
	mustContact(t, c, 1)
	id := sequence(t, c, 1).KDD
	if _, err := c.Inspect(ctx, Ref{Index: 0}, nil); !errors.Is(err, ErrRefused) {
		t.Errorf("inspecting a chip under a head: %v", err)
	}
	for head := range uint16(2) {
		if err := c.Bin(ctx, head, perso.BinGood); err != nil {
			t.Fatal(err)
		}
	}
	bins, err := c.Bins(ctx)
	if err != nil || len(bins[perso.BinGood]) != 2 {
		t.Fatal(bins, err)
	}
	place := bins[perso.BinGood][1]
	for _, ref := range []Ref{{Index: 0}, {Index: 1}, {ID: place.Chip}} {
		responses, err := c.Inspect(ctx, ref, [][]byte{unhex(selectISD), unhex(readCPLC)})
		if err != nil || len(responses) != 2 || len(responses[1]) != 3+cardsim.CPLCBytes+2 {
			t.Errorf("%+v: %X, %v", ref, responses, err)
		}
	}
	if !bytes.Equal(place.Chip.Bytes(), id[:]) {
		t.Errorf("bin says %s, the chip said %X", place.Chip, id)
	}
	if _, err := c.Inspect(ctx, Ref{Index: 2}, nil); !errors.Is(err, ErrRefused) {
		t.Errorf("inspecting a chip on the reel: %v", err)
	}
}

// A farm whose disk is full fails as a machine does. The chip is not to blame, and goes on when there is room again.
func TestChipMemoryWithoutRoom(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Create(dir, testSpec(1)); err != nil {
		t.Fatal(err)
	}
	f, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := f.Session()
	defer func() {
		s.Close()
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	contact := func() {
		t.Helper()
		if atr, err := s.Contact(t.Context(), 0); err != nil || len(atr) == 0 {
			t.Fatalf("contact: % X, %v", atr, err)
		}
		if _, err := s.Transmit(t.Context(), 0, unhex(selectISD)); err != nil {
			t.Fatal(err)
		}
	}
	update := func() (uint32, error) {
		resp, err := s.Transmit(t.Context(), 0, unhex(initUpdate))
		if err != nil {
			return 0, err
		}
		iu, err := scp.ParseInitUpdate(resp[:len(resp)-2])
		return iu.Seq, err
	}
	if loaded, err := s.Load(t.Context(), 0); !loaded || err != nil {
		t.Fatal(loaded, err)
	}
	contact()
	before, err := update()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.heads[0].nvm.pack.log.file.Close(); err != nil { // what is written now fails
		t.Fatal(err)
	}
	if _, err := update(); err == nil || errors.Is(err, card.ErrMute) || errors.Is(err, ErrRefused) {
		t.Errorf("without room: %v, want a failure of the machine", err)
	}
	contact()
	if after, err := update(); err != nil || after != before+1 {
		t.Errorf("counter was %d, is %d, %v", before, after, err)
	}
}

func TestGoodsIn(t *testing.T) {
	t.Parallel()
	m, err := newMaker(testSpec(100_000, FaultSpec{Kind: FaultTwin, Chips: []uint32{1}, TwinOf: 0}))
	if err != nil {
		t.Fatal(err)
	}
	lists := m.goodsIn()
	seen := map[string]bool{}
	for _, g := range lists {
		if g.Count != len(g.Chips) || g.Count > MaxReelChips {
			t.Errorf("reel %s: count %d of %d", g.Reel, g.Count, len(g.Chips))
		}
		for _, chip := range g.Chips {
			seen[chip] = true
		}
	}
	if len(lists) != 4 || lists[3].Reel != "R-1-4" || lists[3].Count != 10_000 || len(seen) != 100_000 {
		t.Errorf("%d reels, %d chips", len(lists), len(seen))
	}
	for _, index := range []uint32{0, 29_999, 30_000, 99_999} {
		chip, err := m.chipID(index)
		if err != nil {
			t.Fatal(err)
		}
		if found, ok := m.indexOf(chip); !ok || found != index || lists[index/MaxReelChips].Chips[index%MaxReelChips] != chip.String() {
			t.Errorf("chip %d is %s, which is found as %d, %v", index, chip, found, ok)
		}
	}
	one, err := newMaker(testSpec(2))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(one.goodsIn()[0])
	const head = `{"version":1,"reel":"R-1","product":"m2m-200s-mff2","os":"M2M-OS 2.0","atr":"3B9F96801F878031E073FE2113674D324D3230300098","kmc":"kmc-m2m-200s","kvn":255,"count":2,"chips":["`
	if err != nil || !bytes.HasPrefix(text, []byte(head)) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestSpecIsChecked(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*Spec){
		"reel":        func(s *Spec) { s.Reel = "R 1" },
		"no chips":    func(s *Spec) { s.Chips = 0 },
		"key":         func(s *Spec) { s.MasterKey = secret.New(make([]byte, 15)) },
		"ATR":         func(s *Spec) { s.ATR = "3B9" },
		"CPLC":        func(s *Spec) { s.CPLC = "00" },
		"options":     func(s *Spec) { s.Options.Channels = 9 },
		"scale":       func(s *Spec) { s.Timing.Scale = -1 },
		"fault":       func(s *Spec) { s.Faults = []FaultSpec{{Kind: "lazy"}} },
		"faulty chip": func(s *Spec) { s.Faults = []FaultSpec{{Kind: cardsim.FaultMute, Chips: []uint32{9}}} },
		"twin":        func(s *Spec) { s.Faults = []FaultSpec{{Kind: FaultTwin, TwinOf: 9}} },
		"status":      func(s *Spec) { s.Faults = []FaultSpec{{Kind: cardsim.FaultStatus, APDU: 1, SW: "90"}} },
		"share":       func(s *Spec) { s.Faults = []FaultSpec{{Kind: cardsim.FaultMute, Permille: 1001}} },
	} {
		s := testSpec(3)
		spoil(&s)
		if _, err := Create(t.TempDir(), s); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	dir := t.TempDir()
	for i, want := range []error{nil, ErrExists} {
		if _, err := Create(dir, testSpec(1)); !errors.Is(err, want) {
			t.Errorf("creation %d: %v", i, err)
		}
	}
}

func TestShareOfFaults(t *testing.T) {
	t.Parallel()
	m, err := newMaker(testSpec(10_000, FaultSpec{Kind: cardsim.FaultTearAfter, Permille: 50}))
	if err != nil {
		t.Fatal(err)
	}
	places := map[uint32]int{}
	for index := range m.spec.Chips {
		p, err := m.personality(index)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range p.Faults {
			places[f.APDU]++
		}
	}
	total := 0
	for apdu, n := range places {
		if apdu < 1 || apdu > anyAPDU {
			t.Errorf("a tear at APDU %d", apdu)
		}
		total += n
	}
	if total < 400 || total > 600 || len(places) < anyAPDU/2 {
		t.Errorf("%d of 10,000 chips at %d places, expected about 500 at all of %d", total, len(places), anyAPDU)
	}
}

// BenchmarkChip is a whole presentation without a script: load, contact, one window of two commands, bin.
func BenchmarkChip(b *testing.B) {
	f := serve(b, testSpec(MaxChips))
	c := f.client()
	for b.Loop() {
		mustContact(b, c, 0)
		sequence(b, c, 0)
		if err := c.Bin(b.Context(), 0, perso.BinGood); err != nil {
			b.Fatal(err)
		}
	}
}
