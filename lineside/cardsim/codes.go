package cardsim

import "encoding/binary"

// Codes of a profile package: PINs with their attributes, PUKs that several PINs may share, and directories that share the
// local codes of another (SAIP).
const (
	codeBytes  = pinBytes + 4 // value, tries left, most, attributes, reference of the PUK (0: none)
	pukBytes   = pinBytes + 2 // value, tries left, most
	shareBytes = 2            // number of the directory whose codes they are

	codeEnabled     = 0x01
	codeChangeable  = 0x02
	codeDisableable = 0x04

	codeBits = 5 // a code's place in the name of its cell; the directory's number is before it
)

// codeRanges are the key references of ETSI TS 102 221 table 9.3, in the order of their places.
func codeRanges() [4][2]byte {
	return [4][2]byte{{0x01, 0x08}, {0x0A, 0x0E}, {0x81, 0x88}, {0x8A, 0x8E}}
}

// codeNumber names the cell of a code. Global codes are those of directory 0.
func codeNumber(dir int, ref byte) (number uint16, ok bool) {
	place := 0
	for _, r := range codeRanges() {
		if ref >= r[0] && ref <= r[1] {
			if !isLocal(ref) {
				dir = 0
			}
			return uint16(dir<<codeBits | place + int(ref-r[0])), true
		}
		place += int(r[1]-r[0]) + 1
	}
	return 0, false
}

func isLocal(ref byte) bool { return ref >= 0x81 && ref <= 0x88 }

func isADM(ref byte) bool { return ref >= 0x0A && ref <= 0x0E || ref >= 0x8A && ref <= 0x8E }

// coded says whether a profile's codes came with a package.
func (c *Chip) coded(d domain) bool {
	return len(c.mem.span(cellOf(d, kindCode, 0), cellOf(d, kindCode+1, 0))) > 0
}

// pinAt finds the code that a key reference means in a directory: a local one is the directory's own, or the next one up.
func (c *Chip) pinAt(dir int, ref byte) (*pin, bool) {
	d := c.profile()
	t := c.telecom()
	if t == nil || !c.coded(d) {
		return c.pin(ref)
	}
	for at := dir; ; at = t.sys.Parent(at) {
		if shared, ok := c.mem.get(cellOf(d, kindShare, uint16(at))); ok {
			if p, ok := c.code(d, int(binary.BigEndian.Uint16(shared)), ref); ok {
				return p, true
			}
		}
		if p, ok := c.code(d, at, ref); ok {
			return p, true
		}
		if at == 0 {
			return nil, false
		}
	}
}

// code reads a code of a package with its PUK.
func (c *Chip) code(d domain, dir int, ref byte) (*pin, bool) {
	number, ok := codeNumber(dir, ref)
	if !ok {
		return nil, false
	}
	at := cellOf(d, kindCode, number)
	v, ok := c.mem.get(at)
	if !ok {
		return nil, false
	}
	p := &pin{chip: c, ref: ref, code: at, block: make([]byte, pinSetBytes), attributes: v[pinBytes+2], puk: v[pinBytes+3]}
	copy(p.block, v[:pinBytes])
	p.tries = tries{pin: v[pinBytes], pinMost: v[pinBytes+1], enabled: p.attributes&codeEnabled != 0}
	if puk, ok := c.mem.get(cellOf(d, kindPUK, uint16(p.puk))); ok && p.puk != 0 {
		copy(p.block[pinBytes:], puk[:pinBytes])
		p.tries.puk, p.tries.pukMost = puk[pinBytes], puk[pinBytes+1]
	}
	return p, true
}

// saveCode is what remembers a code of a package.
func (p *pin) saveCode(all *changes, d domain) {
	attributes := p.attributes &^ codeEnabled
	if p.tries.enabled {
		attributes |= codeEnabled
	}
	all.put(p.code, append(append([]byte(nil), p.block[:pinBytes]...), p.tries.pin, p.tries.pinMost, attributes, p.puk)...)
	if p.tries.pukMost != 0 {
		all.put(cellOf(d, kindPUK, uint16(p.puk)), append(append([]byte(nil), p.block[pinBytes:]...), p.tries.puk, p.tries.pukMost)...)
	}
}
