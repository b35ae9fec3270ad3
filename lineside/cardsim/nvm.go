package cardsim

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/persoline/persoline/lineside/cardsim/filesys"
	"github.com/persoline/persoline/perso/aka"
)

// NVM keeps the journal of one chip: one record for each command that changed it.
type NVM interface {
	// Append adds a record. It is atomic: after an error or a power loss the record is there whole or not at all.
	Append(record []byte) error
	// Replay calls apply with each record, oldest first. The record is only lent.
	Replay(apply func(record []byte) error) error
}

// ErrJournal says that a record was not written by this version of the chip.
var ErrJournal = errors.New("malformed chip journal")

// errFull says that a command would write more than a chip takes at once.
var errFull = errors.New("too much for one record")

// Memory is an NVM for as long as the program runs.
type Memory struct{ records [][]byte }

// Append keeps a copy.
func (m *Memory) Append(record []byte) error {
	m.records = append(m.records, bytes.Clone(record))
	return nil
}

// Replay lends each record.
func (m *Memory) Replay(apply func([]byte) error) error {
	for _, r := range m.records {
		if err := apply(r); err != nil {
			return err
		}
	}
	return nil
}

// Len is the number of records: one for each command that changed the chip.
func (m *Memory) Len() int { return len(m.records) }

const (
	recordVersion = 1
	headerBytes   = 4 + 2 // cell, length
	deleted       = 0xFFFF
	// maxCellBytes bounds one value. The largest is what one STORE DATA sequence can carry.
	maxCellBytes = maxStoreBytes
	// MaxRecordBytes bounds a record: what a profile package makes of a chip is one.
	MaxRecordBytes = 56 << 10
	// pageBytes is the unit in which memory writes are counted; a usual page of a secure microcontroller's flash.
	pageBytes = 64

	// usualChanges and usualCells are what most commands and a chip at the end of its personalization stay below: room to
	// begin with, no limits.
	usualChanges = 6
	usualCells   = 48
)

// cell names one value in the chip's memory: domain, kind, number.
type cell uint32

func cellOf(d domain, k kind, number uint16) cell { return cell(d)<<24 | cell(k)<<16 | cell(number) }

func (c cell) number() uint16 { return uint16(c) }
func (c cell) kind() kind     { return kind(c >> 16) }

// kind says what a cell holds. The numbers are in journals: they never change.
type kind byte

const (
	kindBench kind = 0x00 // the instrument's own notes, by noteX
	kindState kind = 0x01 // life cycle, 1 byte
	kindAID   kind = 0x02 // present when the domain exists
	kindData  kind = 0x03 // by tag or file identifier
	kindKey   kind = 0x04 // by KVN and KID: type, key
	kindSeq   kind = 0x05 // by KVN: sequence counter, 3 bytes
	kindPair  kind = 0x06 // private scalar (32), public point (65)
	kindPIN   kind = 0x07 // by reference: PIN (8), PUK (8)
	kindTries kind = 0x08 // by reference: see tries
	kindSQN   kind = 0x09 // sequence numbers of AUTHENTICATE, by ADF; 0 for the keys of 8F20
	kindFile  kind = 0x0A // header of a file, by its number in the file system
	kindPiece kind = 0x0B // a piece of a file's content, by number and piece
	kindAKA   kind = 0x0C // authentication of an application, by its ADF: see akaOwn
	kindCode  kind = 0x0D // a package's PIN, by directory and reference: see codeBytes
	kindPUK   kind = 0x0E // a package's PUK, by reference
	kindShare kind = 0x0F // directory whose local codes are those of another, by number
	kindSD    kind = 0x10 // a package's security domain with its keys, counted from 0
	kindRFM   kind = 0x11 // a package's instance of remote file management, counted from 0

	kindLoadFile kind = 0x12 // an executable load file, counted from 1: name, size, SHA-256, modules
	kindInstance kind = 0x13 // an application, counted from 1: name, load file, module, privileges, life cycle
)

// takes says whether a value of n bytes can be in the cell.
func (c cell) takes(n int) bool {
	switch c.kind() {
	case kindBench:
		return c.number() == noteDead && n == 1 || c.number() == noteContacts && n == 4
	case kindState:
		return n == 1
	case kindKey:
		return n == 1+16 || n == 1+24 || n == 1+32
	case kindSeq:
		return n == 3
	case kindPair:
		return n == scalarBytes+pointBytes
	case kindPIN:
		return n == pinSetBytes
	case kindTries:
		return n == triesBytes
	case kindSQN:
		return n == aka.SQNArrayBytes
	case kindAID, kindData:
		return n <= maxCellBytes
	case kindCode:
		return n == codeBytes
	case kindPUK:
		return n == pukBytes
	case kindShare:
		return n == shareBytes
	case kindSD, kindRFM, kindLoadFile, kindInstance:
		return n <= maxCellBytes
	case kindAKA:
		return n > 0 && n <= maxAKABytes
	case kindFile:
		return n <= filesys.MaxHeaderBytes && int(c.number()) < filesys.MaxFiles
	case kindPiece:
		return n <= filesys.PieceBytes
	}
	return false
}

type entry struct {
	at    cell
	value []byte
}

// store is the memory's content: cells in the order of their names, backed by the journal.
type store struct {
	cells []entry
	nvm   NVM
	pages int // written since the last look
	// tearAt, when given, says that power goes while the next record is written: behind so many values less one.
	tearAt int
}

// changes is what one command does to the store, all or nothing.
type changes []change

type change struct {
	at    cell
	value []byte
	gone  bool
}

func (c *changes) put(at cell, value ...byte) {
	if *c == nil {
		*c = make(changes, 0, usualChanges)
	}
	*c = append(*c, change{at: at, value: bytes.Clone(value)})
}

func (c *changes) drop(at cell) { *c = append(*c, change{at: at, gone: true}) }

// dropSpan drops every cell of the store from one name to another, the second excluded.
func (c *changes) dropSpan(s *store, from, to cell) {
	for _, e := range s.span(from, to) {
		c.drop(e.at)
	}
}

func (s *store) find(at cell) (int, bool) {
	return slices.BinarySearchFunc(s.cells, at, func(e entry, at cell) int { return cmp.Compare(e.at, at) })
}

func (s *store) get(at cell) ([]byte, bool) {
	i, found := s.find(at)
	if !found {
		return nil, false
	}
	return s.cells[i].value, true
}

func (s *store) has(at cell) bool {
	_, found := s.find(at)
	return found
}

// span is the cells from one name to another, the second excluded.
func (s *store) span(from, to cell) []entry {
	i, _ := s.find(from)
	j, _ := s.find(to)
	return s.cells[i:j]
}

// commit writes one record and then makes it so. Values that are there already are not written again; without a change
// there is no record.
func (s *store) commit(all changes) error {
	all = s.needed(all)
	if s.tearAt != 0 {
		all, s.tearAt = s.torn(all, s.tearAt-1), 0
	}
	if len(all) == 0 {
		return nil
	}
	for _, c := range all {
		if !c.gone && !c.at.takes(len(c.value)) { // it could not be read back
			return fmt.Errorf("writing %d bytes to cell %08X of chip memory: %w", len(c.value), c.at, ErrJournal)
		}
	}
	record := encodeRecord(all)
	if len(record) > MaxRecordBytes {
		return fmt.Errorf("writing chip memory: record of %d bytes, limit %d: %w", len(record), MaxRecordBytes, errFull)
	}
	if err := s.nvm.Append(record); err != nil {
		return fmt.Errorf("writing chip memory: %w", err)
	}
	for _, c := range all {
		s.apply(c)
		s.pages += 1 + len(c.value)/pageBytes
	}
	return nil
}

// torn is what a memory that is not written in one piece has of a command when power goes behind n values: these, and half of the
// next one where it replaces bytes that were there. The directory of files is the operating system's own and is kept whole.
func (s *store) torn(all changes, n int) changes {
	if n >= len(all) || slices.ContainsFunc(all, func(c change) bool { return c.gone && c.at.kind() == kindFile }) {
		return all
	}
	kept, last := slices.Clone(all[:n]), all[n]
	old, there := s.get(last.at)
	half := len(last.value) / 2
	switch last.at.kind() {
	case kindData, kindKey, kindPIN, kindPiece:
		if there && !last.gone && half > 0 {
			last.value = append(bytes.Clone(last.value[:half]), old[min(half, len(old)):]...)
			return s.needed(append(kept, last))
		}
	}
	return kept
}

// needed leaves out what a later change of the same command overrides, and then what changes nothing.
func (s *store) needed(all changes) changes {
	needed := make(changes, 0, len(all))
	for i, c := range all {
		if slices.ContainsFunc(all[i+1:], func(later change) bool { return later.at == c.at }) {
			continue
		}
		value, there := s.get(c.at)
		if c.gone && there || !c.gone && !(there && bytes.Equal(value, c.value)) {
			needed = append(needed, c)
		}
	}
	return needed
}

func (s *store) apply(c change) {
	i, found := s.find(c.at)
	switch {
	case c.gone && found:
		s.cells = slices.Delete(s.cells, i, i+1)
	case c.gone:
	case found:
		s.cells[i].value = c.value
	default:
		s.cells = slices.Insert(s.cells, i, entry{c.at, c.value})
	}
}

// takePages gives the pages written since the last call.
func (s *store) takePages() (n int) {
	n, s.pages = s.pages, 0
	return n
}

// A record is its version, then for each change the cell (4 bytes), the length (2 bytes, FFFF when the cell is gone) and
// the value.
func encodeRecord(all changes) []byte {
	size := 1
	for _, c := range all {
		size += headerBytes + len(c.value)
	}
	b := append(make([]byte, 0, size), recordVersion)
	for _, c := range all {
		b = binary.BigEndian.AppendUint32(b, uint32(c.at))
		if c.gone {
			b = binary.BigEndian.AppendUint16(b, deleted)
			continue
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(c.value)))
		b = append(b, c.value...)
	}
	return b
}

func decodeRecord(b []byte) (changes, error) {
	if len(b) < 1+headerBytes || b[0] != recordVersion {
		return nil, fmt.Errorf("reading record of %d bytes: %w", len(b), ErrJournal)
	}
	var all changes
	for b = b[1:]; len(b) > 0; {
		if len(b) < headerBytes {
			return nil, fmt.Errorf("reading change header of %d bytes: %w", len(b), ErrJournal)
		}
		at, n := cell(binary.BigEndian.Uint32(b)), int(binary.BigEndian.Uint16(b[4:]))
		b = b[headerBytes:]
		if n == deleted {
			all.drop(at)
			continue
		}
		if n > len(b) || !at.takes(n) {
			return nil, fmt.Errorf("reading change of %d bytes in cell %08X before %d: %w", n, at, len(b), ErrJournal)
		}
		all.put(at, b[:n]...)
		b = b[n:]
	}
	return all, nil
}
