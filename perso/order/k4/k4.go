// Package k4 names what an operator's transport key (K4) is and does: the key in the vault, and the layout in which his
// authentication centre reads what is under it.
//
// It exists so that order intake, a release, the vault and the output file say the same about it; the vault alone uses the
// key (keygen/transport).
//
// Contract. Pure values with one spelling; Parse… is the only door. Anybody may import it; it imports perso only.
//
// Sources: NIST SP 800-38A (ECB, CBC), NIST SP 800-67 (Triple DES); ledger/export/OUTPUT.md has the forms.
package k4

import (
	"errors"
	"fmt"
	"strings"

	"github.com/persoline/persoline/perso"
)

// ErrLayout says that a layout is unknown.
var ErrLayout = errors.New("unknown transport layout")

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

// KeyBytes says whether a transport key of n bytes is one of the layout.
func (l Layout) KeyBytes(n int) bool {
	switch l {
	case AESECB, AESCBC:
		return n == 16 || n == 24 || n == 32
	case TDES2ECB, TDES2CBC:
		return n == 16
	case TDES3ECB, TDES3CBC:
		return n == 24
	}
	return false
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
