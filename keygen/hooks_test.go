package keygen

import "github.com/persoline/persoline/perso/entry"

// SeedInput is what the lot key is asked for a card's seed: for a test that looks for seeds.
func SeedInput(c entry.Claim) []byte {
	return kdfInput(labelSeed, seedContext(c.Lot, c.Unit, c.Gen, c.Chip))
}
