package statement

import (
	"fmt"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/record"
)

// KindAssigned names the log vault's word which vault of a site makes a lot.
const KindAssigned = "lot-assigned"

// Assigned is the log vault's word, signed by the statement key, that one vault of the site makes a lot and no other ever
// will. The log vault gives it once per lot, after it has held the release against every lot of the site; the vault that
// is named opens the lot only with it.
type Assigned struct {
	Env     perso.Env
	Site    perso.Name
	Lot     perso.Name
	Release [32]byte // hash of the lot's release
	Vault   perso.Name
	Birth   [16]byte // of that vault: one of the same name whose state was made anew may not open the lot
	At      time.Time
}

// Encode gives the body to sign.
func (a Assigned) Encode() ([]byte, error) {
	return record.New(KindAssigned).Str("env", string(a.Env)).Str("site", string(a.Site)).Str("lot", string(a.Lot)).
		Hex("release", a.Release[:]).Str("vault", string(a.Vault)).Hex("birth", a.Birth[:]).Time("at", a.At).Bytes()
}

// ParseAssigned reads the body; it checks form, not the signature.
func ParseAssigned(body []byte) (Assigned, error) {
	r, err := record.Parse(body, KindAssigned)
	if err != nil {
		return Assigned{}, fmt.Errorf("parsing assignment of a lot: %w", err)
	}
	var a Assigned
	a.Env, err = perso.ParseEnv(r.Raw("env"))
	r.Check(err)
	a.Site = r.Name("site")
	a.Lot = r.Name("lot")
	a.Release = r.Hash("release")
	a.Vault = r.Name("vault")
	birth := r.Hex("birth")
	a.At = r.Time("at")
	if copy(a.Birth[:], birth) != len(a.Birth) || len(birth) != len(a.Birth) {
		r.Check(fmt.Errorf("birth of %d bytes, want %d", len(birth), len(a.Birth)))
	}
	if err := r.Done(); err != nil {
		return Assigned{}, fmt.Errorf("parsing assignment of a lot: %w", err)
	}
	return a, nil
}
