package chipfarm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/lineside/vpcd"
	"github.com/persoline/persoline/perso"
)

func newFarm(t *testing.T, spec Spec) (*Farm, *Session) {
	t.Helper()
	dir := t.TempDir()
	if _, err := Create(dir, spec); err != nil {
		t.Fatal(err)
	}
	f, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := f.Session()
	t.Cleanup(func() {
		s.Close()
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f, s
}

// driver is the other end of a slot, as the driver in pcscd is.
type driver struct {
	t    *testing.T
	conn net.Conn
}

// drivers are slots under readers of a farm; the last is the test reader.
func drivers(t *testing.T, f *Farm, heads int) (all []driver) {
	t.Helper()
	listeners, err := vpcd.Listen(t.Context(), 0, heads+1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	over := make(chan struct{}, len(listeners))
	for i, l := range listeners {
		head := uint16(i)
		if i == heads {
			head = testHead
		}
		if err := f.giveToReader(head); err != nil {
			t.Fatal(err)
		}
		go func() {
			f.serveSlot(ctx, l, head, slog.New(slog.DiscardHandler))
			over <- struct{}{}
		}()
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, driver{t, conn})
	}
	t.Cleanup(func() {
		stop()
		for range listeners {
			<-over
		}
		for _, d := range all {
			_ = d.conn.Close() // the farm closed it
		}
	})
	return all[:heads+1]
}

func (d driver) send(body string) {
	d.t.Helper()
	b := unhex(body)
	if err := d.conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		d.t.Fatal(err)
	}
	for _, part := range [][]byte{binary.BigEndian.AppendUint16(nil, uint16(len(b))), b} { // two segments, as the driver does
		if _, err := d.conn.Write(part); err != nil {
			d.t.Fatal(err)
		}
	}
}

// ask sends a frame and checks the answer.
func (d driver) ask(body string, want []byte) {
	d.t.Helper()
	d.send(body)
	length := make([]byte, 2)
	if _, err := io.ReadFull(d.conn, length); err != nil {
		d.t.Fatalf("%s: %v", body, err)
	}
	got := make([]byte, binary.BigEndian.Uint16(length))
	if _, err := io.ReadFull(d.conn, got); err != nil || !bytes.Equal(got, want) {
		d.t.Fatalf("%s was answered %X (%v), expected %X", body, got, err, want)
	}
}

const (
	bodyOff, bodyOn, bodyReset, bodyATR = "00", "01", "02", "04"
	selectISDBlock                      = "00A4040008A000000151000000"
)

func TestSlot(t *testing.T) {
	t.Parallel()
	spec := testSpec(4)
	spec.Faults = []FaultSpec{{Kind: cardsim.FaultMute, Chips: []uint32{1}}}
	f, s := newFarm(t, spec)
	d := drivers(t, f, 2)[0]
	ctx, nothing, chip := t.Context(), []byte{0x00}, f.maker.atr

	d.ask(bodyATR, vpcd.NoChip())
	d.send(bodyOn)
	d.ask(bodyATR, vpcd.NoChip())
	d.ask(selectISDBlock, nothing)

	mustLoad(t, s, 0)
	d.ask(bodyATR, chip)
	d.ask(selectISDBlock, nothing) // no power
	d.send(bodyOn)
	d.ask(bodyATR, chip)
	d.ask(selectISDBlock, []byte{0x61, 18})
	d.ask("00C0000012", unhex("6F108408A000000151000000A5049F6501FF9000"))
	d.send(bodyReset)
	d.ask("00C0000012", unhex("6985")) // what waited is gone
	d.send(bodyOff)
	d.ask(selectISDBlock, nothing)

	d.send(bodyOn)
	if err := s.Bin(ctx, 0, perso.BinReturn); err != nil { // under power, as a hand would
		t.Fatal(err)
	}
	d.ask(selectISDBlock, nothing)
	d.ask(bodyATR, vpcd.NoChip())
	mustLoad(t, s, 0)
	d.ask(bodyATR, chip) // it lies there, and that it is mute shows when it gets power
	d.send(bodyOn)
	d.ask(bodyATR, vpcd.NoChip())

	for name, err := range map[string]error{
		"contact": second(s.Contact(ctx, 0)), "transmit": second(s.Transmit(ctx, 0, unhex(selectISD))), "lift": s.Lift(ctx, 0),
		"load in the test reader": second(s.Load(ctx, testHead)), "bin from the test reader": s.Bin(ctx, testHead, perso.BinGood),
	} {
		if !errors.Is(err, ErrRefused) {
			t.Errorf("%s beside a reader: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func mustLoad(t *testing.T, s *Session, head uint16) {
	t.Helper()
	if ok, err := s.Load(t.Context(), head); !ok || err != nil {
		t.Fatalf("load: %t, %v", ok, err)
	}
}

func TestExamine(t *testing.T) {
	t.Parallel()
	spec := testSpec(3)
	spec.Faults = []FaultSpec{{Kind: cardsim.FaultTearAfter, Chips: []uint32{1}, APDU: 1}}
	f, s := newFarm(t, spec)
	ctx := t.Context()
	if err := s.Examine(ctx, Ref{Index: 1}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "--vpcd") {
		t.Errorf("a farm without readers: %v", err)
	}
	test := drivers(t, f, 1)[1]
	test.ask(bodyATR, vpcd.NoChip())
	if err := s.Examine(ctx, Ref{Index: 1}); !errors.Is(err, ErrRefused) {
		t.Errorf("a chip that is in no bin: %v", err)
	}
	for range 2 {
		mustLoad(t, s, 0)
		if err := s.Bin(ctx, 0, perso.BinGood); err != nil {
			t.Fatal(err)
		}
	}
	id, err := f.maker.chipID(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []Ref{{Index: 0}, {ID: id}} {
		if err := s.Examine(ctx, ref); err != nil {
			t.Fatal(err)
		}
		test.send(bodyOn)
		test.ask(bodyATR, f.maker.atr)
		test.ask(selectISDBlock, []byte{0x61, 18}) // its faults are not heeded
	}
	if _, err := s.Inspect(ctx, Ref{Index: 1}, nil); !errors.Is(err, ErrRefused) {
		t.Errorf("inspecting the chip in the test reader: %v", err)
	}
	if _, err := s.Inspect(ctx, Ref{Index: 0}, [][]byte{unhex(selectISD)}); err != nil {
		t.Errorf("inspecting another: %v", err)
	}
	if _, inBins, _ := s.Counters(ctx); inBins[perso.BinGood] != 2 {
		t.Errorf("%d chips are in the good bin", inBins[perso.BinGood])
	}
}
