package cardsim

import (
	"errors"
	"time"

	"github.com/persoline/persoline/lineside/cardsim/atr"
	"github.com/persoline/persoline/lineside/cardsim/t1"
)

// Cost is what a command costs on a real chip, without saying how fast that chip is.
type Cost struct {
	// In and Out are the bytes of the command and of the answer with its status word.
	In, Out int
	// Pages is the memory pages written, of 64 bytes or a part of it.
	Pages int
	// ECC is the point multiplications on an elliptic curve.
	ECC int
}

// Timing says how fast a kind of chip is: its clock, and what takes time beside the line.
type Timing struct {
	ClockHz uint32        // usually 1 to 5 MHz
	Command time.Duration // of any command
	Page    time.Duration // to write one memory page safely
	ECC     time.Duration // of one point multiplication
}

// DefaultTiming is a usual eUICC at 5 MHz: page writes of 2 ms, and 60 ms for a point multiplication.
func DefaultTiming() Timing {
	return Timing{ClockHz: 5_000_000, Command: 500 * time.Microsecond, Page: 2 * time.Millisecond, ECC: 60 * time.Millisecond}
}

// Character times and counts (ISO/IEC 7816-3 §8, §10, §11), in elementary time units and characters.
const (
	charETU        = 12 // start, 8 data, parity, 2 guard
	leastT1ETU     = 11 // with T=1, where the chip wants no guard time
	turnroundETU   = 16 // before the card may answer, and before the next command
	blockETU       = 22 // between blocks of T=1 in opposite directions
	procedureChars = 1  // the card repeats INS before data flow
	fetchChars     = 8  // 61xx, GET RESPONSE and its procedure byte, when a command has data both ways
	ppsChars       = 8  // four characters each way
	resetClocks    = 40_000
	protocolT1     = 1
)

// interfaceOf is what an answer to reset says; of one that cannot be read, what holds without any.
func interfaceOf(reset []byte) atr.Interface {
	i, err := atr.Parse(reset)
	if err != nil && !errors.Is(err, atr.ErrCheck) {
		i, _ = atr.Parse([]byte{0x3B, 0x00})
	}
	return i
}

// character is the time of one character, in etu.
func character(i atr.Interface) int {
	switch {
	case i.Guard != atr.NoGuard:
		return charETU + int(i.Guard)
	case i.Protocols[0] == protocolT1:
		return leastT1ETU
	}
	return charETU
}

// Reset is the time from power to the first command: reset, ATR, and the PPS that makes TA1 hold.
func (t Timing) Reset(reset []byte) time.Duration {
	clocks := resetClocks + (len(reset)+ppsChars)*charETU*atr.FirstF/atr.FirstD
	return t.clocks(clocks)
}

// Exchange is the time of one command on a chip with this ATR, by the first protocol that it offers and at its own speed.
func (t Timing) Exchange(reset []byte, c Cost) time.Duration {
	i := interfaceOf(reset)
	f, d := atr.Speed(i.TA1)
	etu := 0
	if i.Protocols[0] == protocolT1 {
		chars, blocks := t1.Traffic(c.In, c.Out, int(i.IFSC), t1.MaxInfo)
		etu = chars*character(i) + blocks*blockETU
	} else {
		const headerAndLe, statusWord = 5, 2
		chars := c.In + procedureChars + c.Out
		if c.In > headerAndLe && c.Out > statusWord {
			chars += fetchChars - 1 // and Le stays with the reader
		}
		etu = chars*character(i) + 2*turnroundETU
	}
	return t.clocks(etu*f/d) + t.Command + time.Duration(c.Pages)*t.Page + time.Duration(c.ECC)*t.ECC
}

func (t Timing) clocks(n int) time.Duration {
	if t.ClockHz == 0 {
		return 0
	}
	return time.Duration(n) * time.Second / time.Duration(t.ClockHz)
}
