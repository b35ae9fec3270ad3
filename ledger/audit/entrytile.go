package audit

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/ledger/internal/tree/tilepath"
	"github.com/persoline/persoline/perso/checkpoint"
)

// tilesAtOnce is how many tiles of entries are in memory together: 16,384 entries of about 400 bytes, and as many that are read
// meanwhile.
const tilesAtOnce = 64

// entryTile is one file of entries, with the leaf hash of each.
type entryTile struct {
	name    tilepath.Tile
	entries [][]byte
	leaves  []checkpoint.Hash
	over    *checkpoint.Hash // the root over the leaves of a whole tile
	parsed  []parsed
	err     error
}

// eachTiles gives the tiles of a log's entries in order, tilesAtOnce together. They are read, hashed and prepared side by side, while
// the ones before are looked at; a tile that could not be read has its error. An error of each ends it.
func eachTiles(fsys fs.FS, size int64, prepare func(*entryTile), each func([]entryTile) error) error {
	count := (size + tilepath.Width - 1) / tilepath.Width
	ahead := make(chan []entryTile, 1)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		defer close(ahead)
		for from := int64(0); from < count; from += tilesAtOnce {
			select {
			case ahead <- readEntries(fsys, from, min(count, from+tilesAtOnce), size, prepare):
			case <-stop:
				return
			}
		}
	}()
	for tiles := range ahead {
		if err := each(tiles); err != nil {
			return err
		}
	}
	return nil
}

// readEntries reads, hashes and prepares tiles [from, to) side by side.
func readEntries(fsys fs.FS, from, to, size int64, prepare func(*entryTile)) []entryTile {
	tiles := make([]entryTile, to-from)
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range tiles {
		n := from + int64(i)
		t := &tiles[i]
		t.name = tilepath.Tile{Level: tilepath.Entries, N: n, Width: int(min(size-n*tilepath.Width, tilepath.Width))}
		g.Go(func() error {
			f := files{fsys: fsys}
			data, err := f.read(layout.LogPrefix + t.name.Path())
			if t.err = err; err != nil {
				return nil
			}
			if t.hash(data); t.err == nil {
				prepare(t)
			}
			return nil
		})
	}
	_ = g.Wait() // the functions return no error
	return tiles
}

func (t *entryTile) hash(data []byte) {
	t.entries, t.err = splitEntries(data, t.name.Width)
	t.leaves = make([]checkpoint.Hash, len(t.entries))
	for i, body := range t.entries {
		t.leaves[i] = checkpoint.Leaf(body)
	}
	if t.err == nil && len(t.leaves) == tilepath.Width {
		over := subtree(t.leaves)
		t.over = &over
	}
}

// parse parses the entries that are wanted.
func (t *entryTile) parse(wanted func(body []byte) bool) {
	t.parsed = make([]parsed, len(t.entries))
	for i, body := range t.entries {
		if wanted(body) {
			t.parsed[i] = parseEntry(body)
		}
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
