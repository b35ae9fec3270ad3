package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"

	"github.com/persoline/persoline/perso/bus"
)

// header begins the file; the number is the version of the form.
const header = "persoline line journal 1\n"

// maxFrameBytes bounds one frame: a snapshot of 256 heads is a fifth of it.
const maxFrameBytes = 256 << 10

const prefixBytes = 8 // length and CRC-32C of the body, big endian

type kind uint8

const (
	kindFirst        kind = 1 // heads not named before count from Upto
	kindReserve      kind = 2 // Head may use numbers below Upto
	kindBin          kind = 3 // Bin is being carried out
	kindAcknowledged kind = 4 // Head has no bin in hand
	kindJob          kind = 5 // Job is in hand
	kindDone         kind = 6 // Job is done
)

// maxDone bounds the work orders remembered as done: the queue repeats one for minutes, not for 64 lots.
const maxDone = 64

type record struct {
	Kind kind            `cbor:"1,keyasint"`
	Head uint16          `cbor:"2,keyasint,omitempty"`
	Upto uint64          `cbor:"3,keyasint,omitempty"`
	Bin  *bus.BinRequest `cbor:"4,keyasint,omitempty"`
	Job  *Job            `cbor:"5,keyasint,omitempty"`
}

// frame is one write. Seq rises by one, so that a frame out of place is seen.
type frame struct {
	Seq     uint64   `cbor:"1,keyasint"`
	Records []record `cbor:"2,keyasint"`
}

func encodeFrame(f frame) ([]byte, error) {
	body, err := bus.Encode(f)
	if err != nil {
		return nil, err
	}
	if len(body) > maxFrameBytes-prefixBytes {
		return nil, fmt.Errorf("encoding journal frame: %d bytes exceed %d", len(body), maxFrameBytes)
	}
	b := binary.BigEndian.AppendUint32(make([]byte, 0, prefixBytes+len(body)), uint32(len(body)))
	b = binary.BigEndian.AppendUint32(b, sum(body))
	return append(b, body...), nil
}

func sum(body []byte) uint32 { return crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) }

// decodeFrame reads the frame at the start of b; ok is false when there is no whole one.
func decodeFrame(b []byte) (f frame, n int, ok bool) {
	if len(b) < prefixBytes {
		return frame{}, 0, false
	}
	size := int(binary.BigEndian.Uint32(b))
	if size == 0 || size > maxFrameBytes-prefixBytes || size > len(b)-prefixBytes {
		return frame{}, 0, false
	}
	body := b[prefixBytes : prefixBytes+size]
	if sum(body) != binary.BigEndian.Uint32(b[4:]) {
		return frame{}, 0, false
	}
	f, err := bus.Decode[frame](body)
	return f, prefixBytes + size, err == nil
}

// parse reads a whole file. A torn last frame is what a crash in Append leaves: it was never acknowledged, so it is
// dropped, and torn says so. A damaged frame with a whole one behind it is no crash.
func parse(data []byte) (s state, torn bool, err error) {
	rest, ok := bytes.CutPrefix(data, []byte(header))
	if !ok {
		return state{}, false, fmt.Errorf("reading its header: %w", ErrCorrupt)
	}
	s = newState()
	for first := true; len(rest) > 0; first = false {
		f, n, ok := decodeFrame(rest)
		if ok && (first || f.Seq == s.seq+1) {
			if err := s.check(f); err != nil {
				return state{}, false, fmt.Errorf("reading frame %d: %w: %w", f.Seq, ErrCorrupt, err)
			}
			s.apply(f)
			rest = rest[n:]
			continue
		}
		if ok || first || len(rest) > maxFrameBytes || holdsFrame(rest[1:]) {
			return state{}, false, fmt.Errorf("reading the frame after %d, %d bytes before the end: %w", s.seq, len(rest), ErrCorrupt)
		}
		return s, true, nil
	}
	return s, false, nil
}

// holdsFrame looks for a whole frame at any place.
func holdsFrame(b []byte) bool {
	for i := range b {
		if _, _, ok := decodeFrame(b[i:]); ok {
			return true
		}
	}
	return false
}

// state is what the frames add up to.
type state struct {
	seq   uint64
	first uint64
	upto  map[uint16]uint64
	bins  map[uint16]bus.BinRequest
	job   *Job
	done  []string // identities of work orders, the latest last
}

func newState() state {
	return state{upto: map[uint16]uint64{}, bins: map[uint16]bus.BinRequest{}}
}

// check refuses a frame that no journal wrote: a number that goes back would be used twice.
func (s *state) check(f frame) error {
	for _, r := range f.Records {
		switch {
		case r.Kind < kindFirst || r.Kind > kindDone:
			return fmt.Errorf("record of unknown kind %d", r.Kind)
		case r.Kind == kindReserve && r.Upto < s.upto[r.Head]:
			return fmt.Errorf("numbers of head %d go back from %d to %d", r.Head, s.upto[r.Head], r.Upto)
		case r.Kind == kindBin && (r.Bin == nil || r.Bin.Present.Head != r.Head || !r.Bin.Bin.Final()):
			return fmt.Errorf("bin of head %d makes no sense", r.Head)
		case r.Kind >= kindJob && (r.Job == nil || r.Job.ID == ""):
			return fmt.Errorf("work order without identity")
		}
	}
	return nil
}

func (s *state) apply(f frame) {
	s.seq = f.Seq
	for _, r := range f.Records {
		switch r.Kind {
		case kindFirst:
			s.first = r.Upto
		case kindReserve:
			s.upto[r.Head] = max(s.upto[r.Head], r.Upto)
		case kindBin:
			s.bins[r.Head] = *r.Bin
		case kindAcknowledged:
			delete(s.bins, r.Head)
		case kindJob:
			s.job = r.Job
		case kindDone:
			s.job = nil
			if s.done = append(s.done, r.Job.ID); len(s.done) > maxDone {
				s.done = s.done[len(s.done)-maxDone:]
			}
		}
	}
}

// snapshot is one frame that says all.
func (s *state) snapshot() frame {
	f := frame{Seq: s.seq, Records: []record{{Kind: kindFirst, Upto: s.first}}}
	for _, head := range slices.Sorted(maps.Keys(s.upto)) {
		f.Records = append(f.Records, record{Kind: kindReserve, Head: head, Upto: s.upto[head]})
	}
	for _, head := range slices.Sorted(maps.Keys(s.bins)) {
		bin := s.bins[head]
		f.Records = append(f.Records, record{Kind: kindBin, Head: head, Bin: &bin})
	}
	for _, id := range s.done {
		f.Records = append(f.Records, record{Kind: kindDone, Job: &Job{ID: id}})
	}
	if s.job != nil {
		f.Records = append(f.Records, record{Kind: kindJob, Job: s.job})
	}
	return f
}

// skipBlock gives up one block of each head's numbers, and of those of heads not seen yet.
func (s *state) skipBlock() {
	s.first += BlockNumbers
	for head := range s.upto {
		s.upto[head] += BlockNumbers
	}
}
