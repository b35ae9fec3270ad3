package carddata

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
)

const (
	// CodeBytes is a code's field on the card: ASCII digits filled with FF, or 8 bytes (TS 102 221 §9.5.1).
	CodeBytes = 8

	minPINDigits = 4
	maxDigits    = 8
	pukDigits    = 8

	// codeStreamBytes is the stream of a code: 256 bytes are fewer than the 8 digits it needs once in more than 2^1000 seeds.
	codeStreamBytes = 256
	// unbiased is the number of byte values that are spread evenly over ten digits.
	unbiased = 250
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
func Codes() []Code { return []Code{PIN1, PIN2, PUK1, PUK2, ADM1, ADM2, ADM3, ADM4} }

func (c Code) isPIN() bool { return c == PIN1 || c == PIN2 }
func (c Code) isPUK() bool { return c == PUK1 || c == PUK2 }
func (c Code) isADM() bool { return strings.HasPrefix(string(c), "ADM") }

// way is how a code comes about.
type way string

const (
	wayRandom way = "random" // digits from the seed
	wayStrict way = "strict" // the same, and more of them weak
	wayBytes  way = "bytes"  // 8 bytes from the seed, of an ADM
	wayFixed  way = "fixed"  // one value for the whole order, of a PIN
)

// Rule says how one code is made. Parse it; the zero value is none.
type Rule struct {
	way    way
	digits int    // of random and strict
	value  string // of fixed
}

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
	r := Rule{way: way(kind)}
	switch r.way {
	case wayRandom, wayStrict:
		n, err := strconv.Atoi(argument)
		if err != nil {
			return Rule{}, fmt.Errorf("reading rule %.30q of %s: no number of digits: %w", s, c, ErrPolicy)
		}
		r.digits = n
	case wayFixed:
		r.value = argument
	case wayBytes:
	default:
		return Rule{}, fmt.Errorf("reading rule %.30q of %.8s: want random:<digits>, strict:<digits>, fixed:<value> or bytes: %w", s, string(c), ErrPolicy)
	}
	if err := r.check(c); err != nil {
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
	case wayRandom, wayStrict:
		return fmt.Sprintf("%s:%d", r.way, r.digits)
	case wayFixed:
		return "fixed:" + r.value
	case wayBytes:
		return string(wayBytes)
	}
	return "none"
}

func (r Rule) check(c Code) error {
	if !c.isPIN() && !c.isPUK() && !c.isADM() {
		return fmt.Errorf("checking rule of code %.8q: %w", string(c), ErrPolicy)
	}
	fail := func(why string) error { return fmt.Errorf("checking rule of %s: %s: %w", c, why, ErrPolicy) }
	switch {
	case r.way == wayFixed && !c.isPIN():
		return fail("only a PIN may be fixed")
	case r.way == wayBytes && !c.isADM():
		return fail("only an ADM may be bytes")
	case r.way == wayBytes:
		return nil
	}
	n := r.digits
	if r.way == wayFixed {
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
type Policy struct{ rules [8]Rule }

// DefaultPolicy is what is made when neither product nor order says otherwise: PIN1 and PIN2 of 4 random digits, PUK1,
// PUK2 and ADM1 of 8.
func DefaultPolicy() Policy {
	return Policy{}.with(PIN1, Rule{way: wayRandom, digits: 4}).with(PIN2, Rule{way: wayRandom, digits: 4}).
		with(PUK1, Rule{way: wayRandom, digits: 8}).with(PUK2, Rule{way: wayRandom, digits: 8}).with(ADM1, Rule{way: wayRandom, digits: 8})
}

// ParsePolicy reads rules like "PIN1=fixed:1234 PUK1=strict:8 ADM2=bytes", one blank between them, and each code at most
// once in the order of Codes. What is not named is as in the default policy.
func ParsePolicy(s string) (Policy, error) {
	p := DefaultPolicy()
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
	for i, known := range Codes() {
		if c == known {
			return i
		}
	}
	return -1
}

// Derive fills the code's field on the card. Clear it.
func (r Rule) Derive(seed *[SeedBytes]byte, c Code, to *[CodeBytes]byte) error {
	if err := r.check(c); err != nil {
		return err
	}
	for i := range to {
		to[i] = 0xFF
	}
	if r.way == wayFixed {
		copy(to[:], r.value)
		return nil
	}
	stream, err := hkdf.Expand(sha256.New, seed[:], labelCard+string(c), codeStreamBytes)
	defer clear(stream)
	if err != nil {
		return fmt.Errorf("deriving %s: %w", c, err)
	}
	ok := false
	if r.way == wayBytes {
		ok = drawBytes(to, stream)
	} else {
		ok = drawDigits(to[:r.digits], stream, map[way]func([]byte) bool{wayRandom: WeakCode, wayStrict: weakStrict}[r.way])
	}
	if !ok {
		return fmt.Errorf("deriving %s: %w", c, ErrWeak)
	}
	return nil
}

// drawDigits takes decimal digits without bias (bytes from 250 on are passed over) until a whole group is not weak.
func drawDigits(to, stream []byte, weak func([]byte) bool) bool {
	n := 0
	for _, b := range stream {
		if b >= unbiased {
			continue
		}
		to[n] = '0' + b%10
		if n++; n < len(to) {
			continue
		}
		if !weak(to) {
			return true
		}
		n = 0
	}
	return false
}

// drawBytes takes the first 8 bytes that are not all equal.
func drawBytes(to *[CodeBytes]byte, stream []byte) bool {
	for ; len(stream) >= CodeBytes; stream = stream[CodeBytes:] {
		if copy(to[:], stream); bytes.Count(to[:], to[:1]) != CodeBytes {
			return true
		}
	}
	return false
}

// WeakCode says that all digits are equal, or that they count up or down by one.
func WeakCode(digits []byte) bool {
	step := digits[1] - digits[0]
	if step != 0 && step != 1 && step != 0xFF {
		return false
	}
	for i := 2; i < len(digits); i++ {
		if digits[i]-digits[i-1] != step {
			return false
		}
	}
	return true
}

// weakStrict is WeakCode, a repeated block, or fewer than three different digits.
func weakStrict(digits []byte) bool {
	for block := 1; block <= len(digits)/2; block++ {
		if len(digits)%block == 0 && bytes.Equal(digits, bytes.Repeat(digits[:block], len(digits)/block)) {
			return true
		}
	}
	different := 0
	for d := byte('0'); d <= '9'; d++ {
		if bytes.IndexByte(digits, d) >= 0 {
			different++
		}
	}
	return different < 3 || WeakCode(digits)
}
