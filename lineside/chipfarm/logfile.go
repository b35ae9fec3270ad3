package chipfarm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	prefixBytes = 8 // length and CRC-32C of the body, big endian
	// maxRecordBytes bounds a record: one STORE DATA sequence of 4,096 bytes with the names of its cells.
	maxRecordBytes = 16 << 10
)

// logFile is an append-only file of checked records. It is made with its first record; a torn last record, as a killed
// process leaves it, is dropped. It serves as the NVM of a chip.
type logFile struct {
	path   string
	file   *os.File // nil until something is appended
	size   int64
	failed error // of an Append: this computer's, for want of room on its disk
}

// Replay lends each record, oldest first, and cuts off a torn one.
func (l *logFile) Replay(apply func(record []byte) error) error {
	data, err := os.ReadFile(l.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l.size = 0
	for rest := data; len(rest) > 0; {
		record, n, err := nextRecord(rest)
		if err != nil {
			return fmt.Errorf("reading %q at byte %d: %w", l.path, l.size, err)
		}
		if n == 0 {
			return os.Truncate(l.path, l.size)
		}
		if err := apply(record); err != nil {
			return fmt.Errorf("reading %q at byte %d: %w", l.path, l.size, err)
		}
		rest, l.size = rest[n:], l.size+int64(n)
	}
	return nil
}

// nextRecord reads the first record of b; n is 0 when it is torn. A record that is whole but wrong, with others after
// it, is no torn write.
func nextRecord(b []byte) (record []byte, n int, err error) {
	if len(b) < prefixBytes {
		return nil, 0, nil
	}
	size := int(binary.BigEndian.Uint32(b))
	n = prefixBytes + size
	switch {
	case size > maxRecordBytes:
		return nil, 0, fmt.Errorf("record of %d bytes: %w", size, ErrCorrupt)
	case len(b) < n:
		return nil, 0, nil
	case checksum(b[prefixBytes:n]) == binary.BigEndian.Uint32(b[4:]):
		return b[prefixBytes:n], n, nil
	case len(b) == n:
		return nil, 0, nil
	}
	return nil, 0, fmt.Errorf("checksum: %w", ErrCorrupt)
}

// Append writes one record in one write. What a failed write left is cut off again.
func (l *logFile) Append(record []byte) error {
	err := l.append(record)
	if err != nil {
		l.failed = err
	}
	return err
}

func (l *logFile) append(record []byte) error {
	if len(record) > maxRecordBytes {
		return fmt.Errorf("writing record of %d bytes, limit %d", len(record), maxRecordBytes)
	}
	if l.file == nil {
		if err := l.open(); err != nil {
			return err
		}
	}
	b := binary.BigEndian.AppendUint32(make([]byte, 0, prefixBytes+len(record)), uint32(len(record)))
	b = binary.BigEndian.AppendUint32(b, checksum(record))
	if _, err := l.file.Write(append(b, record...)); err != nil {
		return errors.Join(err, l.file.Truncate(l.size))
	}
	l.size += int64(prefixBytes + len(record))
	return nil
}

// Close lets go of the file. It may be appended to again.
func (l *logFile) Close() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

func (l *logFile) open() error {
	const ownerOnly, ownerFolder = 0o600, 0o700
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, ownerOnly)
	if errors.Is(err, fs.ErrNotExist) { // the first file of its folder
		if err = os.MkdirAll(filepath.Dir(l.path), ownerFolder); err == nil {
			f, err = os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, ownerOnly)
		}
	}
	if err != nil {
		return err
	}
	l.file = f
	return nil
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
