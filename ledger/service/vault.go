package service

import (
	"context"
	"errors"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// Waiting for the vault.
const (
	// vaultAnswer bounds one request: a batch of 32 acts takes a software HSM some 20 ms, a busy network HSM a second.
	vaultAnswer = 5 * time.Second
	// vaultPatience is how long requests are repeated while the vault restarts. Every one of them is idempotent.
	vaultPatience = 20 * time.Second
	// vaultPause lies between two tries.
	vaultPause = 100 * time.Millisecond
)

// Vault is one vault over the bus: it implements ledger.Vault, ledger.Signer, ledger.Assigner, ledger.Follower and ledger.Hearer.
type Vault struct {
	Bus  bus.Requester
	Name perso.Name
}

// Vaults are all vaults of a site for exports and bundles: what is about a lot goes to the vault that makes it.
type Vaults struct {
	Log Vault // the log vault
	// Of names the vault that makes a lot.
	Of func(ctx context.Context, lot perso.Name) (perso.Name, error)
}

func (v Vaults) of(ctx context.Context, lot perso.Name) (Vault, error) {
	name, err := v.Of(ctx, lot)
	return Vault{Bus: v.Log.Bus, Name: name}, err
}

// Info asks the log vault for the certificates, which all vaults of a site have.
func (v Vaults) Info(ctx context.Context) (bus.VaultInfoReply, error) { return v.Log.Info(ctx) }

// Export asks for wrapped keys or signatures.
func (v Vaults) Export(ctx context.Context, q bus.ExportRequest) (a bus.ExportReply, err error) {
	at, err := v.of(ctx, q.Lot)
	if err != nil {
		return a, err
	}
	return ask[bus.ExportReply](ctx, at, bus.VaultExport, q)
}

// Receipts asks for a vault's own records.
func (v Vaults) Receipts(ctx context.Context, q bus.ReceiptsRequest) (a bus.ReceiptsReply, err error) {
	at, err := v.of(ctx, q.Lot)
	if err != nil {
		return a, err
	}
	return at.Receipts(ctx, q)
}

// Receipts asks one vault for its own records.
func (v Vault) Receipts(ctx context.Context, q bus.ReceiptsRequest) (bus.ReceiptsReply, error) {
	return ask[bus.ReceiptsReply](ctx, v, bus.VaultReceipts, q)
}

// SealBundle has a bundle's manifest signed.
func (v Vaults) SealBundle(ctx context.Context, q bus.SealBundleRequest) (a bus.SealBundleReply, err error) {
	at, err := v.of(ctx, q.Lot)
	if err != nil {
		return a, err
	}
	return ask[bus.SealBundleReply](ctx, at, bus.VaultSealBundle, q)
}

// ask repeats a request that nobody answered: the vault may have carried it out, and will answer the same again.
func ask[A, Q any](ctx context.Context, v Vault, verb string, q Q) (A, error) {
	patience, cancel := context.WithTimeout(ctx, vaultPatience)
	defer cancel()
	for {
		one, done := context.WithTimeout(patience, vaultAnswer)
		a, err := bus.Call[A](one, v.Bus, bus.VaultSubject(v.Name, verb), q)
		done()
		if err == nil || !errors.Is(err, bus.ErrNoAnswer) {
			return a, err
		}
		select {
		case <-patience.Done():
			return a, err
		case <-time.After(vaultPause):
		}
	}
}

// Info asks who the vault is.
func (v Vault) Info(ctx context.Context) (bus.VaultInfoReply, error) {
	return ask[bus.VaultInfoReply](ctx, v, bus.VaultInfo, bus.Empty{})
}

// Checkpoint has the log's size and root signed.
func (v Vault) Checkpoint(ctx context.Context, q bus.CheckpointRequest) (bus.CheckpointReply, error) {
	return ask[bus.CheckpointReply](ctx, v, bus.VaultCheckpoint, q)
}

// OpenLot hands over the officers' words.
func (v Vault) OpenLot(ctx context.Context, q bus.OpenLotRequest) (bus.OpenLotReply, error) {
	return ask[bus.OpenLotReply](ctx, v, bus.VaultOpenLot, q)
}

// Challenges asks for host challenges.
func (v Vault) Challenges(ctx context.Context, q bus.VaultChallengesRequest) (bus.VaultChallengesReply, error) {
	return ask[bus.VaultChallengesReply](ctx, v, bus.VaultChallenges, q)
}

// Serve has acts served.
func (v Vault) Serve(ctx context.Context, q bus.ServeRequest) (bus.ServeReply, error) {
	return ask[bus.ServeReply](ctx, v, bus.VaultServe, q)
}

// AssignLot has the log vault give a lot to a vault.
func (v Vault) AssignLot(ctx context.Context, q bus.AssignLotRequest) (bus.AssignLotReply, error) {
	return ask[bus.AssignLotReply](ctx, v, bus.VaultAssignLot, q)
}

// Follow shows the vault a checkpoint.
func (v Vault) Follow(ctx context.Context, q bus.FollowRequest) (bus.FollowReply, error) {
	return ask[bus.FollowReply](ctx, v, bus.VaultFollow, q)
}

// Heed tells the vault what officers said of the site.
func (v Vault) Heed(ctx context.Context, q bus.HeedRequest) (bus.HeedReply, error) {
	return ask[bus.HeedReply](ctx, v, bus.VaultHeed, q)
}

// CheckKi asks which Ki of a customer do not fit their check values.
func (v Vault) CheckKi(ctx context.Context, q bus.CheckKiRequest) (bus.CheckKiReply, error) {
	return ask[bus.CheckKiReply](ctx, v, bus.VaultCheckKi, q)
}

// Abandon has a unit given up.
func (v Vault) Abandon(ctx context.Context, q bus.AbandonRequest) (bus.AbandonReply, error) {
	return ask[bus.AbandonReply](ctx, v, bus.VaultAbandon, q)
}

// KeepKi has a customer's Ki known from here on.
func (v Vault) KeepKi(ctx context.Context, q bus.KeepKiRequest) (bus.KeepKiReply, error) {
	return ask[bus.KeepKiReply](ctx, v, bus.VaultKeepKi, q)
}

// DropKi has the Ki of an order that was not accepted forgotten.
func (v Vault) DropKi(ctx context.Context, q bus.DropKiRequest) (bus.Empty, error) {
	return ask[bus.Empty](ctx, v, bus.VaultDropKi, q)
}

// DestroyLot has a lot's key destroyed.
func (v Vault) DestroyLot(ctx context.Context, q bus.DestroyLotRequest) (bus.DestroyLotReply, error) {
	return ask[bus.DestroyLotReply](ctx, v, bus.VaultDestroyLot, q)
}
