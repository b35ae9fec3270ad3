// Package transport is how Ki, OPc and codes leave for an operator: the layouts that authentication centres read, under a
// transport key that never leaves the HSM, or in an envelope for a public key.
//
// It exists because every AuC has its own: AES in ECB or in CBC with a zero IV, Triple DES in older ones, and lately a file
// with a session key of its own under the receiver's RSA key. The layout is named by the description of the transport key
// in the order (perso/order/k4), so that officers release it; a new layout is a new name there, and a few lines here.
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

	"github.com/persoline/persoline/perso/order/k4"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/scp/tdes"
)

// MaxCallBytes is the most that goes to the HSM in one call: its own limit.
const MaxCallBytes = 4096

var (
	// ErrValue says that a value does not fit the layout.
	ErrValue = errors.New("value does not fit the transport layout")
	// ErrAnswer says that the HSM gave back something of another length.
	ErrAnswer = errors.New("unusable answer of the transport key")
)

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
	Bytes int // of the value without filling; 0 where nothing was filled
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
func CodeValue(l k4.Layout, name string, field [8]byte) Value {
	return FilledValue(l, name, field[:], CheckNone)
}

// FilledValue is a value of any length, filled with FF to whole blocks of the layout; its check value is of what is before the filling.
func FilledValue(l k4.Layout, name string, value []byte, check Check) Value {
	block := max(l.BlockBytes(), 1)
	v := Value{Name: name, Plain: make([]byte, (len(value)+block-1)/block*block), Check: check, Bytes: len(value)}
	for i := copy(v.Plain, value); i < len(v.Plain); i++ {
		v.Plain[i] = 0xFF
	}
	return v
}

// Wrap encrypts all values. In ECB that is one call for all of them; in CBC with zero IV each value is a chain of its own,
// and one call takes the next block of every chain, so there are as many calls as the longest value has blocks.
func Wrap(ctx context.Context, l k4.Layout, key Encrypter, values []Value) ([]Wrapped, error) {
	block := l.BlockBytes()
	if block == 0 {
		return nil, fmt.Errorf("wrapping by %.30q: %w", string(l), k4.ErrLayout)
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
	if !l.Chained() {
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
	if v.Bytes > 0 && v.Bytes <= len(v.Plain) {
		v.Plain = v.Plain[:v.Bytes]
	}
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
