package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"
	"sync"
)

// A frame is magic (4) ‖ length of the body (4) ‖ CRC-32C of the body (4) ‖ body; a body is records, each length (4) ‖ bytes.
const (
	magic       = 0x504A5231 // "PJR1"
	headerBytes = 12
	// maxBodyBytes bounds one frame: 256 receipts with a certificate each have 400 KiB.
	maxBodyBytes = 4 << 20
	// firstStride is how many records lie between two remembered places, so that one record again costs one short scan. It
	// doubles when there are maxMarks of them: memory does not grow with the lot.
	firstStride = 64
	maxMarks    = 4096
)

// file is one lot's journal.
type file struct {
	mu     sync.Mutex
	disk   disk
	end    int64   // behind the last good frame
	count  uint64  // records
	marks  []place // every stride records, the frame that holds them
	stride uint64
	dead   error // the disk failed in a way that leaves the content unknown
}

// place is where a frame begins and the number of its first record.
type place struct {
	offset int64
	first  uint64
}

// load scans a file, and cuts off what a crash left at its end.
func load(d disk) (*file, error) {
	f := &file{disk: d, stride: firstStride}
	size, err := d.Size()
	if err != nil {
		return nil, err
	}
	for f.end < size {
		records, next, err := f.frame(f.end, size)
		if errors.Is(err, errTorn) {
			if err := f.dropTail(size); err != nil {
				return nil, err
			}
			break
		}
		if err != nil {
			return nil, err
		}
		f.note(f.end, uint64(len(records)))
		f.end = next
	}
	return f, nil
}

// note counts a good frame.
func (f *file) note(offset int64, records uint64) {
	if len(f.marks) == 0 || f.count-f.marks[len(f.marks)-1].first >= f.stride {
		f.marks = append(f.marks, place{offset: offset, first: f.count})
	}
	f.count += records
	if len(f.marks) < maxMarks {
		return
	}
	for i := range maxMarks / 2 {
		f.marks[i] = f.marks[2*i]
	}
	f.marks, f.stride = f.marks[:maxMarks/2], 2*f.stride
}

var errTorn = errors.New("broken frame")

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// frame reads the frame at an offset of a file with size bytes.
func (f *file) frame(offset, size int64) (records [][]byte, next int64, err error) {
	var header [headerBytes]byte
	if size-offset < headerBytes {
		return nil, 0, errTorn
	}
	if _, err := f.disk.ReadAt(header[:], offset); err != nil {
		return nil, 0, err
	}
	length := int64(binary.BigEndian.Uint32(header[4:]))
	if binary.BigEndian.Uint32(header[:]) != magic || length == 0 || length > maxBodyBytes || length > size-offset-headerBytes {
		return nil, 0, errTorn
	}
	body := make([]byte, length)
	if _, err := f.disk.ReadAt(body, offset+headerBytes); err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	if crc32.Checksum(body, castagnoli()) != binary.BigEndian.Uint32(header[8:]) {
		return nil, 0, errTorn
	}
	for len(body) > 0 {
		if len(body) < 4 || uint64(binary.BigEndian.Uint32(body)) > uint64(len(body)-4) {
			return nil, 0, fmt.Errorf("reading frame at byte %d: %w", offset, ErrCorrupt)
		}
		n := 4 + int(binary.BigEndian.Uint32(body))
		records = append(records, body[4:n:n])
		body = body[n:]
	}
	return records, offset + headerBytes + length, nil
}

// dropTail cuts a broken end, unless a good frame lies behind it: then the file was good once, and is corrupt.
func (f *file) dropTail(size int64) error {
	for at := f.end + 1; at+headerBytes <= size; at++ {
		if _, _, err := f.frame(at, size); !errors.Is(err, errTorn) {
			return errors.Join(fmt.Errorf("finding a frame behind a broken one at byte %d: %w", f.end, ErrCorrupt), err)
		}
	}
	return errors.Join(f.disk.Truncate(f.end), f.disk.Sync())
}

func (f *file) append(count uint64, records [][]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead != nil {
		return f.dead
	}
	if count != f.count {
		return fmt.Errorf("appending behind %d records, %d are there: %w", count, f.count, ErrGap)
	}
	frame := make([]byte, headerBytes)
	for _, r := range records {
		frame = binary.BigEndian.AppendUint32(frame, uint32(len(r)))
		frame = append(frame, r...)
	}
	body := frame[headerBytes:]
	if len(body) == 0 || len(body) > maxBodyBytes {
		return fmt.Errorf("appending %d bytes, want 1 to %d", len(body), maxBodyBytes)
	}
	binary.BigEndian.PutUint32(frame, magic)
	binary.BigEndian.PutUint32(frame[4:], uint32(len(body)))
	binary.BigEndian.PutUint32(frame[8:], crc32.Checksum(body, castagnoli()))
	_, err := f.disk.WriteAt(frame, f.end)
	if err == nil {
		err = f.disk.Sync()
	}
	if err != nil {
		return f.undo(err)
	}
	f.note(f.end, uint64(len(records)))
	f.end += int64(len(frame))
	return nil
}

// undo takes back a frame whose fate is unknown. A disk that cannot even do that is not used again: what it shows now may
// not be what it has.
func (f *file) undo(cause error) error {
	if err := errors.Join(f.disk.Truncate(f.end), f.disk.Sync()); err != nil {
		f.dead = fmt.Errorf("the disk failed: %w", errors.Join(cause, err))
		return f.dead
	}
	return cause
}

func (f *file) read(from uint64, each func([]byte) (bool, error)) error {
	f.mu.Lock()
	at, end, dead := place{}, f.end, f.dead
	if n := sort.Search(len(f.marks), func(i int) bool { return f.marks[i].first > from }); n > 0 {
		at = f.marks[n-1]
	}
	f.mu.Unlock()
	if dead != nil {
		return dead
	}
	for at.offset < end {
		records, next, err := f.frame(at.offset, end)
		if errors.Is(err, errTorn) {
			err = fmt.Errorf("reading frame at byte %d: %w", at.offset, ErrCorrupt)
		}
		if err != nil {
			return err
		}
		for i, r := range records {
			if at.first+uint64(i) < from {
				continue
			}
			if more, err := each(r); !more || err != nil {
				return err
			}
		}
		at = place{offset: next, first: at.first + uint64(len(records))}
	}
	return nil
}
