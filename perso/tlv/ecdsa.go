package tlv

import (
	"bytes"
	"errors"
	"fmt"
)

const (
	tagInteger  = 0x02
	tagSequence = 0x30

	maxCurveBytes = 66 // P-521, the largest curve anyone signs with
)

// ECDSASigToRaw turns the DER form of an ECDSA signature (RFC 3279 section
// 2.2.3, used in X.509) into r and s of size bytes each, one after the other
// (BSI TR-03111 plain format, used in SGP.22 and by PKCS#11). Size is the
// length of the curve's order: 32 for P-256 and brainpoolP256r1.
func ECDSASigToRaw(der []byte, size int) ([]byte, error) {
	if size < 1 || size > maxCurveBytes {
		return nil, fmt.Errorf("parsing ECDSA signature: curve size %d bytes, expected 1 to %d", size, maxCurveBytes)
	}
	sequence, rest, err := Parse(der)
	if err != nil {
		return nil, fmt.Errorf("parsing ECDSA signature: %w", err)
	}
	if sequence.Tag != tagSequence || len(rest) != 0 {
		return nil, errors.New("parsing ECDSA signature: expected one SEQUENCE and nothing after it")
	}
	numbers, err := sequence.Children()
	if err != nil {
		return nil, fmt.Errorf("parsing ECDSA signature: %w", err)
	}
	if len(numbers) != 2 {
		return nil, fmt.Errorf("parsing ECDSA signature: %d elements, expected r and s", len(numbers))
	}
	raw := make([]byte, 2*size)
	for i, number := range numbers {
		if err := fillPositive(raw[i*size:(i+1)*size], number); err != nil {
			return nil, fmt.Errorf("parsing ECDSA signature: %w", err)
		}
	}
	return raw, nil
}

// RawToECDSASig turns r and s of equal length, one after the other, into DER.
func RawToECDSASig(raw []byte) ([]byte, error) {
	if len(raw) == 0 || len(raw)%2 != 0 || len(raw) > 2*maxCurveBytes {
		return nil, fmt.Errorf("encoding ECDSA signature: %d bytes, expected two halves of at most %d", len(raw), maxCurveBytes)
	}
	r := bytes.TrimLeft(raw[:len(raw)/2], "\x00")
	s := bytes.TrimLeft(raw[len(raw)/2:], "\x00")
	if len(r) == 0 || len(s) == 0 {
		return nil, errors.New("encoding ECDSA signature: r or s is zero")
	}
	return Encode(tagSequence, encodePositive(r), encodePositive(s)), nil
}

// fillPositive writes a DER INTEGER greater than zero right-aligned into dst.
func fillPositive(dst []byte, number TLV) error {
	v := number.Value
	switch {
	case number.Tag != tagInteger:
		return fmt.Errorf("tag %X, expected an INTEGER", number.Tag)
	case len(v) == 0 || v[0] >= 0x80:
		return errors.New("r or s is empty or negative")
	case v[0] == 0 && len(v) > 1 && v[1] < 0x80:
		return errors.New("r or s not in its shortest form")
	}
	digits := bytes.TrimLeft(v, "\x00")
	if len(digits) == 0 || len(digits) > len(dst) {
		return fmt.Errorf("r or s is zero or longer than %d bytes", len(dst))
	}
	copy(dst[len(dst)-len(digits):], digits)
	return nil
}

// encodePositive is the DER INTEGER of digits, which have no leading zeros.
func encodePositive(digits []byte) []byte {
	if digits[0] >= 0x80 {
		return Encode(tagInteger, []byte{0}, digits)
	}
	return Encode(tagInteger, digits)
}
