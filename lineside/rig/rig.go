// Package rig makes one machine of a handler, which moves chips, and of readers, which contact them.
//
// It exists because a line drives one lineside.Machine, and in a factory the two halves are different things on different
// wires: a handler that knows the reel and the bins, and under it PC/SC readers or modems that know neither. The chip farm is
// both in one and needs no rig, unless its heads are under readers.
//
// Contract. Place i is where head i contacts chips. A chip is let go before the handler moves it. A Rig is safe for concurrent
// use as far as its parts are, one order at a time for each head.
//
// Callers: perso/cmd/site, tests.
package rig

import (
	"context"
	"errors"
	"fmt"

	"github.com/persoline/persoline/lineside"
	"github.com/persoline/persoline/lineside/card"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// Handler moves chips and counts them: chipfarm.Client, or whatever answers orders 1, 6 and 7 of its PROTOCOL.md.
type Handler interface {
	Load(ctx context.Context, head uint16) (loaded bool, err error)
	Bin(ctx context.Context, head uint16, bin perso.Bin) error
	lineside.Counter
}

// Place contacts one chip at a time: pcsc.Reader, atcsim.Modem.
type Place interface {
	// Transmit is that of card.Transport: commands to the chip in contact.
	card.Transport
	// Contact gives the chip power anew and its ATR; empty for a chip that is mute or was not seen. An error is the reader's.
	Contact(ctx context.Context) (atr []byte, err error)
	// Lift takes the power away.
	Lift(ctx context.Context) error
}

// Rig is a lineside.Machine.
type Rig struct {
	handler Handler
	places  []Place
}

var _ lineside.Machine = (*Rig)(nil)

// New puts a place under each head, from head 0 on.
func New(h Handler, places []Place) (*Rig, error) {
	if h == nil || len(places) == 0 || len(places) > lineside.MaxHeads {
		return nil, fmt.Errorf("rigging a line: %d places under a handler, expected 1 to %d", len(places), lineside.MaxHeads)
	}
	return &Rig{handler: h, places: places}, nil
}

// Load implements lineside.Handler.
func (r *Rig) Load(ctx context.Context, head uint16) (loaded bool, err error) {
	if _, err := r.place(head); err != nil {
		return false, err
	}
	return r.handler.Load(ctx, head)
}

// Bin implements lineside.Handler. A reader that does not let go is a fault of the machine: the line tries again, and a reader
// that is gone holds no chip then.
func (r *Rig) Bin(ctx context.Context, head uint16, bin perso.Bin) error {
	if err := r.Lift(ctx, head); err != nil {
		return fmt.Errorf("letting go of the chip under head %d before it is moved: %w", head, err)
	}
	return r.handler.Bin(ctx, head, bin)
}

// Lift implements lineside.Handler.
func (r *Rig) Lift(ctx context.Context, head uint16) error {
	p, err := r.place(head)
	if err != nil {
		return err
	}
	return p.Lift(ctx)
}

// Contact implements lineside.Reader.
func (r *Rig) Contact(ctx context.Context, head uint16) (atr []byte, err error) {
	p, err := r.place(head)
	if err != nil {
		return nil, err
	}
	return p.Contact(ctx)
}

// Play implements lineside.Reader.
func (r *Rig) Play(ctx context.Context, head uint16, window []bus.Play) (responses [][]byte, err error) {
	p, err := r.place(head)
	if err != nil {
		return nil, err
	}
	return card.PlayVia(ctx, p, window)
}

// Counters implements lineside.Counter.
func (r *Rig) Counters(ctx context.Context) (in uint64, bins map[perso.Bin]uint64, err error) {
	return r.handler.Counters(ctx)
}

var errHead = errors.New("the rig has no such head")

func (r *Rig) place(head uint16) (Place, error) {
	if int(head) >= len(r.places) {
		return nil, fmt.Errorf("taking head %d of %d: %w", head, len(r.places), errHead)
	}
	return r.places[head], nil
}
