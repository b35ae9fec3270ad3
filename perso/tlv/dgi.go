package tlv

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// MaxDGIBytes is what the long length form of a data grouping can say.
const MaxDGIBytes = 0xFFFF

// DGI is one data grouping of EMV Card Personalization, as STORE DATA carries
// it: a two byte identifier, a length and data.
type DGI struct {
	ID    uint16
	Value []byte
}

// dgiLong announces a two byte length; shorter data must not use it.
const dgiLong = 0xFF

// AppendDGI appends one data grouping to dst: length in one byte up to 254,
// else FF and two bytes. It panics if value is longer than MaxDGIBytes.
func AppendDGI(dst []byte, dgi uint16, value []byte) []byte {
	if len(value) > MaxDGIBytes {
		panic(fmt.Sprintf("tlv: writing DGI %04X: value of %d bytes", dgi, len(value)))
	}
	dst = binary.BigEndian.AppendUint16(dst, dgi)
	if len(value) < dgiLong {
		dst = append(dst, byte(len(value)))
	} else {
		dst = append(dst, dgiLong)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(value)))
	}
	return append(dst, value...)
}

// ParseDGIs reads b as data groupings one after another, to its end.
func ParseDGIs(b []byte) ([]DGI, error) {
	var all []DGI
	for rest := b; len(rest) > 0; {
		if len(all) == MaxElements {
			return nil, fmt.Errorf("parsing DGIs: more than %d", MaxElements)
		}
		grouping, after, err := parseDGI(rest)
		if err != nil {
			return nil, fmt.Errorf("parsing DGI at byte %d: %w", len(b)-len(rest), err)
		}
		all, rest = append(all, grouping), after
	}
	return all, nil
}

func parseDGI(b []byte) (grouping DGI, rest []byte, err error) {
	if len(b) < 3 {
		return DGI{}, nil, ErrTruncated
	}
	length, start := int(b[2]), 3
	if b[2] == dgiLong {
		if len(b) < 5 {
			return DGI{}, nil, ErrTruncated
		}
		length, start = int(binary.BigEndian.Uint16(b[3:])), 5
		if length < dgiLong {
			return DGI{}, nil, errors.New("length not in its shortest form")
		}
	}
	end := start + length
	if end > len(b) {
		return DGI{}, nil, ErrTruncated
	}
	return DGI{ID: binary.BigEndian.Uint16(b), Value: b[start:end:end]}, b[end:], nil
}
