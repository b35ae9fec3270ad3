package cardsim

import (
	"encoding/binary"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/tlv"
)

const (
	selectByFile = 0x00
	selectByAID  = 0x04
	selectByPath = 0x08 // from the MF

	answerFCI = 0x00 // GlobalPlatform
	answerFCP = 0x04 // ETSI TS 102 221 table 11.2
	answerNo  = 0x0C

	tagFCI        = 0x6F
	tagFCP        = 0x62
	tagDFName     = 0x84
	tagProperties = 0xA5
	tagMaxData    = 0x9F65
)

// selectAny is SELECT: an application by its whole AID, a file by its identifier or its path from the MF. Without Le
// there is no answer data. A SELECT that fails leaves the selection as it was, but a secure channel is over in any case.
func (c *Chip) selectAny(cmd apdu.Command) ([]byte, apdu.SW) {
	isDomain := cmd.P1 == selectByAID && (len(cmd.Data) == 0 || c.domainOf(cmd.Data) != domNone)
	if one, found := c.selectable(cmd.Data); found && cmd.P1 == selectByAID {
		return c.selectLoaded(one, cmd)
	}
	switch t := c.telecom(); {
	case isDomain && !c.p.Options.NoDomain:
	case t != nil:
		return c.selectInFiles(t, cmd)
	case c.p.Options.SIM:
		return nil, apdu.SWFileNotFound // not even an MF
	}
	if cmd.P2 != answerFCI && cmd.P2 != answerFCP && cmd.P2 != answerNo {
		return nil, apdu.SWWrongP1P2
	}
	var answer []byte
	sw := apdu.SWWrongP1P2
	switch cmd.P1 {
	case selectByAID:
		answer, sw = c.selectApplication(cmd.Data)
	case selectByFile, selectByPath:
		answer, sw = c.selectFile(cmd.Data, cmd.P1 == selectByPath)
	}
	if !sw.OK() || cmd.Le == apdu.NoLe || cmd.P2 == answerNo {
		return nil, sw
	}
	return answer, sw
}

// selectable finds an application of the ISD, or of the profile in force.
func (c *Chip) selectable(aid []byte) (instanceEntry, bool) {
	if one, found := c.instance(aid); found {
		return one, true
	}
	d := c.profile()
	if d == domNone {
		return instanceEntry{}, false
	}
	return c.instanceOf(d, aid)
}

func (c *Chip) selectApplication(aid []byte) ([]byte, apdu.SW) {
	if string(aid) == aidUSIM {
		d := c.profile()
		if d == domNone {
			return nil, apdu.SWFileNotFound
		}
		c.v.app, c.v.sd, c.v.file = appUSIM, d, fileADF
		return c.fcp(), apdu.SWOK
	}
	d := domISD // without an AID it is the default application
	if len(aid) > 0 {
		d = c.domainOf(aid)
	}
	if d == domNone {
		return nil, apdu.SWFileNotFound
	}
	c.v.app, c.v.sd, c.v.file = appSD, d, noFile
	name, _ := c.mem.get(cellOf(d, kindAID, 0))
	properties := tlv.Encode(tagProperties, tlv.Encode(tagMaxData, []byte{apdu.MaxDataBytes}))
	return tlv.Encode(tagFCI, tlv.Encode(tagDFName, name), properties), apdu.SWOK
}

// selectLoaded is SELECT of an application of a load file, by its whole AID.
func (c *Chip) selectLoaded(one instanceEntry, cmd apdu.Command) ([]byte, apdu.SW) {
	if one.state < stateSelectable || one.state&stateLockedBit != 0 {
		return nil, apdu.SWFileNotFound
	}
	c.v.app, c.v.sd, c.v.file = appLoaded, domNone, noFile
	if cmd.Le == apdu.NoLe || cmd.P2 == answerNo {
		return nil, apdu.SWOK
	}
	return tlv.Encode(tagFCI, tlv.Encode(tagDFName, one.aid), tlv.Encode(tagProperties, tlv.Encode(tagMaxData, []byte{apdu.MaxDataBytes}))), apdu.SWOK
}

// selectFile walks file identifiers. What is reached is kept only when the whole way exists.
func (c *Chip) selectFile(path []byte, fromMF bool) ([]byte, apdu.SW) {
	if len(path) == 0 || len(path)%2 != 0 || !fromMF && len(path) != 2 {
		return nil, apdu.SWWrongLength
	}
	app, sd, file := c.v.app, c.v.sd, c.v.file
	if fromMF {
		file, app = fileMF, appNone
	}
	for ; len(path) > 0; path = path[2:] {
		id := fileID(binary.BigEndian.Uint16(path))
		d, ok := c.step(app, id)
		if !ok {
			return nil, apdu.SWFileNotFound
		}
		file = id
		switch id {
		case fileMF, fileICCID:
			app, sd = appNone, d
		case fileADF:
			app, sd = appUSIM, d
		}
	}
	c.v.app, c.v.sd, c.v.file = app, sd, file
	return c.fcp(), apdu.SWOK
}

// step says whether a file can be reached from an application, and in which profile it lies.
func (c *Chip) step(app application, id fileID) (domain, bool) {
	d := c.profile()
	switch id {
	case fileMF:
		return d, true
	case fileADF:
		return d, d != domNone
	case fileICCID:
		return d, app != appUSIM && c.fileExists(d, id)
	}
	return d, app == appUSIM && c.fileExists(d, id)
}

func (c *Chip) fileExists(d domain, id fileID) bool {
	for _, f := range profileFiles() {
		if f.id == id {
			return d != domNone && c.mem.has(cellOf(d, kindData, uint16(id)))
		}
	}
	return false
}

// fcp is the control parameters of what is selected (ETSI TS 102 221 §11.1.1.3).
func (c *Chip) fcp() []byte {
	const descriptor, lifeCycle, identifier, size = 0x82, 0x8A, 0x83, 0x80
	const dataDF, transparent, coding, activated = 0x78, 0x41, 0x21, 0x05
	id := binary.BigEndian.AppendUint16(nil, uint16(c.v.file))
	active := tlv.Encode(lifeCycle, []byte{activated})
	content, isFile := c.mem.get(cellOf(c.v.sd, kindData, uint16(c.v.file)))
	switch {
	case c.v.file == fileADF:
		return tlv.Encode(tagFCP, tlv.Encode(descriptor, []byte{dataDF, coding}), tlv.Encode(tagDFName, []byte(aidUSIM)), active)
	case !isFile || c.v.file == fileMF:
		return tlv.Encode(tagFCP, tlv.Encode(descriptor, []byte{dataDF, coding}), tlv.Encode(identifier, id), active)
	}
	return tlv.Encode(tagFCP, tlv.Encode(descriptor, []byte{transparent, coding}), tlv.Encode(identifier, id), active,
		tlv.Encode(size, []byte{0, byte(len(content))}))
}

// readBinary reads the selected file, or one by its short identifier. EF.ICCID is always readable, the others of the
// USIM under PIN1 once that is enabled.
func (c *Chip) readBinary(cmd apdu.Command) ([]byte, apdu.SW) {
	const bySFI = 0x80
	if len(cmd.Data) != 0 || cmd.Le == apdu.NoLe {
		return nil, apdu.SWWrongLength
	}
	file, offset := c.v.file, int(cmd.P1)<<8|int(cmd.P2)
	if cmd.P1&bySFI != 0 {
		file, offset = c.fileBySFI(cmd.P1&^bySFI), int(cmd.P2)
		if file == noFile {
			return nil, apdu.SWFileNotFound
		}
	}
	if !c.fileExists(c.v.sd, file) || c.v.sd != c.profile() {
		return nil, apdu.SWNoCurrentEF
	}
	if file != fileICCID && !c.pin1Satisfied() {
		return nil, apdu.SWSecurity
	}
	content, _ := c.mem.get(cellOf(c.v.sd, kindData, uint16(file)))
	if offset >= len(content) {
		return nil, apdu.SWOutsideEF
	}
	content = content[offset:]
	switch {
	case cmd.Le == apdu.MaxLe:
	case cmd.Le > len(content):
		return nil, apdu.SWWrongLe | apdu.SW(len(content))
	default:
		content = content[:cmd.Le]
	}
	c.v.file = file
	return content, apdu.SWOK
}

func (c *Chip) fileBySFI(sfi byte) fileID {
	for _, f := range profileFiles() {
		if sfi != 0 && f.sfi == sfi && (f.id == fileICCID) == (c.v.app == appNone) {
			if c.v.app == appNone {
				c.v.sd = c.profile()
			}
			return f.id
		}
	}
	return noFile
}
