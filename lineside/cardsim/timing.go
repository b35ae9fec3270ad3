package cardsim

import "time"

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

// Character times and counts of T=0 (ISO/IEC 7816-3 §8, §10), in elementary time units and characters.
const (
	charETU        = 12 // start, 8 data, parity, 2 guard
	turnroundETU   = 16 // before the card may answer, and before the next command
	procedureChars = 1  // the card repeats INS before data flow
	fetchChars     = 8  // 61xx, GET RESPONSE and its procedure byte, when a command has data both ways
	ppsChars       = 8  // four characters each way
	resetClocks    = 40_000
	firstF         = 372 // in force until PPS
	firstD         = 1
)

// Reset is the time from power to the first command: reset, ATR, and the PPS that makes TA1 hold.
func (t Timing) Reset(atr []byte) time.Duration {
	clocks := resetClocks + (len(atr)+ppsChars)*charETU*firstF/firstD
	return t.clocks(clocks)
}

// Exchange is the time of one command on a chip with this ATR.
func (t Timing) Exchange(atr []byte, c Cost) time.Duration {
	f, d := speed(atr)
	chars := c.In + procedureChars + c.Out
	const headerAndLe, statusWord = 5, 2
	if c.In > headerAndLe && c.Out > statusWord {
		chars += fetchChars
	}
	line := t.clocks((chars*charETU + 2*turnroundETU) * f / d)
	return line + t.Command + time.Duration(c.Pages)*t.Page + time.Duration(c.ECC)*t.ECC
}

func (t Timing) clocks(n int) time.Duration {
	if t.ClockHz == 0 {
		return 0
	}
	return time.Duration(n) * time.Second / time.Duration(t.ClockHz)
}

// speed is Fi and Di of TA1 (ISO/IEC 7816-3 tables 7 and 8), or the first ones when TA1 is missing or reserved.
func speed(atr []byte) (f, d int) {
	const ta1Present = 0x10
	if len(atr) < 3 || atr[1]&ta1Present == 0 {
		return firstF, firstD
	}
	fi := [16]int{372, 372, 558, 744, 1116, 1488, 1860, 0, 0, 512, 768, 1024, 1536, 2048, 0, 0}
	di := [16]int{0, 1, 2, 4, 8, 16, 32, 64, 12, 20, 0, 0, 0, 0, 0, 0}
	f, d = fi[atr[2]>>4], di[atr[2]&0x0F]
	if f == 0 || d == 0 {
		return firstF, firstD
	}
	return f, d
}
