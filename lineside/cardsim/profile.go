package cardsim

import (
	"bytes"
	"slices"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/tlv"
)

// fileID is a file identifier of the UICC (ETSI TS 102 221 §13, TS 31.102 §4.2).
type fileID uint16

const (
	fileMF      fileID = 0x3F00
	fileICCID   fileID = 0x2FE2
	fileADF     fileID = 0x7FFF // whichever ADF is current
	fileIMSI    fileID = 0x6F07
	fileACC     fileID = 0x6F78
	fileAD      fileID = 0x6FAD
	fileSPN     fileID = 0x6F46
	noFile      fileID = 0
	iccidSFI           = 0x02
	maxFileSize        = 17
)

// profileFile is one elementary file of a profile, in the order of the tags from DF21.
type profileFile struct {
	id   fileID
	size int
	sfi  byte // 0: none
}

const fileCount = 5

func profileFiles() [fileCount]profileFile {
	return [fileCount]profileFile{
		{fileICCID, 10, iccidSFI}, {fileIMSI, 9, 0x07}, {fileACC, 2, 0x06}, {fileAD, 4, 0x03}, {fileSPN, maxFileSize, 0},
	}
}

const (
	dgiAKA = 0x8F20
	dgiPIN = 0x8F21
	dgiADM = 0x8F22

	// The cells of an AKA key set, among the data of the profile: numbers that no file has.
	cellKi  = 0x8F20
	cellOPc = 0x8F21
	cellAKA = 0x8F22 // parameters of the algorithm, when they are not those of Milenage by the standard

	kcvBytes     = 3
	pinSetBytes  = 16
	pinDGIBytes  = 1 + pinSetBytes + 2
	defaultTries = 10 // of ADM1
)

// profileGrouping takes one data grouping of an ISD-P: a file, the AKA keys, or a PIN set.
func (c *Chip) profileGrouping(all *changes, d domain, g tlv.DGI) apdu.SW {
	if c.mem.has(cellOf(d, kindData, tagPackage)) {
		return apdu.SWConditions // all that it has came with its package
	}
	switch g.ID {
	case dgiAKA:
		return c.akaGrouping(all, d, g.Value)
	case dgiPIN:
		return c.pinGrouping(all, d, g.Value)
	case dgiADM:
		return c.admGrouping(all, d, g.Value)
	}
	for _, f := range profileFiles() {
		if uint16(f.id) == g.ID && f.size == len(g.Value) {
			if c.hasFiles(d) || c.p.Options.SIM {
				return apdu.SWConditions // what the profile has of files is in its file system
			}
			all.put(cellOf(d, kindData, g.ID), g.Value...)
			return apdu.SWOK
		}
	}
	return apdu.SWWrongData
}

// akaGrouping: algorithm with its parameters, Ki and OPc or TOPc, each under the DEK with its check value. New keys begin with
// a new SQN array.
func (c *Chip) akaGrouping(all *changes, d domain, value []byte) apdu.SW {
	algorithm, keys, err := auth.ParseParameters(value)
	if err != nil || len(keys) != algorithm.KBytes()+algorithm.OPBytes()+2*kcvBytes {
		return apdu.SWWrongData
	}
	for _, k := range []struct {
		cell  uint16
		bytes int
	}{{cellKi, algorithm.KBytes()}, {cellOPc, algorithm.OPBytes()}} {
		key, sw := c.openKey(keys[:k.bytes], keys[k.bytes:][:kcvBytes])
		if !sw.OK() {
			return sw
		}
		all.put(cellOf(d, kindData, k.cell), key...)
		clear(key)
		keys = keys[k.bytes+kcvBytes:]
	}
	if at := cellOf(d, kindData, cellAKA); algorithm == auth.Default() {
		all.drop(at)
	} else {
		all.put(at, algorithm.Parameters()...)
	}
	all.drop(cellOf(d, kindSQN, 0))
	return apdu.SWOK
}

// akaParameters is what the chip was told of its algorithm.
func (c *Chip) akaParameters(d domain) []byte {
	if told, ok := c.mem.get(cellOf(d, kindData, cellAKA)); ok {
		return told
	}
	return auth.Default().Parameters()
}

// pinGrouping: reference, PIN and PUK under the DEK, tries of the PIN and of the PUK (left and most, a nibble each). The
// PIN is not asked for until somebody enables it.
func (c *Chip) pinGrouping(all *changes, d domain, value []byte) apdu.SW {
	if len(value) != pinDGIBytes || value[0] != refPIN1 && value[0] != refPIN2 {
		return apdu.SWWrongData
	}
	ref, pinTries, pukTries := value[0], value[1+pinSetBytes], value[2+pinSetBytes]
	block, err := c.decrypted(value[1:][:pinSetBytes])
	if err != nil {
		return apdu.SWWrongData
	}
	defer clear(block)
	t := tries{pin: pinTries & 0x0F, pinMost: pinTries >> 4, puk: pukTries & 0x0F, pukMost: pukTries >> 4}
	if !pinForm(block[:pinBytes], minPINDigits) || !pinForm(block[pinBytes:], pinBytes) ||
		t.pin == 0 || t.puk == 0 || t.pin > t.pinMost || t.puk > t.pukMost {
		return apdu.SWWrongData
	}
	t.enabled = ref != refPIN1
	all.put(cellOf(d, kindTries, uint16(ref)), t.bytes()...)
	all.put(cellOf(d, kindPIN, uint16(ref)), block...) // last: codes that are there have their tries, also in a memory that tears
	return apdu.SWOK
}

// admGrouping: ADM1 and eight FF, under the DEK. ADM1 may be any eight bytes and cannot be unblocked.
func (c *Chip) admGrouping(all *changes, d domain, value []byte) apdu.SW {
	if len(value) != pinSetBytes {
		return apdu.SWWrongData
	}
	block, err := c.decrypted(value)
	if err != nil {
		return apdu.SWWrongData
	}
	defer clear(block)
	if bytes.Count(block[pinBytes:], []byte{0xFF}) != pinBytes {
		return apdu.SWWrongData
	}
	t := tries{pin: defaultTries, pinMost: defaultTries, enabled: true}
	all.put(cellOf(d, kindTries, refADM1), t.bytes()...)
	all.put(cellOf(d, kindPIN, refADM1), block...)
	return apdu.SWOK
}

// profileObject reads what the request form offers of an ISD-P: files, check values, and a MAC over the PIN sets that
// proves them without showing them.
func (c *Chip) profileObject(d domain, tag uint32) ([]byte, bool) {
	if i := int(tag) - tagFirstEF; i >= 0 && i < fileCount {
		return c.mem.get(cellOf(d, kindData, uint16(profileFiles()[i].id)))
	}
	if tag == tagPackage || tag == tagPolicy {
		return c.mem.get(cellOf(d, kindData, uint16(tag)))
	}
	ki, hasKi := c.mem.get(cellOf(d, kindData, cellKi))
	opc, hasOPc := c.mem.get(cellOf(d, kindData, cellOPc))
	if !hasKi || !hasOPc {
		return nil, false
	}
	switch tag {
	case tagKeyChecks:
		a, b := scp.KCV(ki), scp.KCV(opc)
		return slices.Concat(c.akaParameters(d), a[:], b[:]), true
	case tagPINCheck:
		var sets [3][]byte
		for i, ref := range []uint16{refPIN1, refPIN2, refADM1} {
			set, ok := c.mem.get(cellOf(d, kindPIN, ref))
			if !ok {
				return nil, false
			}
			sets[i] = set
		}
		mac := scp.CMAC(ki, sets[:]...)
		return mac[:pinCheckBytes], true
	}
	return nil, false
}
