package statement

import "testing"

// TestWordsTellRowsApart: order, length and each member count.
func TestWordsTellRowsApart(t *testing.T) {
	t.Parallel()
	row := func(hashes ...byte) (w Words) {
		for _, h := range hashes {
			w = w.And([32]byte{h})
		}
		return w
	}
	seen := map[[32]byte]bool{}
	for i, w := range []Words{row(), row(1), row(2), row(1, 2), row(2, 1), row(1, 1), row(1, 2, 3)} {
		if seen[w.Chain] {
			t.Errorf("row %d has the chain of another", i)
		}
		seen[w.Chain] = true
	}
	if w := row(1).And([32]byte{2}); w != row(1, 2) || w.Count != 2 {
		t.Error("a row has no one name")
	}
}
