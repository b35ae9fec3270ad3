package pcsc

// #include <stdlib.h>
// #include "library.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"unsafe"

	"github.com/persoline/persoline/lineside/card"
)

// Parameters of connecting and parting (pcsclite.h).
const (
	shareExclusive = 1
	shareShared    = 2
	shareDirect    = 3

	protocolT0 = 1
	protocolT1 = 2

	leaveCard   = 0
	unpowerCard = 2
)

// Card is a chip that a session has taken. It is a card.Link: what it carries is not changed.
type Card struct {
	session  *Session
	handle   C.long
	offer    C.ulong // protocols that pcscd may choose from
	protocol C.ulong
	answer   []byte // room for one, for the session's goroutine alone
}

// Connect takes the chip in a reader together with others, powering it if nobody has. The protocol is one that the ATR
// offers; of both, pcscd takes T=1.
func (s *Session) Connect(ctx context.Context, reader string) (*Card, error) {
	return s.connect(ctx, reader, shareShared, protocolT0|protocolT1)
}

// Attach takes the reader without touching what lies in it. Repower then takes the chip for this session alone: so it is
// reset once, and not by pcscd before.
func (s *Session) Attach(ctx context.Context, reader string) (*Card, error) {
	return s.connect(ctx, reader, shareDirect, 0)
}

func (s *Session) connect(ctx context.Context, reader string, share, protocols C.ulong) (*Card, error) {
	c, err := do(ctx, s, func() (*Card, error) {
		name := C.CString(reader)
		defer C.free(unsafe.Pointer(name))
		c := &Card{session: s, offer: protocolT0 | protocolT1, answer: make([]byte, maxAnswerBytes)}
		err := check("SCardConnect", int64(C.pcsc_connect(s.handle, name, share, protocols, &c.handle, &c.protocol)))
		if err == nil && ctx.Err() != nil { // nobody waits for it
			err = errors.Join(context.Cause(ctx), c.part(leaveCard))
		}
		if err != nil {
			return nil, err
		}
		return c, nil
	})
	if err != nil {
		return nil, fmt.Errorf("connecting to reader %q: %w", reader, err)
	}
	return c, nil
}

// Protocol is the one in use.
func (c *Card) Protocol() card.Protocol {
	if c.protocol == protocolT0 {
		return card.T0
	}
	return card.T1
}

// insist leaves one protocol to choose; 0 is any.
func (c *Card) insist(protocol uint8) {
	if protocol != 0 {
		c.offer = C.ulong(protocol)
	}
}

// powered is what Repower gives.
type powered struct {
	atr      []byte
	protocol C.ulong
}

// Repower takes the chip for this session alone, takes its power away and gives it again, and gives the new ATR. The protocol is
// chosen anew.
func (c *Card) Repower(ctx context.Context) (atr []byte, err error) {
	offer := c.offer
	p, err := do(ctx, c.session, func() (p powered, err error) {
		err = check("SCardReconnect", int64(C.pcsc_reconnect(c.handle, shareExclusive, offer, unpowerCard, &p.protocol)))
		if err == nil {
			p.atr, err = c.status()
		}
		return p, err
	})
	if err != nil {
		return nil, fmt.Errorf("resetting the chip: %w", err)
	}
	c.protocol = p.protocol
	return p.atr, nil
}

// ATR is what the chip answered to reset.
func (c *Card) ATR(ctx context.Context) ([]byte, error) { return do(ctx, c.session, c.status) }

func (c *Card) status() ([]byte, error) {
	var atr [C.PCSC_ATR_BYTES]byte
	length := C.ulong(len(atr))
	if err := check("SCardStatus", int64(C.pcsc_status(c.handle, (*C.uchar)(&atr[0]), &length))); err != nil {
		return nil, err
	}
	return atr[:min(int(length), len(atr))], nil
}

// Exchange carries one command, or a T=0 block, and its answer.
func (c *Card) Exchange(ctx context.Context, command []byte) ([]byte, error) {
	if len(command) == 0 {
		return nil, errors.New("transmitting an empty command")
	}
	sent, protocol := append([]byte(nil), command...), c.protocol
	answer, err := do(ctx, c.session, func() ([]byte, error) {
		length := C.ulong(len(c.answer))
		err := check("SCardTransmit", int64(C.pcsc_transmit(c.handle, protocol, (*C.uchar)(&sent[0]), C.ulong(len(sent)),
			(*C.uchar)(&c.answer[0]), &length)))
		if err != nil {
			return nil, err
		}
		return append([]byte(nil), c.answer[:min(int(length), len(c.answer))]...), nil
	})
	if err != nil {
		return nil, fmt.Errorf("transmitting: %w", err)
	}
	return answer, nil
}

// Release lets go of the chip and takes its power.
func (c *Card) Release(ctx context.Context) error {
	_, err := do(ctx, c.session, func() (struct{}, error) { return struct{}{}, c.part(unpowerCard) })
	if err != nil {
		return fmt.Errorf("letting go of the chip: %w", err)
	}
	return nil
}

// Leave lets go of the chip and leaves it as it is.
func (c *Card) Leave(ctx context.Context) error {
	_, err := do(ctx, c.session, func() (struct{}, error) { return struct{}{}, c.part(leaveCard) })
	if err != nil {
		return fmt.Errorf("leaving the chip: %w", err)
	}
	return nil
}

func (c *Card) part(how C.ulong) error {
	return check("SCardDisconnect", int64(C.pcsc_disconnect(c.handle, how)))
}
