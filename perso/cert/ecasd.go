package cert

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/persoline/persoline/perso/tlv"
)

// Tags of a GlobalPlatform certificate, in their order (GPC Amendment F table 6-1; SGP.02 for the eUICC).
const (
	tagECASD         = 0x7F21
	tagSerial        = 0x93
	tagCA            = 0x42
	tagSubject       = 0x5F20
	tagUsage         = 0x95
	tagEffective     = 0x5F25
	tagExpires       = 0x5F24
	tagImage         = 0x45
	tagDiscretionary = 0x73
	tagOpaque        = 0x53
	tagKey           = 0x7F49
	tagSignature     = 0x5F37

	tagPoint       = 0xB0
	tagCurve       = 0xF0
	tagAuthorityID = 0xC9

	maxFieldBytes = 16
)

// UsageKeyAgreement is the key usage (tag 95) of an eUICC's certificate.
const UsageKeyAgreement = 0x0080

// ECASD is a certificate of GlobalPlatform's own form, tag 7F21: CERT.ECASD.ECKA of an M2M eUICC, and those of the servers
// that SGP.02 knows. It is signed by an EUM, whose certificate is X.509.
type ECASD struct {
	Raw  []byte
	Body []byte // what is signed: the fields without the signature

	Serial    []byte
	CA        []byte
	Subject   []byte // an EID in an eUICC's
	Usage     uint16
	Effective time.Time // zero when not there; a day
	Expires   time.Time // a day
	Image     []byte    // tag 45
	// Discretionary is the value of tag 73 (TLVs) or 53; AuthorityKeyID is what its C9 says.
	Discretionary  []byte
	AuthorityKeyID []byte
	Key            PublicKey
	Signature      []byte // r and s
}

// gpCurves are the key parameter references (tag F0) of the curves that are read here. P-256 is the one meant by none.
var gpCurves = map[byte]Curve{0x00: P256, 0x03: BrainpoolP256r1}

// ParseECASD reads one certificate of tag 7F21 with nothing after it. The fields come in the order of the specification.
func ParseECASD(b []byte) (*ECASD, error) {
	c, err := parseECASD(b)
	if err != nil {
		return nil, fmt.Errorf("reading a certificate of tag 7F21: %w: %w", ErrForm, err)
	}
	return c, nil
}

func parseECASD(b []byte) (*ECASD, error) {
	if len(b) > MaxBytes {
		return nil, fmt.Errorf("%d bytes are more than %d", len(b), MaxBytes)
	}
	c := &ECASD{Raw: bytes.Clone(b)}
	outer, rest, err := tlv.Parse(c.Raw)
	if err != nil {
		return nil, err
	}
	if outer.Tag != tagECASD || len(rest) != 0 {
		return nil, errors.New("it is not one element of that tag")
	}
	fields, err := tlv.ParseAll(outer.Value)
	if err != nil {
		return nil, err
	}
	r := &fieldReader{fields: fields}
	c.readFields(r)
	if r.err != nil {
		return nil, r.err
	}
	if len(r.fields) != 0 {
		return nil, fmt.Errorf("tag %X is unknown, out of order or there twice", r.fields[0].Tag)
	}
	c.Body = outer.Value[:len(outer.Value)-len(tlv.Encode(tagSignature, c.Signature))]
	return c, nil
}

func (c *ECASD) readFields(r *fieldReader) {
	c.Serial = r.must(tagSerial, 1, maxFieldBytes)
	c.CA = r.must(tagCA, 1, maxFieldBytes)
	c.Subject = r.must(tagSubject, 1, maxFieldBytes)
	c.Usage = usageOf(r.must(tagUsage, 1, 2))
	c.Effective = r.day(tagEffective, r.may(tagEffective, dayBytes, dayBytes))
	c.Expires = r.day(tagExpires, r.must(tagExpires, dayBytes, dayBytes))
	c.Image = r.may(tagImage, 1, maxFieldBytes)
	if c.Discretionary = r.may(tagDiscretionary, 0, MaxBytes); c.Discretionary != nil {
		c.AuthorityKeyID = r.authority(c.Discretionary)
	} else {
		c.Discretionary = r.may(tagOpaque, 0, MaxBytes)
	}
	c.Key = r.key(r.must(tagKey, 1, MaxBytes))
	c.Signature = r.must(tagSignature, SignatureBytes, SignatureBytes)
}

// usageOf reads one or two bytes. One byte alone is the first of two (GPC table 6-2 numbers the bits from there).
func usageOf(b []byte) uint16 {
	switch len(b) {
	case 1:
		return uint16(b[0]) << 8
	case 2:
		return uint16(b[0])<<8 | uint16(b[1])
	default:
		return 0
	}
}

// SignedBy reports whether the signature is of a key: ECDSA with SHA-256 over the fields before it.
func (c *ECASD) SignedBy(k PublicKey) bool { return k.Verify(c.Body, c.Signature) }

// fieldReader takes fields in order and remembers the first that is not as it must be.
type fieldReader struct {
	fields []tlv.TLV
	err    error
}

func (r *fieldReader) fail(format string, a ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, a...)
	}
}

// may takes the next field if it has this tag: nil if it has not.
func (r *fieldReader) may(tag uint32, least, most int) []byte {
	if len(r.fields) == 0 || r.fields[0].Tag != tag {
		return nil
	}
	v := r.fields[0].Value
	r.fields = r.fields[1:]
	if len(v) < least || len(v) > most {
		r.fail("tag %X has %d bytes, want %d to %d", tag, len(v), least, most)
	}
	return v[:len(v):len(v)]
}

func (r *fieldReader) must(tag uint32, least, most int) []byte {
	v := r.may(tag, least, most)
	if v == nil {
		r.fail("tag %X is missing or out of order", tag)
	}
	return v
}

// dayBytes is YYYYMMDD, two digits a byte.
const dayBytes = 4

func (r *fieldReader) day(tag uint32, bcd []byte) time.Time {
	if len(bcd) != dayBytes {
		return time.Time{}
	}
	t, err := time.Parse("20060102", fmt.Sprintf("%X", bcd))
	if err != nil {
		r.fail("tag %X: %s is no day", tag, strconv.Quote(fmt.Sprintf("%X", bcd)))
	}
	return t
}

func (r *fieldReader) authority(discretionary []byte) []byte {
	fields, err := tlv.ParseAll(discretionary)
	if err != nil {
		r.fail("tag %X: %w", tagDiscretionary, err)
		return nil
	}
	for _, f := range fields {
		if f.Tag == tagAuthorityID {
			return f.Value
		}
	}
	return nil
}

func (r *fieldReader) key(value []byte) (k PublicKey) {
	if r.err != nil {
		return k
	}
	fields, err := tlv.ParseAll(value)
	if err != nil || len(fields) == 0 || len(fields) > 2 || fields[0].Tag != tagPoint {
		r.fail("tag %X is not a point with its curve", tagKey)
		return k
	}
	ref := []byte{0x00}
	if len(fields) == 2 {
		ref = fields[1].Value
	}
	if len(fields) == 2 && fields[1].Tag != tagCurve || len(ref) != 1 || gpCurves[ref[0]] == CurveNone {
		r.fail("tag %X names a curve that is not read here: %X", tagKey, ref)
		return k
	}
	if k, err = NewPublicKey(gpCurves[ref[0]], fields[0].Value); err != nil {
		r.fail("tag %X: %w", tagKey, err)
	}
	return k
}
