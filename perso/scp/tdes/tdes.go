// Package tdes is Triple DES as GlobalPlatform, OTA and older authentication centres use it: two- and three-key, ECB and
// CBC with zero IV, the MACs built on it, and key check values.
//
// It exists because chips with SCP02, OTA key sets and transport keys of old AuCs still speak it. Nothing new should:
// single DES is refused, and a two-key or three-key value whose parts are equal, which is single DES in disguise, too.
//
// Contract. Keys are 16 bytes (K1 K2, K3 = K1) or 24; parity bits are not looked at. Data are whole blocks. No error
// carries a key. Who holds secrets, the vault and the virtual chip, may call it; it imports the standard library only.
//
// Specifications: NIST SP 800-67 (TDEA), GlobalPlatform Card Specification 2.3.1 B.1 (DES, MAC), ISO/IEC 9797-1 MAC
// algorithm 3 (retail MAC), ETSI TS 102 225 §5.1.2 (DES cryptographic checksum).
package tdes

import (
	"crypto/cipher"
	"crypto/des"
	"crypto/subtle"
	"errors"
	"fmt"
	"math/bits"
)

// BlockBytes is the size of a block.
const BlockBytes = des.BlockSize

const oneKeyBytes = 8

var (
	// ErrKey says that a key is not 16 or 24 bytes, or has equal parts.
	ErrKey = errors.New("unusable Triple DES key")
	// ErrBlocks says that data are not whole blocks.
	ErrBlocks = errors.New("data are not whole blocks of 8 bytes")
)

// Key is one Triple DES key, ready for use. It belongs to one goroutine.
type Key struct {
	block cipher.Block
	first cipher.Block // single DES under K1, for the retail MAC
}

// New takes 16 bytes (K1 K2) or 24 (K1 K2 K3). ErrKey when the length is another, or K1 = K2, or K2 = K3: either is
// single DES. K1 = K3 in 24 bytes is the two-key form and allowed.
func New(key []byte) (*Key, error) {
	full := make([]byte, 0, 3*oneKeyBytes)
	defer func() { clear(full[:cap(full)]) }()
	switch len(key) {
	case 2 * oneKeyBytes:
		full = append(append(full, key...), key[:oneKeyBytes]...)
	case 3 * oneKeyBytes:
		full = append(full, key...)
	default:
		return nil, fmt.Errorf("taking %d bytes: %w", len(key), ErrKey)
	}
	for i := range 2 {
		if samePart(full[8*i:8*i+8], full[8*i+8:8*i+16]) {
			return nil, fmt.Errorf("taking a key whose parts %d and %d are equal: %w", i+1, i+2, ErrKey)
		}
	}
	block, err := des.NewTripleDESCipher(full)
	if err != nil {
		return nil, fmt.Errorf("taking a key: %w", err)
	}
	first, err := des.NewCipher(full[:oneKeyBytes])
	if err != nil {
		return nil, fmt.Errorf("taking a key: %w", err)
	}
	return &Key{block: block, first: first}, nil
}

// samePart compares two parts without their parity bits, in constant time.
func samePart(a, b []byte) bool {
	var differ byte
	for i := range a {
		differ |= (a[i] ^ b[i]) &^ 1
	}
	return subtle.ConstantTimeByteEq(differ, 0) == 1
}

// ECB encrypts whole blocks into new memory.
func (k *Key) ECB(p []byte) ([]byte, error) { return k.each(p, k.block.Encrypt) }

// OpenECB decrypts what ECB made.
func (k *Key) OpenECB(p []byte) ([]byte, error) { return k.each(p, k.block.Decrypt) }

func (k *Key) each(p []byte, f func(dst, src []byte)) ([]byte, error) {
	if err := wholeBlocks(p); err != nil {
		return nil, err
	}
	out := make([]byte, len(p))
	for i := 0; i < len(p); i += BlockBytes {
		f(out[i:], p[i:i+BlockBytes])
	}
	return out, nil
}

// CBC encrypts whole blocks with zero IV into new memory.
func (k *Key) CBC(p []byte) ([]byte, error) {
	if err := wholeBlocks(p); err != nil {
		return nil, err
	}
	out := make([]byte, len(p))
	cipher.NewCBCEncrypter(k.block, make([]byte, BlockBytes)).CryptBlocks(out, p)
	return out, nil
}

// OpenCBC decrypts what CBC made.
func (k *Key) OpenCBC(p []byte) ([]byte, error) {
	if err := wholeBlocks(p); err != nil {
		return nil, err
	}
	out := make([]byte, len(p))
	cipher.NewCBCDecrypter(k.block, make([]byte, BlockBytes)).CryptBlocks(out, p)
	return out, nil
}

// MAC is the last block of CBC with zero IV over the message: the full Triple DES MAC of GlobalPlatform B.1.2.1, and the
// cryptographic checksum of TS 102 225.
func (k *Key) MAC(p []byte) (mac [BlockBytes]byte, err error) {
	out, err := k.CBC(p)
	if err == nil && len(out) == 0 {
		err = ErrBlocks
	}
	if err != nil {
		return mac, err
	}
	return [BlockBytes]byte(out[len(out)-BlockBytes:]), nil
}

// RetailMAC is ISO/IEC 9797-1 MAC algorithm 3: single DES in CBC from icv on, the last block under Triple DES
// (GlobalPlatform B.1.2.2).
func (k *Key) RetailMAC(icv [BlockBytes]byte, p []byte) (mac [BlockBytes]byte, err error) {
	if err := wholeBlocks(p); err != nil || len(p) == 0 {
		return mac, errors.Join(err, ErrBlocks)
	}
	mac = icv
	for ; len(p) > 0; p = p[BlockBytes:] {
		subtle.XORBytes(mac[:], mac[:], p[:BlockBytes])
		if len(p) > BlockBytes {
			k.first.Encrypt(mac[:], mac[:])
		}
	}
	k.block.Encrypt(mac[:], mac[:])
	return mac, nil
}

// First encrypts one block under K1 alone: the ICV of SCP02.
func (k *Key) First(b [BlockBytes]byte) (out [BlockBytes]byte) {
	k.first.Encrypt(out[:], b[:])
	return out
}

// KCV is the key check value: the first three bytes of the encryption of a zero block (GlobalPlatform B.6).
func (k *Key) KCV() [3]byte {
	var b [BlockBytes]byte
	k.block.Encrypt(b[:], b[:])
	return [3]byte(b[:3])
}

// Pad appends 80 00 … up to a whole block (ISO/IEC 9797-1 padding method 2).
func Pad(p []byte) []byte {
	p = append(p, 0x80)
	for len(p)%BlockBytes != 0 {
		p = append(p, 0)
	}
	return p
}

// SetParity makes each byte odd, in place, as DES keys are written: some receivers look at it.
func SetParity(key []byte) {
	for i, b := range key {
		key[i] = b&^1 | byte(1-bits.OnesCount8(b&^1)%2)
	}
}

func wholeBlocks(p []byte) error {
	if len(p)%BlockBytes != 0 {
		return fmt.Errorf("taking %d bytes: %w", len(p), ErrBlocks)
	}
	return nil
}
