// Package share handles what several persons bring and no single one may know whole: components of a key, and halves of a
// PIN.
//
// Components are joined by exclusive or, in memory of the vault's process, and nowhere else: PKCS #11 v2.40 has no way to
// join them inside a token that hsm/KEYS.md would allow (it would need a derivation, and keys that may be derived from).
// So the one moment in which a whole key is outside the token is here, between the last component and C_CreateObject;
// everything is a secret.Bytes, and wiped on every way out. All components but one say nothing about the key.
//
// Callers: package conduct, and perso/cmd for PINs. Nothing here reads a terminal or a file.
package share

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement/transcript"
)

// ErrKCV says that a value is not the one its check value belongs to: most likely it was mistyped.
var ErrKCV = errors.New("key check value differs")

// ErrComponent says that a component is none: of another length, all zeros, or another custodian's over again.
var ErrComponent = errors.New("component refused")

// macCheckText is what hsm.Token.KCV makes the check value of a MAC key of.
const macCheckText = "persoline key check value v1"

// Check is the check value of a key or of a component of it, as its sender has it for the class: AES of sixteen 01
// bytes (GlobalPlatform Amendment D), 3DES of eight 00 bytes (GlobalPlatform Card Specification, B.5), or the HMAC-SHA-256
// of a fixed text; 3 bytes of it. class is transcript.ClassOP for an operator key, which is checked as an AES key.
func Check(class string, value secret.Bytes) (kcv [hsm.KCVBytes]byte, err error) {
	err = value.Reveal(func(b []byte) error {
		out, err := check(class, b)
		copy(kcv[:], out)
		clear(out)
		return err
	})
	if err != nil {
		return kcv, fmt.Errorf("making a key check value of class %q: %w", class, err)
	}
	return kcv, nil
}

// TokenCheck is the check value of a whole key as hsm.Token.KCV has it. It is Check, but for a receive key: its token cannot
// encrypt, so that what it shows is of the decryption of sixteen 01 bytes, while its sender's custodians have the usual one.
func TokenCheck(class string, value secret.Bytes) (kcv [hsm.KCVBytes]byte, err error) {
	if class != hsm.ClassReceive.String() {
		return Check(class, value)
	}
	err = value.Reveal(func(b []byte) error {
		c, err := aes.NewCipher(b)
		if err != nil {
			return fmt.Errorf("making a key check value of class %q: %w", class, err)
		}
		block := bytes.Repeat([]byte{1}, aes.BlockSize)
		c.Decrypt(block, block)
		copy(kcv[:], block)
		return nil
	})
	return kcv, err
}

func check(class string, b []byte) ([]byte, error) {
	c, err := hsm.ParseClass(class)
	switch {
	case class == transcript.ClassOP:
	case err != nil:
		return nil, err
	case c == hsm.ClassLot || c == hsm.ClassReceipt || c == hsm.ClassKiPrint:
		mac := hmac.New(sha256.New, b)
		mac.Write([]byte(macCheckText))
		return mac.Sum(nil), nil
	case c.TDES():
		if len(b) == 2*des.BlockSize {
			b = slices.Concat(b, b[:des.BlockSize])
			defer clear(b)
		}
		block, err := des.NewTripleDESCipher(b)
		if err != nil {
			return nil, fmt.Errorf("a 3DES key has 16 or 24 bytes, not %d", len(b))
		}
		return encrypt(block, make([]byte, des.BlockSize)), nil
	}
	block, err := aes.NewCipher(b)
	if err != nil {
		return nil, fmt.Errorf("an AES key has 16, 24 or 32 bytes, not %d", len(b))
	}
	return encrypt(block, bytes.Repeat([]byte{1}, aes.BlockSize)), nil
}

func encrypt(c cipher.Block, block []byte) []byte {
	c.Encrypt(block, block)
	return block
}

// Verify holds a component against the check value that its custodian was given with it.
func Verify(class string, component secret.Bytes, kcv string, sizeBytes int) error {
	if component.Len() != sizeBytes {
		return fmt.Errorf("%w: %d bytes, expected %d", ErrComponent, component.Len(), sizeBytes)
	}
	got, err := Check(class, component)
	if err != nil {
		return err
	}
	if hex.EncodeToString(got[:]) != kcv {
		return fmt.Errorf("%w: it is %x, the plan says %s", ErrKCV, got, kcv)
	}
	return nil
}

// Join is the exclusive or of all components. It needs at least two of one length, and refuses what would leave a part of
// the key to fewer people: a component of zeros, two that are equal, a sum of zeros.
func Join(components []secret.Bytes) (whole secret.Bytes, err error) {
	if len(components) < transcript.MinComponents {
		return whole, fmt.Errorf("%w: %d components, at least %d are needed", ErrComponent, len(components), transcript.MinComponents)
	}
	sum := make([]byte, components[0].Len())
	defer clear(sum)
	for i, c := range components {
		if slices.ContainsFunc(components[:i], c.Equal) {
			return whole, fmt.Errorf("%w: two are equal", ErrComponent)
		}
		err := c.Reveal(func(b []byte) error {
			if len(b) != len(sum) || zero(b) {
				return fmt.Errorf("%w: number %d is of another length or all zeros", ErrComponent, i+1)
			}
			for n := range sum {
				sum[n] ^= b[n]
			}
			return nil
		})
		if err != nil {
			return whole, err
		}
	}
	if zero(sum) {
		return whole, fmt.Errorf("%w: together they are all zeros", ErrComponent)
	}
	return secret.New(sum), nil
}

func zero(b []byte) bool { return !slices.ContainsFunc(b, func(x byte) bool { return x != 0 }) }

// ParseHex reads a component as people type it: hex digits of either case, with blanks or dashes between groups. The text
// is wiped.
func ParseHex(text []byte) (secret.Bytes, error) {
	defer clear(text)
	digits := make([]byte, 0, len(text))
	defer func() { clear(digits[:cap(digits)]) }()
	for _, c := range text {
		if c != ' ' && c != '-' && c != '\t' {
			digits = append(digits, c)
		}
	}
	out := make([]byte, hex.DecodedLen(len(digits)))
	defer clear(out)
	if _, err := hex.Decode(out, digits); err != nil || len(out) == 0 {
		return secret.Bytes{}, fmt.Errorf("%w: it is not an even number of hex digits", ErrComponent)
	}
	return secret.New(out), nil
}

// Format lends the hex text of a component, in groups of four digits, to a writer that must not keep it.
func Format(component secret.Bytes, use func(text []byte) error) error {
	return component.Reveal(func(b []byte) error {
		const group = 2 // bytes
		var text []byte
		for i := 0; i < len(b); i += group {
			if i > 0 {
				text = append(text, ' ')
			}
			text = hex.AppendEncode(text, b[i:min(i+group, len(b))])
		}
		defer clear(text)
		return use(text)
	})
}

// Bounds of a PIN's half. PKCS #11 leaves a PIN's length to the token; most take 64 bytes.
const (
	minHalfProduction = 8
	minHalfTest       = 2
	maxHalf           = 32
)

// JoinPIN sets two halves of a PIN one after the other. In production each has at least eight characters, so that knowing
// one half leaves the other as hard as a good PIN.
func JoinPIN(env perso.Env, first, second secret.Bytes) (pin secret.Bytes, err error) {
	least := minHalfTest
	if env == perso.EnvProduction {
		least = minHalfProduction
	}
	for i, half := range []secret.Bytes{first, second} {
		if n := half.Len(); n < least || n > maxHalf {
			return pin, fmt.Errorf("half %d of the PIN has %d characters, expected %d to %d", i+1, n, least, maxHalf)
		}
	}
	if first.Equal(second) {
		return pin, errors.New("both halves of the PIN are the same")
	}
	err = first.Reveal(func(a []byte) error {
		return second.Reveal(func(b []byte) error {
			pin = secret.New(slices.Concat(a, b))
			return nil
		})
	})
	return pin, err
}
