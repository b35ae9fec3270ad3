package script

import (
	"errors"
	"fmt"

	"github.com/persoline/persoline/perso/apdu"
)

// Limits of what the line gets at once.
const (
	// MaxWindowBytes bounds the APDUs of one window: what one message on the bus carries.
	MaxWindowBytes = 256 << 10
	// MaxWindowCommands bounds the commands of one window; so many full APDUs fill half of MaxWindowBytes.
	MaxWindowCommands = 512

	minAPDUBytes = 4
	maxAPDUBytes = 4 + 1 + apdu.MaxDataBytes + 1
	minAnswer    = 2
	maxAnswer    = apdu.MaxLe + 2
)

// ErrWindow says that a window breaks its limits or is malformed. Nothing of it was played.
var ErrWindow = errors.New("window cannot be played")

// ErrAnswer says that a transport returned something that is no answer of a card.
var ErrAnswer = errors.New("not an answer of a card")

// Play is one finished command and the status words (apdu.Mask) after which the next one may follow.
type Play struct {
	APDU []byte
	SW   string
}

// Window is what the line plays in one go, in this order.
type Window []Play

// Check says whether the window can be played.
func (w Window) Check() error {
	_, err := w.masks()
	return err
}

func (w Window) masks() ([]apdu.Mask, error) {
	if len(w) > MaxWindowCommands {
		return nil, fmt.Errorf("checking window of %d commands, limit %d: %w", len(w), MaxWindowCommands, ErrWindow)
	}
	masks := make([]apdu.Mask, len(w))
	total := 0
	for i, p := range w {
		total += len(p.APDU)
		if len(p.APDU) < minAPDUBytes || len(p.APDU) > maxAPDUBytes || total > MaxWindowBytes {
			return nil, fmt.Errorf("checking command %d of %d bytes, %d in all: %w", i, len(p.APDU), total, ErrWindow)
		}
		mask, err := apdu.ParseMask(p.SW)
		if err != nil {
			return nil, fmt.Errorf("checking command %d: %w: %w", i, ErrWindow, err)
		}
		masks[i] = mask
	}
	return masks, nil
}

// PlayWindow sends the commands in order and returns the answers, data and status word each. It stops at the first
// status outside its mask; that answer is the last one returned, and the error is nil: what it means is for the vault to
// judge. An error says that the transport, or the window itself, is at fault; the answers before it are returned too.
func PlayWindow(tx func(apdu []byte) ([]byte, error), w Window) (responses [][]byte, err error) {
	masks, err := w.masks()
	if err != nil {
		return nil, err
	}
	responses = make([][]byte, 0, len(w))
	for i, p := range w {
		answer, err := tx(p.APDU)
		if err != nil {
			return responses, fmt.Errorf("playing command %d of %d: %w", i, len(w), err)
		}
		if len(answer) < minAnswer || len(answer) > maxAnswer {
			return responses, fmt.Errorf("playing command %d of %d: %d bytes: %w", i, len(w), len(answer), ErrAnswer)
		}
		responses = append(responses, answer)
		_, sw, err := apdu.SWOf(answer)
		if err != nil {
			return responses, fmt.Errorf("playing command %d of %d: %w", i, len(w), err)
		}
		if !masks[i].Match(sw) {
			return responses, nil
		}
	}
	return responses, nil
}
