package audit

import (
	"iter"
	"maps"
	"slices"
)

// spreadPage is how many neighbours a spread keeps together: few, since a log may name any number it likes.
const spreadPage = 64

// spread keeps something for numbers that mostly follow one another, such as units. What was never written is zero.
type spread[T any] struct{ pages map[uint64]*[spreadPage]T }

func newSpread[T any]() spread[T] { return spread[T]{map[uint64]*[spreadPage]T{}} }

// at is where a number's value is written.
func (s spread[T]) at(n uint64) *T {
	page := s.pages[n/spreadPage]
	if page == nil {
		page = new([spreadPage]T)
		s.pages[n/spreadPage] = page
	}
	return &page[n%spreadPage]
}

// get is a number's value.
func (s spread[T]) get(n uint64) (v T) {
	if page := s.pages[n/spreadPage]; page != nil {
		v = page[n%spreadPage]
	}
	return v
}

// all gives what was written, and zeros beside it, by number.
func (s spread[T]) all() iter.Seq2[uint64, T] {
	return func(yield func(uint64, T) bool) {
		for _, n := range slices.Sorted(maps.Keys(s.pages)) {
			for i, v := range s.pages[n] {
				if !yield(n*spreadPage+uint64(i), v) {
					return
				}
			}
		}
	}
}

// numberSet is a set of numbers that mostly follow one another: a bit for each.
type numberSet map[uint64]uint64

// add puts a number in, and says whether it was there.
func (s numberSet) add(n uint64) (before bool) {
	const wordBits = 64
	word, bit := s[n/wordBits], uint64(1)<<(n%wordBits)
	s[n/wordBits] = word | bit
	return word&bit != 0
}
