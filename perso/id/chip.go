package id

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
)

const (
	// MinChipIDBytes keeps out counters and status bytes taken for an identity.
	MinChipIDBytes = 4
	// MaxChipIDBytes is twice what KDD and CPLC identities have (10 bytes), for
	// operating systems that report a longer serial number.
	MaxChipIDBytes = 20

	cplcBytes = 42
)

// ChipID is what a chip says of itself before it has any of our identities:
// diversification data, CPLC fields, or an id from its operating system.
type ChipID struct {
	b [MaxChipIDBytes]byte
	n uint8
}

// ParseChipID reads 4 to 20 bytes in hexadecimal of either case.
func ParseChipID(s string) (ChipID, error) {
	if len(s) > 2*MaxChipIDBytes {
		return ChipID{}, fmt.Errorf("parsing chip id: longer than %d bytes", MaxChipIDBytes)
	}
	var b [MaxChipIDBytes]byte
	n, err := hex.Decode(b[:], []byte(s))
	if err != nil {
		return ChipID{}, fmt.Errorf("parsing chip id %q: %w", s, err)
	}
	return ChipIDFromBytes(b[:n])
}

// ChipIDFromBytes takes 4 to 20 bytes. All 00 or all FF is what a chip without
// an identity says, so it is refused: all such chips would be one.
func ChipIDFromBytes(b []byte) (ChipID, error) {
	if len(b) < MinChipIDBytes || len(b) > MaxChipIDBytes {
		return ChipID{}, fmt.Errorf("parsing chip id: %d bytes, expected %d to %d", len(b), MinChipIDBytes, MaxChipIDBytes)
	}
	if blank(b) {
		return ChipID{}, fmt.Errorf("parsing chip id %q: a blank chip's answer, not an identity", hex.EncodeToString(b))
	}
	c := ChipID{n: uint8(len(b))}
	copy(c.b[:], b)
	return c, nil
}

// ChipIDFromCPLC takes the 42 byte value of the card production life cycle
// data (GlobalPlatform tag 9F7F). The identity is ICFabricator, ICType,
// ICBatch (2 bytes each) and ICSerialNumber (4), in that order: the serial
// number is unique only within its batch.
func ChipIDFromCPLC(cplc []byte) (ChipID, error) {
	if len(cplc) != cplcBytes {
		return ChipID{}, fmt.Errorf("parsing CPLC: %d bytes, expected %d", len(cplc), cplcBytes)
	}
	fabricator, chipType, serial, batch := cplc[0:2], cplc[2:4], cplc[12:16], cplc[16:18]
	if blank(bytes.Join([][]byte{serial, batch}, nil)) {
		return ChipID{}, errors.New("parsing CPLC: serial number and batch are blank")
	}
	return ChipIDFromBytes(bytes.Join([][]byte{fabricator, chipType, batch, serial}, nil))
}

// Bytes is a copy of the id.
func (c ChipID) Bytes() []byte { return bytes.Clone(c.b[:c.n]) }

// String is lower-case hexadecimal, or nothing for the zero value.
func (c ChipID) String() string { return hex.EncodeToString(c.b[:c.n]) }

// IsZero reports whether c is no chip id.
func (c ChipID) IsZero() bool { return c.n == 0 }

// MarshalText is lower-case hexadecimal.
func (c ChipID) MarshalText() ([]byte, error) { return marshal(c) }

// UnmarshalText reads what MarshalText writes; upper case is refused here.
func (c *ChipID) UnmarshalText(text []byte) error { return unmarshal(c, text, ParseChipID) }

// MarshalBinary is MarshalText.
func (c ChipID) MarshalBinary() ([]byte, error) { return marshal(c) }

// UnmarshalBinary is UnmarshalText.
func (c *ChipID) UnmarshalBinary(text []byte) error { return c.UnmarshalText(text) }

func (c ChipID) text() string { return c.String() }

// blank reports whether every byte is 00 or every byte is FF.
func blank(b []byte) bool {
	return bytes.Count(b, []byte{0x00}) == len(b) || bytes.Count(b, []byte{0xFF}) == len(b)
}
