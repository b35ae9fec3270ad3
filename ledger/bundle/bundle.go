// Package bundle writes the audit bundle of a lot: a folder that holds all that an auditor needs, and no secret. The log
// in it is the whole site's, because only the whole log shows that a chip or an EID was used once.
//
// The log comes from the ledger as it was last signed; whatever else is in the bundle is what the entries of that log
// name: officers' statements, receipts of every lot that has a claim, manifests of exports. The vault gives the receipts
// and signs the seal. For the same log and the same answers of the vault the bundle is the same, byte for byte.
//
// Write is called by the ledger's program; it works on a folder beside the target and renames it when every byte is on
// disk, so that a bundle is either there or not. Format: ledger/FORMAT.md; verified by ledger/audit.
package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/persoline/persoline/ledger/bundle/folder"
	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/ledger/internal/tree/tilepath"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// Source is the ledger's side: one signed log and the statements that it names.
type Source interface {
	// Checkpoint is the newest signed checkpoint. The other methods speak of the log that it signs.
	Checkpoint(ctx context.Context) (size int64, note []byte, err error)
	// Tile gives a file of the log.
	Tile(ctx context.Context, t tilepath.Tile) ([]byte, error)
	// Statement gives an encoded signed statement by its hash; nil when its words were deleted.
	Statement(ctx context.Context, hash [32]byte) ([]byte, error)
}

// Vault gives its certificates and receipts, and signs the seal.
type Vault interface {
	Info(ctx context.Context) (bus.VaultInfoReply, error)
	Receipts(ctx context.Context, q bus.ReceiptsRequest) (bus.ReceiptsReply, error)
	SealBundle(ctx context.Context, q bus.SealBundleRequest) (bus.SealBundleReply, error)
}

// Config wires a writer.
type Config struct {
	Source Source
	Vault  Vault
	// OpenLot opens a released lot at the vault, which has forgotten it when it was restarted.
	OpenLot func(ctx context.Context, lot perso.Name) error
	// Delivered gives the manifest of an export by lot and kind, or an error that wraps fs.ErrNotExist.
	Delivered func(lot perso.Name, what string) ([]byte, error)
}

// ErrExists says that the target is there already; a bundle is never written over.
var ErrExists = errors.New("bundle exists")

// Write makes the bundle of a lot at target.
func Write(ctx context.Context, c Config, lot perso.Name, target string) error {
	if _, err := os.Lstat(target); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("writing bundle of lot %q to %q: %w", lot, target, errors.Join(ErrExists, err))
	}
	dir, err := folder.New(filepath.Dir(target))
	if err != nil {
		return fmt.Errorf("writing bundle of lot %q: %w", lot, err)
	}
	w := &writer{Config: c, lot: lot, dir: dir}
	if err := w.write(ctx); err != nil {
		return fmt.Errorf("writing bundle of lot %q: %w", lot, errors.Join(err, dir.Remove()))
	}
	if err := dir.Publish(target); err != nil {
		return fmt.Errorf("writing bundle of lot %q: %w", lot, errors.Join(err, dir.Remove()))
	}
	return nil
}

// writer is one bundle being written.
type writer struct {
	Config
	lot   perso.Name
	dir   *folder.Folder
	info  bus.VaultInfoReply
	named named
}

// write goes from the log outwards: what it names is what is fetched. The checkpoint comes before the receipts, so that
// every act that something follows from has its receipt; receipts of later acts are told from missing ones by their time.
func (w *writer) write(ctx context.Context) (err error) {
	if w.info, err = w.Vault.Info(ctx); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{w.log, w.certificates, w.statements, w.receipts, w.exports, w.seal} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) log(ctx context.Context) error {
	size, note, err := w.Source.Checkpoint(ctx)
	if err != nil {
		return fmt.Errorf("taking a signed checkpoint: %w", err)
	}
	if err := w.dir.Add(layout.Checkpoint, note); err != nil {
		return err
	}
	for _, t := range tilepath.Cover(size) {
		data, err := w.Source.Tile(ctx, t)
		if err != nil {
			return err
		}
		if err := w.dir.Add(layout.LogPrefix+t.Path(), data); err != nil {
			return err
		}
		if t.Level == tilepath.Entries {
			if err := w.named.read(data); err != nil {
				return fmt.Errorf("reading %q: %w", t.Path(), err)
			}
		}
	}
	if !w.named.releases[w.lot] {
		return fmt.Errorf("the signed log releases no such lot")
	}
	return nil
}

func (w *writer) certificates(context.Context) error {
	return errors.Join(w.dir.Add(layout.EUMCert, w.info.EUMCert), w.dir.Add(layout.EISCert, w.info.EISCert))
}

func (w *writer) statements(ctx context.Context) error {
	for i, hash := range w.named.register {
		signed, err := w.Source.Statement(ctx, hash)
		if err == nil && signed == nil {
			err = errors.New("the ledger has lost it")
		}
		if err != nil {
			return fmt.Errorf("reading statement %d of the officer register: %w", i, err)
		}
		if err := w.dir.Add(layout.Register(i), signed); err != nil {
			return err
		}
	}
	for _, hash := range w.named.openings {
		signed, err := w.Source.Statement(ctx, hash)
		if err != nil {
			return err
		}
		if signed == nil {
			continue // deleted after delivery
		}
		if err := w.dir.Add(layout.Statement(hash), signed); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) exports(context.Context) error {
	for _, e := range w.named.exports {
		if w.Delivered == nil {
			return nil
		}
		manifest, err := w.Delivered(e.Lot, e.What)
		if errors.Is(err, fs.ErrNotExist) {
			continue // moved away after delivery: the log keeps its hash
		}
		if err != nil {
			return fmt.Errorf("reading the %s export of lot %q: %w", e.What, e.Lot, err)
		}
		if err := w.dir.Add(layout.Export(e.Lot, e.What), manifest); err != nil {
			return err
		}
	}
	return nil
}
