package scp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"fmt"
)

const blockBytes = aes.BlockSize

// CMAC is AES-CMAC (SP 800-38B) over the concatenation of the messages. The key must be 16, 24 or 32
// bytes; any other length is a fault of the program and panics.
func CMAC(key []byte, msg ...[]byte) [16]byte {
	var c cmac
	if err := c.init(key); err != nil {
		panic("scp: " + err.Error())
	}
	for _, m := range msg {
		c.write(m)
	}
	return c.sum()
}

// CMACSubkey1 gives K1 from l = AES(K, 0^16) (SP 800-38B §6.1), for a key that never leaves an HSM.
func CMACSubkey1(l [16]byte) [16]byte {
	var k1 [16]byte
	var carry byte
	for i := len(l) - 1; i >= 0; i-- {
		k1[i] = l[i]<<1 | carry
		carry = l[i] >> 7
	}
	k1[15] ^= 0x87 & -carry // no branch on a secret bit
	return k1
}

// cmac is a reusable AES-CMAC state. x holds the chaining block with n bytes of the last block mixed
// in; that block is encrypted only when more follows, because the last one takes a subkey first.
type cmac struct {
	block  cipher.Block
	k1, k2 [blockBytes]byte
	x      [blockBytes]byte
	n      int
}

func (c *cmac) init(key []byte) error {
	block, err := newAES(key)
	if err != nil {
		return err
	}
	c.block = block
	c.reset()
	block.Encrypt(c.x[:], c.x[:])
	c.k1 = CMACSubkey1(c.x)
	c.k2 = CMACSubkey1(c.k1)
	c.reset()
	return nil
}

func (c *cmac) reset() {
	clear(c.x[:])
	c.n = 0
}

func (c *cmac) write(p []byte) {
	for len(p) > 0 {
		if c.n == blockBytes {
			c.block.Encrypt(c.x[:], c.x[:])
			c.n = 0
		}
		m := subtle.XORBytes(c.x[c.n:], c.x[c.n:], p)
		c.n += m
		p = p[m:]
	}
}

// sum ends the message and leaves the state ready for the next one.
func (c *cmac) sum() (out [16]byte) {
	if c.n == blockBytes {
		subtle.XORBytes(c.x[:], c.x[:], c.k1[:])
	} else {
		c.x[c.n] ^= 0x80
		subtle.XORBytes(c.x[:], c.x[:], c.k2[:])
	}
	c.block.Encrypt(c.x[:], c.x[:])
	out = c.x
	c.reset()
	return out
}

// derive fills dst with the KDF of Amendment D §4.1.5: counter mode, the label being the constant, and
// the context the two challenges, or the sequence counter and the AID.
func (c *cmac) derive(dst []byte, constant byte, context1, context2 []byte) {
	bits := len(dst) * 8
	for i := byte(1); len(dst) > 0; i++ {
		label := [16]byte{11: constant, 13: byte(bits >> 8), 14: byte(bits), 15: i}
		c.write(label[:])
		c.write(context1)
		c.write(context2)
		out := c.sum()
		dst = dst[copy(dst, out[:]):]
		clear(out[:])
	}
}

func (c *cmac) wipe() { *c = cmac{} }

func newAES(key []byte) (cipher.Block, error) {
	switch len(key) {
	case 16, 24, 32:
		return aes.NewCipher(key)
	default:
		return nil, fmt.Errorf("taking an AES key of %d bytes: %w", len(key), ErrKeyLength)
	}
}

// cbcEncrypt encrypts p in place; iv is used up. It stands in for cipher.NewCBCEncrypter, which
// allocates for every message.
func cbcEncrypt(b cipher.Block, iv *[blockBytes]byte, p []byte) {
	for ; len(p) > 0; p = p[blockBytes:] {
		subtle.XORBytes(iv[:], iv[:], p[:blockBytes])
		b.Encrypt(iv[:], iv[:])
		copy(p, iv[:])
	}
}

// cbcDecrypt decrypts src into dst; they must not overlap.
func cbcDecrypt(b cipher.Block, iv *[blockBytes]byte, dst, src []byte) {
	prev := iv[:]
	for ; len(src) > 0; src, dst = src[blockBytes:], dst[blockBytes:] {
		b.Decrypt(dst[:blockBytes], src[:blockBytes])
		subtle.XORBytes(dst[:blockBytes], dst[:blockBytes], prev)
		prev = src[:blockBytes]
	}
}

// padded is the length of n bytes with the padding 80 00 … to a full block.
func padded(n int) int { return (n/blockBytes + 1) * blockBytes }

// pad fills p[n:] with the padding.
func pad(p []byte, n int) {
	p[n] = 0x80
	clear(p[n+1:])
}

// unpad cuts padding of at most limit bytes. Data that is nothing but padding is refused: an empty
// field is never encrypted, so that would be a second spelling of it. Call it only after the MAC was
// found right.
func unpad(p []byte, limit int) ([]byte, error) {
	for i := len(p) - 1; i > 0 && i >= len(p)-limit; i-- {
		switch p[i] {
		case 0x00:
		case 0x80:
			return p[:i], nil
		default:
			return nil, ErrPadding
		}
	}
	return nil, ErrPadding
}
