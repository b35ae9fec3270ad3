package audit

import (
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/persoline/persoline/ledger/internal/tree/tilepath"
	"github.com/persoline/persoline/perso/checkpoint"
)

// merkle computes a log's tiles and root from its leaves (RFC 6962, section 2.1), keeping one unfinished tile per level.
type merkle struct {
	levels []tileRow
	over   *checkpoint.Hash // of the tile of leaves that is being added, if its root is known already
}

type tileRow struct {
	next   int64             // number of the unfinished tile
	hashes []checkpoint.Hash // what it holds, fewer than 256
}

// add takes the next leaf. full is told each tile that it completes.
func (m *merkle) add(h checkpoint.Hash, full func(tilepath.Tile, []checkpoint.Hash)) {
	for level := 0; ; level++ {
		if level == len(m.levels) {
			m.levels = append(m.levels, tileRow{})
		}
		row := &m.levels[level]
		row.hashes = append(row.hashes, h)
		if len(row.hashes) < tilepath.Width {
			return
		}
		full(tilepath.Tile{Level: level, N: row.next, Width: tilepath.Width}, row.hashes)
		if level == 0 && m.over != nil {
			h, m.over = *m.over, nil
		} else {
			h = subtree(row.hashes)
		}
		row.next, row.hashes = row.next+1, row.hashes[:0]
	}
}

// rest tells the unfinished tiles.
func (m *merkle) rest(partial func(tilepath.Tile, []checkpoint.Hash)) {
	for level, row := range m.levels {
		if len(row.hashes) > 0 {
			partial(tilepath.Tile{Level: level, N: row.next, Width: len(row.hashes)}, row.hashes)
		}
	}
}

// root folds the perfect subtrees, which shrink from left to right, from the right.
func (m *merkle) root() checkpoint.Hash {
	var peaks []checkpoint.Hash
	for level := len(m.levels) - 1; level >= 0; level-- {
		for rest := m.levels[level].hashes; len(rest) > 0; {
			n := 1 << (bits.Len(uint(len(rest))) - 1)
			peaks, rest = append(peaks, subtree(rest[:n])), rest[n:]
		}
	}
	if len(peaks) == 0 {
		return checkpoint.EmptyRoot()
	}
	root := peaks[len(peaks)-1]
	for i := len(peaks) - 2; i >= 0; i-- {
		root = tlog.NodeHash(peaks[i], root)
	}
	return root
}

// subtree is the root over 1, 2, 4 … 256 hashes.
func subtree(hashes []checkpoint.Hash) checkpoint.Hash {
	if len(hashes) == 1 {
		return hashes[0]
	}
	half := len(hashes) / 2
	return tlog.NodeHash(subtree(hashes[:half]), subtree(hashes[half:]))
}
