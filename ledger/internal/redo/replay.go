package redo

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/persoline/persoline/ledger/internal/sqldb"
)

// errTorn says that a frame is not whole.
var errTorn = errors.New("broken frame")

// each calls do with the records of a segment, which must be numbered without a gap and chained. A broken frame at the end of the
// newest segment is what a crash leaves; anywhere else it is damage.
func (s segment) each(newest bool, do func(r record, hash [sha256.Size]byte, next int64) error) (torn bool, err error) {
	f, err := os.Open(s.path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	in, at, want := bufio.NewReaderSize(f, 1<<20), int64(0), s.first
	var prev [sha256.Size]byte
	for at < info.Size() {
		body, err := readFrame(in, info.Size()-at)
		if errors.Is(err, errTorn) {
			if behind, err := frameBehind(f, at+1, info.Size()); err != nil || behind || !newest {
				return false, errors.Join(fmt.Errorf("record %d, at byte %d of %q, is not whole: %w", want, at, s.path, ErrCorrupt), err)
			}
			return true, nil
		}
		if err != nil {
			return false, err
		}
		r, err := readRecord(body)
		if err != nil || r.Seq != want || want > s.first && r.Prev != prev {
			return false, errors.Join(fmt.Errorf("record %d, at byte %d of %q, does not continue the one before: %w", want, at, s.path, ErrCorrupt), err)
		}
		at, prev, want = at+headerBytes+int64(len(body)), sha256.Sum256(body), want+1
		if err := do(r, prev, at); err != nil {
			return false, err
		}
	}
	return false, nil
}

func readFrame(in io.Reader, left int64) ([]byte, error) {
	var header [headerBytes]byte
	if left < headerBytes {
		return nil, errTorn
	}
	if _, err := io.ReadFull(in, header[:]); err != nil {
		return nil, err
	}
	length := int64(binary.BigEndian.Uint32(header[4:]))
	if binary.BigEndian.Uint32(header[:]) != magic || length == 0 || length > maxBodyBytes || length > left-headerBytes {
		return nil, errTorn
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(in, body); err != nil {
		return nil, err
	}
	if crc32.Checksum(body, castagnoli()) != binary.BigEndian.Uint32(header[8:]) {
		return nil, errTorn
	}
	return body, nil
}

// frameBehind looks for a whole frame behind a broken one: then the segment was good once.
func frameBehind(f *os.File, from, size int64) (bool, error) {
	in := bufio.NewReaderSize(io.NewSectionReader(f, from, size-from), 1<<20)
	for at := from; at+headerBytes <= size; at++ {
		next, err := in.Peek(4)
		if err != nil {
			return false, err
		}
		if binary.BigEndian.Uint32(next) == magic {
			if _, err := readFrame(io.NewSectionReader(f, at, size-at), size-at); err == nil {
				return true, nil
			}
		}
		if _, err := in.Discard(1); err != nil {
			return false, err
		}
	}
	return false, nil
}

func readRecord(body []byte) (r record, err error) {
	return r, decoding.Unmarshal(body, &r)
}

// recordsPerTransaction are done again at once: a commit costs a sync.
const recordsPerTransaction = 256

// Replay does again what the redo log holds behind the database's mark, and says where the database then stands. It refuses a log that
// lacks a record, or is another database's, and changes nothing then but what it had done before. It may be run again.
func Replay(ctx context.Context, db sqldb.DB, dir string, done func(records uint64)) (Mark, error) {
	m, err := markIn(ctx, db)
	if err == nil && m.IsZero() {
		err = fmt.Errorf("%w: it is older than the redo log", ErrNone)
	}
	if err != nil {
		return m, fmt.Errorf("replaying redo log %q: %w", dir, err)
	}
	segments, err := listSegments(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: there is no such folder", ErrGap)
	}
	if err != nil {
		return m, fmt.Errorf("replaying redo log %q: %w", dir, err)
	}
	if m.Seq == 0 {
		if err := beginsWith(dir, m); err != nil {
			return m, fmt.Errorf("replaying redo log %q: %w", dir, err)
		}
	}
	p := &player{db: db, at: m, done: done}
	p.want = m
	for i, s := range segments {
		if i+1 < len(segments) && segments[i+1].first <= m.Seq+1 {
			continue // the backup has it
		}
		if err := p.segment(ctx, s, i+1 == len(segments)); err != nil {
			return p.at, fmt.Errorf("replaying redo log %q: %w", dir, err)
		}
	}
	if p.seen < m.Seq { // the newest segment is never deleted
		return p.at, fmt.Errorf("replaying redo log %q: it ends with record %d, and the database stands at record %d: %w", dir, p.seen, m.Seq, ErrGap)
	}
	return p.at, nil
}

// player does records again, some at once.
type player struct {
	db    sqldb.DB
	at    Mark // that the database stands at
	want  Mark // of the last record that was read and is to be done
	seen  uint64
	texts []string
	batch []record
	done  func(uint64)
}

func (p *player) segment(ctx context.Context, s segment, newest bool) error {
	if s.first > p.want.Seq+1 {
		return fmt.Errorf("records %d to %d are missing: %w", p.want.Seq+1, s.first-1, ErrGap)
	}
	p.texts, p.seen = p.texts[:0], s.first-1
	_, err := s.each(newest, func(r record, hash [sha256.Size]byte, _ int64) error {
		p.texts, p.seen = append(p.texts, r.Texts...), r.Seq
		switch {
		case r.Seq < p.want.Seq:
			return nil
		case r.Seq == p.want.Seq:
			if hash != p.want.Hash {
				return fmt.Errorf("record %d is another one than the database knows: %w", r.Seq, ErrGap)
			}
			return nil
		case r.Prev != p.want.Hash:
			return fmt.Errorf("record %d does not follow the database's last: %w", r.Seq, ErrGap)
		}
		for i, st := range r.Did {
			if st.Text >= uint64(len(p.texts)) {
				return fmt.Errorf("record %d, statement %d has no text: %w", r.Seq, i, ErrCorrupt)
			}
			r.Did[i].query = p.texts[st.Text]
		}
		p.want, p.batch = Mark{Seq: r.Seq, Hash: hash}, append(p.batch, r)
		if len(p.batch) < recordsPerTransaction {
			return nil
		}
		return p.flush(ctx)
	})
	if err != nil {
		return err
	}
	return p.flush(ctx)
}

func (p *player) flush(ctx context.Context) error {
	if len(p.batch) == 0 {
		return nil
	}
	err := p.db.Update(ctx, func(tx sqldb.Tx) error {
		for _, r := range p.batch {
			for i, st := range r.Did {
				n, err := tx.Exec(ctx, st.query, st.Args...)
				if err != nil {
					return fmt.Errorf("doing record %d, statement %d again: %w: %w", r.Seq, i, ErrDiverged, err)
				}
				if st.Rows != unknownRows && n != st.Rows {
					return fmt.Errorf("doing record %d, statement %d again: it changed %d rows, and %d before: %w", r.Seq, i, n, st.Rows, ErrDiverged)
				}
			}
		}
		n, err := tx.Exec(ctx, updateMark, markKey, p.want.bytes(), p.at.bytes())
		if err == nil && n != 1 {
			err = fmt.Errorf("somebody else wrote to the database: %w", ErrGap)
		}
		return err
	})
	if err != nil {
		return err
	}
	p.at = p.want
	if p.done != nil {
		p.done(uint64(len(p.batch)))
	}
	p.batch = p.batch[:0]
	return nil
}

// Prune deletes the segments that hold nothing behind a mark: a verified backup has it. The newest one stays, and the ledger is asked to
// begin another one, so that the next backup covers it: what was deleted from the ledger shall not stay here for ever.
func Prune(dir string, covered Mark) (deleted int, err error) {
	segments, err := listSegments(dir)
	if err != nil {
		return 0, fmt.Errorf("pruning redo log %q: %w", dir, err)
	}
	for i := 0; i+1 < len(segments) && segments[i+1].first <= covered.Seq+1; i++ {
		if err := os.Remove(segments[i].path); err != nil {
			return deleted, fmt.Errorf("pruning redo log: %w", err)
		}
		deleted++
	}
	if len(segments) > 0 && segments[len(segments)-1].first <= covered.Seq {
		err = os.WriteFile(filepath.Join(dir, turnName), nil, 0o600)
	}
	return deleted, errors.Join(err, syncDir(dir))
}
