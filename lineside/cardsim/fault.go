package cardsim

import (
	"encoding/binary"
	"fmt"

	"github.com/persoline/persoline/perso/apdu"
)

// FaultKind is how a chip misbehaves. It marshals as its text.
type FaultKind string

// The faults of a single chip. A fault with an APDU happens at that command of that contact, and so only once.
const (
	FaultNone       FaultKind = ""
	FaultMute       FaultKind = "mute"         // never an ATR
	FaultContact    FaultKind = "bad-contact"  // no ATR on that contact
	FaultTearBefore FaultKind = "tear-before"  // power is lost before the command is executed
	FaultTearAfter  FaultKind = "tear-after"   // power is lost after the command was executed: its answer is lost
	FaultTearInside FaultKind = "tear-inside"  // power is lost while the command writes, on a chip whose writing is not atomic
	FaultStatus     FaultKind = "wrong-status" // the command is not executed and answered with SW
	FaultFlip       FaultKind = "flipped-bit"  // the command is executed, and one bit of its answer is wrong
)

// Fault is one misbehaviour, fixed when the chip is made.
type Fault struct {
	Kind FaultKind
	// Contact counts the times that the chip was powered, from 1. 0 is taken for 1.
	Contact uint32
	// APDU counts the commands since then, from 1.
	APDU uint32
	// SW is the wrong status.
	SW apdu.SW
	// Bit is the wrong bit: 0 is the highest bit of the first byte. It wraps round the answer. Of a tear inside it is how many values
	// of the memory are written, before one that is written by half.
	Bit uint16
	// Dead says that the chip never answers again after the tear.
	Dead bool
}

// Validate says whether the fault can happen.
func (f Fault) Validate() error {
	switch f.Kind {
	case FaultMute, FaultContact:
		if f.APDU == 0 {
			return nil
		}
		return fmt.Errorf("fault %q happens at a reset, not at APDU %d", f.Kind, f.APDU)
	case FaultTearBefore, FaultTearAfter, FaultTearInside, FaultStatus, FaultFlip:
		if f.APDU == 0 {
			return fmt.Errorf("fault %q needs the number of an APDU", f.Kind)
		}
		if f.Kind == FaultStatus && f.SW == 0 {
			return fmt.Errorf("fault %q needs a status word", f.Kind)
		}
		return nil
	}
	return fmt.Errorf("unknown fault %q", f.Kind)
}

// Notes of the instrument in the chip's memory.
const (
	noteContacts = 1 // times powered, 4 bytes; kept only for a chip with faults
	noteDead     = 2
)

// answersReset counts the contact and says whether an ATR comes.
func (c *Chip) answersReset() bool {
	if c.mem.has(cellOf(0, kindBench, noteDead)) {
		return false
	}
	mute := false
	for _, f := range c.p.Faults {
		mute = mute || f.Kind == FaultMute
	}
	if mute || !c.faulty || len(c.p.Faults) == 0 {
		return !mute
	}
	contact := c.contacts() + 1
	var note changes
	note.put(cellOf(0, kindBench, noteContacts), binary.BigEndian.AppendUint32(nil, contact)...)
	if err := c.mem.commit(note); err != nil {
		return false // a chip whose memory cannot be written is as good as mute
	}
	c.mem.takePages()
	for _, f := range c.p.Faults {
		if f.Kind == FaultContact && f.contact() == contact {
			return false
		}
	}
	return true
}

func (c *Chip) contacts() uint32 {
	if note, ok := c.mem.get(cellOf(0, kindBench, noteContacts)); ok {
		return binary.BigEndian.Uint32(note)
	}
	return 0
}

// faultNow is the fault of the APDU that has just come, or none.
func (c *Chip) faultNow() Fault {
	if !c.faulty || len(c.p.Faults) == 0 {
		return Fault{}
	}
	contact := c.contacts()
	for _, f := range c.p.Faults {
		if f.APDU == c.apdus && f.contact() == contact {
			return f
		}
	}
	return Fault{}
}

func (c *Chip) tear(f Fault) {
	c.PowerOff()
	if !f.Dead {
		return
	}
	var note changes
	note.put(cellOf(0, kindBench, noteDead), 1)
	if err := c.mem.commit(note); err == nil {
		c.mem.takePages()
	}
}

func (f Fault) contact() uint32 { return max(f.Contact, 1) }
