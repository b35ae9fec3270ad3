package statement

import "crypto/sha256"

// Words names a row of statements about the site, as each vault hears it: how many they are, and a hash that no other row has. The zero
// value is the empty row.
type Words struct {
	Count uint64
	Chain [32]byte // SHA-256 over what was before and the statement's own hash; zero of none
}

// labelWords keeps the chain apart from any other hash of two hashes.
const labelWords = "persoline/1 words"

// And is the row with one more at its end: the statement with this hash.
func (w Words) And(hash [32]byte) Words {
	h := sha256.New()
	h.Write([]byte(labelWords))
	h.Write(w.Chain[:])
	h.Write(hash[:])
	return Words{Count: w.Count + 1, Chain: [32]byte(h.Sum(nil))}
}
