package script

import (
	"reflect"
	"slices"
	"strconv"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/scp"
)

const (
	suffixChallenge = ".CHALLENGE"

	// storeAsk and storeAskMore are P1 of STORE DATA with BER-TLV that wants an answer: the last block of an object, and one
	// before it.
	storeAsk     = 0x91
	storeAskMore = 0x11

	// maxStreamBytes bounds a package under SCP03t: 64 KiB in segments, each with its header, padding and MAC.
	maxStreamBytes = scp.MaxPackage + 70*64
	openingBytes   = 2 + 8
)

const packageHint = "write .SCP03T OPEN NAME KVN=30 (9000) at the end of an act, and .SCP03T LOAD NAME (9000) at the beginning of the next"

// packageLine reads ".SCP03T OPEN NAME KVN=30 (status)" and ".SCP03T LOAD NAME (status)".
func (c *compiler) packageLine(cur *cursor, st Step) *Fault {
	verb, fault := cur.expect(kindWord, packageHint)
	if fault != nil {
		return fault
	}
	named, fault := cur.expect(kindWord, packageHint)
	if fault != nil {
		return fault
	}
	c.used(named.text)
	v, known := c.vars[named.text]
	if !known || !v.Package {
		return faultAt(named.pos, "the lot has the packages of its order; put what only some orders have between .WITH and .END", "%s is no profile package", named)
	}
	st.Package, st.Le = named.text, apdu.MaxLe
	switch verb.text {
	case "OPEN":
		return c.opening(cur, st)
	case "LOAD":
		return c.loading(cur, st, v.Len)
	}
	return faultAt(verb.pos, packageHint, "%s %s", directiveSCP03t, verb)
}

// opening is INITIALIZE UPDATE of SCP03t under a key set of the ISD-P.
func (c *compiler) opening(cur *cursor, st Step) *Fault {
	key, value, fault := setting(cur, packageHint)
	if fault != nil {
		return fault
	}
	kvn, err := strconv.ParseUint(value.text, 16, 8)
	if key.text != "KVN" || err != nil || len(value.text) != 2 || kvn == 0 || kvn > maxKVN {
		return faultAt(key.pos, packageHint, "%s=%s", key.text, value.text)
	}
	if fault := packageStatus(cur, &st); fault != nil {
		return fault
	}
	st.Header = [4]byte{0x80, insStoreData, storeAsk, 0}
	st.Body = openingBody(st.Package, byte(kvn))
	st.Purpose = PurposeOpening
	c.add(st)
	return nil
}

func openingBody(name string, kvn byte) []Segment {
	const challenge = 8
	return []Segment{{Bytes: []byte{scp.TagInitUpdate, openingBytes, kvn, scp.KeyIDTLV}},
		{Var: &Ref{Name: name + suffixChallenge, Form: Public, Size: challenge, To: challenge}}}
}

// loading is EXTERNAL AUTHENTICATE of SCP03t and the segments: each object in blocks of what the channel carries.
func (c *compiler) loading(cur *cursor, st Step, n int) *Fault {
	if fault := packageStatus(cur, &st); fault != nil {
		return fault
	}
	limit := apdu.MaxDataBytes
	if channel := c.out.Channel(len(c.out.Acts)); st.Secure && channel != nil {
		limit = channel.MaxData()
	}
	label := st.Label
	for i, part := range streamParts(n, limit) {
		block := st
		if i > 0 {
			block.Label = label + "/" + strconv.Itoa(i+1)
		}
		ref := part.ref
		ref.Name = st.Package
		block.Header = [4]byte{0x80, insStoreData, storeAskMore, part.block}
		block.Body = []Segment{{Var: &ref, pos: st.pos}}
		if part.last {
			block.Header[2], block.Purpose = storeAsk, PurposeObject
		}
		c.add(block)
	}
	return nil
}

func packageStatus(cur *cursor, st *Step) *Fault {
	if fault := status(cur, st); fault != nil {
		return fault
	}
	if t := cur.peek(); t.kind != kindEnd {
		return faultAt(t.pos, packageHint, "unexpected %s after the command", t)
	}
	return nil
}

// streamPart is a block of an object of SCP03t.
type streamPart struct {
	ref   Ref
	block byte // number within its object
	last  bool
}

// streamParts cuts the stream of a package of n bytes into blocks.
func streamParts(n, limit int) (parts []streamPart) {
	const macBytes = 8
	objects := scp.StreamObjects(n, macBytes)
	whole := 0
	for _, length := range objects {
		whole += length
	}
	at := 0
	for _, length := range objects {
		for block := byte(0); length > 0; block++ {
			size := min(length, limit)
			length -= size
			parts = append(parts, streamPart{ref: Ref{Form: Sealed, Size: whole, From: at, To: at + size}, block: block, last: length == 0})
			at += size
		}
	}
	return parts
}

// Carries says whether the script sends the package of a name as one of n bytes is sent: block by block, each object ending where
// the chip expects it to.
func (s *Script) Carries(name string, n int) bool {
	const macBytes = 8
	ends := map[int]bool{}
	whole := 0
	for _, length := range scp.StreamObjects(n, macBytes) {
		whole += length
		ends[whole] = true
	}
	ok := n > 0
	s.walk(func(_ int, _ *Section, st *Step) {
		if st.Package != name || st.Purpose == PurposeOpening {
			return
		}
		v := st.Body[0].Var
		ok = ok && v.Size == whole && ends[v.To] == (st.Purpose == PurposeObject)
		delete(ends, v.To)
	})
	return ok && len(ends) == 0
}

// Packages are the names of the packages that the script loads, each once.
func (s *Script) Packages() (names []string) {
	s.walk(func(_ int, _ *Section, st *Step) {
		if st.Package != "" && !slices.Contains(names, st.Package) {
			names = append(names, st.Package)
		}
	})
	return names
}

// continues gives a section what it continues: the redo, the decision and the condition of that section.
func (c *compiler) continues(t token) *Fault {
	sec := &c.section
	if sec.Redo != RedoAlways || sec.When != "" || len(sec.Done) > 0 {
		return faultAt(t.pos, sectionHint, "section %q with settings beside CONTINUES: it has those of the section that it continues", sec.Name)
	}
	if len(c.out.Acts) > 0 {
		before := c.out.Acts[len(c.out.Acts)-1]
		for i := range before {
			if b := &before[i]; b.Name == sec.Continues {
				sec.Redo, sec.When, sec.Done = b.Redo, b.When, b.Done
				return nil
			}
		}
	}
	return faultAt(t.pos, "write .ACT between them", "no section %q in the act before", sec.Continues).of(RulePackage)
}

// packages holds the steps of packages to their form and place: a session of SCP03t is inside the chip while nothing else comes
// between, so the opening ends an act and the package begins the next one.
func (r *rules) packages() {
	opened := map[string]string{} // section that opened, by package
	for a, act := range r.script.Acts {
		for i := range act {
			sec := &act[i]
			loads := len(sec.Steps) > 0 && sec.Steps[0].Package != "" && sec.Steps[0].Purpose != PurposeOpening
			if sec.Continues != "" || loads {
				r.continued(a, i, opened)
			}
			for j := range sec.Steps {
				st := &sec.Steps[j]
				switch {
				case st.Package == "":
					if st.Purpose == PurposeOpening || st.Purpose == PurposeObject {
						r.bad(RulePackage, st.pos, packageHint, "purpose %q without a package", st.Purpose)
					}
				case st.Purpose == PurposeOpening:
					r.opens(st, i == len(act)-1 && j == len(sec.Steps)-1 && sec.Name != "")
					if _, twice := opened[st.Package]; twice {
						r.bad(RulePackage, st.pos, packageHint, "package %s is opened twice", st.Package)
					}
					opened[st.Package] = sec.Name
				case !loads:
					r.bad(RulePackage, st.pos, packageHint, "package %s is not loaded at the beginning of a section", st.Package)
				}
			}
		}
	}
	r.walkPackages(opened)
}

// walkPackages finds packages that are opened and not loaded, or loaded twice.
func (r *rules) walkPackages(opened map[string]string) {
	loaded := map[string]int{}
	r.script.walk(func(_ int, _ *Section, st *Step) {
		if st.Package != "" && st.Purpose != PurposeOpening && len(st.Body) == 1 && st.Body[0].Var != nil && st.Body[0].Var.From == 0 {
			loaded[st.Package]++
		}
	})
	for _, name := range r.script.Packages() {
		if _, open := opened[name]; !open || loaded[name] != 1 {
			r.bad(RulePackage, top(), packageHint, "package %s is loaded %d times, opened %v", name, loaded[name], open)
		}
	}
}

func (r *rules) opens(st *Step, last bool) {
	kvn := byte(0)
	if len(st.Body) > 0 && len(st.Body[0].Bytes) == 4 {
		kvn = st.Body[0].Bytes[2]
	}
	want := openingBody(st.Package, kvn)
	same := len(st.Body) == len(want) && slices.Equal(st.Body[0].Bytes, want[0].Bytes) && st.Body[1].Var != nil && *st.Body[1].Var == *want[1].Var
	if !same || kvn == 0 || kvn > maxKVN || st.Header != [4]byte{0x80, insStoreData, storeAsk, 0} || st.Data != nil || st.SW != apdu.ExactMask(apdu.SWOK) {
		r.bad(RulePackage, st.pos, packageHint, "a malformed opening of package %s", st.Package)
	}
	if !last {
		r.bad(RulePackage, st.pos, "put it at the end of the last section of its act", "something follows the opening of package %s in its act", st.Package)
	}
}

// continued checks a section that loads: it goes on where the act before ended, with the whole package in order.
func (r *rules) continued(a, i int, opened map[string]string) {
	sec := &r.script.Acts[a][i]
	if len(sec.Steps) == 0 || a == 0 {
		r.bad(RulePackage, sec.pos, packageHint, "section %q continues nothing", sec.Name)
		return
	}
	before := r.script.Acts[a-1]
	from := before[len(before)-1]
	name := sec.Steps[0].Package
	switch {
	case i != 0 || name == "":
		r.bad(RulePackage, sec.pos, packageHint, "section %q continues another, and does not begin its act with a package", sec.Name)
	case opened[name] == "" || opened[name] != from.Name || sec.Continues != from.Name:
		r.bad(RulePackage, sec.pos, "write CONTINUES= and the section that ends with its opening", "section %q loads package %s, which the act before does not open at its end", sec.Name, name)
	case sec.Redo != from.Redo || sec.When != from.When || !sameDone(sec.Done, from.Done):
		r.bad(RulePackage, sec.pos, "leave REDO, WHEN and DONE to CONTINUES", "section %q is not decided as section %q", sec.Name, from.Name)
	}
	at, size, block := 0, 0, byte(0)
	for j := range sec.Steps {
		st := &sec.Steps[j]
		if st.Package == "" {
			break
		}
		last := st.Purpose == PurposeObject
		p1 := byte(storeAskMore)
		if last {
			p1 = storeAsk
		}
		ok := len(st.Body) == 1 && st.Body[0].Var != nil && st.Package == name && st.Purpose != PurposeOpening && st.Data == nil && st.SW == apdu.ExactMask(apdu.SWOK)
		if ok {
			v := st.Body[0].Var
			ok = v.Name == name && v.Form == Sealed && v.From == at && (at == 0 || v.Size == size)
			at, size = v.To, v.Size
		}
		if !ok || st.Header != [4]byte{0x80, insStoreData, p1, block} {
			r.bad(RulePackage, st.pos, packageHint, "a malformed block of package %s", name)
			return
		}
		if block++; last {
			block = 0
		}
	}
	if at != size || block != 0 {
		r.bad(RulePackage, sec.pos, packageHint, "package %s is not sent whole", name)
	}
}

// sameDone compares conditions but for their places in the source.
func sameDone(a, b Done) bool { return reflect.DeepEqual(bare(a), bare(b)) }

func bare(d Done) (out Done) {
	for _, all := range d {
		var conditions AllOf
		for _, c := range all {
			one := Condition{Probe: c.Probe}
			for _, g := range c.Pattern {
				one.Pattern = append(one.Pattern, Segment{Bytes: slices.Clone(g.Bytes), Care: slices.Clone(g.Care), Var: g.Var})
			}
			conditions = append(conditions, one)
		}
		out = append(out, conditions)
	}
	return out
}

// withLines is an open .WITH.
type withLines struct {
	holds bool
	pos   Pos
}

// withLine reads ".WITH NAME": the lines up to .END count only for a lot that has the variable NAME; and ".END".
func (c *compiler) withLine(cur *cursor) *Fault {
	t := cur.take()
	if t.text == directiveEnd {
		if len(c.with) == 0 {
			return faultAt(t.pos, "remove it", "%s without %s", directiveEnd, directiveWith)
		}
		c.with = c.with[:len(c.with)-1]
	} else {
		named, fault := cur.expect(kindWord, "write .WITH NAME, and .END behind the last line")
		if fault != nil {
			return fault
		}
		if !name(variableName, named.text) {
			return faultAt(named.pos, varHint, "name %s", named)
		}
		_, has := c.vars[named.text]
		c.with = append(c.with, withLines{holds: has, pos: t.pos})
	}
	if t := cur.peek(); t.kind != kindEnd {
		return faultAt(t.pos, "one directive per line", "unexpected %s", t)
	}
	return nil
}
