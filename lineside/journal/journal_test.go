package journal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

var errDisk = errors.New("disk fault")

// memory is a Storage that fails on demand: before writing, after writing, or in the middle.
type memory struct {
	mu      sync.Mutex
	data    []byte
	keep    func(n int) int // how many of n bytes of the next Append arrive; nil is no fault
	appends int
}

func (m *memory) Read() ([]byte, error) { return bytes.Clone(m.data), nil }

func (m *memory) Append(b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.appends++
	if m.keep != nil {
		m.data = append(m.data, b[:m.keep(len(b))]...)
		return errDisk
	}
	m.data = append(m.data, b...)
	return nil
}

func (m *memory) Replace(b []byte) error {
	m.data = bytes.Clone(b)
	return nil
}

func fresh(t testing.TB, first uint64) *memory {
	t.Helper()
	data, err := encodeFrame(frame{Seq: 1, Records: []record{{Kind: kindFirst, Upto: first}}})
	if err != nil {
		t.Fatal(err)
	}
	return &memory{data: append([]byte(header), data...)}
}

func open(t testing.TB, m *memory) *Journal {
	t.Helper()
	m.keep = nil
	j, err := OpenStorage(m)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func binOf(head uint16, number uint64) bus.BinRequest {
	return bus.BinRequest{Lot: "lot-1", Present: perso.Presentation{Line: "line-1", Head: head, Number: number},
		Bin: perso.VerdictGood, Chip: []byte{1, 2, 3, 4}}
}

func TestNumbersNeverRepeat(t *testing.T) {
	t.Parallel()
	m := fresh(t, 1000)
	rng := rand.New(rand.NewPCG(1, 2))
	seen := map[string]bool{}
	for range 40 {
		j := open(t, m)
		var wg sync.WaitGroup
		var mu sync.Mutex
		for head := range uint16(3) {
			for range 2 { // two callers for one head, too
				n := rng.IntN(100)
				wg.Go(func() {
					for range n {
						number, err := j.Number(head)
						if err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						key := fmt.Sprint(head, "/", number)
						if seen[key] || number < 1000 {
							t.Errorf("number %s was given before, or lies below the first", key)
						}
						seen[key] = true
						mu.Unlock()
					}
				})
			}
		}
		wg.Wait()
	}
	if m.appends > len(seen)/20 {
		t.Errorf("%d writes for %d numbers: they are not reserved in blocks", m.appends, len(seen))
	}
}

func TestStateSurvives(t *testing.T) {
	t.Parallel()
	m := fresh(t, 0)
	j := open(t, m)
	job, err := j.Begin(Job{ID: "order-1", Lot: "lot-1", Start: Counters{In: 7, Good: 5}})
	if err != nil || job.Start.In != 7 {
		t.Fatalf("Begin = %+v, %v", job, err)
	}
	for head := range uint16(3) {
		if err := j.Bin(binOf(head, uint64(head)+10)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Acknowledged(1); err != nil {
		t.Fatal(err)
	}
	for range 3 { // the second opening reads what the first compacted
		j = open(t, m)
		if got, want := j.Pending(), []bus.BinRequest{binOf(0, 10), binOf(2, 12)}; !reflect.DeepEqual(got, want) {
			t.Fatalf("pending = %+v, want %+v", got, want)
		}
		again, err := j.Begin(Job{ID: "order-1", Lot: "lot-1", Start: Counters{In: 99}})
		if err != nil || again.Start.In != 7 || j.Done("order-1") {
			t.Fatalf("the same order again = %+v, %v, done %v", again, err, j.Done("order-1"))
		}
	}
	if err := j.End("order-1"); err != nil {
		t.Fatal(err)
	}
	for i := range maxDone - 1 {
		if err := j.End(fmt.Sprint("later-", i)); err != nil {
			t.Fatal(err)
		}
	}
	j = open(t, m)
	if !j.Done("order-1") || j.Done("order-2") {
		t.Fatal("finished orders are not remembered")
	}
	if err := j.End("one-more"); err != nil || j.Done("order-1") || !j.Done("one-more") {
		t.Fatalf("the oldest is not forgotten (%v)", err)
	}
}

// TestCrashPairs makes each durable step fail, not written, torn, or written all the same, and opens again.
func TestCrashPairs(t *testing.T) {
	t.Parallel()
	steps := map[string]struct {
		do      func(j *Journal) error
		written func(j *Journal) bool // whether the step took effect
	}{
		"bin": {
			func(j *Journal) error { return j.Bin(binOf(2, 70)) },
			func(j *Journal) bool { return len(j.Pending()) == 2 },
		},
		"acknowledged": {
			func(j *Journal) error { return j.Acknowledged(1) },
			func(j *Journal) bool { return len(j.Pending()) == 0 },
		},
		"begin": {
			func(j *Journal) error { _, err := j.Begin(Job{ID: "b", Lot: "lot-1"}); return err },
			func(j *Journal) bool { return j.state.job != nil && j.state.job.ID == "b" },
		},
		"end": {
			func(j *Journal) error { return j.End("a") },
			func(j *Journal) bool { return j.Done("a") },
		},
		"number": {
			func(j *Journal) error { _, err := j.Number(5); return err },
			func(j *Journal) bool { return j.state.upto[5] > 0 },
		},
	}
	faults := map[string]struct {
		keep    func(n int) int
		written bool
	}{
		"not written": {func(int) int { return 0 }, false},
		"torn early":  {func(int) int { return 3 }, false},
		"torn late":   {func(n int) int { return n - 1 }, false},
		"but written": {func(n int) int { return n }, true},
	}
	for step, s := range steps {
		for name, f := range faults {
			t.Run(step+"/"+name, func(t *testing.T) {
				t.Parallel()
				m := fresh(t, 0)
				j := open(t, m)
				last := give(t, j, 1)
				if err := errors.Join(j.Bin(binOf(1, last)), begin(j, "a")); err != nil {
					t.Fatal(err)
				}
				m.keep = f.keep
				if err := s.do(j); !errors.Is(err, ErrBroken) || !errors.Is(err, errDisk) {
					t.Fatalf("fault gives %v", err)
				}
				m.keep = nil
				if err := j.Acknowledged(1); !errors.Is(err, ErrBroken) {
					t.Fatalf("a broken journal went on: %v", err)
				}
				j = open(t, m)
				if got := s.written(j); got != f.written {
					t.Fatalf("took effect: %v, want %v", got, f.written)
				}
				if next := give(t, j, 1); next <= last {
					t.Fatalf("number %d after %d", next, last)
				}
			})
		}
	}
}

func begin(j *Journal, id string) error {
	_, err := j.Begin(Job{ID: id, Lot: "lot-1"})
	return err
}

func give(t *testing.T, j *Journal, head uint16) uint64 {
	t.Helper()
	n, err := j.Number(head)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestTornReservation: the torn frame might have been whole once. Its numbers are given up.
func TestTornReservation(t *testing.T) {
	t.Parallel()
	m := fresh(t, 0)
	j := open(t, m)
	last := uint64(0)
	for range BlockNumbers + 1 {
		last = give(t, j, 4) // the last one lies in a second block
	}
	m.data[len(m.data)-1] ^= 1
	if next := give(t, open(t, m), 4); next <= last {
		t.Fatalf("number %d was given out before", next)
	}
	if next := give(t, open(t, m), 9); next < BlockNumbers {
		t.Fatalf("a head whose reservation is lost begins at %d", next)
	}
}

func TestDamageIsNotACrash(t *testing.T) {
	t.Parallel()
	m := fresh(t, 0)
	j := open(t, m)
	for n := range uint64(20) {
		if err := j.Bin(binOf(uint16(n%4), n)); err != nil {
			t.Fatal(err)
		}
	}
	whole := bytes.Clone(m.data)
	lastFrame := len(whole) - frameSizes(t, whole)[20]
	for i := range whole {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x40
		_, torn, err := parse(damaged)
		if i < lastFrame && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d of %d: torn %v, err %v", i, len(whole), torn, err)
		}
		if i >= lastFrame && (err != nil || !torn) {
			t.Fatalf("byte %d of %d, in the last frame: torn %v, err %v", i, len(whole), torn, err)
		}
	}
	for _, bad := range [][]byte{nil, []byte(header)[:5], append([]byte(header), make([]byte, 100)...), append(bytes.Clone(whole), make([]byte, maxFrameBytes+1)...)} {
		if _, _, err := parse(bad); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%d bytes: %v", len(bad), err)
		}
	}
	if _, torn, err := parse(append(bytes.Clone(whole), make([]byte, 4096)...)); err != nil || !torn {
		t.Fatalf("zeros at the end, which a power cut leaves: torn %v, err %v", torn, err)
	}
}

func frameSizes(t *testing.T, data []byte) (sizes []int) {
	t.Helper()
	for rest := data[len(header):]; len(rest) > 0; {
		_, n, ok := decodeFrame(rest)
		if !ok {
			t.Fatal("no frame")
		}
		sizes, rest = append(sizes, n), rest[n:]
	}
	return sizes
}

func TestFileIsWrittenAnew(t *testing.T) {
	t.Parallel()
	m := fresh(t, 0)
	j := open(t, m)
	j.size = compactBytes
	if err := j.Bin(binOf(3, 8)); err != nil {
		t.Fatal(err)
	}
	if n := len(frameSizes(t, m.data)); n != 1 {
		t.Fatalf("%d frames after compaction", n)
	}
	if err := j.Bin(binOf(4, 9)); err != nil {
		t.Fatal(err)
	}
	if p := open(t, m).Pending(); len(p) != 2 {
		t.Fatalf("pending after compaction: %+v", p)
	}
}

func TestDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Open(dir); !errors.Is(err, ErrMissing) {
		t.Fatalf("opening nothing: %v", err)
	}
	if err := Create(dir, 500); err != nil {
		t.Fatal(err)
	}
	if err := Create(dir, 0); !errors.Is(err, ErrExists) {
		t.Fatalf("creating twice: %v", err)
	}
	j, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); !errors.Is(err, ErrLocked) {
		t.Fatalf("opening twice: %v", err)
	}
	if n := give(t, j, 0); n != 500 {
		t.Fatalf("first number is %d", n)
	}
	if err := errors.Join(j.Bin(binOf(0, 500)), j.Close()); err != nil {
		t.Fatal(err)
	}
	j, err = Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if p := j.Pending(); len(p) != 1 || p[0].Present.Number != 500 {
		t.Fatalf("pending = %+v", p)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func FuzzParse(f *testing.F) {
	m := fresh(f, 3)
	j := open(f, m)
	if err := errors.Join(j.Bin(binOf(0, 5)), begin(j, "a"), j.End("a"), j.Acknowledged(0)); err != nil {
		f.Fatal(err)
	}
	f.Add(m.data)
	f.Add(m.data[:len(m.data)-4])
	f.Add([]byte(header))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, _, err := parse(data)
		if err != nil {
			return
		}
		again, err := encodeFrame(s.snapshot())
		if err != nil {
			t.Fatal(err)
		}
		back, torn, err := parse(append([]byte(header), again...))
		if err != nil || torn || !reflect.DeepEqual(back, s) {
			t.Fatalf("snapshot of %+v reads %+v, torn %v, %v", s, back, torn, err)
		}
	})
}

func BenchmarkBinOnDisk(b *testing.B) {
	dir := b.TempDir()
	if err := Create(dir, 0); err != nil {
		b.Fatal(err)
	}
	j, err := Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := j.Bin(binOf(1, 1)); err != nil {
				b.Error(err)
				return
			}
		}
	})
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
}
