package service

import (
	"context"
	"errors"
	"time"

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

// Vault is the vault over the bus: it implements ledger.Vault, ledger.Signer, and what exports and bundles ask for.
type Vault struct{ Bus bus.Requester }

// ask repeats a request that nobody answered: the vault may have carried it out, and will answer the same again.
func ask[A, Q any](ctx context.Context, v Vault, verb string, q Q) (A, error) {
	patience, cancel := context.WithTimeout(ctx, vaultPatience)
	defer cancel()
	for {
		one, done := context.WithTimeout(patience, vaultAnswer)
		a, err := bus.Call[A](one, v.Bus, bus.VaultSubject(verb), q)
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

// Export asks for wrapped keys or signatures.
func (v Vault) Export(ctx context.Context, q bus.ExportRequest) (bus.ExportReply, error) {
	return ask[bus.ExportReply](ctx, v, bus.VaultExport, q)
}

// Receipts asks for the vault's own records.
func (v Vault) Receipts(ctx context.Context, q bus.ReceiptsRequest) (bus.ReceiptsReply, error) {
	return ask[bus.ReceiptsReply](ctx, v, bus.VaultReceipts, q)
}

// SealBundle has a bundle's manifest signed.
func (v Vault) SealBundle(ctx context.Context, q bus.SealBundleRequest) (bus.SealBundleReply, error) {
	return ask[bus.SealBundleReply](ctx, v, bus.VaultSealBundle, q)
}

// CheckKi asks which Ki of a customer do not fit their check values.
func (v Vault) CheckKi(ctx context.Context, q bus.CheckKiRequest) (bus.CheckKiReply, error) {
	return ask[bus.CheckKiReply](ctx, v, bus.VaultCheckKi, q)
}

// DestroyLot has a lot's key destroyed.
func (v Vault) DestroyLot(ctx context.Context, q bus.DestroyLotRequest) (bus.DestroyLotReply, error) {
	return ask[bus.DestroyLotReply](ctx, v, bus.VaultDestroyLot, q)
}
