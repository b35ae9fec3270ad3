package hsm

import (
	goaes "crypto/aes"
	"encoding/binary"
	"fmt"
)

const (
	// semiblockBytes is half an AES block, the unit of key wrapping.
	semiblockBytes = 8
	// wrapMark begins the integrity value of RFC 5649 (section 3).
	wrapMark = 0xA65959A6
	// leastWrappedBytes: shorter ones are encrypted otherwise (section 4.2, n=1),
	// and no key pair is so short.
	leastWrappedBytes = 3 * semiblockBytes
)

// unwrapKey undoes AES key wrapping with padding (RFC 5649, section 4.2) where
// the wrapped key lies, and returns the part of it that is the key. work, two
// blocks, takes what is known in between, so that nothing of it comes to lie on
// Go's stack or heap.
func unwrapKey(kek, wrapped, work []byte) ([]byte, error) {
	if len(wrapped) < leastWrappedBytes || len(wrapped)%semiblockBytes != 0 {
		return nil, fmt.Errorf("%w: wrapped key of %d bytes", ErrDevice, len(wrapped))
	}
	cipher, err := goaes.NewCipher(kek)
	if err != nil {
		return nil, fmt.Errorf("unwrapping a key: %w", err)
	}
	block, out := work[:aesBlockBytes], work[aesBlockBytes:2*aesBlockBytes]
	n := len(wrapped)/semiblockBytes - 1
	copy(block, wrapped[:semiblockBytes])
	for j := 5; j >= 0; j-- {
		for i := n; i >= 1; i-- {
			r := wrapped[i*semiblockBytes : (i+1)*semiblockBytes]
			step := binary.BigEndian.Uint64(block) ^ uint64(n*j+i)
			binary.BigEndian.PutUint64(block, step)
			copy(block[semiblockBytes:], r)
			cipher.Decrypt(out, block)
			copy(block, out[:semiblockBytes])
			copy(r, out[semiblockBytes:])
		}
	}
	length := int(binary.BigEndian.Uint32(block[4:]))
	padding := n*semiblockBytes - length
	if binary.BigEndian.Uint32(block) != wrapMark || padding < 0 || padding >= semiblockBytes {
		return nil, fmt.Errorf("%w: C_WrapKey: not as RFC 5649 wraps", ErrDevice)
	}
	key := wrapped[semiblockBytes:]
	if padding > 0 && !blank(key[length:]) {
		return nil, fmt.Errorf("%w: C_WrapKey: padding is not zero", ErrDevice)
	}
	return key[:length], nil
}
