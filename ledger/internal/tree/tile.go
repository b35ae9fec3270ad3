package tree

import (
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/persoline/persoline/ledger/internal/tree/tilepath"
)

// height of a tile in levels of the tree, and its width in hashes (C2SP tlog-tiles).
const (
	height    = 8
	width     = tilepath.Width
	tileBytes = width * tlog.HashSize
)

// tile is one tile with all nodes of its subtree, in tlog's storage order: node k of height h lies at
// tlog.StoredHashIndex(h, k). The order only grows at its end, and a full tile's last node is its root.
type tile struct {
	nodes  []tlog.Hash
	leaves int
}

// fullNodes is 256 + 128 + … + 1.
const fullNodes = 2*width - 1

// clone gives a tile that can grow without touching t; at 16 KiB this costs less than one hash chain.
func (t *tile) clone() *tile {
	c := &tile{nodes: make([]tlog.Hash, len(t.nodes), fullNodes), leaves: t.leaves}
	copy(c.nodes, t.nodes)
	return c
}

// add appends a leaf and every node that it completes.
func (t *tile) add(h tlog.Hash) {
	t.nodes = append(t.nodes, h)
	n := t.leaves
	for up := range bits.TrailingZeros(^uint(n)) { // each trailing 1 bit of n completes one node
		h = tlog.NodeHash(t.node(up, int64(n>>up)-1), h)
		t.nodes = append(t.nodes, h)
	}
	t.leaves++
}

func (t *tile) full() bool { return t.leaves == width }

// root is the hash of a full tile.
func (t *tile) root() tlog.Hash { return t.nodes[fullNodes-1] }

func (t *tile) node(up int, n int64) tlog.Hash { return t.nodes[tlog.StoredHashIndex(up, n)] }

// data is the first w leaves as a tile file holds them.
func (t *tile) data(w int) []byte {
	out := make([]byte, 0, w*tlog.HashSize)
	for i := range int64(w) {
		h := t.node(0, i)
		out = append(out, h[:]...)
	}
	return out
}

// readTile rebuilds a full tile from its stored bytes.
func readTile(data []byte) (*tile, error) {
	if len(data) != tileBytes {
		return nil, fmt.Errorf("stored tile has %d bytes, want %d", len(data), tileBytes)
	}
	t := &tile{nodes: make([]tlog.Hash, 0, fullNodes)}
	for h := range slices.Chunk(data, tlog.HashSize) {
		t.add(tlog.Hash(h))
	}
	return t, nil
}

// row is the right edge of one level: its partial tile, and the last full ones, which proofs of recent entries need.
type row struct {
	edge   *tile   // number next, holds 0 to 255 leaves
	next   int64   // how many full tiles there are
	recent []*tile // the full tiles before next, at most keptTiles, newest last
}

// keptTiles covers the entries of the last 1,024 to 1,279 numbers: a unit's acts come back for their proofs within a few
// batches of 256.
const keptTiles = 4

// at gives a tile from memory, or nil.
func (r *row) at(n int64) *tile {
	if n == r.next {
		return r.edge
	}
	if i := int64(len(r.recent)) - (r.next - n); i >= 0 && n < r.next {
		return r.recent[i]
	}
	return nil
}

// push moves the full edge to the recent tiles. The slice is made anew, since older Logs share the old one.
func (r *row) push() *tile {
	done := r.edge
	keep := r.recent
	if len(keep) == keptTiles {
		keep = keep[1:]
	}
	r.recent = append(slices.Clone(keep), done)
	r.edge, r.next = &tile{nodes: make([]tlog.Hash, 0, fullNodes)}, r.next+1
	return done
}
