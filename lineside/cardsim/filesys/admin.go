package filesys

import (
	"encoding/binary"
	"slices"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/tlv"
)

// valid is a selection without what was deleted meanwhile.
func (s *System) valid(at Selection) Selection {
	if s.files[at.df] == nil {
		return Selection{}
	}
	if at.adf != 0 && s.files[at.adf] == nil {
		at.adf = 0
	}
	if at.ef != noEF && s.files[at.ef] == nil {
		at.ef, at.record = noEF, 0
	}
	return at
}

// CreateFile is CREATE FILE in the current DF (TS 102 222 §6.3). Without any file it is the MF that is created, which
// anybody may do. What was created is selected.
func (s *System) CreateFile(at Selection, cmd apdu.Command, keys Keys) (next Selection, all Changes, sw apdu.SW) {
	if cmd.P1 != 0 || cmd.P2 != 0 {
		return at, nil, apdu.SWWrongP1P2
	}
	template, rest, err := tlv.Parse(cmd.Data)
	if err != nil || template.Tag != tagFCP || len(rest) != 0 {
		return at, nil, apdu.SWWrongData
	}
	if s.Empty() {
		return s.createMF(template.Value)
	}
	if id, _, _ := tlv.Find(template.Value, tagFID); slices.Equal(id, []byte{byte(MF >> 8), byte(MF & 0xFF)}) {
		return at, nil, apdu.SWFileExists
	}
	f, err := parseFCP(template.Value)
	if err != nil {
		return at, nil, apdu.SWWrongData
	}
	at = s.valid(at)
	want := accessCreateEF
	if f.kind.isDF() {
		want = accessCreateDF
	}
	parent := at.df
	if f.kind == ADF {
		parent = 0 // an application lies under the MF, wherever it is created
	}
	n, room := s.free()
	switch {
	case !s.allows(parent, want, keys):
		return at, nil, apdu.SWSecurity
	case s.files[parent].state == Terminated:
		return at, nil, apdu.SWConditions
	case s.taken(parent, f):
		return at, nil, apdu.SWFileExists
	case !room || len(f.header()) > maxHeader || s.bytes()+len(f.content) > MaxBytes:
		return at, nil, apdu.SWNoSpace
	}
	f.parent = uint16(parent)
	all = s.put(n, f)
	next = Selection{df: n, adf: at.adf}
	switch {
	case f.kind == ADF:
		next.adf = n
	case !f.kind.isDF():
		next = Selection{df: parent, adf: at.adf, ef: n}
	}
	return next, all, apdu.SWOK
}

func (s *System) createMF(value []byte) (next Selection, all Changes, sw apdu.SW) {
	parts, err := tlv.ParseAll(value)
	if err != nil {
		return next, nil, apdu.SWWrongData
	}
	isMF := false
	for i, p := range parts {
		if p.Tag == tagFID && slices.Equal(p.Value, []byte{byte(MF >> 8), byte(MF & 0xFF)}) {
			parts[i].Value, isMF = []byte{0x7F, 0x00}, true // the one identifier that only the first file may have
		}
	}
	if !isMF {
		return next, nil, apdu.SWConditions
	}
	var again []byte
	for _, p := range parts {
		again = tlv.Append(again, p.Tag, p.Value)
	}
	f, err := parseFCP(again)
	if err != nil || f.kind != DF {
		return next, nil, apdu.SWWrongData
	}
	f.id = MF
	return next, s.put(0, f), apdu.SWOK
}

// taken says whether an identifier, a short identifier or a name is in use where the file is to be.
func (s *System) taken(parent int, f *file) bool {
	if f.kind == ADF {
		for _, other := range s.files {
			if other.kind == ADF && slices.Equal(other.name, f.name) {
				return true
			}
		}
		return false
	}
	_, byID := s.child(parent, f.id)
	_, bySFI := s.childBySFI(parent, f.sfi)
	return byID || !f.kind.isDF() && bySFI
}

// DeleteFile is DELETE FILE: a file in the current DF, the current one without data, with all that lies in it.
func (s *System) DeleteFile(at Selection, cmd apdu.Command, keys Keys) (next Selection, all Changes, sw apdu.SW) {
	at = s.valid(at)
	n, sw := s.named(at, cmd)
	switch {
	case !sw.OK():
		return at, nil, sw
	case n == 0 && len(s.files) > 1:
		return at, nil, apdu.SWConditions
	case !s.allows(n, accessDelete, keys) && (n == 0 || !s.allows(int(s.files[n].parent), accessChildren, keys) || s.files[n].rulesDelete(s, n)):
		return at, nil, apdu.SWSecurity
	}
	gone := s.under(n)
	if s.linkedFrom(gone) {
		return at, nil, apdu.SWConditions
	}
	next = Selection{df: int(s.files[n].parent), adf: at.adf}
	if slices.Contains(gone, at.adf) {
		next.adf = 0
	}
	if n == 0 {
		next = Selection{}
	}
	return next, s.drop(gone), apdu.SWOK
}

// rulesDelete says whether the file's own rules speak of its deletion: then the DF's do not count.
func (f *file) rulesDelete(s *System, n int) bool {
	rules, err := parseRules(s.rulesOf(n))
	return err != nil || slices.ContainsFunc(rules, func(c clause) bool { return c.mode&accessDelete.mode != 0 })
}

// named is the file that an administrative command names: one in the current DF, or without data the current file.
func (s *System) named(at Selection, cmd apdu.Command) (int, apdu.SW) {
	switch {
	case s.Empty():
		return 0, apdu.SWFileNotFound
	case cmd.P1 != 0 || cmd.P2 != 0:
		return 0, apdu.SWWrongP1P2
	case len(cmd.Data) == 0 && at.ef != noEF:
		return at.ef, apdu.SWOK
	case len(cmd.Data) == 0:
		return at.df, apdu.SWOK
	case len(cmd.Data) != 2:
		return 0, apdu.SWWrongLength
	}
	n, found := s.reach(at, FID(binary.BigEndian.Uint16(cmd.Data)))
	if !found {
		return 0, apdu.SWFileNotFound
	}
	return n, apdu.SWOK
}

// Instructions of the commands that move a file's life cycle.
const (
	InsDeactivate  = 0x04
	InsActivate    = 0x44
	InsTerminateDF = 0xE6
	InsTerminateEF = 0xE8
)

// LifeCycle is DEACTIVATE, ACTIVATE, TERMINATE DF or TERMINATE EF.
func (s *System) LifeCycle(at Selection, cmd apdu.Command, keys Keys) (all Changes, sw apdu.SW) {
	n, sw := s.named(s.valid(at), cmd)
	if !sw.OK() {
		return nil, sw
	}
	f := *s.files[n]
	want, to := accessTerminate, Terminated
	switch cmd.INS {
	case InsActivate:
		want, to = accessActivate, Activated
	case InsDeactivate:
		want, to = accessDeactivate, Deactivated
	case InsTerminateDF, InsTerminateEF:
		if f.kind.isDF() != (cmd.INS == InsTerminateDF) {
			return nil, apdu.SWCommandIncompatible
		}
	default:
		return nil, apdu.SWUnknownINS
	}
	switch {
	case !s.allows(n, want, keys):
		return nil, apdu.SWSecurity
	case f.state == Terminated, f.kind.isDF() && cmd.INS == InsDeactivate && n == 0:
		return nil, apdu.SWConditions
	case to == Deactivated && f.state != Activated && f.state != Deactivated:
		return nil, apdu.SWConditions // it was not in use yet
	}
	f.state = to
	return s.put(n, &f), apdu.SWOK
}

// Resize is RESIZE FILE of a transparent or linear fixed EF: 62 { 83 identifier, 80 size }. What is added is FF.
func (s *System) Resize(at Selection, cmd apdu.Command, keys Keys) (all Changes, sw apdu.SW) {
	template, rest, err := tlv.Parse(cmd.Data)
	if err != nil || template.Tag != tagFCP || len(rest) != 0 {
		return nil, apdu.SWWrongData
	}
	id, hasID, err1 := tlv.Find(template.Value, tagFID)
	size, hasSize, err2 := tlv.Find(template.Value, tagSize)
	if err1 != nil || err2 != nil || !hasID || !hasSize || len(size) != 2 {
		return nil, apdu.SWWrongData
	}
	at = s.valid(at)
	n, sw := s.named(at, apdu.Command{Data: id})
	if !sw.OK() {
		return nil, sw
	}
	f, want := *s.files[n], int(binary.BigEndian.Uint16(size))
	switch {
	case f.kind != Transparent && f.kind != LinearFixed || f.link != 0:
		return nil, apdu.SWCommandIncompatible
	case !s.allows(n, accessResize, keys):
		return nil, apdu.SWSecurity
	case want == 0 || f.record != 0 && (want%int(f.record) != 0 || want/int(f.record) > maxRecords):
		return nil, apdu.SWWrongData
	case want > MaxFileBytes || s.bytes()-len(f.content)+want > MaxBytes:
		return nil, apdu.SWNoSpace
	}
	fresh := blank(want)
	copy(fresh, f.content)
	f.content = fresh
	return s.put(n, &f), apdu.SWOK
}
