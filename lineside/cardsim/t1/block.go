// Package t1 is T=1, both ends: blocks with a check byte, chaining, acknowledgements, and what is done when a block is lost.
//
// It exists so that a virtual chip can be spoken to as a reader's own firmware speaks to a chip with T=1, and so that the timing
// model counts what travels. What a chip answers does not depend on it.
//
// Contract. A Card and a Reader belong to one goroutine and to one contact of one chip. The Card answers each block with one block
// and never with an error of its own: what it cannot read it asks for again. The Reader carries whole
// commands. Damaged and lost blocks are sent again, at most three times; then the Reader gives up, and the chip is to be reset.
// No input panics.
//
// Callers: lineside/cardsim, tests of transports.
//
// Specification: ISO/IEC 7816-3 §11.
package t1

import "errors"

// Parts of a block (§11.3): NAD, PCB, LEN, information field, LRC.
const (
	prologueBytes = 3
	lrcBytes      = 1
	// Overhead is what a block has beside its information field.
	Overhead = prologueBytes + lrcBytes
	// MaxInfo bounds an information field.
	MaxInfo = 254
	// DefaultInfo holds for both ends until somebody says otherwise.
	DefaultInfo = 32

	nad = 0x00 // no addresses
)

// Bits of PCB.
const (
	pcbR       = 0x80
	pcbS       = 0xC0
	kindBits   = 0xC0
	moreBit    = 0x20 // of an I-block: it is chained to the next
	sendBit    = 0x40 // of an I-block: N(S)
	receiveBit = 0x10 // of an R-block: N(R)
	errorBits  = 0x0F
	answerBit  = 0x20 // of an S-block

	errorNone  = 0
	errorLRC   = 1
	errorOther = 2
)

// Supervisory blocks (§11.3.2.2).
const (
	sResynch = 0x00
	sIFS     = 0x01
	sAbort   = 0x02
	sWTX     = 0x03
)

var (
	errLRC   = errors.New("wrong check byte")
	errBlock = errors.New("no block")
)

// block is one block that was read.
type block struct {
	pcb  byte
	info []byte
}

func (b block) isI() bool { return b.pcb&0x80 == 0 }
func (b block) isR() bool { return b.pcb&kindBits == pcbR }
func (b block) isS() bool { return b.pcb&kindBits == pcbS }

// number is N(S) of an I-block, N(R) of an R-block: 0 or 1.
func (b block) number() byte {
	if b.isI() {
		return b.pcb & sendBit / sendBit
	}
	return b.pcb & receiveBit / receiveBit
}

func (b block) more() bool { return b.pcb&moreBit != 0 }

// encode adds prologue and check byte.
func encode(pcb byte, info []byte) []byte {
	out := append(append(make([]byte, 0, Overhead+len(info)), nad, pcb, byte(len(info))), info...)
	return append(out, lrc(out))
}

func lrc(b []byte) (sum byte) {
	for _, x := range b {
		sum ^= x
	}
	return sum
}

// decode reads a block. The error says which kind of R-block asks for it again.
func decode(raw []byte) (block, error) {
	switch {
	case len(raw) < Overhead || len(raw) != Overhead+int(raw[2]):
		return block{}, errBlock
	case lrc(raw) != 0:
		return block{}, errLRC
	}
	b := block{pcb: raw[1], info: raw[prologueBytes : len(raw)-lrcBytes]}
	const reservedI, reservedR = 0x1F, 0x20
	switch {
	case raw[0] != nad, raw[2] > MaxInfo,
		b.isI() && b.pcb&reservedI != 0,
		b.isR() && (b.pcb&reservedR != 0 || b.pcb&errorBits > errorOther || len(b.info) != 0),
		b.isS() && !supervises(b):
		return block{}, errBlock
	}
	return b, nil
}

// supervises says whether an S-block is one.
func supervises(b block) bool {
	switch b.pcb &^ (pcbS | answerBit) {
	case sResynch, sAbort:
		return len(b.info) == 0
	case sIFS:
		return len(b.info) == 1 && b.info[0] > 0 && b.info[0] <= MaxInfo
	case sWTX:
		return len(b.info) == 1
	}
	return false
}

func iBlock(number byte, more bool, info []byte) []byte {
	pcb := number * sendBit
	if more {
		pcb |= moreBit
	}
	return encode(pcb, info)
}

func rBlock(number, why byte) []byte { return encode(pcbR|number*receiveBit|why, nil) }

func whyOf(err error) byte {
	if errors.Is(err, errLRC) {
		return errorLRC
	}
	return errorOther
}

// Traffic is what travels for so many bytes from one end to the other and back: characters with prologues and check bytes, and
// blocks, those that acknowledge included. Infos are what information fields can have to the chip and from it.
func Traffic(in, out, infoIn, infoOut int) (chars, blocks int) {
	for _, part := range [][2]int{{in, infoIn}, {out, infoOut}} {
		n := max(1, (part[0]+part[1]-1)/part[1])
		chars += part[0] + n*Overhead
		chars += (n - 1) * Overhead // each chained block but the last is acknowledged by an R-block
		blocks += n + (n - 1)
	}
	return chars, blocks
}
