package filesys

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// System is the tree of files as the chip's memory holds it. The MF is file 0.
type System struct {
	files map[int]*file
}

// ErrImage says that what memory holds is not a file system of this version.
var ErrImage = errors.New("malformed file system")

// New is a file system without any file.
func New() *System { return &System{files: map[int]*file{}} }

// Empty says whether there is not even an MF.
func (s *System) Empty() bool { return len(s.files) == 0 }

// Operational says whether there is an MF that has left its creation behind.
func (s *System) Operational() bool {
	mf := s.files[0]
	return mf != nil && mf.state != Creation && mf.state != Initialization
}

// child finds the file with an identifier that lies directly in a DF.
func (s *System) child(df int, id FID) (int, bool) {
	best, found := 0, false
	for n, f := range s.files {
		if n != 0 && int(f.parent) == df && f.id == id && f.kind != ADF {
			best, found = n, true // identifiers are unique among the children
		}
	}
	return best, found
}

func (s *System) childBySFI(df int, sfi byte) (int, bool) {
	for n, f := range s.files {
		if n != 0 && int(f.parent) == df && sfi != 0 && f.sfi == sfi && !f.kind.isDF() {
			return n, true
		}
	}
	return 0, false
}

// application finds an ADF by its name, or by the beginning of it that only one has.
func (s *System) application(name []byte) (int, bool) {
	best, found := 0, 0
	for n, f := range s.files {
		switch {
		case f.kind != ADF:
		case bytes.Equal(f.name, name):
			return n, true
		case len(name) >= minAIDBytes && bytes.HasPrefix(f.name, name):
			best, found = n, found+1
		}
	}
	return best, found == 1
}

// adfOf is the application that a file belongs to; 0 when it lies under the MF alone.
func (s *System) adfOf(n int) int {
	for n != 0 && s.files[n].kind != ADF {
		n = int(s.files[n].parent)
	}
	return n
}

// free is the lowest number that no file has.
func (s *System) free() (int, bool) {
	for n := range MaxFiles {
		if _, used := s.files[n]; !used {
			return n, true
		}
	}
	return 0, false
}

// under is a file and everything in it.
func (s *System) under(top int) (all []int) {
	for n := range s.files {
		for at := n; ; at = int(s.files[at].parent) {
			if at == top {
				all = append(all, n)
				break
			}
			if at == 0 {
				break
			}
		}
	}
	slices.Sort(all)
	return all
}

// A Change is one value of the chip's memory: the header of a file (Chunk -1), or a piece of its content.
type Change struct {
	File  int
	Chunk int
	Value []byte // not kept by the System
	Gone  bool
}

// Header is the Chunk of what is not content.
const Header = -1

// Changes are what one command does, all or nothing.
type Changes []Change

func (f *file) header() []byte {
	b := []byte{byte(f.kind)}
	b = binary.BigEndian.AppendUint16(b, uint16(f.id))
	b = binary.BigEndian.AppendUint16(b, f.parent)
	b = append(b, f.sfi, byte(f.state))
	b = binary.BigEndian.AppendUint16(b, f.record)
	b = binary.BigEndian.AppendUint16(b, uint16(len(f.content)))
	b = binary.BigEndian.AppendUint16(b, uint16(f.rule.arr))
	b = append(b, f.rule.record)
	b = binary.BigEndian.AppendUint16(b, f.link)
	for _, part := range [][]byte{f.rule.expanded, f.name, f.pins, f.private} {
		b = append(append(b, byte(len(part))), part...)
	}
	return b
}

const fixedHeader = 16

func parseHeader(b []byte) (*file, error) {
	if len(b) < fixedHeader {
		return nil, fmt.Errorf("header of %d bytes: %w", len(b), ErrImage)
	}
	f := &file{kind: Kind(b[0]), id: FID(binary.BigEndian.Uint16(b[1:])), parent: binary.BigEndian.Uint16(b[3:]), sfi: b[5], state: LifeCycle(b[6]),
		record: binary.BigEndian.Uint16(b[7:]), content: blank(int(binary.BigEndian.Uint16(b[9:]))),
		rule: rule{arr: FID(binary.BigEndian.Uint16(b[11:])), record: b[13]}, link: binary.BigEndian.Uint16(b[14:])}
	if f.kind < DF || f.kind > BERTLV || f.parent >= MaxFiles || f.link >= MaxFiles || f.kind.hasRecords() != (f.record != 0) || len(f.content) > MaxFileBytes {
		return nil, fmt.Errorf("header % X: %w", b, ErrImage)
	}
	b = b[fixedHeader:]
	for _, part := range []*[]byte{&f.rule.expanded, &f.name, &f.pins, &f.private} {
		if len(b) == 0 || int(b[0]) > len(b)-1 {
			return nil, fmt.Errorf("header that is cut short: %w", ErrImage)
		}
		if n := int(b[0]); n > 0 {
			*part = slices.Clone(b[1 : 1+n])
		}
		b = b[1+int(b[0]):]
	}
	if len(b) != 0 {
		return nil, fmt.Errorf("header with %d bytes more: %w", len(b), ErrImage)
	}
	return f, nil
}

// Apply takes changes that are in the chip's memory now, or that are read back from it, headers before content. What does
// not fit is ErrImage.
func (s *System) Apply(all Changes) error {
	for _, c := range all {
		if err := s.apply(c); err != nil {
			return fmt.Errorf("file %d: %w", c.File, err)
		}
	}
	return nil
}

func (s *System) apply(c Change) error {
	f := s.files[c.File]
	switch {
	case c.File < 0 || c.File >= MaxFiles:
		return fmt.Errorf("number out of range: %w", ErrImage)
	case c.Chunk == Header && c.Gone:
		delete(s.files, c.File)
	case c.Chunk == Header:
		fresh, err := parseHeader(c.Value)
		if err != nil {
			return err
		}
		if f != nil {
			copy(fresh.content, f.content)
		}
		s.files[c.File] = fresh
	case c.Gone: // of a file that is gone, or was made smaller, or back to what a new one has
		if f != nil && c.Chunk >= 0 && c.Chunk*PieceBytes < len(f.content) {
			fill(f.piece(c.Chunk))
		}
	case f == nil || c.Chunk < 0 || c.Chunk*PieceBytes+len(c.Value) > len(f.content):
		return fmt.Errorf("piece %d of %d bytes: %w", c.Chunk, len(c.Value), ErrImage)
	default:
		piece := f.piece(c.Chunk)
		fill(piece[copy(piece, c.Value):])
	}
	return nil
}

// piece is one of the parts in which content is written to memory.
func (f *file) piece(i int) []byte {
	return f.content[i*PieceBytes : min((i+1)*PieceBytes, len(f.content))]
}

func withoutFill(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == 0xFF {
		b = b[:len(b)-1]
	}
	return b
}

// blank is content that nothing was written to.
func blank(size int) []byte {
	b := make([]byte, size)
	fill(b)
	return b
}

func fill(b []byte) {
	for i := range b {
		b[i] = 0xFF
	}
}

// put is the changes that make a file as it is given, where before it was as the System has it. A piece is written without
// the FF at its end, and not at all when nothing else is in it: most of a profile is FF.
func (s *System) put(n int, f *file) (all Changes) {
	old := s.files[n]
	if old == nil || !bytes.Equal(old.header(), f.header()) {
		all = append(all, Change{File: n, Chunk: Header, Value: f.header()})
	}
	chunks := f.pieces()
	for i := range chunks {
		piece := f.piece(i)
		kept := old != nil && len(old.content) == len(f.content) && bytes.Equal(piece, old.piece(i))
		value := withoutFill(piece)
		if kept || old == nil && len(value) == 0 {
			continue
		}
		all = append(all, Change{File: n, Chunk: i, Value: slices.Clone(value), Gone: len(value) == 0})
	}
	if old != nil {
		for i := chunks; i < old.pieces(); i++ {
			all = append(all, Change{File: n, Chunk: i, Gone: true})
		}
	}
	return all
}

func (f *file) pieces() int { return (len(f.content) + PieceBytes - 1) / PieceBytes }

// body is the number of the file that holds the content: of a link the file that it links to.
func (s *System) body(n int) int {
	if f := s.files[n]; f != nil && f.link != 0 && s.files[int(f.link)] != nil {
		return int(f.link)
	}
	return n
}

// view is a file as it looks from outside: a link has the form and the size of what it links to.
func (s *System) view(n int) *file {
	b := s.body(n)
	if b == n {
		return s.files[n]
	}
	f, target := *s.files[n], s.files[b]
	f.kind, f.record, f.content = target.kind, target.record, target.content
	return &f
}

// linkedFrom says whether a file that stays links to one of those that go.
func (s *System) linkedFrom(gone []int) bool {
	for n, f := range s.files {
		if f.link != 0 && slices.Contains(gone, int(f.link)) && !slices.Contains(gone, n) {
			return true
		}
	}
	return false
}

// bytes is the content of all files together.
func (s *System) bytes() (n int) {
	for _, f := range s.files {
		n += len(f.content)
	}
	return n
}

// drop is the changes that remove files.
func (s *System) drop(numbers []int) (all Changes) {
	for _, n := range numbers {
		for i := 0; i*PieceBytes < len(s.files[n].content); i++ {
			all = append(all, Change{File: n, Chunk: i, Gone: true})
		}
		all = append(all, Change{File: n, Chunk: Header, Gone: true})
	}
	return all
}
