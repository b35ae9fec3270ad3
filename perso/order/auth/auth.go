// Package auth names the network authentication of a subscription: the algorithm, its parameters, and what kind of operator
// key the vault keeps for it.
//
// It exists so that an order, a release, the vault, the script, the chip and the output file say the same about it.
//
// Contract. A pure value with one spelling, which officers can read: Parse is its only door. What a chip is told is
// Parameters, and a chip understands it with ParseParameters. Keys are the caller's to wipe. Anybody may import it; it
// imports perso/aka.
//
// Specifications: 3GPP TS 35.206 (Milenage, its constants), TS 35.231 (TUAK, its sizes), TS 33.102 §6.3 (AUTN and AUTS have
// room for a MAC of 64 bits).
package auth

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/persoline/persoline/perso/aka"
)

// Name is an algorithm.
type Name string

// The algorithms.
const (
	Milenage Name = "milenage"
	TUAK     Name = "tuak"
)

// Kind is what an operator key is, as the operator handed it over.
type Kind string

// The kinds.
const (
	OP   Kind = "OP"   // of Milenage, 16 bytes: each card gets an OPc of its own
	OPc  Kind = "OPC"  // of Milenage, 16 bytes: goes to each card as it is
	TOP  Kind = "TOP"  // of TUAK, 32 bytes
	TOPc Kind = "TOPC" // of TUAK, 32 bytes
)

// Kinds are all kinds.
func Kinds() []Kind { return []Kind{OP, OPc, TOP, TOPc} }

// Bytes is the length of an operator key of the kind; 0 of no kind.
func (k Kind) Bytes() int {
	switch k {
	case OP, OPc:
		return 16
	case TOP, TOPc:
		return 32
	}
	return 0
}

// ErrAlgorithm says that an algorithm, or a parameter of it, is not known or not usable.
var ErrAlgorithm = errors.New("unusable authentication algorithm")

// Algorithm is an algorithm with its parameters. It is comparable. The zero value is none.
type Algorithm struct {
	Name   Name
	Direct bool          // the operator key is OPc or TOPc
	con    aka.Constants // of Milenage
	kBits  int           // of TUAK: 128 or 256
	tuak   aka.TuakParams
}

// Default is Milenage with OP and the constants of TS 35.206.
func Default() Algorithm { return Algorithm{Name: Milenage, con: aka.DefaultConstants()} }

// The parameters in the order of their spelling.
const (
	paramDirect     = "key"
	paramR          = "r"
	paramC          = "c"
	paramK          = "k"
	paramRES        = "res"
	paramCK         = "ck"
	paramIK         = "ik"
	paramIterations = "iterations"
)

// Parse reads a name and, parted by single blanks, parameters that are not as usual:
//
//	milenage [key=opc] [r=<10 hex digits> c=<160 hex digits>]
//	tuak k=128|256 [key=topc] [res=32|128|256] [ck=256] [ik=256] [iterations=2..255]
//
// Usual are an operator key OP or TOP, the constants of TS 35.206, RES of 64 bits, CK and IK of 128 bits, one iteration.
func Parse(s string) (Algorithm, error) {
	fail := func(format string, args ...any) (Algorithm, error) {
		return Algorithm{}, fmt.Errorf("reading authentication %.60q: %s: %w", s, fmt.Sprintf(format, args...), ErrAlgorithm)
	}
	words := strings.Split(s, " ")
	a := Algorithm{Name: Name(words[0])}
	switch a.Name {
	case Milenage:
		a.con = aka.DefaultConstants()
	case TUAK:
		a.tuak = aka.DefaultTuakParams()
	default:
		return fail("the algorithms are %q and %q", Milenage, TUAK)
	}
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		if err := a.set(name, value); err != nil {
			return fail("%v", err)
		}
	}
	if err := a.check(); err != nil {
		return fail("%v", err)
	}
	if again := a.String(); again != s {
		return fail("it is spelled %q: no usual value, and in this order", again)
	}
	return a, nil
}

func (a *Algorithm) set(name, value string) (err error) {
	switch {
	case name == paramDirect && value == strings.ToLower(string(a.direct())):
		a.Direct = true
	case a.Name == Milenage && name == paramR:
		err = unhex(a.con.R[:], value)
	case a.Name == Milenage && name == paramC:
		all := make([]byte, 0, len(a.con.C)*len(a.con.C[0]))
		all = all[:cap(all)]
		err = unhex(all, value)
		for i := range a.con.C {
			copy(a.con.C[i][:], all[i*len(a.con.C[i]):])
		}
	case a.Name == TUAK && a.number(name) != nil:
		*a.number(name), err = strconv.Atoi(value)
	default:
		return fmt.Errorf("%s has no parameter %.20q, or not with this value", a.Name, name)
	}
	if err != nil {
		return fmt.Errorf("the value of %q", name)
	}
	return nil
}

// number is where a parameter of TUAK is.
func (a *Algorithm) number(name string) *int {
	return map[string]*int{paramK: &a.kBits, paramRES: &a.tuak.RES, paramCK: &a.tuak.CK, paramIK: &a.tuak.IK, paramIterations: &a.tuak.Iterations}[name]
}

func unhex(dst []byte, s string) error {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(dst) {
		return fmt.Errorf("%d digits of hexadecimal", 2*len(dst))
	}
	copy(dst, b)
	return nil
}

// check has the engine refuse what it does not know.
func (a Algorithm) check() error {
	if a.Name == TUAK && a.kBits != 128 && a.kBits != 256 {
		return errors.New("k must be 128 or 256")
	}
	n, err := a.Network(make([]byte, a.KBytes()), make([]byte, a.OPBytes()))
	if err == nil {
		n.Wipe()
	}
	return err
}

// String is the spelling that Parse reads.
func (a Algorithm) String() string {
	words := []string{string(a.Name)}
	if a.Name == TUAK {
		words = append(words, fmt.Sprintf("%s=%d", paramK, a.kBits))
	}
	if a.Direct {
		words = append(words, paramDirect+"="+strings.ToLower(string(a.direct())))
	}
	if a.ownConstants() {
		words = append(words, fmt.Sprintf("%s=%x", paramR, a.con.R), fmt.Sprintf("%s=%x", paramC, a.constants()))
	}
	if a.Name == TUAK {
		usual := Algorithm{tuak: aka.DefaultTuakParams()}
		for _, name := range []string{paramRES, paramCK, paramIK, paramIterations} {
			if n := *a.number(name); n != *usual.number(name) {
				words = append(words, fmt.Sprintf("%s=%d", name, n))
			}
		}
	}
	return strings.Join(words, " ")
}

func (a Algorithm) constants() []byte {
	var all []byte
	for _, c := range a.con.C {
		all = append(all, c[:]...)
	}
	return all
}

func (a Algorithm) ownConstants() bool { return a.Name == Milenage && a.con != aka.DefaultConstants() }

// direct is the kind of an operator key that goes to the card as it is.
func (a Algorithm) direct() Kind {
	if a.Name == TUAK {
		return TOPc
	}
	return OPc
}

// OPKind is what the operator key must be.
func (a Algorithm) OPKind() Kind {
	switch {
	case a.Direct:
		return a.direct()
	case a.Name == TUAK:
		return TOP
	}
	return OP
}

// OPBytes is the length of the operator key, and of OPc or TOPc.
func (a Algorithm) OPBytes() int { return a.OPKind().Bytes() }

// KBytes is the length of K (Ki): 16 or 32.
func (a Algorithm) KBytes() int {
	if a.Name == TUAK {
		return a.kBits / 8
	}
	return 16
}

// IsZero says that it is none.
func (a Algorithm) IsZero() bool { return a == Algorithm{} }

// Bind gives OPc or TOPc: what K makes of the operator key, or that key itself. The caller clears it.
func (a Algorithm) Bind(k, op []byte) ([]byte, error) {
	if len(k) != a.KBytes() || len(op) != a.OPBytes() {
		return nil, fmt.Errorf("binding the operator key: %d and %d bytes are not of %s: %w", len(k), len(op), a.Name, ErrAlgorithm)
	}
	switch {
	case a.Direct:
		return append([]byte(nil), op...), nil
	case a.Name == TUAK:
		c, err := aka.TOPc(k, op, a.tuak.Iterations)
		return c[:], err
	}
	c, err := aka.OPc(k, op)
	return c[:], err
}

// Network is the network's side of the algorithm with one K.
type Network interface {
	// AUTN is the token for a challenge.
	AUTN(rand aka.Rand, sqn aka.SQN, amf aka.AMF) (aka.AUTN, error)
	// VerifyAUTS is the card's counter, or aka.ErrMAC.
	VerifyAUTS(rand aka.Rand, auts aka.AUTS) (aka.SQN, error)
	// Wipe clears the keys; no method may follow.
	Wipe()
}

// Network takes K and OPc, or TOPc.
func (a Algorithm) Network(k, opc []byte) (Network, error) {
	e, err := a.engine(k, opc)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Column is how the operator gets what is bound to K: "OPC" or "TOPC".
func (a Algorithm) Column() string { return string(a.direct()) }
