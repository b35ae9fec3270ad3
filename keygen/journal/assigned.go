package journal

import (
	"errors"
	"path/filepath"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/record"
)

const (
	kindAssigned   = "vault-assigned"
	folderAssigned = "assigned"
)

// Assigned reads the lots that this vault, as the log vault of its site, gave to the vaults of the site.
func (m *Memory) Assigned() (map[perso.Name]keygen.Assignment, error) {
	return readLots(m, folderAssigned, kindAssigned, func(r *record.Reader) (a keygen.Assignment) {
		a.Issued = readIssued(r)
		vault := r.Name("vault")
		a.Vault = vault
		birth := r.Hex("birth")
		if copy(a.Birth[:], birth); len(birth) != len(a.Birth) {
			r.Check(errors.New("a birth of another length"))
		}
		a.At = r.Time("at")
		return a
	})
}

// RememberAssigned adds one.
func (m *Memory) RememberAssigned(lot perso.Name, a keygen.Assignment) error {
	w := issuedRecord(kindAssigned, lot, a.Issued).Str("vault", string(a.Vault)).Hex("birth", a.Birth[:]).Time("at", a.At)
	return m.put(filepath.Join(folderAssigned, string(lot)), w)
}
