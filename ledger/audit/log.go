package audit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/ledger/internal/tree/tilepath"
	"github.com/persoline/persoline/perso/checkpoint"
)

// tilesAtOnce is how many tiles of entries are in memory together: 16,384 entries of about 400 bytes.
const tilesAtOnce = 64

// checkLog verifies the checkpoint, computes tiles and root again from the entries, and replays the entries.
func (a *auditor) checkLog() {
	note, err := a.files.read(layout.Checkpoint)
	if err != nil {
		a.find(layout.Checkpoint, "I5", "%v", err)
		return
	}
	c, err := checkpoint.Open(note, a.genesis.Origin, a.opt.LogKey)
	if err != nil {
		a.find(layout.Checkpoint, "I5", "%v", err)
		return
	}
	a.report.Size, a.report.Root = c.Size, c.Root
	a.readHeld(c)
	a.checkWitnesses(c)
	var tree merkle
	count := (c.Size + tilepath.Width - 1) / tilepath.Width
	for from := int64(0); from < count; from += tilesAtOnce {
		for i, t := range a.readEntries(from, min(count, from+tilesAtOnce), c.Size) {
			if t.err != nil {
				a.find(layout.LogPrefix+t.name.Path(), "I5", "%v", t.err)
				return
			}
			for j, body := range t.entries {
				seq := (from+int64(i))*tilepath.Width + int64(j)
				tree.add(t.leaves[j], a.compareTile)
				a.compareHeld(seq+1, tree.root)
				a.replay(seq, body)
			}
		}
	}
	tree.rest(a.compareTile)
	if root := tree.root(); root != c.Root {
		a.find(layout.Checkpoint, "I5", "root of the entries is %x, signed is %x", root, c.Root)
	}
}

// entryTile is one file of entries, with the leaf hash of each.
type entryTile struct {
	name    tilepath.Tile
	entries [][]byte
	leaves  []checkpoint.Hash
	err     error
}

// readEntries reads and hashes tiles [from, to) side by side.
func (a *auditor) readEntries(from, to, size int64) []entryTile {
	tiles := make([]entryTile, to-from)
	data := make([][]byte, len(tiles))
	for i := range tiles {
		n := from + int64(i)
		tiles[i].name = tilepath.Tile{Level: tilepath.Entries, N: n, Width: int(min(size-n*tilepath.Width, tilepath.Width))}
		data[i], tiles[i].err = a.files.read(layout.LogPrefix + tiles[i].name.Path())
	}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range tiles {
		g.Go(func() error {
			if t := &tiles[i]; t.err == nil {
				t.hash(data[i])
			}
			return nil
		})
	}
	_ = g.Wait() // the functions return no error
	return tiles
}

func (t *entryTile) hash(data []byte) {
	t.entries, t.err = splitEntries(data, t.name.Width)
	for _, body := range t.entries {
		t.leaves = append(t.leaves, checkpoint.Leaf(body))
	}
}

// splitEntries takes a tile of entries apart: each after its length in two bytes, big-endian.
func splitEntries(data []byte, width int) ([][]byte, error) {
	entries := make([][]byte, 0, width)
	for len(data) > 0 {
		if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
			return nil, errors.New("an entry is cut off")
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		entries, data = append(entries, data[2:end]), data[end:]
	}
	if len(entries) != width {
		return nil, errors.New("tile has not the number of entries that its name says")
	}
	return entries, nil
}

// compareTile holds a tile of hashes against its file.
func (a *auditor) compareTile(t tilepath.Tile, hashes []checkpoint.Hash) {
	path := layout.LogPrefix + t.Path()
	var want []byte
	for _, h := range hashes {
		want = append(want, h[:]...)
	}
	got, err := a.files.read(path)
	if err != nil {
		a.find(path, "I5", "%v", err)
	} else if !bytes.Equal(got, want) {
		a.find(path, "I5", "it does not follow from the entries")
	}
}
