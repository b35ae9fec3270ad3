package cardsim

import (
	"github.com/persoline/persoline/lineside/cardsim/filesys"
	"github.com/persoline/persoline/perso/apdu"
)

// telecom is the file system of the profile in force as it is worked with: read from the cells, and forgotten with the
// power. A chip whose profile has only the files of its data groupings has none.
type telecom struct {
	d        domain
	sys      *filesys.System
	at       filesys.Selection
	verified map[uint16]bool // codes of a package, by their cells
}

// telecom gives the file system of the profile in force; nil without one.
func (c *Chip) telecom() *telecom {
	d := c.profile()
	if t := c.v.tele; t != nil && t.d == d {
		return t
	}
	c.v.tele = nil
	if d == domNone || !c.hasFiles(d) {
		return nil
	}
	sys := filesys.New()
	if sys.Apply(c.imageOf(d)) != nil {
		return nil // New has read the same cells without fault
	}
	c.v.tele = &telecom{d: d, sys: sys, verified: map[uint16]bool{}}
	return c.v.tele
}

// hasFiles says whether a profile has a file system: then it has an MF, whose number is 0.
func (c *Chip) hasFiles(d domain) bool { return c.mem.has(cellOf(d, kindFile, 0)) }

const pieceBits = 7 // a piece's number in the name of its cell; the file's is before it

// imageOf reads a file system from its cells: headers first, as their kind comes first.
func (c *Chip) imageOf(d domain) (all filesys.Changes) {
	for _, e := range c.mem.span(cellOf(d, kindFile, 0), cellOf(d, kindPiece, 0)) {
		all = append(all, filesys.Change{File: int(e.at.number()), Chunk: filesys.Header, Value: e.value})
	}
	for _, e := range c.mem.span(cellOf(d, kindPiece, 0), cellOf(d, kindPiece+1, 0)) {
		n := int(e.at.number())
		all = append(all, filesys.Change{File: n >> pieceBits, Chunk: n & (1<<pieceBits - 1), Value: e.value})
	}
	return all
}

// checkImages refuses a journal whose files are none.
func (c *Chip) checkImages() error {
	for d := domISDP; d < domEnd; d++ {
		if c.hasFiles(d) {
			if err := filesys.New().Apply(c.imageOf(d)); err != nil {
				return err
			}
		}
	}
	return nil
}

// files turns what a command does to files into changes of cells.
func (c *changes) files(d domain, all filesys.Changes) {
	for _, one := range all {
		at := cellOf(d, kindFile, uint16(one.File))
		if one.Chunk != filesys.Header {
			at = cellOf(d, kindPiece, uint16(one.File<<pieceBits|one.Chunk))
		}
		if one.Gone {
			c.drop(at)
		} else {
			c.put(at, one.Value...)
		}
	}
}

// Instructions of files beside those that every chip has.
const (
	insIncrease     = 0x32
	insSearchRecord = 0xA2
	insReadRecord   = 0xB2
	insResizeFile   = 0xD4
	insUpdateBinary = 0xD6
	insUpdateRecord = 0xDC
	insCreateFile   = 0xE0
	insDeleteFile   = 0xE4
	insStatus       = 0xF2 // STATUS
)

// fileClass is the class byte in which a command on files is known (ETSI TS 102 221 §10.1.1, TS 102 222 §6.2).
func fileClass(ins byte) byte {
	switch ins {
	case insIncrease, insResizeFile, insStatus:
		return claGP
	}
	return claISO
}

// runFiles does a command on the profile's files, its codes or its applications.
func (c *Chip) runFiles(t *telecom, cmd apdu.Command) ([]byte, apdu.SW) {
	if cmd.CLA != fileClass(cmd.INS) {
		return nil, apdu.SWUnknownCLA
	}
	switch cmd.INS {
	case insVerify, insChangePIN, insDisablePIN, insEnablePIN, insUnblockPIN:
		return nil, c.pinCommand(cmd)
	case insAuth:
		return c.authenticate(cmd)
	}
	next, answer, all, sw := t.do(cmd, codes{c})
	if !sw.OK() && !sw.Warning() {
		return nil, sw
	}
	if len(all) > 0 {
		var cells changes
		cells.files(t.d, all)
		if sw := c.commit(cells); !sw.OK() {
			return nil, sw
		}
		if cmd.INS == insDeleteFile {
			c.forgetFiles()
		}
		if err := t.sys.Apply(all); err != nil {
			c.v.tele = nil // the cells say what is true
			return answer, sw
		}
	}
	if t.at = next; cmd.Le == apdu.NoLe {
		return nil, sw
	}
	return answer, sw
}

// do asks the file system what a command does.
func (t *telecom) do(cmd apdu.Command, keys filesys.Keys) (next filesys.Selection, answer []byte, all filesys.Changes, sw apdu.SW) {
	next, s := t.at, t.sys
	switch cmd.INS {
	case insReadBinary:
		next, answer, sw = s.ReadBinary(t.at, cmd, keys)
	case insReadRecord:
		next, answer, sw = s.ReadRecord(t.at, cmd, keys)
	case insSearchRecord:
		next, answer, sw = s.SearchRecord(t.at, cmd, keys)
	case insUpdateBinary:
		next, all, sw = s.UpdateBinary(t.at, cmd, keys)
	case insUpdateRecord:
		next, all, sw = s.UpdateRecord(t.at, cmd, keys)
	case insIncrease:
		next, answer, all, sw = s.Increase(t.at, cmd, keys)
	case insCreateFile:
		next, all, sw = s.CreateFile(t.at, cmd, keys)
	case insDeleteFile:
		next, all, sw = s.DeleteFile(t.at, cmd, keys)
	case insResizeFile:
		all, sw = s.Resize(t.at, cmd, keys)
	case insStatus:
		answer, sw = s.Status(t.at, cmd, keys)
	case filesys.InsActivate, filesys.InsDeactivate, filesys.InsTerminateDF, filesys.InsTerminateEF:
		all, sw = s.LifeCycle(t.at, cmd, keys)
	default:
		sw = apdu.SWUnknownINS
	}
	return next, answer, all, sw
}

// selectInFiles is SELECT in the profile's file system.
func (c *Chip) selectInFiles(t *telecom, cmd apdu.Command) ([]byte, apdu.SW) {
	next, answer, sw := t.sys.Select(t.at, cmd, codes{c})
	if !sw.OK() && !sw.Warning() {
		return nil, sw
	}
	c.v.app, c.v.sd, c.v.file, t.at = appNone, t.d, noFile, next
	if cmd.Le == apdu.NoLe {
		return nil, sw
	}
	return answer, sw
}

// createMF is CREATE FILE on a profile that has no file at all: the way of a basic SIM, whose files come one by one. Anybody
// may begin as long as the card is not SECURED; then there are rules.
func (c *Chip) createMF(cmd apdu.Command) ([]byte, apdu.SW) {
	d := c.profile()
	switch {
	case d == domNone || c.state(domISD) >= stateSecured || c.hasGroupedFile(d):
		return nil, apdu.SWConditions
	case !c.mayCreate():
		return nil, apdu.SWSecurity
	}
	t := &telecom{d: d, sys: filesys.New(), verified: map[uint16]bool{}}
	_, _, all, sw := t.do(cmd, codes{c})
	if !sw.OK() {
		return nil, sw
	}
	var cells changes
	cells.files(d, all)
	if sw := c.commit(cells); !sw.OK() {
		return nil, sw
	}
	c.v.tele, c.v.app, c.v.sd, c.v.file = nil, appNone, d, noFile // read from its cells by the next command
	return nil, apdu.SWOK
}

// hasGroupedFile says whether a profile has files of data groupings.
func (c *Chip) hasGroupedFile(d domain) bool {
	for _, f := range profileFiles() {
		if c.mem.has(cellOf(d, kindData, uint16(f.id))) {
			return true
		}
	}
	return false
}

// codes answers the file system for the PINs of the profile in force.
type codes struct{ c *Chip }

// Creator says whether who gives commands now may make files.
func (k codes) Creator() bool { return k.c.mayCreate() }

// Satisfied says that a code was verified, or is not asked for. The transport code is no one's right.
func (k codes) Satisfied(dir int, ref byte) bool {
	p, ok := k.c.pinAt(dir, ref)
	return ok && ref != refTransport && (!p.tries.enabled || p.verified())
}

// Enabled says that a code is asked for.
func (k codes) Enabled(dir int, ref byte) bool {
	p, ok := k.c.pinAt(dir, ref)
	return ok && p.tries.enabled
}
