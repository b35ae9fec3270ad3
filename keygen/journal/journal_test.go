package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
)

var (
	_ keygen.Journal = (*Journal)(nil)
	_ keygen.Memory  = (*Memory)(nil)
	_ keygen.OPStore = OPFolder("")

	_ keygen.Assignments = (*Memory)(nil)
)

const lot perso.Name = "LOT-1"

func open(t testing.TB, dir string) *Journal {
	t.Helper()
	j, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func records(from, n int) (out [][]byte) {
	for i := range n {
		out = append(out, fmt.Appendf(nil, "record %d", from+i))
	}
	return out
}

func readAll(t testing.TB, j *Journal, from uint64) (got [][]byte, err error) {
	t.Helper()
	err = j.Read(lot, from, func(b []byte) (bool, error) {
		got = append(got, bytes.Clone(b))
		return true, nil
	})
	return got, err
}

func TestAppendAndRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, dir)
	if got, err := readAll(t, j, 0); err != nil || got != nil {
		t.Errorf("a new lot: %q, %v", got, err)
	}
	n := 0
	for _, size := range []int{1, 256, 3, 2000, 1, 1} { // across several strides
		if err := j.Append(lot, uint64(n), records(n, size)); err != nil {
			t.Fatal(err)
		}
		n += size
	}
	if err := j.Append(lot, uint64(n-1), records(n, 1)); !errors.Is(err, ErrGap) {
		t.Errorf("a gap: %v", err)
	}
	for range 2 {
		for _, from := range []int{0, 1, 257, 1024, 2259, n - 1, n, n + 5} {
			got, err := readAll(t, j, uint64(from))
			if want := records(from, max(0, n-from)); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("from %d: %d records, want %d, %v", from, len(got), len(want), err)
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j = open(t, dir)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a second process took the folder")
	}
	if err := j.Append("../x", 0, records(0, 1)); err == nil {
		t.Error("a lot name that leaves the folder")
	}
	if err := j.Append(lot, uint64(n), [][]byte{make([]byte, maxBodyBytes)}); err == nil {
		t.Error("a frame beyond the limit")
	}
}

// A crash leaves any part of the last frame, or zeros in its place: it is dropped, and appending goes on.
func TestDropsATornTail(t *testing.T) {
	t.Parallel()
	whole := t.TempDir()
	j := open(t, whole)
	var ends []int64
	for i := range 3 {
		if err := j.Append(lot, uint64(2*i), records(2*i, 2)); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, j.files[lot].end)
	}
	content, err := os.ReadFile(filepath.Join(whole, string(lot)+".journal"))
	if err != nil {
		t.Fatal(err)
	}
	for cut := ends[1]; cut < ends[2]; cut++ {
		for name, tail := range map[string][]byte{"cut": nil, "zeros": make([]byte, ends[2]-cut)} {
			dir := t.TempDir()
			path := filepath.Join(dir, string(lot)+".journal")
			if err := os.WriteFile(path, append(bytes.Clone(content[:cut]), tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			j := open(t, dir)
			if got, err := readAll(t, j, 0); err != nil || !reflect.DeepEqual(got, records(0, 4)) {
				t.Fatalf("%s at %d: %q, %v", name, cut, got, err)
			}
			if err := errors.Join(j.Append(lot, 4, records(4, 1)), j.Close()); err != nil {
				t.Fatal(err)
			}
			if got, err := readAll(t, open(t, dir), 0); err != nil || !reflect.DeepEqual(got, records(0, 5)) {
				t.Fatalf("%s at %d, appended: %q, %v", name, cut, got, err)
			}
		}
	}
}

// A changed byte before the last frame is no crash.
func TestFindsCorruption(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, dir)
	for i := range 3 {
		if err := j.Append(lot, uint64(i), records(i, 1)); err != nil {
			t.Fatal(err)
		}
	}
	last := j.files[lot].end - int64(headerBytes+4+len("record 2"))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, string(lot)+".journal")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := range last {
		bad := bytes.Clone(content)
		bad[at] ^= 0x40
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		j := open(t, dir)
		if _, err := readAll(t, j, 0); !errors.Is(err, ErrCorrupt) {
			t.Errorf("byte %d changed: %v", at, err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// badDisk fails some calls, before or after they were carried out.
type badDisk struct {
	disk
	write, sync, truncate error
	after                 bool
}

func (d *badDisk) WriteAt(p []byte, off int64) (int, error) {
	if d.write != nil && !d.after {
		n, _ := d.disk.WriteAt(p[:len(p)/2], off)
		return n, d.write
	}
	n, err := d.disk.WriteAt(p, off)
	return n, errors.Join(err, d.write)
}

func (d *badDisk) Sync() error { return errors.Join(d.disk.Sync(), d.sync) }

func (d *badDisk) Truncate(size int64) error {
	if d.truncate != nil {
		return d.truncate
	}
	return d.disk.Truncate(size)
}

func TestDiskFailures(t *testing.T) {
	t.Parallel()
	errIO := errors.New("i/o error")
	for name, c := range map[string]struct {
		fault badDisk
		dead  bool // nothing may be read or appended until the journal is opened again
	}{
		"write fails half-way":        {badDisk{write: errIO}, false},
		"write fails but is written":  {badDisk{write: errIO, after: true}, false},
		"sync fails, and again":       {badDisk{sync: errIO}, true},
		"write and undo fail":         {badDisk{write: errIO, truncate: errIO}, true},
		"written, but write and undo": {badDisk{write: errIO, after: true, truncate: errIO}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			j := open(t, dir)
			bad := &badDisk{}
			j.open = func(path string) (disk, error) {
				d, err := openFile(path)
				bad.disk = d
				return bad, err
			}
			if err := j.Append(lot, 0, records(0, 2)); err != nil {
				t.Fatal(err)
			}
			good := *bad
			*bad = c.fault
			bad.disk = good.disk
			if err := j.Append(lot, 2, records(2, 1)); !errors.Is(err, errIO) {
				t.Errorf("appending: %v", err)
			}
			*bad = good
			got, err := readAll(t, j, 0)
			if c.dead != (err != nil) || !c.dead && !reflect.DeepEqual(got, records(0, 2)) {
				t.Errorf("reading: %q, %v", got, err)
			}
			if err := j.Append(lot, 2, records(2, 1)); c.dead != (err != nil) {
				t.Errorf("appending again: %v", err)
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			got, err = readAll(t, open(t, dir), 0)
			if n := len(got); err != nil || !reflect.DeepEqual(got, records(0, n)) || n < 2 || n > 3 {
				t.Errorf("after a restart: %q, %v", got, err)
			}
		})
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("PJR1\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x01A"))
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, string(lot)+".journal"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = j.Close() }()
		got, err := readAll(t, j, 0)
		if err != nil {
			return
		}
		if err := j.Append(lot, uint64(len(got)), records(0, 1)); err != nil {
			t.Errorf("readable but not writable: %v", err)
		}
	})
}

func issuedLot(t *testing.T, n byte) keygen.Issued {
	t.Helper()
	eid, err1 := id.ParseEID("89049032123451234512345678901235")
	iccid, err2 := id.ParseICCID("8988247000100003319")
	imsi, err3 := id.ParseIMSI("901700000000001", 2)
	i := keygen.Issued{Release: [32]byte{n}, Register: [32]byte{9}, Statements: uint64(n)}
	var err4, err5, err6 error
	i.EIDs, err4 = id.NewEIDRange(eid, uint64(n))
	i.ICCIDs, err5 = id.NewICCIDRange(iccid, 10)
	i.IMSIs, err6 = id.NewIMSIRange(imsi, 20)
	if n > 1 { // a lot with an operational profile
		i.OperationalICCIDs, i.OperationalIMSIs = i.ICCIDs, i.IMSIs
	}
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		t.Fatal(err)
	}
	return i
}

func TestMemory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "memory")
	if _, err := OpenMemory(dir); err == nil {
		t.Error("opened a memory that nobody made")
	}
	m, err := CreateMemory(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CreateMemory(dir); err == nil {
		t.Error("made a memory twice")
	}
	if r, err := m.Recall(); err != nil || r.Size != 0 || len(r.Lots) != 0 {
		t.Errorf("new memory: %+v, %v", r, err)
	}
	if err := errors.Join(m.RememberCheckpoint(7, [32]byte{7}), m.RememberLot("A", issuedLot(t, 1)), m.RememberLot("B", issuedLot(t, 2))); err != nil {
		t.Fatal(err)
	}
	// A crash before a rename leaves the new file beside the old one.
	if err := os.WriteFile(filepath.Join(dir, "lots/C.new"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := keygen.Recollection{Size: 7, Root: [32]byte{7}, Lots: map[perso.Name]keygen.Issued{"A": issuedLot(t, 1), "B": issuedLot(t, 2)}}
	m, err = OpenMemory(dir)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := m.Recall(); err != nil || !reflect.DeepEqual(r, want) {
		t.Errorf("%+v, %v", r, err)
	}
	// Of sizes that get longer and shorter, the last one is read.
	for _, size := range []int64{123_456, 123_457, 8} {
		if err := m.RememberCheckpoint(size, [32]byte{9}); err != nil {
			t.Fatal(err)
		}
		if r, err := m.Recall(); err != nil || r.Size != size || r.Root != [32]byte{9} {
			t.Errorf("after checkpoint %d: %+v, %v", size, r, err)
		}
	}
	for _, name := range []string{"lots/A", "checkpoint"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("persoline/1 vault-lot\nlot B\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenMemory(dir); err == nil {
			t.Errorf("opened with a broken %s", name)
		}
	}
}

// What the log vault gave away is read back, and a memory that lost the folder, or holds a broken file, is none.
func TestAssigned(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "memory")
	m, err := CreateMemory(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.Assigned(); err != nil || len(got) != 0 {
		t.Errorf("new memory: %v, %v", got, err)
	}
	at := time.Date(2027, 3, 1, 8, 0, 0, 123_456_000, time.UTC)
	want := map[perso.Name]keygen.Assignment{"A": {Issued: issuedLot(t, 1), Vault: "vault-2", At: at}, "B": {Issued: issuedLot(t, 2), Vault: "vault-1", At: at}}
	for lot, a := range want {
		if err := m.RememberAssigned(lot, a); err != nil {
			t.Fatal(err)
		}
	}
	if m, err = OpenMemory(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := m.Assigned(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if r, err := m.Recall(); err != nil || len(r.Lots) != 0 {
		t.Errorf("lots that were given away count as made: %v, %v", r.Lots, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "assigned/A"), []byte("persoline/1 vault-assigned\nlot B\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := m.Assigned(); err == nil {
		t.Errorf("read a broken file: %v", got)
	}
	if err := os.RemoveAll(filepath.Join(dir, "assigned")); err != nil {
		t.Fatal(err)
	}
	if got, err := m.Assigned(); err == nil {
		t.Errorf("an empty beginning: %v", got)
	}
}

// Whatever a crash leaves of a checkpoint that was being written, or a disk of one that was: the last one that was
// promised is there, or the one after it; and afterwards the memory bears the next crash as well.
func TestCheckpointIsTorn(t *testing.T) {
	t.Parallel()
	before, after := slotOf(t, 7), slotOf(t, 123)
	torn := func(n int) (s slot) { s = before; copy(s[:n], after[:n]); return s }
	for n := range slotBytes + 1 {
		inFirst, inSecond := torn(n), torn(n)
		checkSlots(t, fmt.Sprintf("first slot torn at %d", n), inFirst, before, map[bool]int64{false: 7, true: 123}[inFirst == after])
		checkSlots(t, fmt.Sprintf("second slot torn at %d", n), after, inSecond, 123)
	}
	rotten := after
	rotten[30] ^= 1
	checkSlots(t, "first slot rotten", rotten, after, 123)
	checkSlots(t, "second slot rotten", after, rotten, 123)
	path := filepath.Join(memoryWith(t, rotten, rotten), fileCheckpoint)
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"both rotten", func() error { return nil }},
		{"cut short", func() error { return os.Truncate(path, slotBytes) }},
		{"gone", func() error { return os.Remove(path) }},
	} {
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenMemory(filepath.Dir(path)); err == nil {
			t.Errorf("%s: opened", c.name)
		}
	}
}

// Whatever lies in one block with what was being written may be lost with it.
func TestCheckpointLosesABlock(t *testing.T) {
	t.Parallel()
	for block := 4 << 10; block <= 32<<10; block *= 2 {
		for at := 0; at < slotsSize; at += block {
			dir := memoryWith(t, slotOf(t, 7), slotOf(t, 7))
			path := filepath.Join(dir, fileCheckpoint)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			clear(b[at:min(at+block, len(b))])
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			m, err := OpenMemory(dir)
			if err != nil {
				t.Errorf("without %d bytes at %d: %v", block, at, err)
				continue
			}
			if r, err := m.Recall(); err != nil || r.Size != 7 {
				t.Errorf("without %d bytes at %d it recalls %+v, %v", block, at, r, err)
			}
		}
	}
}

func slotOf(t *testing.T, size int64) slot {
	t.Helper()
	s, err := makeSlot(size, [32]byte{byte(size)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func memoryWith(t *testing.T, first, second slot) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "memory")
	if _, err := CreateMemory(dir); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, slotsSize)
	copy(b, first[:])
	copy(b[slotGap:], second[:])
	if err := os.WriteFile(filepath.Join(dir, fileCheckpoint), b, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// checkSlots opens a memory with these slots, and tears its next checkpoint.
func checkSlots(t *testing.T, name string, first, second slot, want int64) {
	t.Helper()
	dir := memoryWith(t, first, second)
	m, err := OpenMemory(dir)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if r, err := m.Recall(); err != nil || r.Size != want || r.Root != [32]byte{byte(want)} {
		t.Errorf("%s: recalls %+v, %v, want %d", name, r, err, want)
	}
	if err := overwrite(filepath.Join(dir, fileCheckpoint), slot{}, 0); err != nil {
		t.Fatal(err)
	}
	if r, err := m.Recall(); err != nil || r.Size != want {
		t.Errorf("%s: with the next one torn it recalls %+v, %v, want %d", name, r, err, want)
	}
}

func TestOPFolder(t *testing.T) {
	t.Parallel()
	d := OPFolder(t.TempDir())
	if err := d.Put("op-1", []byte("sealed")); err != nil {
		t.Fatal(err)
	}
	if err := d.Put("op-1", []byte("other")); err == nil {
		t.Error("replaced a sealed OP")
	}
	if b, err := d.SealedOP("op-1"); err != nil || string(b) != "sealed" {
		t.Errorf("%q, %v", b, err)
	}
	// Killed before the name was in use, and after it was: neither is in the way, and neither spoils a key.
	path, _ := d.path("op-1")
	if err := os.Link(path, filepath.Join(string(d), "op-1.sealed"+tempSuffix)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(string(d), "op-3.sealed"+tempSuffix), []byte("hal"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.SealedOP("op-3"); err == nil {
		t.Error("read a key that was half written")
	}
	if err := d.Put("op-1", []byte("other")); err == nil {
		t.Error("replaced a sealed OP after a crash")
	}
	if err := d.Put("op-3", []byte("whole")); err != nil {
		t.Error(err)
	}
	for name, want := range map[perso.Name]string{"op-1": "sealed", "op-3": "whole"} {
		if b, err := d.SealedOP(name); err != nil || string(b) != want {
			t.Errorf("%s is %q, %v", name, b, err)
		}
	}
	for _, name := range []perso.Name{"op-2", "../op-1", ""} {
		if _, err := d.SealedOP(name); err == nil {
			t.Errorf("read %q", name)
		}
	}
}

// A scratch has no name and no tie to another one; what a kill left of one is gone at the next start, and nothing else is.
func TestScratch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, scratchPrefix+"17"), []byte("left"), 0o600); err != nil {
		t.Fatal(err)
	}
	j, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Append("scratch-1", 0, [][]byte{[]byte("receipt")}); err != nil {
		t.Fatal(err)
	}
	a, err := j.Scratch()
	if err != nil {
		t.Fatal(err)
	}
	b, err := j.Scratch()
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 3)
	_, err1 := a.WriteAt([]byte("one"), 4096)
	_, err2 := b.WriteAt([]byte("two"), 4096)
	_, err3 := a.ReadAt(got, 4096)
	if err := errors.Join(err1, err2, err3); err != nil || string(got) != "one" {
		t.Errorf("%q, %v", got, err)
	}
	if err := errors.Join(a.Close(), b.Close(), j.Close()); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 || left[0].Name() != "lock" || left[1].Name() != "scratch-1.journal" {
		t.Errorf("the folder has %v, %v", left, err)
	}
	if j, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	n := 0
	if err := j.Read("scratch-1", 0, func([]byte) (bool, error) { n++; return true, nil }); err != nil || n != 1 {
		t.Errorf("%d receipts, %v", n, err)
	}
}

// The places that are remembered stay within a bound, and each record is still found from them.
func TestPlacesDoNotGrow(t *testing.T) {
	t.Parallel()
	const frameBytes, perFrame, frames = 100, firstStride, 5 * maxMarks
	f := &file{stride: firstStride}
	for i := range uint64(frames) {
		f.note(int64(i*frameBytes), perFrame)
		if len(f.marks) >= maxMarks {
			t.Fatalf("%d places after %d frames", len(f.marks), i)
		}
	}
	if f.count != frames*perFrame || f.marks[0] != (place{}) {
		t.Fatalf("%d records, the first place is %+v", f.count, f.marks[0])
	}
	for i, m := range f.marks {
		if m.offset != int64(m.first/perFrame*frameBytes) {
			t.Fatalf("place %d is %+v", i, m)
		}
		if i > 0 && m.first-f.marks[i-1].first > 2*f.stride {
			t.Errorf("%d records between two places, stride %d", m.first-f.marks[i-1].first, f.stride)
		}
	}
}
