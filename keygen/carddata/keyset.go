// Package carddata says which secrets a card holds beyond the fixed set of the key tree, and derives them from the card's
// seed: key sets by version for SCP02, SCP03 and SCP80, and PIN, PUK and ADM codes by a policy of the order or product.
//
// It exists so that a product with two OTA key sets, or an order with a fixed PIN1 (perso/order/codes), is a value that can
// be parsed, checked and released, and not a change of the vault's code.
//
// Contract. Everything is a pure function of seed, name and policy; the label of a name never changes, and two names never
// share one (KEYTREE.md has both, with vectors). Weak values are passed over without bias. Nothing here reads a clock or
// randomness. Errors carry no secret. Callers: the vault.
//
// Specifications: RFC 5869 (HKDF-Expand), GlobalPlatform Card Specification 2.3.1 and its UICC Configuration 11.1.9 (key
// versions), ETSI TS 102 225 (OTA), ETSI TS 102 221 §9.5 (codes), NIST SP 800-67 (weak keys of DES).
package carddata

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/scp/tdes"
	"github.com/persoline/persoline/perso/secret"
)

const (
	// SeedBytes is the size of a card's seed.
	SeedBytes = sha256.Size

	// labelCard is the label that the key tree gives everything that follows from a seed.
	labelCard = "persoline/1 card "
	// candidates is how many keys a stream offers: one is weak once in 2^50 at worst.
	candidates = 4
)

var (
	// ErrName says that a key has a protocol, version, role or algorithm that do not go together.
	ErrName = errors.New("no such card key")
	// ErrWeak says that a stream held weak values only. It will not be seen.
	ErrWeak = errors.New("only weak values")
)

// Algorithm of a key, with its length.
type Algorithm string

// The algorithms.
const (
	AES128 Algorithm = "aes-128"
	AES192 Algorithm = "aes-192"
	AES256 Algorithm = "aes-256"
	TDES2  Algorithm = "3des-2key"
	TDES3  Algorithm = "3des-3key"
)

// ParseAlgorithm reads the name of an algorithm.
func ParseAlgorithm(s string) (Algorithm, error) {
	if a := Algorithm(s); a.Bytes() != 0 {
		return a, nil
	}
	return "", fmt.Errorf("reading key algorithm %.20q: want %q, %q, %q, %q or %q: %w", s, AES128, AES192, AES256, TDES2, TDES3, ErrName)
}

// Bytes is the length of a key; 0 when the algorithm is unknown.
func (a Algorithm) Bytes() int {
	switch a {
	case AES128, TDES2:
		return 16
	case AES192, TDES3:
		return 24
	case AES256:
		return 32
	}
	return 0
}

// TripleDES says whether keys of the algorithm are written with odd parity and have no weak part.
func (a Algorithm) TripleDES() bool { return a == TDES2 || a == TDES3 }

// Protocol is what a key set is for.
type Protocol string

// The protocols. The ISD's own SCP03 key set of the key tree (ISD.ENC …) is not one of these sets.
const (
	SCP02 Protocol = "SCP02"
	SCP03 Protocol = "SCP03"
	SCP80 Protocol = "SCP80"
)

// Role is what one key of a set is for; key identifiers 1, 2 and 3 in this order.
type Role string

// The roles of SCP02 and SCP03, and of SCP80.
const (
	RoleENC Role = "ENC"
	RoleMAC Role = "MAC"
	RoleDEK Role = "DEK"
	RoleKIC Role = "KIC"
	RoleKID Role = "KID"
	RoleKIK Role = "KIK"
)

// protocolRule is what a protocol's key sets look like.
type protocolRule struct {
	first, last byte // key version numbers
	roles       [3]Role
	algorithms  []Algorithm
}

// rule is nil for an unknown protocol.
func (p Protocol) rule() *protocolRule {
	secureChannel := [3]Role{RoleENC, RoleMAC, RoleDEK}
	switch p {
	case SCP02:
		return &protocolRule{0x20, 0x2F, secureChannel, []Algorithm{TDES2}}
	case SCP03:
		return &protocolRule{0x30, 0x3F, secureChannel, []Algorithm{AES128, AES192, AES256}}
	case SCP80:
		return &protocolRule{0x01, 0x0F, [3]Role{RoleKIC, RoleKID, RoleKIK}, []Algorithm{AES128, AES192, AES256, TDES2, TDES3}}
	}
	return nil
}

// SetName names a key set of three keys: its protocol, the key version number under which the card holds it, and the
// algorithm of its keys. Parse it or check it with Valid.
type SetName struct {
	Protocol  Protocol
	KVN       byte
	Algorithm Algorithm
}

// ParseSetName reads "SCP80.02.aes-128": protocol, version as two hex digits in capitals, algorithm.
func ParseSetName(s string) (SetName, error) {
	var n SetName
	parts := bytes.SplitN([]byte(s), []byte{'.'}, 3)
	if len(parts) != 3 || len(parts[1]) != 2 {
		return n, fmt.Errorf("reading key set %.40q, for example SCP80.02.aes-128: %w", s, ErrName)
	}
	if _, err := fmt.Sscanf(string(parts[1]), "%02X", &n.KVN); err != nil {
		return SetName{}, fmt.Errorf("reading key version of key set %.40q: %w", s, ErrName)
	}
	n.Protocol, n.Algorithm = Protocol(parts[0]), Algorithm(parts[2])
	if err := n.Valid(); err != nil {
		return SetName{}, err
	}
	if n.String() != s {
		return SetName{}, fmt.Errorf("reading key set %.40q, which is spelt %q: %w", s, n, ErrName)
	}
	return n, nil
}

// String is the spelling that ParseSetName reads.
func (n SetName) String() string { return fmt.Sprintf("%s.%02X.%s", n.Protocol, n.KVN, n.Algorithm) }

// Valid says whether the protocol has such key versions and algorithms.
func (n SetName) Valid() error {
	rule := n.Protocol.rule()
	if rule == nil {
		return fmt.Errorf("checking key set %.40q: protocol is not %s, %s or %s: %w", n.String(), SCP02, SCP03, SCP80, ErrName)
	}
	if n.KVN < rule.first || n.KVN > rule.last {
		return fmt.Errorf("checking key set %q: version is not %02X to %02X: %w", n, rule.first, rule.last, ErrName)
	}
	for _, a := range rule.algorithms {
		if a == n.Algorithm {
			return nil
		}
	}
	return fmt.Errorf("checking key set %.40q: %s has algorithms %v: %w", n.String(), n.Protocol, rule.algorithms, ErrName)
}

// Roles are the set's keys in the order of their identifiers. The name must be Valid.
func (n SetName) Roles() [3]Role { return n.Protocol.rule().roles }

// Label is the last part of a key's derivation label: "SCP80.KIC.02.aes-128".
func (n SetName) Label(r Role) string {
	return fmt.Sprintf("%s.%s.%02X.%s", n.Protocol, r, n.KVN, n.Algorithm)
}

// Set is a derived key set. Wipe it.
type Set struct {
	Name SetName
	Keys [3]secret.Bytes // by key identifier
	KCVs [3][3]byte      // AES: of 16 bytes of 01; Triple DES: of a zero block
}

// Wipe clears the keys.
func (s *Set) Wipe() {
	for _, k := range s.Keys {
		k.Wipe()
	}
}

// DeriveSet derives a key set from the card's seed.
func DeriveSet(x *Expander, n SetName) (Set, error) {
	if err := n.Valid(); err != nil {
		return Set{}, err
	}
	s := Set{Name: n}
	for i, r := range n.Roles() {
		key, err := deriveKey(x, n.Label(r), n.Algorithm)
		if err != nil {
			s.Wipe()
			return Set{}, err
		}
		s.KCVs[i], err = checkValue(n.Algorithm, key)
		s.Keys[i] = secret.New(key)
		if err != nil {
			s.Wipe()
			return Set{}, fmt.Errorf("deriving %s: %w", n.Label(r), err)
		}
	}
	return s, nil
}

func checkValue(a Algorithm, key []byte) ([3]byte, error) {
	if !a.TripleDES() {
		return scp.KCV(key), nil
	}
	k, err := tdes.New(key)
	if err != nil {
		return [3]byte{}, err
	}
	return k.KCV(), nil
}

// deriveKey takes the first key of the label's stream that is not weak, each candidate as long as the key.
func deriveKey(x *Expander, label string, a Algorithm) ([]byte, error) {
	stream := x.Stream(label, candidates*a.Bytes())
	defer stream.Wipe()
	key := make([]byte, a.Bytes())
	for stream.Fill(key) {
		if a.TripleDES() {
			tdes.SetParity(key)
		}
		if !weakKey(a, key) {
			return key, nil
		}
	}
	clear(key)
	return nil, fmt.Errorf("deriving %s: %w", label, ErrWeak)
}

// weakKey: all bytes equal; a Triple DES key also when two of its parts are equal, or one is a weak or semi-weak key of DES.
func weakKey(a Algorithm, key []byte) bool {
	if bytes.Count(key, key[:1]) == len(key) {
		return true
	}
	if !a.TripleDES() {
		return false
	}
	for i := 0; i < len(key); i += 8 {
		if weakDES([8]byte(key[i:])) {
			return true
		}
		for j := 0; j < i; j += 8 {
			if bytes.Equal(key[i:i+8], key[j:j+8]) {
				return true
			}
		}
	}
	return false
}

// weakDES knows the 4 weak and 12 semi-weak keys of DES, with odd parity: their bytes repeat with period 2 in each half, and
// each of 01, 1F, E0, FE on the left goes with 01, 0E, F1, FE on the right.
func weakDES(k [8]byte) bool {
	for i := range 2 {
		if k[i] != k[i+2] || k[i+4] != k[i+6] {
			return false
		}
		right, ok := map[byte]byte{0x01: 0x01, 0x1F: 0x0E, 0xE0: 0xF1, 0xFE: 0xFE}[k[i]]
		if !ok || right != k[i+4] {
			return false
		}
	}
	return true
}
