package census

import (
	"fmt"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso"
)

// Remembered is what a vault remembers of its lots; *journal.Memory is it.
type Remembered interface {
	Recall() (keygen.Recollection, error)
	Destroyed(lot perso.Name) (g keygen.Grave, found bool, err error)
}

// LotsOf reads which lots a vault made, and whose keys it destroyed.
func LotsOf(m Remembered) (Lots, error) {
	known, err := m.Recall()
	if err != nil {
		return nil, fmt.Errorf("reading which lots the vault made: %w", err)
	}
	lots := Lots{}
	for lot := range known.Lots {
		if _, lots[lot], err = m.Destroyed(lot); err != nil {
			return nil, fmt.Errorf("reading which lots the vault made: %w", err)
		}
	}
	return lots, nil
}
