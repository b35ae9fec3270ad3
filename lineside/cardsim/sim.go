package cardsim

import (
	"bytes"

	"github.com/persoline/persoline/lineside/cardsim/filesys"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/tlv"
)

// A SIM of one profile. It leaves its maker without any file, and is written either through the channel of its ISD or, where it has
// no security domain, by whoever verified the maker's transport code. Its files are made by CREATE FILE; that the MF is activated
// is the end of it.

const (
	// refTransport is the key reference of the maker's transport code.
	refTransport   = 0x0E
	transportTries = 10

	dgiOTA       = 0x8F23
	otaHeadBytes = 3 // version, identifier, type
	otaBytes     = otaHeadBytes + aesKeyBytes + kcvBytes
)

// simImage is the memory of a SIM without a security domain that was never written, or that another has finished.
func (p *Personality) simImage() (c changes) {
	c.put(cellOf(domISD, kindState, 0), stateOPReady)
	code := p.Keys.TransportCode()
	c.put(cellOf(domSIM, kindPIN, refTransport), append(code[:], bytes.Repeat([]byte{0xFF}, pinBytes)...)...)
	c.put(cellOf(domSIM, kindTries, refTransport), tries{pin: transportTries, pinMost: transportTries, enabled: true}.bytes()...)
	if p.Foreign == nil {
		return c
	}
	c.put(cellOf(domISD, kindData, tagStamp), p.Foreign.Stamp[:]...)
	mf, err := filesys.Image([]filesys.File{{Kind: filesys.DF, ID: filesys.MF, State: filesys.Activated, ARR: 0x2F06, Rule: 1}})
	if err == nil { // one file, known to be good
		c.files(domSIM, mf)
	}
	return c
}

// finished says whether the files' own rules hold.
func (c *Chip) finished() bool {
	t := c.telecom()
	return t != nil && t.sys.Operational()
}

// mayCreate says whether who gives the command in work may make and fill what has no rules yet. Of the profile of an eUICC
// anybody may, until the card is SECURED.
func (c *Chip) mayCreate() bool {
	index, _ := refIndex(refTransport)
	switch {
	case !c.p.Options.SIM:
		return true
	case c.p.Options.NoDomain:
		return c.v.verified[index] && !c.finished()
	}
	return c.v.writes
}

// filesInChannel does a command of the file system that came inside the channel of the ISD. The files have a selection of their
// own, so the ISD stays selected for the commands of GlobalPlatform.
func (c *Chip) filesInChannel(cmd apdu.Command) ([]byte, apdu.SW) {
	if !c.p.Options.SIM {
		return nil, apdu.SWUnknownCLA
	}
	app, sd, file := c.v.app, c.v.sd, c.v.file
	c.v.app = appNone
	data, sw := c.runISO(cmd)
	c.v.app, c.v.sd, c.v.file = app, sd, file
	return data, sw
}

// decrypted gives a value as it is: from under the channel's DEK, or where there is no channel as it came.
func (c *Chip) decrypted(value []byte) ([]byte, error) {
	if c.p.Options.NoDomain {
		return bytes.Clone(value), nil
	}
	return c.v.channel.DecryptDEK(value)
}

// putData is PUT DATA (ISO/IEC 7816-4 §11.4.5) under the transport code, until the SIM is finished.
func (c *Chip) putData(cmd apdu.Command) apdu.SW {
	switch {
	case c.finished():
		return apdu.SWConditions
	case !c.mayCreate():
		return apdu.SWSecurity
	case len(cmd.Data) == 0:
		return apdu.SWWrongLength
	}
	var all changes
	sw := apdu.SWRefDataNotFound
	switch tag := uint16(cmd.P1)<<8 | uint16(cmd.P2); tag {
	case tagStamp:
		if sw = c.checkObject(domISD, tlv.TLV{Tag: tagStamp, Value: cmd.Data}); sw.OK() {
			all.put(cellOf(domISD, kindData, tagStamp), cmd.Data...)
		}
	case dgiAKA, dgiPIN, dgiADM:
		sw = c.profileGrouping(&all, domSIM, tlv.DGI{ID: tag, Value: cmd.Data})
	case dgiOTA:
		sw = c.otaKey(&all, cmd.Data)
	}
	if !sw.OK() {
		return sw
	}
	return c.commit(all)
}

// otaKey takes a key of an SCP80 set: version, identifier, type, key, check value.
func (c *Chip) otaKey(all *changes, value []byte) apdu.SW {
	if len(value) != otaBytes || !versionFits(domISD, value[0]) || value[1] < 1 || value[1] > keysOfSet || value[2] != keyTypeAES {
		return apdu.SWWrongData
	}
	key, sw := c.openKey(value[otaHeadBytes:][:aesKeyBytes], value[otaHeadBytes+aesKeyBytes:])
	if !sw.OK() {
		return sw
	}
	defer clear(key)
	all.put(cellOf(domISD, kindKey, uint16(value[0])<<8|uint16(value[1])), append([]byte{keyTypeAES}, key...)...)
	return apdu.SWOK
}

// simData is GET DATA of a SIM without a security domain. What tells something of a secret wants the transport code or ADM1.
func (c *Chip) simData(cmd apdu.Command) ([]byte, apdu.SW) {
	if len(cmd.Data) != 0 {
		return nil, apdu.SWWrongLength
	}
	tag := uint32(cmd.P1)<<8 | uint32(cmd.P2)
	switch tag {
	case tagCPLC, tagKeyInfo, tagStamp:
	case tagKeyChecks, tagPINCheck:
		if adm, _ := refIndex(refADM1); !c.mayCreate() && !c.v.verified[adm] {
			return nil, apdu.SWSecurity
		}
	default:
		return nil, apdu.SWRefDataNotFound
	}
	value, ok := c.object(domISD, tag)
	if !ok {
		return nil, apdu.SWRefDataNotFound
	}
	return fit(tlv.Encode(tag, value), cmd.Le)
}
