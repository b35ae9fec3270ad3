package t1

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

// Wire carries one block to the chip and gives what comes back: nothing when nothing came in time. An error is the loss of the wire.
type Wire func(ctx context.Context, block []byte) (answer []byte, err error)

const (
	// tries is how often a block is asked for again, and the chip for a new beginning (§11.6.3.2).
	tries = 3
	// maxExtensions bounds how often a chip may ask for time with one command, and maxBlocks what one answer comes in.
	maxExtensions = 1000
	maxBlocks     = 66_000
)

// ErrMute says that a chip cannot be brought to speak any more: it must be reset.
var ErrMute = errors.New("chip does not answer by T=1")

// Reader is the reader's end of one contact. It carries whole commands, as a link of lineside/card with T=1 does.
type Reader struct {
	wire    Wire
	info    int // of a block to the chip (IFSC)
	want    int // of a block from the chip (IFSD); announced before the first command
	told    bool
	send    byte
	receive byte
	failed  bool
}

// NewReader begins a contact with a chip that says in its answer to reset what it can take; 0 is the usual length.
func NewReader(wire Wire, ifsc int) *Reader {
	if ifsc <= 0 || ifsc > MaxInfo {
		ifsc = DefaultInfo
	}
	return &Reader{wire: wire, info: ifsc, want: MaxInfo}
}

// Exchange carries a command to the chip and its answer back. When the chip cannot be brought to say it, that is ErrMute, and so
// is every command after it.
func (r *Reader) Exchange(ctx context.Context, command []byte) ([]byte, error) {
	if r.failed {
		return nil, fmt.Errorf("a chip that was given up: %w", ErrMute)
	}
	answer, err := r.exchange(ctx, command)
	if err != nil {
		r.failed = true
		if errors.Is(err, errGivenUp) {
			err = fmt.Errorf("%w: %w", ErrMute, err)
		}
	}
	return answer, err
}

var errGivenUp = errors.New("blocks are lost or damaged again and again")

func (r *Reader) exchange(ctx context.Context, command []byte) (answer []byte, err error) {
	if !r.told {
		r.told = true
		if err := r.supervise(ctx, sIFS, []byte{byte(r.want)}); err != nil {
			return nil, err
		}
	}
	got, err := r.deliver(ctx, command)
	if err != nil {
		return nil, err
	}
	for range maxBlocks {
		r.receive ^= 1
		answer = append(answer, got.info...)
		if !got.more() {
			return answer, nil
		}
		if got, err = r.until(ctx, rBlock(r.receive, errorNone), func(b block) bool { return b.isI() && b.number() == r.receive }); err != nil {
			return nil, err
		}
	}
	return nil, errGivenUp
}

// deliver sends a command in blocks, and gives the first block of the answer.
func (r *Reader) deliver(ctx context.Context, command []byte) (got block, err error) {
	for first := true; first || len(command) > 0; first = false {
		n := min(len(command), r.info)
		more := n < len(command)
		sent := iBlock(r.send, more, command[:n])
		r.send ^= 1
		got, err = r.until(ctx, sent, func(b block) bool {
			if more {
				return b.isR() && b.pcb&errorBits == errorNone && b.number() == r.send
			}
			return b.isI() && b.number() == r.receive
		})
		if err != nil {
			return got, err
		}
		command = command[n:]
	}
	return got, nil
}

// until sends a block until what comes is what is waited for. A damaged answer is asked for again, what the chip did not get is
// sent again, and what the chip asks on its own is answered.
func (r *Reader) until(ctx context.Context, sent []byte, wanted func(block) bool) (block, error) {
	out, again := sent, sent // again is what the chip gets when it asks for the last block
	damaged, resent, extensions := 0, 0, 0
	for {
		raw, err := r.wire(ctx, out)
		if err != nil {
			return block{}, err
		}
		b, err := decode(raw)
		switch {
		case err != nil:
			if damaged++; damaged > tries {
				return block{}, errGivenUp
			}
			out = rBlock(r.receive, whyOf(err))
		case wanted(b):
			return block{pcb: b.pcb, info: bytes.Clone(b.info)}, nil
		case b.isS() && b.pcb&answerBit == 0:
			if extensions++; extensions > maxExtensions {
				return block{}, errGivenUp
			}
			out = r.grant(b)
			again = out
		default: // an R-block, or an old I-block: the chip did not get it
			if resent++; resent > tries {
				return block{}, errGivenUp
			}
			out, damaged = again, 0
		}
	}
}

// grant answers what the chip asks: more time, or another length of the blocks that it takes.
func (r *Reader) grant(b block) []byte {
	kind := b.pcb &^ (pcbS | answerBit)
	if kind == sIFS {
		r.info = int(b.info[0])
	}
	return encode(pcbS|answerBit|kind, b.info)
}

// supervise sends an S-block and wants its answer.
func (r *Reader) supervise(ctx context.Context, kind byte, info []byte) error {
	_, err := r.until(ctx, encode(pcbS|kind, info), func(b block) bool {
		return b.isS() && b.pcb == pcbS|answerBit|kind && bytes.Equal(b.info, info)
	})
	return err
}

// Resynch makes both ends begin anew (§11.6.2.3 rule 6): what was under way is gone.
func (r *Reader) Resynch(ctx context.Context) error {
	r.failed, r.told, r.send, r.receive, r.info = false, false, 0, 0, DefaultInfo
	if err := r.supervise(ctx, sResynch, nil); err != nil {
		r.failed = true
		return fmt.Errorf("beginning anew: %w: %w", ErrMute, err)
	}
	return nil
}
