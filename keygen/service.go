package keygen

import (
	"context"
	"errors"
	"fmt"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/keygen/life"
	"github.com/persoline/persoline/perso/bus"
)

// Register offers the vault on the bus, under its name. stop ends all subscriptions.
func Register(server bus.Server, v *Vault) (stop func() error, err error) {
	var stops []func() error
	stop = func() error {
		var all []error
		for _, s := range stops {
			all = append(all, s())
		}
		return errors.Join(all...)
	}
	for _, o := range []struct {
		verb   string
		handle bus.Handler
	}{
		{bus.VaultInfo, answer(v.Info)},
		{bus.VaultAssignLot, answer(v.AssignLot)},
		{bus.VaultOpenLot, answer(v.OpenLot)},
		{bus.VaultChallenges, answer(v.Challenges)},
		{bus.VaultCheckpoint, answer(v.Checkpoint)},
		{bus.VaultFollow, answer(v.Follow)},
		{bus.VaultHeed, answer(v.Heed)},
		{bus.VaultServe, answer(v.Serve)},
		{bus.VaultExport, answer(v.Export)},
		{bus.VaultReceipts, answer(v.Receipts)},
		{bus.VaultSealBundle, answer(v.SealBundle)},
		{bus.VaultDestroyLot, answer(v.DestroyLot)},
		{bus.VaultAbandon, answer(v.Abandon)},
		{bus.VaultCheckKi, answer(v.CheckKi)},
		{bus.VaultKeepKi, answer(v.KeepKi)},
		{bus.VaultDropKi, answer(v.DropKi)},
	} {
		s, err := server.Serve(bus.VaultSubject(v.cfg.Name, o.verb), bus.QueueVault, o.handle)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("offering vault %q: %w", o.verb, err), stop())
		}
		stops = append(stops, s)
	}
	return stop, nil
}

// answer is bus.Answer, with an HSM that does not answer now made known as busy: the ledger asks again. So it does when this
// process was overtaken, and the one that is the vault now answers.
func answer[Q, A any](f func(context.Context, Q) (A, error)) bus.Handler {
	return bus.Answer(func(ctx context.Context, q Q) (A, error) {
		a, err := f(ctx, q)
		var fault *bus.Fault
		if err == nil || errors.As(err, &fault) {
			return a, err
		}
		if errors.Is(err, life.ErrOvertaken) {
			return a, fmt.Errorf("%w: %w", bus.Refuse(bus.FaultBusy, "this process is the vault no more"), err)
		}
		for _, passing := range []error{hsm.ErrBusy, hsm.ErrSessionLost, hsm.ErrTokenGone, hsm.ErrDevice, context.DeadlineExceeded, context.Canceled} {
			if errors.Is(err, passing) {
				return a, fmt.Errorf("%w: %w", bus.Refuse(bus.FaultBusy, "the HSM does not answer now"), err)
			}
		}
		return a, err
	})
}
