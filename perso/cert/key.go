package cert

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"

	"github.com/ProtonMail/go-crypto/brainpool"
	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/persoline/persoline/perso/tlv"
)

// Lengths in bytes, equal on both curves.
const (
	PointBytes     = 65 // 04, X, Y
	SignatureBytes = 64 // r, s
	KeyIDBytes     = sha1.Size

	coordinateBytes = 32
)

// Curve is an elliptic curve that the GSMA allows.
type Curve uint8

// The curves. The third, FRP256V1, is read in no certificate: no kept library has it.
const (
	CurveNone Curve = iota
	P256
	BrainpoolP256r1
)

var (
	oidECPublicKey     = OID{1, 2, 840, 10045, 2, 1}
	oidP256            = OID{1, 2, 840, 10045, 3, 1, 7}
	oidBrainpoolP256r1 = OID{1, 3, 36, 3, 3, 2, 8, 1, 1, 7}
	oidECDSAWithSHA256 = OID{1, 2, 840, 10045, 4, 3, 2}
)

func (c Curve) String() string {
	switch c {
	case P256:
		return "P-256"
	case BrainpoolP256r1:
		return "brainpoolP256r1"
	default:
		return "no curve of the GSMA"
	}
}

// OID names the curve in certificates; nil for CurveNone.
func (c Curve) OID() OID {
	switch c {
	case P256:
		return oidP256
	case BrainpoolP256r1:
		return oidBrainpoolP256r1
	default:
		return nil
	}
}

func curveOf(oid OID) Curve {
	for _, c := range []Curve{P256, BrainpoolP256r1} {
		if c.OID().Equal(oid) {
			return c
		}
	}
	return CurveNone
}

// PublicKey is a point on one of the curves. The zero value is no key.
type PublicKey struct {
	curve Curve
	point [PointBytes]byte
}

// NewPublicKey takes an uncompressed point (04, X, Y; SEC 1 §2.3.3) and checks that it is on the curve.
func NewPublicKey(c Curve, point []byte) (PublicKey, error) {
	k := PublicKey{curve: c}
	if len(point) != PointBytes || point[0] != 0x04 {
		return PublicKey{}, fmt.Errorf("reading a point on %s: %d bytes, want %d that begin with 04", c, len(point), PointBytes)
	}
	copy(k.point[:], point)
	if _, err := k.standard(); err != nil {
		return PublicKey{}, fmt.Errorf("reading a point on %s: %w", c, err)
	}
	return k, nil
}

// FromECDSA takes the key of a token. Its curve must be one of the GSMA's.
func FromECDSA(pub *ecdsa.PublicKey) (PublicKey, error) {
	c := CurveNone
	switch pub.Curve {
	case elliptic.P256():
		c = P256
	case brainpool.P256r1():
		c = BrainpoolP256r1
	default:
		return PublicKey{}, errors.New("reading a public key: its curve is neither P-256 nor brainpoolP256r1")
	}
	if c == P256 {
		point, err := pub.Bytes()
		if err != nil {
			return PublicKey{}, fmt.Errorf("reading a public key: %w", err)
		}
		return NewPublicKey(c, point)
	}
	//lint:ignore SA1019 the standard library encodes no point of another curve than NIST's
	x, y := pub.X, pub.Y
	if x == nil || y == nil || x.Sign() < 0 || y.Sign() < 0 || x.BitLen() > 8*coordinateBytes || y.BitLen() > 8*coordinateBytes {
		return PublicKey{}, errors.New("reading a public key: it has no point")
	}
	point := make([]byte, PointBytes)
	point[0] = 0x04
	x.FillBytes(point[1 : 1+coordinateBytes])
	y.FillBytes(point[1+coordinateBytes:])
	return NewPublicKey(c, point)
}

// standard is the key as crypto/ecdsa knows it.
func (k PublicKey) standard() (*ecdsa.PublicKey, error) {
	switch k.curve {
	case P256:
		return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), k.point[:])
	case BrainpoolP256r1:
		c := brainpool.P256r1()
		x, y := new(big.Int).SetBytes(k.point[1:1+coordinateBytes]), new(big.Int).SetBytes(k.point[1+coordinateBytes:])
		p := c.Params().P
		//lint:ignore SA1019 no package of the standard library knows the curve
		if x.Cmp(p) >= 0 || y.Cmp(p) >= 0 || !c.IsOnCurve(x, y) {
			return nil, errors.New("it is not on the curve")
		}
		//lint:ignore SA1019 as above
		return &ecdsa.PublicKey{Curve: c, X: x, Y: y}, nil
	default:
		return nil, errors.New("there is no curve")
	}
}

// Curve is the curve that the key is on.
func (k PublicKey) Curve() Curve { return k.curve }

// IsZero reports whether k is no key.
func (k PublicKey) IsZero() bool { return k.curve == CurveNone }

// Point is the uncompressed point.
func (k PublicKey) Point() []byte { return bytes.Clone(k.point[:]) }

// ID is the key identifier: SHA-1 of the point, as all certificates of this infrastructure have it (RFC 5280 §4.2.1.2).
func (k PublicKey) ID() [KeyIDBytes]byte { return sha1.Sum(k.point[:]) }

// Verify checks an ECDSA signature, r and s of 32 bytes each, over SHA-256 of the message.
func (k PublicKey) Verify(message, rs []byte) bool {
	if len(rs) != SignatureBytes {
		return false
	}
	der, err := tlv.RawToECDSASig(rs)
	if err != nil {
		return false
	}
	return k.verifyDER(message, der)
}

func (k PublicKey) verifyDER(message, der []byte) bool {
	pub, err := k.standard()
	if err != nil {
		return false
	}
	digest := sha256.Sum256(message)
	return ecdsa.VerifyASN1(pub, digest[:], der)
}

// AddTo writes the SubjectPublicKeyInfo (RFC 5480).
func (k PublicKey) AddTo(b *cryptobyte.Builder) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oidECPublicKey)
			b.AddASN1ObjectIdentifier(k.curve.OID())
		})
		b.AddASN1BitString(k.point[:])
	})
}

// readPublicKey reads a SubjectPublicKeyInfo. A key of another kind or curve is no error: it gives the zero key and its name.
func readPublicKey(s *cryptobyte.String) (k PublicKey, kind OID, err error) {
	var info, algorithm cryptobyte.String
	var bits []byte
	if !s.ReadASN1(&info, casn1.SEQUENCE) || !info.ReadASN1(&algorithm, casn1.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&kind) ||
		!info.ReadASN1BitStringAsBytes(&bits) || !info.Empty() {
		return k, nil, errors.New("the public key is not a SubjectPublicKeyInfo")
	}
	if !kind.Equal(oidECPublicKey) {
		return k, kind, nil
	}
	var curve OID
	if !algorithm.ReadASN1ObjectIdentifier(&curve) || !algorithm.Empty() {
		return k, kind, errors.New("the public key names no curve")
	}
	if curveOf(curve) == CurveNone {
		return k, curve, nil
	}
	k, err = NewPublicKey(curveOf(curve), bits)
	return k, curve, err
}
