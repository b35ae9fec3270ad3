package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/internal/tree"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/checkpoint"
)

// signedState is the last signed checkpoint with the tree it was made of.
type signedState struct {
	signing sync.Mutex // one checkpoint is signed at a time; those who wait are served by it

	mu    sync.Mutex
	log   *tree.Log
	note  []byte
	dirty bool
	// stored is the size of the newest one in the database, while none is in memory.
	stored int64
}

type savedNote struct {
	size int64
	text []byte
}

func (s *signedState) current() (*tree.Log, []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log, s.note
}

// size is how far the newest checkpoint reaches that is known to be signed.
func (s *signedState) size() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log == nil {
		return s.stored
	}
	return s.log.Size()
}

func (s *signedState) set(t *tree.Log, note []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log, s.note, s.dirty = t, note, true
}

// unsaved is the note that the database does not hold yet: it is stored with the next transaction, because a lost note is
// signed again at no harm.
func (s *signedState) unsaved() *savedNote {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.dirty {
		return nil
	}
	return &savedNote{size: s.log.Size(), text: s.note}
}

func (s *signedState) saved(n *savedNote) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n != nil && s.log != nil && s.log.Size() == n.size {
		s.dirty = false
	}
}

// sign returns a signed checkpoint that covers the log's first size entries, and its tree. Callers that wait for one
// another's signature share it.
func (l *Ledger) sign(ctx context.Context, size int64) (*tree.Log, []byte, error) {
	if t, note := l.signed.current(); t != nil && t.Size() >= size {
		return t, note, nil
	}
	l.signed.signing.Lock()
	defer l.signed.signing.Unlock()
	t, note := l.signed.current()
	if t != nil && t.Size() >= size {
		return t, note, nil
	}
	if t = l.head.get(); t.Size() < size { // somebody else's entry
		if err := l.reload(ctx, l.head.set); err != nil {
			return nil, nil, err
		}
		t = l.head.get()
	}
	t, note, err := l.signTree(ctx, t, size)
	if err == nil {
		err = l.checkNote(t, note)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("having a checkpoint of %d entries signed: %w", t.Size(), err)
	}
	l.signed.set(t, note)
	return t, note, nil
}

// maxSigns bounds how often a signature is asked for: the first time tells where the signer stands, and with several ledger
// processes it may have moved on each time, which costs it nothing. More means that it moves without signing.
const maxSigns = 16

// signTree has the log signed at this size, or at a later one of which another process has had that done, and at least at size.
// It gives the log that the note is about.
func (l *Ledger) signTree(ctx context.Context, t *tree.Log, size int64) (*tree.Log, []byte, error) {
	var from int64
	if last, _ := l.signed.current(); last != nil {
		from = last.Size()
	}
	for range maxSigns {
		q := bus.CheckpointRequest{Old: from, Size: t.Size(), Root: t.Root()}
		if err := l.fromEdge(ctx, func(tx sqldb.Tx) (err error) {
			q.Proof, err = t.ProveConsistency(ctx, tx, from)
			return err
		}); err != nil {
			return t, nil, fmt.Errorf("proving consistency from %d: %w", from, err)
		}
		a, err := l.signer.Checkpoint(ctx, q)
		var fault *bus.Fault
		if errors.As(err, &fault) && fault.Code == bus.FaultRefused {
			err = fmt.Errorf("%w: %w", ErrNotTheLedger, err)
		}
		if err := l.doors[0].heard(l.now(), err); err != nil {
			return t, nil, err
		}
		if len(a.Note) > 0 {
			return t, a.Note, nil
		}
		if signed := l.signed.size(); a.Last < signed {
			return t, nil, rolledBack(l.doors[0].name, a.Last, signed)
		}
		if a.Last > t.Size() { // another process went on; it has signed only what is committed
			if err := l.reload(ctx, l.head.set); err != nil {
				return t, nil, err
			}
			if t = l.head.get(); a.Last > t.Size() {
				return t, nil, fmt.Errorf("%w: the vault signed %d entries, this one has %d: it was rolled back", ErrNotTheLedger, a.Last, t.Size())
			}
		}
		if len(a.Held) > 0 && a.Last >= size {
			t, err := l.logAt(ctx, a.Last)
			return t, a.Held, err
		}
		from = a.Last
	}
	return t, nil, fmt.Errorf("%w: the signer did not sign", ErrRefused)
}

// logAt is the log at a size that others had signed.
func (l *Ledger) logAt(ctx context.Context, size int64) (t *tree.Log, err error) {
	from, _ := l.signed.current()
	if from == nil || from.Size() > size {
		from = &tree.Log{}
	}
	err = l.db.View(ctx, func(tx sqldb.Tx) (err error) {
		t, err = from.CatchUp(ctx, tx, size)
		return err
	})
	if err != nil {
		return from, fmt.Errorf("reading the log of %d entries: %w", size, err)
	}
	return t, nil
}

// checkNote refuses a note that is not about this log as it is: the line would refuse it later, with a chip in its head.
func (l *Ledger) checkNote(t *tree.Log, note []byte) error {
	c, err := checkpoint.Open(note, l.site.origin, l.site.logKey)
	if err != nil {
		return err
	}
	if c.Size != t.Size() || c.Root != t.Root() {
		return fmt.Errorf("%w: the signed checkpoint has %d entries, or another root than ours", ErrRefused, c.Size)
	}
	return nil
}

// fromEdge makes proofs: of recent entries from the log's edge in memory, where tx is nil, else from the database.
func (l *Ledger) fromEdge(ctx context.Context, f func(tx sqldb.Tx) error) error {
	if err := f(nil); err == nil {
		return nil
	}
	return l.db.View(ctx, f)
}

// prove gives an entry's place in a tree.
func prove(ctx context.Context, tx sqldb.Tx, t *tree.Log, seq int64, body []byte) (bus.Proven, error) {
	proof, err := t.Prove(ctx, tx, seq)
	if err != nil {
		return bus.Proven{}, fmt.Errorf("proving entry %d: %w", seq, err)
	}
	if len(proof) > checkpoint.MaxProofHashes {
		return bus.Proven{}, fmt.Errorf("proving entry %d: %d hashes", seq, len(proof))
	}
	return bus.Proven{Entry: body, Seq: seq, Proof: proof}, nil
}
