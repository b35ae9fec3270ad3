package saip

import (
	"slices"
	"strings"
)

// links gives linked files the content of their targets, once all files are there.
func (x *expander) links() {
	for _, f := range x.chip.Files {
		if f.Link == "" {
			continue
		}
		target := x.chip.byPath[f.Link]
		if target == nil { // a path within the application
			if inside := x.inApplication(f); x.chip.byPath[inside] != nil {
				f.Link, target = inside, x.chip.byPath[inside]
			}
		}
		switch {
		case target == nil:
			x.fault(f.at, f.node, f.Name, "file %s links to %s, which is not there", f.Path, f.Link)
		case target.Link != "":
			x.fault(f.at, f.node, f.Name, "file %s links to %s, which is a link itself", f.Path, f.Link)
		default:
			f.Kind, f.Size, f.RecordSize, f.Content = target.Kind, target.Size, target.RecordSize, target.Content
		}
	}
}

// inApplication is the link's target below the ADF that the link is in.
func (x *expander) inApplication(f *File) Path {
	for p := f.Path.Parent(); p != ""; p = p.Parent() {
		if d := x.chip.byPath[p]; d != nil && d.Kind == ADF {
			return p + Path(strings.TrimPrefix(string(f.Link), string(root)))
		}
	}
	return ""
}

// rules finds the access rule of each file: the record of the EF.ARR that is nearest on the way up.
func (x *expander) rules() {
	for _, f := range x.chip.Files {
		if f.ARR.Record == 0 {
			continue
		}
		arr := x.arr(f)
		record := []byte(nil)
		if arr != nil {
			record = arr.Record(int(f.ARR.Record))
		}
		f.Access = trimRule(record)
		if f.Access == nil {
			// A file without a rule can't be reached by anybody, which a chip bears and TS.48 does.
			n := f.at.fault(f.node, f.Name, "file %s has rule %d of EF %04X, which is not there: nobody can use the file", f.Path, f.ARR.Record, f.ARR.FID)
			n.Note = true
			x.faults = append(x.faults, n)
		}
	}
}

func (x *expander) arr(f *File) *File {
	start := f.Path.Parent()
	if f.Kind.Directory() && f.ARR.FID != 0x2F06 {
		start = f.Path // a DF may bring its own rules
	}
	for p := start; p != ""; p = p.Parent() {
		if arr := x.chip.byPath[p.child(f.ARR.FID)]; arr != nil {
			return arr
		}
	}
	if f.Kind == MF {
		return x.chip.byPath[root.child(f.ARR.FID)]
	}
	return nil
}

// trimRule takes the filler off a record of EF.ARR; nil if nothing is left.
func trimRule(record []byte) []byte {
	if rule := withoutFiller(record); len(rule) > 0 {
		return slices.Clone(rule)
	}
	return nil
}

// withoutFiller is content up to the FF that fill it up.
func withoutFiller(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == 0xFF {
		b = b[:len(b)-1]
	}
	return b
}
