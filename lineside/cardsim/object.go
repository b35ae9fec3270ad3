package cardsim

import (
	"slices"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/tlv"
)

// Data objects: those of GlobalPlatform and SGP.02, and from DF07 on those of this chip OS.
const (
	tagIIN         = 0x42
	tagCIN         = 0x45
	tagEID         = 0x5A
	tagCardData    = 0x66
	tagKeyInfo     = 0xE0
	tagOneKey      = 0xC0
	tagCPLC        = 0x9F7F
	tagCertificate = 0x7F21
	tagPublicKey   = 0x7F49
	tagPoint       = 0xB0
	tagCurve       = 0xF0
	tagSignature   = 0x5F37
	tagStamp       = 0xDF20
	tagAddressing  = 0xDF07
	tagECKAPoint   = 0xDF30
	tagFirstEF     = 0xDF21 // to DF25, the files in the order of profileFiles
	tagKeyChecks   = 0xDF26
	tagPINCheck    = 0xDF27
	tagPackage     = 0xDF28 // SHA-256 of the package that a profile was made of
	tagPolicy      = 0xDF29 // its policy rules (POL1), one byte
	tagFallback    = 0xDF08 // AID of the profile with the fallback attribute, in 4F

	stampBytes    = 32
	eidBytes      = 16
	maxIDBytes    = 16
	scalarBytes   = 32
	pointBytes    = 65
	pinCheckBytes = 8
)

// getData is GET DATA on the selected domain: the objects that anybody may read.
func (c *Chip) getData(cmd apdu.Command) ([]byte, apdu.SW) {
	tag := uint32(cmd.P1)<<8 | uint32(cmd.P2)
	if len(cmd.Data) != 0 {
		return nil, apdu.SWWrongLength
	}
	if !open(c.v.sd, tag) {
		return nil, apdu.SWRefDataNotFound
	}
	value, ok := c.object(c.v.sd, tag)
	if !ok {
		return nil, apdu.SWRefDataNotFound
	}
	return fit(tlv.Encode(tag, value), cmd.Le)
}

// open says which objects GET DATA gives.
func open(d domain, tag uint32) bool {
	switch d {
	case domISD:
		return tag == tagCPLC || tag == tagKeyInfo || tag == tagCardData || tag == tagStamp
	case domISDR:
		return tag == tagKeyInfo || tag == tagIIN || tag == tagCIN
	case domECASD:
		return tag == tagKeyInfo || tag == tagIIN || tag == tagCIN || tag == tagEID || tag == tagCertificate
	}
	return false
}

// fit cuts nothing: when the data is longer than Le asks for, the answer is the right length (ISO/IEC 7816-4 §5.6).
func fit(data []byte, le int) ([]byte, apdu.SW) {
	switch {
	case len(data) > apdu.MaxLe:
		return nil, apdu.SWWrongLength
	case le != apdu.NoLe && len(data) > le:
		return nil, apdu.SWWrongLe | apdu.SW(len(data)&0xFF)
	}
	return data, apdu.SWOK
}

// object reads the value of an object, stored or computed.
func (c *Chip) object(d domain, tag uint32) ([]byte, bool) {
	switch {
	case d == domISD && tag == tagCPLC:
		return c.p.CPLC[:], true
	case d == domISD && tag == tagCardData:
		return c.p.Options.cardData(), true
	case tag == tagKeyInfo:
		return c.keyInfo(d)
	case d == domECASD && tag == tagECKAPoint:
		pair, ok := c.mem.get(cellOf(d, kindPair, 0))
		if !ok {
			return nil, false
		}
		return pair[scalarBytes:], true
	case d.isProfile():
		return c.profileObject(d, tag)
	case c.p.Options.SIM && (tag == tagKeyChecks || tag == tagPINCheck):
		return c.profileObject(domSIM, tag)
	}
	return c.mem.get(cellOf(d, kindData, uint16(tag)))
}

// keyInfo is the key information template: KID, KVN, type, length for each key.
func (c *Chip) keyInfo(d domain) (out []byte, ok bool) {
	for _, e := range c.mem.span(cellOf(d, kindKey, 0), cellOf(d, kindKey+1, 0)) {
		n := e.at.number()
		out = tlv.Append(out, tagOneKey, []byte{byte(n), byte(n >> 8), e.value[0], byte(len(e.value) - 1)})
	}
	return out, len(out) > 0
}

const (
	dgiObjects     = 0x0070
	dgiKeyTemplate = 0x00B9
	dgiKeyValue    = 0x8113
	dgiAddressing  = 0x3A07
	dgiFallback    = 0x3A05

	aesKeyBytes = 16
)

// keyGrouping is a control template (00B9) and the key that follows it (8113), under the channel's DEK.
func (c *Chip) keyGrouping(all *changes, d domain, template, encrypted []byte) apdu.SW {
	parts, err := tlv.ParseAll(template)
	if err != nil || len(parts) != 6 || len(encrypted) != aesKeyBytes {
		return apdu.SWWrongData
	}
	value := map[uint32][]byte{}
	for _, p := range parts {
		value[p.Tag] = p.Value
	}
	usage, kid, kvn, kcv := value[0x95], value[0x82], value[0x83], value[0x84]
	if len(usage) != 1 || len(kid) != 1 || len(kvn) != 1 || len(kcv) != 3 ||
		!slices.Equal(value[0x80], []byte{keyTypeAES}) || !slices.Equal(value[0x81], []byte{aesKeyBytes}) ||
		!versionFits(d, kvn[0]) || !usageFits(kid[0], usage[0]) {
		return apdu.SWWrongData
	}
	key, sw := c.openKey(encrypted, kcv)
	if !sw.OK() {
		return sw
	}
	defer clear(key)
	all.put(cellOf(d, kindKey, uint16(kvn[0])<<8|uint16(kid[0])), append([]byte{keyTypeAES}, key...)...)
	if d.isProfile() {
		putSeq(all, d, kvn[0], 0)
	}
	return apdu.SWOK
}

// Versions of SCP80 key sets, which open no secure channel.
const (
	lowestOTA  = 0x01
	highestOTA = 0x0F
)

// versionFits says which key sets a domain takes: the ISD-R, and the ISD of a SIM, those of SCP80, an ISD-P those of SCP03.
func versionFits(d domain, kvn byte) bool {
	if d.isProfile() {
		return kvn >= lowestKVN && kvn <= highestKVN
	}
	return kvn >= lowestOTA && kvn <= highestOTA
}

// usageFits compares the key usage qualifier with what the key identifier of an SCP80 or SCP03 set means: 1 ciphering, 2
// integrity, 3 key encryption, each for commands or for both directions.
func usageFits(kid, usage byte) bool {
	switch kid {
	case 1:
		return usage == 0x18 || usage == 0x38
	case 2:
		return usage == 0x14 || usage == 0x34
	case 3:
		return usage == 0x48 || usage == 0xC8
	}
	return false
}

// openKey decrypts a key of 16 or 32 bytes and compares its check value.
func (c *Chip) openKey(encrypted, kcv []byte) ([]byte, apdu.SW) {
	key, err := c.decrypted(encrypted)
	if err != nil || len(key) != aesKeyBytes && len(key) != 2*aesKeyBytes {
		return nil, apdu.SWWrongData
	}
	if have := scp.KCV(key); !slices.Equal(have[:], kcv) {
		clear(key)
		return nil, apdu.SWSecurity
	}
	return key, apdu.SWOK
}
