package audit

import "hash/maphash"

// index finds rows by a key that stands in them: an open hash table of places, where a map would keep every key a second time.
// Its seed is its own, so that nobody can write a log whose keys all fall on one slot.
type index[K comparable, T any] struct {
	rows  *rows[T]
	key   func(*T) K
	seed  maphash.Seed
	slots []slot // a power of two, at least a third of them empty
	count int
}

// slot is a row that is found from here on. The tag is of its key's hash: it is compared before the row is looked at, and says
// where the row goes when the table grows.
type slot struct {
	tag uint32
	at  place
}

const firstSlots = 64

func newIndex[K comparable, T any](r *rows[T], key func(*T) K) index[K, T] {
	return index[K, T]{rows: r, key: key, seed: maphash.MakeSeed(), slots: make([]slot, firstSlots)}
}

// find is the place of the row with a key; nowhere if there is none.
func (x *index[K, T]) find(k K) place { return x.slots[x.look(k)].at }

// row is the row with a key; nil if there is none.
func (x *index[K, T]) row(k K) *T { return x.rows.get(x.find(k)) }

// put has a key found at a place from now on.
func (x *index[K, T]) put(k K, at place) {
	i := x.look(k)
	if x.slots[i].at == 0 {
		if x.count++; 3*x.count > 2*len(x.slots) {
			x.grow()
			i = x.look(k)
		}
	}
	x.slots[i] = slot{x.tag(k), at}
}

func (x *index[K, T]) tag(k K) uint32 { return uint32(maphash.Comparable(x.seed, k)) }

// look is the slot of a key, or the empty one where it belongs.
func (x *index[K, T]) look(k K) uint32 {
	tag, last := x.tag(k), uint32(len(x.slots)-1)
	for i := tag & last; ; i = (i + 1) & last {
		if s := x.slots[i]; s.at == 0 || s.tag == tag && x.key(x.rows.at(s.at)) == k {
			return i
		}
	}
}

// grow doubles the table.
func (x *index[K, T]) grow() {
	old := x.slots
	x.slots = make([]slot, 2*len(old))
	last := uint32(len(x.slots) - 1)
	for _, s := range old {
		if s.at == 0 {
			continue
		}
		i := s.tag & last
		for x.slots[i].at != 0 {
			i = (i + 1) & last
		}
		x.slots[i] = s
	}
}
