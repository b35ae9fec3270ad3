package cardsim

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // GlobalPlatform has it for load file hashes
	"crypto/sha256"
	"encoding/binary"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/tlv"
)

// receiving is an executable load file on its way: INSTALL [for load] named it, and LOAD brings it block by block. Nothing of it
// is in memory until it is whole.
type receiving struct {
	aid, hash []byte // the hash is empty where none was given
	next      int    // number of the next block
	data      []byte // the load file data block with its header
	want      int    // bytes of it; 0 until the header is there
}

const (
	installForLoad   = 0x02
	installInstances = 0x04
	installSelect    = 0x08

	tagLoadFile = 0xC4
	tagDAP      = 0xE2

	// maxLoadFileBytes bounds a load file data block: what two length bytes say.
	maxLoadFileBytes = 0xFFFF
	// maxLoadFiles and maxInstances bound the registry.
	maxLoadFiles = 8
	maxInstances = 16
)

// installLoad is INSTALL [for load] (Card Specification §11.5.2.3.1): load file, domain, hash, parameters, token.
func (c *Chip) installLoad(cmd apdu.Command) ([]byte, apdu.SW) {
	f, ok := splitLV(cmd.Data, 5)
	if !ok || !isAID(f[0]) || len(f[4]) != 0 || len(f[2]) != 0 && len(f[2]) != sha1.Size && len(f[2]) != sha256.Size {
		return nil, apdu.SWWrongData
	}
	if _, err := tlv.ParseAll(f[3]); err != nil {
		return nil, apdu.SWWrongData
	}
	switch {
	case len(f[1]) != 0 && string(f[1]) != aidISD:
		return nil, apdu.SWRefDataNotFound // no other domain takes code
	case c.named(f[0]):
		return nil, apdu.SWConditions
	case c.freeCell(kindLoadFile, maxLoadFiles) == 0:
		return nil, apdu.SWNoSpace
	}
	c.v.code = &receiving{aid: bytes.Clone(f[0]), hash: bytes.Clone(f[2])}
	return []byte{0}, apdu.SWOK
}

// loadBlock is LOAD (§11.6). A block out of turn, and any other command in between, is the end of it.
func (c *Chip) loadBlock(cmd apdu.Command) ([]byte, apdu.SW) {
	const last = 0x80
	r := c.v.code
	if r == nil {
		return nil, apdu.SWConditions
	}
	sw := apdu.SWOK
	switch {
	case cmd.P1&^last != 0 || int(cmd.P2) != r.next:
		sw = apdu.SWWrongP1P2
	case len(cmd.Data) == 0:
		sw = apdu.SWWrongLength
	default:
		sw = r.take(cmd.Data)
	}
	r.next++
	switch {
	case !sw.OK():
	case cmd.P1 == last:
		c.v.code = nil
		return c.loaded(r)
	case r.next > 0xFF:
		sw = apdu.SWNoSpace // the block number is used up
	}
	if !sw.OK() {
		c.v.code = nil
		return nil, sw
	}
	return []byte{0}, sw
}

// take adds a block, and reads the header of the load file data block when it is there.
func (r *receiving) take(block []byte) apdu.SW {
	r.data = append(r.data, block...)
	if r.want == 0 {
		n, ok := wholeElement(r.data)
		if !ok || r.data[0] == tagDAP || r.data[0] != tagLoadFile { // no domain here verifies signatures of load files
			return apdu.SWWrongData
		}
		r.want = n
	}
	switch {
	case r.want > maxLoadFileBytes:
		return apdu.SWNoSpace
	case r.want != 0 && len(r.data) > r.want:
		return apdu.SWWrongData
	}
	return apdu.SWOK
}

// loaded puts a load file that is whole into the registry: its size and hash, and the modules that it says it has.
func (c *Chip) loaded(r *receiving) ([]byte, apdu.SW) {
	whole, rest, err := tlv.Parse(r.data)
	if err != nil || len(rest) != 0 {
		return nil, apdu.SWWrongData
	}
	code := whole.Value
	if !hashFits(r.hash, code) {
		return nil, apdu.SWWrongData
	}
	pkg, modules, ok := readCAP(code)
	if !ok || !bytes.Equal(pkg, r.aid) {
		return nil, apdu.SWWrongData
	}
	var all changes
	all.put(cellOf(domISD, kindLoadFile, c.freeCell(kindLoadFile, maxLoadFiles)), loadFileValue(r.aid, code, modules)...)
	if sw := c.commit(all); !sw.OK() {
		return nil, sw
	}
	c.mem.pages += len(code) / pageBytes // the code is written too; what would run it is not in this chip
	return []byte{0}, apdu.SWOK
}

// loadFileValue is what the registry keeps of a load file: name, size and hash, and its modules.
func loadFileValue(aid, code []byte, modules [][]byte) []byte {
	value := binary.BigEndian.AppendUint32(withLength(nil, aid), uint32(len(code)))
	digest := sha256.Sum256(code)
	value = append(append(value, digest[:]...), byte(len(modules)))
	for _, m := range modules {
		value = withLength(value, m)
	}
	return value
}

// hashFits says whether a hash of a known length is that of the code; none fits everything.
func hashFits(hash, code []byte) bool {
	switch len(hash) {
	case sha1.Size:
		sum := sha1.Sum(code)
		return bytes.Equal(sum[:], hash)
	case sha256.Size:
		sum := sha256.Sum256(code)
		return bytes.Equal(sum[:], hash)
	}
	return len(hash) == 0
}

// Components of a CAP file and where their identifiers are (Java Card Virtual Machine Specification 3.0.5 §6.3, §6.6).
const (
	capHeader    = 1
	capApplet    = 3
	capMagic     = "\xDE\xCA\xFF\xED"
	headerBefore = 4 + 2 + 1 + 2 // magic, version, flags, package version
)

// readCAP reads the name of the package and of its applets from a load file: components of tag, length and content, the header
// first.
func readCAP(code []byte) (pkg []byte, applets [][]byte, ok bool) {
	for first := true; len(code) > 0; first = false {
		const head = 3
		if len(code) < head {
			return nil, nil, false
		}
		tag, n := code[0], int(binary.BigEndian.Uint16(code[1:]))
		if len(code) < head+n || first != (tag == capHeader) {
			return nil, nil, false
		}
		body := code[head : head+n]
		code = code[head+n:]
		switch tag {
		case capHeader:
			if !bytes.HasPrefix(body, []byte(capMagic)) || len(body) <= headerBefore {
				return nil, nil, false
			}
			pkg, _, ok = cutLV(body[headerBefore:])
		case capApplet:
			applets, ok = readApplets(body)
		}
		if !ok {
			return nil, nil, false
		}
	}
	return pkg, applets, isAID(pkg)
}

// readApplets reads the applet component: a count, and for each an identifier and where it is installed.
func readApplets(body []byte) (all [][]byte, ok bool) {
	const method = 2
	if len(body) == 0 || int(body[0]) > maxInstances {
		return nil, false
	}
	count := int(body[0])
	for body = body[1:]; count > 0; count-- {
		aid, rest, ok := cutLV(body)
		if !ok || !isAID(aid) || len(rest) < method {
			return nil, false
		}
		all, body = append(all, aid), rest[method:]
	}
	return all, len(body) == 0
}

func cutLV(b []byte) (part, rest []byte, ok bool) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return nil, nil, false
	}
	return b[1 : 1+int(b[0])], b[1+int(b[0]):], true
}

func isAID(b []byte) bool { return len(b) >= 5 && len(b) <= 16 }

// freeCell is the lowest number from 1 that no cell of the kind has in the ISD; 0 when all are taken.
func (c *Chip) freeCell(k kind, most int) uint16 {
	for n := uint16(1); int(n) <= most; n++ {
		if !c.mem.has(cellOf(domISD, k, n)) {
			return n
		}
	}
	return 0
}

// named says whether a domain, a load file or an instance has the name.
func (c *Chip) named(aid []byte) bool {
	_, file := c.loadFile(aid)
	_, instance := c.instance(aid)
	return file || instance || c.domainOf(aid) != domNone || string(aid) == aidUSIM || string(aid) == aidLoadFile
}
