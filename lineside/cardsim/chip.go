package cardsim

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// Chip is one virtual chip. It prints as "[virtual chip]".
type Chip struct {
	p    Personality
	mem  store
	rand io.Reader

	powered bool
	faulty  bool // the fault plan is heeded
	apdus   uint32
	ecc     int // point multiplications of the command in work
	v       volatile
}

// volatile is what the chip forgets when it loses power.
type volatile struct {
	app      application
	sd       domain // the security domain selected, or that of the profile whose USIM is selected
	file     fileID
	target   domain // of STORE DATA and GENERATE; domNone: none
	block    byte   // number of the next block of a STORE DATA sequence
	form     byte   // what the blocks carry, formDGI or formTLV
	verified [pinRefs]bool
	here     byte          // logical channel in work
	seats    *seats        // nil: the basic channel alone
	channel  secureChannel // nil: none
	pending  []byte        // blocks of a STORE DATA sequence
	load     *loading      // nil: no package on its way
	code     *receiving    // nil: no load file on its way
	chain    *chain        // nil: no command in pieces on its way
	list     *listing      // nil: GET STATUS has told all
	tele     *telecom      // read when it is asked for
	writes   bool          // the command in work came in a channel that may write
}

type application byte

const (
	appNone application = iota // the file system of the UICC, at the MF
	appSD
	appUSIM
	appLoaded // of a load file: it can be selected, and nothing runs
)

// New makes a chip, or goes on with one: the personality and its NVM say all. Random is read for key pairs.
func New(p Personality, nvm NVM, random io.Reader) (*Chip, error) {
	if err := errors.Join(p.Options.Validate(), p.Options.checkKeys(p.Keys)); err != nil {
		return nil, fmt.Errorf("making virtual chip: %w", err)
	}
	c := &Chip{p: p, mem: store{nvm: nvm, cells: make([]entry, 0, usualCells)}, rand: random, faulty: true}
	for _, change := range p.image() {
		c.mem.apply(change)
	}
	err := nvm.Replay(func(record []byte) error {
		all, err := decodeRecord(record)
		for _, change := range all {
			c.mem.apply(change)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("replaying virtual chip: %w", err)
	}
	if err := c.checkImages(); err != nil {
		return nil, fmt.Errorf("reading the files of a virtual chip: %w", err)
	}
	return c, nil
}

// OnTestReader makes the chip forget its fault plan, but not that it is dead: a test reader is kept clean and presses
// harder than a production head.
func (c *Chip) OnTestReader() { c.faulty = false }

// PowerOn resets the chip and gives its ATR, or nothing when it is mute or contact is bad. A chip that is on is reset.
func (c *Chip) PowerOn() (atr []byte) {
	c.PowerOff()
	if !c.answersReset() {
		return nil
	}
	c.powered = true
	c.v = volatile{app: appNone, target: domNone, file: fileMF}
	return append([]byte(nil), c.p.ATR...)
}

// PowerOff takes the power away: session, selection, unfinished blocks and verified PINs are gone.
func (c *Chip) PowerOff() {
	c.endChannel()
	c.powered, c.apdus, c.v = false, 0, volatile{}
}

// Powered reports whether the chip would answer.
func (c *Chip) Powered() bool { return c.powered }

// Process takes a command APDU and gives the answer, or nothing when the chip has lost power, before, during or after
// the command. The cost holds also for an answer that was lost.
func (c *Chip) Process(apdu []byte) (resp []byte, cost Cost) {
	if !c.powered {
		return nil, Cost{}
	}
	c.apdus++
	fault := c.faultNow()
	cost.In = len(apdu)
	switch fault.Kind {
	case FaultTearBefore:
		c.tear(fault)
		return nil, cost
	case FaultStatus:
		resp = fault.SW.Append(nil)
	case FaultTearInside:
		c.mem.tearAt = 1 + int(fault.Bit)
		resp = c.execute(apdu)
		c.mem.tearAt = 0
	default:
		resp = c.execute(apdu)
	}
	cost.Out, cost.Pages, cost.ECC = len(resp), c.mem.takePages(), c.ecc
	c.ecc = 0
	switch fault.Kind {
	case FaultTearAfter, FaultTearInside:
		c.tear(fault)
		return nil, cost
	case FaultFlip:
		bit := int(fault.Bit) % (8 * len(resp))
		resp[bit/8] ^= 0x80 >> (bit % 8)
	}
	return resp, cost
}

// Digest names what the memory holds: life cycles, keys, codes, files. Counters are not in it, nor a key pair that the chip made
// itself and what was certified of it: two chips that were given the same have the same digest, however often they were
// contacted meanwhile.
func (c *Chip) Digest() [sha256.Size]byte {
	var all changes
	for _, e := range c.mem.cells {
		switch e.at.kind() {
		case kindBench, kindSeq, kindSQN, kindPair:
		default:
			if e.at != cellOf(domECASD, kindData, tagCertificate) {
				all.put(e.at, e.value...)
			}
		}
	}
	record := encodeRecord(all)
	defer clear(record)
	return sha256.Sum256(record)
}

// Format keeps the keys out of every fmt verb.
func (Chip) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[virtual chip]") }

func (c *Chip) endChannel() {
	if c.v.channel != nil {
		c.v.channel.Wipe()
	}
	c.v.channel, c.v.target = nil, domNone
	c.dropPending()
	c.endLoad()
	c.v.code, c.v.list = nil, nil
}

func (c *Chip) dropPending() {
	clear(c.v.pending)
	c.v.pending, c.v.block, c.v.form = nil, 0, formDGI
}
