package audit

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/ledger/internal/tree/tilepath"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
)

// Log is the log of a bundle as its checkpoint signs it: what is read through it is proven to be in it, tile by tile. It
// judges nothing that the entries say; that is Verify's.
type Log struct {
	Note       []byte // the signed checkpoint
	Checkpoint checkpoint.Checkpoint
	Key        ed25519.PublicKey // the log's
	Pinned     bool              // the key was known before; else it is the log's own word
	files      *files
	hashes     tlog.HashReader
}

// OpenLog opens the log of a bundle. Without a key it takes the one that the log's first entry names.
func OpenLog(fsys fs.FS, key ed25519.PublicKey) (*Log, error) {
	l := &Log{Key: key, Pinned: len(key) > 0, files: &files{fsys: fsys}}
	g, err := firstEntry(fsys)
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	if !l.Pinned {
		l.Key = g.LogKey
	}
	if l.Note, err = l.files.read(layout.Checkpoint); err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	if l.Checkpoint, err = checkpoint.Open(l.Note, g.Origin, l.Key); err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	l.hashes = tlog.TileHashReader(tlog.Tree{N: l.Checkpoint.Size, Hash: l.Checkpoint.Root}, tiles{l.files})
	return l, nil
}

// Consistency proves that the log begins with its first old entries.
func (l *Log) Consistency(old int64) ([]checkpoint.Hash, error) {
	if old < 0 || old > l.Checkpoint.Size {
		return nil, fmt.Errorf("the log has %d entries, it cannot begin with %d", l.Checkpoint.Size, old)
	}
	if old == 0 || old == l.Checkpoint.Size {
		return nil, nil
	}
	p, err := tlog.ProveTree(l.Checkpoint.Size, old, l.hashes)
	if err != nil {
		return nil, fmt.Errorf("proving the log's growth from %d entries: %w", old, err)
	}
	return p, nil
}

// Root is the root of the log when it had that many entries.
func (l *Log) Root(size int64) (checkpoint.Hash, error) {
	if size < 0 || size > l.Checkpoint.Size {
		return checkpoint.Hash{}, fmt.Errorf("the log has %d entries, not %d", l.Checkpoint.Size, size)
	}
	h, err := tlog.TreeHash(size, l.hashes)
	if err != nil {
		return checkpoint.Hash{}, fmt.Errorf("computing the log's root at %d entries: %w", size, err)
	}
	return h, nil
}

// Inclusion proves that entry seq is in the log.
func (l *Log) Inclusion(seq int64) ([]checkpoint.Hash, error) {
	p, err := tlog.ProveRecord(l.Checkpoint.Size, seq, l.hashes)
	if err != nil {
		return nil, fmt.Errorf("proving entry %d: %w", seq, err)
	}
	return p, nil
}

// Each gives every entry in order, each proven by its tile of hashes. The bytes are only good until the next one. An error of f
// ends it.
func (l *Log) Each(f func(seq int64, body []byte) error) error {
	return eachTiles(l.files.fsys, l.Checkpoint.Size, func(*entryTile) {}, func(tiles []entryTile) error {
		if err := l.proven(tiles); err != nil {
			return err
		}
		for k := range tiles {
			t := &tiles[k]
			for i, body := range t.entries {
				if err := f(t.name.N*tilepath.Width+int64(i), body); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// proven holds tiles of entries against the hashes that the checkpoint signs: whole ones by the hash over each, many of which
// stand in one tile, and the last one, or one that is not what was signed, entry by entry.
func (l *Log) proven(tiles []entryTile) error {
	var whole []*entryTile
	var over []int64
	for k := range tiles {
		t := &tiles[k]
		if t.err != nil {
			return fmt.Errorf("reading %s: %w", t.name.Path(), t.err)
		}
		if t.over != nil {
			whole, over = append(whole, t), append(over, tlog.StoredHashIndex(tileHeight, t.name.N))
		} else if err := l.provenEntries(t); err != nil {
			return err
		}
	}
	want, err := l.hashes.ReadHashes(over)
	if err != nil {
		return fmt.Errorf("proving the entries from %s on: %w", tiles[0].name.Path(), err)
	}
	for i, t := range whole {
		if want[i] == *t.over {
			continue
		}
		if err := l.provenEntries(t); err != nil {
			return err
		}
		return fmt.Errorf("reading %s: its entries are not those that were signed", t.name.Path())
	}
	return nil
}

func (l *Log) provenEntries(t *entryTile) error {
	at := make([]int64, len(t.leaves))
	for i := range at {
		at[i] = tlog.StoredHashIndex(0, t.name.N*tilepath.Width+int64(i))
	}
	want, err := l.hashes.ReadHashes(at)
	if err != nil {
		return fmt.Errorf("reading %s: %w", t.name.Path(), err)
	}
	for i := range want {
		if want[i] != t.leaves[i] {
			return fmt.Errorf("reading %s: entry %d is not the one that was signed", t.name.Path(), t.name.N*tilepath.Width+int64(i))
		}
	}
	return nil
}

// Statement reads a bundled statement by its hash, encoded; nil when its words were deleted.
func (l *Log) Statement(hash [32]byte) ([]byte, error) { return l.optional(layout.Statement(hash)) }

// Register reads the officer register's statement i, encoded; nil after the last.
func (l *Log) Register(i int) ([]byte, error) { return l.optional(layout.Register(i)) }

func (l *Log) optional(path string) ([]byte, error) {
	b, err := l.files.read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// tiles are a bundle's tiles of hashes for golang.org/x/mod/sumdb/tlog, which names them otherwise and checks them.
type tiles struct{ files *files }

const tileHeight = 8

// Height implements tlog.TileReader.
func (tiles) Height() int { return tileHeight }

// SaveTiles implements tlog.TileReader: nothing is kept.
func (tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// ReadTiles implements tlog.TileReader. A bundle has a tile at the right edge in the width of its own size only.
func (t tiles) ReadTiles(want []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(want))
	for i, w := range want {
		if w.H != tileHeight {
			return nil, fmt.Errorf("tile of height %d", w.H)
		}
		var err error
		if out[i], err = t.files.read(layout.LogPrefix + tilepath.Tile{Level: w.L, N: w.N, Width: w.W}.Path()); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ReceiptHeads reads the signed heads of a lot's chains of receipts, as the vaults gave them. Verify checks what they sign.
func (l *Log) ReceiptHeads(lot perso.Name) (heads []entry.ReceiptHead, err error) {
	paths, err := fs.Glob(l.files.fsys, "receipts/*."+string(lot)+".receipts")
	if err != nil {
		return nil, fmt.Errorf("looking for the receipts of lot %q: %w", lot, err)
	}
	for _, path := range paths {
		vault, of, ok := layout.ParseReceipts(path)
		if !ok || of != lot {
			continue
		}
		b, err := l.files.read(layout.ReceiptHead(vault, lot))
		var h entry.ReceiptHead
		if err == nil {
			h, err = entry.ParseReceiptHead(b)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the head of %q: %w", path, err)
		}
		heads = append(heads, h)
	}
	return heads, nil
}
