package cardsim

import (
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/scp"
)

const (
	claISO     = 0x00
	claGP      = 0x80
	claSM      = 0x04 // secure messaging in GlobalPlatform format
	claNumber  = 0x03 // logical channel
	claChain   = 0x10 // more blocks of this command follow
	claFurther = 0x40 // logical channels above 3: this chip has none

	insVerify     = 0x20
	insChangePIN  = 0x24
	insDisablePIN = 0x26
	insEnablePIN  = 0x28
	insUnblockPIN = 0x2C
	insManage     = 0x70
	insGenerate   = 0x46
	insInitUpdate = 0x50
	insExtAuth    = 0x82
	insAuth       = 0x88
	insSelect     = 0xA4
	insPutData    = 0xDA
	insReadBinary = 0xB0
	insGetData    = 0xCA
	insPutKey     = 0xD8
	insStoreData  = 0xE2
	insDelete     = 0xE4
	insInstall    = 0xE6
	insLoad       = 0xE8
	insSetStatus  = 0xF0
	insGetStatus  = 0xF2
)

// execute does one command: it settles what it means for the secure channel, and opens and closes its wrapping.
func (c *Chip) execute(raw []byte) []byte {
	cmd, err := apdu.Parse(raw)
	switch {
	case err != nil:
		c.endChannel()
		return apdu.SWWrongLength.Append(nil)
	case cmd.CLA&claFurther != 0 || !c.hasChannel(cmd.CLA&claNumber):
		c.endChannel()
		return apdu.SWChannelUnsupported.Append(nil)
	case cmd.CLA&claChain != 0 && cmd.CLA&^(claGP|claChain|claSM|claNumber) == 0:
		return c.chained(cmd).Append(nil)
	}
	cmd = c.whole(cmd)
	switch {
	case cmd.CLA&claNumber != 0:
		data, sw := c.onChannel(cmd.CLA&claNumber, cmd)
		return sw.Append(data)
	case cmd.CLA == claISO && cmd.INS == insManage && c.p.Options.Channels != 0:
		data, sw := c.manageChannel(cmd) // it leaves the secure channel alone
		return sw.Append(data)
	case cmd.CLA == claGP|claSM && cmd.INS == insExtAuth:
		return c.externalAuthenticate(cmd).Append(nil)
	case cmd.CLA == claISO && cmd.INS == insSelect, cmd.CLA == claGP && cmd.INS == insInitUpdate:
		c.endChannel() // both begin anew
	case c.v.channel != nil && c.v.channel.Open():
		return c.secured(cmd)
	case cmd.CLA&claSM != 0:
		return apdu.SWSMUnsupported.Append(nil)
	}
	if c.v.channel != nil && !c.v.channel.Open() {
		c.endChannel() // only EXTERNAL AUTHENTICATE may follow INITIALIZE UPDATE
	}
	data, sw := c.run(cmd, scp.LevelNone, false)
	return sw.Append(data)
}

func (c *Chip) secured(cmd apdu.Command) []byte {
	ch := c.v.channel
	plain, err := ch.Unwrap(cmd)
	if err != nil {
		c.endChannel()
		return apdu.SWSecurity.Append(nil)
	}
	c.v.writes = c.p.Options.mayWrite(ch.Level())
	data, sw := c.run(plain, ch.Level(), true)
	c.v.writes = false
	if len(data) > c.p.Options.room(ch.Level()) {
		data, sw = nil, apdu.SWWrongData // only reads of more than fits come here, and they change nothing
	}
	return ch.Wrap(data, sw)
}

// run does one command that has no wrapping any more.
func (c *Chip) run(cmd apdu.Command, level scp.Level, inChannel bool) ([]byte, apdu.SW) {
	if cmd.INS != insStoreData {
		c.dropPending()
		c.endLoad()
	}
	if cmd.INS != insLoad {
		c.v.code = nil
	}
	if !c.alive(cmd) {
		return nil, apdu.SWConditions
	}
	switch cmd.CLA {
	case claGP:
		return c.runGP(cmd, level, inChannel)
	case claISO:
		if inChannel {
			return c.filesInChannel(cmd)
		}
		return c.runISO(cmd)
	}
	return nil, apdu.SWUnknownCLA
}

// alive says what a locked or terminated card still does (Card Specification §5.1.1).
func (c *Chip) alive(cmd apdu.Command) bool {
	switch c.state(domISD) {
	case stateTerminated:
		return cmd.INS == insSelect || cmd.INS == insGetData
	case stateLocked:
		switch cmd.INS {
		case insSelect, insGetData, insInitUpdate, insGetStatus, insSetStatus:
			return true
		}
		return false
	}
	return true
}

// runGP does a command of a security domain. What changes the chip needs the whole of the channel's protection.
func (c *Chip) runGP(cmd apdu.Command, level scp.Level, inChannel bool) ([]byte, apdu.SW) {
	if c.v.app != appSD {
		if c.p.Options.NoDomain && cmd.INS == insGetData {
			return c.simData(cmd)
		}
		if t := c.telecom(); t != nil && !inChannel && c.v.app != appLoaded && fileClass(cmd.INS) == claGP {
			return c.runFiles(t, cmd)
		}
		return nil, apdu.SWUnknownINS
	}
	switch cmd.INS {
	case insGetData:
		return c.getData(cmd)
	case insInitUpdate:
		if inChannel || c.v.here != 0 {
			return nil, apdu.SWConditions // wrapped: no session begins inside another; and it is the basic channel's alone
		}
		return c.initializeUpdate(cmd)
	case insGetStatus:
		if !inChannel {
			return nil, apdu.SWSecurity
		}
		return c.getStatus(cmd)
	}
	var do func(apdu.Command) ([]byte, apdu.SW)
	switch cmd.INS {
	case insInstall:
		do = c.install
	case insLoad:
		do = c.loadBlock
	case insStoreData:
		do = c.storeData
	case insGenerate:
		do = c.generate
	case insPutKey:
		do = c.putKey
	case insSetStatus:
		do = c.setStatus
	case insDelete:
		do = c.deleteObject
	default:
		return nil, apdu.SWUnknownINS
	}
	if !inChannel || !c.p.Options.mayWrite(level) {
		return nil, apdu.SWSecurity
	}
	return do(cmd)
}

// runISO does a command of the UICC's file system or of the USIM. SELECT reaches everything.
func (c *Chip) runISO(cmd apdu.Command) ([]byte, apdu.SW) {
	switch cmd.INS {
	case insSelect:
		return c.selectAny(cmd)
	case insManage:
		return c.manageChannel(cmd)
	}
	if c.p.Options.NoDomain {
		switch cmd.INS {
		case insGetData:
			return c.simData(cmd)
		case insPutData:
			return nil, c.putData(cmd)
		}
	}
	if c.v.app == appSD || c.v.app == appLoaded {
		return nil, apdu.SWUnknownINS
	}
	if t := c.telecom(); t != nil {
		return c.runFiles(t, cmd)
	}
	switch cmd.INS {
	case insCreateFile:
		return c.createMF(cmd)
	case insReadBinary:
		return c.readBinary(cmd)
	case insVerify, insChangePIN, insDisablePIN, insEnablePIN, insUnblockPIN:
		return nil, c.pinCommand(cmd)
	case insAuth:
		return c.authenticate(cmd)
	}
	return nil, apdu.SWUnknownINS
}

// commit makes the changes of a command durable; what it gives is the whole answer of most of them.
func (c *Chip) commit(all changes) apdu.SW {
	if err := c.mem.commit(all); err != nil {
		return apdu.SWMemoryProblem
	}
	return apdu.SWOK
}
