package order

import (
	"regexp"

	"github.com/persoline/persoline/perso/order/form"
)

// OID is an object identifier in dotted form, as SGP.02 names its roles.
type OID string

// MaxOIDChars is more than any identifier in use needs.
const MaxOIDChars = 100

var oidForm = regexp.MustCompile(`^([01]\.(0|[1-9]|[1-3][0-9])|2\.(0|[1-9][0-9]{0,8}))(\.(0|[1-9][0-9]{0,17}))*$`)

// ParseOID reads at least two arcs without leading zeros: 0.0 to 0.39, 1.0 to 1.39, or 2.n, and what follows.
func ParseOID(s string) (OID, error) {
	if len(s) > MaxOIDChars || !oidForm.MatchString(s) {
		return "", form.Refuse("for example 2.999.1", "%.60q is not an object identifier in dotted form", s)
	}
	return OID(s), nil
}
