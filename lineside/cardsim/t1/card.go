package t1

import (
	"bytes"
	"context"
)

// Run carries out a whole command on the chip. An error is the loss of the chip.
type Run func(ctx context.Context, command []byte) (answer []byte, err error)

// maxCommandBytes bounds a command that comes in pieces: an extended one with all its lengths.
const maxCommandBytes = 4 + 3 + 65_535 + 2

// Card is the chip's end of one contact.
type Card struct {
	run  Run
	info int // of a block to the reader (IFSD)
	// Extend, when given, says how often the chip asks for more time before it answers a command.
	Extend func(command []byte) int

	send    byte   // N(S) of the next I-block to the reader
	receive byte   // N(S) that is expected
	command []byte // as far as it came
	answer  []byte // what the reader did not acknowledge yet
	sent    int    // of it, in the block that is out
	extend  int    // requests for time that are to come
	waiting []byte // the command, until its time is granted
	last    []byte // the block that was sent last
}

// NewCard makes one for a chip.
func NewCard(run Run) *Card {
	c := &Card{run: run}
	c.Reset()
	return c
}

// Reset begins a contact: the chip was reset.
func (c *Card) Reset() {
	extend := c.Extend
	*c = Card{run: c.run, Extend: extend, info: DefaultInfo}
}

// Exchange takes a block and gives the one that follows.
func (c *Card) Exchange(ctx context.Context, raw []byte) ([]byte, error) {
	b, err := decode(raw)
	var next []byte
	switch {
	case err != nil:
		next = rBlock(c.receive, whyOf(err)) // does not replace the block that may be asked for again
		return next, nil
	case b.isS():
		next, err = c.supervised(ctx, b)
	case b.isR():
		next = c.acknowledged(b)
	default:
		next, err = c.taken(ctx, b)
	}
	if err != nil {
		return nil, err
	}
	c.last = next
	return next, nil
}

// taken is an I-block: a piece of a command, which acknowledges what was sent before.
func (c *Card) taken(ctx context.Context, b block) ([]byte, error) {
	if b.number() != c.receive || c.waiting != nil {
		return rBlock(c.receive, errorOther), nil
	}
	if len(c.command)+len(b.info) > maxCommandBytes {
		return rBlock(c.receive, errorOther), nil
	}
	c.answer, c.sent = nil, 0
	c.receive ^= 1
	c.command = append(c.command, b.info...)
	if b.more() {
		return rBlock(c.receive, errorNone), nil
	}
	command := c.command
	c.command = nil
	if c.Extend != nil {
		if c.extend = c.Extend(command); c.extend > 0 {
			c.waiting = command
			return c.askForTime(), nil
		}
	}
	return c.carryOut(ctx, command)
}

func (c *Card) carryOut(ctx context.Context, command []byte) ([]byte, error) {
	answer, err := c.run(ctx, command)
	if err != nil {
		return nil, err
	}
	c.answer = bytes.Clone(answer)
	return c.piece(), nil
}

func (c *Card) askForTime() []byte {
	const once = 1
	return encode(pcbS|sWTX, []byte{once})
}

// piece is the next block of the answer.
func (c *Card) piece() []byte {
	c.sent = min(len(c.answer), c.info)
	next := iBlock(c.send, c.sent < len(c.answer), c.answer[:c.sent])
	c.send ^= 1
	return next
}

// acknowledged is an R-block: it asks for the next piece, or for the last block again (§11.6.2.3).
func (c *Card) acknowledged(b block) []byte {
	switch {
	case b.pcb&errorBits == errorNone && b.number() == c.send && c.sent < len(c.answer):
		c.answer = c.answer[c.sent:]
		return c.piece()
	case c.last != nil:
		return c.last
	}
	return rBlock(c.receive, errorNone)
}

// supervised is an S-block.
func (c *Card) supervised(ctx context.Context, b block) ([]byte, error) {
	kind := b.pcb &^ (pcbS | answerBit)
	switch {
	case b.pcb&answerBit == 0 && kind == sResynch:
		c.Reset()
	case b.pcb&answerBit == 0 && kind == sIFS:
		c.info = int(b.info[0])
	case b.pcb&answerBit == 0 && kind == sAbort:
		c.command, c.answer, c.sent = nil, nil, 0
	case b.pcb&answerBit != 0 && kind == sWTX && c.waiting != nil:
		if c.extend--; c.extend > 0 {
			return c.askForTime(), nil
		}
		command := c.waiting
		c.waiting = nil
		return c.carryOut(ctx, command)
	default:
		return rBlock(c.receive, errorOther), nil
	}
	return encode(pcbS|answerBit|kind, b.info), nil
}
