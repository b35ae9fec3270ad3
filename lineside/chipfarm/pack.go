package chipfarm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/persoline/persoline/lineside/cardsim"
)

const (
	// packChips is how many chips share a file. A file for each would cost more than all that a chip does.
	packChips  = 1000
	indexBytes = 4 // in front of what the chip wrote
	// maxIdlePacks bounds the packs that are kept open for chips that may come again, beside those whose chips lie under a
	// head. The places of one take some 250 kB.
	maxIdlePacks = 8
)

// packs are the memories of all chips. They are safe for concurrent use.
type packs struct {
	dir string

	mu   sync.Mutex
	open map[uint32]*pack
	uses uint64 // counts on, to know the pack that was let go first
}

// pack is the file of a thousand chips, and where in it each has its records.
type pack struct {
	number uint32
	users  int    // chips in readers; of packs
	used   uint64 // when the last was taken out; of packs

	mu      sync.Mutex
	log     logFile
	scanned bool
	places  map[uint32][]int64 // by chip, in the order of writing
}

// chipMemory is the NVM of one chip in a reader.
type chipMemory struct {
	packs  *packs
	pack   *pack // nil when the chip is out of the reader
	index  uint32
	failed error // of an Append: this computer's, for want of room on its disk
}

var _ cardsim.NVM = (*chipMemory)(nil)

func newPacks(dir string) *packs { return &packs{dir: dir, open: map[uint32]*pack{}} }

func packPath(dir string, number uint32) string {
	return filepath.Join(dir, chipFolder, strconv.FormatUint(uint64(number), 10))
}

// memory takes up the memory of a chip. The first chip of a pack makes that its file is read through. Close it.
func (s *packs) memory(index uint32) (*chipMemory, error) {
	p := s.take(index / packChips)
	if err := p.scan(); err != nil {
		return nil, errors.Join(err, s.release(p))
	}
	return &chipMemory{packs: s, pack: p, index: index}, nil
}

func (s *packs) take(number uint32) *pack {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.open[number]
	if p == nil {
		p = &pack{number: number, log: logFile{path: packPath(s.dir, number)}}
		s.open[number] = p
	}
	p.users++
	return p
}

// release keeps a pack that nobody uses any more, and lets go of the one that was not used for the longest time.
func (s *packs) release(p *pack) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uses++
	p.users--
	p.used = s.uses
	if len(s.open) <= maxIdlePacks {
		return nil
	}
	idle, oldest := 0, &pack{used: math.MaxUint64}
	for _, q := range s.open {
		if q.users > 0 {
			continue
		}
		if idle++; q.used < oldest.used {
			oldest = q
		}
	}
	if idle <= maxIdlePacks {
		return nil
	}
	delete(s.open, oldest.number)
	return oldest.log.Close()
}

// Close lets go of every file. No chip may be in a reader.
func (s *packs) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for number, p := range s.open {
		delete(s.open, number)
		errs = append(errs, p.log.Close())
	}
	return errors.Join(errs...)
}

// scan finds the places of all records, once.
func (p *pack) scan() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.scanned {
		return nil
	}
	p.places = map[uint32][]int64{}
	err := p.log.Replay(func(at int64, record []byte) error {
		index, _, err := splitRecord(p.number, record)
		if err == nil {
			p.places[index] = append(p.places[index], at)
		}
		return err
	})
	p.scanned = err == nil
	return err
}

// splitRecord reads which chip a record of a pack is of.
func splitRecord(number uint32, record []byte) (index uint32, written []byte, err error) {
	if len(record) < indexBytes {
		return 0, nil, fmt.Errorf("record of %d bytes: %w", len(record), ErrCorrupt)
	}
	index = binary.BigEndian.Uint32(record)
	if index/packChips != number {
		return 0, nil, fmt.Errorf("record of chip %d in pack %d: %w", index, number, ErrCorrupt)
	}
	return index, record[indexBytes:], nil
}

// Append writes one record in one write. What a failed write left is cut off again.
func (m *chipMemory) Append(record []byte) error {
	err := m.append(record)
	if err != nil {
		m.failed = err
	}
	return err
}

func (m *chipMemory) append(record []byte) error {
	p := m.pack
	if p == nil {
		return fmt.Errorf("writing memory of chip %d, which is in no reader: %w", m.index, fs.ErrClosed)
	}
	var name [indexBytes]byte
	binary.BigEndian.PutUint32(name[:], m.index)
	p.mu.Lock()
	defer p.mu.Unlock()
	at, err := p.log.Append(name[:], record)
	if err == nil {
		p.places[m.index] = append(p.places[m.index], at)
	}
	return err
}

// Replay lends each record, oldest first.
func (m *chipMemory) Replay(apply func(record []byte) error) error {
	p := m.pack
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range p.places[m.index] {
		record, err := p.log.ReadAt(at)
		if err != nil {
			return err
		}
		_, written, err := splitRecord(p.number, record)
		if err == nil {
			err = apply(written)
		}
		if err != nil {
			return fmt.Errorf("reading %q at byte %d: %w", p.log.path, at, err)
		}
	}
	return nil
}

// Close takes the chip out of the reader.
func (m *chipMemory) Close() error {
	if m.pack == nil {
		return nil
	}
	p := m.pack
	m.pack = nil
	return m.packs.release(p)
}

// Records lends what a chip wrote to its memory, oldest first; package cardsim says what it means. It is for tests that
// look for the chips' secrets elsewhere: they read past the chip, also while a farm serves the folder. A record that is
// being written is not lent, and nothing is repaired.
func Records(dir string, index uint32, apply func(record []byte) error) error {
	number := index / packChips
	file, err := os.Open(packPath(dir, number))
	if errors.Is(err, fs.ErrNotExist) { // no chip of the pack was ever written to
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading memory of chip %d: %w", index, err)
	}
	end, err := replay(file, func(_ int64, record []byte) error {
		of, written, err := splitRecord(number, record)
		if err != nil || of != index {
			return err
		}
		return apply(written)
	})
	if err != nil {
		err = fmt.Errorf("reading memory of chip %d in %q at byte %d: %w", index, file.Name(), end, err)
	}
	return errors.Join(err, file.Close())
}
