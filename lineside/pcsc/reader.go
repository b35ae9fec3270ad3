package pcsc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/persoline/persoline/lineside/card"
)

// Times of a contact.
const (
	// chipWait is how long a chip that the handler has brought may take to be seen: pcscd looks at readers that cannot tell
	// it by themselves every 400 ms, and powers what it finds.
	chipWait = 3 * time.Second
	// muteWait is how long a chip is tried that lies there and says nothing: one more look of pcscd.
	muteWait = 1 * time.Second
	// againPause is the time between tries.
	againPause = 20 * time.Millisecond
)

// Reader is one reader by name, as a place where the line contacts chips. It holds the chip for itself from Contact to Lift.
// It is safe for concurrent use, one order after another.
type Reader struct {
	name string

	// only, in tests, is the protocol to be used with chips that know more than one.
	only uint8

	mu      sync.Mutex
	session *Session       // nil: none, or one that is of no more use
	chip    *Card          // nil: none in contact
	over    card.Transport // to it
}

// NewReader makes one. It need not be there yet: Contact finds it.
func NewReader(name string) *Reader { return &Reader{name: name} }

// Name is pcscd's name of the reader.
func (r *Reader) Name() string { return r.name }

// Contact takes the power from the chip, gives it again, and gives the ATR. It is empty when no chip was seen or none
// answered in time. An error is the reader's or pcscd's: the next Contact begins with a new connection.
func (r *Reader) Contact(ctx context.Context) (atr []byte, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	began := time.Now()
	for {
		atr, err := r.repower(ctx)
		if err == nil {
			return atr, nil
		}
		patience := chipWait
		switch {
		case errors.Is(err, ErrMute):
			patience = muteWait
		case errors.Is(err, ErrNoCard), errors.Is(err, ErrLost):
		default:
			return nil, errors.Join(fmt.Errorf("contacting the chip in reader %q: %w", r.name, err), r.drop())
		}
		if time.Since(began) > patience {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("contacting the chip in reader %q: %w", r.name, context.Cause(ctx))
		case <-time.After(againPause):
		}
	}
}

// repower is one try. Whatever chip pcscd believes to be there, the one that lies there now gets power anew.
func (r *Reader) repower(ctx context.Context) (atr []byte, err error) {
	if r.session == nil {
		if r.session, err = Open(ctx); err != nil {
			return nil, err
		}
	}
	if r.chip == nil {
		if r.chip, err = r.session.Attach(ctx, r.name); err != nil {
			return nil, err
		}
		r.chip.insist(r.only)
	}
	if atr, err = r.chip.Repower(ctx); err != nil {
		_ = r.chip.Release(ctx) // it was lost already
		r.chip, r.over = nil, nil
		return nil, err
	}
	r.over = card.Over(r.chip, r.chip.Protocol())
	return atr, nil
}

// Transmit sends a command to the chip in contact; card.ErrMute when it is lost, or was not contacted.
func (r *Reader) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over == nil {
		return nil, fmt.Errorf("transmitting in reader %q without contact: %w", r.name, card.ErrMute)
	}
	answer, err := r.over.Transmit(ctx, command)
	switch {
	case err == nil:
		return answer, nil
	case errors.Is(err, ErrLost), errors.Is(err, ErrMute), errors.Is(err, ErrNoCard), errors.Is(err, card.ErrMute):
		r.over = nil // another command would meet a chip that was reset
		if !errors.Is(err, card.ErrMute) {
			err = fmt.Errorf("%w: %w", card.ErrMute, err)
		}
		return nil, fmt.Errorf("transmitting in reader %q: %w", r.name, err)
	case errors.Is(err, ErrService), errors.Is(err, ErrReader), errors.Is(err, ErrCall), ctx.Err() != nil:
		return nil, errors.Join(fmt.Errorf("transmitting in reader %q: %w", r.name, err), r.drop())
	}
	return nil, fmt.Errorf("transmitting in reader %q: %w", r.name, err)
}

// Lift takes the chip's power and lets go of the reader.
func (r *Reader) Lift(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.chip == nil {
		return nil
	}
	err := r.chip.Release(ctx)
	r.chip, r.over = nil, nil
	switch {
	case err == nil, errors.Is(err, ErrLost), errors.Is(err, ErrNoCard), errors.Is(err, ErrMute):
		return nil // it has none
	}
	return errors.Join(fmt.Errorf("lifting the chip in reader %q: %w", r.name, err), r.drop())
}

// Close ends the connection to pcscd.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.drop()
}

// drop gives up the connection: pcscd takes the chip back with it.
func (r *Reader) drop() error {
	s := r.session
	r.session, r.chip, r.over = nil, nil, nil
	if s == nil {
		return nil
	}
	return s.Close()
}
