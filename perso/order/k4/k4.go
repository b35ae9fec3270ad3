// Package k4 names what an operator's transport key (K4) is and does: the key in the vault, and the layout in which his
// authentication centre reads what is under it.
//
// It exists so that partner files, order intake, a release, the vault and the output file say the same about it; the vault
// alone uses the key (keygen/transport). A receiver's RSA key, which is public, is read here too.
//
// Contract. Pure values with one spelling; Parse… is the only door. Anybody may import it; it imports perso only.
//
// Sources: NIST SP 800-38A (ECB, CBC), NIST SP 800-67 (Triple DES), NIST SP 800-131A (sizes of RSA keys), RFC 5280
// (SubjectPublicKeyInfo); ledger/export/OUTPUT.md has the forms.
package k4

import (
	"errors"
	"fmt"
	"strings"

	"github.com/persoline/persoline/perso"
)

var (
	// ErrLayout says that a layout is unknown.
	ErrLayout = errors.New("unknown transport layout")
	// ErrKind says that a kind of key is unknown.
	ErrKind = errors.New("unknown kind of transport key")
	// ErrReceiver says that a receiver's public key cannot be used, or not read.
	ErrReceiver = errors.New("unusable public key of a receiver")
)

// Layout is the way in which values are put under a transport key. Parse it.
type Layout string

// The layouts. Of one AES block, ECB and CBC with zero IV are the same; they differ for a Ki or TOPc of 32 bytes, and always
// with Triple DES, whose block is 8 bytes.
const (
	AESECB   Layout = "AES-ECB"         // AES of 128, 192 or 256 bits
	AESCBC   Layout = "AES-CBC-0"       // the same in CBC, IV zero
	TDES2ECB Layout = "3DES-2KEY-ECB"   // Triple DES, K1 K2 K1
	TDES2CBC Layout = "3DES-2KEY-CBC-0" // the same in CBC, IV zero
	TDES3ECB Layout = "3DES-3KEY-ECB"   // Triple DES, K1 K2 K3
	TDES3CBC Layout = "3DES-3KEY-CBC-0" // the same in CBC, IV zero
	Envelope Layout = "RSA-OAEP-AES"    // one file for a public key, see keygen/transport
)

// Layouts are all layouts.
func Layouts() []Layout {
	return []Layout{AESECB, AESCBC, TDES2ECB, TDES2CBC, TDES3ECB, TDES3CBC, Envelope}
}

// ParseLayout reads the name of a layout.
func ParseLayout(s string) (Layout, error) {
	for _, l := range Layouts() {
		if string(l) == s {
			return l, nil
		}
	}
	return "", fmt.Errorf("reading transport layout %.30q, want one of %v: %w", s, Layouts(), ErrLayout)
}

// BlockBytes is the size of a block of the layout's cipher; 0 for the envelope, which has no blocks.
func (l Layout) BlockBytes() int {
	switch l {
	case AESECB, AESCBC:
		return 16
	case TDES2ECB, TDES2CBC, TDES3ECB, TDES3CBC:
		return 8
	}
	return 0
}

// AES says whether the layout is of an AES key.
func (l Layout) AES() bool { return l.BlockBytes() == 16 }

// Chained says whether a block depends on the one before it.
func (l Layout) Chained() bool { return l == AESCBC || l == TDES2CBC || l == TDES3CBC }

// Takes says whether a transport key of the kind is one for the layout.
func (l Layout) Takes(k Kind) bool {
	switch l {
	case AESECB, AESCBC:
		return k == AES128 || k == AES192 || k == AES256
	case TDES2ECB, TDES2CBC:
		return k == TDES2
	case TDES3ECB, TDES3CBC:
		return k == TDES3
	case Envelope:
		return k == RSA
	}
	return false
}

// Kind is what a transport key is, as maker and receiver agreed on it. Parse it.
type Kind string

// The kinds.
const (
	AES128 Kind = "AES-128"
	AES192 Kind = "AES-192"
	AES256 Kind = "AES-256"
	TDES2  Kind = "3DES-2KEY" // 16 bytes, K1 K2
	TDES3  Kind = "3DES-3KEY" // 24 bytes, K1 K2 K3
	RSA    Kind = "RSA"       // the receiver's public key; no secret
)

// Kinds are all kinds.
func Kinds() []Kind { return []Kind{AES128, AES192, AES256, TDES2, TDES3, RSA} }

// ParseKind reads the name of a kind.
func ParseKind(s string) (Kind, error) {
	for _, k := range Kinds() {
		if string(k) == s {
			return k, nil
		}
	}
	return "", fmt.Errorf("reading kind of transport key %.30q, want one of %v: %w", s, Kinds(), ErrKind)
}

// Bytes is the length of a secret key of the kind; 0 for RSA.
func (k Kind) Bytes() int {
	switch k {
	case AES128, TDES2:
		return 16
	case AES192, TDES3:
		return 24
	case AES256:
		return 32
	}
	return 0
}

// TDES says whether the key is one of Triple DES.
func (k Kind) TDES() bool { return k == TDES2 || k == TDES3 }

// Held is a transport key that a receiver holds: its name in the vault, and what it is.
type Held struct {
	Name perso.Name
	Kind Kind
}

// ParseHeld reads "<name>" or "<name>/<kind>"; without a kind it is AES-128, whose only spelling that is.
func ParseHeld(s string) (Held, error) {
	name, kind, more := strings.Cut(s, "/")
	h := Held{Kind: AES128}
	var err error
	if h.Name, err = perso.ParseName(name); err != nil {
		return Held{}, fmt.Errorf("reading transport key: %w", err)
	}
	if !more {
		return h, nil
	}
	if h.Kind, err = ParseKind(kind); err != nil {
		return Held{}, fmt.Errorf("reading transport key %q: %w", h.Name, err)
	}
	if h.Kind == AES128 {
		return Held{}, fmt.Errorf("reading transport key %q: %q is what a key without kind is, leave it out: %w", h.Name, AES128, ErrKind)
	}
	return h, nil
}

// String is the spelling that ParseHeld reads.
func (h Held) String() string {
	if h.Kind == AES128 {
		return string(h.Name)
	}
	return string(h.Name) + "/" + string(h.Kind)
}

// Key is a transport key as an order describes it: its name in the vault, and what is done with it.
type Key struct {
	Name   perso.Name
	Layout Layout
}

// ParseKey reads "<name>" or "<name>/<layout>"; without a layout it is AES-ECB, whose only spelling that is.
func ParseKey(s string) (Key, error) {
	name, layout, more := strings.Cut(s, "/")
	k := Key{Layout: AESECB}
	var err error
	if k.Name, err = perso.ParseName(name); err != nil {
		return Key{}, fmt.Errorf("reading transport key: %w", err)
	}
	if !more {
		return k, nil
	}
	if k.Layout, err = ParseLayout(layout); err != nil {
		return Key{}, fmt.Errorf("reading transport key %q: %w", k.Name, err)
	}
	if k.Layout == AESECB {
		return Key{}, fmt.Errorf("reading transport key %q: %q is what a key without layout has, leave it out: %w", k.Name, AESECB, ErrLayout)
	}
	return k, nil
}

// String is the spelling that ParseKey reads.
func (k Key) String() string {
	if k.Layout == AESECB {
		return string(k.Name)
	}
	return string(k.Name) + "/" + string(k.Layout)
}
