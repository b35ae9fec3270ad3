package keygen

import (
	"context"

	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/checkpoint"
)

// Follow shows a vault that does not sign the log a checkpoint of the log vault's. It is taken when it provably lies on one
// line with the newest that this vault was ever shown, and that one is remembered before anything is served against it: a
// second history, signed by whoever got at the log key, is refused here as the log vault would refuse to sign it.
func (v *Vault) Follow(ctx context.Context, q bus.FollowRequest) (bus.FollowReply, error) {
	if v.signs() {
		return bus.FollowReply{}, bus.Refuse(bus.FaultRefused, "vault %q signs the log and follows nobody", v.cfg.Name)
	}
	cp, err := checkpoint.Open(q.Note, v.cfg.Origin, v.log)
	if err != nil {
		return bus.FollowReply{}, bus.Refuse(bus.FaultRefused, "%v", err)
	}
	if err := v.cfg.Life.Present(ctx); err != nil {
		return bus.FollowReply{}, err
	}
	v.signing.Lock()
	defer v.signing.Unlock()
	last := v.last()
	switch {
	case cp == last:
	case q.Last != last.Size:
		return bus.FollowReply{Last: last.Size, Birth: v.cfg.Life.Birth()}, nil
	case cp.Size < last.Size: // of a batch that was under way when a newer one was shown
		if err := checkpoint.CheckConsistency(cp, last, hashes(q.Proof)); err != nil {
			v.cfg.Log.Error("refused to follow an inconsistent checkpoint", "seq", cp.Size, "err", err)
			return bus.FollowReply{}, bus.Refuse(bus.FaultRefused, "checking consistency: %v", err)
		}
	default:
		if err := v.advance(last, cp, q.Proof); err != nil {
			return bus.FollowReply{}, err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.hold(q.Note, cp)
	return bus.FollowReply{Taken: true, Last: v.memory.Size, Birth: v.cfg.Life.Birth()}, nil
}

// followed refuses a checkpoint that this vault was not shown the way to, whoever signed it. v.mu is held.
func (v *Vault) followed(cp checkpoint.Checkpoint) error {
	if v.signs() || cp.Size == v.memory.Size && cp.Root == v.memory.Root {
		return nil
	}
	return bus.Refuse(bus.FaultBehind, "vault %q was not shown the way from %d entries to the checkpoint of %d", v.cfg.Name, v.memory.Size, cp.Size)
}
