package filesys

import (
	"bytes"
	"math/big"
	"slices"

	"github.com/persoline/persoline/perso/apdu"
)

// bySFI in P1 of the commands on transparent files says that the low five bits are a short identifier.
const bySFI = 0x80

// binaryAt reads where a command on a transparent file begins.
func binaryAt(cmd apdu.Command) (sfi byte, offset int, sw apdu.SW) {
	const sfiBits = 0x1F
	if cmd.P1&bySFI == 0 {
		return 0, int(cmd.P1)<<8 | int(cmd.P2), apdu.SWOK
	}
	if sfi = cmd.P1 & sfiBits; cmd.P1&0x60 != 0 || sfi == 0 {
		return 0, 0, apdu.SWWrongP1P2
	}
	return sfi, int(cmd.P2), apdu.SWOK
}

// ReadBinary is READ BINARY. A file that was read by short identifier is selected.
func (s *System) ReadBinary(at Selection, cmd apdu.Command, keys Keys) (next Selection, answer []byte, sw apdu.SW) {
	sfi, offset, sw := binaryAt(cmd)
	if !sw.OK() {
		return at, nil, sw
	}
	if len(cmd.Data) != 0 || cmd.Le == apdu.NoLe {
		return at, nil, apdu.SWWrongLength
	}
	n, sw := s.ef(s.valid(at), sfi, accessRead, keys, Transparent)
	if !sw.OK() {
		return at, nil, sw
	}
	content := s.files[s.body(n)].content
	if offset >= len(content) {
		return at, nil, apdu.SWOutsideEF
	}
	content = content[offset:]
	switch {
	case cmd.Le == apdu.MaxLe:
		content = content[:min(len(content), apdu.MaxLe)]
	case cmd.Le > len(content):
		return at, nil, apdu.SWWrongLe | apdu.SW(len(content))
	default:
		content = content[:cmd.Le]
	}
	return s.enter(at, n), slices.Clone(content), apdu.SWOK
}

// UpdateBinary is UPDATE BINARY.
func (s *System) UpdateBinary(at Selection, cmd apdu.Command, keys Keys) (next Selection, all Changes, sw apdu.SW) {
	sfi, offset, sw := binaryAt(cmd)
	if !sw.OK() {
		return at, nil, sw
	}
	if len(cmd.Data) == 0 {
		return at, nil, apdu.SWWrongLength
	}
	n, sw := s.ef(s.valid(at), sfi, accessUpdate, keys, Transparent)
	if !sw.OK() {
		return at, nil, sw
	}
	b := s.body(n)
	f := *s.files[b]
	if offset+len(cmd.Data) > len(f.content) {
		return at, nil, apdu.SWOutsideEF
	}
	f.content = slices.Clone(f.content)
	copy(f.content[offset:], cmd.Data)
	return s.enter(at, n), s.put(b, &f), apdu.SWOK
}

// How READ and UPDATE RECORD name a record (TS 102 221 tables 11.10, 11.13).
const (
	modeNext     = 2
	modePrevious = 3
	modeAbsolute = 4
	modeBits     = 0x07
	sfiShift     = 3
)

// recordAt finds the record of a command, from 1, in a file that it also finds.
func (s *System) recordAt(at Selection, cmd apdu.Command, want access, keys Keys) (n, record int, sw apdu.SW) {
	sfi := cmd.P2 >> sfiShift
	n, sw = s.ef(at, sfi, want, keys, LinearFixed, Cyclic)
	if !sw.OK() {
		return 0, 0, sw
	}
	current := at.record
	if n != at.ef {
		current = 0
	}
	f := s.files[s.body(n)]
	last := f.records()
	switch cmd.P2 & modeBits {
	case modeAbsolute:
		if record = int(cmd.P1); record == 0 {
			record = current
		}
	case modeNext, modePrevious:
		if cmd.P1 != 0 {
			return 0, 0, apdu.SWWrongP1P2
		}
		record = step(current, last, cmd.P2&modeBits, f.kind == Cyclic)
	default:
		return 0, 0, apdu.SWWrongP1P2
	}
	if record < 1 || record > last {
		return 0, 0, apdu.SWRecordNotFound
	}
	return n, record, apdu.SWOK
}

// step is the next or previous record: without a current one the first or last, and around the end of a cyclic file.
func step(current, last int, mode byte, cyclic bool) int {
	switch {
	case mode == modeNext && current == 0:
		return 1
	case mode == modeNext && current == last && cyclic:
		return 1
	case mode == modeNext:
		return current + 1
	case current == 0:
		return last
	case current == 1 && cyclic:
		return last
	}
	return current - 1
}

// entered is the selection after a record was used: next and previous move the current record, an absolute number does not.
func (s *System) entered(at Selection, n, record int, cmd apdu.Command) Selection {
	next := s.enter(at, n)
	if n == at.ef {
		next.record = at.record
	}
	if cmd.P2&modeBits != modeAbsolute {
		next.record = record
	}
	return next
}

// ReadRecord is READ RECORD.
func (s *System) ReadRecord(at Selection, cmd apdu.Command, keys Keys) (next Selection, answer []byte, sw apdu.SW) {
	if len(cmd.Data) != 0 || cmd.Le == apdu.NoLe {
		return at, nil, apdu.SWWrongLength
	}
	n, record, sw := s.recordAt(s.valid(at), cmd, accessRead, keys)
	if !sw.OK() {
		return at, nil, sw
	}
	f := s.files[s.body(n)]
	if size := int(f.record); cmd.Le != apdu.MaxLe && cmd.Le != size {
		return at, nil, apdu.SWWrongLe | apdu.SW(size)
	}
	return s.entered(at, n, record, cmd), slices.Clone(f.at(record)), apdu.SWOK
}

// at is the content of a record.
func (f *file) at(record int) []byte {
	size := int(f.record)
	return f.content[(record-1)*size : record*size]
}

// UpdateRecord is UPDATE RECORD. In a cyclic file only the oldest record is written, which then is the first.
func (s *System) UpdateRecord(at Selection, cmd apdu.Command, keys Keys) (next Selection, all Changes, sw apdu.SW) {
	n, record, sw := s.recordAt(s.valid(at), cmd, accessUpdate, keys)
	if !sw.OK() {
		return at, nil, sw
	}
	b := s.body(n)
	f := *s.files[b]
	if len(cmd.Data) != int(f.record) {
		return at, nil, apdu.SWWrongLength
	}
	if f.kind == Cyclic {
		if cmd.P2&modeBits != modePrevious {
			return at, nil, apdu.SWWrongP1P2
		}
		f.content = f.turned(cmd.Data)
		next = s.enter(at, n)
		next.record = 1
		return next, s.put(b, &f), apdu.SWOK
	}
	f.content = slices.Clone(f.content)
	copy(f.at(record), cmd.Data)
	return s.entered(at, n, record, cmd), s.put(b, &f), apdu.SWOK
}

// turned is the content of a cyclic file with a new first record in the place of the oldest.
func (f *file) turned(first []byte) []byte {
	return slices.Concat(first, f.content[:len(f.content)-int(f.record)])
}

// SearchRecord is SEARCH RECORD in its simple form, forward or backward from a record: the numbers of those that hold the
// pattern.
func (s *System) SearchRecord(at Selection, cmd apdu.Command, keys Keys) (next Selection, answer []byte, sw apdu.SW) {
	const forward, backward = 4, 5
	n, sw := s.ef(s.valid(at), cmd.P2>>sfiShift, accessRead, keys, LinearFixed, Cyclic)
	if !sw.OK() {
		return at, nil, sw
	}
	f, from := s.files[s.body(n)], int(cmd.P1)
	mode := cmd.P2 & modeBits
	switch {
	case mode != forward && mode != backward:
		return at, nil, apdu.SWWrongP1P2
	case len(cmd.Data) == 0 || len(cmd.Data) > int(f.record):
		return at, nil, apdu.SWWrongLength
	case from == 0 && at.ef == n && at.record != 0:
		from = at.record
	case from == 0 && mode == forward:
		from = 1
	case from == 0:
		from = f.records()
	}
	if from > f.records() {
		return at, nil, apdu.SWRecordNotFound
	}
	by := map[byte]int{forward: 1, backward: -1}[mode]
	for r := from; r >= 1 && r <= f.records(); r += by {
		if bytes.Contains(f.at(r), cmd.Data) {
			answer = append(answer, byte(r))
		}
	}
	if len(answer) == 0 {
		return at, nil, apdu.SWEndOfFile
	}
	next = s.enter(at, n)
	next.record = int(answer[0])
	return next, answer, apdu.SWOK
}

// Increase is INCREASE: the newest record of a cyclic file plus a number becomes the new first record.
func (s *System) Increase(at Selection, cmd apdu.Command, keys Keys) (next Selection, answer []byte, all Changes, sw apdu.SW) {
	const bySFIMask, maxNumber = 0x1F, 127
	sfi := byte(0)
	if cmd.P1&bySFI != 0 {
		sfi = cmd.P1 & bySFIMask
	}
	n, sw := s.ef(s.valid(at), sfi, accessIncrease, keys, Cyclic)
	if !sw.OK() {
		return at, nil, nil, sw
	}
	b := s.body(n)
	f := *s.files[b]
	if len(cmd.Data) == 0 || len(cmd.Data) > maxNumber || len(cmd.Data) > int(f.record) {
		return at, nil, nil, apdu.SWWrongLength
	}
	sum := new(big.Int).Add(new(big.Int).SetBytes(f.at(1)), new(big.Int).SetBytes(cmd.Data))
	if sum.BitLen() > 8*int(f.record) {
		const maxValueReached apdu.SW = 0x9850
		return at, nil, nil, maxValueReached
	}
	value := sum.FillBytes(make([]byte, f.record))
	f.content = f.turned(value)
	next = s.enter(at, n)
	next.record = 1
	return next, slices.Concat(value, cmd.Data), s.put(b, &f), apdu.SWOK
}
