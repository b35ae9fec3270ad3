// Package witness is somebody outside the site who cosigns the log's checkpoints: an auditor's laptop, a second site. He has a key
// of his own and remembers, per log, the last checkpoint that he cosigned; he cosigns the next one only with a proof that the log
// has grown from there. So whoever holds N cosignatures knows that one and the same log was shown to N people who owe the site
// nothing, however the database and the vault are treated.
//
// Rules of C2SP tlog-witness; the cosignature is C2SP tlog-cosignature, in package checkpoint. What the log says is not judged:
// that is the auditor's. The commands of perso/cmd/auditor call it, on a machine that need not have a network.
package witness

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/persoline/persoline/perso/checkpoint"
)

// Refusals. Each is a reason for a person to look: a witness who simply tries again would cover up what he is there to see.
var (
	ErrUnknown  = errors.New("this witness has never seen the log")
	ErrBegun    = errors.New("this witness knows the log already")
	ErrRollback = errors.New("ROLLED BACK: the log is shorter than it was")
	ErrFork     = errors.New("FORKED: the log is not the one that was cosigned")
	ErrBehind   = errors.New("the proof begins elsewhere than this witness's memory")
)

// Witness is a key and a memory.
type Witness struct {
	Dir string // the memory: a folder with a file per log
	Key checkpoint.WitnessKey
	Now func() time.Time
}

// Known is a log as the witness was introduced to it, from the key ceremony's record.
type Known struct {
	Origin string
	Key    ed25519.PublicKey
}

// file is where the last cosigned checkpoint of a log lies.
func (w Witness) file(log Known) string {
	sum := sha256.Sum256([]byte(log.Origin))
	return filepath.Join(w.Dir, hex.EncodeToString(sum[:16])+".checkpoint")
}

// Last is what was cosigned last of a log; ErrUnknown if nothing was.
func (w Witness) Last(log Known) (checkpoint.Checkpoint, error) {
	note, err := os.ReadFile(w.file(log))
	if errors.Is(err, fs.ErrNotExist) {
		return checkpoint.Checkpoint{}, fmt.Errorf("log %q: %w", log.Origin, ErrUnknown)
	}
	if err != nil {
		return checkpoint.Checkpoint{}, fmt.Errorf("reading the witness's memory of log %q: %w", log.Origin, err)
	}
	c, err := checkpoint.Open(note, log.Origin, log.Key)
	if err != nil {
		return checkpoint.Checkpoint{}, fmt.Errorf("reading the witness's memory %q: %w", w.file(log), err)
	}
	return c, nil
}

// Cosign checks a request and gives its checkpoint with the witness's line added. It remembers first, durably, and signs then: a
// crash between the two is made good by asking again. Asked for the checkpoint that he cosigned last, a witness cosigns it again.
//
// begin is said once per log, when there is no memory yet. That it is said aloud keeps a memory that was lost, or taken away, from
// being begun anew unseen.
func (w Witness) Cosign(log Known, q checkpoint.Request, begin bool) (cosigned []byte, err error) {
	plain, err := checkpoint.Stripped(q.Note, log.Origin, log.Key)
	if err != nil {
		return nil, err
	}
	next, err := checkpoint.Open(plain, log.Origin, log.Key)
	if err != nil {
		return nil, err
	}
	release, err := w.lock()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	last, err := w.Last(log)
	switch {
	case begin && err == nil:
		return nil, fmt.Errorf("log %q: %w, with %d entries", log.Origin, ErrBegun, last.Size)
	case begin && errors.Is(err, ErrUnknown):
		last = checkpoint.Checkpoint{Origin: log.Origin, Root: checkpoint.EmptyRoot()}
		q.Old, q.Proof = 0, nil
	case err != nil:
		return nil, err
	}
	if last != next {
		if err := follows(last, next, q); err != nil {
			return nil, err
		}
		// The memory first: what was cosigned is never forgotten.
		if err := w.remember(log, plain); err != nil {
			return nil, fmt.Errorf("remembering the checkpoint of log %q: %w", log.Origin, err)
		}
	}
	return w.Key.Cosign(q.Note, w.Now())
}

// follows demands that the log has grown, and only grown.
func follows(last, next checkpoint.Checkpoint, q checkpoint.Request) error {
	switch {
	case next.Size < last.Size:
		return fmt.Errorf("log %q: %w: it had %d entries, now %d", last.Origin, ErrRollback, last.Size, next.Size)
	case next.Size == last.Size:
		return fmt.Errorf("log %q: %w: two roots at %d entries", last.Origin, ErrFork, last.Size)
	case q.Old != last.Size:
		return fmt.Errorf("log %q: %w: at %d entries, this witness is at %d", last.Origin, ErrBehind, q.Old, last.Size)
	}
	if err := checkpoint.CheckConsistency(last, next, q.Proof); err != nil {
		return fmt.Errorf("log %q: %w, or the proof was spoilt: %w", last.Origin, ErrFork, err)
	}
	return nil
}

// remember replaces the memory of a log: written and synced beside it, renamed, the folder synced.
func (w Witness) remember(log Known, note []byte) error {
	f, err := os.CreateTemp(w.Dir, ".new-*")
	if err != nil {
		return err
	}
	_, err = bytes.NewReader(note).WriteTo(f)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), w.file(log)); err != nil {
		return err
	}
	dir, err := os.Open(w.Dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// lock keeps a second process from cosigning out of an older memory. The kernel lets go when the process ends.
func (w Witness) lock() (release func() error, err error) {
	f, err := os.OpenFile(filepath.Join(w.Dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the witness's memory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("locking the witness's memory: %w", errors.Join(err, f.Close()))
	}
	return f.Close, nil
}
