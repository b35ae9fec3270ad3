package keygen

import (
	"bytes"
	"crypto/sha256"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
)

// SeedInput is what the lot key is asked for a card's seed: for a test that looks for seeds.
func SeedInput(c entry.Claim) []byte {
	return kdfInput(labelSeed, seedContext(c.Lot, c.Unit, c.Gen, c.Chip))
}

// StateBody is what of a state everybody can read who has the session's keys: for a test that looks for secrets in it.
func StateBody(h binder, s perso.Session, claim [32]byte, sealed []byte) ([]byte, error) {
	key, err := newStateKey(h, s, claim)
	if err != nil {
		return nil, err
	}
	mac, body := sealed[:sha256.Size], bytes.Clone(sealed[sha256.Size:])
	key.crypt(mac, body)
	return body, nil
}
