package carddata

import (
	"fmt"
)

// Place is a key that a card has because its profile package has a place for it.
type Place struct {
	Name     string // of the place in the package (perso/saip/PROFILES.md), for example "sd.02.01"
	Domain   int    // of a security domain's key, from 1; 0 for what is no such key
	KVN, KID byte
	DES      bool // the place is of a DES key
}

// label of a place: that of the key set it belongs to, as any other script would have it, or one of its own.
func (p Place) label(length int) (string, Algorithm) {
	a := map[int]Algorithm{16: AES128, 24: AES192, 32: AES256}[length]
	if p.DES {
		a = map[int]Algorithm{16: TDES2, 24: TDES3}[length]
	}
	for _, protocol := range []Protocol{SCP80, SCP02, SCP03} {
		n := SetName{Protocol: protocol, KVN: p.KVN, Algorithm: a}
		if roles := protocol.rule().roles; p.Domain == 1 && p.KID >= 1 && int(p.KID) <= len(roles) && n.Valid() == nil {
			return n.Label(roles[p.KID-1]), a
		}
	}
	return fmt.Sprintf("PLACE.%s.%d", p.Name, length), a
}

// DerivePlace fills a place from the card's seed: a key of a known kind as DeriveSet makes it, anything else as the first bytes of its
// stream that are not all equal.
func DerivePlace(x *Expander, p Place, to []byte) error {
	label, a := p.label(len(to))
	if a != "" {
		key, err := deriveKey(x, label, a)
		if err != nil {
			return err
		}
		copy(to, key)
		clear(key)
		return nil
	}
	stream := x.Stream(label, candidates*len(to))
	defer stream.Wipe()
	for stream.Fill(to) {
		for _, b := range to[1:] {
			if b != to[0] {
				return nil
			}
		}
	}
	clear(to)
	return fmt.Errorf("deriving %s: %w", label, ErrWeak)
}
