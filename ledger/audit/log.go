package audit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/ledger/internal/tree/tilepath"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/record"
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
	ok := a.eachTile(c.Size, func(t *entryTile) {
		for j := range t.entries {
			seq := t.name.N*tilepath.Width + int64(j)
			tree.add(t.leaves[j], a.compareTile)
			a.compareHeld(seq+1, tree.root)
			p := &t.parsed[j]
			switch {
			case !a.opt.Unjudged:
				a.replay(seq, *p)
				a.reached(seq+1, tree.root)
			case p.err != nil:
				a.find(logPlace(seq, p.kind), "I5", "%v", p.err)
			}
			if a.opt.Watch != nil && p.err == nil && p.entry != nil {
				a.opt.Watch(seq, p.at, p.entry)
			}
		}
	})
	if !ok {
		return
	}
	tree.rest(a.compareTile)
	if root := tree.root(); root != c.Root {
		a.find(layout.Checkpoint, "I5", "root of the entries is %x, signed is %x", root, c.Root)
	}
}

// eachTile gives every tile of entries in order. The next ones are read while these are looked at. It stops at one that can't be
// read, which is a finding.
func (a *auditor) eachTile(size int64, each func(*entryTile)) (whole bool) {
	count := (size + tilepath.Width - 1) / tilepath.Width
	ahead := make(chan []entryTile, 1)
	stop := make(chan struct{})
	defer close(stop)
	fsys := a.files.fsys
	go func() {
		defer close(ahead)
		for from := int64(0); from < count; from += tilesAtOnce {
			select {
			case ahead <- a.readEntries(fsys, from, min(count, from+tilesAtOnce), size):
			case <-stop:
				return
			}
		}
	}()
	for tiles := range ahead {
		for i := range tiles {
			t := &tiles[i]
			path := layout.LogPrefix + t.name.Path()
			a.files.used[path] = true
			if t.err != nil {
				a.find(path, "I5", "%v", t.err)
				return false
			}
			each(t)
		}
	}
	return true
}

// entryTile is one file of entries, with the leaf hash of each.
type entryTile struct {
	name    tilepath.Tile
	entries [][]byte
	leaves  []checkpoint.Hash
	parsed  []parsed
	err     error
}

// readEntries reads, hashes and parses tiles [from, to) side by side.
func (a *auditor) readEntries(fsys fs.FS, from, to, size int64) []entryTile {
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
			if err != nil {
				t.err = err
				return nil
			}
			t.hash(data)
			t.parsed = make([]parsed, len(t.entries))
			for i, body := range t.entries {
				if !a.opt.Unjudged || a.wants(body) {
					t.parsed[i] = parseEntry(body)
				}
			}
			return nil
		})
	}
	_ = g.Wait() // the functions return no error
	return tiles
}

// wants asks whether somebody watches for an entry.
func (a *auditor) wants(body []byte) bool {
	if a.opt.Watch == nil {
		return false
	}
	kind, err := record.Kind(body)
	return err == nil && (a.opt.Wants == nil || a.opt.Wants(kind, body))
}

func (t *entryTile) hash(data []byte) {
	t.entries, t.err = splitEntries(data, t.name.Width)
	t.leaves = make([]checkpoint.Hash, len(t.entries))
	for i, body := range t.entries {
		t.leaves[i] = checkpoint.Leaf(body)
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
