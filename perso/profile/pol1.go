package profile

import (
	"fmt"
	"slices"
	"strings"
)

// POL1 is the policy rules that a profile brings along (GSMA SGP.02 §3.6.1): bit 1 forbids to disable it, bit 2 to delete it, bit 3
// deletes it once it is disabled. The zero value is no rule.
type POL1 struct{ bits byte }

// The rules.
const (
	NoDisable   = "disable-not-allowed"
	NoDelete    = "delete-not-allowed"
	DeleteAfter = "delete-when-disabled"
)

func rules() []string { return []string{NoDisable, NoDelete, DeleteAfter} }

// NoRule stands alone, for a profile without rules.
const NoRule = "none"

// ParsePOL1 reads a list of rules, each once, or NoRule alone. A profile that may not be deleted can't be deleted when disabled.
func ParsePOL1(words []string) (p POL1, err error) {
	if len(words) == 1 && words[0] == NoRule {
		return POL1{}, nil
	}
	for _, w := range words {
		i := slices.Index(rules(), w)
		if i < 0 {
			return POL1{}, fmt.Errorf("%.40q is no rule of POL1; the rules are %s, or %s alone", w, strings.Join(rules(), ", "), NoRule)
		}
		if p.bits&(1<<i) != 0 {
			return POL1{}, fmt.Errorf("the rule %q is there twice", w)
		}
		p.bits |= 1 << i
	}
	if p.Has(NoDelete) && p.Has(DeleteAfter) {
		return POL1{}, fmt.Errorf("%s and %s exclude one another", NoDelete, DeleteAfter)
	}
	return p, nil
}

// POL1Of is the rules of a package.
func POL1Of(b byte) POL1 { return POL1{bits: b} }

// Byte is the coding.
func (p POL1) Byte() byte { return p.bits }

// Has says whether a rule holds.
func (p POL1) Has(rule string) bool {
	i := slices.Index(rules(), rule)
	return i >= 0 && p.bits&(1<<i) != 0
}

// Rules are the rules that hold.
func (p POL1) Rules() (held []string) {
	for _, r := range rules() {
		if p.Has(r) {
			held = append(held, r)
		}
	}
	return held
}
