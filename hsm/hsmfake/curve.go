package hsmfake

import (
	"math/big"

	"github.com/persoline/persoline/hsm/internal/brainpool"
)

// scalar turns 32 random bytes into a private key or a nonce on
// brainpoolP256r1: 1..n-1. The bias is that of a double.
func scalar(seed []byte) *big.Int {
	one := big.NewInt(1)
	most := new(big.Int).Sub(brainpool.P256r1().Order(), one)
	k := new(big.Int).SetBytes(seed)
	return k.Mod(k, most).Add(k, one)
}

// signBrainpool is ECDSA (FIPS 186-5, 6.4.1) with a nonce that the caller drew.
func signBrainpool(d, nonce *big.Int, digest []byte) []byte {
	c := brainpool.P256r1()
	n := c.Order()
	r := new(big.Int).Mod(c.BaseMult(nonce).X, n)
	s := new(big.Int).Mul(r, d)
	s.Add(s, new(big.Int).SetBytes(digest)).Mul(s, new(big.Int).ModInverse(nonce, n)).Mod(s, n)
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

// singleDES reports that two neighbours of a 3DES key are one, but for parity.
func singleDES(b []byte) bool {
	same := func(x, y []byte) bool {
		for i := range x {
			if x[i]>>1 != y[i]>>1 {
				return false
			}
		}
		return true
	}
	return same(b[:8], b[8:16]) || len(b) == 24 && same(b[8:16], b[16:])
}
