// Package kisource is where Ki comes from when it is not derived: random of the HSM, sealed into the claim before the first
// byte leaves, or the operator's own, at rest as he encrypted it.
//
// It exists because both break the rule that nothing of a card is stored (keygen/KEYTREE.md argues which to choose), so
// what is stored must say what it is, for whom, and open nowhere else.
//
// Contract. A sealed Ki is bound to lot, unit, generation and chip: copied to another claim it does not open. A customer's
// row is used only with a proof that it is the released file's for this unit, and when its check value fits. Ki leaves as
// secret.Bytes. All randomness and every key is the HSM's, through the interfaces. No error carries a secret. Callers: the
// vault.
//
// Specifications: NIST SP 800-38D (GCM, in the HSM), GlobalPlatform Amendment D §7.2 (check value).
package kisource

import (
	"context"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/secret"
)

const (
	// formSealed is the first byte of a sealed random Ki. The values of a claim begin with what they are.
	formSealed byte = 0x01

	labelKi = "persoline/1 ki"
	// lotKeyPrefix keeps a lot's seal key apart from the site's, whose id is the site's name: names have no dot.
	lotKeyPrefix = "lot."

	shortKi, longKi = 16, 32
	maxDraws        = 4
	// minSealedBytes and maxSealedBytes: form (1), then what the HSM's seal adds to a Ki (29).
	minSealedBytes, maxSealedBytes = 1 + 29 + shortKi, 1 + 29 + longKi
)

var (
	// ErrSource says that a source of Ki is unknown, or wants what was not given.
	ErrSource = errors.New("unusable source of Ki")
	// ErrSealed says that a stored value is no sealed Ki, or not this claim's.
	ErrSealed = errors.New("stored Ki is not this claim's")
	// ErrWeakKi says that a Ki is one byte repeated.
	ErrWeakKi = errors.New("weak Ki")
)

// Parse reads "derived", "random" or "customer".
func Parse(s string) (order.KiSource, error) {
	switch k := order.KiSource(s); k {
	case order.KiDerived, order.KiRandom, order.KiCustomer:
		return k, nil
	}
	return "", fmt.Errorf("reading source of Ki %.20q: want %q, %q or %q: %w", s, order.KiDerived, order.KiRandom, order.KiCustomer, ErrSource)
}

// LotSealKey is the key that seals a lot's random Ki. It is destroyed with the lot key.
func LotSealKey(env perso.Env, lot perso.Name) (hsm.Key, error) {
	return hsm.NewKey(string(env), hsm.ClassSeal, lotKeyPrefix+string(lot))
}

// Context is what a sealed Ki is bound to: label, 00, then lot, unit (4 bytes, big-endian), generation (1) and chip, lot
// and chip with their length (1) before them.
func Context(c entry.Claim) []byte {
	b := append([]byte(labelKi), 0, byte(len(c.Lot)))
	b = append(b, c.Lot...)
	b = binary.BigEndian.AppendUint32(b, uint32(c.Unit))
	chip := c.Chip.Bytes()
	b = append(b, byte(c.Gen), byte(len(chip)))
	return append(b, chip...)
}

// Sealer is what of the HSM a random Ki needs; *hsm.Token gives it.
type Sealer interface {
	Random(ctx context.Context, n int) ([]byte, error)
	Seal(ctx context.Context, k hsm.Key, plaintext secret.Bytes, aad []byte) ([]byte, error)
}

// Unsealer opens what a Sealer made.
type Unsealer interface {
	Unseal(ctx context.Context, k hsm.Key, sealed, aad []byte) (secret.Bytes, error)
}

// Size is the length of a Ki in bytes.
type Size int

// The sizes: of Milenage and TUAK, and of TUAK with a long key.
const (
	Short Size = shortKi
	Long  Size = longKi
)

// NewRandom draws a Ki in the HSM and seals it for the claim. What it returns goes into the claim by compare-and-set before
// any script leaves; only the value that the claim then holds is ever opened. The Ki itself comes with it, for the act that
// drew it: wipe it. 2 HSM operations, and one more for the nonce.
func NewRandom(ctx context.Context, token Sealer, key hsm.Key, c entry.Claim, size Size) (sealed []byte, ki secret.Bytes, err error) {
	if size != Short && size != Long {
		return nil, ki, fmt.Errorf("drawing Ki of %d bytes: %w", size, ErrSource)
	}
	for range maxDraws {
		drawn, err := token.Random(ctx, int(size))
		if err != nil || len(drawn) != int(size) {
			clear(drawn)
			return nil, ki, fmt.Errorf("drawing Ki of unit %d: %d bytes: %w", c.Unit, len(drawn), errors.Join(err, ErrSource))
		}
		if weak(drawn) {
			continue
		}
		ki = secret.New(drawn)
		b, err := token.Seal(ctx, key, ki, Context(c))
		if err != nil {
			ki.Wipe()
			return nil, secret.Bytes{}, fmt.Errorf("sealing Ki of unit %d: %w", c.Unit, err)
		}
		return append([]byte{formSealed}, b...), ki, nil
	}
	return nil, ki, fmt.Errorf("drawing Ki of unit %d %d times: %w", c.Unit, maxDraws, ErrWeakKi)
}

// CheckSealed says whether bytes have the form of a sealed Ki; opening is another question.
func CheckSealed(stored []byte) error {
	if n := len(stored); n != minSealedBytes && n != maxSealedBytes || stored[0] != formSealed {
		return fmt.Errorf("reading stored Ki of %d bytes: %w", n, ErrSealed)
	}
	return nil
}

// OpenRandom opens what the claim holds. ErrSealed when it is not this claim's.
func OpenRandom(ctx context.Context, token Unsealer, key hsm.Key, c entry.Claim, stored []byte) (secret.Bytes, error) {
	if err := CheckSealed(stored); err != nil {
		return secret.Bytes{}, err
	}
	ki, err := token.Unseal(ctx, key, stored[1:], Context(c))
	if errors.Is(err, hsm.ErrSealBroken) {
		return secret.Bytes{}, fmt.Errorf("opening Ki of unit %d: %w: %w", c.Unit, err, ErrSealed)
	}
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("opening Ki of unit %d: %w", c.Unit, err)
	}
	if ki.Len() != len(stored)-minSealedBytes+shortKi {
		ki.Wipe()
		return secret.Bytes{}, fmt.Errorf("opening Ki of unit %d: %w", c.Unit, ErrSealed)
	}
	return ki, nil
}

// weak says that a Ki is one byte repeated, in constant time.
func weak(ki []byte) bool {
	var differ byte
	for _, b := range ki {
		differ |= b ^ ki[0]
	}
	return subtle.ConstantTimeByteEq(differ, 0) == 1
}
