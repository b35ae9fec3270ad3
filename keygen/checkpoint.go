package keygen

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/checkpoint"
)

// Recollection is what a vault must never forget: losing it would let a database administrator fork the log, use one
// lot key for two releases, or make an identity twice in two lots.
type Recollection struct {
	Size int64 // of the last checkpoint that may have been signed, or that was followed
	Root [32]byte
	Lots map[perso.Name]Issued // every lot that a key was made for
}

// Memory keeps a Recollection. A store without one is an error, never an empty beginning: the ceremony makes it. Both
// verbs return when the change is durable.
type Memory interface {
	Recall() (Recollection, error)
	RememberCheckpoint(size int64, root [32]byte) error
	RememberLot(lot perso.Name, i Issued) error
}

// Checkpoint signs the log's new size and root when they continue what was signed last, and nothing else. It is the only
// use of the log key. The same size and root is signed again (Ed25519 gives the same note).
func (v *Vault) Checkpoint(ctx context.Context, q bus.CheckpointRequest) (bus.CheckpointReply, error) {
	if !v.signs() {
		return bus.CheckpointReply{}, bus.Refuse(bus.FaultRefused, "vault %q does not sign the log: vault %q does", v.cfg.Name, v.cfg.LogVault)
	}
	if q.Size <= 0 {
		return bus.CheckpointReply{}, bus.Refuse(bus.FaultBadMessage, "checkpoint of %d entries", q.Size)
	}
	if err := v.cfg.Life.Present(ctx); err != nil {
		return bus.CheckpointReply{}, err
	}
	v.signing.Lock()
	defer v.signing.Unlock()
	next := checkpoint.Checkpoint{Origin: v.cfg.Origin, Size: q.Size, Root: q.Root}
	last := v.last()
	if next != last {
		if q.Old != last.Size {
			return bus.CheckpointReply{Last: last.Size, Held: v.noteOf(last)}, nil
		}
		if err := v.advance(last, next, q.Proof); err != nil {
			return bus.CheckpointReply{}, err
		}
	}
	note, err := next.Seal(v.log, func(text []byte) ([]byte, error) {
		return v.cfg.Token.SignMessage(ctx, v.cfg.Keys.Log, text)
	})
	if err != nil {
		return bus.CheckpointReply{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.hold(note, next)
	return bus.CheckpointReply{Note: note, Last: next.Size}, nil
}

func (v *Vault) last() checkpoint.Checkpoint {
	v.mu.Lock()
	defer v.mu.Unlock()
	return checkpoint.Checkpoint{Origin: v.cfg.Origin, Size: v.memory.Size, Root: v.memory.Root}
}

// advance checks the step from last to next and makes it durable.
func (v *Vault) advance(last, next checkpoint.Checkpoint, proof [][32]byte) error {
	if err := checkpoint.CheckConsistency(last, next, hashes(proof)); err != nil {
		v.cfg.Log.Error("refused to sign an inconsistent checkpoint", "seq", next.Size, "err", err)
		return bus.Refuse(bus.FaultRefused, "checking consistency: %v", err)
	}
	// Acts are served meanwhile: only signing moves this part of the memory, and one is signed at a time.
	if err := v.cfg.Memory.RememberCheckpoint(next.Size, next.Root); err != nil {
		return fmt.Errorf("remembering checkpoint of %d entries: %w", next.Size, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.memory.Size, v.memory.Root = next.Size, next.Root
	return nil
}

// noteOf gives the note of a checkpoint that this vault signed or followed just now, or nil.
func (v *Vault) noteOf(cp checkpoint.Checkpoint) []byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range v.notes {
		if held := &v.notes[i]; held.note != nil && held.cp == cp {
			return slices.Clone(held.note)
		}
	}
	return nil
}

// hold keeps a note that this vault signed, for the batches that come against it. v.mu is held.
func (v *Vault) hold(note []byte, cp checkpoint.Checkpoint) {
	v.notes[v.noted%heldNotes] = heldNote{note: slices.Clone(note), cp: cp}
	v.noted++
}

// openCheckpoint reads a checkpoint that this vault signed or followed just now, or verifies by the log key that it once was
// signed. A vault that does not sign takes only what it followed.
func (v *Vault) openCheckpoint(note []byte) (checkpoint.Checkpoint, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range v.notes {
		if held := &v.notes[i]; held.note != nil && bytes.Equal(held.note, note) {
			return held.cp, nil
		}
	}
	cp, err := checkpoint.Open(note, v.cfg.Origin, v.log)
	if err != nil {
		return cp, bus.Refuse(bus.FaultRefused, "%v", err)
	}
	if err := v.followed(cp); err != nil {
		return cp, err
	}
	v.hold(note, cp)
	return cp, nil
}

func hashes(proof [][32]byte) []checkpoint.Hash {
	out := make([]checkpoint.Hash, len(proof))
	for i, h := range proof {
		out[i] = h
	}
	return out
}

// proven checks that an entry stands in the log that the checkpoint describes.
func proven(cp checkpoint.Checkpoint, p bus.Proven) error {
	return checkpoint.CheckInclusion(cp, p.Seq, p.Entry, hashes(p.Proof))
}
