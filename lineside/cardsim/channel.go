package cardsim

import (
	"errors"
	"io"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/scp/scp02"
)

const (
	maxSeq      = 0xFFFFFF
	keyTypeAES  = 0x88
	keyTypeDES  = 0x80
	desKeyBytes = 16
	keysOfSet   = 3
	// maxKeySets bounds the own key sets of the ISD.
	maxKeySets = 3
	lowestKVN  = 0x30 // SCP03 (SGP.02 and common practice)
	highestKVN = 0x3F
)

// initializeUpdate opens a session under the key set that P1 names, 00 for the first there is. The sequence counter is
// raised in memory before anything depends on it (Amendment D §6.2.2.1), so no challenge comes twice.
func (c *Chip) initializeUpdate(cmd apdu.Command) ([]byte, apdu.SW) {
	switch {
	case cmd.P2 != 0:
		return nil, apdu.SWWrongP1P2
	case len(cmd.Data) != c.p.Options.macBytes():
		return nil, apdu.SWWrongLength
	case c.v.sd != domISD:
		return nil, apdu.SWRefDataNotFound // the other domains have no keys for a channel
	}
	kvn, keys, ok := c.keySet(domISD, cmd.P1)
	if !ok {
		return nil, apdu.SWRefDataNotFound
	}
	if c.p.Options.SCP02 {
		return c.open02(kvn, keys, [8]byte(cmd.Data))
	}
	ch, iu, sw := c.openCard(domISD, kvn, keys, cmd.Data)
	if !sw.OK() {
		return nil, sw
	}
	c.v.channel = ch
	return iu.Append(nil), apdu.SWOK
}

// open02 begins a session of SCP02: one record, the raised counter.
func (c *Chip) open02(kvn byte, keys scp.StaticKeys, challenge [8]byte) ([]byte, apdu.SW) {
	const maxSeq02 = 0xFFFF
	seq := c.seq(domISD, kvn)
	if seq >= maxSeq02 {
		return nil, apdu.SWConditions
	}
	ch, iu, err := scp02.OpenCard(scp02.CardConfig{Keys: scp02.StaticKeys{ENC: keys.ENC, MAC: keys.MAC, DEK: keys.DEK}, KVN: kvn, KDD: c.p.ChipID(),
		Seq: uint16(seq + 1), AID: []byte(aidISD)}, challenge)
	if err != nil {
		return nil, apdu.SWUnknown // the keys in memory were checked when they were written
	}
	var raised changes
	putSeq(&raised, domISD, kvn, seq+1)
	if sw := c.commit(raised); !sw.OK() {
		return nil, sw
	}
	c.v.channel = channel02{ch}
	return iu.Append(nil), apdu.SWOK
}

// openCard begins a session of SCP03 under a key set of a domain. The counter of a pseudo-random challenge is raised in memory
// before anything is told (Amendment D §6.2.2.1), so no challenge comes twice.
func (c *Chip) openCard(d domain, kvn byte, keys scp.StaticKeys, challenge []byte) (*scp.Card, scp.InitUpdate, apdu.SW) {
	aid, _ := c.mem.get(cellOf(d, kindAID, 0))
	o := c.p.Options
	cfg := scp.CardConfig{Keys: keys, KVN: kvn, KDD: c.p.ChipID(), I: o.i(), AID: aid}
	if o.Random {
		cfg.Random = make([]byte, o.macBytes())
		if _, err := io.ReadFull(c.rand, cfg.Random); err != nil {
			return nil, scp.InitUpdate{}, apdu.SWUnknown
		}
	} else if cfg.Seq = c.seq(d, kvn) + 1; cfg.Seq > maxSeq {
		return nil, scp.InitUpdate{}, apdu.SWConditions
	}
	ch, iu, err := scp.OpenCard(cfg, challenge)
	if err != nil {
		return nil, scp.InitUpdate{}, apdu.SWUnknown // the keys in memory were checked when they were written
	}
	if !o.Random {
		var raised changes
		putSeq(&raised, d, kvn, cfg.Seq)
		if sw := c.commit(raised); !sw.OK() {
			return nil, scp.InitUpdate{}, sw
		}
	}
	return ch, iu, apdu.SWOK
}

func (c *Chip) externalAuthenticate(cmd apdu.Command) apdu.SW {
	if c.v.channel == nil || c.v.channel.Open() {
		c.endChannel()
		return apdu.SWConditions
	}
	if level, err := scp.ParseLevel(cmd.P1); err == nil && !c.p.Options.levels().Has(level) {
		c.endChannel()
		return apdu.SWWrongP1P2
	}
	err := c.v.channel.ExternalAuthenticate(cmd)
	if err == nil {
		c.v.target = domISD
		return apdu.SWOK
	}
	c.endChannel()
	switch {
	case errors.Is(err, scp.ErrMAC), errors.Is(err, scp.ErrCryptogram), errors.Is(err, scp02.ErrMAC), errors.Is(err, scp02.ErrCryptogram):
		return apdu.SWAuthFailed
	case errors.Is(err, scp.ErrLevel), errors.Is(err, scp02.ErrLevel):
		return apdu.SWWrongP1P2
	}
	return apdu.SWWrongData
}

// keySet finds a key set of a domain; 00 takes the lowest version, which prefers own ones to the maker's FF.
func (c *Chip) keySet(d domain, kvn byte) (byte, scp.StaticKeys, bool) {
	if kvn == 0 {
		all := c.mem.span(cellOf(d, kindKey, (highestOTA+1)<<8), cellOf(d, kindKey+1, 0))
		if len(all) == 0 {
			return 0, scp.StaticKeys{}, false
		}
		kvn = byte(all[0].at.number() >> 8)
	}
	set := c.keysOf(d, kvn)
	if len(set) != keysOfSet || kvn <= highestOTA {
		return 0, scp.StaticKeys{}, false
	}
	return kvn, scp.StaticKeys{ENC: set[0].value[1:], MAC: set[1].value[1:], DEK: set[2].value[1:]}, true
}

// keysOf is the cells of one key version, in the order of key identifiers.
func (c *Chip) keysOf(d domain, kvn byte) []entry {
	return c.mem.span(cellOf(d, kindKey, uint16(kvn)<<8), cellOf(d, kindKey, 0)+(cell(kvn)+1)<<8)
}

func (c *Chip) seq(d domain, kvn byte) uint32 {
	if b, ok := c.mem.get(cellOf(d, kindSeq, uint16(kvn))); ok {
		return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
	}
	return 0
}

func putSeq(all *changes, d domain, kvn byte, seq uint32) {
	all.put(cellOf(d, kindSeq, uint16(kvn)), byte(seq>>16), byte(seq>>8), byte(seq))
}

func putKeySet(all *changes, keyType, kvn byte, keys [][]byte, seq uint32) {
	for i, key := range keys {
		all.put(cellOf(domISD, kindKey, uint16(kvn)<<8|uint16(i+1)), append([]byte{keyType}, key...)...)
	}
	putSeq(all, domISD, kvn, seq)
}

func (c *Chip) dropKeySet(all *changes, kvn byte) {
	for _, e := range c.keysOf(domISD, kvn) {
		all.drop(e.at)
	}
	all.drop(cellOf(domISD, kindSeq, uint16(kvn)))
}

// putKey adds a key set (P1 00) or replaces the one P1 names (Card Specification §11.8). The first own key set takes the
// place of the maker's. A new or replaced set counts its sessions from zero. The session in work goes on.
func (c *Chip) putKey(cmd apdu.Command) ([]byte, apdu.SW) {
	const wholeSet = 0x81
	if cmd.P2 != wholeSet || cmd.P1&0x80 != 0 {
		return nil, apdu.SWWrongP1P2
	}
	lowest, highest := c.p.Options.versions()
	kvn, keys, err := parsePutKey(c.v.channel, cmd.Data)
	defer func() {
		for _, k := range keys {
			clear(k)
		}
	}()
	switch {
	case errors.Is(err, scp.ErrKCV):
		return nil, apdu.SWSecurity
	case err != nil, len(keys) != keysOfSet, kvn < lowest, kvn > highest,
		len(keys[0]) != len(keys[1]), len(keys[0]) != len(keys[2]):
		return nil, apdu.SWWrongData
	case cmd.P1 != 0 && (cmd.P1 <= highestOTA || len(c.keysOf(domISD, cmd.P1)) == 0):
		return nil, apdu.SWRefDataNotFound
	case cmd.P1 != kvn && len(c.keysOf(domISD, kvn)) != 0:
		return nil, apdu.SWConditions
	case cmd.P1 == 0 && c.ownKeySets() == maxKeySets:
		return nil, apdu.SWNoSpace
	}
	var all changes
	c.dropKeySet(&all, c.p.KVN)
	if cmd.P1 != 0 {
		c.dropKeySet(&all, cmd.P1)
	}
	putKeySet(&all, c.p.Options.keyType(), kvn, keys, 0)
	if sw := c.commit(all); !sw.OK() {
		return nil, sw
	}
	kcvs := make([][kcvBytes]byte, len(keys))
	for i, k := range keys {
		kcvs[i] = c.p.Options.checkValue(k)
	}
	return scp.PutKeyResponse(kvn, kcvs), apdu.SWOK
}

func (c *Chip) ownKeySets() (n int) {
	lowest, highest := c.p.Options.versions()
	for kvn := lowest; kvn <= highest; kvn++ {
		if len(c.keysOf(domISD, kvn)) != 0 {
			n++
		}
	}
	return n
}
