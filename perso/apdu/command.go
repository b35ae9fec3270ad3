// Package apdu is the vocabulary of one exchange with a card: the command, the status word, and
// the patterns a script uses to say which answers it accepts.
//
// It exists so that the script compiler, the secure channel, the line and the virtual chip agree on
// one reading of the bytes. Only short APDUs are known (ISO/IEC 7816-3 §12.1, cases 1, 2S, 3S, 4S):
// every chip on the line takes them, and the secure channel's limits are defined on them.
// Everything here is a pure value without I/O; any package may import it.
//
// Specifications: ISO/IEC 7816-3 §12, ISO/IEC 7816-4 §5, ETSI TS 102 221 §10.
package apdu

import (
	"errors"
	"fmt"
)

const (
	// NoLe in Command.Le means that the command asks for no answer data (cases 1 and 3).
	NoLe = -1
	// MaxLe is "everything you have" in a short APDU; it is sent as 00.
	MaxLe = 256
	// MaxDataBytes is the largest command data field: Lc is one byte.
	MaxDataBytes = 255

	headerBytes = 4
)

// ErrMalformed says that bytes are not exactly one short APDU.
var ErrMalformed = errors.New("malformed short APDU")

// Command is one short command APDU.
type Command struct {
	CLA, INS, P1, P2 byte
	// Data is the command data field, at most MaxDataBytes. Parse aliases its input here.
	Data []byte
	// Le is the number of answer bytes asked for: NoLe, or 1..256. 256 is sent as 00, and 0 is taken
	// for 256, because a script that writes Le 00 means that. Parse gives 256, never 0.
	Le int
}

// Parse reads exactly one short APDU of case 1 to 4. Data aliases b. An Lc of 00 (an extended
// length, or nothing) and any surplus or missing byte is ErrMalformed.
func Parse(b []byte) (Command, error) {
	if len(b) < headerBytes {
		return Command{}, fmt.Errorf("reading header of %d bytes: %w", len(b), ErrMalformed)
	}
	c := Command{CLA: b[0], INS: b[1], P1: b[2], P2: b[3], Le: NoLe}
	body := b[headerBytes:]
	switch len(body) {
	case 0: // case 1
		return c, nil
	case 1: // case 2S
		c.Le = decodeLe(body[0])
		return c, nil
	}
	lc := int(body[0])
	switch rest := body[1:]; {
	case lc == 0:
		return Command{}, fmt.Errorf("reading Lc 00 before %d bytes: %w", len(rest), ErrMalformed)
	case len(rest) == lc: // case 3S
		c.Data = rest
	case len(rest) == lc+1: // case 4S
		c.Data, c.Le = rest[:lc:lc], decodeLe(rest[lc])
	default:
		return Command{}, fmt.Errorf("reading Lc %d before %d bytes: %w", lc, len(rest), ErrMalformed)
	}
	return c, nil
}

// Valid says whether the command can be encoded.
func (c Command) Valid() error {
	if len(c.Data) > MaxDataBytes {
		return fmt.Errorf("checking command data of %d bytes, limit %d: %w", len(c.Data), MaxDataBytes, ErrMalformed)
	}
	if c.Le < NoLe || c.Le > MaxLe {
		return fmt.Errorf("checking Le %d: %w", c.Le, ErrMalformed)
	}
	return nil
}

// Size is the number of bytes that Append adds.
func (c Command) Size() int {
	n := headerBytes
	if len(c.Data) > 0 {
		n += 1 + len(c.Data)
	}
	if c.Le != NoLe {
		n++
	}
	return n
}

// Append appends the encoded command to dst. The command must be Valid: one that is not is a fault
// of the program, not of the data, and panics rather than let a truncated length reach a chip.
func (c Command) Append(dst []byte) []byte {
	if err := c.Valid(); err != nil {
		panic("apdu: " + err.Error())
	}
	dst = append(dst, c.CLA, c.INS, c.P1, c.P2)
	if len(c.Data) > 0 {
		dst = append(dst, byte(len(c.Data)))
		dst = append(dst, c.Data...)
	}
	if c.Le != NoLe {
		dst = append(dst, byte(c.Le))
	}
	return dst
}

// Bytes is Append to a new slice of the exact size.
func (c Command) Bytes() []byte {
	return c.Append(make([]byte, 0, c.Size()))
}

func decodeLe(b byte) int {
	if b == 0 {
		return MaxLe
	}
	return int(b)
}
