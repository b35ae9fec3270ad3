package rig_test

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/persoline/persoline/lineside/card"
	"github.com/persoline/persoline/lineside/rig"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// record notes what the parts are told, in order.
type record struct{ told []string }

type handler struct{ *record }

func (h handler) Load(_ context.Context, head uint16) (bool, error) {
	h.told = append(h.told, "load")
	return head == 1, nil
}

func (h handler) Bin(_ context.Context, _ uint16, bin perso.Bin) error {
	h.told = append(h.told, "bin "+string(bin))
	return nil
}

func (h handler) Counters(context.Context) (in uint64, inBins map[perso.Bin]uint64, err error) {
	return 5, map[perso.Bin]uint64{perso.BinGood: 4}, nil
}

type place struct {
	*record
	jammed error
}

func (p place) Contact(context.Context) ([]byte, error) {
	p.told = append(p.told, "contact")
	return []byte{0x3B, 0x00}, p.jammed
}

func (p place) Lift(context.Context) error {
	p.told = append(p.told, "lift")
	return p.jammed
}

func (p place) Transmit(_ context.Context, command []byte) ([]byte, error) {
	p.told = append(p.told, "transmit")
	if command[1] == 0xFF {
		return nil, card.ErrMute
	}
	return []byte{command[1], 0x90, 0x00}, nil
}

func TestRig(t *testing.T) {
	t.Parallel()
	told, ctx := &record{}, t.Context()
	jam := errors.New("jam")
	r, err := rig.New(handler{told}, []rig.Place{place{record: &record{}}, place{record: told}, place{record: told, jammed: jam}})
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := r.Load(ctx, 1); !ok || err != nil {
		t.Errorf("load: %t, %v", ok, err)
	}
	if atr, err := r.Contact(ctx, 1); len(atr) != 2 || err != nil {
		t.Errorf("contact: %X, %v", atr, err)
	}
	window := []bus.Play{{APDU: []byte{0, 1, 0, 0}, SW: "9000"}, {APDU: []byte{0, 0xFF, 0, 0}, SW: "9000"}, {APDU: []byte{0, 2, 0, 0}, SW: "9000"}}
	if got, err := r.Play(ctx, 1, window); !errors.Is(err, card.ErrMute) || !reflect.DeepEqual(got, [][]byte{{1, 0x90, 0}}) {
		t.Errorf("play: %X, %v", got, err)
	}
	if err := r.Bin(ctx, 1, perso.BinGood); err != nil {
		t.Error(err)
	}
	if want := []string{"load", "contact", "transmit", "transmit", "lift", "bin good"}; !reflect.DeepEqual(told.told, want) {
		t.Errorf("told %q, want %q", told.told, want)
	}
	if in, inBins, err := r.Counters(ctx); in != 5 || inBins[perso.BinGood] != 4 || err != nil {
		t.Error(in, inBins, err)
	}
	if atr, err := r.Contact(ctx, 2); !errors.Is(err, jam) {
		t.Errorf("contact in a reader that is jammed: %X, %v", atr, err)
	}
	told.told = nil
	if err := r.Bin(ctx, 2, perso.BinGood); !errors.Is(err, jam) || !reflect.DeepEqual(told.told, []string{"lift"}) {
		t.Errorf("bin from a reader that is jammed: %q, %v", told.told, err)
	}
}

func TestNoSuchHead(t *testing.T) {
	t.Parallel()
	told, ctx := &record{}, t.Context()
	r, err := rig.New(handler{told}, []rig.Place{place{record: told}})
	if err != nil {
		t.Fatal(err)
	}
	_, loading := r.Load(ctx, 1)
	_, contacting := r.Contact(ctx, 1)
	_, playing := r.Play(ctx, 1, nil)
	for _, err := range []error{loading, contacting, playing, r.Lift(ctx, 1), r.Bin(ctx, 1, perso.BinGood)} {
		if err == nil {
			t.Error("a head that is not there is taken")
		}
	}
	if len(told.told) != 0 {
		t.Errorf("the handler was told %q", told.told)
	}
	for _, h := range []rig.Handler{nil, handler{told}} {
		if _, err := rig.New(h, nil); err == nil {
			t.Error("a rig of nothing")
		}
	}
}
