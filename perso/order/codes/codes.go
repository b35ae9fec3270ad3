// Package codes is the policy for PIN, PUK and ADM codes of an order or product: which codes a card has, and how each is
// made.
//
// It exists so that a fixed PIN1 or a second ADM is a value that customers order, officers release and the vault obeys; the
// vault alone makes the codes (keygen/carddata, keygen/KEYTREE.md).
//
// Contract. Pure values: Parse… is the only door, String the only spelling, a Policy is comparable. Nothing here is secret:
// a fixed PIN is in the order. Anybody may import it; it imports the standard library only.
//
// Specification: ETSI TS 102 221 §9.5 (codes and their fields).
package codes

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrPolicy says that a code cannot be made as asked.
var ErrPolicy = errors.New("unusable code policy")

const (
	minPINDigits = 4
	maxDigits    = 8
	pukDigits    = 8
)

// Code names a code of the card. Its name is also its derivation label.
type Code string

// The codes.
const (
	PIN1 Code = "PIN1"
	PIN2 Code = "PIN2"
	PUK1 Code = "PUK1"
	PUK2 Code = "PUK2"
	ADM1 Code = "ADM1"
	ADM2 Code = "ADM2"
	ADM3 Code = "ADM3"
	ADM4 Code = "ADM4"
)

// Codes are all codes in the order of a policy.
func Codes() []Code { return slices.Clone(all[:]) }

var all = [...]Code{PIN1, PIN2, PUK1, PUK2, ADM1, ADM2, ADM3, ADM4}

func (c Code) isPIN() bool { return c == PIN1 || c == PIN2 }
func (c Code) isPUK() bool { return c == PUK1 || c == PUK2 }

// Further says whether the code is one that the default policy does not have.
func (c Code) Further() bool { return c.isADM() && c != ADM1 }

func (c Code) isADM() bool { return strings.HasPrefix(string(c), "ADM") }

// Way is how a code comes about.
type Way string

// The ways.
const (
	Random Way = "random" // digits from the card's seed
	Strict Way = "strict" // the same, and more of them weak
	Bytes  Way = "bytes"  // 8 bytes from the seed, of an ADM
	Fixed  Way = "fixed"  // one value for the whole order, of a PIN

	// listed is what some orders ask for: the customer's own code for each card. No policy has it.
	listed Way = "listed"
)

// Rule says how one code is made. Parse it; the zero value is none.
type Rule struct {
	way    Way
	digits int    // of Random and Strict
	value  string // of Fixed
}

// Way is how the code comes about; empty for no rule.
func (r Rule) Way() Way { return r.way }

// Digits is the number of digits of a code that is drawn; 0 otherwise.
func (r Rule) Digits() int { return r.digits }

// Value is the digits of a fixed code; empty otherwise.
func (r Rule) Value() string { return r.value }

// ParseRule reads the rule of a code:
//
//	random:<digits>  digits from the seed, weak values passed over: all digits equal, or each one more or one less than the
//	                 one before
//	strict:<digits>  the same; weak are also a block of 1 or 2 digits repeated, of 3 or 4 in a code of 6 or 8, and a code
//	                 of fewer than three different digits
//	fixed:<value>    one value for every card of the order; of a PIN only, and it may be weak: 0000 and 1234 are what
//	                 operators order, with verification of the PIN disabled
//	bytes            8 bytes from the seed, of an ADM only
//
// A PIN has 4 to 8 digits, a PUK 8, an ADM 8. PUK and ADM are never fixed: one value known would open every card.
func ParseRule(c Code, s string) (Rule, error) {
	kind, argument, _ := strings.Cut(s, ":")
	r := Rule{way: Way(kind)}
	switch r.way {
	case Random, Strict:
		n, err := strconv.Atoi(argument)
		if err != nil {
			return Rule{}, fmt.Errorf("reading rule %.30q of %s: no number of digits: %w", s, c, ErrPolicy)
		}
		r.digits = n
	case Fixed:
		r.value = argument
	case Bytes:
	case listed:
		return Rule{}, fmt.Errorf("reading rule %.30q of %.8s: no codes are taken that are listed card by card: the vault makes each card's own, and they come back with the order's output file "+
			"under its transport key; say random:8, or of an ADM bytes: %w", s, string(c), ErrPolicy)
	default:
		return Rule{}, fmt.Errorf("reading rule %.30q of %.8s: want random:<digits>, strict:<digits>, fixed:<value> or bytes: %w", s, string(c), ErrPolicy)
	}
	if err := r.Check(c); err != nil {
		return Rule{}, err
	}
	if r.String() != s {
		return Rule{}, fmt.Errorf("reading rule of %s, which is spelt otherwise: %w", c, ErrPolicy)
	}
	return r, nil
}

// String is the spelling that ParseRule reads. A fixed value is no secret: it is in the order.
func (r Rule) String() string {
	switch r.way {
	case Random, Strict:
		return fmt.Sprintf("%s:%d", r.way, r.digits)
	case Fixed:
		return "fixed:" + r.value
	case Bytes:
		return string(Bytes)
	}
	return "none"
}

// Check says whether a code can have the rule; ErrPolicy when it cannot.
func (r Rule) Check(c Code) error {
	if !c.isPIN() && !c.isPUK() && !c.isADM() {
		return fmt.Errorf("checking rule of code %.8q: %w", string(c), ErrPolicy)
	}
	fail := func(why string) error { return fmt.Errorf("checking rule of %s: %s: %w", c, why, ErrPolicy) }
	switch {
	case r.way == Fixed && !c.isPIN():
		return fail("only a PIN may be fixed")
	case r.way == Bytes && !c.isADM():
		return fail("only an ADM may be bytes")
	case r.way == Bytes:
		return nil
	}
	n := r.digits
	if r.way == Fixed {
		n = len(r.value)
		if strings.Trim(r.value, "0123456789") != "" {
			return fail("the fixed value is not all digits")
		}
	}
	if c.isPIN() && (n < minPINDigits || n > maxDigits) {
		return fail("a PIN has 4 to 8 digits")
	}
	if !c.isPIN() && n != pukDigits {
		return fail("a PUK or ADM has 8 digits")
	}
	return nil
}

// Policy is the rule of each code; a code without one is not on the card. Its zero value is empty. It is a value.
type Policy struct{ rules [len(all)]Rule }

// Default is what is made when neither product nor order says otherwise: PIN1 and PIN2 of 4 random digits, PUK1,
// PUK2 and ADM1 of 8.
func Default() Policy {
	return Policy{}.with(PIN1, Rule{way: Random, digits: 4}).with(PIN2, Rule{way: Random, digits: 4}).
		with(PUK1, Rule{way: Random, digits: 8}).with(PUK2, Rule{way: Random, digits: 8}).with(ADM1, Rule{way: Random, digits: 8})
}

// ParsePolicy reads rules like "PIN1=fixed:1234 PUK1=strict:8 ADM2=bytes", one blank between them, and each code at most
// once in the order of Codes. What is not named is as in the default policy.
func ParsePolicy(s string) (Policy, error) {
	p := Default()
	last := -1
	for field := range strings.SplitSeq(s, " ") {
		name, rule, _ := strings.Cut(field, "=")
		i := codeIndex(Code(name))
		if i < 0 || i <= last {
			return Policy{}, fmt.Errorf("reading code policy: %.20q is no code, or not in the order %v: %w", name, Codes(), ErrPolicy)
		}
		last = i
		r, err := ParseRule(Code(name), rule)
		if err != nil {
			return Policy{}, err
		}
		p = p.with(Code(name), r)
	}
	return p, nil
}

// String is every rule, in the form that ParsePolicy reads.
func (p Policy) String() string {
	var fields []string
	for i, c := range Codes() {
		if p.rules[i] != (Rule{}) {
			fields = append(fields, string(c)+"="+p.rules[i].String())
		}
	}
	return strings.Join(fields, " ")
}

// Rule is the rule of a code; false when the card has no such code.
func (p Policy) Rule(c Code) (Rule, bool) {
	i := codeIndex(c)
	if i < 0 || p.rules[i] == (Rule{}) {
		return Rule{}, false
	}
	return p.rules[i], true
}

func (p Policy) with(c Code, r Rule) Policy {
	p.rules[codeIndex(c)] = r
	return p
}

func codeIndex(c Code) int {
	return slices.Index(all[:], c)
}
