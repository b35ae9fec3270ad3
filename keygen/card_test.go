package keygen_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/tlv"
)

var (
	aidISD   = []byte{0xA0, 0, 0, 1, 0x51, 0, 0, 0}
	aidISDR  = sgpAID(0x0100)
	aidECASD = sgpAID(0x0200)
	aidISDP  = sgpAID(0x1000)
	aidISDP2 = sgpAID(0x1100)
	aidUSIM  = []byte{0xA0, 0, 0, 0, 0x87, 0x10, 0x02, 0xFF, 0x86, 0xFF, 0x03, 0x89, 0xFF, 0xFF, 0xFF, 0xFF}
)

func sgpAID(last uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{0xA0, 0, 0, 5, 0x59, 0x10, 0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x89, 0, 0}, last)
}

// card is a chip just good enough to run the first product's script: what the vault sees, no more. The real virtual chip
// is in another zone.
type card struct {
	t     testing.TB
	kdd   [10]byte
	keys  map[byte]scp.StaticKeys
	seq   uint32
	tags  map[string]map[uint32][]byte // by security domain
	life  map[string]byte
	pair  *ecdsa.PrivateKey
	given [][]byte // private keys that came from outside
	ki    []byte
	opc   []byte

	algorithm auth.Algorithm
	pins      []byte
	block     []byte
	load      loading
	pkg       []byte // that it was loaded with
	pkg2      []byte // of an operational profile
	report    []byte // that it gives on one, for a test; nil is well
	isdr      int    // keys in the ISD-R
	target    string

	channel cardChannel
	scp02   bool // it speaks SCP02
	lazy    bool // its counter is raised by EXTERNAL AUTHENTICATE only
	sent    int  // commands so far
	tearAt  int  // loses contact at this command, 0 never
	after   bool
	bend    func(command int, answer []byte) []byte // changes an answer on its way
}

func newCard(t testing.TB, kmc []byte, number byte) *card {
	return newCardAs(t, kmc, [10]byte{0x47, 0x90, 0x6D, 0x20, 0, 1, 0x0A, 0x0B, 0x0C, number})
}

func newCardAs(t testing.TB, kmc []byte, kdd [10]byte) *card {
	c := &card{t: t, kdd: kdd, life: map[string]byte{}, tags: map[string]map[uint32][]byte{}}
	factory, err := scp.DiversifyKDF3(kmc, c.kdd)
	if err != nil {
		t.Fatal(err)
	}
	c.keys = map[byte]scp.StaticKeys{0xFF: factory}
	for _, a := range [][]byte{aidISD, aidISDR, aidECASD} {
		c.tags[string(a)], c.life[string(a)] = map[uint32][]byte{}, 0x07
	}
	c.life[string(aidISD)] = 0x01
	cplc := make([]byte, 42)
	copy(cplc, c.kdd[:4])
	copy(cplc[12:], c.kdd[6:])
	copy(cplc[16:], c.kdd[4:6])
	c.tags[string(aidISD)][0x9F7F] = cplc
	return c
}

// contact is a new presentation: no channel, no tear.
func (c *card) contact() { c.channel, c.tearAt, c.sent, c.bend = nil, 0, 0, nil }

// transmit is the card's side of the wire; nil means that the contact broke.
func (c *card) transmit(command []byte) []byte {
	c.sent++
	torn := c.tearAt > 0 && c.sent >= c.tearAt
	if torn && !c.after {
		return nil
	}
	cmd, err := apdu.Parse(command)
	if err != nil {
		c.t.Fatal(err)
	}
	answer := c.dispatch(cmd)
	if torn {
		return nil
	}
	if c.bend != nil {
		answer = c.bend(c.sent, answer)
	}
	return answer
}

func (c *card) dispatch(cmd apdu.Command) []byte {
	plain := func(data []byte, sw apdu.SW) []byte { return sw.Append(bytes.Clone(data)) }
	switch {
	case cmd.INS == 0xA4:
		c.channel, c.target = nil, string(cmd.Data)
		return plain(nil, apdu.SWOK)
	case cmd.INS == 0x50:
		return plain(c.initUpdate(cmd))
	case cmd.INS == 0x82:
		if c.channel == nil || c.channel.ExternalAuthenticate(cmd) != nil {
			return plain(nil, apdu.SWAuthFailed)
		}
		if c.lazy {
			c.seq++
		}
		return plain(nil, apdu.SWOK)
	case cmd.INS == 0x88:
		return plain(c.authenticate(cmd.Data))
	case cmd.CLA&0x04 == 0 && cmd.INS == 0xCA:
		return plain(tlv.Encode(0x9F7F, c.tags[string(aidISD)][0x9F7F]), apdu.SWOK)
	case c.channel == nil:
		return plain(nil, apdu.SWSecurity)
	}
	open, err := c.channel.Unwrap(cmd)
	if err != nil {
		return plain(nil, apdu.SWSecurity)
	}
	return c.channel.Wrap(c.secure(open))
}

func (c *card) initUpdate(cmd apdu.Command) ([]byte, apdu.SW) {
	kvn := cmd.P1
	if kvn == 0 {
		for kvn = range c.keys {
		}
	}
	keys, ok := c.keys[kvn]
	if !ok {
		return nil, apdu.SWRefDataNotFound
	}
	if c.scp02 {
		return c.update02(kvn, cmd.Data)
	}
	c.seq++
	channel, iu, err := scp.OpenCard(scp.CardConfig{Keys: keys, KVN: kvn, KDD: c.kdd, I: 0x70, AID: aidISD, Seq: c.seq}, cmd.Data)
	if err != nil {
		c.t.Fatal(err)
	}
	c.channel = channel
	return iu.Append(nil), apdu.SWOK
}

func (c *card) authenticate(data []byte) ([]byte, apdu.SW) {
	m, err := c.algorithm.Card(c.ki, c.opc)
	if err != nil {
		return nil, apdu.SWConditions
	}
	a, err := m.Authenticate(aka.Rand(data[1:17]), aka.AUTN(data[18:34]), aka.NewSQNArray(aka.DefaultSQNPolicy()))
	if err != nil {
		return nil, apdu.SWAuthMAC
	}
	if !a.Resync {
		return append([]byte{0xDB, 8}, a.Keys.RES[:]...), apdu.SWOK
	}
	return append([]byte{0xDC, 14}, a.AUTS[:]...), apdu.SWOK
}

func (c *card) secure(cmd apdu.Command) ([]byte, apdu.SW) {
	here := c.tags[c.target]
	switch cmd.INS {
	case 0xE6:
		return c.install(cmd)
	case 0xE2:
		if here == nil {
			return nil, apdu.SWConditions
		}
		if cmd.P1&1 != 0 {
			return c.storeTLV(cmd)
		}
		if c.block = append(c.block, cmd.Data...); cmd.P1&0x80 != 0 {
			c.store(c.block)
			c.block = nil
		}
	case 0x46:
		if cmd.P1 == 0x00 {
			c.newPair()
		}
		return c.possession(cmd.Data[2:]), apdu.SWOK
	case 0xD8:
		return c.putKey(cmd.Data)
	case 0xF0:
		aid := string(cmd.Data)
		if cmd.P1 == 0x80 {
			aid = string(aidISD)
		}
		c.life[aid] = cmd.P2
	case 0xF2:
		return c.status(cmd.P1, cmd.Data[2:]), apdu.SWOK
	case 0xE4:
		if c.tags[string(cmd.Data[2:])] == nil {
			return nil, apdu.SWRefDataNotFound
		}
		delete(c.tags, string(cmd.Data[2:]))
		delete(c.life, string(cmd.Data[2:]))
	}
	return nil, apdu.SWOK
}

func (c *card) install(cmd apdu.Command) ([]byte, apdu.SW) {
	if cmd.P1 == 0x0C {
		made := string(aidISDP)
		if bytes.Contains(cmd.Data, aidISDP2) {
			made = string(aidISDP2)
		}
		if c.tags[made] != nil {
			return nil, apdu.SWConditions
		}
		c.tags[made], c.life[made] = map[uint32][]byte{}, 0x07
		return nil, apdu.SWOK
	}
	aid := string(cmd.Data[3 : 3+cmd.Data[2]])
	if c.block, c.target = nil, ""; c.tags[aid] == nil {
		return nil, apdu.SWRefDataNotFound
	}
	c.target = aid
	return nil, apdu.SWOK
}

func (c *card) request(tags []byte) []byte {
	var out []byte
	for len(tags) > 0 {
		tag, n := uint32(tags[0]), 1
		if tag&0x1F == 0x1F {
			tag, n = tag<<8|uint32(tags[1]), 2
		}
		tags = tags[n:]
		if value := c.value(tag); value != nil {
			out = tlv.Append(out, tag, value)
		}
	}
	return out
}

func (c *card) value(tag uint32) []byte {
	switch {
	case tag == 0xE0 && c.target == string(aidISD):
		for kvn := range c.keys {
			return keyInfo(kvn, 3, map[bool]byte{false: 0x88, true: 0x80}[c.scp02])
		}
	case tag == 0xE0 && c.target == string(aidISDR) && c.isdr > 0:
		return keyInfo(1, c.isdr, 0x88)
	case tag == 0xDF30 && c.pair != nil:
		point, err := c.pair.PublicKey.Bytes()
		if err != nil {
			c.t.Fatal(err)
		}
		return point
	case tag == 0xDF27 && c.pins != nil && c.ki != nil:
		mac := scp.CMAC(c.ki, c.pins)
		return mac[:8]
	}
	return c.tags[c.target][tag]
}

func keyInfo(kvn byte, n int, kind byte) (out []byte) {
	for k := range n {
		out = append(out, 0xC0, 4, byte(k+1), kvn, kind, 0x10)
	}
	return out
}

func (c *card) store(data []byte) {
	groups, err := tlv.ParseDGIs(data)
	if err != nil {
		c.t.Fatalf("DGIs %X: %v", data, err)
	}
	here := c.tags[c.target]
	files := map[uint16]uint32{0x2FE2: 0xDF21, 0x6F07: 0xDF22, 0x6F78: 0xDF23, 0x6FAD: 0xDF24, 0x6F46: 0xDF25, 0x3A07: 0xDF07, 0x3A05: 0xDF08}
	keys, pins := 0, []byte(nil)
	for _, g := range groups {
		switch {
		case g.ID == 0x0070:
			all, err := tlv.ParseAll(g.Value)
			if err != nil {
				c.t.Fatal(err)
			}
			for _, e := range all {
				here[e.Tag] = bytes.Clone(e.Value)
			}
		case files[g.ID] != 0:
			here[files[g.ID]] = bytes.Clone(g.Value)
		case g.ID == 0x8113 && (c.target == string(aidISDP) || c.target == string(aidISDP2)):
			c.load.keys[keys] = c.plain(g.Value)
			keys++
		case g.ID == 0x8113:
			keys++
			c.isdr = keys
		case g.ID == 0x8F20:
			algorithm, keys, err := auth.ParseParameters(g.Value)
			if err != nil {
				c.t.Fatal(err)
			}
			k := algorithm.KBytes()
			c.algorithm, c.ki, c.opc = algorithm, c.plain(keys[:k]), c.plain(keys[k+3:len(keys)-3])
			here[0xDF26] = slices.Concat(algorithm.Parameters(), keys[k:k+3], keys[len(keys)-3:])
		case g.ID == 0x8F21:
			pins = append(pins, c.plain(g.Value[1:17])...)
		case g.ID == 0x8F30:
			c.takePair(c.plain(g.Value[1:33]), g.Value[33:])
			delete(here, 0x7F21)
		case g.ID == 0x8F22:
			c.pins = append(pins, c.plain(g.Value)...)
		}
	}
}

func (c *card) plain(enc []byte) []byte {
	b, err := c.channel.DecryptDEK(enc)
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

func (c *card) newPair() {
	var err error
	if c.pair, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		c.t.Fatal(err)
	}
}

func (c *card) takePair(scalar, point []byte) {
	var err error
	if c.pair, err = ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar); err != nil {
		c.t.Fatal(err)
	}
	if have, err := c.pair.PublicKey.Bytes(); err != nil || !bytes.Equal(have, point) {
		c.t.Fatalf("the pair does not belong together: %v", err)
	}
	c.given = append(c.given, bytes.Clone(scalar))
}

func (c *card) possession(challenge []byte) []byte {
	point, err := c.pair.PublicKey.Bytes()
	if err != nil {
		c.t.Fatal(err)
	}
	digest := sha256.Sum256(bytes.Join([][]byte{[]byte("PERSO-POP"), challenge, point}, nil))
	r, s, err := ecdsa.Sign(rand.Reader, c.pair, digest[:])
	if err != nil {
		c.t.Fatal(err)
	}
	sig := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return append(tlv.Encode(0x7F49, tlv.Encode(0xB0, point), tlv.Encode(0xF0, []byte{0})), tlv.Encode(0x5F37, sig)...)
}

func (c *card) putKey(data []byte) ([]byte, apdu.SW) {
	ch, ok := c.channel.(*scp.Card)
	if !ok {
		return c.putKey02(data)
	}
	kvn, keys, err := scp.ParsePutKey(ch, data)
	if err != nil {
		return nil, apdu.SWWrongData
	}
	c.keys = map[byte]scp.StaticKeys{kvn: {ENC: keys[0], MAC: keys[1], DEK: keys[2]}}
	var kcvs [][3]byte
	for _, k := range keys {
		kcvs = append(kcvs, scp.KCV(k))
	}
	return scp.PutKeyResponse(kvn, kcvs), apdu.SWOK
}

func (c *card) status(p1 byte, wanted []byte) (out []byte) {
	list := [][]byte{aidISD}
	if p1 == 0x40 {
		list = [][]byte{aidISDR, aidECASD, aidISDP, aidISDP2}
	}
	for _, aid := range list {
		if life, ok := c.life[string(aid)]; ok && bytes.HasPrefix(aid, wanted) {
			out = append(out, tlv.Encode(0xE3, tlv.Encode(0x4F, aid), tlv.Encode(0x9F70, []byte{life}), tlv.Encode(0xC5, []byte{0x80, 0xC0, 0x00}))...)
		}
	}
	return out
}
