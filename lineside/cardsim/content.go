package cardsim

import (
	"bytes"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/tlv"
)

const (
	installForPerso  = 0x20
	installAndSelect = 0x0C // install and make selectable
	profileParams    = "\xC9\x04\x81\x02\x03\x70"
	tagAID           = 0x4F
	tagStatusEntry   = 0xE3
	tagLifeCycle     = 0x9F70
	tagPrivileges    = 0xC5
	lowestProfile    = 0x0010 // SGP.02: ISD-P AIDs are 0010 to FFFF in bytes 13 and 14
)

func (c *Chip) install(cmd apdu.Command) ([]byte, apdu.SW) {
	switch {
	case cmd.P2 != 0:
		return nil, apdu.SWWrongP1P2
	case cmd.P1 == installForPerso:
		return c.installForPersonalization(cmd)
	case cmd.P1 == installForLoad:
		return c.installLoad(cmd)
	case cmd.P1 == installAndSelect && !c.p.Options.SIM && forProfile(cmd.Data):
		return c.createProfile(cmd)
	case cmd.P1 == installAndSelect, cmd.P1 == installInstances:
		return c.installInstance(cmd)
	case cmd.P1 == installSelect:
		return c.makeSelectable(cmd)
	}
	return nil, apdu.SWWrongP1P2
}

// forProfile says whether an application is to be made of the load file of ISD-Ps, or of another maker's domains.
func forProfile(data []byte) bool {
	name, _, ok := cutLV(data)
	return !ok || len(name) == 0 || bytes.HasPrefix(name, []byte(aidSGP02))
}

// createProfile makes an ISD-P (SGP.02 ES5.CreateISDP).
func (c *Chip) createProfile(cmd apdu.Command) ([]byte, apdu.SW) {
	f, ok := splitLV(cmd.Data, 6)
	if !ok || len(f[5]) != 0 {
		return nil, apdu.SWWrongData
	}
	loadFile, module, instance, privileges, params := f[0], f[1], f[2], f[3], f[4]
	switch {
	case string(loadFile) != aidLoadFile, string(module) != aidModule:
		return nil, apdu.SWRefDataNotFound
	case !profileAID(instance), string(privileges) != privilegesISDP, string(params) != profileParams:
		return nil, apdu.SWWrongData
	case c.domainOf(instance) != domNone:
		return nil, apdu.SWConditions
	}
	for d := domISDP; d < domEnd; d++ {
		if c.exists(d) {
			continue
		}
		var all changes
		all.put(cellOf(d, kindState, 0), stateSelectable)
		all.put(cellOf(d, kindAID, 0), instance...) // last: a domain that has its name is whole, also in a memory that tears
		if sw := c.commit(all); !sw.OK() {
			return nil, sw
		}
		return []byte{0}, apdu.SWOK
	}
	return nil, apdu.SWNoSpace
}

func profileAID(aid []byte) bool {
	return len(aid) == len(aidISDR) && string(aid[:len(aidSGP02)]) == aidSGP02 && aid[12] == 0 && aid[15] == 0 &&
		int(aid[13])<<8|int(aid[14]) >= lowestProfile
}

// deleteObject deletes an ISD-P with all that is in it, an application, or a load file.
func (c *Chip) deleteObject(cmd apdu.Command) ([]byte, apdu.SW) {
	const andRelated = 0x80
	if cmd.P1 != 0 || cmd.P2&^andRelated != 0 {
		return nil, apdu.SWWrongP1P2
	}
	name, rest, err := tlv.Parse(cmd.Data)
	if err != nil || name.Tag != tagAID || len(rest) != 0 {
		return nil, apdu.SWWrongData
	}
	d := c.domainOf(name.Value)
	switch {
	case d == domNone:
		if sw := c.deleteLoaded(name.Value, cmd.P2&andRelated != 0); !sw.OK() {
			return nil, sw
		}
		return []byte{0}, apdu.SWOK
	case !d.isProfile(), c.fallsBackTo(d), c.hasFiles(d) && c.state(d) == stateEnabled:
		return nil, apdu.SWConditions // neither the fallback profile nor one in use is deleted (SGP.02 §3.6)
	}
	var all changes
	all.dropSpan(&c.mem, cellOf(d, 0, 0), cellOf(d+1, 0, 0))
	if sw := c.commit(all); !sw.OK() {
		return nil, sw
	}
	if c.v.tele = nil; c.v.target == d {
		c.v.target = domNone
	}
	return []byte{0}, apdu.SWOK
}

// setStatus moves a life cycle, of the card (P1 80) or of the domain or application that the data names (P1 40).
func (c *Chip) setStatus(cmd apdu.Command) ([]byte, apdu.SW) {
	const ofCard, ofDomain = 0x80, 0x40
	d, step := domISD, cardStep
	switch cmd.P1 {
	case ofCard:
	case ofDomain:
		step = domainStep
		if d = c.domainOf(cmd.Data); d == domNone || d == domISD {
			return nil, c.instanceStatus(cmd.Data, cmd.P2)
		}
		if d.isProfile() {
			step = profileStep
		}
	default:
		return nil, apdu.SWWrongP1P2
	}
	now := c.state(d)
	if now != cmd.P2 && !step(now, cmd.P2) || d == domECASD && cmd.P2 == statePersonalized && !c.ecasdComplete() {
		return nil, apdu.SWConditions
	}
	var all changes
	all.put(cellOf(d, kindState, 0), cmd.P2)
	return nil, c.commit(all)
}

// cardStep is the life cycle of the card (Card Specification §5.1.1).
func cardStep(from, to byte) bool {
	switch to {
	case stateInitialized:
		return from == stateOPReady
	case stateSecured:
		return from == stateInitialized || from == stateLocked
	case stateLocked:
		return from == stateSecured
	case stateTerminated:
		return true
	}
	return false
}

func domainStep(from, to byte) bool { return from == stateSelectable && to == statePersonalized }

// profileStep is the life cycle of an ISD-P (SGP.02 §2.2.1.3).
func profileStep(from, to byte) bool {
	switch to {
	case statePersonalized:
		return from == stateSelectable
	case stateEnabled:
		return from == statePersonalized || from == stateDisabled
	case stateDisabled:
		return from == statePersonalized || from == stateEnabled
	}
	return false
}

// ecasdComplete says whether the ECASD can do its work: it has an EID, and a certificate for the key pair it has.
func (c *Chip) ecasdComplete() bool {
	return c.mem.has(cellOf(domECASD, kindData, tagEID)) && c.mem.has(cellOf(domECASD, kindData, tagCertificate))
}
