// Package suci is the home network's public key on the card: what a terminal or USIM needs to conceal a subscription's
// identity (SUCI) in 5G, as the content of EF_SUCI_Calc_Info.
//
// It exists because the key is a constant of the whole lot, given by the operator as text or PEM: a wrong byte makes every
// card of the lot invisible to its network, and a weak one makes every subscriber visible to everybody. So a key is
// parsed, checked as a point, and released as bytes.
//
// Contract. A Key came through Parse or ParsePEM and is usable; Info came through NewInfo or Decode and has one encoding.
// Everything here is public data. Parsers take any bytes and never panic. Order intake, the vault and tests may call it;
// it imports the standard library and perso/tlv.
//
// Specifications: 3GPP TS 33.501 Annex C (profiles), TS 31.102 §4.4.11.8 (EF_SUCI_Calc_Info), RFC 7748 (X25519), SEC 1
// §2.3.3 (compressed point).
package suci

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/persoline/persoline/perso/tlv"
)

const (
	// MaxKeys bounds the keys of one card. Operators use one for each profile, and two of each while they change.
	MaxKeys = 8
	// MaxPEMBytes bounds a key file.
	MaxPEMBytes = 4096

	x25519Bytes, p256Bytes = 32, 33

	tagSchemes, tagKeys, tagKeyID, tagKey = 0xA0, 0xA1, 0x80, 0x81
)

var (
	// ErrKey says that a home network public key cannot be used.
	ErrKey = errors.New("unusable home network public key")
	// ErrInfo says that bytes are no EF_SUCI_Calc_Info of this package, or that schemes and keys do not fit.
	ErrInfo = errors.New("unusable SUCI calculation information")
)

// Profile is the protection scheme (TS 33.501 Annex C.3.4), with its identifier.
type Profile byte

// The schemes.
const (
	Null     Profile = 0 // no protection
	ProfileA Profile = 1 // ECIES with X25519
	ProfileB Profile = 2 // ECIES with P-256
)

// String is "null", "A" or "B".
func (p Profile) String() string {
	switch p {
	case Null:
		return "null"
	case ProfileA:
		return "A"
	case ProfileB:
		return "B"
	}
	return fmt.Sprintf("unknown scheme %d", byte(p))
}

// Key is a home network public key. Parse it; the zero value is none.
type Key struct {
	profile Profile
	id      byte
	point   []byte
}

// Profile is A or B.
func (k Key) Profile() Profile { return k.profile }

// ID is the home network public key identifier, 0 to 255, which tells the network which private key to take.
func (k Key) ID() byte { return k.id }

// Bytes is a copy of the key as it stands on the card: 32 bytes of profile A, 33 of profile B.
func (k Key) Bytes() []byte { return bytes.Clone(k.point) }

// String is the spelling that Parse reads.
func (k Key) String() string { return fmt.Sprintf("%s:%d:%X", k.profile, k.id, k.point) }

// Parse reads "<profile>:<identifier>:<key>", for example A:30:5A8D… : profile A or B, identifier 0 to 255, and the key
// in hexadecimal capitals.
func Parse(s string) (Key, error) {
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return Key{}, fmt.Errorf("reading %.80q, want <profile>:<identifier>:<hexadecimal key>: %w", s, ErrKey)
	}
	id, err := strconv.ParseUint(parts[1], 10, 8)
	if err != nil {
		return Key{}, fmt.Errorf("reading identifier %.10q, from 0 to 255: %w", parts[1], ErrKey)
	}
	point, err := hex.DecodeString(parts[2])
	if err != nil {
		return Key{}, fmt.Errorf("reading key %d: it is not hexadecimal: %w", id, ErrKey)
	}
	k, err := newKey(map[string]Profile{"A": ProfileA, "B": ProfileB}[parts[0]], byte(id), point)
	if err != nil {
		return Key{}, err
	}
	if k.String() != s {
		return Key{}, fmt.Errorf("reading key %d, which is spelt %q: %w", id, k, ErrKey)
	}
	return k, nil
}

// ParsePEM reads a PEM block PUBLIC KEY of X25519 (profile A) or P-256 (profile B), as key generators write it.
func ParsePEM(id byte, file []byte) (Key, error) {
	block, rest := pem.Decode(bytes.TrimSpace(file))
	if len(file) > MaxPEMBytes || block == nil || block.Type != "PUBLIC KEY" || len(rest) > 0 {
		return Key{}, fmt.Errorf("reading key %d: the file is not one PEM block PUBLIC KEY: %w", id, ErrKey)
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return Key{}, fmt.Errorf("reading key %d: the file is not a public key: %w", id, ErrKey)
	}
	switch public := public.(type) {
	case *ecdh.PublicKey:
		if public.Curve() == ecdh.X25519() {
			return newKey(ProfileA, id, public.Bytes())
		}
	case *ecdsa.PublicKey:
		if public.Curve == elliptic.P256() {
			whole, err := public.Bytes() // 04 ‖ x ‖ y
			if err != nil {
				return Key{}, fmt.Errorf("reading key %d: %w", id, ErrKey)
			}
			return newKey(ProfileB, id, append([]byte{2 + whole[len(whole)-1]&1}, whole[1:p256Bytes]...))
		}
	}
	return Key{}, fmt.Errorf("reading key %d: neither X25519 nor P-256: %w", id, ErrKey)
}

func newKey(p Profile, id byte, point []byte) (Key, error) {
	var err error
	switch p {
	case ProfileA:
		err = checkX25519(point)
	case ProfileB:
		err = checkP256(point)
	default:
		err = errors.New("the profile is neither A nor B")
	}
	if err != nil {
		return Key{}, fmt.Errorf("checking key %d: %w: %w", id, err, ErrKey)
	}
	return Key{profile: p, id: id, point: bytes.Clone(point)}, nil
}

// checkX25519 refuses a value from p = 2^255 - 19 on, which is a second spelling of another, and a point of small order:
// with it every shared secret is the same, and known.
func checkX25519(point []byte) error {
	if len(point) != x25519Bytes {
		return fmt.Errorf("it has %d bytes, X25519 has %d", len(point), x25519Bytes)
	}
	prime := bytes.Repeat([]byte{0xFF}, x25519Bytes) // little-endian
	prime[0], prime[31] = 0xED, 0x7F
	for i := x25519Bytes - 1; i >= 0; i-- {
		if point[i] < prime[i] {
			break
		}
		if point[i] > prime[i] || i == 0 {
			return errors.New("it is not reduced modulo 2^255 - 19")
		}
	}
	public, err := ecdh.X25519().NewPublicKey(point)
	if err != nil {
		return errors.New("it is no X25519 key")
	}
	probe, err := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{0x5A}, x25519Bytes))
	if err != nil {
		return fmt.Errorf("making a key to try it with: %w", err)
	}
	if _, err := probe.ECDH(public); err != nil {
		return errors.New("it is a point of small order")
	}
	return nil
}

func checkP256(point []byte) error {
	if len(point) != p256Bytes {
		return fmt.Errorf("it has %d bytes, a compressed point of P-256 has %d", len(point), p256Bytes)
	}
	if x, _ := elliptic.UnmarshalCompressed(elliptic.P256(), point); x == nil {
		return errors.New("it is no compressed point of P-256")
	}
	return nil
}

// Scheme is one entry of the protection scheme list; the first is preferred.
type Scheme struct {
	Profile Profile
	// KeyIndex is the place, from 1, of its key in the key list; 0 for the null scheme.
	KeyIndex byte
}

// Info is the content of EF_SUCI_Calc_Info.
type Info struct {
	schemes []Scheme
	keys    []Key
}

// NewInfo makes the content of keys in the order of preference, each with its own scheme; with null, a terminal may send
// the identity in clear when nothing else works, so an operator asks for it or does not get it.
func NewInfo(keys []Key, null bool) (Info, error) {
	i := Info{keys: slices.Clone(keys)}
	for n, k := range keys {
		i.schemes = append(i.schemes, Scheme{Profile: k.profile, KeyIndex: byte(n + 1)})
	}
	if null {
		i.schemes = append(i.schemes, Scheme{})
	}
	if err := i.check(); err != nil {
		return Info{}, err
	}
	return i, nil
}

func (i Info) check() error {
	if len(i.keys) > MaxKeys || len(i.schemes) == 0 || len(i.schemes) > MaxKeys+1 {
		return fmt.Errorf("checking %d schemes and %d keys, at most %d keys: %w", len(i.schemes), len(i.keys), MaxKeys, ErrInfo)
	}
	used := map[byte]bool{}
	for n, s := range i.schemes {
		switch {
		case slices.Contains(i.schemes[:n], s):
			return fmt.Errorf("checking scheme %d: it comes twice: %w", n+1, ErrInfo)
		case s.Profile == Null && s.KeyIndex == 0:
		case s.Profile == Null || s.KeyIndex == 0 || int(s.KeyIndex) > len(i.keys) || i.keys[s.KeyIndex-1].profile != s.Profile:
			return fmt.Errorf("checking scheme %d: scheme %s has no key %d of its profile: %w", n+1, s.Profile, s.KeyIndex, ErrInfo)
		}
		used[s.KeyIndex] = true
	}
	ids := map[byte]bool{}
	for n, k := range i.keys {
		if k.point == nil || ids[k.id] || !used[byte(n+1)] {
			return fmt.Errorf("checking key %d: it is none, its identifier comes twice, or no scheme uses it: %w", n+1, ErrInfo)
		}
		ids[k.id] = true
	}
	return nil
}

// Schemes is a copy of the protection scheme list.
func (i Info) Schemes() []Scheme { return slices.Clone(i.schemes) }

// Keys is a copy of the key list.
func (i Info) Keys() []Key { return slices.Clone(i.keys) }

// Bytes is the content of the file: A0 {scheme, key index}, A1 {80 identifier, 81 key}.
func (i Info) Bytes() []byte {
	var schemes, keys []byte
	for _, s := range i.schemes {
		schemes = append(schemes, byte(s.Profile), s.KeyIndex)
	}
	for _, k := range i.keys {
		keys = tlv.Append(tlv.Append(keys, tagKeyID, []byte{k.id}), tagKey, k.point)
	}
	out := tlv.Append(nil, tagSchemes, schemes)
	if len(keys) == 0 {
		return out
	}
	return tlv.Append(out, tagKeys, keys)
}

// nullWord is how the null scheme is spelt in a list of keys.
const nullWord = "null"

// ParseInfo reads keys with one blank between, in the order of preference, and behind them "null" where a terminal may send
// the identity in clear when nothing else works: for example "A:30:5A8D… null".
func ParseInfo(s string) (Info, error) {
	words := strings.Split(s, " ")
	null := words[len(words)-1] == nullWord
	if null {
		words = words[:len(words)-1]
	}
	keys := make([]Key, len(words))
	for n, word := range words {
		var err error
		if keys[n], err = Parse(word); err != nil {
			return Info{}, err
		}
	}
	return NewInfo(keys, null)
}

// String is the spelling that ParseInfo reads.
func (i Info) String() string {
	var words []string
	for _, k := range i.keys {
		words = append(words, k.String())
	}
	if slices.Contains(i.schemes, Scheme{}) {
		words = append(words, nullWord)
	}
	return strings.Join(words, " ")
}

// Decode reads the content of the file, without filling behind it.
func Decode(b []byte) (Info, error) {
	top, err := tlv.ParseAll(b)
	if err != nil || len(top) == 0 || len(top) > 2 || top[0].Tag != tagSchemes || len(top[0].Value)%2 != 0 || len(top) == 2 && top[1].Tag != tagKeys {
		return Info{}, fmt.Errorf("decoding %d bytes: %w", len(b), ErrInfo)
	}
	var i Info
	for at := 0; at < len(top[0].Value); at += 2 {
		i.schemes = append(i.schemes, Scheme{Profile: Profile(top[0].Value[at]), KeyIndex: top[0].Value[at+1]})
	}
	if len(top) == 2 {
		if i.keys, err = decodeKeys(top[1].Value, i.schemes); err != nil {
			return Info{}, err
		}
	}
	if err := i.check(); err != nil {
		return Info{}, err
	}
	if !bytes.Equal(i.Bytes(), b) {
		return Info{}, fmt.Errorf("decoding %d bytes: it is not the shortest encoding: %w", len(b), ErrInfo)
	}
	return i, nil
}

// decodeKeys reads the key list. A key does not say its profile: the schemes that use it do.
func decodeKeys(b []byte, schemes []Scheme) (keys []Key, err error) {
	parts, err := tlv.ParseAll(b)
	if err != nil || len(parts)%2 != 0 || len(parts) > 2*MaxKeys {
		return nil, fmt.Errorf("decoding key list of %d bytes: %w", len(b), ErrInfo)
	}
	for ; len(parts) > 0; parts = parts[2:] {
		n := byte(len(keys) + 1)
		at := slices.IndexFunc(schemes, func(s Scheme) bool { return s.KeyIndex == n })
		if at < 0 || parts[0].Tag != tagKeyID || len(parts[0].Value) != 1 || parts[1].Tag != tagKey {
			return nil, fmt.Errorf("decoding key %d: %w", n, ErrInfo)
		}
		k, err := newKey(schemes[at].Profile, parts[0].Value[0], parts[1].Value)
		if err != nil {
			return nil, fmt.Errorf("decoding key %d: %w: %w", n, err, ErrInfo)
		}
		keys = append(keys, k)
	}
	return keys, nil
}
