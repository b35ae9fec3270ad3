package cardsim

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/tlv"
)

const (
	tagChallenge    = 0x9C
	challengeBytes  = 16
	possessionLabel = "PERSO-POP"
	curveP256       = 0x00
	maxScalarTries  = 8 // a random 256-bit number is no scalar of P-256 once in 2^32
	costOfPair      = 1
	costOfSignature = 1
)

// P1 of GENERATE ASYMMETRIC KEY PAIR (ISO/IEC 7816-8 §5.1).
const (
	generatePair = 0x00
	accessPair   = 0x81 // make none, show the one that is there
)

// generate makes the ECASD's key pair, or takes the one that it has, and proves that the private key is here: a signature
// over the host's challenge and the public key. A new pair makes an older certificate worthless, so that is deleted with the
// old pair.
func (c *Chip) generate(cmd apdu.Command) ([]byte, apdu.SW) {
	if cmd.P1 != generatePair && cmd.P1 != accessPair || cmd.P2 != 0 {
		return nil, apdu.SWWrongP1P2
	}
	challenge, rest, err := tlv.Parse(cmd.Data)
	if err != nil || challenge.Tag != tagChallenge || len(challenge.Value) != challengeBytes || len(rest) != 0 {
		return nil, apdu.SWWrongData
	}
	if c.v.target != domECASD {
		return nil, apdu.SWConditions
	}
	if cmd.P1 == accessPair {
		return c.provePair(challenge.Value)
	}
	if c.state(domECASD) == statePersonalized {
		return nil, apdu.SWConditions
	}
	scalar, key, err := newPair(c.rand)
	if err != nil {
		return nil, apdu.SWUnknown
	}
	defer clear(scalar)
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, apdu.SWUnknown
	}
	answer, sw := possession(key, point, challenge.Value)
	if !sw.OK() {
		return nil, sw
	}
	var all changes
	all.putPair(scalar, point)
	if sw := c.commit(all); !sw.OK() {
		return nil, sw
	}
	c.ecc = costOfPair + costOfSignature
	return answer, apdu.SWOK
}

// provePair signs with the pair that is on the chip, whoever made it.
func (c *Chip) provePair(challenge []byte) ([]byte, apdu.SW) {
	pair, there := c.mem.get(cellOf(domECASD, kindPair, 0))
	if !there {
		return nil, apdu.SWConditions
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), pair[:scalarBytes])
	if err != nil {
		return nil, apdu.SWMemoryProblem
	}
	c.ecc = costOfSignature
	return possession(key, pair[scalarBytes:], challenge)
}

// possession is the answer that proves a pair: the public key, and the signature over challenge and public key.
func possession(key *ecdsa.PrivateKey, point, challenge []byte) ([]byte, apdu.SW) {
	digest := sha256.Sum256(slices.Concat([]byte(possessionLabel), challenge, point))
	der, err := key.Sign(nil, digest[:], crypto.SHA256) // deterministic, RFC 6979
	if err != nil {
		return nil, apdu.SWUnknown
	}
	signature, err := tlv.ECDSASigToRaw(der, scalarBytes)
	if err != nil {
		return nil, apdu.SWUnknown
	}
	public := tlv.Encode(tagPublicKey, tlv.Encode(tagPoint, point), tlv.Encode(tagCurve, []byte{curveP256}))
	return tlv.Append(public, tagSignature, signature), apdu.SWOK
}

// putPair replaces the ECASD's pair. A certificate for the old one goes with it.
func (c *changes) putPair(scalar, point []byte) {
	c.put(cellOf(domECASD, kindPair, 0), slices.Concat(scalar, point)...)
	c.drop(cellOf(domECASD, kindData, tagCertificate))
}

const (
	dgiPair      = 0x8F30
	pairDGIBytes = 1 + scalarBytes + pointBytes
)

// pairGrouping takes a key pair from outside: curve, private key under the DEK, public key. The private key carries no check
// value; that it has the public key is its check, which a wrong DEK can't pass.
func (c *Chip) pairGrouping(all *changes, value []byte) apdu.SW {
	if len(value) != pairDGIBytes || value[0] != curveP256 {
		return apdu.SWWrongData
	}
	if c.state(domECASD) == statePersonalized {
		return apdu.SWConditions
	}
	given := value[1+scalarBytes:]
	if _, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), given); err != nil {
		return apdu.SWWrongData // not on the curve
	}
	scalar, err := c.v.channel.DecryptDEK(value[1:][:scalarBytes])
	if err != nil {
		return apdu.SWWrongData
	}
	defer clear(scalar)
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		return apdu.SWSecurity // zero, or not below the order of the curve
	}
	c.ecc = costOfPair
	if point, err := key.PublicKey.Bytes(); err != nil || !bytes.Equal(point, given) {
		return apdu.SWSecurity
	}
	all.putPair(scalar, given)
	return apdu.SWOK
}

// newPair takes a scalar from the chip's own randomness. (ecdsa.GenerateKey would not: it ignores its reader.)
func newPair(random io.Reader) (scalar []byte, key *ecdsa.PrivateKey, err error) {
	scalar = make([]byte, scalarBytes)
	for range maxScalarTries {
		if _, err = io.ReadFull(random, scalar); err != nil {
			return nil, nil, fmt.Errorf("reading randomness: %w", err)
		}
		if key, err = ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar); err == nil {
			return scalar, key, nil
		}
	}
	return nil, nil, fmt.Errorf("making key pair: %w", err)
}
