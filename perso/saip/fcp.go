package saip

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// blank is a file before its control parameters are read: what its template says.
type blank struct {
	name          string
	fid           uint16
	kind          FileKind
	records, size int
	sfi, arr      byte
	content       string
	template      bool
}

// make creates a file. Given is the file of a template element, a created FCP, or nil for a file that only the template
// has. The result is nil where the file has no place.
func (x *expander) make(e *Element, given *node, path string, b blank, holder Path) *File {
	fcp, fills := parts(given)
	if fcp != nil && !b.template {
		b.fid = uint16(bigEndian(fcp.bytes("fileID")))
	}
	f := &File{Name: b.name, Kind: b.kind, FID: b.fid, at: e, node: given, FromTemplate: given == nil, LifeCycle: 0x05}
	if fcp != nil {
		if id := fcp.bytes("fileID"); id != nil {
			f.FID = uint16(bigEndian(id))
		}
		f.AID, f.LifeCycle, f.PINStatus = slices.Clone(fcp.bytes("dfName")), fcp.bytes("lcsi")[0], slices.Clone(fcp.bytes("pinStatusTemplateDO"))
	}
	if f.FID == 0 {
		x.fault(e, given, path, "the file has no identifier: the template gives it none")
		return nil
	}
	if depth := strings.Count(string(holder), "/"); depth > maxDepth {
		x.fault(e, given, path, "the file is in a directory %d below the MF, and %d is the limit", depth, maxDepth)
		return nil
	}
	f.Path = holder.child(f.FID)
	if holder == "" {
		f.Path = root
	}
	if other := x.chip.byPath[f.Path]; other != nil {
		x.fault(e, given, path, "the file %s is there already, made by PE %d %s", f.Path, other.at.Number, other.at.Kind)
		return nil
	}
	x.kind(f, fcp, path)
	x.reference(f, fcp, b, path)
	if !f.Kind.Directory() {
		x.ef(f, fcp, b, path)
		f.SFI = sfiOf(fcp, b, f.FID)
	}
	x.chip.Files, x.chip.byPath[f.Path] = append(x.chip.Files, f), f
	for i, c := range fills {
		x.fill(e, f, c.node, fmt.Sprintf("%s[%d].%s", path, c.index, fills[i].node.name))
	}
	return f
}

type fillPart struct {
	index int
	node  *node
}

// parts separates the control parameters of a file from the pieces of its content.
func parts(given *node) (fcp *node, fills []fillPart) {
	if given == nil {
		return nil, nil
	}
	if given.name == "createFCP" {
		return given, nil
	}
	for i, c := range given.children {
		switch c.name {
		case "fileDescriptor":
			fcp = c
		case "fillFileOffset", "fillFileContent":
			fills = append(fills, fillPart{i, c})
		}
	}
	return fcp, fills
}

// kind reads the file descriptor (ETSI TS 102 221 clause 11.1.1.4.3).
func (x *expander) kind(f *File, fcp *node, path string) {
	d := fcp.child("fileDescriptor")
	if d == nil {
		if f.Kind == 0 {
			x.fault(f.at, fcp, path, "the file has no descriptor, so its kind is unknown")
			f.Kind = Transparent
		}
		return
	}
	const kindBits, isDF, isBERTLV = 0x3F, 0x38, 0x39
	var kind FileKind
	switch d.value[0] & kindBits {
	case 0x01:
		kind = Transparent
	case 0x02:
		kind = LinearFixed
	case 0x06:
		kind = Cyclic
	case isBERTLV:
		kind = BERTLV
	case isDF:
		if kind = DF; len(f.AID) > 0 {
			kind = ADF
		}
		if f.FID == 0x3F00 {
			kind = MF
		}
	default:
		x.fault(f.at, d, join(path, "fileDescriptor"), "descriptor %s is of no kind of file", hexOf(d.value))
		return
	}
	if f.Kind != 0 && f.Kind != kind && (kind.Directory() || f.Kind.Directory()) {
		x.fault(f.at, d, join(path, "fileDescriptor"), "a %s file, where the template makes a %s file", kind, f.Kind)
		return
	}
	f.Kind = kind
	if kind.Records() && len(d.value) == 4 {
		f.RecordSize = bigEndian(d.value[2:])
	}
}

// reference reads which rule protects the file.
func (x *expander) reference(f *File, fcp *node, b blank, path string) {
	f.ARR = ARR{FID: 0x6F06, Record: b.arr}
	if f.Kind.Directory() && (f.Kind != DF || f.Path.Parent() == root) || f.Path.Parent() == root {
		f.ARR.FID = 0x2F06
	}
	n := fcp.child("securityAttributesReferenced")
	if n == nil {
		return
	}
	switch v := n.value; len(v) {
	case 1:
		f.ARR.Record = v[0]
	case 3:
		f.ARR = ARR{FID: uint16(v[0])<<8 | uint16(v[1]), Record: v[2]}
	default:
		x.fault(f.at, n, join(path, "securityAttributesReferenced"), "%d bytes, where a record, or a file and a record, must be", len(v))
	}
}

// sfiOf is the short file identifier: what the package says, else the template's, else, without one, the low five bits of
// the file identifier.
func sfiOf(fcp *node, b blank, fid uint16) byte {
	n := fcp.child("shortEFID")
	switch {
	case n != nil && len(n.value) == 1:
		return n.value[0] >> 3
	case n != nil:
		return 0
	case b.template:
		return b.sfi
	}
	const sfiBits = 0x1F
	return byte(fid & sfiBits)
}

// ef gives an EF its size and its first content.
func (x *expander) ef(f *File, fcp *node, b blank, path string) {
	if n := fcp.child("linkPath"); n != nil && len(n.value) > 0 {
		target, even := pathFrom(n.value)
		if !even {
			x.fault(f.at, n, join(path, "linkPath"), "%d bytes, where a path has two for each file", len(n.value))
		}
		f.Link = target
		return
	}
	const highUpdate = 0x80
	info := fcp.child("proprietaryEFInfo")
	if special := info.bytes("specialFileInformation"); len(special) == 1 {
		f.HighUpdate = special[0]&highUpdate != 0
	}
	if f.Kind.Records() && f.RecordSize == 0 {
		f.RecordSize = b.size
	}
	x.size(f, fcp, b, path)
	unit := f.Size
	if f.RecordSize > 0 {
		unit = f.RecordSize
	}
	if unit > 0 && f.Kind != BERTLV {
		f.Content = bytes.Repeat(patternOf(info, b.content, unit), (f.Size+unit-1)/unit)[:f.Size]
	}
	f.initial = slices.Clone(f.Content)
}

func (x *expander) size(f *File, fcp *node, b blank, path string) {
	at := fcp
	if f.Size = b.size; f.Kind.Records() {
		f.Size = max(b.records, 0) * f.RecordSize
	}
	f.sizeKnown = f.Size > 0
	if n := fcp.child("efFileSize"); n != nil {
		f.Size, f.sizeKnown, at = bigEndian(n.value), true, n
	}
	switch {
	case f.Size > maxFileBytes || x.total+f.Size > maxChipBytes:
		x.fault(f.at, at, join(path, "efFileSize"), "a file of %d bytes, after %d in others, is more than a chip holds", f.Size, x.total)
		f.Size = 0
	case f.Kind.Records() && f.sizeKnown && (f.RecordSize == 0 || f.Size%f.RecordSize != 0):
		x.fault(f.at, at, join(path, "efFileSize"), "%d bytes are no whole number of records of %d bytes", f.Size, f.RecordSize)
		f.RecordSize, f.Kind = 0, Transparent
	case f.Kind.Records() && f.RecordSize > 0 && f.Size/f.RecordSize > 254:
		x.fault(f.at, at, join(path, "efFileSize"), "%d records, and 254 are the limit", f.Size/f.RecordSize)
	case !f.sizeKnown && !b.template:
		x.fault(f.at, at, path, "the file has no size")
	case !f.sizeKnown:
		n := f.at.fault(at, path, "the size is left to a template that is not known here: the content's is taken")
		n.Note = true
		x.faults = append(x.faults, n)
	}
	x.total += f.Size
}

// patternOf is what one record, or a file without records, holds before content comes (ETSI TS 102 222 clause 6.3.2.2.2):
// a fill pattern whose last byte goes on, a pattern that is repeated, or what the template has.
func patternOf(info *node, content string, unit int) []byte {
	if p := info.child("fillPattern"); p != nil {
		return extend(p.value, unit)
	}
	if p := info.child("repeatPattern"); p != nil {
		return bytes.Repeat(p.value, (unit+len(p.value)-1)/len(p.value))[:unit]
	}
	return fillOf(content, unit)
}

// fillOf spells out a template's content: bytes whose last one goes on ("07FF"), bytes repeated ("(FFFFFF0000)"), or bytes
// that go on until the last ones ("FF*07"). Nothing is FF.
func fillOf(content string, unit int) []byte {
	if inner, ok := strings.CutPrefix(content, "("); ok {
		p := mustHex(strings.TrimSuffix(inner, ")"))
		return bytes.Repeat(p, (unit+len(p)-1)/len(p))[:unit]
	}
	head, tail, _ := strings.Cut(content, "*")
	if head == "" {
		head = "FF"
	}
	out := extend(mustHex(head), unit)
	if end := mustHex(tail); len(end) <= unit {
		copy(out[unit-len(end):], end)
	}
	return out
}

func extend(p []byte, unit int) []byte {
	out := bytes.Repeat(p[len(p)-1:], unit)
	copy(out, p)
	return out
}

// mustHex reads a constant of this package's tables.
func mustHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(fmt.Sprintf("saip: the table says %q: %v", s, err))
	}
	return b
}
