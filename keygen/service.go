package keygen

import (
	"errors"
	"fmt"

	"github.com/persoline/persoline/perso/bus"
)

// Register offers the vault on the bus, in the queue group of all vaults of the site. stop ends all subscriptions.
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
		{bus.VaultInfo, bus.Answer(v.Info)},
		{bus.VaultOpenLot, bus.Answer(v.OpenLot)},
		{bus.VaultChallenges, bus.Answer(v.Challenges)},
		{bus.VaultCheckpoint, bus.Answer(v.Checkpoint)},
		{bus.VaultServe, bus.Answer(v.Serve)},
		{bus.VaultExport, bus.Answer(v.Export)},
		{bus.VaultReceipts, bus.Answer(v.Receipts)},
		{bus.VaultSealBundle, bus.Answer(v.SealBundle)},
	} {
		s, err := server.Serve(bus.VaultSubject(o.verb), bus.QueueVault, o.handle)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("offering vault %q: %w", o.verb, err), stop())
		}
		stops = append(stops, s)
	}
	return stop, nil
}
