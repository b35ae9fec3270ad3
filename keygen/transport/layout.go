// Package transport is how Ki, OPc and codes leave for an operator: the layouts that authentication centres read, under a
// transport key that never leaves the HSM, or in an envelope for a public key.
//
// It exists because every AuC has its own: AES in ECB or in CBC with a zero IV, Triple DES in older ones, and lately a file
// with a session key of its own under the receiver's RSA key. The layout is named by the description of the transport key
// in the order, so that officers release it; a new layout is a new name here, and no change elsewhere.
//
// Contract. Wrapping is a pure function: the HSM does the block operations through Encrypter, as few calls as the mode
// allows, and the same input gives the same file (I8). No error carries a secret. Plain values are the caller's to clear.
// Callers: the vault's export; it imports the standard library and what all zones share.
//
// Sources: NIST SP 800-38A (ECB, CBC), GlobalPlatform Amendment D and Card Specification B.6 (check values), RFC 8017
// (RSA-OAEP, PKCS#1 v1.5). ledger/export/OUTPUT.md has the forms.
package transport

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/scp/tdes"
)

// MaxCallBytes is the most that goes to the HSM in one call: its own limit.
const MaxCallBytes = 4096

var (
	// ErrLayout says that a layout is unknown.
	ErrLayout = errors.New("unknown transport layout")
	// ErrValue says that a value does not fit the layout.
	ErrValue = errors.New("value does not fit the transport layout")
	// ErrAnswer says that the HSM gave back something of another length.
	ErrAnswer = errors.New("unusable answer of the transport key")
)

// Layout is the way in which values are put under a transport key. Parse it.
type Layout string

// The layouts. Of one AES block, ECB and CBC with zero IV are the same; they differ for a Ki or TOPc of 32 bytes, and always
// with Triple DES, whose block is 8 bytes.
const (
	AESECB   Layout = "AES-ECB"         // AES of 128, 192 or 256 bits
	AESCBC   Layout = "AES-CBC-0"       // the same in CBC, IV zero
	TDES2ECB Layout = "3DES-2KEY-ECB"   // Triple DES, K1 K2 K1
	TDES2CBC Layout = "3DES-2KEY-CBC-0" //
	TDES3ECB Layout = "3DES-3KEY-ECB"   // Triple DES, K1 K2 K3
	TDES3CBC Layout = "3DES-3KEY-CBC-0" //
	Envelope Layout = "RSA-OAEP-AES"    // one file for a public key, see Seal
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
		return tdes.BlockBytes
	}
	return 0
}

func (l Layout) chained() bool { return l == AESCBC || l == TDES2CBC || l == TDES3CBC }

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

// Check says which check value goes with a value, so that a receiver with the wrong transport key finds out.
type Check byte

// The check values.
const (
	CheckNone Check = iota
	CheckAES        // of Ki, OPc and AES keys: first 3 bytes of AES(value, 16 × 01)
	CheckTDES       // of Triple DES keys: first 3 bytes of 3DES(value, 8 × 00)
)

// Value is one value in clear. The caller clears it.
type Value struct {
	Name  string
	Plain []byte // whole blocks of the layout
	Check Check
}

// Wrapped is the same under the transport key.
type Wrapped struct {
	Name   string
	Cipher []byte
	KCV    []byte // 3 bytes, or none
}

// Encrypter encrypts whole blocks in ECB with one key, which is fixed: in the vault, inside the HSM.
type Encrypter interface {
	EncryptECB(ctx context.Context, blocks []byte) ([]byte, error)
}

// CodeValue is a code's field of 8 bytes as a value: filled with FF to a whole block of the layout.
func (l Layout) CodeValue(name string, field [8]byte) Value {
	v := Value{Name: name, Plain: make([]byte, max(l.BlockBytes(), len(field)))}
	for i := copy(v.Plain, field[:]); i < len(v.Plain); i++ {
		v.Plain[i] = 0xFF
	}
	return v
}

// Wrap encrypts all values. In ECB that is one call for all of them; in CBC with zero IV each value is a chain of its own,
// and one call takes the next block of every chain, so there are as many calls as the longest value has blocks.
func (l Layout) Wrap(ctx context.Context, key Encrypter, values []Value) ([]Wrapped, error) {
	block := l.BlockBytes()
	if block == 0 {
		return nil, fmt.Errorf("wrapping by %.30q: %w", string(l), ErrLayout)
	}
	out, rounds := make([]Wrapped, len(values)), 0
	for i, v := range values {
		if len(v.Plain) == 0 || len(v.Plain)%block != 0 || len(v.Plain) > MaxCallBytes {
			return nil, fmt.Errorf("wrapping %s of %d bytes by %s: %w", v.Name, len(v.Plain), l, ErrValue)
		}
		kcv, err := v.kcv()
		if err != nil {
			return nil, err
		}
		out[i] = Wrapped{Name: v.Name, Cipher: make([]byte, 0, len(v.Plain)), KCV: kcv}
		rounds = max(rounds, len(v.Plain)/block)
	}
	if !l.chained() {
		return out, wrapECB(ctx, key, values, out)
	}
	for round := range rounds {
		if err := wrapRound(ctx, key, values, out, round*block, block); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func wrapECB(ctx context.Context, key Encrypter, values []Value, out []Wrapped) error {
	var plain []byte
	for _, v := range values {
		plain = append(plain, v.Plain...)
	}
	defer clear(plain)
	sealed, err := encrypt(ctx, key, plain)
	if err != nil {
		return err
	}
	for i, v := range values {
		out[i].Cipher = append(out[i].Cipher, sealed[:len(v.Plain)]...)
		sealed = sealed[len(v.Plain):]
	}
	return nil
}

// wrapRound encrypts the block at a place of every value that is so long, chained to the block before.
func wrapRound(ctx context.Context, key Encrypter, values []Value, out []Wrapped, at, block int) error {
	plain := make([]byte, 0, len(values)*block)
	defer func() { clear(plain[:cap(plain)]) }()
	for i, v := range values {
		if at >= len(v.Plain) {
			continue
		}
		next := append([]byte(nil), v.Plain[at:at+block]...)
		if at > 0 {
			subtle.XORBytes(next, next, out[i].Cipher[at-block:])
		}
		plain = append(plain, next...)
		clear(next)
	}
	sealed, err := encrypt(ctx, key, plain)
	if err != nil {
		return err
	}
	for i, v := range values {
		if at < len(v.Plain) {
			out[i].Cipher = append(out[i].Cipher, sealed[:block]...)
			sealed = sealed[block:]
		}
	}
	return nil
}

// encrypt cuts what is more than one call takes. A block is never cut: the limit is whole blocks of either size.
func encrypt(ctx context.Context, key Encrypter, plain []byte) ([]byte, error) {
	out := make([]byte, 0, len(plain))
	for len(plain) > 0 {
		n := min(len(plain), MaxCallBytes)
		sealed, err := key.EncryptECB(ctx, plain[:n])
		if err != nil {
			return nil, fmt.Errorf("wrapping under transport key: %w", err)
		}
		if len(sealed) != n || bytes.Equal(sealed, plain[:n]) {
			return nil, fmt.Errorf("wrapping under transport key: %d bytes of %d, or not encrypted: %w", len(sealed), n, ErrAnswer)
		}
		out, plain = append(out, sealed...), plain[n:]
	}
	return out, nil
}

func (v Value) kcv() ([]byte, error) {
	switch v.Check {
	case CheckNone:
		return nil, nil
	case CheckAES:
		if n := len(v.Plain); n != 16 && n != 24 && n != 32 {
			return nil, fmt.Errorf("checking %s of %d bytes as an AES key: %w", v.Name, n, ErrValue)
		}
		kcv := scp.KCV(v.Plain)
		return kcv[:], nil
	case CheckTDES:
		k, err := tdes.New(v.Plain)
		if err != nil {
			return nil, fmt.Errorf("checking %s: %w", v.Name, err)
		}
		kcv := k.KCV()
		return kcv[:], nil
	}
	return nil, fmt.Errorf("checking %s: check value %d is unknown: %w", v.Name, v.Check, ErrValue)
}
