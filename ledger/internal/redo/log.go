package redo

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/fxamacker/cbor/v2"
)

// A segment is a file of frames: magic (4) ‖ length of the body (4) ‖ CRC-32C of the body (4) ‖ body, a record in CBOR. It is named by
// the number of its first record, and a new one begins when it is large enough to be worth deleting.
const (
	magic       = 0x50524431 // "PRD1"
	headerBytes = 12
	// maxBodyBytes bounds one transaction: the goods-in list of a wafer lot has some ten MiB.
	maxBodyBytes = 256 << 20
	// segmentBytes is about 4,000 cards: what a start reads, and what is deleted at once.
	segmentBytes  = 64 << 20
	segmentSuffix = ".redo"
	lockName      = "lock"
	beginName     = "begin"
	turnName      = "turn" // a file that asks for a new segment
	seqDigits     = 16
)

// record is one transaction.
type record struct {
	_     struct{} `cbor:",toarray"`
	Seq   uint64
	Prev  [sha256.Size]byte
	Texts []string // of statements that no record of the segment had before
	Did   []statement
}

// Statements have as many arguments, and transactions as many statements, as they have; what bounds both is maxBodyBytes.
var (
	encoding = must(cbor.CoreDetEncOptions().EncMode())
	decoding = must(cbor.DecOptions{IntDec: cbor.IntDecConvertSignedOrFail, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		MaxArrayElements: 1 << 24}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// log is the open redo log. Its methods are called by one goroutine at a time.
type log struct {
	dir  string
	lock *os.File
	file disk // the newest segment; nil before the first record
	end  int64
	last Mark
	dead error

	texts map[string]uint64
	// what the record that is written and not committed yet would be taken back to
	pending bool
	before  state
	create  func(path string) (disk, error) // replaced in tests, as limit is
	limit   int64
}

type state struct {
	end   int64
	last  Mark
	texts []string // that it added
}

// disk is what a segment needs of the operating system.
type disk interface {
	WriteAt(p []byte, off int64) (int, error)
	Truncate(size int64) error
	Sync() error
	Close() error
}

func createFile(path string) (disk, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
}

// makeFolder makes a folder for a redo log that begins with a mark, and refuses one that holds anything but what an interrupted
// beginning left.
func makeFolder(dir string, m Mark) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	all, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range all {
		if f.Name() != beginName {
			return fmt.Errorf("folder %q is not empty: %w", dir, ErrBegun)
		}
	}
	f, err := os.OpenFile(filepath.Join(dir, beginName), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(m.bytes())
	return errors.Join(err, f.Sync(), f.Close(), syncDir(dir), syncDir(filepath.Dir(dir)))
}

// beginsWith refuses a folder whose redo log begins otherwise: before its first record there is nothing else to tell it by.
func beginsWith(dir string, m Mark) error {
	b, err := os.ReadFile(filepath.Join(dir, beginName))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !bytes.Equal(b, m.bytes()) {
		return fmt.Errorf("it is another ledger's, or began anew since: %w", ErrGap)
	}
	return err
}

// openLog goes on with the redo log of a database that stands at a mark.
func openLog(dir string, m Mark) (l *log, err error) {
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the folder is not there, and the database stands at record %d of it: %w", m.Seq, ErrGap)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLocked, err)
	}
	l = &log{dir: dir, lock: lock, last: m, texts: map[string]uint64{}, create: createFile, limit: segmentBytes}
	segments, err := listSegments(dir)
	if err != nil {
		return nil, err
	}
	if len(segments) == 0 {
		if m.Seq > 0 {
			return nil, fmt.Errorf("the folder is empty, and the database stands at record %d: %w", m.Seq, ErrGap)
		}
		return l, beginsWith(dir, m)
	}
	return l, l.goOn(segments[len(segments)-1], m)
}

// goOn reads the newest segment, cuts off what a crash left behind the mark, and holds the rest against it.
func (l *log) goOn(s segment, m Mark) error {
	if s.first > m.Seq+1 {
		return fmt.Errorf("it goes on with record %d, and the database stands at record %d: the database was put back: %w", s.first, m.Seq, ErrGap)
	}
	at, end := Mark{Seq: s.first - 1}, int64(0)
	var ahead uint64 // the number of the newest record
	var prev [sha256.Size]byte
	torn, err := s.each(true, func(r record, hash [sha256.Size]byte, next int64) error {
		ahead = r.Seq
		if r.Seq <= m.Seq {
			at, end = Mark{Seq: r.Seq, Hash: hash}, next
			for _, text := range r.Texts {
				l.texts[text] = uint64(len(l.texts))
			}
		} else if r.Seq == m.Seq+1 {
			prev = r.Prev
		}
		return nil
	})
	if err != nil {
		return err
	}
	switch {
	case ahead > m.Seq+1:
		return fmt.Errorf("it goes to record %d, and the database stands at record %d: the database was put back: %w", ahead, m.Seq, ErrGap)
	case ahead == m.Seq+1 && prev != m.Hash, at.Seq == m.Seq && at.Seq >= s.first && at.Hash != m.Hash:
		return fmt.Errorf("record %d is another one than the database knows: %w", m.Seq, ErrGap)
	case at.Seq < m.Seq:
		return fmt.Errorf("it ends with record %d, and the database stands at record %d: %w", at.Seq, m.Seq, ErrGap)
	}
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if torn || ahead > m.Seq {
		err = errors.Join(f.Truncate(end), f.Sync())
	}
	l.file, l.end = f, end
	return err
}

// write puts a record at the end, on stable storage. It may be taken back until keep says that it is true.
func (l *log) write(did []statement) (Mark, error) {
	l.before = state{end: l.end, last: l.last}
	if l.file == nil || l.end >= l.limit || l.end > 0 && l.asked() {
		if err := l.begin(); err != nil {
			l.dead = fmt.Errorf("%w: %w", ErrBroken, err)
			return Mark{}, l.dead
		}
	}
	r := record{Seq: l.last.Seq + 1, Prev: l.last.Hash, Did: did}
	for i := range did {
		n, known := l.texts[did[i].query]
		if !known {
			n = uint64(len(l.texts))
			l.texts[did[i].query] = n
			r.Texts = append(r.Texts, did[i].query)
		}
		did[i].Text = n
	}
	l.pending, l.before.texts = true, r.Texts
	body, err := encoding.Marshal(r)
	if err == nil && len(body) > maxBodyBytes {
		err = fmt.Errorf("a transaction of %d bytes, at most %d", len(body), maxBodyBytes)
	}
	if err != nil {
		return Mark{}, err
	}
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, headerBytes+len(body)), magic)
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(body)))
	frame = binary.BigEndian.AppendUint32(frame, crc32.Checksum(body, castagnoli()))
	frame = append(frame, body...)
	if _, err = l.file.WriteAt(frame, l.end); err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		return Mark{}, err
	}
	l.end += int64(len(frame))
	l.last = Mark{Seq: r.Seq, Hash: sha256.Sum256(body)}
	return l.last, nil
}

// asked says that Prune asks for a new segment. The question is taken away when there is one: asked twice is no harm.
func (l *log) asked() bool {
	_, err := os.Lstat(filepath.Join(l.dir, turnName))
	return err == nil
}

// begin starts a new segment. One that a crash or a failure left without a record is written over: nobody was told of it.
func (l *log) begin() error {
	path := filepath.Join(l.dir, fmt.Sprintf("%0*d%s", seqDigits, l.last.Seq+1, segmentSuffix))
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := l.create(path)
	if err != nil {
		return err
	}
	if err := syncDir(l.dir); err != nil {
		return errors.Join(err, f.Close())
	}
	if l.file != nil {
		err = l.file.Close()
	}
	l.file, l.end, l.before.end = f, 0, 0
	clear(l.texts)
	if gone := os.Remove(filepath.Join(l.dir, turnName)); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

// keep makes a record final.
func (l *log) keep() { l.pending = false }

// drop takes back a record whose transaction was rolled back. A disk that can't is not used again: the database would be held against a
// record that it does not know.
func (l *log) drop() error {
	if !l.pending {
		return nil
	}
	l.pending = false
	for _, text := range l.before.texts {
		delete(l.texts, text)
	}
	l.end, l.last = l.before.end, l.before.last
	if err := errors.Join(l.file.Truncate(l.end), l.file.Sync()); err != nil {
		l.dead = fmt.Errorf("%w: %w", ErrBroken, err)
		return l.dead
	}
	return nil
}

// doubt ends the log when nobody knows whether its last record is true: Open finds out.
func (l *log) doubt(why error) { l.dead = fmt.Errorf("%w: %w", ErrBroken, why) }

// close may be called again.
func (l *log) close() error {
	if l.lock == nil {
		return nil
	}
	var err error
	if l.file != nil {
		err = l.file.Close()
	}
	err = errors.Join(err, l.lock.Close())
	l.file, l.lock = nil, nil
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// segment is a file of the redo log.
type segment struct {
	path  string
	first uint64
}

// listSegments lists them in order.
func listSegments(dir string) (all []segment, err error) {
	files, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		digits, is := strings.CutSuffix(f.Name(), segmentSuffix)
		if !is {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 63)
		if err != nil || n == 0 || len(digits) != seqDigits {
			return nil, fmt.Errorf("%q is no name of a segment: %w", f.Name(), ErrCorrupt)
		}
		all = append(all, segment{path: filepath.Join(dir, f.Name()), first: n})
	}
	return all, nil
}
