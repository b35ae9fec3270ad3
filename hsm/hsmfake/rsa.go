package hsmfake

import (
	"crypto/rsa"
	"fmt"
	"math/big"
	"math/rand/v2"
)

const (
	rsaBits     = 3072
	rsaExponent = 65537
	// trialPrime bounds the primes that candidates are divided by first, which
	// leaves one of some twenty to the test.
	trialPrime = 1 << 16
)

// rsaPair makes a pair of a seed. The library's own generator takes no
// randomness from its caller, and would make another pair each time.
func rsaPair(seed [32]byte) (*rsa.PrivateKey, error) {
	random := rand.NewChaCha8(seed)
	p, q := rsaPrime(random), rsaPrime(random)
	one := big.NewInt(1)
	order := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: rsaExponent},
		D: new(big.Int).ModInverse(big.NewInt(rsaExponent), order), Primes: []*big.Int{p, q}}
	if key.D == nil || key.N.BitLen() != rsaBits {
		return nil, fmt.Errorf("making an RSA pair: the seed gives none")
	}
	key.Precompute()
	return key, key.Validate()
}

// rsaPrime is the first prime from a random place on, whose two highest bits
// are set, and which is not 1 modulo the exponent.
func rsaPrime(random *rand.ChaCha8) *big.Int {
	b := make([]byte, rsaBits/16)
	_, _ = random.Read(b) // never fails
	b[0], b[len(b)-1] = b[0]|0xC0, b[len(b)-1]|1
	n := new(big.Int).SetBytes(b)
	primes := smallPrimes()
	remainders := make([]uint64, len(primes))
	for i, p := range primes {
		remainders[i] = new(big.Int).Mod(n, new(big.Int).SetUint64(p)).Uint64()
	}
	for add := uint64(0); ; add += 2 {
		composite := false
		for i, p := range primes {
			if (remainders[i]+add)%p == 0 {
				composite = true
				break
			}
		}
		if composite {
			continue
		}
		candidate := new(big.Int).Add(n, new(big.Int).SetUint64(add))
		if new(big.Int).Mod(candidate, big.NewInt(rsaExponent)).Cmp(big.NewInt(1)) != 0 && candidate.ProbablyPrime(0) {
			return candidate
		}
	}
}

func smallPrimes() (primes []uint64) {
	var composite [trialPrime]bool
	for n := uint64(3); n < trialPrime; n += 2 {
		if composite[n] {
			continue
		}
		primes = append(primes, n)
		for m := n * n; m < trialPrime; m += 2 * n {
			composite[m] = true
		}
	}
	return primes
}
