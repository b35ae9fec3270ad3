package cardsim

import (
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/tlv"
)

// loading is a profile package on its way into an ISD-P: an SCP03t session inside the channel of the ISD. Nothing of it is in
// memory until the package is whole.
type loading struct {
	d       domain
	ch      *scp.Card
	data    []byte // of the package, as far as it came
	scanned int    // bytes of data that are whole profile elements
	over    bool   // the package was taken or refused
}

const (
	// maxProfileBytes bounds a package.
	maxProfileBytes = 64 << 10
	// maxTLVBytes bounds one object of SCP03t: a segment with its padding, MAC and header.
	maxTLVBytes = scp.MaxTLVData + 64
	tagPEEnd    = 0xAA

	// Reasons of a refusal inside SCP03t (SGP.02 §4.1.3.3 gives such numbers; these three are this chip's).
	refusedFormat   = 0x01
	refusedSecurity = 0x02
	refusedAbsent   = 0x03
)

// endLoad drops what was not finished.
func (c *Chip) endLoad() {
	if l := c.v.load; l != nil {
		if l.ch != nil {
			l.ch.Wipe()
		}
		clear(l.data)
	}
	c.v.load = nil
}

// storeTLV takes a block of one BER-TLV object and carries it out when its last block is there. A request, 5C, comes in one
// block; an object of SCP03t may be longer.
func (c *Chip) storeTLV(cmd apdu.Command) ([]byte, apdu.SW) {
	if cmd.P2 == 0 {
		c.dropPending()
		if len(cmd.Data) > 0 && cmd.Data[0] == tagTagList || !c.v.target.isProfile() {
			return c.storeRequest(cmd)
		}
	}
	switch {
	case cmd.P2 != c.v.block || cmd.P2 != 0 && c.v.form != formTLV:
		return c.brokenLoad(apdu.SWWrongP1P2)
	case len(cmd.Data) == 0:
		return c.brokenLoad(apdu.SWWrongLength)
	case len(c.v.pending)+len(cmd.Data) > maxTLVBytes:
		return c.brokenLoad(apdu.SWNoSpace)
	}
	c.v.pending, c.v.form = append(c.v.pending, cmd.Data...), formTLV
	c.v.block++
	if cmd.P1&storeLastBit == 0 {
		return nil, apdu.SWOK
	}
	defer c.dropPending()
	if n, ok := wholeElement(c.v.pending); !ok || n != len(c.v.pending) {
		return c.brokenLoad(apdu.SWWrongData)
	}
	answer, sw := c.takeTLV(c.v.pending)
	if !sw.OK() {
		return c.brokenLoad(sw)
	}
	return answer, apdu.SWOK
}

// storeRequest reads objects.
func (c *Chip) storeRequest(cmd apdu.Command) ([]byte, apdu.SW) {
	if cmd.P1 != storeAsk || cmd.P2 != 0 {
		return nil, apdu.SWWrongP1P2
	}
	return c.answerRequest(cmd.Data)
}

// brokenLoad refuses a block, and with it the session.
func (c *Chip) brokenLoad(sw apdu.SW) ([]byte, apdu.SW) {
	c.dropPending()
	c.endLoad()
	return nil, sw
}

// takeTLV carries out one object of SCP03t.
func (c *Chip) takeTLV(one []byte) ([]byte, apdu.SW) {
	l := c.v.load
	switch {
	case one[0] == scp.TagInitUpdate:
		return c.openLoad(one)
	case l == nil || l.ch == nil || l.over:
		return nil, apdu.SWConditions
	case one[0] == scp.TagExternal:
		if l.ch.Open() || l.ch.ExternalAuthenticateTLV(one) != nil {
			c.endLoad()
			return scp.RefuseTLV(scp.TagExternal, refusedSecurity), apdu.SWOK
		}
		return tlv.Encode(scp.TagExternal), apdu.SWOK
	case one[0] == scp.TagData:
		return c.takeSegment(l, one)
	}
	return nil, apdu.SWWrongData
}

// openLoad begins a session under a key set of the ISD-P. The profile must be empty, and not in use.
func (c *Chip) openLoad(one []byte) ([]byte, apdu.SW) {
	c.endLoad()
	d := c.v.target
	if s := c.state(d); s != stateSelectable && s != statePersonalized || c.hasFiles(d) || c.hasGroupedFile(d) {
		return nil, apdu.SWConditions
	}
	const headBytes, firstKey = 2, 1
	t, _, err := tlv.Parse(one)
	if err != nil || len(t.Value) != headBytes+c.p.Options.macBytes() || t.Value[1] != firstKey {
		return scp.RefuseTLV(scp.TagInitUpdate, refusedFormat), apdu.SWOK
	}
	kvn, keys, ok := c.keySet(d, t.Value[0])
	if !ok {
		return scp.RefuseTLV(scp.TagInitUpdate, refusedAbsent), apdu.SWOK
	}
	ch, iu, sw := c.openCard(d, kvn, keys, t.Value[headBytes:])
	if !sw.OK() {
		return nil, sw
	}
	c.v.load = &loading{d: d, ch: ch}
	return tlv.Encode(scp.TagInitUpdate, iu.Append(nil)), apdu.SWOK
}

// takeSegment keeps a segment, and installs the package when its end is there.
func (c *Chip) takeSegment(l *loading, one []byte) ([]byte, apdu.SW) {
	data, err := l.ch.UnwrapTLV(one)
	if err != nil {
		c.endLoad()
		return scp.RefuseTLV(scp.TagData, refusedSecurity), apdu.SWOK
	}
	l.data = append(l.data, data...)
	clear(data)
	var report []byte
	switch {
	case len(l.data) > maxProfileBytes:
		report = refusal(peStatus{status: peNoMemory, offset: len(l.data)}).bytes()
	case l.whole():
		report = c.installProfile(l.d, l.data).bytes()
	}
	if report != nil {
		l.over = true
		clear(l.data)
		l.data = nil
	}
	answer, err := l.ch.WrapTLV(report)
	if err != nil {
		return nil, apdu.SWUnknown
	}
	return answer, apdu.SWOK
}

// whole says whether the end of the package is there, or something that can't be part of one.
func (l *loading) whole() bool {
	for l.scanned < len(l.data) {
		n, ok := wholeElement(l.data[l.scanned:])
		switch {
		case !ok:
			return true
		case n == 0 || n > len(l.data)-l.scanned:
			return false
		case l.data[l.scanned] == tagPEEnd:
			return true
		}
		l.scanned += n
	}
	return false
}

// wholeElement is the length of the BER-TLV object that begins here, header included, whether all of it is there or not; 0
// when its header is not whole. ok is false when this is no header, or none that such objects have.
func wholeElement(b []byte) (n int, ok bool) {
	const tagGoesOn, numberGoesOn, longForm, mostLengthBytes = 0x1F, 0x80, 0x80, 3
	if len(b) == 0 {
		return 0, true
	}
	at := 1
	if b[0]&tagGoesOn == tagGoesOn {
		if len(b) > 1 && b[1]&numberGoesOn != 0 {
			return 0, false
		}
		at = 2
	}
	if len(b) <= at {
		return 0, true
	}
	first := int(b[at])
	at++
	if first < longForm {
		return at + first, true
	}
	count := first - longForm
	if count == 0 || count > mostLengthBytes {
		return 0, false
	}
	if len(b) < at+count {
		return 0, true
	}
	for _, x := range b[at : at+count] {
		n = n<<8 | int(x)
	}
	return at + count + n, true
}
