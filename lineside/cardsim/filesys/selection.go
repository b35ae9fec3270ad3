package filesys

import (
	"encoding/binary"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/tlv"
)

// Selection is what one logical channel remembers. Its zero value has the MF selected.
type Selection struct {
	df     int // current DF
	adf    int // current application; 0 for none
	ef     int // current EF; 0 for none
	record int // current record, from 1; 0 for none
}

// noEF: the MF is no EF, so its number stands for none.
const noEF = 0

// How SELECT names a file (TS 102 221 table 11.1).
const (
	byFID      = 0x00
	byChild    = 0x01
	byParent   = 0x03
	byName     = 0x04
	byPath     = 0x08 // from the MF
	byPathHere = 0x09 // from the current DF

	answerFCP  = 0x04
	answerNone = 0x0C
)

// Select is SELECT. It gives the selection that follows, which is the caller's to keep, and the control parameters.
func (s *System) Select(at Selection, cmd apdu.Command, keys Keys) (next Selection, answer []byte, sw apdu.SW) {
	at = s.valid(at)
	n, found, sw := s.target(at, cmd)
	switch {
	case !sw.OK():
		return at, nil, sw
	case !found:
		return at, nil, apdu.SWFileNotFound
	case cmd.P2&0x1C != answerFCP && cmd.P2&0x1C != answerNone:
		return at, nil, apdu.SWWrongP1P2
	}
	next = s.enter(at, n)
	f := s.files[n]
	if cmd.P2&0x1C == answerFCP {
		answer = s.view(n).fcp(s.pinStatus(n, keys))
	}
	if f.state == Deactivated || f.state == Terminated {
		return next, answer, apdu.SWFileInvalidated
	}
	return next, answer, apdu.SWOK
}

// target finds the file that SELECT names.
func (s *System) target(at Selection, cmd apdu.Command) (n int, found bool, sw apdu.SW) {
	switch cmd.P1 {
	case byName:
		n, found = s.application(cmd.Data)
		return n, found, apdu.SWOK
	case byParent:
		if len(cmd.Data) != 0 {
			return 0, false, apdu.SWWrongLength
		}
		if s.Empty() {
			return 0, false, apdu.SWOK
		}
		return int(s.files[at.df].parent), true, apdu.SWOK
	case byPath, byPathHere:
		return s.walk(at, cmd)
	case byFID, byChild:
	default:
		return 0, false, apdu.SWWrongP1P2
	}
	if len(cmd.Data) != 2 {
		return 0, false, apdu.SWWrongLength
	}
	id := FID(binary.BigEndian.Uint16(cmd.Data))
	if cmd.P1 == byChild {
		n, found = s.child(at.df, id)
		return n, found && s.files[n].kind.isDF(), apdu.SWOK
	}
	n, found = s.reach(at, id)
	return n, found, apdu.SWOK
}

// reach is SELECT by identifier: the MF, what lies in the current DF, the DF itself, its parent, the DFs beside it, and the
// current application (TS 102 221 §8.4.2).
func (s *System) reach(at Selection, id FID) (int, bool) {
	switch {
	case s.Empty():
		return 0, false
	case id == MF:
		return 0, true
	case id == CurrentADF:
		return at.adf, at.adf != 0
	}
	if n, ok := s.child(at.df, id); ok {
		return n, true
	}
	parent := int(s.files[at.df].parent)
	switch {
	case at.df == 0:
		return 0, false
	case s.files[at.df].id == id && s.files[at.df].kind == DF:
		return at.df, true
	case s.files[parent].id == id && s.files[parent].kind == DF:
		return parent, true
	}
	n, ok := s.child(parent, id)
	return n, ok && s.files[n].kind.isDF()
}

// walk follows a path of identifiers downward. 7FFF at its beginning is the current application.
func (s *System) walk(at Selection, cmd apdu.Command) (n int, found bool, sw apdu.SW) {
	path := cmd.Data
	if len(path) == 0 || len(path)%2 != 0 {
		return 0, false, apdu.SWWrongLength
	}
	if s.Empty() {
		return 0, false, apdu.SWOK
	}
	if n = at.df; cmd.P1 == byPath {
		n = 0
		if first := FID(binary.BigEndian.Uint16(path)); first == CurrentADF {
			if n, path = at.adf, path[2:]; n == 0 {
				return 0, false, apdu.SWOK
			}
		}
	}
	for ; len(path) > 0; path = path[2:] {
		if n, found = s.child(n, FID(binary.BigEndian.Uint16(path))); !found {
			return 0, false, apdu.SWOK
		}
	}
	return n, true, apdu.SWOK
}

// enter is the selection after a file was selected.
func (s *System) enter(at Selection, n int) Selection {
	next := Selection{df: n, adf: at.adf}
	if !s.files[n].kind.isDF() {
		next.df, next.ef = int(s.files[n].parent), n
	}
	if adf := s.adfOf(n); adf != 0 {
		next.adf = adf
	}
	return next
}

// pinStatus says which of the PINs that a DF names are enabled (TS 102 221 §9.5.2): the byte 90 is made anew each time.
func (s *System) pinStatus(n int, keys Keys) []byte {
	f := s.files[n]
	if f.pins == nil {
		return nil
	}
	parts, err := tlv.ParseAll(f.pins)
	if err != nil {
		return f.pins
	}
	var refs []byte
	for _, p := range parts {
		if p.Tag == tagKeyRef && len(p.Value) == 1 {
			refs = append(refs, p.Value[0])
		}
	}
	const bitsOfByte = 8
	status := make([]byte, (len(refs)+bitsOfByte-1)/bitsOfByte)
	var out []byte
	for i, ref := range refs {
		if keys.Enabled(n, ref) {
			status[i/bitsOfByte] |= 0x80 >> (i % bitsOfByte)
		}
		out = append(out, tlv.Encode(tagKeyRef, []byte{ref})...)
	}
	return append(tlv.Encode(tagAlways, status), out...)
}

// Directory is the number of the current DF.
func (s *System) Directory(at Selection) int { return s.valid(at).df }

// Application is the number of the current ADF; 0 for none.
func (s *System) Application(at Selection) int { return s.valid(at).adf }

// Parent is the number of the DF that a file lies in; of the MF, and of a file that is not there, it is 0.
func (s *System) Parent(n int) int {
	if f := s.files[n]; f != nil {
		return int(f.parent)
	}
	return 0
}

// Content is what an EF of a directory holds; nil when there is none.
func (s *System) Content(dir int, id FID) []byte {
	n, ok := s.child(dir, id)
	if !ok {
		return nil
	}
	return s.files[s.body(n)].content
}

// InApplication says which application is selected, by its name; nil for none.
func (s *System) InApplication(at Selection) []byte {
	if at.adf == 0 || s.files[at.adf] == nil {
		return nil
	}
	return s.files[at.adf].name
}

// Status is STATUS: the parameters of the current DF.
func (s *System) Status(at Selection, cmd apdu.Command, keys Keys) ([]byte, apdu.SW) {
	const sameAsSelect, name, nothing = 0x00, 0x01, 0x0C
	at = s.valid(at)
	switch {
	case s.Empty():
		return nil, apdu.SWConditions // there is not even an MF
	case cmd.P1 > 2:
		return nil, apdu.SWWrongP1P2
	}
	switch cmd.P2 {
	case sameAsSelect:
		return s.files[at.df].fcp(s.pinStatus(at.df, keys)), apdu.SWOK
	case name:
		return tlv.Encode(tagName, s.InApplication(at)), apdu.SWOK
	case nothing:
		return nil, apdu.SWOK
	}
	return nil, apdu.SWWrongP1P2
}

// ef finds the EF of a command: by short identifier, or the current one. It checks that it is of a kind, may be accessed, and
// is not out of use.
func (s *System) ef(at Selection, sfi byte, want access, keys Keys, kinds ...Kind) (n int, sw apdu.SW) {
	n = at.ef
	if sfi != 0 {
		found := false
		if n, found = s.childBySFI(at.df, sfi); !found {
			return 0, apdu.SWFileNotFound
		}
	}
	f := s.files[n]
	switch {
	case n == noEF || f == nil:
		return 0, apdu.SWNoCurrentEF
	case !of(s.files[s.body(n)].kind, kinds):
		return 0, apdu.SWCommandIncompatible
	case f.state == Terminated:
		return 0, apdu.SWConditions
	case !s.allows(n, want, keys):
		return 0, apdu.SWSecurity
	case f.state == Deactivated:
		return 0, apdu.SWReferenceUnusable
	}
	return n, apdu.SWOK
}

func of(k Kind, kinds []Kind) bool {
	for _, want := range kinds {
		if k == want {
			return true
		}
	}
	return false
}
