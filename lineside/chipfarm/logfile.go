package chipfarm

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/persoline/persoline/lineside/cardsim"
)

const (
	prefixBytes = 8 // length and CRC-32C of the body, big endian
	// maxRecordBytes bounds a record: what a chip writes at once, which is a whole profile at most, behind its index.
	maxRecordBytes = indexBytes + cardsim.MaxRecordBytes
	// usualRecordBytes is what other records stay below: one STORE DATA sequence of 4,096 bytes with the names of its cells.
	usualRecordBytes = 16 << 10
	// readAheadBytes is what replaying holds of a file; it must hold a record and one byte behind it.
	readAheadBytes = 64 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// logFile is an append-only file of checked records. It is made with its first record; a torn last record, as a killed
// process leaves it, is dropped. It is not safe for concurrent use.
type logFile struct {
	path  string
	file  *os.File // nil until it is read or appended to
	size  int64    // of the records that are whole
	dirty bool     // a failed write may have left something behind them
	buf   []byte   // the last record as it went out
	in    *bufio.Reader
}

// Replay lends each record with its place, oldest first, and cuts off a torn one.
func (l *logFile) Replay(apply func(at int64, record []byte) error) error {
	err := l.open(os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		l.size = 0
		return nil
	}
	if err != nil {
		return err
	}
	if l.size, err = replay(l.file, apply); err != nil {
		return fmt.Errorf("reading %q at byte %d: %w", l.path, l.size, err)
	}
	return l.cut()
}

// replay lends each whole record of a file with its place, and says where they end.
func replay(file *os.File, apply func(at int64, record []byte) error) (end int64, err error) {
	in := bufio.NewReaderSize(io.NewSectionReader(file, 0, 1<<62), readAheadBytes)
	for {
		record, n, err := nextRecord(in)
		if n == 0 || err != nil {
			return end, err
		}
		if err := apply(end, record); err != nil {
			return end, err
		}
		end += int64(n)
	}
}

// nextRecord lends the first record that is left, and its length with the prefix; n is 0 at the end, and when what is left
// is torn. A record that is whole but wrong, with others after it, is no torn write.
func nextRecord(in *bufio.Reader) (record []byte, n int, err error) {
	prefix, err := in.Peek(prefixBytes)
	if err != nil {
		return nil, 0, unlessEnd(err)
	}
	size, sum := binary.BigEndian.Uint32(prefix), binary.BigEndian.Uint32(prefix[4:])
	if size > maxRecordBytes {
		return nil, 0, fmt.Errorf("record of %d bytes: %w", size, ErrCorrupt)
	}
	n = prefixBytes + int(size)
	b, err := in.Peek(n + 1)
	if err = unlessEnd(err); err != nil || len(b) < n {
		return nil, 0, err
	}
	if record = b[prefixBytes:n]; checksum(record) == sum {
		_, err := in.Discard(n) // what was lent stays until more is read
		return record, n, err
	}
	if len(b) == n {
		return nil, 0, nil
	}
	return nil, 0, fmt.Errorf("checksum: %w", ErrCorrupt)
}

func unlessEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// ReadAt lends the record at a place that Replay or Append named, until the next is read.
func (l *logFile) ReadAt(at int64) (record []byte, err error) {
	if err := l.open(os.O_RDWR); err != nil {
		return nil, err
	}
	const most = prefixBytes + maxRecordBytes
	if l.in == nil {
		l.in = bufio.NewReaderSize(nil, prefixBytes+usualRecordBytes+1)
	}
	l.in.Reset(io.NewSectionReader(l.file, at, min(most, l.size-at)))
	record, n, err := nextRecord(l.in)
	if errors.Is(err, bufio.ErrBufferFull) { // a larger record than there was yet: from now on there is room for any
		l.in = bufio.NewReaderSize(io.NewSectionReader(l.file, at, min(most, l.size-at)), most+1)
		record, n, err = nextRecord(l.in)
	}
	if err == nil && n == 0 {
		err = fmt.Errorf("no record: %w", ErrCorrupt) // it was there
	}
	if err != nil {
		return nil, fmt.Errorf("reading %q at byte %d: %w", l.path, at, err)
	}
	return record, nil
}

// Append writes one record, given in parts, in one write, and says where. What a failed write left is cut off again, at
// the latest before the next.
func (l *logFile) Append(parts ...[]byte) (at int64, err error) {
	b := append(l.buf[:0], make([]byte, prefixBytes)...)
	for _, part := range parts {
		b = append(b, part...)
	}
	l.buf = b
	record := b[prefixBytes:]
	if len(record) > maxRecordBytes {
		l.buf = nil
		return 0, fmt.Errorf("writing record of %d bytes, limit %d", len(record), maxRecordBytes)
	}
	binary.BigEndian.PutUint32(b, uint32(len(record)))
	binary.BigEndian.PutUint32(b[4:], checksum(record))
	if err := l.openToWrite(); err != nil {
		return 0, err
	}
	if _, err := l.file.Write(b); err != nil {
		l.dirty = true
		return 0, errors.Join(err, l.cut(), l.Close()) // opened anew it may work again
	}
	at = l.size
	l.size += int64(len(b))
	return at, nil
}

// cut leaves the whole records in the file and nothing else.
func (l *logFile) cut() error {
	info, err := l.file.Stat()
	if err == nil && info.Size() != l.size {
		err = l.file.Truncate(l.size)
	}
	l.dirty = err != nil
	return err
}

// Close lets go of the file. It may be read and appended to again.
func (l *logFile) Close() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

func (l *logFile) openToWrite() error {
	err := l.open(os.O_CREATE | os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) { // the first file of its folder
		if err = os.MkdirAll(filepath.Dir(l.path), ownerFolder); err == nil {
			err = l.open(os.O_CREATE | os.O_RDWR)
		}
	}
	if err == nil && l.dirty {
		err = l.cut()
	}
	return err
}

func (l *logFile) open(flags int) (err error) {
	if l.file == nil {
		var f *os.File
		if f, err = os.OpenFile(l.path, flags|os.O_APPEND, ownerOnly); err == nil {
			l.file = f
		}
	}
	return err
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }
