package chipfarm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/persoline/persoline/lineside/card"
)

// memoryOf opens the memory of a chip for the length of a test.
func memoryOf(t *testing.T, s *packs, index uint32) *chipMemory {
	t.Helper()
	m, err := s.memory(index)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func write(t *testing.T, m *chipMemory, records ...string) {
	t.Helper()
	for _, r := range records {
		if err := m.Append([]byte(r)); err != nil {
			t.Fatal(err)
		}
	}
}

// written is what a chip's memory replays.
func written(t *testing.T, m *chipMemory) (all []string) {
	t.Helper()
	if err := m.Replay(func(r []byte) error { all = append(all, string(r)); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// wants compares what a chip replays with what it wrote, in this process, in the next one, and past the chip.
func wants(t *testing.T, s *packs, index uint32, want ...string) {
	t.Helper()
	if got := written(t, memoryOf(t, s, index)); !slices.Equal(got, want) {
		t.Errorf("chip %d replays %q, wrote %q", index, got, want)
	}
	if got := written(t, memoryOf(t, newPacks(s.dir), index)); !slices.Equal(got, want) {
		t.Errorf("chip %d replays %q to the next process, wrote %q", index, got, want)
	}
	var got []string
	err := Records(s.dir, index, func(r []byte) error { got = append(got, string(r)); return nil })
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("records of chip %d are %q, %v, wrote %q", index, got, err, want)
	}
}

func TestPackKeepsChipsApart(t *testing.T) {
	t.Parallel()
	s := newPacks(t.TempDir())
	first, last, next := memoryOf(t, s, 0), memoryOf(t, s, packChips-1), memoryOf(t, s, packChips)
	write(t, first, "a", "")
	write(t, last, "b")
	write(t, next, "c")
	write(t, first, strings.Repeat("d", maxRecordBytes-indexBytes))
	write(t, last, "e")
	wants(t, s, 0, "a", "", strings.Repeat("d", maxRecordBytes-indexBytes))
	wants(t, s, packChips-1, "b", "e")
	wants(t, s, packChips, "c")
	wants(t, s, 1)
	wants(t, s, 5*packChips)
	if err := first.Append(make([]byte, maxRecordBytes-indexBytes+1)); err == nil {
		t.Error("a record beyond the limit is written")
	}
	stop := errors.New("stop")
	if err := first.Replay(func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("replaying ended with %v", err)
	}
	if err := Records(s.dir, 0, func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("reading ended with %v", err)
	}
	if files, err := filepath.Glob(filepath.Join(s.dir, chipFolder, "*")); len(files) != 2 || err != nil {
		t.Errorf("files %q, %v", files, err)
	}
	gone, err := s.memory(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(gone.Close(), gone.Close()); err != nil {
		t.Error(err)
	}
	if err := gone.Append([]byte("x")); err == nil {
		t.Error("a chip that is in no reader writes")
	}
}

// TestPackSideBySide lets many chips of a pack write at once, while others of it come and go.
func TestPackSideBySide(t *testing.T) {
	t.Parallel()
	const chips, rounds = 32, 50
	s := newPacks(t.TempDir())
	var want []string
	for n := range rounds {
		want = append(want, fmt.Sprint("record ", n))
	}
	var all sync.WaitGroup
	for index := range uint32(chips) {
		all.Go(func() {
			for n, r := range want {
				m, err := s.memory(index)
				if err != nil {
					t.Error(err)
					return
				}
				if err := errors.Join(m.Append([]byte(r)), m.Replay(func([]byte) error { return nil }), m.Close()); err != nil {
					t.Errorf("round %d: %v", n, err)
				}
			}
		})
	}
	all.Wait()
	for index := range uint32(chips) {
		wants(t, s, index, want...)
	}
}

// TestPackTorn cuts a pack at every byte of its last record: that record is lost, and no other chip's.
func TestPackTorn(t *testing.T) {
	t.Parallel()
	s := newPacks(t.TempDir())
	write(t, memoryOf(t, s, 1), "one")
	write(t, memoryOf(t, s, 2), "two", "torn")
	path := packPath(s.dir, 0)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last := prefixBytes + indexBytes + len("torn")
	spoilt := bytes.Clone(whole)
	spoilt[len(spoilt)-1] ^= 1
	tails := [][]byte{spoilt}
	for cut := 1; cut <= last; cut++ {
		tails = append(tails, whole[:len(whole)-cut])
	}
	for _, data := range tails {
		if err := os.WriteFile(path, data, ownerOnly); err != nil {
			t.Fatal(err)
		}
		n := 0
		if err := Records(s.dir, 2, func([]byte) error { n++; return nil }); err != nil || n != 1 {
			t.Errorf("cut to %d: %d records, %v", len(data), n, err)
		}
		if info, err := os.Stat(path); err != nil || info.Size() != int64(len(data)) {
			t.Errorf("reading past the chips changed the pack: %v, %v", info, err)
		}
		again := newPacks(s.dir)
		write(t, memoryOf(t, again, 1), "more")
		wants(t, again, 1, "one", "more")
		wants(t, again, 2, "two")
	}
}

// framed is a record with its prefix.
func framed(t *testing.T, record []byte) []byte {
	t.Helper()
	l := logFile{path: filepath.Join(t.TempDir(), "log")}
	if _, err := l.Append(record); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(l.path)
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	return data
}

// TestPackDamage: damage takes the pack's chips out of use, as a fault of the machine, with file and byte.
func TestPackDamage(t *testing.T) {
	t.Parallel()
	f := serve(t, testSpec(2))
	c := f.client()
	for head := range uint16(2) {
		mustContact(t, c, head)
		sequence(t, c, head)
	}
	f.stop()
	path := packPath(f.dir, 0)
	flipped, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped[prefixBytes] ^= 1
	for name, damaged := range map[string][]byte{
		"flipped":         flipped,
		"of another pack": framed(t, []byte{0, 0, packChips >> 8, packChips & 0xFF, 1}),
		"without a chip":  framed(t, []byte{0, 0}),
	} {
		if err := os.WriteFile(path, damaged, ownerOnly); err != nil {
			t.Fatal(err)
		}
		f.start()
		c := f.client()
		for head := range uint16(2) {
			_, err := c.Contact(t.Context(), head)
			if err == nil || errors.Is(err, card.ErrMute) || errors.Is(err, ErrRefused) ||
				!strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "at byte 0") {
				t.Errorf("%s: chip %d: %v", name, head, err)
			}
		}
		f.stop()
		if err := Records(f.dir, 1, func([]byte) error { return nil }); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: read as %v", name, err)
		}
		if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, damaged) {
			t.Errorf("%s: the damaged pack was changed: %v", name, err)
		}
	}
}

// TestIdlePacksAreFew takes a chip of each of many packs, some of which stay in their readers.
func TestIdlePacksAreFew(t *testing.T) {
	t.Parallel()
	const many, held = 40, 3
	s := newPacks(t.TempDir())
	for n := range uint32(many) {
		m, err := s.memory(n * packChips)
		if err != nil {
			t.Fatal(err)
		}
		write(t, m, fmt.Sprint(n))
		if n < held {
			t.Cleanup(func() { _ = m.Close() })
			continue
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		if len(s.open) > held+maxIdlePacks {
			t.Fatalf("%d packs are open", len(s.open))
		}
	}
	for n := range uint32(held) {
		if s.open[n] == nil {
			t.Errorf("pack %d was let go with a chip in a reader", n)
		}
	}
	if s.open[many-1] == nil || s.open[held] != nil {
		t.Error("the packs that were used last are not those that are kept")
	}
	for n := range uint32(many) {
		wants(t, s, n*packChips, fmt.Sprint(n))
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// envLimit makes the test binary write against a limit of its files' size, for TestPartialWrite.
const envLimit = "CHIPFARM_TEST_LIMIT_DIR"

// TestPartialWrite runs out of room in the middle of a record. The process has the limit, so it is another one.
func TestPartialWrite(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv(envLimit); dir != "" {
		writeToTheLimit(t, dir)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestPartialWrite$")
	cmd.Env = append(os.Environ(), envLimit+"="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func writeToTheLimit(t *testing.T, dir string) {
	signal.Ignore(syscall.SIGXFSZ) // the write fails then
	s := newPacks(dir)
	full, other := memoryOf(t, s, 0), memoryOf(t, s, 1)
	write(t, full, "before")
	before := full.pack.log.size
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	roomy := limit.Cur
	limit.Cur = uint64(before) + 100
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := full.Append(make([]byte, 200)); err == nil || !errors.Is(full.failed, syscall.EFBIG) {
		t.Errorf("a record beyond the limit: %v, kept as %v", err, full.failed)
	}
	if info, err := os.Stat(packPath(dir, 0)); err != nil || info.Size() != before {
		t.Errorf("half a record was left: %v, %v", info, err)
	}
	write(t, other, "small") // the other chip is not to blame, and there is room for its record
	if other.failed != nil {
		t.Error(other.failed)
	}
	limit.Cur = roomy
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	write(t, full, "after")
	wants(t, s, 0, "before", "after")
	wants(t, s, 1, "small")
}

// TestCutLater: what a failed write left, and could not be cut off then, is cut off before the next.
func TestCutLater(t *testing.T) {
	t.Parallel()
	s := newPacks(t.TempDir())
	m := memoryOf(t, s, 0)
	write(t, m, "before")
	log := &m.pack.log
	if _, err := log.file.Write([]byte("\x00\x00\x00\x10 half a record, longer than the next")); err != nil {
		t.Fatal(err)
	}
	if err := log.file.Close(); err != nil { // neither written nor cut
		t.Fatal(err)
	}
	if err := m.Append([]byte("lost")); err == nil || m.failed == nil {
		t.Errorf("writing to a closed file: %v", err)
	}
	write(t, m, "next")
	wants(t, s, 0, "before", "next")
}

// TestOldFolder: a folder that was written in another way is refused, not misread.
func TestOldFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Create(dir, testSpec(1)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, specFile)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	version := fmt.Appendf(nil, `"version": %d,`, folderVersion)
	for said, want := range map[string]error{`"version": 2,`: nil, ``: ErrVersion, `"version": 1,`: ErrVersion, `"version": 3, "later": 1,`: ErrVersion} {
		if err := os.WriteFile(path, bytes.Replace(text, version, []byte(said), 1), ownerOnly); err != nil {
			t.Fatal(err)
		}
		f, err := Open(dir, nil)
		if !errors.Is(err, want) || want != nil && !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v", said, err)
		}
		if err == nil {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
