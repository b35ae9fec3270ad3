package hsm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/persoline/persoline/perso"
)

// A Gap is something that policy.go asks of every key and that a module does
// not keep or does not honour. Whoever opens such a module must say so (Config.Gaps): then the
// attribute is neither set nor checked, and the log, "perso hsm check" and
// KEYS.md say what that costs. A module that lacks one unannounced is refused
// when a key is made or used; nothing is left out in silence. The set is
// closed; the zero value is no gap.
type Gap uint8

// The gaps of modules that we have met.
const (
	// GapAllowedMechanisms: CKA_ALLOWED_MECHANISMS is unknown.
	GapAllowedMechanisms Gap = iota + 1
	// GapCopyable: CKA_COPYABLE is unknown.
	GapCopyable
	// GapDestroyable: CKA_DESTROYABLE is unknown.
	GapDestroyable
	// GapLocal: CKA_LOCAL is not kept for keys on the token.
	GapLocal
	// GapPrivatePublic: public keys are visible before login, whatever
	// CKA_PRIVATE says.
	GapPrivatePublic
	// GapUnextractable: C_WrapKey does not look at CKA_EXTRACTABLE.
	GapUnextractable
)

// Gaps returns every gap, in order.
func Gaps() []Gap {
	return []Gap{GapAllowedMechanisms, GapCopyable, GapDestroyable, GapLocal, GapPrivatePublic, GapUnextractable}
}

// ParseGap reads the name that String prints.
func ParseGap(name string) (Gap, error) {
	var known []string
	for _, g := range Gaps() {
		if g.String() == name {
			return g, nil
		}
		known = append(known, g.String())
	}
	return 0, fmt.Errorf("parsing gap: %q is none of %s", name, strings.Join(known, ", "))
}

// String returns the gap as it stands in a configuration.
func (g Gap) String() string {
	switch g {
	case GapAllowedMechanisms:
		return "allowed-mechanisms"
	case GapCopyable:
		return "copyable"
	case GapDestroyable:
		return "destroyable"
	case GapLocal:
		return "local"
	case GapPrivatePublic:
		return "private-public-keys"
	case GapUnextractable:
		return "wraps-unextractable"
	default:
		return fmt.Sprintf("gap(%d)", uint8(g))
	}
}

// Cost says what a module with the gap no longer protects against.
func (g Gap) Cost() string {
	switch g {
	case GapAllowedMechanisms:
		return "the token lets a logged-in client use a key with any mechanism of its kind; only this program's verbs narrow it"
	case GapCopyable:
		return "a logged-in client may copy a key with a softer template, and wrap the copy out: refused for live keys"
	case GapDestroyable:
		return "nothing: keys can be destroyed, the module only does not say so"
	case GapLocal:
		return "that a key was made inside is read from ALWAYS_SENSITIVE and NEVER_EXTRACTABLE, which the standard sets false for imported keys"
	case GapPrivatePublic:
		return "public keys can be read, and replaced, without login; the verbs read them once after login"
	case GapUnextractable:
		return "a logged-in client can wrap every key out and read it: refused for live keys"
	default:
		return ""
	}
}

// liveEnv is the environment of keys for live cards, as it stands in labels.
const liveEnv = string(perso.EnvProduction)

// TestOnly reports that whoever is logged in can take keys out of a module with
// this gap. Keys for live cards are refused there.
func (g Gap) TestOnly() bool { return g == GapCopyable || g == GapUnextractable }

// admit refuses a key for live cards on a token that keys can be taken out of.
// It can be destroyed there.
func (s support) admit(k Key, v Verb) error {
	if k.Env() != liveEnv || v == VerbDestroy {
		return nil
	}
	for _, g := range s.gaps {
		if g.TestOnly() {
			return fmt.Errorf("%w: %s with a key for live cards on a module with gap %s: %s", ErrRefused, v, g, g.Cost())
		}
	}
	return nil
}

// MarshalText returns the name.
func (g Gap) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// support is what the policy has to know of the token that it is kept on.
type support struct {
	eddsa bool
	gaps  []Gap
	wrap  uint // the mechanism that wraps as RFC 5649 says, 0 if there is none
}

func (s support) lacks(g Gap) bool { return slices.Contains(s.gaps, g) }
