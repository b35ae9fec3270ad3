package audit

import "iter"

// What the replay keeps by the million (claims, sessions, acts, contacts) lies in tables without pointers: rows in the order in
// which they came (this file), found by a key that stands in them (index.go) or by a number that counts on (spread.go). Nothing in
// them needs to be looked into when memory is tidied up, nothing is copied when they grow, and neighbours in the log are
// neighbours in memory.

// place is where a row lies among its like, counted from 1; 0 is nowhere. A bundle has far fewer entries than places
// (layout.MaxFiles tiles of 256).
type place uint32

// rowsPerPage is how many rows are made room for at once.
const rowsPerPage = 1 << 10

// rows are the claims, sessions or acts of the log, in its order. They never move, so a pointer to one stays good.
type rows[T any] struct {
	pages []*[rowsPerPage]T
	count place
}

// add puts a row behind the others.
func (r *rows[T]) add(v T) (place, *T) {
	if int(r.count) == rowsPerPage*len(r.pages) {
		r.pages = append(r.pages, new([rowsPerPage]T))
	}
	r.count++
	row := r.at(r.count)
	*row = v
	return r.count, row
}

// at is the row at a place that add gave.
func (r *rows[T]) at(p place) *T { return &r.pages[(p-1)/rowsPerPage][(p-1)%rowsPerPage] }

// get is the row at a place, nil for nowhere.
func (r *rows[T]) get(p place) *T {
	if p == 0 {
		return nil
	}
	return r.at(p)
}

// all gives every row, in order.
func (r *rows[T]) all() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for p := place(1); p <= r.count; p++ {
			if !yield(r.at(p)) {
				return
			}
		}
	}
}
