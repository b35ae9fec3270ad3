package kifile

import (
	"golang.org/x/mod/sumdb/tlog"

	"github.com/persoline/persoline/perso"
)

// RootOf computes a file's root from its rows as they come, in the order of the units, with one hash for each height of the
// tree: as Tree.Root, for who has no room for a whole file.
type RootOf struct {
	rows uint64
	full []tlog.Hash // roots of full subtrees, the largest first, as the bits of rows say
}

// Add takes the next row.
func (r *RootOf) Add(row Row) {
	h := row.leaf(perso.Unit(r.rows))
	for n := r.rows; n&1 == 1; n >>= 1 {
		last := len(r.full) - 1
		h, r.full = tlog.NodeHash(r.full[last], h), r.full[:last]
	}
	r.full = append(r.full, h)
	r.rows++
}

// Rows is how many were taken.
func (r *RootOf) Rows() uint64 { return r.rows }

// Root is that of the rows so far; there must be one.
func (r *RootOf) Root() [32]byte {
	at := len(r.full) - 1
	h := r.full[at]
	for at--; at >= 0; at-- {
		h = tlog.NodeHash(r.full[at], h)
	}
	return h
}
