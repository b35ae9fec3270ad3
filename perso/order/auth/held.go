package auth

import (
	"fmt"
	"strings"

	"github.com/persoline/persoline/perso"
)

// Held is an operator key that the vault holds: its name, and what it is.
type Held struct {
	Name perso.Name
	Kind Kind
}

// ParseHeld reads "<name>" or "<name>/<kind>"; without a kind it is an OP, whose only spelling that is.
func ParseHeld(s string) (h Held, err error) {
	name, kind, more := strings.Cut(s, "/")
	h.Kind = OP
	if h.Name, err = perso.ParseName(name); err != nil {
		return Held{}, fmt.Errorf("reading operator key: %w", err)
	}
	if !more {
		return h, nil
	}
	h.Kind = Kind(kind)
	if h.Kind == OP || h.Kind.Bytes() == 0 {
		return Held{}, fmt.Errorf("reading operator key %q: its kind is one of %v, or left out for %s: %w", h.Name, Kinds()[1:], OP, ErrAlgorithm)
	}
	return h, nil
}

// String is the spelling that ParseHeld reads.
func (h Held) String() string {
	if h.Kind == OP {
		return string(h.Name)
	}
	return string(h.Name) + "/" + string(h.Kind)
}
