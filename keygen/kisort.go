package keygen

import (
	"bufio"
	"bytes"
	"cmp"
	pq "container/heap"
	"encoding/binary"
	"errors"
	"io"
	"slices"
)

const (
	// sortPrints is how many prints are sorted in memory: 160 KiB. The largest file has 123 such runs.
	sortPrints = 8192
	// readPrintsBytes is what is read of a run at once; of all runs of the largest file, half a MiB.
	readPrintsBytes = 200 * KiPrintBytes
)

var errEOF = io.EOF

func lessPrint(a, b KiPrint) bool { return comparePrints(a, b) < 0 }

// comparePrints orders by the print alone, as sets are compared.
func comparePrints(a, b KiPrint) int { return bytes.Compare(a.Print[:], b.Print[:]) }

// printSorter sorts prints of which only a bounded part is in memory: sorted runs go to a scratch, and are read together.
type printSorter struct {
	room    func() (Scratch, error)
	now     []KiPrint
	scratch Scratch
	runs    []int64 // prints of each run in the scratch
	size    int64   // of the scratch, in bytes
}

// add takes a print.
func (s *printSorter) add(p KiPrint) error {
	s.now = append(s.now, p)
	if len(s.now) < sortPrints {
		return nil
	}
	return s.put()
}

// put moves what is in memory to the scratch, as a run.
func (s *printSorter) put() (err error) {
	if len(s.now) == 0 {
		return nil
	}
	if s.scratch == nil {
		if s.scratch, err = s.room(); err != nil {
			return err
		}
	}
	s.sort()
	run := make([]byte, 0, len(s.now)*KiPrintBytes)
	for _, p := range s.now {
		run = binary.BigEndian.AppendUint32(append(run, p.Print[:]...), p.Row)
	}
	if _, err := s.scratch.WriteAt(run, s.size); err != nil {
		return err
	}
	s.runs, s.size, s.now = append(s.runs, int64(len(s.now))), s.size+int64(len(run)), s.now[:0]
	return nil
}

func (s *printSorter) sort() {
	slices.SortFunc(s.now, func(a, b KiPrint) int { return cmp.Or(comparePrints(a, b), cmp.Compare(a.Row, b.Row)) })
}

// each gives all prints in ascending order, equal ones by their rows. It may be asked again. A small file never leaves memory.
func (s *printSorter) each(emit func(KiPrint) error) error {
	if len(s.runs) == 0 {
		s.sort()
		for _, p := range s.now {
			if err := emit(p); err != nil {
				return err
			}
		}
		return nil
	}
	if err := s.put(); err != nil {
		return err
	}
	var h runHeap
	from := int64(0)
	for _, n := range s.runs {
		r := &printRun{r: bufio.NewReaderSize(io.NewSectionReader(s.scratch, from, n*KiPrintBytes), readPrintsBytes)}
		from += n * KiPrintBytes
		if err := r.next(); err != nil {
			return err
		}
		h = append(h, r)
	}
	pq.Init(&h)
	for len(h) > 0 {
		if err := emit(h[0].first); err != nil {
			return err
		}
		switch err := h[0].next(); {
		case errors.Is(err, io.EOF):
			pq.Pop(&h)
		case err != nil:
			return err
		default:
			pq.Fix(&h, 0)
		}
	}
	return nil
}

func (s *printSorter) close() error {
	if s.scratch == nil {
		return nil
	}
	err := s.scratch.Close()
	s.scratch = nil
	return err
}

// printRun is a sorted run being read.
type printRun struct {
	r     *bufio.Reader
	first KiPrint
}

func (r *printRun) next() error {
	var b [KiPrintBytes]byte
	if _, err := io.ReadFull(r.r, b[:]); err != nil {
		return err
	}
	r.first = KiPrintOf(b[:])
	return nil
}

type runHeap []*printRun

func (h runHeap) Len() int { return len(h) }
func (h runHeap) Less(i, j int) bool {
	return cmp.Or(comparePrints(h[i].first, h[j].first), cmp.Compare(h[i].first.Row, h[j].first.Row)) < 0
}
func (h runHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *runHeap) Push(x any)   { *h = append(*h, x.(*printRun)) }
func (h *runHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
