package audit

import (
	"math/rand/v2"
	"testing"
)

// TestIndexIsAMap: whatever is put, an index finds what a map finds, also when keys are put again and when the table grows.
func TestIndexIsAMap(t *testing.T) {
	t.Parallel()
	type row struct{ key uint16 }
	r := &rows[row]{}
	x, want := newIndex(r, func(v *row) uint16 { return v.key }), map[uint16]place{}
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 5 * rowsPerPage {
		k := uint16(random.IntN(4 * rowsPerPage))
		if got := x.find(k); got != want[k] {
			t.Fatalf("after %d: key %d is at %d, want %d", n, k, got, want[k])
		}
		at, added := r.add(row{k})
		if added != r.at(at) || at != place(n+1) {
			t.Fatalf("row %d is at %d", n, at)
		}
		x.put(k, at)
		want[k] = at
	}
	for k := range uint16(4 * rowsPerPage) {
		if got := x.row(k); got != r.get(want[k]) || got != nil && got.key != k || x.count != len(want) {
			t.Fatalf("key %d: %v, want that at %d; %d keys, want %d", k, got, want[k], x.count, len(want))
		}
	}
}

// TestIndexLooksBehindTags: a row whose key has the tag of another is not taken for it.
func TestIndexLooksBehindTags(t *testing.T) {
	t.Parallel()
	type row struct{ key uint64 }
	r := &rows[row]{}
	x := newIndex(r, func(v *row) uint64 { return v.key })
	one, _ := r.add(row{1})
	two, _ := r.add(row{2})
	x.slots[x.look(2)] = slot{x.tag(2), one} // as if both keys had this tag
	if got := x.find(2); got != 0 {
		t.Errorf("key 2 is found at %d, and was not put", got)
	}
	if x.put(2, two); x.find(2) != two {
		t.Errorf("key 2 is found at %d, want %d", x.find(2), two)
	}
}

// TestSpreadAndNumbers: numbers far apart and beside one another keep what is theirs.
func TestSpreadAndNumbers(t *testing.T) {
	t.Parallel()
	s, set, want := newSpread[int](), numberSet{}, map[uint64]int{}
	random := rand.New(rand.NewPCG(3, 4))
	near := []uint64{0, spreadPage - 1, spreadPage, 1 << 32, 1<<64 - 1}
	for i := range 3000 {
		n := near[random.IntN(len(near))] + uint64(random.IntN(500))
		if s.get(n) != want[n] || set.add(n) != (want[n] != 0) {
			t.Fatalf("%d: %d, want %d", n, s.get(n), want[n])
		}
		*s.at(n), want[n] = i+1, i+1
	}
	last, some := uint64(0), 0
	for n, v := range s.all() {
		if v != want[n] || n < last {
			t.Fatalf("%d after %d: %d, want %d", n, last, v, want[n])
		}
		if last = n; v != 0 {
			some++
		}
	}
	if some != len(want) {
		t.Errorf("%d numbers, want %d", some, len(want))
	}
}
