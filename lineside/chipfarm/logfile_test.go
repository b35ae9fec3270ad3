package chipfarm

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/persoline/persoline/perso"
)

func recordsOf(l *logFile) (records []string, err error) {
	err = l.Replay(func(_ int64, r []byte) error {
		records = append(records, string(r))
		return nil
	})
	return records, err
}

// TestTornTail cuts a log at every byte: whole records stay, and the log goes on after them.
func TestTornTail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	whole := &logFile{path: filepath.Join(dir, "whole")}
	ends := []int64{0}
	for i := range 3 {
		if _, err := whole.Append(bytes.Repeat([]byte{'a' + byte(i)}, 5*i)); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, whole.size)
	}
	if err := whole.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(whole.path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(data) {
		l := &logFile{path: filepath.Join(dir, fmt.Sprint("cut", cut))}
		if err := os.WriteFile(l.path, data[:cut], ownerOnly); err != nil {
			t.Fatal(err)
		}
		kept := 0
		for kept+1 < len(ends) && ends[kept+1] <= int64(cut) {
			kept++
		}
		if records, err := recordsOf(l); err != nil || len(records) != kept {
			t.Fatalf("cut at %d: %q, %v, expected %d records", cut, records, err, kept)
		}
		if _, err := l.Append([]byte("new")); err != nil {
			t.Fatal(err)
		}
		if records, err := recordsOf(l); err != nil || len(records) != kept+1 || records[kept] != "new" {
			t.Fatalf("after a cut at %d: %q, %v", cut, records, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDamageIsNoTornTail(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	l := &logFile{path: path}
	for range 2 {
		if _, err := l.Append([]byte("record")); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[int]error{prefixBytes: ErrCorrupt, 0: ErrCorrupt, len(data) - 1: nil} {
		damaged := bytes.Clone(data)
		damaged[at] ^= 0x80
		if err := os.WriteFile(path, damaged, ownerOnly); err != nil {
			t.Fatal(err)
		}
		if _, err := recordsOf(&logFile{path: path}); !errors.Is(err, want) {
			t.Errorf("damage at byte %d: %v", at, err)
		}
	}
	if _, err := l.Append(make([]byte, maxRecordBytes+1)); err == nil {
		t.Error("a record beyond the limit is written")
	}
}

func TestHandlerRefusesImpossibleMovements(t *testing.T) {
	t.Parallel()
	for name, movements := range map[string][][]byte{
		"binned before loaded":  {{moveBin, 0, 0, 0, 0, 0, 0}},
		"chip left out":         {{moveLoad, 0, 0, 0, 0, 0, 1}},
		"head not empty":        {{moveLoad, 0, 0, 0, 0, 0, 0}, {moveLoad, 0, 0, 0, 0, 0, 1}},
		"other chip":            {{moveLoad, 0, 0, 0, 0, 0, 0}, {moveBin, 0, 0, 0, 0, 0, 1}},
		"unknown movement":      {{moveLoad, 0, 0, 0, 0, 0, 0}, {9, 0, 0, 0, 0, 0, 0}},
		"short":                 {{moveLoad, 0, 0}},
		"more chips than there": {{moveLoad, 0, 0, 0, 0, 0, 0}, {moveLoad, 0, 1, 0, 0, 0, 1}, {moveLoad, 0, 2, 0, 0, 0, 2}},
	} {
		l := &logFile{path: filepath.Join(t.TempDir(), "handler")}
		for _, m := range movements {
			if _, err := l.Append(m); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := openHandler(l.path, 2); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBinsHaveMovements(t *testing.T) {
	t.Parallel()
	for _, bin := range bins {
		if back, ok := binOf(moveOf(bin)); !ok || back != bin {
			t.Errorf("bin %q became %q", bin, back)
		}
	}
	for _, v := range []perso.Bin{"", "hold", "stop", "locked"} {
		if moveOf(v) != 0 {
			t.Errorf("%q is a bin", v)
		}
	}
}

func FuzzLog(f *testing.F) {
	l := &logFile{path: filepath.Join(f.TempDir(), "seed")}
	for _, r := range []string{"", "a", "record"} {
		if _, err := l.Append([]byte(r)); err != nil {
			f.Fatal(err)
		}
	}
	data, err := os.ReadFile(l.path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:len(data)-1])
	f.Fuzz(func(t *testing.T, data []byte) {
		in := bufio.NewReaderSize(bytes.NewReader(data), readAheadBytes)
		for rest := data; ; {
			record, n, err := nextRecord(in)
			if n == 0 || err != nil {
				return
			}
			if n > len(rest) || !bytes.Equal(record, rest[prefixBytes:n]) {
				t.Fatalf("record %X of %d bytes with its prefix in %d", record, n, len(rest))
			}
			rest = rest[n:]
		}
	})
}
