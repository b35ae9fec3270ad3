package card

import (
	"context"
	"errors"
	"fmt"

	"github.com/persoline/persoline/perso/apdu"
)

// Protocol is how commands travel between a reader and a chip (ISO/IEC 7816-3).
type Protocol byte

// The protocols.
const (
	T0 Protocol = 0 // blocks of one direction: answers to a command with data are fetched
	T1 Protocol = 1 // whole commands and answers; also what hides the protocol from us
)

// String gives "T=0" or "T=1".
func (p Protocol) String() string { return fmt.Sprintf("T=%d", byte(p)) }

// Link carries bytes to a chip and its answer back as they are: with T0 a block (header, P3, data), with T1 a command.
type Link interface {
	Exchange(ctx context.Context, command []byte) ([]byte, error)
}

// ErrProcedure says that a chip never comes to an end with one command.
var ErrProcedure = errors.New("chip does not end its answer")

// Limits of one command.
const (
	// maxFetches bounds GET RESPONSE for one command: as many full answers as maxAnswerBytes takes, and a few short ones.
	maxFetches = maxAnswerBytes/apdu.MaxLe + 16
	// maxAnswerBytes bounds the data of an answer that comes in pieces: what an extended length could ask for.
	maxAnswerBytes = 1 << 16
)

const (
	insGetResponse = 0xC0
	claChained     = 0x10 // more blocks of this command follow (ISO/IEC 7816-4 §5.4.1)
	claSecured     = 0x0C
	claFurther     = 0x40
	claGSM         = 0xA0 // 3GPP TS 51.011
)

// Over makes a transport of a link: the one place that knows GET RESPONSE, a wrong Le, and the chaining of long commands.
//
//   - 61xx: what waits is fetched, up to the Le of the command. A command that asked for nothing is then done: 9000.
//   - 6Cxx: the command is sent once more with that Le. The answer may then be longer than was asked for.
//   - T=0: a command without data and Le gets P3 00; Le is left out after data; data behind a warning are fetched, and the
//     warning stays the status.
//   - a command of extended length (ISO/IEC 7816-3 §12.1.3) is sent as a chain of short ones, unless it is secured: its MAC
//     is over the command as it is.
//
// An answer of fewer than two bytes is ErrMute. Errors of the link are passed on.
func Over(l Link, p Protocol) Transport { return &procedure{link: l, protocol: p} }

type procedure struct {
	link     Link
	protocol Protocol
}

func (t *procedure) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	blocks, err := chain(command)
	if err != nil {
		return nil, err
	}
	for i, c := range blocks {
		data, sw, err := t.one(ctx, c)
		if err != nil {
			return nil, err
		}
		if i == len(blocks)-1 || !sw.OK() {
			return sw.Append(data), nil
		}
	}
	return nil, fmt.Errorf("transmitting no command: %w", apdu.ErrMalformed)
}

// one carries a short command to its end.
func (t *procedure) one(ctx context.Context, c apdu.Command) (data []byte, sw apdu.SW, err error) {
	data, sw, err = t.exchange(ctx, c)
	if le, wrong := sw.RightLe(); err == nil && wrong && c.Le != apdu.NoLe && (t.protocol == T1 || len(c.Data) == 0) {
		c.Le = le
		data, sw, err = t.exchange(ctx, c)
	}
	if err != nil {
		return nil, 0, err
	}
	waiting, more := sw.More()
	switch {
	case more && (c.Le == apdu.NoLe || c.Le < apdu.MaxLe && len(data) >= c.Le):
		return data, apdu.SWOK, nil // whatever waits was not asked for
	case more:
		return t.fetch(ctx, c, data, waiting)
	case sw.Warning() && t.protocol == T0 && len(c.Data) > 0 && c.Le != apdu.NoLe && len(data) == 0:
		behind, last, err := t.fetch(ctx, c, nil, apdu.MaxLe)
		if err != nil || !last.OK() {
			behind = nil // nothing waits
		}
		return behind, sw, err
	}
	return data, sw, nil
}

// fetch asks for what waits until the chip says that this is all, or the command's Le is reached.
func (t *procedure) fetch(ctx context.Context, c apdu.Command, data []byte, waiting int) ([]byte, apdu.SW, error) {
	get := apdu.Command{CLA: classOfGetResponse(c.CLA), INS: insGetResponse}
	for range maxFetches {
		if get.Le = waiting; c.Le < apdu.MaxLe {
			get.Le = min(waiting, c.Le-len(data))
		}
		piece, sw, err := t.exchange(ctx, get)
		if right, wrong := sw.RightLe(); err == nil && wrong {
			get.Le = right
			piece, sw, err = t.exchange(ctx, get)
		}
		if err != nil {
			return nil, 0, err
		}
		if data = append(data, piece...); len(data) > maxAnswerBytes {
			return nil, 0, fmt.Errorf("fetching an answer of more than %d bytes: %w", maxAnswerBytes, ErrProcedure)
		}
		var more bool
		if waiting, more = sw.More(); !more {
			return data, sw, nil
		}
		if c.Le < apdu.MaxLe && len(data) >= c.Le {
			return data, apdu.SWOK, nil
		}
	}
	return nil, 0, fmt.Errorf("fetching an answer %d times: %w", maxFetches, ErrProcedure)
}

// exchange sends one command as the protocol wants it.
func (t *procedure) exchange(ctx context.Context, c apdu.Command) (data []byte, sw apdu.SW, err error) {
	if t.protocol == T0 && len(c.Data) > 0 {
		c.Le = apdu.NoLe
	}
	block := c.Bytes()
	if t.protocol == T0 && len(c.Data) == 0 && c.Le == apdu.NoLe {
		block = append(block, 0)
	}
	answer, err := t.link.Exchange(ctx, block)
	if err != nil {
		return nil, 0, err
	}
	data, sw, err = apdu.SWOf(answer)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrMute, err)
	}
	return data, sw, nil
}

// classOfGetResponse keeps the logical channel and drops what is the command's own (ISO/IEC 7816-4 §5.4.1).
func classOfGetResponse(cla byte) byte {
	switch {
	case cla&0xF0 == claGSM:
		return claGSM
	case cla&claFurther != 0:
		return cla & (claFurther | 0x0F)
	}
	return cla & 0x03
}

// chain gives the short commands that a command is sent as: itself, or blocks of one of extended length.
func chain(command []byte) ([]apdu.Command, error) {
	const headerBytes, lengthBytes = 4, 3
	if len(command) <= headerBytes+lengthBytes || command[headerBytes] != 0 {
		c, err := apdu.Parse(command)
		return []apdu.Command{c}, err
	}
	lc := int(command[5])<<8 | int(command[6])
	data, le := command[headerBytes+lengthBytes:], apdu.NoLe
	switch len(data) - lc {
	case 0:
	case 2: // any Le: the answer comes in pieces in any case
		data, le = data[:lc], apdu.MaxLe
	default:
		return nil, fmt.Errorf("reading extended Lc %d before %d bytes: %w", lc, len(data), apdu.ErrMalformed)
	}
	if command[0]&claSecured != 0 || command[0]&claFurther != 0 || lc == 0 {
		return nil, fmt.Errorf("chaining %d bytes under class %02X, which is secured or not of the first channels: %w", lc, command[0], apdu.ErrMalformed)
	}
	var blocks []apdu.Command
	for len(data) > 0 {
		n := min(len(data), apdu.MaxDataBytes)
		blocks = append(blocks, apdu.Command{CLA: command[0] | claChained, INS: command[1], P1: command[2], P2: command[3], Data: data[:n], Le: apdu.NoLe})
		data = data[n:]
	}
	last := &blocks[len(blocks)-1]
	last.CLA, last.Le = command[0], le
	return blocks, nil
}
