package saip

import (
	"bytes"
	"slices"
)

// codes holds PINs and PUKs to each other and to the rules of ETSI TS 102 221 clause 9.
func (c *checker) codes() {
	puks := map[int]bool{}
	for _, k := range c.chip.PUKs {
		if puks[k.Ref] {
			c.fault(k.at, k.value(), "pukCodes", "PUK reference %02X comes twice", k.Ref)
		}
		if puks[k.Ref] = true; !isLocalPIN(k.Ref) && (k.Ref < 1 || k.Ref > 8) {
			c.fault(k.at, k.value(), "pukCodes", "%02X is no reference of a PUK", k.Ref)
		}
		c.tries(k.at, k.value(), k.Try)
		if !isBlank(k.value().value) && !digitsOnly(k.value().value, pukBytes) {
			c.fault(k.at, k.value(), "pukCodes", "PUK %02X is not of eight digits", k.Ref)
		}
	}
	for _, k := range c.chip.PINs {
		if k.SharedWith != "" {
			if d := c.chip.byPath[k.SharedWith]; d == nil || !d.Kind.Directory() {
				c.fault(k.at, k.value(), "filePath", "the codes are those of %s, which is no directory of the package", k.SharedWith)
			}
			c.shared[k.Context] = k.SharedWith
			continue
		}
		at := pinPlace{k.Context, k.Ref}
		if c.pins[at] {
			c.fault(k.at, k.value(), "pinCodes", "PIN reference %02X comes twice in %s", k.Ref, k.Context)
		}
		c.pins[at] = true
		c.pin(k, puks)
	}
}

func (c *checker) pin(k PIN, puks map[int]bool) {
	global := k.Ref >= 0x01 && k.Ref <= 0x08
	adm := k.Ref >= 0x0A && k.Ref <= 0x0E || k.Ref >= 0x8A && k.Ref <= 0x8E
	switch {
	case !global && !adm && !isLocalPIN(k.Ref):
		c.fault(k.at, k.value(), "pinCodes", "%02X is no reference of a PIN", k.Ref)
	case k.Context == root && isLocalPIN(k.Ref):
		c.fault(k.at, k.value(), "pinCodes", "PIN %02X is of an application, and stands at the MF", k.Ref)
	case k.Context != root && global:
		c.fault(k.at, k.value(), "pinCodes", "PIN %02X is of the whole card, and stands in %s", k.Ref, k.Context)
	}
	if k.PUK != 0 && !puks[k.PUK] {
		c.fault(k.at, k.value(), "pinCodes", "PIN %02X is unblocked by PUK %02X, which the package doesn't have", k.Ref, k.PUK)
	}
	c.tries(k.at, k.value(), k.Try)
	const fewest = 4
	if !adm && !isBlank(k.value().value) && !digitsOnly(k.value().value, fewest) {
		c.fault(k.at, k.value(), "pinCodes", "PIN %02X is not of four to eight digits with FF behind them", k.Ref)
	}
}

func (c *checker) tries(e *Element, at *node, t Try) {
	if t.Max == 0 || t.Left > t.Max {
		c.fault(e, at, at.name, "a code with %s tries", t)
	}
}

// isBlank tells the zeros that stand for a secret where it was taken out.
func isBlank(b []byte) bool { return !slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) }

// digitsOnly reports whether a code is of this many ASCII digits at least, and FF behind them.
func digitsOnly(b []byte, fewest int) bool {
	digits := withoutFiller(b)
	return len(digits) >= fewest && !slices.ContainsFunc(digits, func(c byte) bool { return c < '0' || c > '9' })
}

// directories holds the PIN status of directories against the PINs that there are: a file protected by a code that does
// not exist can't be reached by anybody.
func (c *checker) directories() {
	for _, f := range c.chip.Files {
		if !f.Kind.Directory() {
			continue
		}
		for _, ref := range f.PINStatus {
			if !c.hasPIN(f.Path, int(ref)) {
				c.fault(f.at, f.node, f.Name, "the PIN status of %s names %02X, which neither it nor a directory above has", f.Path, ref)
			}
		}
	}
}

// hasPIN looks for a PIN from a directory upwards. References that have no code of their own in a directory are taken
// from the next above.
func (c *checker) hasPIN(p Path, ref int) bool {
	for ; p != ""; p = p.Parent() {
		if c.pins[pinPlace{p, ref}] || c.pins[pinPlace{c.shared[p], ref}] {
			return true
		}
	}
	return false
}

// applications holds every application to its entry in EF.DIR, its authentication, its content.
func (c *checker) applications() {
	dir := c.chip.byPath[root.child(0x2F00)]
	for _, f := range c.chip.Applications() {
		if len(f.AID) == 0 {
			c.fault(f.at, f.node, f.Name, "the application in %s has no AID (dfName)", f.Path)
			continue
		}
		if dir == nil || !bytes.Contains(dir.Content, append([]byte{0x4F, byte(len(f.AID))}, f.AID...)) {
			c.fault(f.at, f.node, f.Name, "EF.DIR has no entry for the application %s", hexOf(f.AID))
		}
		if kind := f.Application(); kind == PEUSIM || kind == PEISIM {
			c.authentication(f)
		}
	}
	for _, f := range c.chip.Files {
		if f.FID == fidIMSI && f.Link == "" && len(f.Content) == efIMSIBytes && c.isUSIM(f.Path.Parent()) {
			c.imsi(f)
		}
	}
	for _, a := range c.chip.AKAs {
		c.aka(a)
	}
}

func (c *checker) isUSIM(p Path) bool {
	d := c.chip.byPath[p]
	return d != nil && d.Application() == PEUSIM
}

// imsi holds EF.IMSI to its coding (TS 31.102 clause 4.2.2): length, parity, digits, filler.
func (c *checker) imsi(f *File) {
	const longest, parityOdd, parityEven = 8, 0x09, 0x01
	n, rest := int(f.Content[0]), f.Content[1:]
	low := rest[0] & 0x0F
	if n == 0xFF || n == 0 { // none yet
		return
	}
	if n > longest || low != parityOdd && low != parityEven {
		c.fault(f.at, f.node, f.Name, "EF.IMSI of %s is not coded as one", f.Path)
	}
}

func (c *checker) authentication(f *File) {
	n := 0
	for _, a := range c.chip.AKAs {
		if a.Context == f.Path {
			n++
		}
	}
	if n != 1 {
		c.fault(f.at, f.node, f.Name, "the application %s has %d AKA parameters where one must be", f.Path, n)
	}
}

// keyLengths are those of K and OPc in bytes by algorithm.
var keyLengths = map[Algorithm]struct{ k, opc []int }{
	Milenage: {[]int{16}, []int{16}}, TUAK: {[]int{16, 32}, []int{32}}, TestAlgorithm: {[]int{16, 32}, []int{0, 16, 32}},
}

func (c *checker) aka(a AKA) {
	if d := c.chip.byPath[a.Context]; d == nil || d.Kind != ADF && a.Context != root {
		c.fault(a.at, nil, "", "an AKA parameter in %s, which is no application", a.Context)
	}
	if a.MappedTo != nil {
		if !slices.ContainsFunc(c.chip.Applications(), func(f *File) bool { return bytes.Equal(f.AID, a.MappedTo) }) {
			c.fault(a.at, nil, "algoConfiguration.mappingParameter", "the parameters are those of %s, which the package doesn't have", hexOf(a.MappedTo))
		}
		return
	}
	lengths, path := keyLengths[a.Algorithm], "algoConfiguration.algoParameter"
	if !slices.Contains(lengths.k, a.K.Len()) {
		c.fault(a.at, a.algorithm().child("key"), path+".key", "%s with a key of %d bytes", a.Algorithm, a.K.Len())
	}
	if !slices.Contains(lengths.opc, a.OPc.Len()) {
		c.fault(a.at, a.algorithm().child("opc"), path+".opc", "%s with an OPc of %d bytes", a.Algorithm, a.OPc.Len())
	}
	const bitsOfBlock = 128
	if slices.ContainsFunc(a.Rotation, func(r byte) bool { return r >= bitsOfBlock }) {
		c.fault(a.at, a.algorithm().child("rotationConstants"), path+".rotationConstants", "a rotation of 128 bits or more")
	}
	if a.Keccak == 0 {
		c.fault(a.at, a.algorithm().child("numberOfKeccak"), path+".numberOfKeccak", "no iteration of Keccak")
	}
	for i, v := range append([][]byte{a.SQNDelta, a.SQNAgeLimit}, a.SQN...) {
		const limit = 0x07 // SAIP: 07FFFFFFFFFF, as the index is not in it
		if v[0] > limit {
			c.fault(a.at, a.at.node, "sqn", "sequence number or limit %d is above 07FFFFFFFFFF", i+1)
		}
	}
}

// KVN ranges in which a key set is three keys (GlobalPlatform Card Specification 11.1.9 and its amendments): SCP80, SCP02,
// SCP03. SCP81 has two: PSK and DEK.
func fullSet(kvn byte) []byte {
	switch {
	case kvn >= 0x01 && kvn <= 0x0F, kvn >= 0x20 && kvn <= 0x2F, kvn >= 0x30 && kvn <= 0x3F:
		return []byte{1, 2, 3}
	case kvn >= 0x40 && kvn <= 0x4F:
		return []byte{1, 2}
	}
	return nil
}

// keySizes are lengths by GlobalPlatform's key type, in bytes.
var keySizes = map[byte][]int{0x80: {8, 16, 24}, 0x82: {8, 16, 24}, 0x88: {16, 24, 32}}

func (c *checker) domains() {
	for _, sd := range c.chip.Domains {
		sets := map[byte][]byte{}
		for _, k := range sd.Keys {
			if slices.Contains(sets[k.KVN], k.KID) {
				c.note(k.at, k.value(), "keyList", "key %02X of version %02X has several components", k.KID, k.KVN)
			}
			sets[k.KVN] = append(sets[k.KVN], k.KID)
			if sizes := keySizes[k.Type]; sizes != nil && !slices.Contains(sizes, k.Value.Len()) {
				c.fault(k.at, k.value(), "keyList", "key %02X of version %02X has %d bytes, which is none of its type %02X", k.KID, k.KVN, k.Value.Len(), k.Type)
			}
		}
		if len(sets) == 0 {
			c.note(sd.at, nil, "keyList", "the security domain %s has no key", hexOf(sd.AID))
		}
		for kvn, kids := range sets {
			for _, kid := range fullSet(kvn) {
				if !slices.Contains(kids, kid) {
					c.fault(sd.at, sd.at.node.child("keyList"), "keyList", "the key set of version %02X has no key %02X", kvn, kid)
				}
			}
		}
	}
}

func (c *checker) rfms() {
	tars, aids := map[string]bool{}, map[string]bool{}
	for _, r := range c.chip.RFMs {
		for _, tar := range r.TARs {
			if tars[string(tar)] {
				c.fault(r.at, r.at.node.child("tarList"), "tarList", "TAR %s is that of another instance", hexOf(tar))
			}
			tars[string(tar)] = true
		}
		if aids[string(r.AID)] {
			c.fault(r.at, r.at.node.child("instanceAID"), "instanceAID", "AID %s is that of another instance", hexOf(r.AID))
		}
		aids[string(r.AID)] = true
		if r.ADF != nil && !slices.ContainsFunc(c.chip.Applications(), func(f *File) bool { return bytes.Equal(f.AID, r.ADF) }) {
			c.fault(r.at, r.at.node.child("adfRFMAccess"), "adfRFMAccess.adfAID", "the package has no application %s", hexOf(r.ADF))
		}
	}
}
