// Package journal is the line's own small memory: the few facts that must survive a power cut between the chip and the
// ledger.
//
// It holds three things: up to which presentation number each head may count (numbers are reserved in blocks, so one may
// be skipped but none is ever used twice), for each head the final verdict that is being carried out and that the ledger
// has not yet acknowledged, and the work order in hand with the handler's counters at its beginning, beside the ones done last.
// Everything else a line knows it learns again from the chip and from the ledger.
//
// Contract. What a method returned without error is durable. After the first error the journal is broken (ErrBroken) and
// the caller starts over: whether the last record was written is then unknown, and opening the journal tells. A journal
// is made once with Create; opening a missing one is an error, since an empty one would give numbers out again.
// Methods may be called from many goroutines; calls that arrive together share one write and one sync.
//
// Only package lineside uses it. The file is a header and frames of length, CRC-32C and canonical CBOR; nothing in it is
// secret.
package journal

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// BlockNumbers is how many presentation numbers are reserved at once: one sync per head and 64 contacts, and at most as
// many numbers skipped at a restart.
const BlockNumbers = 64

// compactBytes is the size after which the file is written anew: about 20,000 chips, a fraction of a second to read.
const compactBytes = 4 << 20

// Errors that callers act on.
var (
	// ErrMissing says that there is no journal: make one with Create, and only for a line that never had one.
	ErrMissing = errors.New("there is no journal")
	// ErrExists is what Create says when there is one.
	ErrExists = errors.New("there is a journal already")
	// ErrLocked says that another process has the journal open.
	ErrLocked = errors.New("the journal is in use")
	// ErrCorrupt says that a record in the middle is damaged, which no crash does.
	ErrCorrupt = errors.New("the journal is damaged")
	// ErrBroken says that a write failed before: start over.
	ErrBroken = errors.New("the journal could not be written")
)

// Storage keeps the journal's bytes. An error of Append leaves open whether they were written.
type Storage interface {
	Read() ([]byte, error)
	Append(b []byte) error
	Replace(b []byte) error
}

// Counters are a handler's own counters.
type Counters struct {
	In          uint64 `cbor:"1,keyasint"`
	Good        uint64 `cbor:"2,keyasint"`
	RejectBlank uint64 `cbor:"3,keyasint"`
	RejectLive  uint64 `cbor:"4,keyasint"`
	Return      uint64 `cbor:"5,keyasint"`
	Sample      uint64 `cbor:"6,keyasint,omitempty"`
}

// Job is the work order in hand, with the counters as they stood when it began.
type Job struct {
	ID    string     `cbor:"1,keyasint"`
	Lot   perso.Name `cbor:"2,keyasint"`
	Start Counters   `cbor:"3,keyasint"`
	Order []byte     `cbor:"4,keyasint,omitempty"` // as it was delivered
}

// Journal is an open journal.
type Journal struct {
	store Storage
	close func() error

	flush sync.Mutex // held by the one that writes

	mu     sync.Mutex
	state  state             // what is durable
	next   map[uint16]uint64 // per head: the next number to give out
	batch  *batch            // records that wait for the writer
	size   int
	broken error
}

// batch is what one write and one sync make durable.
type batch struct {
	records []record
	done    chan struct{}
	err     error
}

// OpenStorage reads a journal from store and writes it anew in short form: recovery is every start.
func OpenStorage(store Storage) (*Journal, error) {
	data, err := store.Read()
	if err != nil {
		return nil, fmt.Errorf("opening journal: %w", err)
	}
	s, torn, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("opening journal: %w", err)
	}
	if torn {
		s.skipBlock() // the lost frame may have been a reservation of which numbers were used
	}
	j := &Journal{store: store, close: func() error { return nil }, state: s, next: maps.Clone(s.upto)}
	if err := j.compact(); err != nil {
		return nil, fmt.Errorf("opening journal: %w", err)
	}
	return j, nil
}

// Number gives the next presentation number of a head. It was never given out before and never will be again.
func (j *Journal) Number(head uint16) (uint64, error) {
	for {
		j.mu.Lock()
		upto, known := j.state.upto[head]
		if !known {
			upto = j.state.first
			j.next[head] = max(j.next[head], upto)
		}
		if n := j.next[head]; n < upto {
			j.next[head]++
			j.mu.Unlock()
			return n, nil
		}
		j.mu.Unlock()
		if err := j.write(record{Kind: kindReserve, Head: head, Upto: upto + BlockNumbers}); err != nil {
			return 0, fmt.Errorf("reserving presentation numbers of head %d: %w", head, err)
		}
	}
}

// Bin records a final verdict before the handler moves the chip.
func (j *Journal) Bin(q bus.BinRequest) error {
	if err := j.write(record{Kind: kindBin, Head: q.Present.Head, Bin: &q}); err != nil {
		return fmt.Errorf("recording the bin of %s: %w", q.Present, err)
	}
	return nil
}

// Acknowledged records that the ledger knows where the head's chip lies: the next one may come.
func (j *Journal) Acknowledged(head uint16) error {
	if err := j.write(record{Kind: kindAcknowledged, Head: head}); err != nil {
		return fmt.Errorf("recording the acknowledged bin of head %d: %w", head, err)
	}
	return nil
}

// Pending gives the bins that were begun and not acknowledged, by head.
func (j *Journal) Pending() []bus.BinRequest {
	j.mu.Lock()
	defer j.mu.Unlock()
	pending := make([]bus.BinRequest, 0, len(j.state.bins))
	for _, head := range slices.Sorted(maps.Keys(j.state.bins)) {
		pending = append(pending, j.state.bins[head])
	}
	return pending
}

// Begin records that a work order is taken up. The same one again keeps the counters of its first beginning.
func (j *Journal) Begin(job Job) (Job, error) {
	j.mu.Lock()
	known := j.state.job
	j.mu.Unlock()
	if known != nil && known.ID == job.ID {
		return *known, nil
	}
	if err := j.write(record{Kind: kindJob, Job: &job}); err != nil {
		return Job{}, fmt.Errorf("recording work order %q: %w", job.ID, err)
	}
	return job, nil
}

// InHand gives the work order that was begun and not ended. Its chips may lie under the heads, and the handler counts for
// it: no other may be begun before.
func (j *Journal) InHand() (Job, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.state.job == nil {
		return Job{}, false
	}
	return *j.state.job, true
}

// End records that a work order is done.
func (j *Journal) End(id string) error {
	if err := j.write(record{Kind: kindDone, Job: &Job{ID: id}}); err != nil {
		return fmt.Errorf("recording the end of work order %q: %w", id, err)
	}
	return nil
}

// Done says whether a work order was finished here; the queue may deliver it again.
func (j *Journal) Done(id string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Contains(j.state.done, id)
}

// Close releases the storage. Nothing is written: there is nothing that is not durable.
func (j *Journal) Close() error {
	j.flush.Lock()
	defer j.flush.Unlock()
	return j.close()
}

// write makes a record durable, together with those that came while another write was under way.
func (j *Journal) write(r record) error {
	j.mu.Lock()
	b, first := j.batch, j.batch == nil
	if first {
		b = &batch{done: make(chan struct{})}
		j.batch = b
	}
	b.records = append(b.records, r)
	j.mu.Unlock()
	if first {
		b.err = j.commit(b)
		close(b.done)
	}
	<-b.done
	return b.err
}

// commit writes one batch. COMMIT POINT: Append has returned without error. Before it the records are nowhere, or in a
// torn frame that opening drops, or written without our knowing; after it they are in the file.
func (j *Journal) commit(b *batch) error {
	j.flush.Lock()
	defer j.flush.Unlock()
	j.mu.Lock()
	j.batch = nil // those who come from here on wait for the next write
	broken, seq := j.broken, j.state.seq+1
	j.mu.Unlock()
	if broken != nil {
		return broken
	}
	data, err := encodeFrame(frame{Seq: seq, Records: b.records})
	if err == nil {
		err = j.store.Append(data)
	}
	if err != nil {
		return j.breakWith(err)
	}
	j.mu.Lock()
	j.state.apply(frame{Seq: seq, Records: b.records})
	j.size += len(data)
	long := j.size > compactBytes
	j.mu.Unlock()
	if long {
		return j.compact()
	}
	return nil
}

// compact replaces the file by one frame that says the same. Called by the writer, or before there is one.
func (j *Journal) compact() error {
	j.mu.Lock()
	j.state.seq++
	f := j.state.snapshot()
	j.mu.Unlock()
	data, err := encodeFrame(f)
	if err == nil {
		data = append([]byte(header), data...)
		err = j.store.Replace(data)
	}
	if err != nil {
		return j.breakWith(err)
	}
	j.mu.Lock()
	j.size = len(data)
	j.mu.Unlock()
	return nil
}

func (j *Journal) breakWith(err error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.broken = fmt.Errorf("%w: %w", ErrBroken, err)
	return j.broken
}
