package kifile

import (
	"testing"

	"github.com/persoline/persoline/perso"
)

// The root of rows as they come is that of the whole tree, for each number of rows.
func TestRootOf(t *testing.T) {
	t.Parallel()
	tree, r := new(Tree), new(RootOf)
	for u := range perso.Unit(70) {
		row := Row{EKI: make([]byte, 16), KCV: [KCVBytes]byte{byte(u)}}
		if err := tree.add(u, row); err != nil {
			t.Fatal(err)
		}
		r.Add(row)
		want, err := tree.Root()
		if err != nil || r.Root() != want || r.Rows() != uint64(u)+1 {
			t.Errorf("%d rows: %x, want %x, %v", u+1, r.Root(), want, err)
		}
	}
}
