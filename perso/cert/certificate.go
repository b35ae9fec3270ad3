package cert

import (
	"bytes"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/persoline/persoline/perso/tlv"
)

const (
	// MaxBytes bounds one certificate. Those of the GSMA have 500 to 800 bytes; a public one with many names 4 KiB.
	MaxBytes = 16 << 10
	// MaxCount bounds the certificates of one file: a bundle of CI roots has about ten.
	MaxCount = 64

	maxSerialBytes = 21 // 20 octets (RFC 5280 §4.1.2.2), and the leading zero that some issuers do not count

	pemType = "CERTIFICATE"
)

// ErrForm is wrapped by every error of the readers: the bytes are no certificate.
var ErrForm = errors.New("not a well-formed certificate")

// Certificate is an X.509 certificate as read. Its slices are its own.
type Certificate struct {
	Raw, RawTBS []byte

	Version   int // 3 where extensions are
	Serial    *big.Int
	Algorithm OID // of the signature
	Issuer    Name
	NotBefore time.Time
	NotAfter  time.Time
	Subject   Name
	Key       PublicKey // zero when KeyKind is not a curve of the GSMA
	KeyKind   OID       // the curve, or the algorithm of a key that is not on a curve

	Extensions []Extension // in their order
	Values     Values      // what the extensions say

	// signature is DER of r and s.
	signature []byte
}

// Parse reads one certificate in DER.
func Parse(der []byte) (*Certificate, error) {
	if len(der) > MaxBytes {
		return nil, fmt.Errorf("reading a certificate: %w: %d bytes are more than %d", ErrForm, len(der), MaxBytes)
	}
	c := &Certificate{Raw: bytes.Clone(der)}
	if err := c.read(); err != nil {
		return nil, fmt.Errorf("reading a certificate: %w: %w", ErrForm, err)
	}
	return c, nil
}

// ParseFile reads the certificates of a file: one in DER, or those in PEM between other text.
func ParseFile(content []byte) (all []*Certificate, err error) {
	if !bytes.Contains(content, []byte("-----BEGIN")) {
		c, err := Parse(content)
		if err != nil {
			return nil, err
		}
		return []*Certificate{c}, nil
	}
	for rest := content; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != pemType {
			return nil, fmt.Errorf("reading a PEM file: %w: it holds a block %q", ErrForm, block.Type)
		}
		if len(all) == MaxCount {
			return nil, fmt.Errorf("reading a PEM file: %w: more than %d certificates", ErrForm, MaxCount)
		}
		c, err := Parse(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of the PEM file: %w", len(all)+1, err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("reading a PEM file: %w: it holds no whole block", ErrForm)
	}
	return all, nil
}

func (c *Certificate) read() error {
	input, body, tbs := cryptobyte.String(c.Raw), cryptobyte.String(nil), cryptobyte.String(nil)
	var outer, signature cryptobyte.String
	if !input.ReadASN1(&body, casn1.SEQUENCE) || !input.Empty() {
		return errors.New("it is not one SEQUENCE")
	}
	if !body.ReadASN1Element(&tbs, casn1.SEQUENCE) {
		return errors.New("it has no body")
	}
	c.RawTBS = tbs
	if !body.ReadASN1Element(&outer, casn1.SEQUENCE) || !body.ReadASN1(&signature, casn1.BIT_STRING) || !body.Empty() {
		return errors.New("its body is not followed by an algorithm, a signature and nothing else")
	}
	if len(signature) < 2 || signature[0] != 0 {
		return errors.New("its signature is not whole bytes")
	}
	c.signature = signature[1:]
	if !tbs.ReadASN1(&tbs, casn1.SEQUENCE) {
		return errors.New("it has no body")
	}
	return c.readBody(tbs, outer)
}

func (c *Certificate) readBody(s, outer cryptobyte.String) (err error) {
	var version, inner, algorithm, validity cryptobyte.String
	var explicit bool
	if !s.ReadOptionalASN1(&version, &explicit, casn1.Tag(0).Constructed().ContextSpecific()) {
		return errors.New("its version is not readable")
	}
	c.Version = 1
	if explicit {
		if !version.ReadASN1Integer(&c.Version) || !version.Empty() || c.Version < 1 || c.Version > 2 { // 0 is the default, which DER leaves out
			return errors.New("its version is neither 2 nor 3")
		}
		c.Version++
	}
	c.Serial = new(big.Int)
	if !s.ReadASN1Integer(c.Serial) || len(c.Serial.Bytes()) > maxSerialBytes {
		return fmt.Errorf("its serial number is none, or longer than %d bytes", maxSerialBytes)
	}
	if !s.ReadASN1Element(&inner, casn1.SEQUENCE) || !bytes.Equal(inner, outer) {
		return errors.New("the algorithm in it is not the one of its signature")
	}
	if !inner.ReadASN1(&algorithm, casn1.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&c.Algorithm) {
		return errors.New("its algorithm has no name")
	}
	if c.Algorithm.Equal(oidECDSAWithSHA256) && !algorithm.Empty() {
		return errors.New("its algorithm has parameters, which ECDSA has not")
	}
	if c.Issuer, err = readName(&s); err != nil {
		return fmt.Errorf("its issuer: %w", err)
	}
	if !s.ReadASN1(&validity, casn1.SEQUENCE) {
		return errors.New("it has no validity")
	}
	if c.NotBefore, err = readTime(&validity); err == nil {
		c.NotAfter, err = readTime(&validity)
	}
	if err != nil || !validity.Empty() {
		return errors.Join(errors.New("its validity is not two times in UTC"), err)
	}
	if c.Subject, err = readName(&s); err != nil {
		return fmt.Errorf("its subject: %w", err)
	}
	if c.Key, c.KeyKind, err = readPublicKey(&s); err != nil {
		return err
	}
	return c.readExtensions(s)
}

func (c *Certificate) readExtensions(s cryptobyte.String) error {
	var tagged, list cryptobyte.String
	var there bool
	if !s.ReadOptionalASN1(&tagged, &there, casn1.Tag(3).Constructed().ContextSpecific()) || !s.Empty() {
		return errors.New("something but extensions follows its key")
	}
	if !there {
		return nil
	}
	if c.Version != 3 || !tagged.ReadASN1(&list, casn1.SEQUENCE) || !tagged.Empty() || list.Empty() {
		return errors.New("its extensions are not a list, or not in a certificate of version 3")
	}
	var err error
	c.Extensions, err = readExtensionList(list)
	if err != nil {
		return err
	}
	c.Values, err = valuesOf(c.Extensions)
	return err
}

// generalizedFrom is the first year that is written with four digits (RFC 5280 §4.1.2.5).
const generalizedFrom = 2050

// readTime reads a time in the one spelling that AddTime gives it.
func readTime(s *cryptobyte.String) (t time.Time, err error) {
	var element cryptobyte.String
	var tag casn1.Tag
	if !s.ReadAnyASN1Element(&element, &tag) {
		return t, errors.New("there is no time")
	}
	again := element
	if tag == casn1.UTCTime && !again.ReadASN1UTCTime(&t) || tag != casn1.UTCTime && !again.ReadASN1GeneralizedTime(&t) {
		return t, errors.New("it is no time")
	}
	var b cryptobyte.Builder
	AddTime(&b, t)
	if written, err := b.Bytes(); err != nil || !bytes.Equal(written, element) {
		return t, errors.New("it is not in seconds of UTC, with two digits of the year until 2049 and four from then on")
	}
	return t.UTC(), nil
}

// AddTime writes a time as RFC 5280 §4.1.2.5 demands: UTCTime until 2049, GeneralizedTime from 2050 on.
func AddTime(b *cryptobyte.Builder, t time.Time) {
	if t = t.UTC(); t.Year() < generalizedFrom {
		b.AddASN1UTCTime(t)
	} else {
		b.AddASN1GeneralizedTime(t)
	}
}

// Role is the one that the certificate policies name.
func (c *Certificate) Role() (Role, Variant) { return roleOf(c.Values.Policies) }

// SignedBy reports whether the signature verifies under a key. The only algorithm is ECDSA with SHA-256.
func (c *Certificate) SignedBy(k PublicKey) bool {
	if !c.Algorithm.Equal(oidECDSAWithSHA256) {
		return false
	}
	rs, err := tlv.ECDSASigToRaw(c.signature, coordinateBytes) // strict DER, which VerifyASN1 is not on every curve
	return err == nil && k.Verify(c.RawTBS, rs)
}

// SelfIssued reports whether issuer and subject are the same name.
func (c *Certificate) SelfIssued() bool { return bytes.Equal(c.Issuer.Raw, c.Subject.Raw) }

// Extension is one extension, undecoded.
type Extension struct {
	OID      OID
	Critical bool
	Value    []byte
}

const maxExtensions = 32

func readExtensionList(list cryptobyte.String) (all []Extension, err error) {
	seen := map[string]bool{}
	for !list.Empty() {
		var one, value cryptobyte.String
		var e Extension
		if len(all) == maxExtensions {
			return nil, fmt.Errorf("it has more than %d extensions", maxExtensions)
		}
		if !list.ReadASN1(&one, casn1.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&e.OID) {
			return nil, errors.New("an extension has no name")
		}
		if one.PeekASN1Tag(casn1.BOOLEAN) && (!one.ReadASN1Boolean(&e.Critical) || !e.Critical) {
			return nil, fmt.Errorf("extension %s writes out that it is not critical", e.OID)
		}
		if !one.ReadASN1(&value, casn1.OCTET_STRING) || !one.Empty() {
			return nil, fmt.Errorf("extension %s has no value, or something after it", e.OID)
		}
		e.Value = value
		if seen[e.OID.String()] {
			return nil, fmt.Errorf("extension %s is there twice", e.OID)
		}
		seen[e.OID.String()] = true
		all = append(all, e)
	}
	return all, nil
}

// SerialText is the serial number in hex, as INTEGER without leading zeros.
func (c *Certificate) SerialText() string {
	if c.Serial.Sign() < 0 {
		return "-" + hex.EncodeToString(new(big.Int).Abs(c.Serial).Bytes())
	}
	return hex.EncodeToString(c.Serial.Bytes())
}

// String names the certificate in a message.
func (c *Certificate) String() string { return c.Subject.String() }

// MarshalPEM is the certificate as a text file.
func (c *Certificate) MarshalPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: c.Raw})
}
