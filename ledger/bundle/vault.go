package bundle

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/persoline/persoline/ledger/bundle/folder"
	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// MaxReceipts bounds the receipts of one lot: a million units with six acts, each in a few sessions.
const MaxReceipts = 20_000_000

func (w *writer) receipts(ctx context.Context) error {
	for _, lot := range w.named.lots() {
		if err := w.chain(ctx, lot); err != nil {
			return fmt.Errorf("fetching receipts of lot %q: %w", lot, err)
		}
	}
	return nil
}

// chain fetches one lot's receipts portion by portion; the signed head comes with the last. All are of one vault, which is
// the one that makes the lot.
func (w *writer) chain(ctx context.Context, lot perso.Name) error {
	first, err := w.portion(ctx, lot, 0)
	if err != nil {
		return err
	}
	f, err := w.dir.Create(layout.Receipts(first.Vault, lot))
	if err != nil {
		return err
	}
	last, err := w.portions(ctx, lot, first, f)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return errors.Join(w.dir.Add(layout.ReceiptHead(first.Vault, lot), last.Head),
		w.dir.Add(layout.ReceiptHeadSig(first.Vault, lot), layout.EncodeSignature(last.Signature)))
}

func (w *writer) portions(ctx context.Context, lot perso.Name, part bus.ReceiptsReply, f *folder.File) (last bus.ReceiptsReply, err error) {
	var buf []byte
	for vault, count := part.Vault, uint64(0); count < MaxReceipts; {
		if part.Vault != vault {
			return part, fmt.Errorf("vault %q answered, then vault %q", vault, part.Vault)
		}
		buf = buf[:0]
		for _, r := range part.Receipts {
			buf = layout.AppendRecord(buf, r)
		}
		if _, err := f.Write(buf); err != nil {
			return part, err
		}
		if count += uint64(len(part.Receipts)); len(part.Head) > 0 {
			return part, nil
		}
		if len(part.Receipts) == 0 {
			return part, errors.New("the vault gave neither receipts nor their head")
		}
		if part, err = w.portion(ctx, lot, count); err != nil {
			return part, err
		}
	}
	return bus.ReceiptsReply{}, fmt.Errorf("more than %d receipts", MaxReceipts)
}

// portion asks once more after opening a lot that the vault has forgotten.
func (w *writer) portion(ctx context.Context, lot perso.Name, from uint64) (bus.ReceiptsReply, error) {
	q := bus.ReceiptsRequest{Lot: lot, From: from}
	part, err := w.Vault.Receipts(ctx, q)
	var fault *bus.Fault
	if !errors.As(err, &fault) || fault.Code != bus.FaultLotNotOpen || w.OpenLot == nil {
		return part, err
	}
	if err := w.OpenLot(ctx, lot); err != nil {
		return part, err
	}
	return w.Vault.Receipts(ctx, q)
}

// seal writes the manifest and has the vault sign for it.
func (w *writer) seal(ctx context.Context) error {
	manifest, err := layout.EncodeManifest(w.dir.Files())
	if err != nil {
		return err
	}
	log := w.named.genesis
	seal, err := layout.SealBody{Env: log.Env, Site: log.Site, Lot: w.lot, Files: uint64(len(w.dir.Files())), Manifest: sha256.Sum256(manifest)}.Encode()
	if err != nil {
		return err
	}
	a, err := w.Vault.SealBundle(ctx, bus.SealBundleRequest{Lot: w.lot, Manifest: seal})
	if err != nil {
		return fmt.Errorf("having the bundle sealed: %w", err)
	}
	return errors.Join(w.dir.Add(layout.Manifest, manifest), w.dir.Add(layout.Seal, seal), w.dir.Add(layout.SealSig, layout.EncodeSignature(a.Signature)))
}
