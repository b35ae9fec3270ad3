package keygen

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

// sorterOf is a sorter with that many prints, some of them equal.
func sorterOf(t *testing.T, n int, room func() (Scratch, error)) (*printSorter, []KiPrint) {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	s := &printSorter{room: room}
	var all []KiPrint
	for row := range n {
		p := KiPrint{Row: uint32(row)}
		binary.BigEndian.PutUint64(p.Print[:], rng.Uint64())
		if row%1000 == 999 {
			p.Print = all[row/2].Print
		}
		all = append(all, p)
		if err := s.add(p); err != nil {
			t.Fatal(err)
		}
	}
	return s, all
}

// What is sorted outside memory is what is sorted inside, however often it is asked.
func TestPrintsAreSorted(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, sortPrints - 1, sortPrints, sortPrints + 1, 3*sortPrints + 17} {
		s, all := sorterOf(t, n, (&rooms{dir: t.TempDir()}).make)
		slices.SortStableFunc(all, comparePrints)
		for range 2 {
			var got []KiPrint
			if err := s.each(func(p KiPrint) error { got = append(got, p); return nil }); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, all) {
				t.Errorf("%d prints are not as they should be", n)
			}
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}
}

// Memory does not grow with the file: a run being sorted, and a little of each run being read.
func TestPrintsAreOutsideMemory(t *testing.T) { // not parallel: it reads the heap of the process
	use := func(n int) int64 {
		before := heap()
		s := &printSorter{room: (&rooms{dir: t.TempDir()}).make}
		for row := range n {
			p := KiPrint{Row: uint32(row)}
			binary.BigEndian.PutUint64(p.Print[:], uint64(row)*0x9E3779B97F4A7C15)
			if err := s.add(p); err != nil {
				t.Fatal(err)
			}
		}
		var most int64
		seen := 0
		if err := s.each(func(KiPrint) error {
			if seen++; seen == n/2 {
				most = int64(heap()) - int64(before)
			}
			return nil
		}); err != nil || seen != n {
			t.Fatalf("%d of %d, %v", seen, n, err)
		}
		return max(most, 0) // and s is in use until here
	}
	few, many := use(2*sortPrints), use(40*sortPrints)
	t.Logf("%d prints: %d KiB, %d prints: %d KiB", 2*sortPrints, few>>10, 40*sortPrints, many>>10)
	if many > 1<<20 {
		t.Errorf("%d bytes are in memory", many)
	}
}

// A full disk is an error, and prints that the disk lost too.
func TestPrintsWithoutRoom(t *testing.T) {
	t.Parallel()
	s := &printSorter{room: noRoom}
	var err error
	for row := range uint32(sortPrints) {
		err = errors.Join(err, s.add(KiPrint{Row: row}))
	}
	if !errors.Is(err, errNoRoom) {
		t.Errorf("without room: %v", err)
	}
	var made room
	s, _ = sorterOf(t, 2*sortPrints, func() (Scratch, error) { return &made, nil })
	made.b = made.b[:len(made.b)-1]
	if err := s.each(func(KiPrint) error { return nil }); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut off: %v", err)
	}
}
