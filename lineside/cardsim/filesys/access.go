package filesys

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/persoline/persoline/perso/tlv"
)

// Keys answers for what the chip keeps beside the files.
type Keys interface {
	// Satisfied says whether the user or the administrator behind a key reference was verified, or need not be. A local
	// reference (81 to 88) means the code of the directory, which is a file number, or of the nearest above it.
	Satisfied(dir int, ref byte) bool
	// Enabled says whether a key reference exists and is asked for.
	Enabled(dir int, ref byte) bool
	// Creator says whether the files may be made and filled now: their rules do not hold until they are operational.
	Creator() bool
}

// rule is the security attributes of a file: a reference to a record of an EF.ARR, or the rules themselves.
type rule struct {
	arr      FID
	record   byte
	expanded []byte // value of AB; when there is one, nothing is referenced
}

func parseRule(p tlv.TLV) (rule, error) {
	v := p.Value
	if p.Tag == tagExpanded {
		if _, err := parseRules(v); err != nil || len(v) == 0 {
			return rule{}, fmt.Errorf("%w: access rules: %v", errTemplate, err)
		}
		return rule{expanded: slices.Clone(v)}, nil
	}
	const single, first, withEnvironment = 3, 4, 0x00
	switch {
	case len(v) == single && v[2] != 0:
		return rule{arr: FID(binary.BigEndian.Uint16(v)), record: v[2]}, nil
	case len(v) == first && v[2] <= withEnvironment+1 && v[3] != 0: // the record of security environment 00 or 01
		return rule{arr: FID(binary.BigEndian.Uint16(v)), record: v[3]}, nil
	}
	return rule{}, fmt.Errorf("%w: reference to access rules % X", errTemplate, v)
}

func (r rule) encode() []byte {
	if r.expanded != nil {
		return tlv.Encode(tagExpanded, r.expanded)
	}
	return tlv.Encode(tagReferenced, append(binary.BigEndian.AppendUint16(nil, uint16(r.arr)), r.record))
}

// access is what a command wants of a file: a bit of the access mode byte, or an instruction (ISO/IEC 7816-4 table 16, 17).
type access struct {
	mode byte
	ins  byte
}

var (
	accessRead       = access{mode: 0x01}
	accessUpdate     = access{mode: 0x02}
	accessDeactivate = access{mode: 0x08}
	accessActivate   = access{mode: 0x10}
	accessTerminate  = access{mode: 0x20}
	accessDelete     = access{mode: 0x40} // of the file itself
	accessCreateEF   = access{mode: 0x02} // in a DF
	accessCreateDF   = access{mode: 0x04}
	accessChildren   = access{mode: 0x01} // delete what lies in a DF
	accessIncrease   = access{ins: 0x32}
	accessResize     = access{ins: 0xD4}
)

// Tags of access rules (ISO/IEC 7816-4 §5.4.3.2, TS 102 221 §9.2.7).
const (
	tagModeByte  = 0x80
	tagModeINS   = 0x84
	tagAlways    = 0x90
	tagNever     = 0x97
	tagUser      = 0xA4
	tagOr        = 0xA0
	tagAnd       = 0xAF
	tagKeyRef    = 0x83
	tagUsage     = 0x95
	maxRuleDepth = 4
)

// condition is one security condition.
type condition struct {
	never bool
	ref   byte        // key reference; 0 with kids or always
	kids  []condition // of OR and AND
	all   bool        // AND
}

// clause is a set of accesses and what they need.
type clause struct {
	mode byte
	ins  []byte
	need condition
}

// parseRules reads a record of EF.ARR, or the value of AB: pairs of access mode and condition. Filler FF ends it.
func parseRules(b []byte) (rules []clause, err error) {
	for len(b) > 0 && b[0] != 0xFF {
		var c clause
		for pending := true; pending; {
			var part tlv.TLV
			if part, b, err = tlv.Parse(b); err != nil {
				return nil, fmt.Errorf("reading access rules: %w", err)
			}
			switch part.Tag {
			case tagModeByte:
				if len(part.Value) != 1 {
					return nil, fmt.Errorf("access mode of %d bytes", len(part.Value))
				}
				c.mode |= part.Value[0]
			case tagModeINS:
				c.ins = append(c.ins, part.Value...)
			default:
				if c.need, err = parseCondition(part, maxRuleDepth); err != nil {
					return nil, err
				}
				pending = false
			}
		}
		rules = append(rules, c)
	}
	return rules, nil
}

func parseCondition(p tlv.TLV, depth int) (c condition, err error) {
	switch p.Tag {
	case tagAlways:
		return c, nil
	case tagNever:
		return condition{never: true}, nil
	case tagUser:
		ref, found, err := tlv.Find(p.Value, tagKeyRef)
		if err != nil || !found || len(ref) != 1 || ref[0] == 0 {
			return c, fmt.Errorf("user authentication without a key reference: %v", err)
		}
		return condition{ref: ref[0]}, nil
	case tagOr, tagAnd:
		kids, err := p.Children()
		if err != nil || len(kids) == 0 || depth == 0 {
			return c, fmt.Errorf("a list of conditions that is empty or too deep: %v", err)
		}
		c.all = p.Tag == tagAnd
		for _, k := range kids {
			kid, err := parseCondition(k, depth-1)
			if err != nil {
				return c, err
			}
			c.kids = append(c.kids, kid)
		}
		return c, nil
	}
	return c, fmt.Errorf("security condition %X", p.Tag)
}

func (c condition) met(dir int, keys Keys) bool {
	switch {
	case c.never:
		return false
	case c.ref != 0:
		return keys.Satisfied(dir, c.ref)
	case len(c.kids) == 0:
		return true
	case c.all:
		return !slices.ContainsFunc(c.kids, func(k condition) bool { return !k.met(dir, keys) })
	}
	return slices.ContainsFunc(c.kids, func(k condition) bool { return k.met(dir, keys) })
}

// allows says whether a file may be accessed so. Until a file is operational, whoever creates it may do anything with it: its
// rules hold from then on (TS 102 222 §6.1), those of all files from the MF's being operational on. Without a rule for an access
// there is none.
func (s *System) allows(n int, want access, keys Keys) bool {
	f := s.files[n]
	if f.state == Creation || f.state == Initialization || !s.Operational() {
		return keys.Creator()
	}
	rules, err := parseRules(s.rulesOf(n))
	if err != nil {
		return false
	}
	for _, c := range rules {
		if want.mode != 0 && c.mode&want.mode != 0 || want.ins != 0 && slices.Contains(c.ins, want.ins) {
			if c.need.met(s.directory(n), keys) {
				return true
			}
		}
	}
	return false
}

// rulesOf finds the rules of a file: its own, or the record of the nearest EF.ARR upward from the DF that it lies in, for a
// DF from itself (TS 102 221 §9.2.7).
func (s *System) rulesOf(n int) []byte {
	f := s.files[n]
	if f.rule.expanded != nil {
		return f.rule.expanded
	}
	for at := s.directory(n); ; {
		if arr, ok := s.child(at, f.rule.arr); ok {
			a := s.files[s.body(arr)]
			if a.kind != LinearFixed || f.rule.record == 0 || int(f.rule.record) > a.records() {
				return nil
			}
			from := (int(f.rule.record) - 1) * int(a.record)
			return a.content[from : from+int(a.record)]
		}
		if at == 0 {
			return nil
		}
		at = int(s.files[at].parent)
	}
}

// directory is the DF that a file lies in, of a DF itself.
func (s *System) directory(n int) int {
	if s.files[n].kind.isDF() {
		return n
	}
	return int(s.files[n].parent)
}
