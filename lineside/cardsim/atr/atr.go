// Package atr reads what a chip says of its interface in the answer to reset, and answers the choice of protocol and parameters.
//
// It exists so that the virtual chip's protocols and its timing model go by the same answer to reset as a reader does.
//
// Contract. Pure functions of bytes; no input panics. What an answer to reset leaves out has the value of the specification; what
// is reserved in it is an error. Callers: lineside/cardsim and its packages, lineside/chipfarm, tests.
//
// Specification: ISO/IEC 7816-3 §8 (answer to reset), §9 (protocol and parameters selection), §10.2, §11.4 (parameters of the
// protocols).
package atr

import (
	"errors"
	"fmt"
	"slices"
)

// ErrATR says that bytes are no answer to reset.
var ErrATR = errors.New("not an answer to reset")

// ErrCheck says that only the check byte is wrong: what the answer says can be read.
var ErrCheck = fmt.Errorf("wrong check byte: %w", ErrATR)

// What holds until an answer to reset says otherwise, or a choice was made.
const (
	FirstF   = 372
	FirstD   = 1
	firstTA1 = 0x11

	defaultIFSC = 32
	defaultBWI  = 4
	defaultCWI  = 13
	defaultWI   = 10
	// NoGuard is the extra guard time that stands for the least: 12 etu between characters with T=0, 11 with T=1.
	NoGuard = 0xFF
)

// Interface is what an answer to reset says.
type Interface struct {
	// TA1 has the indexes of Fi and Di that the chip can.
	TA1 byte
	// Guard is the extra guard time in etu (TC1), or NoGuard.
	Guard byte
	// Specific says that the chip is in specific mode (TA2): nothing is chosen, and TA1 holds at once unless Implicit.
	Specific, Implicit bool
	// Protocols are those offered, the first one first. It is never empty: without any it is T=0.
	Protocols []byte
	// WI is the waiting time integer of T=0 (TC2).
	WI byte
	// IFSC, BWI and CWI are those of T=1: bytes of an information field to the chip, waiting time integers. CRC says that blocks
	// end with two bytes of it instead of one of LRC.
	IFSC     byte
	BWI, CWI byte
	CRC      bool
}

// Parse reads an answer to reset: TS, T0, interface bytes, historical bytes, and TCK, which stands there when anything but T=0 is
// offered and makes the XOR of all from T0 on zero.
func Parse(b []byte) (Interface, error) {
	i := Interface{TA1: firstTA1, WI: defaultWI, IFSC: defaultIFSC, BWI: defaultBWI, CWI: defaultCWI}
	const direct, inverse, leastBytes, mostBytes = 0x3B, 0x3F, 2, 33
	if len(b) < leastBytes || len(b) > mostBytes || b[0] != direct && b[0] != inverse {
		return i, fmt.Errorf("%d bytes: %w", len(b), ErrATR)
	}
	historical, rest := int(b[1]&0x0F), b[2:]
	first, others := true, false
	for td, level := b[1], 1; ; level++ {
		g, after, err := interfaceBytes(td, rest)
		if err != nil {
			return i, err
		}
		rest = after
		protocol := td & 0x0F
		if level == 1 {
			protocol = 0
		}
		if err := i.take(level, protocol, first, g); err != nil {
			return i, err
		}
		if level > 2 && protocol == 1 {
			first = false // only the first group of a protocol has its parameters
		}
		if !g.has[3] {
			break
		}
		td = g.value[3]
		others = others || td&0x0F != 0
		if p := td & 0x0F; p != 0x0F && !slices.Contains(i.Protocols, p) {
			i.Protocols = append(i.Protocols, p)
		}
		if level == 1 && td&0x0F == 0x0F {
			return i, fmt.Errorf("T=15 is offered first: %w", ErrATR)
		}
	}
	if len(i.Protocols) == 0 {
		i.Protocols = []byte{0}
	}
	return i, checkEnd(b, rest, historical, others)
}

// group is the interface bytes that one TD announces: TA, TB, TC, TD.
type group struct {
	has   [4]bool
	value [4]byte
}

func interfaceBytes(td byte, b []byte) (g group, rest []byte, err error) {
	for n := range g.has {
		if td>>(4+n)&1 == 0 {
			continue
		}
		if len(b) == 0 {
			return g, nil, fmt.Errorf("interface bytes are missing: %w", ErrATR)
		}
		g.has[n], g.value[n], b = true, b[0], b[1:]
	}
	return g, b, nil
}

// take reads the bytes of one group: those of level 1 and 2 are for the chip, later ones for the protocol that the TD before names.
func (i *Interface) take(level int, protocol byte, first bool, g group) error {
	const modeImplicit, leastIFSC, mostIFSC = 0x10, 1, 0xFE
	switch {
	case level == 1:
		if g.has[0] {
			i.TA1 = g.value[0]
		}
		i.Guard = g.value[2]
	case level == 2:
		i.Specific, i.Implicit = g.has[0], g.has[0] && g.value[0]&modeImplicit != 0
		if g.has[2] && g.value[2] != 0 {
			i.WI = g.value[2]
		}
	case protocol == 1 && first:
		if g.has[0] {
			if g.value[0] < leastIFSC || g.value[0] > mostIFSC {
				return fmt.Errorf("information fields of %d bytes: %w", g.value[0], ErrATR)
			}
			i.IFSC = g.value[0]
		}
		if g.has[1] {
			i.BWI, i.CWI = g.value[1]>>4, g.value[1]&0x0F
		}
		i.CRC = g.has[2] && g.value[2]&1 != 0
	}
	return nil
}

// checkEnd holds the historical bytes and the check byte, which stands there when another protocol than T=0 is named (§8.2.5), to
// what was announced.
func checkEnd(b, rest []byte, historical int, others bool) error {
	if others {
		historical++
	}
	if len(rest) != historical {
		return fmt.Errorf("%d bytes behind the interface bytes, %d expected: %w", len(rest), historical, ErrATR)
	}
	sum := byte(0)
	for _, x := range b[1:] {
		sum ^= x
	}
	if others && sum != 0 {
		return ErrCheck
	}
	return nil
}

// Speed is Fi and Di of an index byte (tables 7 and 8), or the first ones when they are reserved.
func Speed(ta1 byte) (f, d int) {
	fi := [16]int{372, 372, 558, 744, 1116, 1488, 1860, 0, 0, 512, 768, 1024, 1536, 2048, 0, 0}
	di := [16]int{0, 1, 2, 4, 8, 16, 32, 64, 12, 20, 0, 0, 0, 0, 0, 0}
	f, d = fi[ta1>>4], di[ta1&0x0F]
	if f == 0 || d == 0 {
		return FirstF, FirstD
	}
	return f, d
}

// Offers says whether a protocol is offered.
func (i Interface) Offers(protocol byte) bool { return slices.Contains(i.Protocols, protocol) }

// Choice is what holds between reader and chip.
type Choice struct {
	Protocol byte
	TA1      byte // indexes of F and D
}

// Unchosen is what holds after reset without a choice: in specific mode what the chip says, else the first protocol at the
// first speed.
func (i Interface) Unchosen() Choice {
	c := Choice{Protocol: i.Protocols[0], TA1: firstTA1}
	if i.Specific && !i.Implicit {
		c.TA1 = i.TA1
	}
	return c
}

// Bytes of a request (§9.2).
const (
	ppss    = 0xFF
	hasPPS1 = 0x10
	hasPPS2 = 0x20
	hasPPS3 = 0x40
)

// Request is the PPS request for a choice: PPSS, PPS0, PPS1, PCK.
func (c Choice) Request() []byte {
	b := []byte{ppss, hasPPS1 | c.Protocol, c.TA1}
	return append(b, b[0]^b[1]^b[2])
}

// IsRequest says whether bytes begin as a request does; no command and no block begins so.
func IsRequest(b []byte) bool { return len(b) > 0 && b[0] == ppss }

// Choose answers a PPS request. The answer is the request, with PPS1 left out where the chip stays at the first speed, and what
// holds from then on. A request that is malformed, or of a protocol that is not offered, is not answered: the reader resets the
// chip. Speeds up to the chip's own are taken.
func (i Interface) Choose(request []byte) (answer []byte, c Choice, ok bool) {
	const least, bits = 3, hasPPS1 | hasPPS2 | hasPPS3
	if len(request) < least || request[0] != ppss || i.Specific {
		return nil, c, false
	}
	want, sum := least, byte(0)
	for b := request[1] & bits; b != 0; b &= b - 1 {
		want++
	}
	for _, x := range request {
		sum ^= x
	}
	if len(request) != want || sum != 0 || request[1]&0x80 != 0 || !i.Offers(request[1]&0x0F) {
		return nil, c, false
	}
	c = Choice{Protocol: request[1] & 0x0F, TA1: firstTA1}
	answer = []byte{ppss, request[1] &^ bits}
	if request[1]&hasPPS1 != 0 && i.takes(request[2]) {
		answer, c.TA1 = []byte{ppss, c.Protocol | hasPPS1, request[2]}, request[2]
	}
	pck := byte(0)
	for _, x := range answer {
		pck ^= x
	}
	return append(answer, pck), c, true
}

// takes says whether the chip can a speed: the F of TA1 or of the beginning, and a D up to its own.
func (i Interface) takes(ta1 byte) bool {
	if ta1 == i.TA1 || ta1 == firstTA1 {
		return true
	}
	f, d := Speed(ta1)
	mineF, mineD := Speed(i.TA1)
	reserved := f == FirstF && d == FirstD
	return !reserved && f == mineF && d <= mineD
}

// Settled says what a reader that asked for a choice and got an answer may use (§9.3): ok is false when the answer is none to its
// request, and the chip is to be reset.
func (c Choice) Settled(answer []byte) (Choice, bool) {
	const without = 3
	sum := byte(0)
	for _, x := range answer {
		sum ^= x
	}
	switch {
	case len(answer) < without || answer[0] != ppss || sum != 0 || answer[1]&0x0F != c.Protocol:
		return c, false
	case slices.Equal(answer, c.Request()):
		return c, true
	case len(answer) == without && answer[1] == c.Protocol:
		return Choice{Protocol: c.Protocol, TA1: firstTA1}, true
	}
	return c, false
}
