package audit

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// ErrNotFound says that the log holds nothing about a subject.
var ErrNotFound = errors.New("the log holds nothing about it")

// unitName is a unit of a lot.
type unitName struct {
	lot  perso.Name
	unit perso.Unit
}

// subjectOf is what belongs to a subject, found step by step: claims come after the release of their lot, acts after their claim.
type subjectOf struct {
	Subject
	units  map[unitName]bool
	chips  map[id.ChipID]bool
	places map[perso.Presentation]bool
	lots   map[perso.Name]bool // that a lot or an order is about
	words  [][32]byte          // statements that belong to the proof
	signs  [][]byte            // an entry about a unit has one of these in its text, whatever is known of it
}

func newSubject(s Subject) *subjectOf {
	of := &subjectOf{Subject: s, units: map[unitName]bool{}, chips: map[id.ChipID]bool{}, places: map[perso.Presentation]bool{}, lots: map[perso.Name]bool{}}
	switch s.Kind {
	case SubjectEID:
		of.sign("eid %s", s.Key)
	case SubjectChip:
		of.sign("chip %s", s.Key)
	}
	return of
}

// maxSigns bounds what is looked for in the text of an entry: a unit that was made again after each of its chips was contacted several
// times has no more. Beyond it every entry is parsed.
const maxSigns = 64

// sign notes lines by which an entry about the subject is known before it is parsed.
func (s *subjectOf) sign(format string, args ...any) {
	s.signs = append(s.signs, fmt.Appendf(nil, "\n"+format+"\n", args...))
}

// mayTake reports whether takes could take an entry, by its text alone. Nearly all of a log is about other units, and need not be parsed.
func (s *subjectOf) mayTake(body []byte) bool {
	kind, err := record.Kind(body)
	if err != nil || len(s.signs) > maxSigns {
		return true
	}
	switch kind {
	case entry.KindClaim, entry.KindAct, entry.KindCertificate, entry.KindOutcome, entry.KindPresent, entry.KindBin:
		return slices.ContainsFunc(s.signs, func(sign []byte) bool { return bytes.Contains(body, sign) })
	}
	return true
}

func (s *subjectOf) addUnit(u unitName) {
	if !s.units[u] {
		s.units[u] = true
		s.sign("lot %s\nunit %d", u.lot, u.unit)
	}
}

func (s *subjectOf) addChip(c id.ChipID) {
	if !s.chips[c] {
		s.chips[c] = true
		s.sign("chip %s", cmp.Or(c.String(), record.None))
	}
}

func (s *subjectOf) addPlace(p perso.Presentation) {
	if !s.places[p] {
		s.places[p] = true
		s.sign("line %s\nhead %d\nnumber %d", p.Line, p.Head, p.Number)
	}
}

// takes reports whether an entry is about the subject. open gives the release that a statement names; nil when its words are gone.
func (s *subjectOf) takes(e any, open func([32]byte) *statement.Release) bool {
	switch e := e.(type) {
	case entry.Genesis:
		return true
	case entry.Statement:
		return s.takesStatement(e, open)
	case entry.Claim:
		return s.takesClaim(e)
	case entry.Act:
		return s.takesAt(e.Lot, e.Unit, e.Present)
	case entry.Certificate:
		return s.units[unitName{e.Lot, e.Unit}]
	case entry.Outcome:
		return s.takesAt(e.Lot, e.Unit, e.Present)
	case entry.Present:
		return s.chips[e.Chip] || s.places[e.Present]
	case entry.Bin:
		return s.chips[e.Chip] || s.places[e.Present]
	case entry.Alarm:
		return s.places[e.Present] || s.lots[e.Lot]
	case entry.Count:
		return s.lots[e.Lot]
	case entry.Export:
		return s.lots[e.Lot]
	}
	return false
}

func (s *subjectOf) takesStatement(e entry.Statement, open func([32]byte) *statement.Release) bool {
	if e.What == statement.KindRelease && (s.Kind == SubjectICCID || s.Kind == SubjectOrder || s.Kind == SubjectLot) {
		s.released(e, open(e.Hash))
	}
	if !s.lots[e.Lot] || e.Lot == "" {
		return false
	}
	s.words = append(s.words, e.Hash)
	return s.Kind != SubjectICCID || e.What == statement.KindRelease
}

// released finds out whether a lot is the subject's.
func (s *subjectOf) released(e entry.Statement, r *statement.Release) {
	switch {
	case s.Kind == SubjectLot:
		if string(e.Lot) == s.Key {
			s.lots[e.Lot] = true
		}
	case r == nil:
	case s.Kind == SubjectOrder:
		if r.Order == s.Key {
			s.lots[e.Lot] = true
		}
	default:
		if unit, ok := unitOf(r, s.Key); ok {
			s.lots[e.Lot] = true
			s.addUnit(unitName{e.Lot, unit})
		}
	}
}

// unitOf is the unit that a release gives an ICCID to.
func unitOf(r *statement.Release, key string) (perso.Unit, bool) {
	iccid, err := id.ParseICCID(key)
	if err != nil {
		return 0, false
	}
	for _, one := range subscriptionsOf(r) {
		if n, ok := one.iccids.Index(iccid); ok && n < r.Units() {
			return perso.Unit(n), true
		}
	}
	return 0, false
}

func (s *subjectOf) takesClaim(e entry.Claim) bool {
	unit := unitName{e.Lot, e.Unit}
	switch s.Kind {
	case SubjectEID:
		if e.EID.String() == s.Key {
			s.addUnit(unit)
		}
	case SubjectChip:
		if e.Chip.String() == s.Key {
			s.addUnit(unit)
		}
	}
	if !s.units[unit] {
		return false
	}
	s.addChip(e.Chip)
	s.addPlace(e.Present)
	return true
}

func (s *subjectOf) takesAt(lot perso.Name, unit perso.Unit, at perso.Presentation) bool {
	if !s.units[unitName{lot, unit}] {
		return false
	}
	s.addPlace(at)
	return true
}

// Prove collects the entries about a subject, with their proofs. A chip's contacts before its claim are found by the chip alone.
//
// It parses only entries whose text can be about the subject, as mayTake tells: another entry of the log that can't be parsed is passed
// over, and is found by the full audit alone (Verify).
func (l *Log) Prove(subject Subject) (Proof, error) {
	p := Proof{Subject: subject, Note: l.Note}
	s := newSubject(subject)
	if err := s.check(); err != nil {
		return p, err
	}
	open := func(hash [32]byte) *statement.Release {
		raw, err := l.Statement(hash)
		if err != nil || raw == nil {
			return nil
		}
		signed, err := statement.DecodeSigned(raw)
		if err != nil || signed.Hash() != hash {
			return nil
		}
		r, err := statement.ParseRelease(signed.Body)
		if err != nil {
			return nil
		}
		return &r
	}
	err := l.Each(func(seq int64, body []byte) error {
		if !s.mayTake(body) {
			return nil
		}
		e := parseEntry(body)
		if e.err != nil {
			return fmt.Errorf("reading entry %d: %w", seq, e.err)
		}
		if !s.takes(e.entry, open) {
			return nil
		}
		if len(p.Entries) == maxProven {
			return fmt.Errorf("more than %d entries are about %s", maxProven, subject)
		}
		p.Entries = append(p.Entries, Proven{Seq: seq, Body: bytes.Clone(body)})
		return nil
	})
	if err == nil && len(p.Entries) < 2 { // the first entry alone
		err = ErrNotFound
	}
	if err != nil {
		return p, fmt.Errorf("proving %s: %w", subject, err)
	}
	for i := range p.Entries {
		if p.Entries[i].Proof, err = l.Inclusion(p.Entries[i].Seq); err != nil {
			return p, err
		}
	}
	for _, hash := range s.words {
		raw, err := l.Statement(hash)
		if err != nil {
			return p, err
		}
		if raw != nil && (subject.Kind != SubjectICCID || open(hash) != nil) {
			p.Statements = append(p.Statements, raw)
		}
	}
	return p, nil
}

// check refuses what is no key of its kind.
func (s *subjectOf) check() (err error) {
	switch s.Kind {
	case SubjectEID:
		_, err = id.ParseEID(s.Key)
	case SubjectICCID:
		_, err = id.ParseICCID(s.Key)
	case SubjectChip:
		var c id.ChipID
		if c, err = id.ParseChipID(s.Key); err == nil && c.String() != s.Key {
			err = fmt.Errorf("chip id %q is not lower-case", s.Key)
		}
	case SubjectLot:
		_, err = perso.ParseName(s.Key)
	case SubjectOrder:
	default:
		err = fmt.Errorf("proofs are about an EID, an ICCID, a chip, a lot or an order, not about %q", s.Kind)
	}
	return err
}

// named demands that each statement is one that a proven entry names.
func (p Proof) named() error {
	names := map[[32]byte]bool{}
	for _, e := range p.Entries {
		if x, ok := parseEntry(e.Body).entry.(entry.Statement); ok {
			names[x.Hash] = true
		}
	}
	for i, raw := range p.Statements {
		s, err := statement.DecodeSigned(raw)
		if err != nil {
			return err
		}
		if !names[s.Hash()] {
			return fmt.Errorf("statement %d of it is named by no proven entry", i)
		}
	}
	return nil
}

// about demands that what is proven is about the subject, every entry.
func (p Proof) about() error {
	s := newSubject(p.Subject)
	if err := s.check(); err != nil {
		return err
	}
	open := func(hash [32]byte) *statement.Release {
		for _, raw := range p.Statements {
			signed, err := statement.DecodeSigned(raw)
			if err != nil || signed.Hash() != hash {
				continue
			}
			if r, err := statement.ParseRelease(signed.Body); err == nil {
				return &r
			}
		}
		return nil
	}
	last := int64(-1)
	for _, x := range p.Entries {
		if x.Seq <= last {
			return errors.New("its entries are not in the order of the log")
		}
		last = x.Seq
		e := parseEntry(x.Body)
		if e.err != nil {
			return e.err
		}
		if !s.takes(e.entry, open) {
			return fmt.Errorf("entry %d is not about it", x.Seq)
		}
	}
	if len(p.Entries) < 2 {
		return ErrNotFound
	}
	return nil
}
