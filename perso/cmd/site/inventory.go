package site

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/keygen/ceremony"
	"github.com/persoline/persoline/keygen/ceremony/census"
	"github.com/persoline/persoline/keygen/ceremony/conduct"
	"github.com/persoline/persoline/keygen/journal"
	"github.com/persoline/persoline/perso"
)

// ErrInventory says that the key ceremonies' record and the configuration do not agree.
var ErrInventory = errors.New("the key inventory is not the one that the site is configured with")

// vaultToken is what the vault's token does for the vault and for the census.
type vaultToken interface {
	keygen.Token
	census.Token
}

// guarded lets the vault use the keys that are active in the inventory, and no others. It says which it refuses and why.
// The head is what tells an inventory that was put back to an older state together with its token.
func (s *Site) guarded(ctx context.Context, token vaultToken, log *slog.Logger) (keygen.Token, error) {
	if s.Config.Inventory == "" {
		if s.Config.Env == perso.EnvProduction {
			return nil, fmt.Errorf("%w: site.json names no key_inventory, and this is production", ErrInventory)
		}
		return token, nil
	}
	var pin, head [32]byte
	if err := unhex(pin[:], s.Config.Pin); err != nil {
		return nil, fmt.Errorf("site.json: register_pin: %w", err)
	}
	if err := unhex(head[:], s.Config.Head); err != nil {
		return nil, fmt.Errorf("site.json: key_inventory_head: %w", err)
	}
	dir := s.Config.Inventory
	if !filepath.IsAbs(dir) {
		dir = s.path(dir)
	}
	chain, err := conduct.Load(conduct.Folder(dir), pin)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInventory, err)
	}
	if chain.Head != head || chain.Env != s.Config.Env || chain.Site != s.Config.Site {
		return nil, fmt.Errorf("%w: its last ceremony, of site %q (%s), ended with %x, key_inventory_head is %x", ErrInventory, chain.Site, chain.Env, chain.Head, head)
	}
	lots, err := s.madeLots()
	if err != nil {
		return nil, err
	}
	c, err := census.Take(ctx, token, chain.Inventory, s.Config.Env, lots)
	if err != nil {
		return nil, err
	}
	for _, l := range c.Alarms() {
		log.Error("key refused", "key", l.Key, "err", string(l.Verdict)+": "+l.What)
	}
	return census.Guard(token, c), nil
}

// madeLots are the lots of every vault of the site whose memory is on this host: they share one token, and each would else take
// the others' lot keys for a stranger's. Which of them it may use, a vault knows by itself. The log vault, which knows of every
// lot but not how the others' ended, comes first.
func (s *Site) madeLots() (census.Lots, error) {
	all := census.Lots{}
	for _, vault := range s.VaultNames() {
		dir := s.vaultState(vault, ceremony.FolderMemory)
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) && vault != s.logVault() {
			continue // on a host of its own
		}
		memory, err := journal.OpenMemory(dir)
		if err != nil {
			return nil, err
		}
		lots, err := census.LotsOf(memory)
		if err != nil {
			return nil, err
		}
		maps.Copy(all, lots)
	}
	return all, nil
}
