package keygen_test

import (
	"bytes"
	"crypto/sha256"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/profile"
	"github.com/persoline/persoline/perso/saip"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/tlv"
)

// loading is a package on its way into the card's ISD-P.
type loading struct {
	keys    [3][]byte // of the ISD-P
	channel *scp.Card
	data    []byte
}

// storeTLV takes a block of an object: a request for tags, or one of SCP03t.
func (c *card) storeTLV(cmd apdu.Command) ([]byte, apdu.SW) {
	if cmd.P2 == 0 {
		c.block = nil
	}
	if len(c.block) == 0 && cmd.Data[0] == 0x5C {
		return c.request(cmd.Data[2:]), apdu.SWOK
	}
	if c.block = append(c.block, cmd.Data...); cmd.P1&0x80 == 0 {
		return nil, apdu.SWOK
	}
	one := c.block
	c.block = nil
	switch one[0] {
	case scp.TagInitUpdate:
		keys := scp.StaticKeys{ENC: c.load.keys[0], MAC: c.load.keys[1], DEK: c.load.keys[2]}
		channel, iu, err := scp.OpenCard(scp.CardConfig{Keys: keys, KVN: one[2], KDD: c.kdd, I: 0x70, AID: []byte(c.target), Seq: 1}, one[4:])
		if err != nil {
			c.t.Fatal(err)
		}
		c.load.channel, c.load.data = channel, nil
		return tlv.Encode(scp.TagInitUpdate, iu.Append(nil)), apdu.SWOK
	case scp.TagExternal:
		if err := c.load.channel.ExternalAuthenticateTLV(one); err != nil {
			return scp.RefuseTLV(scp.TagExternal, 2), apdu.SWOK
		}
		return tlv.Encode(scp.TagExternal), apdu.SWOK
	}
	data, err := c.load.channel.UnwrapTLV(one)
	if err != nil {
		return scp.RefuseTLV(scp.TagData, 2), apdu.SWOK
	}
	c.load.data = append(c.load.data, data...)
	var report []byte
	if p, err := saip.Decode(bytes.Clone(c.load.data)); err == nil {
		if report = c.report; report == nil {
			report = saip.InstalledReport()
		}
		if said, err := saip.ParseReport(report); err == nil && said.Installed() {
			c.installed(p)
		}
	}
	answer, err := c.load.channel.WrapTLV(report)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer, apdu.SWOK
}

// installed takes over what the card needs of a package.
func (c *card) installed(p *saip.Package) {
	chip, _ := p.Expand()
	digest := sha256.Sum256(c.load.data)
	here := c.tags[c.target]
	here[0xDF28], here[0xDF29] = digest[:], append(bytes.Clone(chip.Header.Policy), 0)[:1]
	if c.target == string(aidISDP2) {
		c.pkg2 = bytes.Clone(c.load.data)
		return
	}
	c.pkg = bytes.Clone(c.load.data)
	pins, puks := map[int][]byte{}, map[int][]byte{}
	for _, p := range chip.PINs {
		pins[p.Ref] = c.shown(p.Value)
	}
	for _, p := range chip.PUKs {
		puks[p.Ref] = c.shown(p.Value)
	}
	c.pins = bytes.Join([][]byte{pins[0x01], puks[0x01], pins[0x81], puks[0x81], pins[0x0A], bytes.Repeat([]byte{0xFF}, 8)}, nil)
	k := chip.AKAs[0]
	c.ki, c.opc = c.shown(k.K), c.shown(k.OPc)
	var err error
	if c.algorithm, _, err = auth.ParseParameters(profile.Parameters(k)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *card) shown(s secret.Bytes) (out []byte) {
	if err := s.Reveal(func(b []byte) error { out = bytes.Clone(b); return nil }); err != nil {
		c.t.Fatal(err)
	}
	return out
}
