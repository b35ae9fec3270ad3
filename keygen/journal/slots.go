package journal

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"

	"golang.org/x/sys/unix"

	"github.com/persoline/persoline/perso/record"
)

// The checkpoint is signed some hundred times a second, so its file is written over in place: no file is made, none named,
// and the disk need not write down what a folder holds. It has two slots with the same content. Each time the first is
// written and synced, then the second: whatever a crash tears, or a disk loses, the other one is whole; and the first,
// where it is whole, is never older than the second. Only when both are durable the checkpoint is signed.
//
// A slot is the record of the checkpoint, filled with line ends, and its CRC-32C as 8 hex digits and a line end. What lies
// between the slots is zero and never written again.
const (
	slotBytes = 512
	slotCRC   = 8 + 1
	// slotGap is how far the second slot is from the first: a disk that loses power loses what it was about to write whole, be
	// that the page of a file system or, on flash, a good deal more.
	slotGap   = 64 << 10
	slotsSize = slotGap + slotBytes
)

type slot [slotBytes]byte

func makeSlot(size int64, root [32]byte) (s slot, err error) {
	w := record.New(kindCheckpoint).Uint("size", uint64(size))
	if root == [32]byte{} {
		w.Hex("root", nil)
	} else {
		w.Hex("root", root[:])
	}
	b, err := w.Bytes()
	if err == nil && len(b) > slotBytes-slotCRC {
		err = fmt.Errorf("checkpoint of %d bytes", len(b))
	}
	if err != nil {
		return s, fmt.Errorf("writing vault memory: %w", err)
	}
	n := copy(s[:], b)
	for i := range s[n:] {
		s[n+i] = '\n'
	}
	copy(s[slotBytes-slotCRC:], s.crc())
	return s, nil
}

func (s *slot) crc() string {
	return fmt.Sprintf("%08x\n", crc32.Checksum(s[:slotBytes-slotCRC], castagnoli()))
}

func (s *slot) whole() bool { return string(s[slotBytes-slotCRC:]) == s.crc() }

func (s *slot) read() (size int64, root [32]byte, err error) {
	text := append(bytes.TrimRight(s[:slotBytes-slotCRC], "\n"), '\n')
	r, err := record.Parse(text, kindCheckpoint)
	if err != nil {
		return 0, root, err
	}
	size, root = int64(r.Uint("size", 63)), r.OptHash("root")
	return size, root, r.Done()
}

// loadSlots gives both slots; that at least one is whole is checked.
func loadSlots(path string) (slots [2]slot, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return slots, fmt.Errorf("reading vault memory: %w", err)
	}
	if len(b) == slotsSize {
		slots = [2]slot{slot(b[:slotBytes]), slot(b[slotGap:])}
	}
	if !slots[0].whole() && !slots[1].whole() {
		return slots, fmt.Errorf("reading vault memory %q: %w", path, ErrCorrupt)
	}
	return slots, nil
}

func readSlots(path string) (size int64, root [32]byte, err error) {
	slots, err := loadSlots(path)
	if err != nil {
		return 0, root, err
	}
	s := &slots[0]
	if !s.whole() {
		s = &slots[1]
	}
	if size, root, err = s.read(); err != nil {
		return 0, root, fmt.Errorf("reading vault memory %q: %w", path, err)
	}
	return size, root, nil
}

func createSlots(path string) error {
	s, err := makeSlot(0, [32]byte{})
	if err != nil {
		return err
	}
	b := make([]byte, slotsSize)
	copy(b, s[:])
	copy(b[slotGap:], s[:])
	return writeSynced(path, os.O_EXCL, b)
}

// mendSlots makes both slots whole and equal again. The one that is not is written first: the next checkpoint must find
// a second one when it tears the first.
func mendSlots(path string) error {
	slots, err := loadSlots(path)
	if err != nil || slots[0] == slots[1] {
		return err
	}
	if slots[0].whole() {
		return overwrite(path, slots[0], 1)
	}
	return overwrite(path, slots[1], 0)
}

func writeSlots(path string, s slot) error { return overwrite(path, s, 0, 1) }

// overwrite writes a slot to places, each durable before the next. The file keeps its length: its data is all there is
// to sync.
func overwrite(path string, s slot, places ...int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("writing vault memory: %w", err)
	}
	for _, at := range places {
		if _, err = f.WriteAt(s[:], at*slotGap); err == nil {
			err = unix.Fdatasync(int(f.Fd()))
		}
		if err != nil {
			break
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing vault memory %q: %w", path, err)
	}
	return nil
}
