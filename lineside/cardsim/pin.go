package cardsim

import (
	"crypto/subtle"

	"github.com/persoline/persoline/perso/apdu"
)

const (
	refPIN1 = 0x01
	refPIN2 = 0x81
	refADM1 = 0x0A
	pinRefs = 4

	pinBytes     = 8
	minPINDigits = 4
	triesBytes   = 5
)

// tries is what a PIN reference remembers beside its value.
type tries struct {
	pin, pinMost, puk, pukMost byte
	enabled                    bool
}

func (t tries) bytes() []byte {
	b := []byte{t.pin, t.pinMost, t.puk, t.pukMost, 0}
	if t.enabled {
		b[triesBytes-1] = 1
	}
	return b
}

func refIndex(ref byte) (int, bool) {
	switch ref {
	case refPIN1:
		return 0, true
	case refPIN2:
		return 1, true
	case refADM1:
		return 2, true
	case refTransport:
		return 3, true
	}
	return 0, false
}

// pin is one PIN in work.
type pin struct {
	chip  *Chip
	ref   byte
	index int
	block []byte // PIN and PUK
	tries tries

	code       cell // of a package's code; 0 for those of the data groupings
	attributes byte
	puk        byte // key reference
}

// pinCommand is VERIFY, CHANGE, DISABLE, ENABLE and UNBLOCK PIN (ETSI TS 102 221 §11.1.9 to §11.1.13).
func (c *Chip) pinCommand(cmd apdu.Command) apdu.SW {
	p, ok := c.pinAt(c.directory(), cmd.P2)
	switch {
	case cmd.P1 != 0:
		return apdu.SWWrongP1P2
	case !ok:
		return apdu.SWRefDataNotFound
	case len(cmd.Data) == 0 && cmd.INS == insVerify:
		return left(p.tries.pin)
	case len(cmd.Data) == 0 && cmd.INS == insUnblockPIN:
		return left(p.tries.puk)
	}
	old, fresh, sw := p.arguments(cmd)
	if !sw.OK() {
		return sw
	}
	if cmd.INS == insUnblockPIN {
		return p.unblock(old, fresh)
	}
	if sw := p.try(old); !sw.OK() {
		return sw
	}
	switch cmd.INS {
	case insChangePIN:
		copy(p.block, fresh)
	case insEnablePIN:
		p.tries.enabled = true
	case insDisablePIN:
		p.tries.enabled = false
	}
	p.tries.pin = p.tries.pinMost
	return p.save(true)
}

// directory is the number of the current DF in the profile's file system; 0 without one.
func (c *Chip) directory() int {
	if t := c.telecom(); t != nil {
		return t.sys.Directory(t.at)
	}
	return 0
}

// verified says whether the PIN was right since power came.
func (p *pin) verified() bool {
	if p.code == 0 {
		return p.chip.v.verified[p.index]
	}
	t := p.chip.telecom()
	return t != nil && t.verified[p.code.number()]
}

func (p *pin) setVerified(right bool) {
	if p.code == 0 {
		p.chip.v.verified[p.index] = right
	} else if t := p.chip.telecom(); t != nil {
		t.verified[p.code.number()] = right
	}
}

// mayBeDisabled and mayBeChanged: those of the data groupings as usual, those of a package as it says.
func (p *pin) mayBeDisabled() bool {
	if p.code == 0 {
		return p.ref == refPIN1
	}
	return p.attributes&codeDisableable != 0
}

func (p *pin) mayBeChanged() bool { return p.code == 0 || p.attributes&codeChangeable != 0 }

// pin finds a PIN of the profile in force.
func (c *Chip) pin(ref byte) (*pin, bool) {
	index, ok := refIndex(ref)
	d := c.profile()
	if !ok || d == domNone {
		return nil, false
	}
	block, ok := c.mem.get(cellOf(d, kindPIN, uint16(ref)))
	t, hasTries := c.mem.get(cellOf(d, kindTries, uint16(ref)))
	if !ok || !hasTries {
		return nil, false
	}
	enabled := t[4] != 0 && (ref != refTransport || !c.finished())
	return &pin{
		chip: c, ref: ref, index: index, block: append([]byte(nil), block...),
		tries: tries{pin: t[0], pinMost: t[1], puk: t[2], pukMost: t[3], enabled: enabled},
	}, true
}

// arguments checks lengths, the form of a new PIN, and whether the command makes sense for the state of the PIN.
func (p *pin) arguments(cmd apdu.Command) (old, fresh []byte, sw apdu.SW) {
	two := cmd.INS == insChangePIN || cmd.INS == insUnblockPIN
	if want := pinBytes; len(cmd.Data) != want && !two || two && len(cmd.Data) != 2*want {
		return nil, nil, apdu.SWWrongLength
	}
	old, fresh = cmd.Data[:pinBytes], cmd.Data[pinBytes:]
	switch {
	case cmd.INS == insUnblockPIN && p.tries.pukMost == 0:
		return nil, nil, apdu.SWRefDataNotFound
	case two && !isADM(p.ref) && !pinForm(fresh, minPINDigits):
		return nil, nil, apdu.SWWrongData
	case (cmd.INS == insEnablePIN || cmd.INS == insDisablePIN) && (!p.mayBeDisabled() || p.tries.enabled == (cmd.INS == insEnablePIN)),
		cmd.INS == insChangePIN && !p.mayBeChanged():
		return nil, nil, apdu.SWConditions
	case (cmd.INS == insVerify || cmd.INS == insChangePIN) && !p.tries.enabled:
		return nil, nil, apdu.SWReferenceUnusable
	}
	return old, fresh, apdu.SWOK
}

// try compares the PIN. A wrong one costs a try before it is told.
func (p *pin) try(value []byte) apdu.SW {
	if p.tries.pin == 0 {
		return apdu.SWBlocked
	}
	if subtle.ConstantTimeCompare(p.block[:pinBytes], value) == 1 {
		return apdu.SWOK
	}
	p.tries.pin--
	if sw := p.save(false); !sw.OK() {
		return sw
	}
	return apdu.SWTriesLeft | apdu.SW(p.tries.pin)
}

// unblock compares the PUK, and with the right one sets a new PIN and enables it.
func (p *pin) unblock(puk, fresh []byte) apdu.SW {
	if p.tries.puk == 0 {
		return apdu.SWBlocked
	}
	if subtle.ConstantTimeCompare(p.block[pinBytes:], puk) != 1 {
		p.tries.puk--
		if sw := p.save(false); !sw.OK() {
			return sw
		}
		return apdu.SWTriesLeft | apdu.SW(p.tries.puk)
	}
	copy(p.block, fresh)
	p.tries = tries{pin: p.tries.pinMost, pinMost: p.tries.pinMost, puk: p.tries.pukMost, pukMost: p.tries.pukMost, enabled: true}
	return p.save(true)
}

func (p *pin) save(verified bool) apdu.SW {
	d := p.chip.profile()
	var all changes
	if p.code != 0 {
		p.saveCode(&all, d)
	} else {
		all.put(cellOf(d, kindPIN, uint16(p.ref)), p.block...)
		all.put(cellOf(d, kindTries, uint16(p.ref)), p.tries.bytes()...)
	}
	sw := p.chip.commit(all)
	p.setVerified(verified && sw.OK())
	return sw
}

func left(n byte) apdu.SW {
	if n == 0 {
		return apdu.SWBlocked
	}
	return apdu.SWTriesLeft | apdu.SW(n)
}

// pin1Satisfied says whether what PIN1 guards is open.
func (c *Chip) pin1Satisfied() bool {
	p, ok := c.pinAt(c.directory(), refPIN1)
	return !ok || !p.tries.enabled || p.verified()
}

// pinForm says whether b is ASCII digits, at least so many, filled up with FF (ETSI TS 102 221 §9.5.1).
func pinForm(b []byte, digits int) bool {
	n := 0
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	for _, fill := range b[n:] {
		if fill != 0xFF {
			return false
		}
	}
	return n >= digits
}
