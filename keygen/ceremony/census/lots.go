package census

import (
	"fmt"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso"
)

// Remembered is what a vault remembers of its lots; *journal.Memory is it.
type Remembered interface {
	Recall() (keygen.Recollection, error)
	Assigned() (map[perso.Name]keygen.Assignment, error)
	Destroyed(lot perso.Name) (g keygen.Grave, found bool, err error)
}

// LotsOf reads which lots a vault made, or gave to another vault on the same token, and whose keys it destroyed. Of the others'
// it does not know that.
func LotsOf(m Remembered) (Lots, error) {
	known, err := m.Recall()
	if err != nil {
		return nil, fmt.Errorf("reading which lots the vault made: %w", err)
	}
	given, err := m.Assigned()
	if err != nil {
		return nil, fmt.Errorf("reading which lots the vault gave away: %w", err)
	}
	lots := Lots{}
	for lot := range given {
		lots[lot] = false
	}
	for lot := range known.Lots {
		if _, lots[lot], err = m.Destroyed(lot); err != nil {
			return nil, fmt.Errorf("reading which lots the vault made: %w", err)
		}
	}
	return lots, nil
}
