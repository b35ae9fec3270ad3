package cardsim

import (
	"fmt"
	"io"

	"github.com/persoline/persoline/perso/scp"
)

// CPLCBytes is the length of the card production life cycle data (GlobalPlatform tag 9F7F).
const CPLCBytes = 42

// Personality is what a chip is when it leaves its maker. It never changes; all else is in the NVM.
type Personality struct {
	ATR  []byte
	CPLC [CPLCBytes]byte
	// KVN and Keys are the maker's key set: AES-128, KVN FF. With SCP02 they are Triple DES keys. A chip without a security domain
	// has the transport code of them, and no KVN.
	KVN  byte
	Keys scp.StaticKeys
	// Seq is the sequence counter of that key set at goods-in.
	Seq uint32
	// Options are what the operating system was built with.
	Options Options
	// Foreign, when given, is what somebody has made of the chip already; the maker's keys are gone then.
	Foreign *Foreign
	Faults  []Fault
}

// Foreign is another's personalization: the chip has its owner's keys, an EID, and is SECURED.
type Foreign struct {
	KVN   byte
	Keys  scp.StaticKeys
	Seq   uint32
	Stamp [stampBytes]byte
	EID   [eidBytes]byte
}

// ChipID is the chip's identity, and its key diversification data: ICFabricator, ICType, ICBatch, ICSerialNumber.
func (p *Personality) ChipID() (id [10]byte) {
	copy(id[:4], p.CPLC[0:4])
	copy(id[4:6], p.CPLC[16:18])
	copy(id[6:], p.CPLC[12:16])
	return id
}

// Format keeps the keys out of every fmt verb.
func (Personality) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[virtual chip]") }

// image is the memory of a chip that was never written.
func (p *Personality) image() (c changes) {
	if p.Options.NoDomain {
		return p.simImage()
	}
	c.put(cellOf(domISD, kindState, 0), stateOPReady)
	for d, aid := range fixedAIDs() {
		if d != domISD && p.Options.SIM {
			continue
		}
		c.put(cellOf(d, kindAID, 0), []byte(aid)...)
		if d != domISD {
			c.put(cellOf(d, kindState, 0), stateSelectable)
		}
	}
	if p.Foreign == nil {
		putKeySet(&c, p.Options.keyType(), p.KVN, [][]byte{p.Keys.ENC, p.Keys.MAC, p.Keys.DEK}, p.Seq)
		return c
	}
	f := p.Foreign
	putKeySet(&c, p.Options.keyType(), f.KVN, [][]byte{f.Keys.ENC, f.Keys.MAC, f.Keys.DEK}, f.Seq)
	c.put(cellOf(domISD, kindState, 0), stateSecured)
	c.put(cellOf(domISD, kindData, tagStamp), f.Stamp[:]...)
	if p.Options.SIM {
		return c
	}
	c.put(cellOf(domECASD, kindData, tagEID), f.EID[:]...)
	c.put(cellOf(domECASD, kindState, 0), statePersonalized)
	return c
}
