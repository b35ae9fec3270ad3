package scp02

import (
	"fmt"

	"github.com/persoline/persoline/perso/scp/tdes"
)

// Scheme is how a chip's Triple DES keys follow from its maker's master key and its key diversification data (KDD).
type Scheme string

// The schemes in use, by the bytes of the KDD that they take.
const (
	SchemeEMV   Scheme = "emv-cps" // 4 to 9
	SchemeVISA2 Scheme = "visa2"   // 0, 1, 4 to 7
	SchemeVISA  Scheme = "visa"    // 0 to 3, 8, 9
)

// ParseScheme reads the name of a scheme.
func ParseScheme(s string) (Scheme, error) {
	switch x := Scheme(s); x {
	case SchemeEMV, SchemeVISA2, SchemeVISA:
		return x, nil
	}
	return "", fmt.Errorf("reading diversification scheme %.20q: want %q, %q or %q", s, SchemeEMV, SchemeVISA2, SchemeVISA)
}

// ECBInputs gives the 48 bytes whose ECB encryption under the master is the card's ENC, MAC and DEK, so that one call
// inside an HSM gives the three: for key k = 1, 2, 3 the six bytes of the KDD, F0 k, the six bytes again, 0F k.
func (s Scheme) ECBInputs(kdd [10]byte) (in [48]byte, err error) {
	var six []byte
	switch s {
	case SchemeEMV:
		six = kdd[4:10]
	case SchemeVISA2:
		six = join(kdd[0:2], kdd[4:8])
	case SchemeVISA:
		six = join(kdd[0:4], kdd[8:10])
	default:
		return in, fmt.Errorf("diversifying by scheme %.20q: %w", string(s), ErrFormat)
	}
	for k := range byte(3) {
		copy(in[16*k:], join(six, []byte{0xF0, k + 1}, six, []byte{0x0F, k + 1}))
	}
	return in, nil
}

// Diversify is the whole in software, for tests and virtual chips. The master has 16 bytes.
func (s Scheme) Diversify(master []byte, kdd [10]byte) (StaticKeys, error) {
	in, err := s.ECBInputs(kdd)
	if err != nil {
		return StaticKeys{}, err
	}
	k, err := tdes.New(master)
	if err != nil {
		return StaticKeys{}, fmt.Errorf("diversifying by %s: %w", s, err)
	}
	out, err := k.ECB(in[:])
	if err != nil {
		return StaticKeys{}, fmt.Errorf("diversifying by %s: %w", s, err)
	}
	return StaticKeys{ENC: out[:16:16], MAC: out[16:32:32], DEK: out[32:]}, nil
}
