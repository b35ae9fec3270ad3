package cardsim

import (
	"bytes"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/tlv"
)

const (
	// maxStoreBytes bounds the content of one STORE DATA sequence, as a real chip's buffer does.
	maxStoreBytes = 4096

	storeMore    = 0x08 // DGI form, more blocks
	storeLast    = 0x88 // DGI form, last block
	storeAsk     = 0x91 // BER-TLV form, last block, answer data expected
	storeTLVMore = 0x10 // BER-TLV form, more blocks
	storeAnswer  = 0x01 // answer data expected
	storeLastBit = 0x80

	formDGI    = 0
	formTLV    = 1
	tagTagList = 0x5C
)

// installForPersonalization chooses the domain that STORE DATA and GENERATE go to. One that fails leaves none chosen, so
// that what was meant for a missing domain does not land in another.
func (c *Chip) installForPersonalization(cmd apdu.Command) ([]byte, apdu.SW) {
	c.v.target = domNone
	fields, ok := splitLV(cmd.Data, 6)
	if !ok || len(fields[0])+len(fields[1])+len(fields[3])+len(fields[4])+len(fields[5]) != 0 {
		return nil, apdu.SWWrongData
	}
	d := c.domainOf(fields[2])
	if d == domNone {
		return nil, apdu.SWRefDataNotFound
	}
	c.v.target = d
	return []byte{0}, apdu.SWOK
}

// storeData takes blocks in the order of their numbers and applies a sequence when its last block is there: all of it or
// nothing. Any fault, and any other command in between, drops the blocks so far.
func (c *Chip) storeData(cmd apdu.Command) ([]byte, apdu.SW) {
	if c.v.target == domNone {
		return nil, apdu.SWConditions
	}
	switch cmd.P1 {
	case storeMore, storeLast:
		c.endLoad()
		return nil, c.storeBlock(cmd)
	case storeTLVMore, storeTLVMore | storeAnswer, storeTLVMore | storeLastBit, storeAsk:
		return c.storeTLV(cmd)
	}
	c.dropPending()
	c.endLoad()
	return nil, apdu.SWWrongP1P2
}

func (c *Chip) storeBlock(cmd apdu.Command) apdu.SW {
	if cmd.P2 != c.v.block || cmd.P2 != 0 && c.v.form != formDGI {
		c.dropPending()
		return apdu.SWWrongP1P2
	}
	if len(cmd.Data) == 0 {
		c.dropPending()
		return apdu.SWWrongLength
	}
	if len(c.v.pending)+len(cmd.Data) > maxStoreBytes {
		c.dropPending()
		return apdu.SWNoSpace
	}
	c.v.pending = append(c.v.pending, cmd.Data...)
	c.v.block++
	if cmd.P1 == storeMore {
		return apdu.SWOK
	}
	defer c.dropPending()
	groups, err := tlv.ParseDGIs(c.v.pending)
	if err != nil {
		return apdu.SWWrongData
	}
	all, sw := c.groupings(c.v.target, groups)
	if !sw.OK() {
		return sw
	}
	return c.commit(all)
}

// groupings turns data groupings into changes of one domain.
func (c *Chip) groupings(d domain, groups []tlv.DGI) (all changes, sw apdu.SW) {
	for i := 0; i < len(groups); i++ {
		g := groups[i]
		switch {
		case (d == domISDR || d.isProfile() || c.p.Options.SIM) && g.ID == dgiKeyTemplate && i+1 < len(groups) && groups[i+1].ID == dgiKeyValue:
			i++
			sw = c.keyGrouping(&all, d, g.Value, groups[i].Value)
		case d.isProfile():
			sw = c.profileGrouping(&all, d, g)
		case c.p.Options.SIM && g.ID != dgiObjects:
			sw = c.profileGrouping(&all, domSIM, g)
		case g.ID == dgiObjects:
			sw = c.objectGrouping(&all, d, g.Value)
		case d == domECASD && g.ID == dgiPair:
			sw = c.pairGrouping(&all, g.Value)
		case d == domISDR && g.ID == dgiFallback:
			sw = c.fallbackGrouping(&all, g.Value)
		case d == domISDR && g.ID == dgiAddressing && len(g.Value) > 0:
			all.put(cellOf(d, kindData, tagAddressing), g.Value...)
			sw = apdu.SWOK
		default:
			sw = apdu.SWWrongData
		}
		if !sw.OK() {
			return nil, sw
		}
	}
	return all, apdu.SWOK
}

// fallbackGrouping gives a profile the fallback attribute (SGP.02 ES5.SetFallbackAttribute): one that is whole, of the one that
// had it.
func (c *Chip) fallbackGrouping(all *changes, value []byte) apdu.SW {
	name, rest, err := tlv.Parse(value)
	if err != nil || name.Tag != tagAID || len(rest) != 0 {
		return apdu.SWWrongData
	}
	d := c.domainOf(name.Value)
	switch {
	case d == domNone || !d.isProfile():
		return apdu.SWRefDataNotFound
	case !c.hasFiles(d) && !c.hasGroupedFile(d):
		return apdu.SWConditions
	}
	all.put(cellOf(domISDR, kindData, tagFallback), value...)
	return apdu.SWOK
}

// fallsBackTo says whether a profile has the fallback attribute.
func (c *Chip) fallsBackTo(d domain) bool {
	aid, _ := c.mem.get(cellOf(d, kindAID, 0))
	have, there := c.mem.get(cellOf(domISDR, kindData, tagFallback))
	return there && bytes.Equal(have, tlv.Encode(tagAID, aid))
}

// objectGrouping is DGI 0070: data objects in BER-TLV.
func (c *Chip) objectGrouping(all *changes, d domain, value []byte) apdu.SW {
	objects, err := tlv.ParseAll(value)
	if err != nil {
		return apdu.SWWrongData
	}
	for _, o := range objects {
		if sw := c.checkObject(d, o); !sw.OK() {
			return sw
		}
		all.put(cellOf(d, kindData, uint16(o.Tag)), o.Value...)
	}
	return apdu.SWOK
}

// checkObject says which objects a domain takes, how long they are, and which are for ever.
func (c *Chip) checkObject(d domain, o tlv.TLV) apdu.SW {
	ok := false
	switch {
	case d == domISD && o.Tag == tagStamp:
		ok = len(o.Value) == stampBytes
	case d != domISD && (o.Tag == tagIIN || o.Tag == tagCIN):
		ok = len(o.Value) >= 1 && len(o.Value) <= maxIDBytes
	case d == domECASD && o.Tag == tagEID:
		have, there := c.mem.get(cellOf(d, kindData, tagEID))
		if c.state(d) == statePersonalized && there && !bytes.Equal(have, o.Value) {
			return apdu.SWConditions
		}
		ok = len(o.Value) == eidBytes
	case d == domECASD && o.Tag == tagCertificate:
		return c.checkCertificate(o.Value)
	}
	if !ok {
		return apdu.SWWrongData
	}
	return apdu.SWOK
}

// checkCertificate takes a certificate only for the key pair that is on the chip: another's would make it useless.
func (c *Chip) checkCertificate(value []byte) apdu.SW {
	pair, there := c.mem.get(cellOf(domECASD, kindPair, 0))
	if !there {
		return apdu.SWConditions
	}
	point, found, err := tlv.FindPath(value, tagPublicKey, tagPoint)
	if err != nil || !found || !bytes.Equal(point, pair[scalarBytes:]) {
		return apdu.SWWrongData
	}
	return apdu.SWOK
}

// answerRequest reads objects of the chosen domain: 5C with a list of tags. Absent ones are left out.
func (c *Chip) answerRequest(data []byte) ([]byte, apdu.SW) {
	list, rest, err := tlv.Parse(data)
	if err != nil || list.Tag != tagTagList || len(rest) != 0 {
		return nil, apdu.SWWrongData
	}
	var out []byte
	for tags := list.Value; len(tags) > 0; {
		tag, n := readTag(tags)
		if n == 0 {
			return nil, apdu.SWWrongData
		}
		tags = tags[n:]
		if value, ok := c.object(c.v.target, tag); ok {
			out = tlv.Append(out, tag, value)
		}
	}
	return out, apdu.SWOK
}

// readTag reads a tag of one or two bytes; n is 0 when there is none.
func readTag(b []byte) (tag uint32, n int) {
	const tagGoesOn, numberGoesOn = 0x1F, 0x80
	switch {
	case b[0] == 0:
		return 0, 0
	case b[0]&tagGoesOn != tagGoesOn:
		return uint32(b[0]), 1
	case len(b) < 2 || b[1]&numberGoesOn != 0:
		return 0, 0
	}
	return uint32(b[0])<<8 | uint32(b[1]), 2
}

// splitLV reads exactly count fields of length and value.
func splitLV(b []byte, count int) (fields [][]byte, ok bool) {
	fields = make([][]byte, 0, count)
	for range count {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return nil, false
		}
		n := 1 + int(b[0])
		fields, b = append(fields, b[1:n:n]), b[n:]
	}
	return fields, len(b) == 0
}
