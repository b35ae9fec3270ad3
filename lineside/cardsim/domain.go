package cardsim

import "bytes"

// domain numbers the security domains. The numbers are in journals: they never change.
type domain byte

const (
	domISD   domain = 0
	domISDR  domain = 1
	domECASD domain = 2
	domISDP  domain = 3       // the first of maxProfiles
	domSIM   domain = domISDP // where the one profile of a SIM is kept; it has no AID, so nobody finds it
	domNone  domain = 0xFF

	// maxProfiles bounds the ISD-Ps: a factory makes one, and a test may want a few.
	maxProfiles = 4
	domEnd      = domISDP + maxProfiles
)

// Life cycle states (GlobalPlatform Card Specification table 11-3, 11-5; SGP.02 for the ISD-P).
const (
	stateOPReady      = 0x01
	stateInitialized  = 0x07
	stateSecured      = 0x0F
	stateLocked       = 0x7F
	stateTerminated   = 0xFF
	stateSelectable   = 0x07
	statePersonalized = 0x0F
	stateDisabled     = 0x1F
	stateEnabled      = 0x3F
)

// AIDs of SGP.02; those of load file and module are this maker's.
const (
	aidISD      = "\xA0\x00\x00\x01\x51\x00\x00\x00"
	aidISDR     = aidSGP02 + "\x00\x00\x01\x00"
	aidECASD    = aidSGP02 + "\x00\x00\x02\x00"
	aidLoadFile = aidSGP02 + "\x00\x00\x0D\x00"
	aidModule   = aidSGP02 + "\x00\x00\x0E\x00"
	aidUSIM     = "\xA0\x00\x00\x00\x87\x10\x02\xFF\x86\xFF\x03\x89\xFF\xFF\xFF\xFF"

	aidSGP02 = "\xA0\x00\x00\x05\x59\x10\x10\xFF\xFF\xFF\xFF\x89"
)

// Privileges (GlobalPlatform Card Specification table 11-7), as GET STATUS tells them.
const (
	privilegesISD   = "\x9E\xFE\x80"
	privilegesISDR  = "\x80\xDE\x00"
	privilegesECASD = "\x80\x40\x00"
	privilegesISDP  = "\x80\xC0\x00"
)

// fixedAIDs are the domains that every chip has from its maker; a SIM has the first alone.
func fixedAIDs() map[domain]string {
	return map[domain]string{domISD: aidISD, domISDR: aidISDR, domECASD: aidECASD}
}

func (d domain) privileges() string {
	switch d {
	case domISD:
		return privilegesISD
	case domISDR:
		return privilegesISDR
	case domECASD:
		return privilegesECASD
	}
	return privilegesISDP
}

func (d domain) isProfile() bool { return d >= domISDP && d < domEnd }

// domainOf finds an existing domain by its whole AID.
func (c *Chip) domainOf(aid []byte) domain {
	for d := domISD; d < domEnd; d++ {
		if have, ok := c.mem.get(cellOf(d, kindAID, 0)); ok && bytes.Equal(have, aid) {
			return d
		}
	}
	return domNone
}

func (c *Chip) exists(d domain) bool { return c.mem.has(cellOf(d, kindAID, 0)) }

func (c *Chip) state(d domain) byte {
	if s, ok := c.mem.get(cellOf(d, kindState, 0)); ok {
		return s[0]
	}
	return 0
}

// profile is the ISD-P whose files and USIM are reached: the first that is not disabled. A SIM has one profile, without a domain.
func (c *Chip) profile() domain {
	if c.p.Options.SIM {
		return domSIM
	}
	for d := domISDP; d < domEnd; d++ {
		if c.exists(d) && c.state(d) != stateDisabled {
			return d
		}
	}
	return domNone
}
