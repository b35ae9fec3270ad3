package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/internal/tree"
)

// Step is one member of a group commit. It reads and writes within the batch's transaction, appends log entries, and
// leaves its answer with its caller. It may be run more than once, so it must set its answer anew each time, have no
// other effect, and answer the same when it meets its own earlier effect. It must not fail on data: an error means that
// the database did not do its duty.
type Step func(ctx context.Context, b *Batch) error

// Batch is one transaction being built. Before its first step it holds the head of the log (tree.Take), in the order in which
// processes asked for it, and knows what others appended: steps of several processes are never run side by side, and none is run in
// vain because another was faster.
type Batch struct {
	sqldb.Tx
	At      time.Time
	base    int64
	items   []tree.Item
	earlier []time.Time // stamps of tries of this batch, some of whose outcome was not known
	erased  bool        // a step deleted what nobody may find again
	stands  frozen      // what stands still, once froze says that it was read
	froze   bool
}

// ours says whether what is stamped so was written by an earlier try of this very batch: the answer is then the first
// one's, not that of a repetition.
func (b *Batch) ours(at time.Time) bool { return slices.ContainsFunc(b.earlier, at.Equal) }

// encoder is anything that encodes itself for the log.
type encoder interface{ Encode() ([]byte, error) }

// append adds a log entry and returns its number, which holds if the batch commits.
func (b *Batch) append(kind string, subject []byte, e encoder) (seq int64, body []byte, err error) {
	body, err = e.Encode()
	if err != nil {
		return 0, nil, fmt.Errorf("logging %s: %w", kind, err)
	}
	b.items = append(b.items, tree.Item{Kind: kind, Subject: subject, Body: body})
	return b.base + int64(len(b.items)) - 1, body, nil
}

// entry reads a log entry, also one that this batch is about to write.
func (b *Batch) entry(ctx context.Context, seq int64) (kind string, body []byte, err error) {
	if i := seq - b.base; i >= 0 && i < int64(len(b.items)) {
		return b.items[i].Kind, b.items[i].Body, nil
	}
	return readEntry(ctx, b, seq)
}

// newest reads the last entry of a kind about a subject; body is nil when there is none.
func (b *Batch) newest(ctx context.Context, kind string, subject []byte) (body []byte, err error) {
	for _, it := range slices.Backward(b.items) {
		if it.Kind == kind && bytes.Equal(it.Subject, subject) {
			return it.Body, nil
		}
	}
	err = b.QueryRow(ctx, sqlNewestEntry, subject, kind).Scan(&body)
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the newest %s entry: %w", kind, err)
	}
	return body, nil
}

// headState is the log's right edge as this process knows it: at least what it committed itself. Others may have gone on.
type headState struct {
	mu  sync.Mutex // held for the length of a commit
	log *tree.Log
	// ro guards reading log from outside a commit.
	ro sync.RWMutex
}

func (h *headState) get() *tree.Log {
	h.ro.RLock()
	defer h.ro.RUnlock()
	return h.log
}

// set moves on to a larger log. One that was read before another commit, and comes after it, is old already.
func (h *headState) set(t *tree.Log) {
	h.ro.Lock()
	defer h.ro.Unlock()
	if h.log == nil || t.Size() > h.log.Size() {
		h.log = t
	}
}

// put takes whatever the database has. Only a commit may do that, which keeps others from committing: less than was known means
// that the database was put back under this process, which the vault will not sign.
func (h *headState) put(t *tree.Log) {
	h.ro.Lock()
	defer h.ro.Unlock()
	h.log = t
}

// reload reads the log's edge from the database, and the time from which stamps go on, and hands the edge on.
func (l *Ledger) reload(ctx context.Context, take func(*tree.Log)) error {
	var t *tree.Log
	err := l.db.View(ctx, func(tx sqldb.Tx) (err error) {
		if t, err = tree.Open(ctx, tx); err != nil {
			return fmt.Errorf("reading the log's edge: %w", err)
		}
		if t.Size() == 0 {
			return nil
		}
		return l.stampAfter(ctx, tx, t.Size()-1)
	})
	if err == nil {
		take(t)
	}
	return err
}

// commit runs one step, together with whatever arrives meanwhile.
func (l *Ledger) commit(ctx context.Context, s Step) error { return l.commits.do(ctx, s) }

// commitBatch runs the steps in one transaction. If that fails they run alone, so that one member's fault is its own.
func (l *Ledger) commitBatch(ctx context.Context, steps []Step) []error {
	l.head.mu.Lock()
	defer l.head.mu.Unlock()
	var tried []time.Time
	err := l.commitTogether(ctx, steps, &tried)
	errs := slices.Repeat([]error{err}, len(steps))
	if err == nil || len(steps) == 1 || errors.Is(err, sqldb.ErrUnavailable) {
		return errs
	}
	for i := range steps {
		errs[i] = l.commitTogether(ctx, steps[i:i+1], &tried)
	}
	return errs
}

// commitTogether tries the steps until they are known to be committed. Whatever went wrong, the edge is read again first:
// a step that was written although its commit reported an error meets its own effect and answers the same.
func (l *Ledger) commitTogether(ctx context.Context, steps []Step, tried *[]time.Time) error {
	var err error
	for try := 0; try < maxCommitTries; try++ {
		if err = l.commitOnce(ctx, steps, tried); err == nil {
			return nil
		}
		if errors.Is(err, sqldb.ErrUnavailable) {
			return err // nothing was changed, and nothing can be read
		}
		if rerr := l.reload(ctx, l.head.put); rerr != nil {
			return errors.Join(err, rerr)
		}
		if !errors.Is(err, tree.ErrHeadMoved) && !errors.Is(err, sqldb.ErrAmbiguous) {
			return err
		}
	}
	return err
}

// mend runs a transaction that logs nothing and may be run twice, until it is known to be committed.
func mend(ctx context.Context, db DB, f func(tx sqldb.Tx) error) (err error) {
	for range maxCommitTries {
		if err = db.Update(ctx, f); !errors.Is(err, sqldb.ErrAmbiguous) {
			return err
		}
	}
	return err
}

// takeHead waits for other processes' commits and gives the log as they left it; the stamps that follow come after theirs.
func (l *Ledger) takeHead(ctx context.Context, tx sqldb.Tx) (*tree.Log, error) {
	size, err := tree.Take(ctx, tx)
	if err != nil {
		return nil, err
	}
	mine := l.head.get()
	if size < mine.Size() {
		return nil, fmt.Errorf("taking the log of %d entries, which had %d: %w", size, mine.Size(), tree.ErrHeadMoved)
	}
	head, err := mine.CatchUp(ctx, tx, size)
	if err != nil || head == mine {
		return head, err
	}
	return head, l.stampAfter(ctx, tx, size-1)
}

func (l *Ledger) commitOnce(ctx context.Context, steps []Step, tried *[]time.Time) error {
	note := l.signed.unsaved()
	var next *tree.Log
	var erased bool // by any run: one whose commit is not known may have been the one that deleted
	err := l.db.Update(ctx, func(tx sqldb.Tx) error {
		next = nil
		head, err := l.takeHead(ctx, tx)
		if err != nil {
			return err
		}
		b := &Batch{Tx: tx, At: l.stamp(), base: head.Size(), earlier: slices.Clone(*tried)}
		*tried = append(*tried, b.At)
		for _, s := range steps {
			if err := s(ctx, b); err != nil {
				return err
			}
		}
		erased = erased || b.erased
		if note != nil {
			if _, err := tx.Exec(ctx, sqlSaveNote, note.size, note.text); err != nil {
				return fmt.Errorf("saving the signed checkpoint: %w", err)
			}
		}
		_, next, err = head.Append(ctx, tx, b.items)
		return err
	})
	if erased {
		l.unerased.Store(true)
	}
	// COMMIT POINT. Before: nothing of this batch was told to anybody. After: it is durable, and may be.
	if err != nil {
		return fmt.Errorf("committing %d steps: %w", len(steps), err)
	}
	if next != nil {
		l.head.set(next)
	}
	l.signed.saved(note)
	return nil
}
