// Package brainpool is brainpoolP256r1 (RFC 5639, section 3.4) as far as public
// keys and signatures need it: GSMA SGP.02 and SGP.22 allow the curve for
// certificates, and the standard library does not have it.
//
// It checks points and verifies, with big integers and in no constant time, so
// it is for public values only. Private keys live in the HSM; the double of the
// HSM (hsmfake), which protects nothing, signs with it. Only package hsm and its
// doubles may import it.
package brainpool

import (
	"errors"
	"math/big"
)

// PointBytes is an uncompressed point: 04, X, Y.
const PointBytes = 65

const fieldBytes = 32

// A Curve is the domain parameters. Make it with P256r1.
type Curve struct {
	p, a, b, n *big.Int
	g          Point
}

// A Point is a point in affine coordinates; nil coordinates are infinity.
type Point struct{ X, Y *big.Int }

// P256r1 returns the curve.
func P256r1() Curve {
	hex := func(s string) *big.Int {
		n, _ := new(big.Int).SetString(s, 16) // the digits below
		return n
	}
	return Curve{
		p: hex("A9FB57DBA1EEA9BC3E660A909D838D726E3BF623D52620282013481D1F6E5377"),
		a: hex("7D5A0975FC2C3057EEF67530417AFFE7FB8055C126DC5C6CE94A4B44F330B5D9"),
		b: hex("26DC5C6CE94A4B44F330B5D9BBD77CBF958416295CF7E1CE6BCCDC18FF8C07B6"),
		n: hex("A9FB57DBA1EEA9BC3E660A909D838D718C397AA3B561A6F7901E0E82974856A7"),
		g: Point{
			hex("8BD2AEB9CB7E57CB2C4B482FFC81B7AFB9DE27E1E3BD23C23A4453BD9ACE3262"),
			hex("547EF835C3DAC4FD97F8461A14611DC9C27745132DED8E545C1D54C72F046997"),
		},
	}
}

// Order returns the order of the curve.
func (c Curve) Order() *big.Int { return new(big.Int).Set(c.n) }

// Parse reads an uncompressed point and refuses one that is not on the curve.
func (c Curve) Parse(b []byte) (Point, error) {
	if len(b) != PointBytes || b[0] != 4 {
		return Point{}, errors.New("parsing a point of brainpoolP256r1: not 65 bytes that begin with 04")
	}
	q := Point{new(big.Int).SetBytes(b[1 : 1+fieldBytes]), new(big.Int).SetBytes(b[1+fieldBytes:])}
	if q.X.Cmp(c.p) >= 0 || q.Y.Cmp(c.p) >= 0 {
		return Point{}, errors.New("parsing a point of brainpoolP256r1: coordinate outside the field")
	}
	left := new(big.Int).Mul(q.Y, q.Y)
	right := new(big.Int).Mul(q.X, q.X)
	right.Add(right, c.a).Mul(right, q.X).Add(right, c.b)
	if left.Sub(left, right).Mod(left, c.p).Sign() != 0 {
		return Point{}, errors.New("parsing a point of brainpoolP256r1: not on the curve")
	}
	return q, nil
}

// Bytes is the point uncompressed. Infinity has no such form; it gives nil.
func (q Point) Bytes() []byte {
	if q.X == nil {
		return nil
	}
	b := make([]byte, PointBytes)
	b[0] = 4
	q.X.FillBytes(b[1 : 1+fieldBytes])
	q.Y.FillBytes(b[1+fieldBytes:])
	return b
}

// BaseMult returns k times the generator.
func (c Curve) BaseMult(k *big.Int) Point { return c.mult(c.g, k) }

// Verify checks r‖s, 64 bytes, over a digest of 32 bytes (ECDSA, FIPS 186-5,
// 6.4.2).
func (c Curve) Verify(q Point, digest, sig []byte) bool {
	if len(sig) != 2*fieldBytes || len(digest) != fieldBytes || q.X == nil {
		return false
	}
	r, s := new(big.Int).SetBytes(sig[:fieldBytes]), new(big.Int).SetBytes(sig[fieldBytes:])
	if r.Sign() == 0 || s.Sign() == 0 || r.Cmp(c.n) >= 0 || s.Cmp(c.n) >= 0 {
		return false
	}
	w := new(big.Int).ModInverse(s, c.n)
	u1 := new(big.Int).Mul(new(big.Int).SetBytes(digest), w)
	u2 := new(big.Int).Mul(r, w)
	sum := c.add(c.mult(c.g, u1.Mod(u1, c.n)), c.mult(q, u2.Mod(u2, c.n)))
	return sum.X != nil && new(big.Int).Mod(sum.X, c.n).Cmp(r) == 0
}

func (c Curve) mult(q Point, k *big.Int) Point {
	var sum Point
	for i := k.BitLen() - 1; i >= 0; i-- {
		sum = c.add(sum, sum)
		if k.Bit(i) == 1 {
			sum = c.add(sum, q)
		}
	}
	return sum
}

// add is the group law (SEC 1, 2.2.1).
func (c Curve) add(a, b Point) Point {
	switch {
	case a.X == nil:
		return b
	case b.X == nil:
		return a
	}
	rise, run := new(big.Int).Sub(b.Y, a.Y), new(big.Int).Sub(b.X, a.X)
	if run.Sign() == 0 {
		if rise.Sign() != 0 || a.Y.Sign() == 0 {
			return Point{}
		}
		rise.Mul(a.X, a.X).Mul(rise, big.NewInt(3)).Add(rise, c.a)
		run.Lsh(a.Y, 1)
	}
	slope := rise.Mul(rise, run.ModInverse(run.Mod(run, c.p), c.p))
	slope.Mod(slope, c.p)
	x := new(big.Int).Mul(slope, slope)
	x.Sub(x, a.X).Sub(x, b.X).Mod(x, c.p)
	y := new(big.Int).Sub(a.X, x)
	y.Mul(y, slope).Sub(y, a.Y).Mod(y, c.p)
	return Point{x, y}
}
