// Package card is the line's view of a chip that lies under a head: bytes go in, an answer with its status word comes
// out, or contact is lost.
//
// It exists so that readers, modems and the chip farm look alike to the head's state machine. Whatever a transmission
// protocol needs (T=0 procedure bytes, GET RESPONSE, chaining) is done by Over, which every transport is made with, and is
// not seen above it. The line is keyless: what it transmits is opaque to it, except for the status words after which it may go on.
//
// Callers: the line's head and every transport in lineside (chipfarm, pcsc, atcsim). Transports pass the suite in card/cardtest.
//
// Specifications: ISO/IEC 7816-3 §12 (short APDUs), ISO/IEC 7816-4 §5.
package card

import (
	"context"
	"errors"
	"fmt"

	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/script"
)

// ErrMute says that no answer came and that the chip has lost power: it must be contacted again. What the last command
// did is unknown. Any other error of a transport says that the transport itself is at fault.
var ErrMute = errors.New("chip does not answer")

// Transport exchanges one command APDU for its answer, data and status word. The answer belongs to the caller.
type Transport interface {
	Transmit(ctx context.Context, apdu []byte) ([]byte, error)
}

// Player is a transport that takes a whole window at once, because its way to the chip is long. It keeps the rules of
// PlayVia.
type Player interface {
	Play(ctx context.Context, window []bus.Play) (responses [][]byte, err error)
}

// PlayVia plays a window command by command. It stops at the first status word outside its mask; that answer is the last
// one returned, without error. When contact is lost it returns the answers so far with ErrMute. A window that is not
// well-formed is refused (script.ErrWindow) before anything is sent.
func PlayVia(ctx context.Context, t Transport, window []bus.Play) (responses [][]byte, err error) {
	w := make(script.Window, len(window))
	for i, p := range window {
		w[i] = script.Play(p)
	}
	responses, err = script.PlayWindow(func(apdu []byte) ([]byte, error) {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		return t.Transmit(ctx, apdu)
	}, w)
	if errors.Is(err, script.ErrAnswer) { // half an answer is what a chip leaves that loses contact while it speaks
		err = fmt.Errorf("%w: %w", ErrMute, err)
	}
	return responses, err
}
